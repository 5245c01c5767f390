//! Packets that are too large for the way out.

use std::collections::BTreeSet;

use super::super::Lowering;
use crate::resource::name::LinkName;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::model::Namespace;

impl Lowering<'_> {
    /// Ways out that take less than members send.
    pub(super) fn packets(&mut self) {
        let gateways = std::mem::take(&mut self.gateways);
        for (ns, links) in &gateways {
            let mut told: BTreeSet<&LinkName> = BTreeSet::new();
            for link in links.values() {
                for (family, egress) in &link.egress {
                    let Some(takes) = self.takes(ns, &egress.dev) else {
                        continue;
                    };
                    let of_family = link.members.iter();
                    let members = of_family.filter(|ip| Family::of(**ip) == *family);
                    let ends = members.flat_map(|ip| self.holders(*ip));
                    let sends = ends
                        .filter(|end| !self.sends_less(&end.ns.value, *family, takes))
                        .map(|end| end.mtu)
                        .max();
                    if let Some(sends) = sends.filter(|sends| *sends > takes)
                        && told.insert(&egress.dev)
                    {
                        let text = format!(
                            "{} takes packets of {takes} bytes at most, and members send up to {sends}: TCP is told \
                             (its MSS is clamped), UDP and ICMP depend on path MTU discovery; write `mtu: {takes}` \
                             on their links",
                            egress.dev
                        );
                        self.remark(ns, text);
                    }
                }
            }
        }
        self.gateways = gateways;
    }

    /// The largest packet that a link takes.
    fn takes(&self, ns: &Ns, dev: &LinkName) -> Option<u32> {
        match self.state.get(&Id::link(ns.clone(), dev.clone())) {
            Some(entry) => match &entry.resource {
                Resource::Link(link) => link.mtu,
                _ => None,
            },
            None => self.place(ns).links.get(dev).map(|link| link.mtu),
        }
    }

    /// Whether a namespace's default route says that no larger packets are sent.
    fn sends_less(&self, ns: &Ns, family: Family, takes: u32) -> bool {
        let entry: Option<&Namespace> = self.spec.entry(ns);
        let mut routes = entry.iter().flat_map(|entry| &entry.routes);
        routes.any(|route| {
            let to = route.to.value;
            to.prefix_len() == 0
                && Family::of(to.addr()) == family
                && route.mtu.is_some_and(|mtu| mtu <= takes)
                && self
                    .state
                    .get(&Id::new(
                        ns.clone(),
                        Key::Route(crate::resource::route::RouteKey::new(
                            route.table,
                            to,
                            route.metric,
                        )),
                    ))
                    .is_some()
        })
    }
}
