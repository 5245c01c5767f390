//! A topology as it is written, valid, and with the place of every value that an error may point at.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

mod check;
mod publication;

pub use self::check::{Check, Expect, Peer, What};
pub use self::publication::{Publication, Published, Transport};
use super::source::{Span, Spanned};
use crate::resource::address::Held;
use crate::resource::link::{LinkKind, MacAddress};
use crate::resource::name::{LinkName, NamespaceName, SubnetName, TopologyName};
use crate::resource::rule::{Action, Mark};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};
use crate::state;

/// A topology: everything that netform makes true on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: Spanned<TopologyName>,
    /// The namespaces that it makes, or works in.
    pub namespaces: BTreeMap<NamespaceName, Namespace>,
    /// The pairs of links, in the order written.
    pub veths: Vec<Veth>,
    /// The links with one end, and those that exist already.
    pub links: Vec<Link>,
    /// The subnets.
    pub subnets: BTreeMap<SubnetName, Subnet>,
    /// What it publishes, in the order written.
    pub publish: Vec<Publication>,
    /// What is tried once it is applied, in the order written.
    pub checks: Vec<Check>,
    /// What it says of the host itself.
    pub host: Option<Namespace>,
}

impl Spec {
    /// What it says of namespaces, the host last.
    pub fn all_namespaces(&self) -> impl Iterator<Item = (&Ns, &Namespace)> {
        self.namespaces
            .values()
            .chain(&self.host)
            .map(|namespace| (&namespace.ns, namespace))
    }

    /// All links that it speaks of: the ends of pairs, then those with one end.
    pub fn ends(&self) -> impl Iterator<Item = &End> {
        let of_pairs = self.veths.iter().flat_map(|veth| &veth.ends);
        of_pairs.chain(self.links.iter().map(|link| &link.end))
    }

    /// Whether it makes links in namespaces of others that others are ports of.
    pub fn has_bridges(&self) -> bool {
        let mut links = self.links.iter();
        links.any(|link| {
            let joins = link.kind.as_ref().is_some_and(LinkKind::joins);
            joins && self.is_found(&link.end.ns.value)
        })
    }

    /// Whether there is a gateway, so that packets are forwarded.
    pub fn has_gateways(&self) -> bool {
        let mut subnets = self.subnets.values();
        subnets.any(|subnet| subnet.gateway.is_some())
    }

    /// What it says of a namespace.
    pub fn entry(&self, ns: &Ns) -> Option<&Namespace> {
        match ns {
            Ns::Named(name) => self.namespaces.get(name),
            Ns::Host => self.host.as_ref(),
        }
    }

    /// Whether others make and delete a namespace: the host, or an external one. It may have links,
    /// addresses and routes that the topology doesn't speak of.
    pub fn is_found(&self, ns: &Ns) -> bool {
        *ns == Ns::Host || self.entry(ns).is_some_and(|entry| entry.external.is_some())
    }

    /// The namespaces of others in which it publishes something, and the ports.
    pub fn publishes_in(&self) -> BTreeMap<&Ns, Vec<RangeInclusive<u16>>> {
        let mut all: BTreeMap<&Ns, Vec<RangeInclusive<u16>>> = BTreeMap::new();
        let found = self.publish.iter();
        for publication in found.filter(|publication| self.is_found(&publication.ns.value)) {
            let ports = all.entry(&publication.ns.value).or_default();
            if let Published::Ports {
                ports: Spanned { value, .. },
                ..
            } = publication.what
            {
                ports.push(value.from..=value.to);
            }
        }
        all
    }

    /// The external namespaces, and where they are found.
    pub fn external(&self) -> state::External {
        let entries = self.namespaces.iter();
        entries
            .filter_map(|(name, entry)| {
                let External { path } = entry.external.as_ref()?;
                Some((name.clone(), path.clone()))
            })
            .collect()
    }
}

/// A namespace that others make and delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Where it is found, an absolute path. `None`: it has its name in `/run/netns`.
    pub path: Option<PathBuf>,
}

/// What a topology says of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Which it is.
    pub ns: Ns,
    /// Where its name stands.
    pub span: Span,
    /// Who makes it; `None` means the topology, and on the host nobody.
    pub external: Option<External>,
    /// Which default routes it gets; `None` leaves that to the subnets.
    pub gateway: Option<Gateways>,
    /// Whether it is a router; `None` means no, and on the host and in
    /// external ones: as it is.
    pub forwarding: Option<Spanned<Forwarding>>,
    /// Its static routes, in the order written.
    pub routes: Vec<Route>,
    /// Its policy routing rules, in the order written.
    pub rules: Vec<Rule>,
    /// Its resolv.conf.
    pub dns: Option<Dns>,
    /// The names of its hosts file, in the order written.
    pub hosts: Vec<Host>,
    /// The values of its sysctls, in the order written.
    pub sysctls: Vec<Setting>,
}

/// A name of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: Spanned<String>,
    /// What it stands for, at least one.
    pub addresses: Vec<IpAddr>,
}

/// A sysctl and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Which.
    pub key: Spanned<SysctlKey>,
    /// The value, as the kernel gives it back.
    pub value: Spanned<String>,
}

/// Which default routes a namespace gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gateways {
    /// None.
    None,
    /// Through these, at most one of a family.
    Through(Vec<Spanned<Gateway>>),
}

/// What a default route leads through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gateway {
    /// A subnet's gateway.
    Subnet(SubnetName),
    /// An address.
    Address(IpAddr),
}

/// For which families a namespace is a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// None.
    Off,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both.
    Both,
}

