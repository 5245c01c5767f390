//! How the fake kernel looks for next hops of IPv6: `ip6_route_check_nh` of `net/ipv6/route.c`, Linux 6.12.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netform::resource::name::{LinkName, TopologyName};
use netform::resource::route::MAIN;
use netform::resource::rule::Action;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Entry, State};

use super::kernel::{Hops, World};

/// What there is to look in.
pub(crate) struct Sight<'w> {
    pub(crate) ns: &'w Ns,
    pub(crate) entries: &'w BTreeMap<Id, Entry>,
    /// The addresses with a peer that has no route.
    pub(crate) cut_off: &'w BTreeSet<Id>,
    /// A route that isn't there.
    pub(crate) but: Option<&'w Id>,
}

/// What leads to an address over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Direct,
    Beyond,
}

impl Sight<'_> {
    /// Whether a router is no next hop for a route in a table: neither the table nor the rules lead to it
    /// directly.
    pub(crate) fn misses(&self, table: u32, via: IpAddr, dev: &LinkName) -> bool {
        if self.look_up(table, via, dev) == Some(Found::Direct) {
            return false;
        }
        for action in self.rules(via, dev) {
            let Action::Lookup(table) = action else {
                return true;
            };
            if let Some(found) = self.look_up(table, via, dev) {
                return found == Found::Beyond;
            }
        }
        true
    }

    /// What the rules say that are asked, the kernel's own among them: the search is from nowhere, came in
    /// by no link, and carries no mark.
    fn rules(&self, via: IpAddr, dev: &LinkName) -> Vec<Action> {
        let mut asked: Vec<(u32, Action)> = self
            .entries
            .iter()
            .filter_map(|(id, entry)| match (&id.key, &entry.resource) {
                (Key::Rule(key), Resource::Rule(rule)) if id.ns == *self.ns => Some((key, rule)),
                _ => None,
            })
            .filter(|(key, _)| {
                let selected = key.from.is_none() && key.iif.is_none() && key.mark.is_none();
                let to = key.to.is_none_or(|to| to.contains(&via));
                let oif = key.oif.as_ref().is_none_or(|oif| oif == dev);
                key.family == Family::Ipv6 && selected && to && oif
            })
            .map(|(key, rule)| (key.priority, rule.action))
            .chain([(32766, Action::Lookup(MAIN))])
            .collect();
        asked.sort_by_key(|(priority, _)| *priority);
        asked.into_iter().map(|(_, action)| action).collect()
    }

    /// The longest prefix with a route over the link, and of those the one with the least metric.
    fn look_up(&self, table: u32, via: IpAddr, dev: &LinkName) -> Option<Found> {
        let here = self.entries.iter().filter(|(id, _)| id.ns == *self.ns);
        let found = here.flat_map(|(id, entry)| -> Vec<(u8, u32, Found)> {
            match (&id.key, &entry.resource) {
                (Key::Route(key), Resource::Route(route)) => {
                    let there = key.table == table && self.but != Some(id);
                    let hops = route.hops_of().iter().filter(|hop| {
                        there && key.to.contains(&via) && hop.dev.as_ref() == Some(dev)
                    });
                    let found = hops.map(|hop| match hop.via {
                        Some(_) => Found::Beyond,
                        None => Found::Direct,
                    });
                    let length = key.to.prefix_len();
                    found.map(|found| (length, key.metric, found)).collect()
                }
                (Key::Address(key), Resource::Address(address)) => {
                    let there = table == MAIN && key.link == *dev && key.ip.is_ipv6();
                    let own = IpNet::new(key.ip, address.prefix).ok();
                    let own = own.filter(|net| net.contains(&via));
                    let peer = address.peer.filter(|_| !self.cut_off.contains(id));
                    let peer = peer.filter(|peer| *peer == via).map(IpNet::from);
                    let nets = own.into_iter().chain(peer).filter(|_| there);
                    nets.map(|net| (net.prefix_len(), 256, Found::Direct))
                        .collect()
                }
                _ => Vec::new(),
            }
        });
        found
            .max_by_key(|(length, metric, _)| (*length, Reverse(*metric)))
            .map(|(.., found)| found)
    }
}

/// Leaves out the routes whose next hops would not be found: no spec may want them.
pub(crate) fn unhide(state: &mut State) {
    while let Some(id) = hidden(&state.entries, |_| true).cloned() {
        state.entries.remove(&id);
    }
}

/// Whether what others have keeps the next hops of what is wanted from being found.
pub(crate) fn is_hidden(world: &World, topology: &TopologyName, desired: &State) -> bool {
    let mut both = world.clone();
    both.entries.retain(|_, entry| !entry.owner.is(topology));
    both.entries.extend(desired.entries.clone());
    let barred = desired.entries.iter().any(|(id, entry)| {
        let Resource::Route(route) = &entry.resource else {
            return false;
        };
        let mut hops = route.hops_of().iter().filter(|hop| !hop.onlink);
        hops.any(|hop| hop.via.is_some_and(|via| both.bars(&id.ns, via)))
    });
    barred || hidden(&both.entries, |id| desired.entries.contains_key(id)).is_some()
}

/// A route whose next hops would not be found.
fn hidden(entries: &BTreeMap<Id, Entry>, counts: impl Fn(&Id) -> bool) -> Option<&Id> {
    let none = BTreeSet::new();
    let mut routes = entries.iter().filter(|(id, _)| counts(id));
    let hidden = routes.find(|(id, entry)| {
        let (Key::Route(key), Resource::Route(route)) = (&id.key, &entry.resource) else {
            return false;
        };
        let sight = Sight {
            ns: &id.ns,
            entries,
            cut_off: &none,
            but: Some(id),
        };
        key.to.addr().is_ipv6()
            && route.hops_of().iter().any(|hop| {
                let (via, dev) = (hop.via.filter(|_| !hop.onlink), hop.dev.as_ref());
                via.zip(dev)
                    .is_some_and(|(via, dev)| sight.misses(key.table, via, dev))
            })
    });
    hidden.map(|(id, _)| id)
}
