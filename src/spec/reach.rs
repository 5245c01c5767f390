//! Which link leads to a next hop.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::model::{NextHop, Route, Spec};
use super::prefixes::Index;
use crate::resource::address::Held;
use crate::resource::link::IPV6_MIN_MTU;
use crate::resource::name::LinkName;
use crate::resource::route::MAIN;
use crate::resource::{Family, Ns};
use crate::state::Facts;

/// The prefixes that the links of each namespace are in.
pub(super) struct Reach<'s> {
    beside: HashMap<&'s Ns, Index<Near<'s>>>,
}

/// A link with an address, or a route, to what is beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near<'s> {
    /// The link.
    pub(super) link: &'s LinkName,
    /// Whether it is up, and has the family.
    pub(super) usable: bool,
    /// The length of the prefix.
    pub(super) length: u8,
}

/// What leads to a next hop.
#[derive(Debug)]
pub(super) enum Way<'s> {
    /// This link.
    Link(&'s LinkName),
    /// This link, which is down or lacks the family.
    Unusable(&'s LinkName),
    /// Several, none of them nearer than the others.
    Several(Vec<&'s LinkName>),
    /// Nothing.
    Nowhere,
}

impl<'s> Reach<'s> {
    /// What the spec says of all namespaces, and the facts of those that others make if they are known.
    pub(super) fn of(spec: &'s Spec, facts: Option<&'s Facts>) -> Reach<'s> {
        let mut beside: HashMap<&'s Ns, Vec<(IpNet, Near<'s>)>> = HashMap::new();
        for end in spec.ends().filter(|end| !end.is_loopback()) {
            let nears = beside.entry(&end.ns.value).or_default();
            for address in &end.addresses {
                let family = Family::of(address.value.addr());
                let near = |net: IpNet| Near {
                    link: &end.name.value,
                    usable: end.up && (family == Family::Ipv4 || end.mtu >= IPV6_MIN_MTU),
                    length: net.prefix_len(),
                };
                nears.extend(address.value.beside().map(|net| (net, near(net))));
            }
        }
        let found = spec.namespaces.values().map(|namespace| &namespace.ns);
        let places = found.chain([&Ns::Host]).filter_map(|ns| {
            let place = facts?.place(ns)?;
            Some(place.links.iter().map(move |(name, link)| (ns, name, link)))
        });
        for (ns, name, link) in places.flatten() {
            // What the topology has there from before is as the spec says it now.
            if link.owner.as_ref() == Some(&spec.name.value) {
                continue;
            }
            let nears = beside.entry(ns).or_default();
            let of_addresses = link.addresses.iter().flat_map(Held::beside);
            for net in of_addresses.chain(link.beside.iter().copied()) {
                let near = Near {
                    link: name,
                    usable: link.up,
                    length: net.prefix_len(),
                };
                nears.push((net, near));
            }
        }
        for (ns, namespace) in spec.all_namespaces() {
            for route in &namespace.routes {
                if let Some(dev) = direct(route) {
                    let near = Near {
                        link: dev,
                        usable: true,
                        length: route.to.value.prefix_len(),
                    };
                    let nears = beside.entry(ns).or_default();
                    nears.push((route.to.value, near));
                }
            }
        }
        Reach {
            beside: beside
                .into_iter()
                .map(|(ns, nears)| (ns, nears.into_iter().collect()))
                .collect(),
        }
    }

    /// The links that an address is beside.
    pub(super) fn beside(&self, ns: &Ns, ip: IpAddr) -> Vec<Near<'s>> {
        self.beside
            .get(ns)
            .map_or_else(Vec::new, |index| index.around(ip))
    }

    /// The link that leads to an address: that of the longest prefix.
    pub(super) fn toward(&self, ns: &Ns, ip: IpAddr) -> Way<'s> {
        let mut nears = self.beside(ns, ip);
        if nears.iter().any(|near| near.usable) {
            nears.retain(|near| near.usable);
        }
        let longest = nears.iter().map(|near| near.length).max();
        nears.retain(|near| Some(near.length) == longest);
        nears.sort_by_key(|near| near.link);
        nears.dedup_by_key(|near| near.link);
        match nears.as_slice() {
            [] => Way::Nowhere,
            [near] if near.usable => Way::Link(near.link),
            [near, ..] if !near.usable => Way::Unusable(near.link),
            several => Way::Several(several.iter().map(|near| near.link).collect()),
        }
    }

    /// The link of a next hop.
    pub(super) fn link_of(&self, ns: &Ns, hop: &'s NextHop) -> Option<&'s LinkName> {
        match (&hop.dev, hop.via) {
            (Some(dev), _) => Some(&dev.value),
            (None, Some(via)) => match self.toward(ns, via.value) {
                Way::Link(link) => Some(link),
                _ => None,
            },
            (None, None) => None,
        }
    }
}

/// The link of a route whose destination is on the link itself. Routers are looked for beside such
/// destinations in the main table only.
fn direct(route: &Route) -> Option<&LinkName> {
    match route.hops() {
        [
            NextHop {
                via: None,
                dev: Some(dev),
                ..
            },
        ] if route.table == MAIN && route.to.value.prefix_len() > 0 => Some(&dev.value),
        _ => None,
    }
}
