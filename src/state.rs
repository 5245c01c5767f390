//! What a host's namespaces hold, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

mod found;
mod ports;
mod programs;
mod survey;
mod traced;
mod traffic;
mod way;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::resource::address::Held;
use crate::resource::firewall::Firewall;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::{Family, Id, Ns, Resource};

pub use self::found::{PlaceRoute, PlaceRule};
pub use self::ports::{Listener, PlacePorts};
pub use self::programs::{Keeps, Managed, NetworkManager, Networkd};
pub use self::survey::{Match, Matches, Meaning, Survey, Surveyed, Translation};
pub use self::traced::{Flow, Judged, Judgement, Passage, RuleAt, Traced, Transport};
pub use self::traffic::{Connections, Counted, Traffic};
pub use self::way::{Step, Way, WayEnd};

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
    /// A namespace that the record of a topology names, and that doesn't carry its tag: who is inside may
    /// have rewritten that, or somebody else has made another of that name.
    Disputed(TopologyName),
    /// Somebody else's, and the topology may have it: a plan takes it over. In a desired State: it is to be
    /// somebody else's again, as it was.
    Offered,
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

/// A value of the host, or of an external namespace, that topologies have changed for as long as they need it.
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

/// The namespaces that others make and delete, by the names that a topology has for them, each with the
/// path that it is found at. `None`: it has that name in `/run/netns`.
pub type External = BTreeMap<NamespaceName, Option<PathBuf>>;

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
    /// Why what others made can't be taken over, where its resource doesn't tell. Only in what was observed.
    #[serde(skip)]
    pub unfit: BTreeMap<Id, &'static str>,
    /// The external namespaces. They have no entry of their own in a desired State.
    pub external: External,
    /// Of an observed State: that the topology's record is lost, and the sysctls that it is likely to have on loan.
    pub lost: Option<BTreeSet<Id>>,
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

    /// Whether others make and delete a namespace: the host, or an external one.
    pub fn is_found(&self, ns: &Ns) -> bool {
        ns.name()
            .is_none_or(|name| self.external.contains_key(name))
    }
}

/// What lowering must know of a host: all that a plan depends on besides the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The machine.
    pub machine: Machine,
    /// The namespace that netform runs in.
    pub host: Place,
    /// The external namespaces.
    pub external: BTreeMap<NamespaceName, Place>,
}

/// What lowering must know of a machine: its kernel, its files, and the programs that run there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What makes the link-layer addresses of this machine its own.
    pub id: String,
    /// Whether IPv6 forwarding can be switched by link (`force_forwarding`, Linux 6.17).
    pub force_forwarding: bool,
    /// Whether the kernel has IPv6 at all (`/proc/sys/net/ipv6/conf` exists).
    pub ipv6: bool,
    /// The name servers that the host's own resolver asks, where that is a stub (systemd-resolved).
    pub resolvers: Vec<IpAddr>,
    /// The host's `/etc/nsswitch.conf`, empty if there is none.
    pub nsswitch: String,
    /// systemd-networkd, where it manages links of the host.
    pub networkd: Option<Networkd>,
    /// NetworkManager, where it runs.
    pub network_manager: Option<NetworkManager>,
}

impl Facts {
    /// Whether frames from port to port of a bridge are shown to the rules for what is forwarded, anywhere.
    pub fn has_frames(&self) -> bool {
        let mut places = self.external.values().chain([&self.host]);
        places.any(|place| !place.frames.is_empty())
    }

    /// What is known of a namespace: nothing of those that netform makes.
    pub fn place(&self, ns: &Ns) -> Option<&Place> {
        match ns {
            Ns::Host => Some(&self.host),
            Ns::Named(name) => self.external.get(name),
        }
    }

    /// The same, to be added to.
    pub fn place_mut(&mut self, ns: &Ns) -> Option<&mut Place> {
        match ns {
            Ns::Host => Some(&mut self.host),
            Ns::Named(name) => self.external.get_mut(name),
        }
    }
}

