//! What a plan's operations are about, as data.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::render::phrase;
use crate::render::plan::DERIVED;
use crate::resource::firewall::TableFamily;
use crate::resource::link::{Link as KernelLink, MacAddress};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::nftables;
use crate::resource::permit::{self, Permit};
use crate::resource::route::Target;
use crate::resource::rule;
use crate::resource::{self, Family, Id, Key, Resource};

/// What a thing is, and what it is told apart by in its namespace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "identity", rename_all = "snake_case")]
pub(super) enum Identity {
    /// The namespace itself.
    Namespace {},
    /// A link.
    Link {
        /// Its name.
        link: String,
    },
    /// That a link which others made is a port.
    Port {
        /// The link's name.
        link: String,
    },
    /// An address on a link.
    Address {
        /// The link's name.
        link: String,
        /// The address, without its length.
        address: String,
    },
    /// A route.
    Route {
        /// The prefix; `0.0.0.0/0` and `::/0` are the default routes.
        to: String,
        /// The number of the routing table; 254 is the main one.
        table: u32,
        /// The metric: lower wins.
        metric: u32,
    },
    /// A policy routing rule.
    Rule {
        /// The family that it is of: `ipv4` or `ipv6`.
        family: &'static str,
        /// Its place: lower ones are asked first.
        priority: u32,
        /// The prefix of sources.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The prefix of destinations.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The link that packets come in by.
        #[serde(skip_serializing_if = "Option::is_none")]
        iif: Option<String>,
        /// The link that the sender is bound to.
        #[serde(skip_serializing_if = "Option::is_none")]
        oif: Option<String>,
        /// The mark of packets, `VALUE/MASK`.
        #[serde(skip_serializing_if = "Option::is_none")]
        fwmark: Option<String>,
    },
    /// A file in `/etc/netns`.
    File {
        /// Its path.
        path: String,
    },
    /// A sysctl.
    Sysctl {
        /// Its name as `sysctl` takes it, a dot in a link's name as a slash.
        sysctl: String,
    },
    /// The topology's nftables table, of the family `inet`.
    Table {
        /// Its name.
        table: String,
    },
    /// An accept rule in a chain of others.
    AcceptRule {
        /// The family of the table: `ip`, `ip6` or `inet`.
        family: &'static str,
        /// The table.
        table: &'static str,
        /// The chain.
        chain: String,
        /// The link that packets come in by.
        iif: String,
        /// The link that they leave by.
        oif: String,
        /// The prefix of sources.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The prefix of destinations.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// What a thing is like.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Value {
    /// A link.
    Link(Link),
    /// A port.
    Port {
        /// What it is a port of.
        bridge: String,
    },
    /// An address.
    Address {
        /// The length of its prefix in bits.
        prefix: u8,
        /// The other end's address, of a point-to-point address.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// A route.
    Route(Route),
    /// A policy routing rule.
    Rule {
        /// What happens to the packets: one, but for rules that are there several times.
        actions: Vec<Deed>,
    },
    /// A file.
    File {
        /// Its content, without the line that says whose it is.
        content: String,
    },
    /// A sysctl.
    Sysctl {
        /// Its value.
        value: String,
    },
    /// A table of nftables.
    Table {
        /// The table in the language of `nft`.
        ruleset: String,
    },
    /// An accept rule.
    AcceptRule {
        /// Where in its chain it stands.
        position: Position,
    },
    /// A namespace, of which there is nothing to say but that it is there.
    Namespace {},
}

/// A link.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Link {
    /// The kind, as the kernel calls it: `veth`, `bridge`; `loopback` and `device` where it has no word.
    r#type: String,
    /// The other end of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    /// Whether it is up.
    up: bool,
    /// The largest packet in bytes, where netform sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    /// The link-layer address, where netform sets it; `derived`: the host's own for this link, which isn't known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    /// The bridge that it is a port of.
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
    /// The settings of its kind, by the names that a spec has for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<&'static str, String>,
}

/// The other end of a pair.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Peer {
    /// The namespace that it is in.
    namespace: String,
    /// Its name.
    link: String,
}

/// A route.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Route {
    /// The type, as `ip route` calls it: `unicast`, `blackhole`, `unreachable`, `prohibit`, or the number of another.
    r#type: String,
    /// The next hops of a unicast route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next_hops: Vec<NextHop>,
    /// The source address that is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<String>,
    /// The MTU of the way, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

/// One way on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct NextHop {
    /// The next router; none for a destination on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    /// The link.
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    /// Whether the router is taken for reachable without a route to it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    onlink: bool,
    /// Its share among several, from 1 to 256.
    weight: u16,
}

/// What a rule does with packets.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum Deed {
    /// The route is looked up in a table.
    Lookup {
        /// The number of the table.
        table: u32,
    },
    /// Dropped silently.
    Blackhole,
    /// Dropped, and the sender told that the network can't be reached.
    Unreachable,
    /// Dropped, and the sender told that it is prohibited.
    Prohibit,
    /// Something that netform doesn't make.
    Other {
        /// The kernel's number of it.
        number: u8,
    },
}

/// Where in its chain an accept rule stands.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Position {
    /// Before all rules of others.
    Top,
    /// Behind a rule of others.
    Below,
    /// Where it is doesn't matter.
    Anywhere,
}

