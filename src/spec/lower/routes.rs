//! Default routes: which router each namespace uses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Lowering, Routes, has_ipv6};
use crate::resource::name::LinkName;
use crate::resource::route::{Route, RouteKey};
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::model::{Gateway, Gateways, Namespace};

impl<'s> Lowering<'s> {
    /// Gives each namespace its default routes, and says which.
    pub(super) fn default_routes(&mut self) -> Routes<'s> {
        let routes = self.choose_routes();
        for ((ns, family), (via, dev)) in &routes {
            // Where others make the namespace the one that is written wins: whether there is another
            // depends on them.
            let id = Id::new((*ns).clone(), Key::Route(RouteKey::default_of(*family)));
            if self.state.get(&id).is_none() {
                let route = Route::through(*via, (*dev).clone());
                self.put(ns, id.key, Resource::Route(route));
            }
        }
        self.shut_ears(&routes);
        routes
    }

    pub(super) fn choose_routes(&self) -> Routes<'s> {
        let mut routes = Routes::new();
        let spec = self.spec;
        let pairs = spec
            .veths
            .iter()
            .filter(|veth| veth.ends.iter().all(|end| end.up));
        let single = spec.links.iter().map(|link| &link.end);
        let single = single.filter(|end| end.up && !end.is_loopback());
        let nothing = None;
        for end in pairs.flat_map(|veth| &veth.ends).chain(single) {
            let ns = &end.ns.value;
            let wish = spec
                .entry(ns)
                .map_or(&nothing, |entry: &Namespace| &entry.gateway);
            for address in &end.addresses {
                let ip = address.value.addr();
                let family = Family::of(ip);
                let offered = match wish {
                    Some(Gateways::None) => None,
                    Some(Gateways::Through(these)) => {
                        these.iter().find_map(|one| match &one.value {
                            Gateway::Subnet(name) => {
                                let subnet = spec.subnets.get(name)?;
                                let gateway = subnet.gateway.as_ref()?.value;
                                subnet.cidr.value.contains(&ip).then_some(gateway)
                            }
                            Gateway::Address(via) => address.value.contains(via).then_some(*via),
                        })
                    }
                    None => self.offered(ns, ip),
                };
                if let Some(via) = offered {
                    routes.entry((ns, family)).or_insert((via, &end.name.value));
                }
            }
        }
        routes
    }

    /// The gateway of the subnet that an address is in, for a namespace that doesn't hold it.
    fn offered(&self, ns: &Ns, ip: IpAddr) -> Option<IpAddr> {
        let own = self
            .place(ns)
            .default_without(Family::of(ip), self.topology);
        if self.spec.is_found(ns) && own.is_some() {
            return None;
        }
        let holds = |gateway: IpAddr| {
            let holders = self.holders(gateway).iter();
            holders.into_iter().any(|end| end.ns.value == *ns)
        };
        self.prefixes
            .around(ip)
            .filter_map(|subnet| Some(subnet.gateway.as_ref()?.value))
            .find(|gateway| !holds(*gateway))
    }

    /// A namespace that gets its IPv6 gateway from the spec doesn't listen to router advertisements, nor to
    /// redirects, by which a neighbour could send it elsewhere; unless the spec says that it shall take these.
    fn shut_ears(&mut self, routes: &Routes<'s>) {
        let deaf: BTreeSet<(&'s Ns, &'s LinkName)> = self
            .made()
            .filter(|end| {
                !self.spec.is_found(&end.ns.value)
                    && has_ipv6(end)
                    && (routes.contains_key(&(&end.ns.value, Family::Ipv6))
                        || self.static_default(&end.ns.value, Family::Ipv6).is_some())
            })
            .map(|end| (&end.ns.value, &end.name.value))
            .collect();
        for (ns, link) in deaf {
            let of_link = |name| SysctlKey::conf(Family::Ipv6, link.clone(), name);
            self.set(ns, of_link("accept_ra"), Sysctl::off());
            let redirects = of_link("accept_redirects");
            let said = self.spec.entry(ns).is_some_and(|entry| {
                let mut settings = entry.sysctls.iter();
                settings.any(|setting| setting.key.value == redirects)
            });
            if !said {
                self.set(ns, redirects, Sysctl::off());
            }
        }
    }
}
