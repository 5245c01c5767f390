//! What the fake kernel does to routes over several next hops.

use std::collections::BTreeSet;

use netform::resource::name::LinkName;
use netform::resource::route::{NextHop, Target};
use netform::resource::{Key, Ns, Resource};

use super::kernel::World;

/// What may happen to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Gone,
    Down,
    NoIpv4,
    NoIpv6,
}

impl World {
    /// What something that happened to a link does to the routes that lead over others too.
    pub(crate) fn fray(&mut self, ns: &Ns, name: &LinkName, event: Event) {
        let mut live: BTreeSet<(LinkName, bool)> = BTreeSet::new();
        for id in self.links_of(ns) {
            let Key::Link(link) = &id.key else { continue };
            if self.link(ns, link).is_some_and(|link| link.up) {
                live.insert((link.clone(), false));
                let mut addresses = self.addresses(ns, Some(link));
                if addresses.any(|(_, key, _)| key.ip.is_ipv4()) {
                    live.insert((link.clone(), true));
                }
            }
        }
        self.entries.retain(|id, entry| {
            let (Key::Route(key), Resource::Route(route)) = (&id.key, &mut entry.resource) else {
                return true;
            };
            let Target::Unicast(hops) = &mut route.target else {
                return true;
            };
            let ipv4 = key.to.addr().is_ipv4();
            let on_it = |hop: &NextHop| hop.dev.as_ref() == Some(name);
            let other_family = match event {
                Event::NoIpv4 => !ipv4,
                Event::NoIpv6 => ipv4,
                Event::Gone | Event::Down => false,
            };
            if id.ns != *ns || other_family || hops.len() < 2 || !hops.iter().any(on_it) {
                return true;
            }
            match event {
                Event::Gone if ipv4 => return false,
                Event::Gone | Event::NoIpv6 => hops.retain(|hop| !on_it(hop)),
                Event::Down | Event::NoIpv4 => {}
            }
            // One that is the only one left has no weight.
            if let [hop] = hops.as_mut_slice() {
                hop.weight = 1;
            }
            hops.iter().any(|hop| {
                let dev = hop.dev.clone().expect("a route has its link");
                live.contains(&(dev, ipv4))
            })
        });
    }
}