impl Identity {
    pub(super) fn of(id: &Id, topology: &TopologyName) -> Identity {
        let name = |link: &LinkName| link.to_string();
        match &id.key {
            Key::Namespace => Identity::Namespace {},
            Key::Link(link) => Identity::Link { link: name(link) },
            Key::Port(link) => Identity::Port { link: name(link) },
            Key::Address(key) => Identity::Address {
                link: name(&key.link),
                address: key.ip.to_string(),
            },
            Key::Route(key) => Identity::Route {
                to: key.to.to_string(),
                table: key.table,
                metric: key.metric,
            },
            Key::Rule(key) => Identity::Rule {
                family: match key.family {
                    Family::Ipv4 => "ipv4",
                    Family::Ipv6 => "ipv6",
                },
                priority: key.priority,
                from: key.from.as_ref().map(ToString::to_string),
                to: key.to.as_ref().map(ToString::to_string),
                iif: key.iif.as_ref().map(name),
                oif: key.oif.as_ref().map(name),
                fwmark: key
                    .mark
                    .map(|mark| format!("{:#x}/{:#x}", mark.value, mark.mask)),
            },
            Key::File(kind) => Identity::File {
                path: phrase::path(&id.ns, *kind),
            },
            Key::Sysctl(key) => Identity::Sysctl {
                sysctl: key.to_string(),
            },
            Key::Table => Identity::Table {
                table: nftables::Table::name_of(topology),
            },
            Key::Permit(key) => Identity::AcceptRule {
                family: match key.family {
                    TableFamily::Ip => "ip",
                    TableFamily::Ip6 => "ip6",
                    TableFamily::Inet => "inet",
                },
                table: permit::TABLE,
                chain: key.chain.clone(),
                iif: name(&key.from),
                oif: name(&key.to),
                from: key.source.as_ref().map(ToString::to_string),
                to: key.destination.as_ref().map(ToString::to_string),
            },
        }
    }
}

impl Value {
    pub(super) fn of(resource: &Resource, derived: &BTreeSet<MacAddress>) -> Value {
        match resource {
            Resource::Namespace(_) => Value::Namespace {},
            Resource::Link(link) => Value::Link(Link::of(link, derived)),
            Resource::Port(port) => Value::Port {
                bridge: port.master.to_string(),
            },
            Resource::Address(address) => Value::Address {
                prefix: address.prefix,
                peer: address.peer.map(|peer| peer.to_string()),
            },
            Resource::Route(route) => Value::Route(Route::of(route)),
            Resource::Rule(rule) => {
                let deeds = std::iter::once(&rule.action).chain(&rule.surplus);
                Value::Rule {
                    actions: deeds.map(|action| Deed::of(*action)).collect(),
                }
            }
            Resource::File(file) => Value::File {
                content: file.content.clone(),
            },
            Resource::Sysctl(sysctl) => Value::Sysctl {
                value: sysctl.value.to_string(),
            },
            Resource::Table(table) => Value::Table {
                ruleset: table.to_string(),
            },
            Resource::Permit(permit) => Value::AcceptRule {
                position: match permit {
                    Permit::Top => Position::Top,
                    Permit::Below => Position::Below,
                    Permit::Anywhere => Position::Anywhere,
                },
            },
        }
    }
}

impl Link {
    fn of(link: &KernelLink, derived: &BTreeSet<MacAddress>) -> Link {
        let settings = link.kind.settings().into_iter();
        Link {
            r#type: link.kind.name().to_owned(),
            peer: link.peer().map(|peer| Peer {
                namespace: peer.ns.to_string(),
                link: peer.name.to_string(),
            }),
            up: link.up,
            mtu: link.mtu,
            mac: link.mac.map(|mac| {
                if derived.contains(&mac) {
                    DERIVED.to_owned()
                } else {
                    mac.to_string()
                }
            }),
            bridge: link.master.as_ref().map(ToString::to_string),
            settings: settings.map(|one| (one.word, one.text)).collect(),
        }
    }
}

impl Route {
    fn of(route: &resource::route::Route) -> Route {
        let hops = route.hops().iter().map(|hop| NextHop {
            via: hop.via.map(|via| via.to_string()),
            dev: hop.dev.as_ref().map(ToString::to_string),
            onlink: hop.onlink,
            weight: hop.weight,
        });
        Route {
            r#type: match &route.target {
                Target::Unicast(_) => "unicast".to_owned(),
                Target::Blackhole => "blackhole".to_owned(),
                Target::Unreachable => "unreachable".to_owned(),
                Target::Prohibit => "prohibit".to_owned(),
                Target::Other(number) => number.to_string(),
            },
            next_hops: hops.collect(),
            src: route.src.map(|src| src.to_string()),
            mtu: route.mtu,
        }
    }
}

impl Deed {
    fn of(action: rule::Action) -> Deed {
        match action {
            rule::Action::Lookup(table) => Deed::Lookup { table },
            rule::Action::Blackhole => Deed::Blackhole,
            rule::Action::Unreachable => Deed::Unreachable,
            rule::Action::Prohibit => Deed::Prohibit,
            rule::Action::Other(number) => Deed::Other { number },
        }
    }
}
