//! Topologies that are open to each other.

use std::collections::BTreeSet;

use super::super::{Lowering, called, listed};
use crate::resource::name::TopologyName;
use crate::resource::{Family, Ns};

impl Lowering<'_> {
    /// Two topologies that both make one namespace a plain router: neither guards its links there.
    pub(super) fn routers(&mut self) {
        let spec = self.spec;
        for (ns, namespace) in spec.all_namespaces() {
            let said = namespace.forwarding;
            let routes = said.is_some_and(|forwarding| forwarding.value.covers(Family::Ipv4));
            let here = |ns: &Ns| self.made().any(|end| end.ns.value == *ns);
            if !routes || !spec.is_found(ns) || !here(ns) {
                continue;
            }
            let place = self.place(ns);
            let with_links: BTreeSet<&TopologyName> = place
                .links
                .values()
                .filter_map(|link| link.owner.as_ref())
                .collect();
            let others: Vec<&TopologyName> = place
                .routers
                .iter()
                .filter(|other| *other != self.topology && with_links.contains(other))
                .collect();
            if !others.is_empty() {
                let text = format!(
                    "{} is a plain router for topology {} too, so their members and those of {} reach each \
                     other over IPv4: remove `forwarding` from one of the specs, whose links are then guarded",
                    called(ns),
                    listed(others),
                    self.topology
                );
                self.remark(ns, text);
            }
        }
    }
}
