//! Routes.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Family;
use super::name::LinkName;

/// The main routing table (`RT_TABLE_MAIN` of `linux/rtnetlink.h`).
pub const MAIN: u32 = 254;

/// The metric of the IPv6 routes that come with addresses (`IP6_RT_PRIO_ADDRCONF` of `linux/ipv6_route.h`).
pub(crate) const OF_ADDRESSES: u32 = 256;

/// The default routing table, which is asked last and is usually empty (`RT_TABLE_DEFAULT`).
pub const DEFAULT: u32 = 253;

/// The table of the kernel's own routes to local addresses (`RT_TABLE_LOCAL`).
pub const LOCAL: u32 = 255;

/// The metric of an IPv6 route that was given none (`IP6_RT_PRIO_USER` of `net/ip6_route.h`).
pub const IPV6_METRIC: u32 = 1024;

/// What the kernel tells routes apart by.
///
/// Routes with a TOS or a source prefix, which netform doesn't make, are not in a State.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    /// The number of the routing table.
    pub table: u32,
    /// The prefix. `0.0.0.0/0` and `::/0` are the default routes.
    pub to: IpNet,
    /// The metric: lower wins. An IPv6 route that was given none has [`IPV6_METRIC`].
    pub metric: u32,
}

impl RouteKey {
    /// The main table's route to `to`, with the metric that the kernel gives if asked for none.
    pub fn main(to: IpNet) -> RouteKey {
        RouteKey {
            table: MAIN,
            to,
            metric: if to.addr().is_ipv4() { 0 } else { IPV6_METRIC },
        }
    }

    /// The main table's default route of a family, with the metric that the kernel gives if asked for none.
    pub fn default_of(family: Family) -> RouteKey {
        RouteKey::main(match family {
            Family::Ipv4 => Ipv4Net::default().into(),
            Family::Ipv6 => Ipv6Net::default().into(),
        })
    }

    /// The route to `to` in a table, with the metric asked for; 0 asks for none.
    pub fn new(table: u32, to: IpNet, metric: u32) -> RouteKey {
        let main = RouteKey::main(to);
        RouteKey {
            table,
            metric: if metric == 0 { main.metric } else { metric },
            ..main
        }
    }

    /// The family of its destination.
    pub fn family(&self) -> Family {
        Family::of(self.to.addr())
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What happens to a packet that takes it.
    pub target: Target,
    /// The source address that packets without one get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// The path MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What happens to a packet that takes a route (`rtm_type` of `man 7 rtnetlink`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// It goes to one of these next hops, in the order of the kernel.
    Unicast(Vec<NextHop>),
    /// It is dropped silently.
    Blackhole,
    /// It is dropped, and the sender gets ICMP host unreachable.
    Unreachable,
    /// It is dropped, and the sender gets ICMP administratively prohibited.
    Prohibit,
    /// A kind that netform doesn't make, by the number of its `rtm_type`.
    Other(u8),
}

/// One way on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NextHop {
    /// The next router, which need not be of the route's family; none for a destination on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The link. None in what is read only: of a next hop that isn't a link of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<LinkName>,
    /// Whether `via` is taken for reachable without a route to it (`RTNH_F_ONLINK`).
    pub onlink: bool,
    /// Its share among several, from 1 to 256.
    pub weight: u16,
}

impl Target {
    /// A unicast route over these next hops. Those of IPv6 have no order, and the kernel may tell of them
    /// in another than they were given in.
    pub fn over(family: Family, mut hops: Vec<NextHop>) -> Target {
        if family == Family::Ipv6 {
            hops.sort();
        }
        Target::Unicast(hops)
    }
}

impl Route {
    /// A route through one router on a link.
    pub fn through(via: IpAddr, dev: LinkName) -> Route {
        let hop = NextHop {
            via: Some(via),
            dev: Some(dev),
            onlink: false,
            weight: 1,
        };
        Route {
            target: Target::Unicast(vec![hop]),
            src: None,
            mtu: None,
        }
    }

    /// Whether its next hops are on more than one link.
    pub fn spreads(&self) -> bool {
        match self.hops() {
            [first, rest @ ..] => rest.iter().any(|hop| hop.dev != first.dev),
            [] => false,
        }
    }

    /// The next hops: none, unless it is a unicast route.
    pub fn hops(&self) -> &[NextHop] {
        match &self.target {
            Target::Unicast(hops) => hops,
            _ => &[],
        }
    }
}
