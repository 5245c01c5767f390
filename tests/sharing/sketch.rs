//! Random topologies that share a host: its uplink, its tables, its settings, and a container.

use std::fmt::Write as _;

use fastrand::Rng;

/// The names of the topologies, with which all begins that they make outside their namespaces.
pub(crate) const NAMES: [&str; 3] = ["one", "two", "tri"];

/// The server of the internet.
const SERVERS: [&str; 2] = ["198.51.100.10", "2001:db8:10::10"];

/// The address that a topology may have on the uplink.
pub(crate) fn on_uplink(number: usize) -> String {
    format!("192.168.95.{}", 240 + number)
}

/// How a subnet gets out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    No,
    Masqueraded,
    Routed,
    Fixed,
}

/// A member that is joined to the host by a pair of its own, or by a port of the bridge.
#[derive(Debug, Clone, Copy)]
struct Member {
    bridged: bool,
    /// In which families it has a subnet, and how that gets out.
    ways: [Option<Way>; 2],
    /// Whether it may open connections to the first member.
    allowed: bool,
    dns: bool,
}

/// What a topology wants.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    number: usize,
    members: Vec<Member>,
    /// Whether it has a pair between its first member and the container, with a gateway there.
    in_container: Option<Way>,
    forwarding: &'static str,
    sysctls: &'static str,
    /// What it has besides: an address on the uplink, routes, a rule, the spare link in its bridge.
    besides: [bool; 4],
}

fn some(random: &mut Rng, one_in: u8) -> bool {
    random.u8(..one_in) == 0
}

fn way(random: &mut Rng) -> Way {
    let ways = [
        Way::Masqueraded,
        Way::Masqueraded,
        Way::No,
        Way::Routed,
        Way::Fixed,
    ];
    ways[random.usize(..ways.len())]
}

impl Sketch {
    pub(crate) fn new(number: usize, random: &mut Rng) -> Sketch {
        let mut sketch = Sketch {
            number,
            members: Vec::new(),
            in_container: None,
            forwarding: "",
            sysctls: "",
            besides: [false; 4],
        };
        for _ in 0..3 {
            sketch.change(random);
        }
        sketch
    }

    /// Changes it a little.
    pub(crate) fn change(&mut self, random: &mut Rng) {
        for _ in 0..random.u8(1..6) {
            match random.u8(..9) {
                0..3 if self.members.len() < 4 => {
                    let bridged = some(random, 3);
                    let mut ways = [(); 2].map(|()| (!some(random, 4)).then(|| way(random)));
                    if ways == [None, None] {
                        ways[0] = Some(Way::Masqueraded);
                    }
                    self.members.push(Member {
                        bridged,
                        ways,
                        allowed: some(random, 3),
                        dns: some(random, 3),
                    });
                }
                0..=3 if !self.members.is_empty() => {
                    self.members.swap_remove(random.usize(..self.members.len()));
                }
                4 => self.in_container = some(random, 2).then(|| way(random)),
                5 => {
                    let choices = ["", "", "true", "ipv4", "ipv6"];
                    self.forwarding = choices[random.usize(..choices.len())];
                }
                6 => {
                    let choices = [
                        "",
                        "{ net.ipv4.ip_default_ttl: 60 }",
                        "{ net.ipv4.tcp_fin_timeout: 30 }",
                    ];
                    self.sysctls = choices[random.usize(..choices.len())];
                }
                7 | 8 => self.besides = [(); 4].map(|()| random.bool()),
                _ => {}
            }
        }
    }

