//! A topology as it is written, valid, and with the place of every value that an error may point at.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::source::{Span, Spanned};
use crate::resource::link::MacAddress;
use crate::resource::name::{LinkName, NamespaceName, SubnetName, TopologyName};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};

/// A topology: everything that netform makes true on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: Spanned<TopologyName>,
    /// The namespaces that it makes.
    pub namespaces: BTreeMap<NamespaceName, Namespace>,
    /// The pairs of links, in the order written.
    pub veths: Vec<Veth>,
    /// The subnets.
    pub subnets: BTreeMap<SubnetName, Subnet>,
    /// What it says of the host itself.
    pub host: Option<Namespace>,
}

/// What a topology says of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Where its name stands.
    pub span: Span,
    /// Which default routes it gets; `None` leaves that to the subnets.
    pub gateway: Option<Gateways>,
    /// Whether it is a router; `None` means no, and on the host: as it is.
    pub forwarding: Option<Spanned<Forwarding>>,
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

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The namespace it is in: one of the topology, or the host.
    pub ns: Spanned<Ns>,
    /// Its name.
    pub name: Spanned<LinkName>,
    /// Its addresses, in the order written, each with its length.
    pub addresses: Vec<Spanned<IpNet>>,
    /// Its link-layer address, if the topology gives one.
    pub mac: Option<Spanned<MacAddress>>,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
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
}

/// The way out of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Where it stands.
    pub span: Span,
    /// The link that it leaves by; `None` means that of the default route.
    pub dev: Option<Spanned<LinkName>>,
    /// Whether the sources of what leaves are masqueraded.
    pub masquerade: bool,
}
