//! Gateways to make tables of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netform::resource::Family;
use netform::resource::name::{LinkName, TopologyName};
use netform::resource::nftables::gateway::{
    Allow, Arrival, Egress, Fallback, Gateway, GatewayLink, Guard, Inbound, Nat, Origin,
    Publication, Service, Shape,
};

pub(crate) fn link(name: &str) -> LinkName {
    LinkName::try_from(name).expect("it is a link's name")
}

/// The gateway of the smallest real topology.
pub(crate) fn seed() -> Gateway {
    let dev = link("ens33");
    let egress = Egress {
        dev,
        nat: Nat::Masquerade,
        inbound: Inbound::Deny,
    };
    let gateway_link = GatewayLink {
        origin: Origin::Made,
        shape: Shape::PointToPoint,
        members: ["192.168.50.2".parse().expect("an address")].into(),
        prefixes: ["192.168.50.0/24".parse().expect("a prefix")].into(),
        routed: [].into(),
        allow: BTreeSet::new(),
        egress: BTreeMap::from([(Family::Ipv4, egress)]),
    };
    Gateway {
        topology: TopologyName::try_from("breezyfrost").expect("a topology's name"),
        links: BTreeMap::from([(link("veth1_p"), gateway_link)]),
        guard: Guard::Links,
        fallback: None,
        published: BTreeSet::new(),
    }
}

/// What is allowed to those behind a link, in both families.
fn allowing(to: &str, services: &[Service]) -> BTreeSet<Allow> {
    let services = services.iter().flat_map(|service| {
        Family::BOTH.map(|family| Allow {
            family,
            to: link(to),
            service: *service,
        })
    });
    services.collect()
}

/// Ways out that are ways in too.
fn open(egress: &BTreeMap<Family, Egress>) -> BTreeMap<Family, Egress> {
    let egress = egress.iter().map(|(family, egress)| {
        let inbound = Inbound::Allow;
        (
            *family,
            Egress {
                inbound,
                ..egress.clone()
            },
        )
    });
    egress.collect()
}

/// A gateway with everything: both families, a bridge, an existing link, odd names, the fallback.
pub(crate) fn everything() -> Gateway {
    let mut gateway = seed();
    let both = |dev: &str, nat| {
        let egress = Egress {
            dev: link(dev),
            nat,
            inbound: Inbound::Deny,
        };
        BTreeMap::from(Family::BOTH.map(|family| (family, egress.clone())))
    };
    let ips = |ips: &[&str]| {
        ips.iter()
            .map(|ip| ip.parse::<IpAddr>().expect("an address"))
            .collect()
    };
    let nets = |nets: &[&str]| {
        nets.iter()
            .map(|n| n.parse::<IpNet>().expect("a prefix"))
            .collect()
    };
    gateway.links.insert(
        link("br0"),
        GatewayLink {
            origin: Origin::Made,
            shape: Shape::Bridge,
            members: ips(&["192.168.60.2", "192.168.60.3", "fd60::2", "fd60::3"]),
            prefixes: nets(&["192.168.60.0/24", "fd60::/64"]),
            routed: nets(&["10.60.0.0/16", "10.60.1.0/24", "fd60:1::/48"]),
            allow: BTreeSet::new(),
            egress: both("ens33", Nat::Masquerade),
        },
    );
    gateway.links.insert(
        link("odd*.-@"),
        GatewayLink {
            origin: Origin::Made,
            shape: Shape::PointToPoint,
            members: ips(&["192.168.61.2", "fd61::2"]),
            prefixes: nets(&["192.168.61.0/24", "fd61::/64"]),
            routed: nets(&["0.0.0.0/0", "::/0"]),
            allow: allowing("br0", &[Service::All]),
            egress: open(&both("star*", Nat::None)),
        },
    );
    gateway.links.insert(
        link("eth1"),
        GatewayLink {
            origin: Origin::Existing,
            shape: Shape::PointToPoint,
            members: ips(&["10.1.0.2", "10.1.1.3", "fd71::2"]),
            prefixes: nets(&["10.1.0.0/24", "10.1.1.0/24", "fd71::/64"]),
            routed: [].into(),
            allow: allowing("br0", &[Service::All]),
            egress: open(&both("ens33", Nat::Masquerade)),
        },
    );
    let fixed = |ips: [&str; 2]| {
        let fixed = Family::BOTH.into_iter().zip(ips).map(|(family, ip)| {
            let egress = Egress {
                dev: link("ens34"),
                nat: Nat::Source(ip.parse().expect("an address")),
                inbound: Inbound::Deny,
            };
            (family, egress)
        });
        fixed.collect()
    };
    let ports = |protocol, from, to| Service::Ports { protocol, from, to };
    for (name, origin, net, to) in [
        ("veth5", Origin::Made, "65", "veth6"),
        ("veth6", Origin::Made, "66", "eth1"),
        ("eth2", Origin::Existing, "67", "veth5"),
    ] {
        let services = [ports(6, 80, 80), ports(6, 8000, 8010), ports(17, 53, 53)];
        let mut allow = allowing(to, &services);
        allow.extend(Family::BOTH.map(|family| Allow {
            family,
            to: link(to),
            service: Service::icmp(family),
        }));
        let of_link = GatewayLink {
            origin,
            shape: Shape::PointToPoint,
            members: ips(&[&format!("192.168.{net}.2"), &format!("fd{net}::2")]),
            prefixes: nets(&[&format!("192.168.{net}.0/24"), &format!("fd{net}::/64")]),
            routed: [].into(),
            allow,
            egress: fixed(["192.0.2.7", "2001:db8::7"]),
        };
        gateway.links.insert(link(name), of_link);
    }
    gateway.published = published(&["192.168.60.2", "fd60::2"], &["192.0.2.9", "2001:db8::9"]);
    gateway.fallback = Some(Fallback {
        group: 0x6e66,
        bridges: [link("virbr0")].into(),
    });
    gateway
}