    fn name(&self) -> &'static str {
        NAMES[self.number]
    }

    /// The bridged members share a subnet, so all of it is as the first of them says.
    fn ways(&self, place: usize) -> [Option<Way>; 2] {
        let first = self.members.iter().find(|member| member.bridged);
        match (self.members[place].bridged, first) {
            (true, Some(first)) => first.ways,
            _ => self.members[place].ways,
        }
    }

    /// Members whose packets come back from the internet, and what they are sent to.
    pub(crate) fn travellers(&self) -> Vec<(String, &'static str)> {
        let mut travellers = Vec::new();
        for place in 0..self.members.len() {
            for (way, server) in self.ways(place).into_iter().zip(SERVERS) {
                if way == Some(Way::Masqueraded) {
                    travellers.push((format!("{}-{place}", self.name()), server));
                }
            }
        }
        travellers
    }

    /// The text of the spec.
    pub(crate) fn spec(&self) -> String {
        let name = self.name();
        let net = 11 + self.number;
        let mut namespaces = format!("  box: {{ external: true }}\n  host: {}\n", self.host());
        let mut veths = String::new();
        let mut subnets = String::new();
        let mut declared = false;
        for (place, member) in self.members.iter().enumerate() {
            let dns = if member.dns {
                "dns: { nameservers: [198.51.100.53] }"
            } else {
                ""
            };
            writeln!(namespaces, "  {name}-{place}: {{ {dns} }}").expect("text");
            let third = if member.bridged { 9 } else { place };
            let mut inner = Vec::new();
            let mut outer = Vec::new();
            for (family, way) in self.ways(place).into_iter().enumerate() {
                let Some(way) = way else { continue };
                let address = |last: usize| match family {
                    0 => format!("10.{net}.{third}.{last}"),
                    _ => format!("\"fd{net}:{third}::{last}\""),
                };
                inner.push(address(place + 2));
                outer.push(address(1));
                if member.bridged && declared {
                    continue;
                }
                self.subnet(&mut subnets, (third, family), way, member.allowed);
            }
            declared |= member.bridged;
            let (inner, outer) = (inner.join(", "), outer.join(", "));
            let outside = if member.bridged {
                format!("bridge: {name}br")
            } else {
                format!("addresses: [{outer}]")
            };
            writeln!(
                veths,
                "  - ends:
      - {{ namespace: {name}-{place}, name: eth0, addresses: [{inner}] }}
      - {{ namespace: host, name: {name}{place}, {outside} }}"
            )
            .expect("text");
        }
        if let Some(way) = self.in_container {
            let egress = egress(way, "eth9", "10.96.0.1");
            writeln!(namespaces, "  {name}-x: {{}}").expect("text");
            writeln!(
                subnets,
                "  x: {{ cidr: 10.{net}.8.0/24, gateway: 10.{net}.8.1{egress} }}"
            )
            .expect("text");
            writeln!(
                veths,
                "  - ends:
      - {{ namespace: {name}-x, name: eth0, addresses: [10.{net}.8.2] }}
      - {{ namespace: box, name: {name}x, addresses: [10.{net}.8.1] }}"
            )
            .expect("text");
        }
        format!(
            "version: 1\nname: {name}\nnamespaces:\n{namespaces}veths:\n{veths}subnets:\n{subnets}"
        )
    }

    /// What it says of the host.
    fn host(&self) -> String {
        let (name, net) = (self.name(), 11 + self.number);
        let [address, route, rule, plug] = self.besides;
        let mut keys = Vec::new();
        let mut links = Vec::new();
        for (key, value) in [("forwarding", self.forwarding), ("sysctls", self.sysctls)] {
            if !value.is_empty() {
                keys.push(format!("{key}: {value}"));
            }
        }
        if let Some(place) = self.members.iter().position(|member| member.bridged) {
            let mut addresses = Vec::new();
            let [v4, v6] = self.ways(place);
            addresses.extend(v4.map(|_| format!("10.{net}.9.1")));
            addresses.extend(v6.map(|_| format!("\"fd{net}:9::1\"")));
            links.push(format!(
                "{name}br: {{ bridge: {{}}, addresses: [{}] }}",
                addresses.join(", ")
            ));
            // Only one topology can have it.
            if plug && self.number == 0 {
                links.push(format!("spare: {{ bridge: {name}br }}"));
            }
        }
        if address {
            links.push(format!(
                "ens33: {{ addresses: [{}/24] }}",
                on_uplink(self.number)
            ));
        }
        keys.push(format!("links: {{ {} }}", links.join(", ")));
        if route {
            keys.push(format!(
                "routes: [{{ to: 10.2{net}.0.0/16, via: 10.99.0.2, dev: f0 }}, {{ to: 10.2{net}.0.0/16, via: 10.99.0.2, dev: f0, table: 77 }}]"
            ));
        }
        if rule {
            keys.push(format!(
                "rules: [{{ priority: 30{net}, fwmark: 0x{net}, table: 77 }}]"
            ));
        }
        format!("{{ {} }}", keys.join(", "))
    }

    fn subnet(&self, text: &mut String, (third, family): (usize, usize), way: Way, allowed: bool) {
        let net = 11 + self.number;
        let (cidr, gateway, source) = match family {
            0 => (
                format!("10.{net}.{third}.0/24"),
                format!("10.{net}.{third}.1"),
                "192.168.95.191",
            ),
            _ => (
                format!("\"fd{net}:{third}::/64\""),
                format!("\"fd{net}:{third}::1\""),
                "\"fd95::191\"",
            ),
        };
        let letter = ["s", "t"][family];
        let egress = egress(way, "ens33", source);
        let first = self
            .members
            .first()
            .filter(|first| !first.bridged && first.ways[family].is_some());
        let allow = match first {
            Some(_) if allowed && third != 0 && third != 9 => format!(", allow: [{letter}0]"),
            _ => String::new(),
        };
        writeln!(
            text,
            "  {letter}{third}: {{ cidr: {cidr}, gateway: {gateway}{egress}{allow} }}"
        )
        .expect("text");
    }
}

fn egress(way: Way, dev: &str, source: &str) -> String {
    match way {
        Way::No => String::new(),
        Way::Masqueraded => format!(", egress: {{ dev: {dev} }}"),
        Way::Routed => format!(", egress: {{ dev: {dev}, masquerade: false, inbound: allow }}"),
        Way::Fixed => format!(", egress: {{ dev: {dev}, snat: {source} }}"),
    }
}
