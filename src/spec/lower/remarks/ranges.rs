//! Subnets whose addresses a namespace of others has elsewhere already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{Lowering, called, listed};
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::spec::model::Subnet;
use crate::spec::prefixes::Index;
use crate::state::PlaceRoute;

impl Lowering<'_> {
    /// Says of each subnet which other routes are about its addresses.
    pub(super) fn ranges(&mut self) {
        let mut texts: BTreeSet<(Ns, String)> = BTreeSet::new();
        for (ns, subnets) in self.held() {
            let routes = Around::of(&self.place(ns).routes);
            for (cidr, links) in subnets {
                let Some(subnet) = self.prefixes.subnets.get(&cidr) else {
                    continue;
                };
                let others = routes.about(cidr).filter(|route| {
                    !route.links.is_empty() && !route.links.iter().any(|link| links.contains(link))
                });
                texts.extend(others.map(|route| (ns.clone(), text(ns, subnet, route))));
            }
        }
        for (ns, text) in texts {
            self.remark(&ns, text);
        }
    }

    /// The subnets that each namespace of others has, and where: the links of the spec with an address in it, and that of
    /// its gateway.
    fn held(&self) -> BTreeMap<&Ns, BTreeMap<IpNet, BTreeSet<&LinkName>>> {
        let ends = self.spec.ends().flat_map(|end| {
            let addresses = end.addresses.iter();
            let around = addresses.flat_map(|address| self.prefixes.around(address.value.addr()));
            around.map(move |subnet| (&end.ns.value, subnet.cidr.value, &end.name.value))
        });
        let gateways = self.gateways.iter().flat_map(|(ns, links)| {
            links.iter().flat_map(move |(name, link)| {
                let prefixes = link.prefixes.iter();
                prefixes.map(move |cidr| (ns, *cidr, name))
            })
        });
        let mut held: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        for (ns, cidr, link) in ends.chain(gateways) {
            if self.spec.is_found(ns) {
                let of_namespace = held.entry(ns).or_default();
                of_namespace.entry(cidr).or_default().insert(link);
            }
        }
        held
    }
}

/// The routes of a namespace but those to just anywhere, so that not each is tried for each subnet.
struct Around<'f> {
    wider: Index<&'f PlaceRoute>,
    by_first: BTreeMap<IpAddr, Vec<&'f PlaceRoute>>,
}

impl<'f> Around<'f> {
    fn of(routes: &'f [PlaceRoute]) -> Around<'f> {
        let narrow = routes.iter().filter(|route| route.to.prefix_len() > 1);
        let mut by_first: BTreeMap<IpAddr, Vec<&PlaceRoute>> = BTreeMap::new();
        for route in narrow.clone() {
            by_first.entry(route.to.network()).or_default().push(route);
        }
        Around {
            wider: narrow.map(|route| (route.to, route)).collect(),
            by_first,
        }
    }

    /// Those to what a prefix has addresses in common with; some come twice.
    fn about(&self, cidr: IpNet) -> impl Iterator<Item = &'f PlaceRoute> {
        let inside = self.by_first.range(cidr.network()..=cidr.broadcast());
        let inside = inside.flat_map(|(_, routes)| routes).copied();
        inside.chain(self.wider.around(cidr.network()))
    }
}

/// What a route takes from a subnet, or a subnet from a route.
fn text(ns: &Ns, subnet: &Subnet, route: &PlaceRoute) -> String {
    let cidr = subnet.cidr.value;
    let whose = match &route.owner {
        Some(owner) => format!(" (topology {owner})"),
        None => String::new(),
    };
    let what = format!(
        "{} routes {} over {}{whose} already",
        called(ns),
        route.to,
        listed(&route.links)
    );
    let name = &subnet.name.value;
    if cidr.contains(&route.to) {
        format!(
            "{what}, so members of `{name}` ({cidr}) can't be reached there: give the subnet another `cidr`, or \
             remove that route if nothing needs it"
        )
    } else {
        format!(
            "{what}, and `{name}` takes {cidr} from that: what is there can't be reached from here any more; give \
             the subnet another `cidr` unless it is free"
        )
    }
}
