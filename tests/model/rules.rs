//! The fake kernel's rules of routes and of sysctls.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netform::resource::route::{Route, RouteKey};
use netform::resource::rule::Action;
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::Owner;

use super::kernel::{Hops, RA, Refusal, World, conf, has_ipv6, leads_over, switch};
use super::nexthop::Sight;

impl World {
    /// IPv4 routes of the main table go with their source, if no link holds it any more. IPv6 ones stay
    /// without.
    pub(crate) fn lose_sources(&mut self, ns: &Ns, mut gone: Vec<IpAddr>) {
        let held: BTreeSet<IpAddr> = self.addresses(ns, None).map(|(_, key, _)| key.ip).collect();
        gone.retain(|ip| !held.contains(ip));
        self.entries.retain(|id, entry| match &mut entry.resource {
            Resource::Route(route)
                if id.ns == *ns && route.src.is_some_and(|src| gone.contains(&src)) =>
            {
                if route.src.is_some_and(|src| src.is_ipv6()) {
                    route.src = None;
                    return true;
                }
                !matches!(&id.key, Key::Route(key) if key.table == 254)
            }
            _ => true,
        });
    }

    /// Whether a route can be as it is to be.
    pub(crate) fn check_route(
        &self,
        ns: &Ns,
        key: &RouteKey,
        route: &Route,
    ) -> Result<(), Refusal> {
        let to = &key.to;
        if !self.has_ns(ns) {
            return Err(format!("ENOENT: {ns} for route {to}"));
        }
        for hop in route.hops_of() {
            let Some(dev) = &hop.dev else {
                return Err(format!("ENODEV: route {to} has no link"));
            };
            let link = self.link(ns, dev);
            let link = link.ok_or_else(|| format!("ENODEV: {ns}:{dev} for {to}"))?;
            if !link.up {
                return Err(format!("ENETDOWN: {ns}:{dev} for {to}"));
            }
            if to.addr().is_ipv6() && !has_ipv6(link) {
                return Err(format!("EINVAL: {ns}:{dev} has no IPv6 for {to}"));
            }
            if hop.via.is_some_and(|via| !hop.onlink && self.bars(ns, via)) {
                return Err(format!("EACCES: {:?} in {ns} for {to}", hop.via));
            }
            let sight = Sight {
                ns,
                entries: &self.entries,
                cut_off: &self.cut_off,
                but: None,
            };
            if let Some(via) = hop.via.filter(|via| via.is_ipv6() && !hop.onlink)
                && sight.misses(key.table, via, dev)
            {
                return Err(format!("EHOSTUNREACH: {via} on {ns}:{dev} for {to}"));
            }
            let covered = |via: &IpAddr| hop.onlink || self.is_beside(ns, dev, via);
            if !hop.via.as_ref().is_none_or(covered) {
                return Err(format!("ENETUNREACH: {:?} on {ns}:{dev} for {to}", hop.via));
            }
        }
        match route.src {
            Some(src) if !self.addresses(ns, None).any(|(_, key, _)| key.ip == src) => {
                Err(format!("EINVAL: source {src} in {ns} for {to}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a rule of IPv4 rejects the kernel's own search for a router.
    pub(super) fn bars(&self, ns: &Ns, via: IpAddr) -> bool {
        let rules = self.entries.iter().filter_map(|(id, entry)| {
            let (Key::Rule(key), Resource::Rule(rule)) = (&id.key, &entry.resource) else {
                return None;
            };
            (id.ns == *ns && key.family == Family::Ipv4).then_some((key, rule))
        });
        let asked = rules.filter(|(key, _)| {
            let to = key.to.is_none_or(|to| to.contains(&via));
            to && key.from.is_none() && key.mark.is_none() && key.iif.is_none()
        });
        let decides = |action: &Action| !matches!(action, Action::Lookup(table) if *table != 254);
        let first = asked
            .filter(|(_, rule)| decides(&rule.action))
            .min_by_key(|(key, _)| key.priority);
        via.is_ipv4() && first.is_some_and(|(_, rule)| rule.action.table().is_none())
    }

    /// Writes a sysctl, with all that follows.
    pub(crate) fn write(&mut self, ns: &Ns, key: &SysctlKey, value: &str) -> Result<(), Refusal> {
        let id = Id::new(ns.clone(), Key::Sysctl(key.clone()));
        match self.entries.get_mut(&id).map(|entry| &mut entry.resource) {
            Some(Resource::Sysctl(sysctl)) => sysctl.value = value.into(),
            _ => return Err(format!("ENOENT: {ns} {key}")),
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            if id.key == switch(family) {
                for link in self.links_of(ns) {
                    let Key::Link(name) = &link.key else { continue };
                    let key = conf(family, name, "forwarding");
                    if self.value(ns, key.clone()).is_some() {
                        self.set(ns, key, value);
                    }
                    // `addrconf_fixup_forwarding` of Linux 6.17 and later.
                    let key = conf(Family::Ipv6, name, "force_forwarding");
                    let clears = family == Family::Ipv6 && value == "0";
                    if clears && self.value(ns, key.clone()).is_some() {
                        self.set(ns, key, "0");
                    }
                }
            }
        }
        self.purge(ns);
        Ok(())
    }

    /// Routes learnt from router advertisements go from links that forward IPv6, unless `accept_ra` is 2.
    fn purge(&mut self, ns: &Ns) {
        for link in self.links_of(ns) {
            let Key::Link(name) = &link.key else { continue };
            let forwards = self.value(ns, conf(Family::Ipv6, name, "forwarding")) == Some("1");
            if forwards && self.value(ns, conf(Family::Ipv6, name, "accept_ra")) != Some("2") {
                self.entries.retain(|id, entry| {
                    let learnt = matches!(&id.key, Key::Route(key) if key.to.addr().is_ipv6())
                        && entry.owner == Owner::Foreign
                        && matches!(&entry.resource, Resource::Route(route) if route.mtu == Some(RA));
                    id.ns != *ns || !learnt || !leads_over(entry, name)
                });
            }
        }
    }
}
