//! What a host holds, one file a kind.
//!
//! A resource is a kind of thing in a [`State`](crate::state::State). It knows its identity, what it
//! requires, what it dies with, what is born with it, what a difference to another of its identity
//! means, and what an update of it takes down. It knows nothing of sockets, of YAML or of a plan.

pub mod address;
pub mod file;
pub mod firewall;
pub mod link;
pub mod name;
pub mod namespace;
pub mod nftables;
pub mod permit;
pub mod port;
pub mod route;
pub mod rule;
pub mod sysctl;

use std::fmt;

use serde::{Deserialize, Serialize};

use address::{Address, AddressKey};
use file::{File, FileKind};
use link::Link;
use name::{LinkName, NamespaceName};
use namespace::Namespace;
use permit::{Permit, PermitKey};
use port::Port;
use route::{Route, RouteKey};
use rule::{Rule, RuleKey};
use sysctl::{Sysctl, SysctlKey};

/// A network namespace, as a topology refers to it.
///
/// The host comes last in the order, because a plan lists it last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ns {
    /// One with a name in `/run/netns`.
    Named(NamespaceName),
    /// The namespace that netform runs in. It always exists.
    Host,
}

impl Ns {
    /// The name, unless it is the host.
    pub fn name(&self) -> Option<&NamespaceName> {
        match self {
            Ns::Named(name) => Some(name),
            Ns::Host => None,
        }
    }
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ns::Named(name) => name.fmt(f),
            Ns::Host => f.write_str("host"),
        }
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address.
    pub fn of(ip: std::net::IpAddr) -> Family {
        if ip.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// The identity of a resource: where it is, and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// The namespace it is in. A file under `/etc/netns/NAME` is in the namespace NAME.
    pub ns: Ns,
    /// What it is called there.
    pub key: Key,
}

impl Id {
    /// The identity of `key` in `ns`.
    pub fn new(ns: Ns, key: Key) -> Id {
        Id { ns, key }
    }

    /// The identity of a link.
    pub fn link(ns: Ns, name: LinkName) -> Id {
        Id {
            ns,
            key: Key::Link(name),
        }
    }

    /// The identity of a namespace itself.
    pub fn namespace(ns: Ns) -> Id {
        Id {
            ns,
            key: Key::Namespace,
        }
    }
}

/// What a resource is called within its namespace.
///
/// The order is that of a plan: a namespace, then its links, and so on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The namespace itself.
    Namespace,
    /// A link, by its name.
    Link(LinkName),
    /// That a link which exists already is a port, by the link's name.
    Port(LinkName),
    /// An address, by its link and the address without its length.
    Address(AddressKey),
    /// A route, by what the kernel tells routes apart by.
    Route(RouteKey),
    /// A policy routing rule, by its place and by the packets that it is for.
    Rule(Box<RuleKey>),
    /// A file of the namespace in `/etc/netns`.
    File(FileKind),
    /// A sysctl.
    Sysctl(SysctlKey),
    /// The topology's nftables table.
    Table,
    /// An accept rule in a chain of others.
    Permit(Box<PermitKey>),
}

impl Key {
    /// The link that this is, or is on, or is about.
    pub fn of_link(&self) -> Option<&LinkName> {
        match self {
            Key::Link(link) | Key::Port(link) | Key::Sysctl(SysctlKey::Conf { link, .. }) => {
                Some(link)
            }
            Key::Address(key) => Some(&key.link),
            Key::Namespace
            | Key::Route(_)
            | Key::Rule(_)
            | Key::File(_)
            | Key::Sysctl(_)
            | Key::Table
            | Key::Permit(_) => None,
        }
    }
}

/// A resource, by value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// A network namespace.
    Namespace(Namespace),
    /// A link.
    Link(Link),
    /// That a link which exists already is a port.
    Port(Port),
    /// An address on a link.
    Address(Address),
    /// A route.
    Route(Route),
    /// A policy routing rule.
    Rule(Rule),
    /// A file in `/etc/netns`.
    File(File),
    /// A sysctl's value.
    Sysctl(Sysctl),
    /// A topology's nftables table.
    Table(nftables::Table),
    /// An accept rule in a chain of others.
    Permit(Permit),
}

/// What a difference between what is wanted and what is there means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is none that counts.
    None,
    /// It is mended in place.
    Update,
    /// The resource must be removed and made again: why.
    Replace(String),
}

impl Resource {
    /// What it takes to get from `observed`, of the same identity, to this.
    pub fn change_from(&self, observed: &Resource) -> Change {
        let changed = match (self, observed) {
            (Resource::Link(wanted), Resource::Link(found)) => return wanted.change_from(found),
            (Resource::Address(wanted), Resource::Address(found)) => {
                return wanted.change_from(found);
            }
            (Resource::Permit(wanted), Resource::Permit(found)) => {
                return wanted.change_from(*found);
            }
            (Resource::Namespace(_), Resource::Namespace(_)) => false,
            _ => self != observed,
        };
        if changed {
            Change::Update
        } else {
            Change::None
        }
    }
}
