//! What a host's namespaces hold, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::resource::address::Held;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::{Family, Id, Resource};

/// Whose a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// It carries the tag of a topology, or stands in that topology's record.
    Topology(TopologyName),
    /// Made by the kernel itself: `lo`, a link-local address, the route to a link's own prefix.
    Kernel,
    /// Somebody else's: it exists, and nothing says that netform made it.
    Foreign,
}

impl Owner {
    /// Whether it is `topology`'s.
    pub fn is(&self, topology: &TopologyName) -> bool {
        matches!(self, Owner::Topology(owner) if owner == topology)
    }
}

/// A resource and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The resource.
    pub resource: Resource,
    /// Whose it is.
    pub owner: Owner,
}

/// A value of the host that topologies have changed for as long as they need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Loan {
    /// What each topology that has it on loan is to give back: the value before the first of them came.
    pub by: BTreeMap<TopologyName, String>,
    /// What those have set it to that say so; others have set it to [`SysctlKey::lent`].
    ///
    /// [`SysctlKey::lent`]: crate::resource::sysctl::SysctlKey::lent
    pub lent: BTreeMap<TopologyName, String>,
    /// Of a switch that writes every link's value ([`SysctlKey::switch`]): the links that had it on
    /// before the switch was thrown, and not on loan, so that giving it back leaves theirs alone.
    ///
    /// [`SysctlKey::switch`]: crate::resource::sysctl::SysctlKey::switch
    pub links: BTreeSet<LinkName>,
}

/// What a host's namespaces hold: an ordered map from identity to resource, and whose each is.
///
/// A desired State holds what a topology wants, all of it the topology's. An observed State holds what
/// the kernel was seen to hold in the namespaces concerned, foreign things too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// The resources.
    pub entries: BTreeMap<Id, Entry>,
    /// The sysctls on loan, by identity. In a desired State, those of one to go back to: what is to be given
    /// back of them, in case they have been given back since.
    pub loans: BTreeMap<Id, Loan>,
}

impl State {
    /// An empty one.
    pub fn new() -> State {
        State::default()
    }

    /// The resource of an identity.
    pub fn get(&self, id: &Id) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Puts a resource in, over one of the same identity.
    pub fn insert(&mut self, id: Id, resource: Resource, owner: Owner) {
        self.entries.insert(id, Entry { resource, owner });
    }
}

/// What lowering must know of the host: all that a plan depends on besides the spec.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are facts, and independent of each other"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What makes the link-layer addresses of this host its own: the content of `/etc/machine-id`.
    pub machine: String,
    /// The links of the host, ours too, by name.
    pub links: BTreeMap<LinkName, HostLink>,
    /// The link of the host's default route of each family: that of the lowest metric.
    pub default: BTreeMap<Family, LinkName>,
    /// Whether IPv6 forwarding can be switched by link (`force_forwarding`, Linux 6.17).
    pub force_forwarding: bool,
    /// Whether a new link of the host forwards IPv4 by itself, because the whole host does.
    pub ipv4_forwarding: bool,
    /// Whether IPv4 forwarding was on for the whole host before netform came.
    pub ipv4_router: bool,
    /// Whether IPv6 forwarding was on for the whole host before netform came.
    pub ipv6_forwarding: bool,
    /// Whether the host has IPv6 at all (`/proc/sys/net/ipv6` exists).
    pub ipv6: bool,
}

/// What lowering must know of a link of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostLink {
    /// The kernel's name of its kind (`IFLA_INFO_KIND`), empty for a device.
    pub kind: String,
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Other names that it goes by (`IFLA_ALT_IFNAME`).
    pub altnames: BTreeSet<String>,
    /// Its addresses and their lengths.
    pub addresses: Vec<Held>,
    /// The topology whose tag it carries.
    pub owner: Option<TopologyName>,
    /// IPv6 `accept_ra`: 0 no, 1 unless forwarding, 2 always (`ip-sysctl.rst`). None without IPv6.
    pub accept_ra: Option<u8>,
    /// Whether it has a default route learnt from a router advertisement, or takes advertisements in.
    pub takes_ra: bool,
}