/// Publications of each kind to members, and at addresses, of the two families.
fn published(members: &[&str], addresses: &[&str]) -> BTreeSet<Publication> {
    let mut all = BTreeSet::new();
    let ports = |from, to| Service::Ports {
        protocol: 6,
        from,
        to,
    };
    for (to, address) in members.iter().zip(addresses) {
        let [to, address] = [to, address].map(|ip| ip.parse().expect("an address"));
        for arrival in [Arrival::Here, Arrival::Outside(link("ens33"))] {
            for (at, service, port) in [
                (None, ports(8080, 8080), Some(80)),
                (None, ports(8081, 8081), None),
                (None, ports(9000, 9010), None),
                (Some(address), ports(8080, 8080), Some(81)),
                (Some(address), ports(9000, 9010), None),
                (Some(address), Service::All, None),
            ] {
                all.insert(Publication {
                    arrival: arrival.clone(),
                    address: at,
                    service,
                    to,
                    port,
                    behind: link("br0"),
                });
            }
        }
        if to.is_ipv4() {
            all.insert(Publication {
                arrival: Arrival::Here,
                address: Some("127.0.0.1".parse().expect("an address")),
                service: ports(8080, 8080),
                to,
                port: Some(80),
                behind: link("br0"),
            });
        }
    }
    all
}