/// What lowering must know of a namespace that others make: the host, or an external one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its links, ours too, by name.
    pub links: BTreeMap<LinkName, PlaceLink>,
    /// Its default routes of each family, that of the lowest metric first.
    pub default: BTreeMap<Family, Vec<DefaultRoute>>,
    /// Whether a new link there forwards IPv4 by itself, because all of it does.
    pub ipv4_forwarding: bool,
    /// Whether IPv4 forwarding was on for all of it before netform came.
    pub ipv4_router: bool,
    /// Whether IPv6 forwarding was on for all of it before netform came.
    pub ipv6_forwarding: bool,
    /// The rules of others that packets on their way through come by, if it matters.
    pub firewall: Firewall,
    /// Its unicast routes of the main table.
    pub routes: Vec<PlaceRoute>,
    /// Its IPv4 policy routing rules, the kernel's own among them. None: some of them look at what a
    /// [`RuleKey`](crate::resource::rule::RuleKey) doesn't say.
    pub rules: Option<Vec<PlaceRule>>,
    /// The IPv4 `rp_filter` of all links together: the greater of this and a link's own holds.
    pub rp_filter: u8,
    /// The IPv4 `src_valid_mark` of all links together: this or a link's own holds.
    pub src_valid_mark: u8,
    /// The families whose frames from port to port of a bridge are shown to the rules for what is forwarded
    /// (`br_netfilter`).
    pub frames: BTreeSet<Family>,
    /// The topologies that have all of it forward IPv4, and had to switch that on.
    pub routers: BTreeSet<TopologyName>,
    /// What of its ports is spoken for, where the topology publishes something there.
    pub ports: PlacePorts,
}

impl Place {
    /// A link by its name, or by another name that it goes by.
    pub fn link(&self, name: &LinkName) -> Option<(&LinkName, &PlaceLink)> {
        self.links.get_key_value(name).or_else(|| {
            let mut links = self.links.iter();
            links.find(|(_, link)| link.altnames.contains(name.as_str()))
        })
    }

    /// The link of the default route of a family that would be there without `topology`.
    pub fn default_without(&self, family: Family, topology: &TopologyName) -> Option<&LinkName> {
        let route = self.default_route_without(family, topology);
        route.map(|route| &route.link)
    }

    /// The default route of a family that would be there without `topology`.
    pub fn default_route_without(
        &self,
        family: Family,
        topology: &TopologyName,
    ) -> Option<&DefaultRoute> {
        let routes = self.default.get(&family).into_iter().flatten();
        let mut others = routes.filter(|route| {
            let link = self.links.get(&route.link);
            let of_link = link.and_then(|link| link.owner.as_ref());
            route.owner.as_ref() != Some(topology) && of_link != Some(topology)
        });
        others.next()
    }
}

/// What lowering must know of a default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefaultRoute {
    /// The link that it leads over, the first of several.
    pub link: LinkName,
    /// Further links that it leads over.
    pub more: BTreeSet<LinkName>,
    /// Its metric: the lowest wins.
    pub metric: u32,
    /// The topology that made it.
    pub owner: Option<TopologyName>,
}

/// What lowering must know of a link of such a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlaceLink {
    /// The kernel's name of its kind (`IFLA_INFO_KIND`), empty for a device.
    pub kind: String,
    /// The number of its group (`ip link set group`).
    pub group: u32,
    /// Whether its frames are those of Ethernet (`ARPHRD_ETHER`), without which it can be no port of a bridge.
    pub ethernet: bool,
    /// Its largest packet in bytes.
    pub mtu: u32,
    /// Other names that it goes by (`IFLA_ALT_IFNAME`).
    pub altnames: BTreeSet<String>,
    /// Whether it is up.
    pub up: bool,
    /// The bridge or bond that it is a port of, which packets leave by in its place.
    pub port_of: Option<LinkName>,
    /// Its addresses and their lengths.
    pub addresses: Vec<Held>,
    /// The destinations on the link itself that routes of the main table lead to, not netform's and besides
    /// those of its addresses.
    pub beside: Vec<IpNet>,
    /// The topology whose tag it carries.
    pub owner: Option<TopologyName>,
    /// IPv4 `rp_filter`: 0 no, 1 strict, 2 loose (`ip-sysctl.rst`).
    pub rp_filter: u8,
    /// IPv4 `src_valid_mark`: whether the mark of a packet counts when its source is checked.
    pub src_valid_mark: u8,
    /// IPv6 `accept_ra`: 0 no, 1 unless forwarding, 2 always (`ip-sysctl.rst`). None without IPv6.
    pub accept_ra: Option<u8>,
    /// Whether it has a default route learnt from a router advertisement, or takes advertisements in.
    pub takes_ra: bool,
}
