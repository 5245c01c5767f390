//! The links that lead out of a namespace.

use std::collections::BTreeSet;

use super::{Lowering, Routes, called, listed};
use crate::resource::name::LinkName;
use crate::resource::route::{MAIN, RouteKey};
use crate::resource::{Family, Ns};
use crate::spec::model::{NextHop, Subnet};
use crate::spec::source::Spanned;

impl<'s> Lowering<'s> {
    /// The link of the default route that a namespace will have, which is that of the lowest metric. One that leads
    /// over several is worth a remark.
    pub(super) fn default_uplink(
        &mut self,
        ns: &Ns,
        family: Family,
        subnet: &Subnet,
        routes: &Routes<'s>,
    ) -> Option<LinkName> {
        let (first, more) = self.default_links(ns, family, routes)?;
        if !more.is_empty() {
            let text = format!(
                "the {family} default route of {} leads over {}, and `{}` leaves by {first} alone: what the \
                 route sends by another link is refused; name the link with `dev`, and lead the subnet there \
                 with `rules`",
                called(ns),
                listed([&first].into_iter().chain(&more)),
                subnet.name.value
            );
            self.remark(ns, text);
        }
        Some(first)
    }

    fn default_links(
        &self,
        ns: &Ns,
        family: Family,
        routes: &Routes<'s>,
    ) -> Option<(LinkName, BTreeSet<LinkName>)> {
        // What is written has its place once it is applied, as what the subnets bring.
        let written = self.written_default(ns, family).map(|(metric, hops)| {
            let mut links = hops.iter().filter_map(|hop| self.reach.link_of(ns, hop));
            let first = links.next().cloned();
            (metric, first, links.cloned().collect())
        });
        let found = self
            .place(ns)
            .default_route_without(family, self.topology)
            .map(|route| (route.metric, Some(route.link.clone()), route.more.clone()));
        let brought = routes.get(&(ns, family)).map(|(_, dev)| {
            let metric = RouteKey::default_of(family).metric;
            (metric, Some((*dev).clone()), BTreeSet::new())
        });
        let all = [written, found, brought].into_iter().flatten();
        let (_, first, mut more): (_, _, BTreeSet<LinkName>) =
            all.min_by_key(|(metric, ..)| *metric)?;
        let first = first?;
        more.remove(&first);
        Some((first, more))
    }

    /// The default route that a namespace's entry says it has, with its metric.
    fn written_default(&self, ns: &Ns, family: Family) -> Option<(u32, &'s [NextHop])> {
        let defaults = self.spec.entry(ns)?.routes.iter().filter(|route| {
            let to = route.to.value;
            to.prefix_len() == 0 && Family::of(to.addr()) == family && route.table == MAIN
        });
        let defaults = defaults.map(|route| {
            let key = RouteKey::new(route.table, route.to.value, route.metric);
            (key.metric, route.hops())
        });
        defaults.min_by_key(|(metric, _)| *metric)
    }

    /// The link of the default route that a namespace's entry says it has.
    pub(super) fn static_default(&self, ns: &Ns, family: Family) -> Option<&'s LinkName> {
        let (_, hops) = self.written_default(ns, family)?;
        self.reach.link_of(ns, hops.first()?)
    }

    /// Says so if nothing leaves by a link of others, because it is a port.
    pub(super) fn tell_of_port(&mut self, ns: &Ns, dev: &Spanned<LinkName>, subnet: &Subnet) {
        let found = self.place(ns).link(&dev.value);
        if let Some(bridge) = found.and_then(|(_, link)| link.port_of.as_ref()) {
            let text = format!(
                "link {}, by which `{}` is to leave, is a port of {bridge}, which packets leave by: name that",
                dev.value, subnet.name.value
            );
            self.remark(ns, text);
        }
    }
}