impl Forwarding {
    /// Whether it is one for that family.
    pub fn covers(self, family: Family) -> bool {
        match self {
            Forwarding::Off => false,
            Forwarding::Ipv4 => family == Family::Ipv4,
            Forwarding::Ipv6 => family == Family::Ipv6,
            Forwarding::Both => true,
        }
    }
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it stands.
    pub span: Span,
    /// The prefix that it is for.
    pub to: Spanned<IpNet>,
    /// What happens to packets that take it.
    pub target: Target,
    /// Its metric; 0 leaves that to the kernel.
    pub metric: u32,
    /// The number of its table.
    pub table: u32,
    /// The source address of what the namespace itself sends.
    pub src: Option<Spanned<IpAddr>>,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
}

/// What happens to packets that take a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// They go to one of these.
    Unicast(Vec<NextHop>),
    /// They are dropped silently.
    Blackhole,
    /// They are dropped, and the sender gets ICMP host unreachable.
    Unreachable,
    /// They are dropped, and the sender gets ICMP administratively prohibited.
    Prohibit,
}

/// One way on: a router, a link, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// The next router.
    pub via: Option<Spanned<IpAddr>>,
    /// The link; `None` means the one with an address beside the router.
    pub dev: Option<Spanned<LinkName>>,
    /// Whether the router is behind the link though no address says so.
    pub onlink: bool,
    /// Its share among several.
    pub weight: u16,
}

impl Route {
    /// The next hops: none, unless it is a unicast route.
    pub fn hops(&self) -> &[NextHop] {
        match &self.target {
            Target::Unicast(hops) => hops,
            _ => &[],
        }
    }
}

/// A policy routing rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub span: Span,
    /// Its place among the others.
    pub priority: Spanned<u32>,
    /// The prefix that the packet comes from.
    pub from: Option<Spanned<IpNet>>,
    /// The prefix that the packet goes to.
    pub to: Option<Spanned<IpNet>>,
    /// The link that the packet came in by.
    pub iif: Option<Spanned<LinkName>>,
    /// The link that the sender is bound to.
    pub oif: Option<Spanned<LinkName>>,
    /// The mark that the packet carries.
    pub mark: Option<Mark>,
    /// What happens to the packet.
    pub action: Action,
}

impl Rule {
    /// The families that it is for: that of its prefixes, and without one both.
    pub fn families(&self) -> Vec<Family> {
        match self.from.or(self.to) {
            Some(net) => vec![Family::of(net.value.addr())],
            None => Family::BOTH.to_vec(),
        }
    }
}

/// How a namespace resolves names, as resolv.conf(5) says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Where it stands.
    pub span: Span,
    /// The servers to ask, one to three.
    pub nameservers: Vec<Spanned<IpAddr>>,
    /// The domains that short names are looked up in.
    pub search: Vec<Spanned<String>>,
    /// Options of the resolver, `ndots:2` for example.
    pub options: Vec<Spanned<String>>,
}

/// A pair of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// Its ends.
    pub ends: [End; 2],
}

/// A link with one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is, if netform makes it.
    pub kind: Option<LinkKind>,
    /// Its end.
    pub end: End,
}

/// Who makes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This topology.
    Made,
    /// Somebody else: it exists already, and only its addresses here are the topology's.
    Existing,
}

/// One end of a pair, or a link with one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The namespace it is in: one of the topology, or the host.
    pub ns: Spanned<Ns>,
    /// Its name.
    pub name: Spanned<LinkName>,
    /// Its addresses, in the order written, each with its length.
    pub addresses: Vec<Spanned<Held>>,
    /// Its link-layer address, if the topology gives one.
    pub mac: Option<Spanned<MacAddress>>,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// The bridge of its namespace that it is a port of.
    pub bridge: Option<Spanned<LinkName>>,
    /// Who makes it.
    pub origin: Origin,
}

impl End {
    /// Whether it is a namespace's `lo`, which leads nowhere.
    pub fn is_loopback(&self) -> bool {
        self.name.value.as_str() == "lo"
    }

    /// Whether the topology makes it.
    pub fn is_made(&self) -> bool {
        self.origin == Origin::Made
    }
}

/// A prefix, its gateway and its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub name: Spanned<SubnetName>,
    /// The prefix, without host bits.
    pub cidr: Spanned<IpNet>,
    /// The address that its members' default routes lead through.
    pub gateway: Option<Spanned<IpAddr>>,
    /// The way out.
    pub egress: Option<Egress>,
    /// The other subnets to whose members this one's may open connections, in the order written.
    pub allow: Vec<Allow>,
}

/// The way out of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Where it stands.
    pub span: Span,
    /// The link that it leaves by; `None` means that of the default route.
    pub dev: Option<Spanned<LinkName>>,
    /// Which source what leaves is seen with.
    pub nat: Nat,
    /// Whether somebody outside may open connections to members.
    pub inbound: Inbound,
}

/// Which source what leaves is seen with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The address of the link that it leaves by.
    Masquerade,
    /// This address.
    Source(Spanned<IpAddr>),
    /// Its own.
    None,
}

/// What becomes of connections from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// They are dropped.
    Deny,
    /// They are let through.
    Allow,
}

/// Which connections a subnet's members may open to those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// The other.
    pub subnet: Spanned<SubnetName>,
    /// Which.
    pub services: Services,
}

/// What of a subnet is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Services {
    /// Everything.
    All,
    /// Some of it.
    Some {
        /// Ports of TCP.
        tcp: Vec<Ports>,
        /// Ports of UDP.
        udp: Vec<Ports>,
        /// Echo requests.
        icmp: bool,
    },
}

/// Ports from one to another, both of them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}
