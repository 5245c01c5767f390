//! A topology as a heap of small decisions, each of which can be taken anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;

/// The name of the topology.
pub(crate) const NAME: &str = "random";

/// The namespaces that there may be; their order is not that of anything.
const PLACES: [&str; 5] = ["zed", "alpha", "mid", "box", "host"];

/// The one of them that somebody else makes, with a link of its own.
pub(crate) const CONTAINER: &str = "
    ip netns add box
    ip -n box link add name eth9 type veth peer name eth9x
    ip -n box link set lo up
    ip -n box link set eth9 up
    ip -n box link set eth9x up
    ip -n box address add 10.96.0.1/24 dev eth9
    ip -n box route add 10.95.0.0/16 via 10.96.0.2
    ip netns exec box nft add table inet theirs
";

/// How many pairs there may be.
const PAIRS: usize = 5;

/// Seeds of decisions, by what they decide. Those never asked for are not there.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    base: u64,
    seeds: BTreeMap<String, u64>,
}

/// One end of a pair.
struct End {
    pair: usize,
    side: usize,
    place: &'static str,
    name: String,
}

impl End {
    fn link(&self) -> String {
        self.name.clone()
    }

    /// Its first address.
    fn ipv4(&self) -> String {
        format!("10.{}.0.{}", self.pair, self.side + 1)
    }

    fn ipv6(&self) -> String {
        format!("fd0{}::{}", self.pair, self.side + 1)
    }

    /// The first addresses of the other end.
    fn beyond(&self) -> (String, String) {
        let beyond = End {
            side: 1 - self.side,
            name: String::new(),
            ..*self
        };
        (beyond.ipv4(), beyond.ipv6())
    }
}

impl Sketch {
    pub(crate) fn new(random: &mut Rng) -> Sketch {
        Sketch {
            base: random.u64(..),
            seeds: BTreeMap::new(),
        }
    }

    /// Takes some decisions anew: few of them mostly.
    pub(crate) fn change(&mut self, random: &mut Rng) {
        let names = Sketch::names();
        let most = if random.u8(..6) == 0 { names.len() } else { 6 };
        for _ in 0..random.usize(1..=most) {
            let name = names[random.usize(..names.len())].clone();
            self.seeds.insert(name, random.u64(..));
        }
    }

    /// All that can be decided.
    fn names() -> Vec<String> {
        let mut names = Vec::new();
        for place in PLACES {
            for what in [
                "there",
                "gateway",
                "forwarding",
                "dns",
                "hosts",
                "sysctls",
                "route0",
                "route1",
                "route2",
                "route3",
                "rule0",
                "rule1",
                "rule2",
                "bridge",
                "lo",
                "plug",
                "external",
            ] {
                names.push(format!("{place}.{what}"));
            }
        }
        for pair in 0..PAIRS {
            for what in [
                "there", "ends", "mtu", "up0", "up1", "mac", "more0", "more1", "small", "net4",
                "net6", "port", "names", "home", "publish4", "publish6",
            ] {
                names.push(format!("{pair}.{what}"));
            }
        }
        names
    }

