//! How a resource reads in a line of a plan, of a conflict, and of an error.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::resource::address::{Address, AddressKey};
use crate::resource::file::FileKind;
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::TopologyName;
use crate::resource::nftables::Value;
use crate::resource::nftables::gateway::Service;
use crate::resource::nftables::gateway::withdrawn::{Ended, Lead, Whence};
use crate::resource::permit;
use crate::resource::route::{self, NextHop, Route, RouteKey, Target};
use crate::resource::rule::{Action, Mark, Rule, RuleKey};
use crate::resource::{Family, Id, Key, Ns, Resource};

/// A resource within the group of its namespace: `address 192.168.50.2/24 on veth1`.
pub fn resource(id: &Id, resource: &Resource, topology: &TopologyName) -> String {
    match (&id.key, resource) {
        (Key::Link(name), Resource::Link(link)) => self::link(name.as_str(), link, &id.ns),
        (Key::Port(name), Resource::Port(port)) => format!("port {name} of {}", port.master),
        (Key::Address(key), Resource::Address(value)) => address(key, value),
        (Key::Route(key), Resource::Route(value)) => route(key, value),
        (Key::Rule(key), Resource::Rule(value)) => rule(key, value),
        (Key::Sysctl(key), Resource::Sysctl(sysctl)) => format!("sysctl {key} = {}", sysctl.value),
        _ => identity(id, topology),
    }
}

/// What a resource is called within its namespace, without its value: `address 192.168.50.2 on veth1`.
pub fn identity(id: &Id, topology: &TopologyName) -> String {
    match &id.key {
        Key::Namespace => "namespace".to_owned(),
        Key::Link(name) => format!("link {name}"),
        Key::Port(name) => format!("port {name}"),
        Key::Address(AddressKey { link, ip }) => format!("address {ip} on {link}"),
        Key::Route(key) => format!("route {}", destination(key)),
        Key::Rule(key) => selector(key),
        Key::File(kind) => format!("file {}", path(&id.ns, *kind)),
        Key::Sysctl(key) => format!("sysctl {key}"),
        Key::Table => format!("table inet netform-{topology}"),
        Key::Permit(key) => format!(
            "rule in {} {} {}: {key}",
            key.family,
            permit::TABLE,
            key.chain
        ),
    }
}

/// A resource on its own, as in an error: `link veth1 in namespace breezyfrost`.
pub fn located(id: &Id, topology: &TopologyName) -> String {
    match (&id.key, &id.ns) {
        (Key::Namespace, ns) => format!("namespace {ns}"),
        (Key::File(_), _) => identity(id, topology),
        (_, Ns::Host) => format!("{} on the host", identity(id, topology)),
        (_, Ns::Named(name)) => format!("{} in namespace {name}", identity(id, topology)),
    }
}

/// Where a file of a namespace lies.
pub fn path(ns: &Ns, kind: FileKind) -> String {
    format!("/etc/netns/{ns}/{}", kind.file_name())
}

fn link(name: &str, link: &Link, ns: &Ns) -> String {
    let mut text = match &link.kind {
        LinkKind::Loopback => format!("link {name}"),
        LinkKind::Veth(Veth {
            peer: Some(Peer {
                ns: other,
                name: peer,
            }),
        }) if other == ns => {
            format!("veth {name} ⇄ {peer}")
        }
        LinkKind::Veth(Veth {
            peer: Some(Peer {
                ns: other,
                name: peer,
            }),
        }) => {
            format!("veth {name} ⇄ {other}:{peer}")
        }
        LinkKind::Veth(Veth { peer: None }) => format!("veth {name}"),
        kind => format!("{} {name}", kind.name()),
    };
    let mut details = Vec::new();
    match (&link.kind, link.up) {
        (LinkKind::Loopback, true) => details.push("up".to_owned()),
        (_, false) => details.push("down".to_owned()),
        (_, true) => {}
    }
    for setting in link.kind.settings().iter().filter(|setting| !setting.usual) {
        details.push(format!("{} {}", setting.word, setting.text));
    }
    if let Some(mtu) = link
        .mtu
        .filter(|mtu| *mtu != 1500 && link.kind != LinkKind::Loopback)
    {
        details.push(format!("mtu {mtu}"));
    }
    if let Some(master) = &link.master {
        details.push(format!("in {master}"));
    }
    if !details.is_empty() {
        let _ = write!(text, "  {}", details.join(", "));
    }
    text
}