/// A random gateway with about so many members.
pub(crate) fn random(random: &mut fastrand::Rng, size: u32) -> Gateway {
    let mut gateway = seed();
    gateway.links.clear();
    if random.bool() {
        gateway.guard = Guard::Nothing;
    }
    if random.bool() {
        let bridges = (0..random.usize(..3)).map(|_| odd_name(random)).collect();
        let group = random.u32(..);
        gateway.fallback = Some(Fallback { group, bridges });
    }
    let mut members = 0;
    while members < size {
        let name = odd_name(random);
        let count = random.u32(0..=(size - members).min(size / 2 + 1)).max(1);
        members += count;
        let family4 = random.bool();
        let family6 = !family4 || random.bool();
        let mut ips = Vec::new();
        for _ in 0..count {
            if family4 {
                ips.push(IpAddr::V4(random.u32(..).into()));
            }
            if family6 {
                ips.push(IpAddr::V6(random.u128(..).into()));
            }
        }
        let prefixes = ips.iter().map(|ip| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            IpNet::new(*ip, random.u8(1..=longest))
                .expect("a prefix")
                .trunc()
        });
        let prefixes: std::collections::BTreeSet<IpNet> = prefixes.take(20).collect();
        let mut egress = BTreeMap::new();
        for family in Family::BOTH {
            let fixed = ips.iter().find(|ip| Family::of(**ip) == family);
            let nat = match (random.u8(..3), fixed) {
                (0, _) => Nat::Masquerade,
                (1, Some(ip)) => Nat::Source(*ip),
                _ => Nat::None,
            };
            if random.bool() {
                let inbound = if random.bool() {
                    Inbound::Allow
                } else {
                    Inbound::Deny
                };
                let dev = odd_name(random);
                egress.insert(family, Egress { dev, nat, inbound });
            }
        }
        let gateway_link = GatewayLink {
            origin: if random.bool() {
                Origin::Made
            } else {
                Origin::Existing
            },
            shape: if random.bool() {
                Shape::Bridge
            } else {
                Shape::PointToPoint
            },
            members: ips.into_iter().collect(),
            allow: BTreeSet::new(),
            routed: if random.bool() {
                prefixes.clone()
            } else {
                [].into()
            },
            prefixes,
            egress,
        };
        gateway.links.insert(name, gateway_link);
    }
    let names: Vec<LinkName> = gateway.links.keys().cloned().collect();
    for link in gateway.links.values_mut() {
        for _ in 0..random.usize(0..4) {
            let family = *random.choice(Family::BOTH.iter()).expect("two");
            let from = random.u16(1..);
            let service = match random.u8(..3) {
                0 => Service::All,
                1 => Service::icmp(family),
                _ => Service::Ports {
                    protocol: *random.choice([6, 17].iter()).expect("two"),
                    from,
                    to: from.saturating_add(random.u16(..3)),
                },
            };
            let to = random.choice(names.iter()).expect("one").clone();
            link.allow.insert(Allow {
                family,
                to,
                service,
            });
        }
    }
    gateway.published = random_publications(random, &gateway);
    gateway
}

/// Some of the members of a gateway published, no port of a place twice.
fn random_publications(random: &mut fastrand::Rng, gateway: &Gateway) -> BTreeSet<Publication> {
    let mut all = BTreeSet::new();
    let mut port = 1;
    for (name, of_link) in &gateway.links {
        for to in of_link.members.iter().take(random.usize(..3)) {
            let last = port + random.u16(..2) * random.u16(..50);
            let service = match random.u8(..4) {
                0 => Service::All,
                _ => Service::Ports {
                    protocol: *random.choice([6, 17].iter()).expect("two"),
                    from: port,
                    to: last,
                },
            };
            let ip = match to {
                IpAddr::V4(_) => IpAddr::V4(random.u32(..).into()),
                IpAddr::V6(_) => IpAddr::V6(random.u128(..).into()),
            };
            let arrival = match random.u8(..2) {
                0 => Arrival::Here,
                _ => Arrival::Outside(odd_name(random)),
            };
            all.insert(Publication {
                arrival,
                address: (service == Service::All || random.bool()).then_some(ip),
                service,
                to: *to,
                port: (last == port && random.bool()).then(|| random.u16(1..)),
                behind: name.clone(),
            });
            port = last + 1;
        }
    }
    all
}

/// A name of characters that a link can have, odd ones too.
fn odd_name(random: &mut fastrand::Rng) -> LinkName {
    const CHARACTERS: &[char] = &[
        'a', 'b', 'c', 'x', 'y', 'z', '0', '1', '9', '-', '_', '.', '@', '*', '+', ',', '(', '{',
        '$', '\\', '\'', '#', ';', 'é',
    ];
    loop {
        let length = random.usize(1..=15);
        let name: String = (0..length)
            .map(|_| CHARACTERS[random.usize(..CHARACTERS.len())])
            .collect();
        if let Ok(name) = LinkName::try_from(name) {
            return name;
        }
    }
}
