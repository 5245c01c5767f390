//! The order of what is done about addresses, and about what stands on them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Edges, Step, off_for_ipv6};
use crate::plan::{Action, Operation, Reason};
use crate::resource::address::PROMOTES;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};

impl Edges<'_> {
    /// Addresses of a link one after the other, removals first; routes after the addresses of their links.
    ///
    /// They are removed from the last to the first, so that no address that goes takes the place of the
    /// first of its network in between, and made in the order in which they are to stand.
    pub(super) fn on_links(&mut self) {
        let mut last_removed: BTreeMap<(&Ns, &LinkName), usize> = BTreeMap::new();
        let mut first_removed: BTreeMap<(&Ns, &LinkName), usize> = BTreeMap::new();
        let mut last_made: BTreeMap<(&Ns, &LinkName), usize> = BTreeMap::new();
        let mut holders: BTreeMap<(&Ns, IpAddr), usize> = BTreeMap::new();
        let mut freed: BTreeMap<(&Ns, IpAddr), Vec<usize>> = BTreeMap::new();
        let mut in_order: Vec<usize> = (0..self.operations.len()).collect();
        in_order.sort_by_key(|place| Reverse(place_of(&self.operations[*place])));
        for place in in_order.iter().copied() {
            let operation = &self.operations[place];
            let Key::Address(key) = &operation.id.key else {
                continue;
            };
            let link = (&operation.id.ns, &key.link);
            if self.steps[place] == Step::RemoveAddress {
                let root = self.root(place);
                freed.entry((link.0, key.ip)).or_default().push(root);
            }
            // One that falls and is made again takes the routes with it as their source all the same.
            if let (Step::Address, Some(Reason::Fell(cause))) =
                (self.steps[place], &operation.reason)
            {
                let old = self.removal(cause).map(|old| self.root(old));
                let freed = freed.entry((link.0, key.ip)).or_default();
                freed.extend(old.or(self.make(cause)));
            }
            if self.steps[place] != Step::RemoveAddress || operation.with.is_some() {
                continue;
            }
            if key.ip.is_ipv6() && self.ipv6_switched {
                for off in off_for_ipv6(&key.link) {
                    let off = self.make(&Id::new(link.0.clone(), Key::Sysctl(off)));
                    if let Some(off) = off {
                        self.add(off, Some(place));
                    }
                }
            }
            // What is first of its network then depends on it.
            for promotes in [
                SysctlKey::of_links(Family::Ipv4, "all", PROMOTES),
                SysctlKey::conf(Family::Ipv4, key.link.clone(), PROMOTES),
            ] {
                let promotes = Id::new(link.0.clone(), Key::Sysctl(promotes));
                if let Some(promotes) = self.make(&promotes).filter(|_| key.ip.is_ipv4()) {
                    self.add(promotes, Some(place));
                }
            }
            first_removed.entry(link).or_insert(place);
            let previous = last_removed.insert(link, place);
            self.add(place, previous);
        }
        in_order.sort_by_key(|place| place_of(&self.operations[*place]));
        for place in in_order {
            let operation = &self.operations[place];
            let Key::Address(key) = &operation.id.key else {
                continue;
            };
            let link = (&operation.id.ns, &key.link);
            if self.steps[place] == Step::Address {
                holders.insert((link.0, key.ip), place);
                let previous = last_made.insert(link, place);
                self.add(place, previous.or(last_removed.get(&link).copied()));
                // Else what stands on the old one would come to stand on the new one, and not fall.
                for freed in freed.get(&(link.0, key.ip)).into_iter().flatten() {
                    self.add(place, Some(*freed));
                }
            }
        }
        for place in 0..self.operations.len() {
            let operation = &self.operations[place];
            let (Action::Create(Resource::Route(route))
            | Action::Remove(Resource::Route(route))
            | Action::Update {
                after: Resource::Route(route),
                ..
            }) = &operation.action
            else {
                continue;
            };
            let ns = &operation.id.ns;
            let devs: Vec<&LinkName> = route
                .hops()
                .iter()
                .filter_map(|hop| hop.dev.as_ref())
                .collect();
            for dev in devs {
                if self.steps[place] == Step::Route {
                    self.add(place, self.make_of_link(ns, dev));
                    self.add(place, last_made.get(&(ns, dev)).copied());
                    // The last address would take it.
                    self.add(place, last_removed.get(&(ns, dev)).copied());
                } else if operation.with.is_none() {
                    // Else the last address would take it, and nothing be left to remove.
                    let first = first_removed.get(&(ns, dev)).copied();
                    if let Some(first) = first {
                        self.add(first, Some(place));
                    }
                }
            }
            let Some(src) = route.src else { continue };
            if self.steps[place] == Step::Route {
                self.add(place, holders.get(&(ns, src)).copied());
            } else if operation.with.is_none() {
                for freed in freed.get(&(ns, src)).into_iter().flatten() {
                    self.add(*freed, Some(place));
                }
            }
        }
    }
}

/// Where an address stands on its link: where it is to stand, if it is made.
fn place_of(operation: &Operation) -> u32 {
    match &operation.action {
        Action::Create(Resource::Address(address)) | Action::Remove(Resource::Address(address)) => {
            address.place
        }
        _ => 0,
    }
}