fn address(key: &AddressKey, value: &Address) -> String {
    match value.peer {
        Some(peer) => format!(
            "address {} peer {peer}/{} on {}",
            key.ip, value.prefix, key.link
        ),
        None => format!("address {}/{} on {}", key.ip, value.prefix, key.link),
    }
}

/// A route as `ip route` takes it, but without what goes without saying.
fn route(key: &RouteKey, value: &Route) -> String {
    let to = destination(key);
    if value.hops().is_empty() {
        format!("route {} {to}{}", fate(&value.target), details(value))
    } else {
        format!("route {to} {}", way(value))
    }
}

/// What happens to packets that take a route, and where they go: `via 192.168.50.3 dev veth1`, `blackhole`.
pub fn way(value: &Route) -> String {
    let hops = match value.hops() {
        [] => fate(&value.target),
        [hop] => next_hop(hop),
        hops => {
            let ways = hops
                .iter()
                .map(|hop| format!("nexthop {} weight {}", next_hop(hop), hop.weight));
            ways.collect::<Vec<_>>().join(" ")
        }
    };
    hops + &details(value)
}

/// What else a route says, with a space before each.
fn details(value: &Route) -> String {
    let mut text = String::new();
    if let Some(src) = value.src {
        let _ = write!(text, " src {src}");
    }
    if let Some(mtu) = value.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    text
}

/// The type of a route, as `ip route` calls it.
fn fate(target: &Target) -> String {
    match target {
        Target::Unicast(_) => "unicast".to_owned(),
        Target::Blackhole => "blackhole".to_owned(),
        Target::Unreachable => "unreachable".to_owned(),
        Target::Prohibit => "prohibit".to_owned(),
        Target::Other(kind) => format!("of type {kind}"),
    }
}

/// A rule as `ip rule` takes it.
fn rule(key: &RuleKey, value: &Rule) -> String {
    let deeds = std::iter::once(&value.action).chain(&value.surplus);
    let deeds: Vec<String> = deeds.map(|action| deed(*action)).collect();
    format!("{} {}", selector(key), deeds.join(" and "))
}

/// What a rule does with a packet.
fn deed(action: Action) -> String {
    match action {
        Action::Lookup(table) => format!("lookup {}", self::table(table)),
        Action::Blackhole => "blackhole".to_owned(),
        Action::Unreachable => "unreachable".to_owned(),
        Action::Prohibit => "prohibit".to_owned(),
        Action::Other(action) => format!("action {action}"),
    }
}

/// A rule's place and the packets that it is for.
fn selector(key: &RuleKey) -> String {
    let mut text = format!("rule {}", key.priority);
    match (&key.from, key.family) {
        (Some(from), _) => {
            let _ = write!(text, " from {}", prefix(from));
        }
        // Nothing else says of which family it is.
        (None, Family::Ipv6) if key.to.is_none() => text.push_str(" from ::/0"),
        (None, _) if key.to.is_none() => text.push_str(" from 0.0.0.0/0"),
        (None, _) => {}
    }
    if let Some(to) = &key.to {
        let _ = write!(text, " to {}", prefix(to));
    }
    if let Some(link) = &key.iif {
        let _ = write!(text, " iif {link}");
    }
    if let Some(link) = &key.oif {
        let _ = write!(text, " oif {link}");
    }
    match key.mark {
        Some(Mark { value, mask }) if mask != u32::MAX => {
            let _ = write!(text, " fwmark {value:#x}/{mask:#x}");
        }
        Some(Mark { value, .. }) => {
            let _ = write!(text, " fwmark {value:#x}");
        }
        None => {}
    }
    text
}

