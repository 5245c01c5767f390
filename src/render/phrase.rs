//! How a resource reads in a line of a plan, of a conflict, and of an error.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::resource::address::{Address, AddressKey};
use crate::resource::file::FileKind;
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::TopologyName;
use crate::resource::route::{self, NextHop, Route, RouteKey, Target};
use crate::resource::{Id, Key, Ns, Resource};

/// A resource within the group of its namespace: `address 192.168.50.2/24 on veth1`.
pub fn resource(id: &Id, resource: &Resource, topology: &TopologyName) -> String {
    match (&id.key, resource) {
        (Key::Link(name), Resource::Link(link)) => self::link(name.as_str(), link, &id.ns),
        (Key::Address(key), Resource::Address(value)) => address(key, value),
        (Key::Route(key), Resource::Route(value)) => route(key, value),
        (Key::Sysctl(key), Resource::Sysctl(sysctl)) => format!("sysctl {key} = {}", sysctl.value),
        _ => identity(id, topology),
    }
}

/// What a resource is called within its namespace, without its value: `address 192.168.50.2 on veth1`.
pub fn identity(id: &Id, topology: &TopologyName) -> String {
    match &id.key {
        Key::Namespace => "namespace".to_owned(),
        Key::Link(name) => format!("link {name}"),
        Key::Address(AddressKey { link, ip }) => format!("address {ip} on {link}"),
        Key::Route(key) => format!("route {}", destination(key)),
        Key::File(kind) => format!("file {}", path(&id.ns, *kind)),
        Key::Sysctl(key) => format!("sysctl {key}"),
        Key::Table => format!("table inet netform-{topology}"),
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
        LinkKind::Other(_) => format!("{} {name}", link.kind.name()),
    };
    let mut details = Vec::new();
    match (&link.kind, link.up) {
        (LinkKind::Loopback, true) => details.push("up".to_owned()),
        (_, false) => details.push("down".to_owned()),
        (_, true) => {}
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
    let mut text = match &value.target {
        Target::Unicast(_) => format!("route {}", destination(key)),
        Target::Blackhole => format!("route blackhole {}", destination(key)),
        Target::Unreachable => format!("route unreachable {}", destination(key)),
        Target::Prohibit => format!("route prohibit {}", destination(key)),
        Target::Other(kind) => format!("route of type {kind} {}", destination(key)),
    };
    match value.hops() {
        [] => {}
        [hop] => {
            text.push(' ');
            text.push_str(&next_hop(hop));
        }
        hops => {
            for hop in hops {
                let _ = write!(text, " nexthop {} weight {}", next_hop(hop), hop.weight);
            }
        }
    }
    if let Some(src) = value.src {
        let _ = write!(text, " src {src}");
    }
    if let Some(mtu) = value.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    text
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
        let _ = write!(text, " table {}", key.table);
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
