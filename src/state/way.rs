//! The way of a packet through namespaces, as their tables have it.

use std::net::IpAddr;

use super::traced::Transport;
use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};

/// From where a packet comes to where it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The namespaces that it leaves again, in order.
    pub steps: Vec<Step>,
    /// Where it ends, and why there.
    pub end: WayEnd,
}

/// What becomes of a packet in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    Leaves {
        /// The namespace.
        ns: Ns,
        /// The link that it came in by; none: it begins here.
        came_by: Option<LinkName>,
        /// The source that it is given, where it begins.
        source: Option<IpAddr>,
        /// The link that it leaves by.
        by: LinkName,
        /// The router that it goes to; none: its destination is on that link.
        via: Option<IpAddr>,
    },
    /// It goes from one port of a bridge to another, or to the bridge itself.
    Bridged {
        /// The namespace.
        ns: Ns,
        /// The port that it came in by.
        came_by: LinkName,
        /// The bridge.
        bridge: LinkName,
    },
    /// A topology's table leads it to a member.
    Led {
        /// The namespace.
        ns: Ns,
        /// The member.
        to: IpAddr,
        /// The port there, if that matters.
        port: Option<u16>,
    },
}

/// Where the way of a packet ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayEnd {
    /// It has come to who has the address.
    Arrived {
        /// The namespace.
        ns: Ns,
    },
    /// The same, and no program takes it.
    NobodyListens {
        /// The namespace.
        ns: Ns,
        /// At which port.
        transport: Transport,
    },
    /// It has come, and an answer has no way back.
    NoReturn {
        /// The namespace.
        ns: Ns,
        /// Where the answer is to go.
        to: IpAddr,
    },
    /// It leaves by a link that leads to nothing known here.
    Outside {
        /// The namespace.
        ns: Ns,
        /// The link.
        by: LinkName,
    },
    /// There is no route.
    NoRoute {
        /// The namespace.
        ns: Ns,
        /// Where to.
        to: IpAddr,
    },
    /// There is a route that lets nothing through.
    Barred {
        /// The namespace.
        ns: Ns,
        /// Where to.
        to: IpAddr,
        /// The type of the route: `unreachable`, `prohibit`, `blackhole`.
        kind: &'static str,
    },
    /// The link is down.
    LinkDown {
        /// The namespace.
        ns: Ns,
        /// The link.
        link: LinkName,
    },
    /// The link has no carrier: its other end is down.
    NoCarrier {
        /// The namespace.
        ns: Ns,
        /// The link.
        link: LinkName,
        /// The other end, if it is known.
        peer: Option<(Ns, LinkName)>,
    },
    /// Nobody answers on the link (ARP, neighbour discovery).
    NoNeighbour {
        /// The namespace.
        ns: Ns,
        /// The link.
        link: LinkName,
        /// Who was asked for.
        ip: IpAddr,
        /// Who has that address, as far as it is known.
        holder: Option<(Ns, LinkName)>,
    },
    /// The namespace doesn't forward what comes in by a link.
    NotForwarding {
        /// The namespace.
        ns: Ns,
        /// The link.
        link: LinkName,
        /// The family.
        family: Family,
    },
    /// Replies to the source would leave by another link, and `rp_filter` drops what comes so.
    ReversePath {
        /// The namespace.
        ns: Ns,
        /// The link that it came in by.
        link: LinkName,
        /// Its source.
        source: IpAddr,
    },
    /// It went through too many namespaces: in a circle.
    Circle,
}

impl WayEnd {
    /// Where it ends.
    pub fn ns(&self) -> Option<&Ns> {
        match self {
            WayEnd::Arrived { ns }
            | WayEnd::NobodyListens { ns, .. }
            | WayEnd::NoReturn { ns, .. }
            | WayEnd::Outside { ns, .. }
            | WayEnd::NoRoute { ns, .. }
            | WayEnd::Barred { ns, .. }
            | WayEnd::LinkDown { ns, .. }
            | WayEnd::NoCarrier { ns, .. }
            | WayEnd::NoNeighbour { ns, .. }
            | WayEnd::NotForwarding { ns, .. }
            | WayEnd::ReversePath { ns, .. } => Some(ns),
            WayEnd::Circle => None,
        }
    }
}

impl Way {
    /// The namespaces that it goes through, in order.
    pub fn places(&self) -> Vec<&Ns> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Leaves { ns, .. } | Step::Bridged { ns, .. } | Step::Led { ns, .. } => ns,
        });
        let holder = match &self.end {
            WayEnd::NoNeighbour { holder, .. } => holder.as_ref().map(|(ns, _)| ns),
            _ => None,
        };
        let mut places: Vec<&Ns> = steps.chain(self.end.ns()).chain(holder).collect();
        places.dedup();
        places
    }
}