/// A routing table, by its name if every machine knows it.
fn table(number: u32) -> String {
    match number {
        route::MAIN => "main".to_owned(),
        route::DEFAULT => "default".to_owned(),
        route::LOCAL => "local".to_owned(),
        number => number.to_string(),
    }
}

/// One way on, with its link only where there is no router to tell it by.
fn next_hop(hop: &NextHop) -> String {
    let mut text = match (hop.via, &hop.dev) {
        (Some(via), Some(dev)) => format!("via {via} dev {dev}"),
        (Some(via), None) => format!("via {via}"),
        (None, Some(dev)) => format!("dev {dev}"),
        (None, None) => "to nowhere".to_owned(),
    };
    if hop.onlink {
        text.push_str(" onlink");
    }
    text
}

/// What a route is for, and in which table and with which metric unless these are as usual.
fn destination(key: &RouteKey) -> String {
    let mut text = prefix(&key.to);
    let usual = RouteKey::main(key.to);
    if key.metric != usual.metric {
        let _ = write!(text, " metric {}", key.metric);
    }
    if key.table != route::MAIN {
        let _ = write!(text, " table {}", table(key.table));
    }
    text
}

/// A prefix: `default` of its family for all addresses, and a single address without its length.
fn prefix(to: &IpNet) -> String {
    match (to.prefix_len(), to.addr()) {
        (0, IpAddr::V4(_)) => "default".to_owned(),
        (0, IpAddr::V6(_)) => "default6".to_owned(),
        (length, ip) if length == to.max_prefix_len() => ip.to_string(),
        _ => to.to_string(),
    }
}

/// How many addresses are listed before the rest is counted.
const ADDRESSES: usize = 8;

/// Connections that end.
pub fn connections(ended: &Ended) -> String {
    match ended {
        Ended::Members(nets) => {
            let listed: Vec<String> = nets
                .iter()
                .take(ADDRESSES)
                .map(|net| prefix(&net))
                .collect();
            let more = match nets.len().saturating_sub(ADDRESSES) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            format!("the connections of {}{more}", listed.join(", "))
        }
        Ended::Pair {
            family,
            from,
            to,
            were,
            still,
        } => {
            let services = match (services(were), services(still)) {
                (Some(were), _) => format!(" to {were}"),
                (None, Some(still)) if !still.is_empty() => format!(" but to {still}"),
                _ => String::new(),
            };
            format!(
                "the {family} connections from {} to {}{services}",
                from.link, to.link
            )
        }
        Ended::Published(lead) => led(lead),
        Ended::Mapped { member, dev } => format!("the connections of {member} out by {dev}"),
    }
}

/// What a publication led to a member.
fn led(lead: &Lead) -> String {
    let what = match services(&BTreeSet::from([lead.service])) {
        Some(service) => service + if lead.at.is_some() { " of " } else { " " },
        None => String::new(),
    };
    let at = lead.at.map(|at| format!("{at} ")).unwrap_or_default();
    let whence = match &lead.whence {
        Whence::Here => " from here".to_owned(),
        Whence::Outside(link) => format!(" by {link}"),
        Whence::Anywhere => String::new(),
    };
    let family = Family::of(lead.to);
    format!(
        "the {family} connections to {what}{at}that lead to {}{whence}",
        lead.to
    )
}

/// Services as a list. None: all of them.
pub(super) fn services(services: &BTreeSet<Service>) -> Option<String> {
    let texts: Option<Vec<String>> = services
        .iter()
        .map(|service| match service {
            Service::All => None,
            Service::Ports {
                protocol: 1 | 58, ..
            } => Some("icmp".to_owned()),
            Service::Ports { protocol, from, to } => {
                let protocol = Value::Protocol(*protocol);
                Some(format!("{protocol} {}", Value::ports(*from, *to)))
            }
        })
        .collect();
    texts.map(|texts| texts.join(", "))
}
