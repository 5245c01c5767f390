//! Routes that lead next hops which are said to be on the link elsewhere.
//!
//! The kernel believes `onlink` only where its main table doesn't lead to an IPv6 router by another link: what it finds
//! there must be over that link, or be the default route, or drop packets (`ip6_route_check_nh_onlink` of
//! `net/ipv6/route.c`). IPv4 doesn't look.

use std::cmp::Reverse;

use super::{Here, is_link_local};
use crate::resource::Family;
use crate::resource::route::{MAIN, OF_ADDRESSES};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{Namespace, Route};
use crate::spec::prefixes::Index;

impl<'s> Here<'s> {
    /// Says so when what leads to a next hop that is said to be on a link leads over another one.
    pub(super) fn elsewhere(&self, namespace: &'s Namespace, found: &mut Findings) {
        let is_ipv6 = |route: &&Route| Family::of(route.to.value.addr()) == Family::Ipv6;
        let routes = || namespace.routes.iter().filter(is_ipv6);
        if !routes().any(|route| route.hops().iter().any(|hop| hop.onlink)) {
            return;
        }
        let leading =
            routes().filter(|route| route.table == MAIN && route.to.value.prefix_len() > 0);
        let leading: Index<&Route> = leading.map(|route| (route.to.value, route)).collect();
        for route in routes() {
            for hop in route.hops().iter().filter(|hop| hop.onlink) {
                if found.is_full() {
                    return;
                }
                let (Some(via), Some(dev)) = (hop.via, &hop.dev) else {
                    continue;
                };
                let is_open = self.found && !self.links.contains_key(&dev.value);
                if is_open || is_link_local(via.value) {
                    continue;
                }
                let others = leading.around(via.value).into_iter();
                let others = others.filter(|other| !std::ptr::eq(*other, route));
                let rank = |route: &Route| (route.to.value.prefix_len(), Reverse(route.metric));
                let Some(best) = others.clone().map(rank).max() else {
                    continue;
                };
                let nears = self.reach.beside(self.ns, via.value);
                let mut nears = nears.iter().filter(|near| *near.link == dev.value);
                if nears.any(|near| (near.length, Reverse(OF_ADDRESSES)) >= best) {
                    continue;
                }
                let mut best = others.filter(|other| rank(other) == best);
                let Some(other) = best.next() else { continue };
                let over = |other: &Route| {
                    let mut hops = other.hops().iter();
                    other.hops().is_empty()
                        || hops.any(|hop| self.reach.link_of(self.ns, hop) == Some(&dev.value))
                };
                if over(other) || best.any(over) {
                    continue;
                }
                let message = format!(
                    "this route leads to {} by another link, so the kernel refuses it as a next hop on `{}`",
                    via.value, dev.value
                );
                let help = format!(
                    "add the way to it: `{{ to: \"{}\", dev: {} }}`",
                    via.value, dev.value
                );
                let diagnostic = Diagnostic::new(message, other.to.span, help);
                found.push(diagnostic.also(via.span, "the next hop"));
            }
        }
    }
}
