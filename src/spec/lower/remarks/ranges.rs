//! Subnets whose addresses a namespace of others has elsewhere already.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::super::{Lowering, called, listed};
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::spec::model::Subnet;
use crate::state::PlaceRoute;

impl Lowering<'_> {
    /// Says of each subnet which other routes are about its addresses.
    pub(super) fn ranges(&mut self) {
        let spec = self.spec;
        let mut texts: BTreeSet<(Ns, String)> = BTreeSet::new();
        for subnet in spec.subnets.values() {
            let found: BTreeSet<&Ns> = self
                .holding(subnet)
                .map(|(ns, _)| ns)
                .filter(|ns| spec.is_found(ns))
                .collect();
            for ns in found {
                let here: BTreeSet<&LinkName> = self
                    .holding(subnet)
                    .filter(|(of, _)| *of == ns)
                    .map(|(_, link)| link)
                    .collect();
                let routes = self.place(ns).routes.iter();
                let cidr = subnet.cidr.value;
                let others = routes.filter(|route| {
                    route.to.prefix_len() > 1
                        && overlap(route.to, cidr)
                        && !route.links.is_empty()
                        && !route.links.iter().any(|link| here.contains(link))
                });
                texts.extend(others.map(|route| (ns.clone(), text(ns, subnet, route))));
            }
        }
        for (ns, text) in texts {
            self.remark(&ns, text);
        }
    }

    /// Where the subnet is: the links of the spec with an address in it, and that of its gateway.
    fn holding(&self, subnet: &Subnet) -> impl Iterator<Item = (&Ns, &LinkName)> {
        let cidr = subnet.cidr.value;
        let ends = self.spec.ends().filter(move |end| {
            let mut addresses = end.addresses.iter();
            addresses.any(|address| cidr.contains(&address.value.addr()))
        });
        let gateways = self.gateways.iter().flat_map(move |(ns, links)| {
            let links = links.iter();
            let of = links.filter(move |(_, link)| link.prefixes.contains(&cidr));
            of.map(move |(name, _)| (ns, name))
        });
        ends.map(|end| (&end.ns.value, &end.name.value))
            .chain(gateways)
    }
}

/// Whether two prefixes have addresses in common.
fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
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
