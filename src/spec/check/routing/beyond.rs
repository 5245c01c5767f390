//! Routes that keep the kernel from finding next hops of IPv6.
//!
//! The kernel takes a next hop only if what leads to it over the link leads there directly: a lookup in the
//! route's own table, and after it one that asks the rules, must not find a route through a router
//! (`ip6_route_check_nh` of `net/ipv6/route.c`). IPv4 passes over such routes instead.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::barred::{looks_up, rejects};
use super::{Here, is_link_local};
use crate::resource::Family;
use crate::resource::name::LinkName;
use crate::resource::route::{MAIN, OF_ADDRESSES};
use crate::resource::rule::Action;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{Namespace, Route, Rule};
use crate::spec::prefixes::Index;

/// A route of a table over one of its links.
#[derive(Clone, Copy)]
struct Leading<'s> {
    route: &'s Route,
    link: &'s LinkName,
    direct: bool,
}

/// What a lookup finds.
#[derive(Clone, Copy)]
enum Found<'s> {
    /// The link itself.
    Direct,
    /// A route through a router.
    Beyond(&'s Route),
}

/// The routes of each table.
type Tables<'s> = HashMap<u32, Index<Leading<'s>>>;

impl<'s> Here<'s> {
    /// Says so when what leads to a next hop leads through a router.
    pub(super) fn beyond(&self, namespace: &'s Namespace, found: &mut Findings) {
        let is_ipv6 = |route: &&Route| Family::of(route.to.value.addr()) == Family::Ipv6;
        let routes: Vec<&Route> = namespace.routes.iter().filter(is_ipv6).collect();
        let mut rules: Vec<&Rule> = namespace.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority.value);
        let tables = self.tables(&routes);
        for route in routes {
            for hop in route.hops().iter().filter(|hop| !hop.onlink) {
                if found.is_full() {
                    return;
                }
                let (Some(via), Some(link)) = (hop.via, self.reach.link_of(self.ns, hop)) else {
                    continue;
                };
                let unknown = self.found && !self.links.contains_key(link);
                if unknown || is_link_local(via.value) {
                    continue;
                }
                let lookup = |table| self.lookup(&tables, table, via.value, link, route);
                if matches!(lookup(route.table), Some(Found::Direct)) {
                    continue;
                }
                let asked = rules
                    .iter()
                    .filter(|rule| looks_up(rule, via.value, link))
                    .take_while(|rule| !rejects(rule))
                    .filter_map(|rule| match rule.action {
                        Action::Lookup(table) => Some(table),
                        _ => None,
                    });
                let first = asked.chain([MAIN]).find_map(lookup);
                let Some(Found::Beyond(other)) = first else {
                    continue;
                };
                let message = format!(
                    "this route leads to {} through another router, so the kernel refuses it as a next hop",
                    via.value
                );
                let help = if other.to.value.prefix_len() == 128 {
                    "remove it: a next hop is beside its link".to_owned()
                } else {
                    let of_table = match route.table {
                        MAIN => String::new(),
                        table => format!(", table: {table}"),
                    };
                    format!(
                        "add the way to it: `{{ to: \"{}\", dev: {link}{of_table} }}`",
                        via.value
                    )
                };
                let diagnostic = Diagnostic::new(message, other.to.span, help);
                found.push(diagnostic.also(via.span, "the next hop"));
            }
        }
    }

    fn tables(&self, routes: &[&'s Route]) -> Tables<'s> {
        let mut tables: HashMap<u32, Vec<_>> = HashMap::new();
        for &route in routes {
            for hop in route.hops() {
                if let Some(link) = self.reach.link_of(self.ns, hop) {
                    let direct = hop.via.is_none();
                    let leading = Leading {
                        route,
                        link,
                        direct,
                    };
                    let of_table = tables.entry(route.table).or_default();
                    of_table.push((route.to.value, leading));
                }
            }
        }
        let indexed = tables.into_iter();
        indexed
            .map(|(table, routes)| (table, routes.into_iter().collect()))
            .collect()
    }

    /// What leads to an address over a link, but for one route.
    fn lookup(
        &self,
        tables: &Tables<'s>,
        table: u32,
        ip: IpAddr,
        link: &LinkName,
        but: &Route,
    ) -> Option<Found<'s>> {
        let of_routes = tables
            .get(&table)
            .map_or_else(Vec::new, |routes| routes.around(ip))
            .into_iter()
            .filter(|leading| leading.link == link && !std::ptr::eq(leading.route, but))
            .map(|leading| {
                let found = if leading.direct {
                    Found::Direct
                } else {
                    Found::Beyond(leading.route)
                };
                let route = leading.route;
                (route.to.value.prefix_len(), route.metric, found)
            });
        let of_addresses = match table {
            MAIN => self.reach.beside(self.ns, ip),
            _ => Vec::new(),
        };
        let of_addresses = of_addresses
            .into_iter()
            .filter(|near| near.link == link)
            .map(|near| (near.length, OF_ADDRESSES, Found::Direct));
        of_routes
            .chain(of_addresses)
            .max_by_key(|(length, metric, _)| (*length, Reverse(*metric)))
            .map(|(.., found)| found)
    }
}
