//! What a gateway needs of nftables: the lowering of guarded links, source validation and egress.
//!
//! `docs/datapath.md` draws the way of a packet and says why each rule stands where it does. Each feature
//! is a file with its sets and rules; one that a gateway doesn't use has neither.

mod allow;
mod egress;
mod errors;
mod fallback;
mod guard;
mod links;
pub mod publish;
pub mod raise;
mod routed;
mod sources;
pub mod withdrawn;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::publish::{Arrival, Publication, loopback_links};
use super::Table;
use crate::resource::Family;
use crate::resource::name::{LinkName, TopologyName};

/// The gateway links that a topology has in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Whose they are.
    pub topology: TopologyName,
    /// The links, by name.
    pub links: BTreeMap<LinkName, GatewayLink>,
    /// What is judged.
    pub guard: Guard,
    /// What to keep shut where IPv6 forwarding had to be switched on for the whole namespace though it
    /// was off.
    pub fallback: Option<Fallback>,
    /// What leads to members.
    pub published: BTreeSet<Publication>,
}

/// What goes neither in nor out by a link of netform's is not forwarded, as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The group of netform's links.
    pub group: u32,
    /// Bridges that others made in that namespace. With `br_netfilter` frames between their ports look as
    /// if they were forwarded, and must go on.
    pub bridges: BTreeSet<LinkName>,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Connections through gateway links.
    Links,
    /// Nothing, because the spec makes the namespace a plain router: only sources are validated, and
    /// what leaves is translated.
    Nothing,
}

/// A link with a subnet's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLink {
    /// Who made it.
    pub origin: Origin,
    /// What is behind it.
    pub shape: Shape,
    /// The addresses of the members behind it.
    pub members: BTreeSet<IpAddr>,
    /// The prefixes of the subnets that it is the gateway of.
    pub prefixes: BTreeSet<IpNet>,
    /// The prefixes that are routed to a member behind it, which is a router.
    pub routed: BTreeSet<IpNet>,
    /// The way out of each family.
    pub egress: BTreeMap<Family, Egress>,
    /// What connections its members may open to those behind other gateway links.
    pub allow: BTreeSet<Allow>,
}

/// What connections of a family may be opened to the members behind another gateway link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allow {
    /// The family.
    pub family: Family,
    /// The other link.
    pub to: LinkName,
    /// Which.
    pub service: Service,
}

/// Some of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// All of them.
    All,
    /// Those of a transport protocol to ports from one to another.
    Ports {
        /// The protocol's number.
        protocol: u8,
        /// The first port.
        from: u16,
        /// The last port.
        to: u16,
    },
}

impl Service {
    /// What begins with an echo request, and the like.
    pub fn icmp(family: Family) -> Service {
        let protocol = match family {
            Family::Ipv4 => 1,
            Family::Ipv6 => 58,
        };
        // Instead of ports there is a checksum, which may be anything.
        Service::Ports {
            protocol,
            from: 0,
            to: u16::MAX,
        }
    }
}

/// Who made a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This topology: all that comes by it comes from members.
    Made,
    /// Somebody else: what comes by it may come from anywhere, and only the subnets' prefixes are
    /// netform's to judge.
    Existing,
}

/// What is behind a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One member.
    PointToPoint,
    /// The ports of a bridge, which the link is. With `br_netfilter` even frames from one port to another
    /// go through these rules, in and out by the bridge.
    Bridge,
}

/// A way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The link that it leads through. It need not exist yet.
    pub dev: LinkName,
    /// Which source is seen outside.
    pub nat: Nat,
    /// What becomes of connections from outside.
    pub inbound: Inbound,
}

/// What becomes of connections to members that are opened beyond a way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// They are dropped.
    Deny,
    /// They are let through.
    Allow,
}

/// Which source is seen outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The address of the link that it leaves by.
    Masquerade,
    /// This address.
    Source(IpAddr),
    /// The member's own.
    None,
}

impl Gateway {
    /// The table, unless there is nothing to guard, validate or translate.
    ///
    /// Elements of a batch too large for one message are added in the order of the names of their sets,
    /// so these must be such that nothing is open meanwhile: what is guarded (`behind4`, `links`) comes
    /// before what is translated (`masquerade4`, `masquerade_as4`), and that before what may pass (`pass4`, `ports4`, `routed4`,
    /// `sources4`).
    pub fn table(&self) -> Option<Table> {
        let mut table = Table::of(&self.topology);
        links::put(self, &mut table);
        publish::put(self, &mut table);
        sources::put(self, &mut table);
        egress::put(self, &mut table);
        guard::put(self, &mut table);
        fallback::put(self, &mut table);
        (!table.chains.is_empty()).then_some(table)
    }

    /// The links of an origin.
    fn links(&self, origin: Origin) -> impl Iterator<Item = (&LinkName, &GatewayLink)> + Clone {
        self.links
            .iter()
            .filter(move |(_, link)| link.origin == origin)
    }
}
