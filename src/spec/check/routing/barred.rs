//! Rules that keep the kernel from looking up next hops.
//!
//! Before it takes a route, the kernel looks up its next hop as it would look up a packet's destination, and
//! the rules are asked too (`fib_check_nh_v4_gw` of `net/ipv4/fib_semantics.c`, `ip6_route_check_nh` of
//! `net/ipv6/route.c`). A rule that rejects such packets has it refuse the route.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Here;
use crate::resource::Family;
use crate::resource::name::LinkName;
use crate::resource::route::MAIN;
use crate::resource::rule::Action;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{Namespace, Rule};
use crate::spec::source::Span;

/// A next hop that the kernel looks up.
struct Sought<'s> {
    via: IpAddr,
    link: Option<&'s LinkName>,
    table: u32,
    span: Option<Span>,
}

impl<'s> Here<'s> {
    /// Says so when a rule rejects what leads to a next hop.
    pub(super) fn barred(&self, namespace: &'s Namespace, found: &mut Findings) {
        if namespace.rules.iter().all(|rule| !rejects(rule)) {
            return;
        }
        let mut rules: Vec<&Rule> = namespace
            .rules
            .iter()
            .filter(|rule| rejects(rule) || looks_in_main(rule))
            .collect();
        rules.sort_by_key(|rule| rule.priority.value);
        for sought in self.sought(namespace) {
            if found.is_full() {
                return;
            }
            let first = rules.iter().find(|rule| meets(rule, &sought));
            let Some(rule) = first.filter(|rule| rejects(rule)) else {
                continue;
            };
            let message = format!(
                "this rule rejects what leads to {}, so the kernel refuses the route through it",
                sought.via
            );
            let help = "say what it is for, with `from` or `iif`; or put a rule `to` there with `table: main` before it";
            let mut diagnostic = Diagnostic::new(message, rule.span, help);
            if let Some(span) = sought.span {
                diagnostic = diagnostic.also(span, "the next hop");
            }
            found.push(diagnostic);
        }
    }

    fn sought(&self, namespace: &'s Namespace) -> Vec<Sought<'s>> {
        // A table of its own that leads there by the same link is asked first, and the main one with the rules.
        let mut direct: HashMap<u32, Vec<(IpNet, Option<&LinkName>)>> = HashMap::new();
        for route in &namespace.routes {
            if let ([only], true) = (route.hops(), route.table != MAIN)
                && only.via.is_none()
            {
                let of_table = direct.entry(route.table).or_default();
                of_table.push((route.to.value, self.reach.link_of(self.ns, only)));
            }
        }
        let mut seen = HashSet::new();
        let mut sought = Vec::new();
        for route in &namespace.routes {
            let nets = direct.get(&route.table).map_or(&[][..], Vec::as_slice);
            for hop in route.hops().iter().filter(|hop| !hop.onlink) {
                let Some(via) = hop.via else { continue };
                let dev = hop.dev.as_ref().map(|dev| &dev.value);
                let new = seen.insert((via.value, dev, route.table));
                let link = self.reach.link_of(self.ns, hop);
                let leads = |(net, over): &(IpNet, Option<&LinkName>)| {
                    net.contains(&via.value) && (link.is_none() || *over == link)
                };
                if new && !nets.iter().any(leads) {
                    sought.push(Sought {
                        via: via.value,
                        link,
                        table: route.table,
                        span: Some(via.span),
                    });
                }
            }
        }
        for family in Family::BOTH {
            if let Some((via, link)) = self.gateways.get(&(self.ns, family)) {
                sought.push(Sought {
                    via: *via,
                    link: Some(link),
                    table: MAIN,
                    span: None,
                });
            }
        }
        sought
    }
}

/// Whether a rule is asked when a next hop is looked up.
fn meets(rule: &Rule, sought: &Sought<'_>) -> bool {
    let family = Family::of(sought.via);
    // IPv6 asks the table that the route is in first, and names no link that it came in by.
    let asked = match (family, &rule.iif) {
        (Family::Ipv4, iif) => iif.as_ref().is_none_or(|iif| iif.value.as_str() == "lo"),
        (Family::Ipv6, iif) => iif.is_none() && sought.table != MAIN,
    };
    asked && concerns(rule, sought.via, sought.link)
}

/// Whether a rule is asked when the rules are asked about a next hop of IPv6 on a link.
pub(super) fn looks_up(rule: &Rule, via: IpAddr, link: &LinkName) -> bool {
    rule.iif.is_none() && concerns(rule, via, Some(link))
}

/// Whether a rule is for what leads to a next hop, but for the link that packets come in by.
fn concerns(rule: &Rule, via: IpAddr, link: Option<&LinkName>) -> bool {
    let to = rule.to.is_none_or(|to| to.value.contains(&via));
    let from = rule.from.is_none_or(|from| from.value.prefix_len() == 0);
    let oif = rule.oif.as_ref().is_none_or(|oif| Some(&oif.value) == link);
    let family = rule.families().contains(&Family::of(via));
    to && from && oif && rule.mark.is_none() && family
}

pub(super) fn rejects(rule: &Rule) -> bool {
    !matches!(rule.action, Action::Lookup(_))
}

fn looks_in_main(rule: &Rule) -> bool {
    matches!(rule.action, Action::Lookup(MAIN))
}
