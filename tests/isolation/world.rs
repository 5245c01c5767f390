//! The host, its neighbour, and the two topologies.

use std::fs;

use super::common::{netform, sh};

/// Who can send and be sent to.
pub(crate) struct Party {
    pub(crate) name: &'static str,
    /// The number of its networks: `10.NET.0.0/24` and `fd00:NET::/64`.
    pub(crate) net: u8,
    /// Its last digit there.
    pub(crate) host: u8,
    /// Where its frames go: the namespace and the link.
    pub(crate) next: (&'static str, &'static str),
    /// Where what it says to somebody else leads, and with whose address.
    pub(crate) out: Out,
}

#[derive(PartialEq)]
pub(crate) enum Out {
    Masqueraded,
    /// With a fixed address, of each family, without its beginning.
    As([&'static str; 2]),
    AsItself,
    Nowhere,
}

/// A network outside, with a neighbour of the host who knows where the members are.
pub(crate) const OUTSIDE: &str = "lan";
pub(crate) const OUTSIDE_NET: u8 = 34;

pub(crate) const PARTIES: [Party; 12] = [
    party("a1", 1, 2, ("host", "to-a1"), Out::Masqueraded),
    // Behind a1, which is a router.
    party("deep", 55, 2, ("a1", "in"), Out::Masqueraded),
    party("a2", 2, 2, ("host", "to-a2"), Out::Nowhere),
    party("b1", 3, 2, ("host", "br-x"), Out::Masqueraded),
    party("b2", 3, 3, ("host", "br-x"), Out::Masqueraded),
    party("d", 10, 2, ("host", "to-d"), Out::As([".34.0.9", ":34::9"])),
    party("g", 11, 2, ("host", "to-g"), Out::AsItself),
    party("c1", 5, 2, ("host", "to-c1"), Out::Masqueraded),
    party("c2", 6, 2, ("host", "to-c2"), Out::AsItself),
    // Behind a link that exists already.
    party("e", 7, 2, ("host", "to-e"), Out::Masqueraded),
    // Behind a router that the topology makes, which is a member of the host's.
    party("f", 8, 2, ("r", "to-f"), Out::Masqueraded),
    party(OUTSIDE, OUTSIDE_NET, 2, ("host", "ens34"), Out::Nowhere),
];

const fn party(
    name: &'static str,
    net: u8,
    host: u8,
    next: (&'static str, &'static str),
    out: Out,
) -> Party {
    Party {
        name,
        net,
        host,
        next,
        out,
    }
}

pub(crate) const FAMILIES: [bool; 2] = [false, true];

pub(crate) fn address(v6: bool, net: u8, host: u8) -> String {
    if v6 {
        format!("fd00:{net}::{host}")
    } else {
        format!("10.{net}.0.{host}")
    }
}

impl Party {
    pub(crate) fn address(&self, v6: bool) -> String {
        address(v6, self.net, self.host)
    }
}

pub(crate) const X: &str = "\
version: 1
name: x
namespaces:
  a1: { forwarding: true }
  deep:
    routes: [{ to: default, via: 10.55.0.1 }, { to: default, via: 'fd00:55::1' }]
  a2: {}
  b1: {}
  b2: {}
  d: {}
  g: {}
  host:
    routes: [{ to: 10.55.0.0/24, via: 10.1.0.2 }, { to: 'fd00:55::/64', via: 'fd00:1::2' }]
    links:
      br-x: { bridge: {}, addresses: [10.3.0.1, 'fd00:3::1'] }
subnets:
  a1:  { cidr: 10.1.0.0/24, gateway: 10.1.0.1, egress: { dev: ens34 } }
  a16: { cidr: 'fd00:1::/64', gateway: 'fd00:1::1', egress: { dev: ens34 } }
  a2:  { cidr: 10.2.0.0/24, gateway: 10.2.0.1 }
  a26: { cidr: 'fd00:2::/64', gateway: 'fd00:2::1' }
  b:   { cidr: 10.3.0.0/24, gateway: 10.3.0.1, egress: { dev: ens34 } }
  b6:  { cidr: 'fd00:3::/64', gateway: 'fd00:3::1', egress: { dev: ens34 } }
  d:   { cidr: 10.10.0.0/24, gateway: 10.10.0.1, egress: { dev: ens34, snat: 10.34.0.9 }, allow: [a2, { subnet: b, tcp: [80] }] }
  d6:  { cidr: 'fd00:10::/64', gateway: 'fd00:10::1', egress: { dev: ens34, snat: 'fd00:34::9' }, allow: [a26, { subnet: b6, tcp: [80] }] }
  g:   { cidr: 10.11.0.0/24, gateway: 10.11.0.1, egress: { dev: ens34, masquerade: false, inbound: allow } }
  g6:  { cidr: 'fd00:11::/64', gateway: 'fd00:11::1', egress: { dev: ens34, masquerade: false, inbound: allow } }
veths:
  - ends:
      - { namespace: d, name: eth0, addresses: [10.10.0.2, 'fd00:10::2'] }
      - { namespace: host, name: to-d, addresses: [10.10.0.1, 'fd00:10::1'] }
  - ends:
      - { namespace: g, name: eth0, addresses: [10.11.0.2, 'fd00:11::2'] }
      - { namespace: host, name: to-g, addresses: [10.11.0.1, 'fd00:11::1'] }
  - ends:
      - { namespace: deep, name: eth0, addresses: [10.55.0.2/24, 'fd00:55::2/64'] }
      - { namespace: a1, name: in, addresses: [10.55.0.1/24, 'fd00:55::1/64'] }
  - ends:
      - { namespace: a1, name: eth0, addresses: [10.1.0.2, 'fd00:1::2'] }
      - { namespace: host, name: to-a1, addresses: [10.1.0.1, 'fd00:1::1'] }
  - ends:
      - { namespace: a2, name: eth0, addresses: [10.2.0.2, 'fd00:2::2'] }
      - { namespace: host, name: to-a2, addresses: [10.2.0.1, 'fd00:2::1'] }
  - ends:
      - { namespace: b1, name: eth0, addresses: [10.3.0.2, 'fd00:3::2'] }
      - { namespace: host, name: b1, bridge: br-x }
  - ends:
      - { namespace: b2, name: eth0, addresses: [10.3.0.3, 'fd00:3::3'] }
      - { namespace: host, name: b2, bridge: br-x }
publish:
  - { dev: ens34, proto: udp, port: 5300, to: '10.2.0.2:9' }
  - { dev: ens34, proto: udp, port: 5300, to: '[fd00:2::2]:9' }
";

pub(crate) const Y: &str = "\
version: 1
name: y
namespaces:
  c1: {}
  c2: {}
  e:
    external: true
    links: { eth0: { addresses: [10.7.0.2, 'fd00:7::2'] } }
  r: {}
  f: {}
subnets:
  c1:  { cidr: 10.5.0.0/24, gateway: 10.5.0.1, egress: { dev: ens34 }, allow: [e] }
  c16: { cidr: 'fd00:5::/64', gateway: 'fd00:5::1', egress: { dev: ens34 }, allow: [e6] }
  c2:  { cidr: 10.6.0.0/24, gateway: 10.6.0.1, egress: { dev: ens34, masquerade: false } }
  c26: { cidr: 'fd00:6::/64', gateway: 'fd00:6::1', egress: { dev: ens34, masquerade: false } }
  e:   { cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: { dev: ens34 }, allow: [{ subnet: c2, udp: [9] }] }
  e6:  { cidr: 'fd00:7::/64', gateway: 'fd00:7::1', egress: { dev: ens34 }, allow: [{ subnet: c26, udp: [9] }] }
  f:   { cidr: 10.8.0.0/24, gateway: 10.8.0.1, egress: {} }
  f6:  { cidr: 'fd00:8::/64', gateway: 'fd00:8::1', egress: {} }
  r:   { cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: { dev: ens34 } }
  r6:  { cidr: 'fd00:9::/64', gateway: 'fd00:9::1', egress: { dev: ens34 } }
veths:
  - ends:
      - { namespace: c1, name: eth0, addresses: [10.5.0.2, 'fd00:5::2'] }
      - { namespace: host, name: to-c1, addresses: [10.5.0.1, 'fd00:5::1'] }
  - ends:
      - { namespace: c2, name: eth0, addresses: [10.6.0.2, 'fd00:6::2'] }
      - { namespace: host, name: to-c2, addresses: [10.6.0.1, 'fd00:6::1'] }
  - ends:
      - { namespace: f, name: eth0, addresses: [10.8.0.2, 'fd00:8::2'] }
      - { namespace: r, name: to-f, addresses: [10.8.0.1, 'fd00:8::1'] }
  - ends:
      - { namespace: r, name: up, addresses: [10.9.0.2, 'fd00:9::2'] }
      - { namespace: host, name: to-r, addresses: [10.9.0.1, 'fd00:9::1'] }
";

/// The neighbour, the link that exists already, and no check of sources but netform's. Then both topologies,
/// and what the neighbours know of each other.
pub(crate) fn build() {
    sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done
        ip netns add lan; ip netns add e
        ip link add ens34 type veth peer name eth0 netns lan
        ip link add to-e type veth peer name eth0 netns e
        ip netns exec e sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done'
        ip netns exec lan sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done'
        ip -n lan link set lo up; ip -n e link set lo up
        ip link set ens34 up; ip -n lan link set eth0 up; ip link set to-e up; ip -n e link set eth0 up
        ip address add 10.34.0.1/24 dev ens34; ip address add 10.34.0.9/24 dev ens34
        ip address add fd00:34::9/64 dev ens34 nodad preferred_lft 0; ip address add fd00:34::1/64 dev ens34 nodad
        ip address add 10.7.0.1/24 dev to-e; ip address add fd00:7::1/64 dev to-e nodad
        ip -n lan address add 10.34.0.2/24 dev eth0; ip -n lan address add fd00:34::2/64 dev eth0 nodad
        ip -n lan route add 10.0.0.0/8 via 10.34.0.1; ip -n lan route add fd00::/16 via fd00:34::1")
    .ok();
    for (name, spec) in [("x", X), ("y", Y)] {
        let path = format!("/run/{name}.yaml");
        fs::write(&path, spec).expect("write");
        netform(&["apply", "-f", &path]).ok();
    }
    // A router between: the host knows where its members are, as a hostile neighbour would like.
    sh("ip route add 10.8.0.0/24 via 10.9.0.2; ip route add fd00:8::/64 via fd00:9::2").ok();
    for (inside, net, host) in [
        ("", 1, 2),
        ("", 2, 2),
        ("", 3, 2),
        ("", 3, 3),
        ("", 5, 2),
        ("", 6, 2),
        ("", 7, 2),
        ("", 9, 2),
        ("", 10, 2),
        ("", 11, 2),
        ("", 34, 2),
        ("ip netns exec a1 ", 55, 2),
        ("ip netns exec r ", 8, 2),
    ] {
        for v6 in FAMILIES {
            sh(&format!(
                "{inside}ping -n -c1 -W20 {}",
                address(v6, net, host)
            ))
            .ok();
        }
    }
}

/// Whether the specs let one open a connection of a kind to another.
pub(crate) fn is_permitted(from: &Party, to: &Party, kind: &str) -> bool {
    match (from.name, to.name) {
        ("d", "a2") | ("c1", "e") | (OUTSIDE, "g") => true,
        ("d", "b1" | "b2") => ["syn", "ack"].contains(&kind),
        ("e", "c2") => ["udp", "fragments"].contains(&kind),
        (_, OUTSIDE) => from.out != Out::Nowhere,
        _ => false,
    }
}

/// With which source the other sees it.
pub(crate) fn seen_source(from: &Party, to: &Party, v6: bool) -> String {
    match from.out {
        Out::Masqueraded if to.name == OUTSIDE => address(v6, OUTSIDE_NET, 1),
        Out::As([v4, _]) if to.name == OUTSIDE && !v6 => format!("10{v4}"),
        Out::As([_, v6]) if to.name == OUTSIDE => format!("fd00{v6}"),
        _ => from.address(v6),
    }
}

/// Whether errors about a connection of one may come from another: one of them may open some to the other.
pub(crate) fn may_hear_of(one: &Party, other: &Party) -> bool {
    let kinds = ["udp", "syn"];
    let mut permitted = kinds
        .iter()
        .map(|kind| is_permitted(one, other, kind) || is_permitted(other, one, kind));
    permitted.any(|permitted| permitted)
}

/// Whether two can speak past their gateway.
pub(crate) fn are_neighbours(one: &Party, other: &Party) -> bool {
    one.net == other.net
        || [one.name, other.name]
            .iter()
            .all(|name| ["a1", "deep"].contains(name))
}