    /// What decides something.
    fn of(&self, name: &str) -> Rng {
        let own = name.bytes().fold(self.base, |seed, byte| {
            seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Rng::with_seed(self.seeds.get(name).copied().unwrap_or(own))
    }

    fn chance(&self, name: &str, of_ten: u8) -> bool {
        self.of(name).u8(..10) < of_ten
    }

    fn one<'c>(&self, name: &str, choices: &[&'c str]) -> &'c str {
        choices[self.of(name).usize(..choices.len())]
    }

    fn exists(&self, place: &str) -> bool {
        place == "host" || self.chance(&format!("{place}.there"), 8)
    }

    fn ends(&self) -> Vec<[End; 2]> {
        let there = (0..PAIRS).filter(|pair| self.chance(&format!("{pair}.there"), 8));
        let places: Vec<&'static str> = PLACES.into_iter().filter(|p| self.exists(p)).collect();
        there
            .map(|pair| {
                let mut random = self.of(&format!("{pair}.ends"));
                [0, 1].map(|side| End {
                    pair,
                    side,
                    place: places[random.usize(..places.len())],
                    name: self.name(pair, side),
                })
            })
            .collect()
    }

    /// Names move from one end to the other, from pair to pair, and from a pair to a bridge.
    fn name(&self, pair: usize, side: usize) -> String {
        let letter = ["z", "b"][side];
        match self.of(&format!("{pair}.names")).u8(..8) {
            0 => format!("{}{pair}", ["b", "z"][side]),
            1 => format!("{letter}{}", (pair + 1) % PAIRS),
            2 if side == 1 => "y8".to_owned(),
            _ => format!("{letter}{pair}"),
        }
    }

    /// Whether an end is a port of a bridge, which then has its addresses.
    fn is_at_home(&self, end: &End) -> bool {
        end.side == 0
            && self.chance(&format!("{}.home", end.pair), 3)
            && self.bridges(end.place).contains("A7")
    }

    /// The link with the addresses of an end.
    fn holder(&self, end: &End) -> String {
        if self.is_at_home(end) {
            "a7".to_owned()
        } else {
            end.link()
        }
    }

    fn has_ipv6(&self, pair: usize) -> bool {
        !self.chance(&format!("{pair}.small"), 1)
    }

    fn up(&self, end: &End) -> bool {
        self.chance(&format!("{}.up{}", end.pair, end.side), 9)
    }

    /// The text of the spec.
    pub(crate) fn spec(&self) -> String {
        let ends = self.ends();
        let mut text = format!("version: 1\nname: {NAME}\nnamespaces:\n");
        for place in PLACES {
            if self.exists(place) {
                writeln!(text, "  {place}:\n    x-none: 0").expect("text");
                self.namespace(&mut text, place, &ends);
            }
        }
        text.push_str("veths:\n");
        for pair in &ends {
            self.veth(&mut text, pair);
        }
        text.push_str("subnets:\n");
        for pair in &ends {
            self.subnets(&mut text, pair, &ends);
        }
        text.push_str("publish:\n");
        for pair in &ends {
            self.publish(&mut text, pair, &ends);
        }
        text
    }

    fn namespace(&self, text: &mut String, place: &str, ends: &[[End; 2]]) {
        let mut key = |key: &str, value: &str| {
            if !value.is_empty() {
                writeln!(text, "    {key}: {value}").expect("text");
            }
        };
        let one =
            |what: &str, choices: &[&'static str]| self.one(&format!("{place}.{what}"), choices);
        key(
            "forwarding",
            one("forwarding", &["", "", "", "true", "ipv4", "ipv6"]),
        );
        let own: Vec<&End> = ends
            .iter()
            .filter(|[first, second]| first.place != second.place)
            .flatten()
            .filter(|end| end.place == place && self.up(end))
            .collect();
        if place == "box" {
            let forms = ["true", "true", "{ path: /run/netns/box }"];
            key("external", one("external", &forms));
        }
        // The host has a default route of its own.
        if place != "host" {
            key("gateway", &self.gateway(place, &own));
        }
        let mut sysctls = vec![""];
        if place == "host" {
            sysctls.extend([
                "{ net.core.somaxconn: 1234 }",
                "{ net.ipv4.conf.ens33.arp_notify: 1 }",
            ]);
        } else {
            key(
                "dns",
                one(
                    "dns",
                    &[
                        "",
                        "{ nameservers: [192.0.2.1] }",
                        "{ nameservers: [192.0.2.2], search: [example.test] }",
                    ],
                ),
            );
            key(
                "hosts",
                one(
                    "hosts",
                    &["", "", "{ a: 192.0.2.3, b.example: [192.0.2.4, fd00::1] }"],
                ),
            );
            sysctls.push("{ net.ipv4.ip_default_ttl: 100 }");
        }
        if place == "box" {
            sysctls.push("{ net.ipv4.conf.eth9.arp_notify: 1, net.ipv4.conf.eth9.rp_filter: 2 }");
        } else if place != "host" {
            sysctls.extend([
                "{ net.ipv4.conf.default.rp_filter: 2, net.ipv6.conf.default.hop_limit: 50 }",
                "{ net.ipv4.conf.all.arp_notify: 1 }",
            ]);
        }
        key("links", &self.links(place, ends));
        let sysctls = self.one(&format!("{place}.sysctls"), &sysctls);
        key("sysctls", sysctls);
        let routes: Vec<String> = (0..4).filter_map(|n| self.route(place, n, &own)).collect();
        key("routes", &format!("[{}]", routes.join(", ")));
        let rules: Vec<String> = (0..3).filter_map(|n| self.rule(place, n, &own)).collect();
        key("rules", &format!("[{}]", rules.join(", ")));
    }

    fn bridges(&self, place: &str) -> &'static str {
        self.one(
            &format!("{place}.bridge"),
            &[
                "",
                "a7: { bridge: {}, addresses: [A7] }",
                "a7: { bridge: { stp: true }, mtu: 1400, addresses: [10.70.0.1/24, \"fd70::1/64\", A7] }",
                "a7: { bridge: {}, addresses: [A7 10.70.0.1/24, 10.71.0.1/24] }, y8: { bridge: {}, up: false }",
                "y8: { bridge: {}, mtu: 1000, addresses: [10.71.0.1/24] }",
            ],
        )
    }

    /// The links with one end, and what `lo` has besides.
    fn links(&self, place: &str, ends: &[[End; 2]]) -> String {
        let at_home = ends.iter().flatten();
        let addresses: String = at_home
            .filter(|end| end.place == place && self.is_at_home(end))
            .flat_map(|end| self.addresses(end))
            .map(|address| address + ", ")
            .collect();
        let bridge = self.bridges(place).replace("A7", &addresses);
        let lo = self.one(
            &format!("{place}.lo"),
            &["", "", "lo: { addresses: [10.72.0.1/32, \"fd72::1/128\"] }"],
        );
        let links: Vec<&str> = [&bridge, lo, self.plug(place, &bridge)]
            .into_iter()
            .filter(|link| !link.is_empty())
            .collect();
        match links.as_slice() {
            [] => String::new(),
            links => format!("{{ {} }}", links.join(", ")),
        }
    }

    /// A link of others that is plugged into a bridge.
    fn plug(&self, place: &str, bridges: &str) -> &'static str {
        let choices = match place {
            "host" => ["", "f0: { bridge: a7 }", "f0: { bridge: y8 }"],
            "box" => [
                "",
                "eth9x: { bridge: a7, addresses: [10.73.0.1/24] }",
                "eth9x: { bridge: y8 }",
            ],
            _ => return "",
        };
        let chosen = choices[self.of(&format!("{place}.plug")).usize(..choices.len())];
        let there = ["a7", "y8"]
            .into_iter()
            .any(|bridge| chosen.contains(bridge) && bridges.contains(bridge));
        if there { chosen } else { "" }
    }

    /// Of which bridge an end is a port. One that may hold a gateway is none.
    fn port(&self, end: &End) -> String {
        let wanted = self.one(&format!("{}.port", end.pair), &["", "", "a7", "y8"]);
        let links = self.bridges(end.place);
        if self.is_at_home(end) {
            ", bridge: a7".to_owned()
        } else if end.side == 1 && !wanted.is_empty() && links.contains(wanted) {
            format!(", bridge: {wanted}")
        } else {
            String::new()
        }
    }

    /// How a subnet is written, if there is one.
    fn way_out(&self, pair: usize, name: &str) -> &'static str {
        let ways = ["no", "", "", "egress", "egress", "routed"];
        self.one(&format!("{pair}.{name}"), &ways)
    }

    fn gateway(&self, place: &str, own: &[&End]) -> String {
        let mut random = self.of(&format!("{place}.gateway"));
        let mut through = Vec::new();
        for (letter, name) in [("s", "net4"), ("t", "net6")] {
            let members = own.iter().filter(|end| {
                let there = letter == "s" || self.has_ipv6(end.pair);
                end.side == 1 && there && self.way_out(end.pair, name) != "no"
            });
            let names: Vec<String> = members.map(|end| format!("{letter}{}", end.pair)).collect();
            if !names.is_empty() && random.u8(..3) > 0 {
                through.push(names[random.usize(..names.len())].clone());
            }
        }
        match (through.as_slice(), random.u8(..4)) {
            (_, 0) => String::new(),
            ([], _) => "none".to_owned(),
            _ => format!("[{}]", through.join(", ")),
        }
    }

    fn route(&self, place: &str, number: usize, own: &[&End]) -> Option<String> {
        let mut random = self.of(&format!("{place}.route{number}"));
        let ipv6 = random.bool();
        let own: Vec<&&End> = own
            .iter()
            .filter(|e| !ipv6 || self.has_ipv6(e.pair))
            .collect();
        let mut one = |choices: &[&str]| choices[random.usize(..choices.len())].to_owned();
        let to = match (number, ipv6) {
            (0, false) => one(&["default4", "10.200.0.0/24"]),
            (0, true) => one(&["default6", "fd20::/48"]),
            (3, false) => one(&["10.203.0.0/16", "10.1.0.128/25", "10.2.0.2/32"]),
            (3, true) => one(&["\"fd23::/32\"", "\"fd01::/80\"", "\"fd02::2/128\""]),
            (_, false) => format!("10.20{number}.0.0/16"),
            (_, true) => format!("\"fd2{number}::/32\""),
        };
        let table = one(&["", "", ", table: 77", ", table: 100"]);
        let metric = one(&["7", "70"]);
        let mtu = one(&["", "", ", mtu: 1300"]);
        let mut hops = Vec::new();
        for _ in 0..2 {
            if own.is_empty() {
                break;
            }
            let end = own[random.usize(..own.len())];
            let (via, src) = if ipv6 {
                (format!("\"{}\"", end.beyond().1), end.ipv6())
            } else {
                (end.beyond().0, end.ipv4())
            };
            hops.push((via, self.holder(end), src));
        }
        let sorts = if hops.is_empty() { 2 } else { 10 };
        let way = match random.u8(..sorts) {
            0 => "type: blackhole".to_owned(),
            1 => "type: unreachable".to_owned(),
            2 if hops[0].1 != hops[1].1 => {
                let hop = |(via, dev, _): &(String, String, String)| {
                    format!("{{ via: {via}, dev: {dev}, weight: {} }}", number + 1)
                };
                format!("nexthops: [{}, {}]{mtu}", hop(&hops[0]), hop(&hops[1]))
            }
            3 => format!("dev: {}{mtu}", hops[0].1),
            4 => format!("via: {}{mtu}", hops[0].0),
            5 => format!(
                "via: {}, dev: {}, src: \"{}\"{mtu}",
                hops[0].0, hops[0].1, hops[0].2
            ),
            6 => format!("via: {}, dev: {}, onlink: true", hops[0].0, hops[0].1),
            7..9 => format!("via: {}, dev: {}{mtu}", hops[0].0, hops[0].1),
            _ => return None,
        };
        Some(format!("{{ to: {to}, metric: {metric}{table}, {way} }}"))
    }

    fn rule(&self, place: &str, number: usize, own: &[&End]) -> Option<String> {
        let mut random = self.of(&format!("{place}.rule{number}"));
        let mut one = |choices: &[&str]| choices[random.usize(..choices.len())].to_owned();
        let selector = one(&[
            "from: 10.0.0.0/24",
            "to: fd01::/64",
            "to: fd02::/64",
            "oif: LINK",
            "fwmark: 0x5/0xff",
            "iif: lo",
            "iif: LINK",
            "from: 10.1.0.1, to: 10.2.0.0/16",
            "",
        ]);
        let action = one(&[
            "table: 77",
            "table: main",
            "action: prohibit",
            "action: blackhole",
        ]);
        let link = own.first().map(|end| self.holder(end));
        let selector = match link {
            Some(link) => selector.replace("LINK", &link),
            None if selector.contains("LINK") => return None,
            None => selector,
        };
        // One that is for everything must not cut the host off from what the test itself needs.
        (!selector.is_empty()).then(|| format!("{{ priority: 10{number}, {selector}, {action} }}"))
    }

    /// The addresses of an end, wherever they are, in some order.
    fn addresses(&self, end: &End) -> Vec<String> {
        let number = end.pair;
        let mut addresses = vec![format!("{}/24", end.ipv4())];
        if self.has_ipv6(number) {
            addresses.push(format!("\"{}/64\"", end.ipv6()));
        }
        let mut more = self.of(&format!("{number}.more{}", end.side));
        let host = end.side + 11;
        for address in [
            format!("10.{number}.0.{host}/24"),
            format!("10.{number}.0.{host}/25"),
            format!("10.{number}.1.{host}/24"),
            format!("172.16.{number}.{host}/32"),
            format!("{{ address: 172.17.{number}.{host}, peer: 172.18.{number}.1/24 }}"),
            format!("{{ address: 172.19.{number}.{host}, peer: 10.{number}.0.99/24 }}"),
            format!("{{ address: \"fd17:{number}::{host}\", peer: \"fd18:{number}::1/128\" }}"),
        ] {
            let possible = self.has_ipv6(number) || !address.contains("fd17");
            if possible
                && more.u8(..4) == 0
                && !addresses
                    .iter()
                    .any(|a| a.starts_with(&address[..address.len() - 2]))
            {
                addresses.push(address);
            }
        }
        // They stand in the order written.
        more.shuffle(&mut addresses);

        addresses
    }

    fn veth(&self, text: &mut String, pair: &[End; 2]) {
        let number = pair[0].pair;
        let mtu = if self.has_ipv6(number) {
            self.one(&format!("{number}.mtu"), &["1500", "1500", "1400"])
        } else {
            "1270"
        };
        writeln!(text, "  - mtu: {mtu}\n    ends:").expect("text");
        for end in pair {
            let mac = match self.one(&format!("{number}.mac"), &["", "", "given"]) {
                "" => String::new(),
                _ => format!(", mac: \"02:00:00:00:0{number}:0{}\"", end.side),
            };
            let (place, link, up) = (end.place, end.link(), self.up(end));
            let mac = mac + &self.port(end);
            let addresses = if self.is_at_home(end) {
                Vec::new()
            } else {
                self.addresses(end)
            };
            writeln!(
                text,
                "      - {{ namespace: {place}, name: {link}, up: {up}{mac}, addresses: [{}] }}",
                addresses.join(", ")
            )
            .expect("text");
        }
    }

    /// A link that leads out of where an end is.
    fn way(&self, holder: &End, ends: &[[End; 2]]) -> String {
        let other = ends
            .iter()
            .flatten()
            .find(|end| end.place == holder.place && end.pair != holder.pair && self.up(end));
        match (holder.place, other) {
            ("host", _) => "ens33".to_owned(),
            ("box", _) => "eth9".to_owned(),
            (_, Some(end)) => self.holder(end),
            (_, None) => String::new(),
        }
    }

    /// What of the second end is published where the first is.
    fn publish(&self, text: &mut String, pair: &[End; 2], ends: &[[End; 2]]) {
        let [holder, target] = pair;
        let (place, number) = (holder.place, holder.pair);
        let dev = self.way(holder, ends);
        if place == target.place || dev.is_empty() {
            return;
        }
        for (what, name, ip, public) in [
            (
                "publish4",
                "net4",
                target.ipv4(),
                format!("203.0.113.{number}"),
            ),
            (
                "publish6",
                "net6",
                target.ipv6(),
                format!("2001:db8:113::{number}"),
            ),
        ] {
            let way = self.way_out(number, name);
            if way == "no" || name == "net6" && !self.has_ipv6(number) {
                continue;
            }
            let dev = match way {
                "" => format!(", dev: {dev}"),
                _ => String::new(),
            };
            let localhost = if name == "net4" {
                ", localhost: true"
            } else {
                ""
            };
            let all = [
                format!("port: 80{number}, to: \"{ip}\"{dev}"),
                format!("port: 80{number}, to: \"{ip}\"{dev}{localhost}"),
                format!("proto: udp, port: 90{number}0-90{number}5, to: \"{ip}\"{dev}"),
                format!("address: \"{public}\", proto: any, to: \"{ip}\"{dev}"),
                format!("address: \"{public}\", port: 80{number}, to: \"{ip}\"{dev}"),
            ];
            let mut random = self.of(&format!("{number}.{what}"));
            for publication in all {
                // The same port can't be published twice.
                let twice = publication.contains("localhost");
                if random.u8(..4) == 0 && !twice || twice && random.u8(..8) == 0 {
                    let port = if twice {
                        publication.replace("port: 80", "port: 70")
                    } else {
                        publication
                    };
                    writeln!(text, "  - {{ namespace: {place}, {port} }}").expect("text");
                }
            }
        }
    }

    fn subnets(&self, text: &mut String, pair: &[End; 2], ends: &[[End; 2]]) {
        let number = pair[0].pair;
        let holder = &pair[0];
        let dev = self.way(holder, ends);
        for (letter, name, cidr, gateway) in [
            ("s", "net4", format!("10.{number}.0.0/24"), holder.ipv4()),
            (
                "t",
                "net6",
                format!("\"fd0{number}::/64\""),
                format!("\"{}\"", holder.ipv6()),
            ),
        ] {
            if letter == "t" && !self.has_ipv6(number) {
                continue;
            }
            let way = match self.way_out(number, name) {
                "no" => continue,
                "egress" if !dev.is_empty() => format!(", egress: {{ dev: {dev} }}"),
                "routed" if !dev.is_empty() => {
                    format!(", egress: {{ dev: {dev}, masquerade: false }}")
                }
                _ => String::new(),
            };
            writeln!(
                text,
                "  {letter}{number}: {{ cidr: {cidr}, gateway: {gateway}{way} }}"
            )
            .expect("text");
        }
    }

    /// Something that happens to the host by hand, as a shell script. What isn't possible just now fails.
    pub(crate) fn mishap(&self, random: &mut Rng) -> String {
        let ends = self.ends();
        let mut lines = vec!["set +e".to_owned()];
        for _ in 0..random.u8(1..4) {
            let place = PLACES[random.usize(..PLACES.len())];
            let own: Vec<&End> = ends.iter().flatten().filter(|e| e.place == place).collect();
            let inside = match place {
                "host" => String::new(),
                _ => format!("ip netns exec {place} "),
            };
            let link = match own.as_slice() {
                [] => "lo".to_owned(),
                _ => own[random.usize(..own.len())].link(),
            };
            let commands = [
                format!("ip link set {link} down"),
                format!("ip link set {link} mtu 1290"),
                format!("ip link set {link} mtu 1200"),
                format!("ip link set {link} address 02:00:00:00:99:99"),
                format!("ip addr flush dev {link} scope global"),
                format!("ip addr del 10.{}.0.1/24 dev {link}", random.u8(..5)),
                format!("ip addr add 10.77.{}.1/24 dev {link}", random.u8(..5)),
                format!("ip link del {link}"),
                "ip route flush proto 110".to_owned(),
                "ip -6 route flush proto 110".to_owned(),
                "ip route flush table 77 proto 110".to_owned(),
                "ip rule flush protocol 110".to_owned(),
                format!("nft flush table inet netform-{NAME}"),
                format!("nft delete table inet netform-{NAME}"),
                "sysctl -qw net.ipv4.ip_default_ttl=33".to_owned(),
                format!("ip link set {link} nomaster"),
                format!("ip link set {link} master a7"),
                "ip link del a7".to_owned(),
                "ip link set a7 mtu 1300".to_owned(),
                "ip link set y8 type bridge stp_state 1".to_owned(),
                "ip link set eth9x nomaster".to_owned(),
            ];
            let command = &commands[random.usize(..commands.len())];
            // Nothing that others have on the host goes by the hand of this test.
            let harmless = (link != "lo" || !command.contains(&link))
                && (place != "host" || !command.contains("sysctl"));
            if random.u8(..12) == 0 && place != "host" {
                lines.push(format!("ip netns del {place}"));
                // A container may come again at once, but never stays away: that is an error.
                if place == "box" {
                    lines.push(CONTAINER.to_owned());
                }
            } else if harmless {
                lines.push(format!("{inside}{command}"));
            }
        }
        lines.join("\n")
    }
}
