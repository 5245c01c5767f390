//! Rules that keep the kernel from looking up next hops.
//!
//! Before it takes a route, the kernel looks up its next hop as it would look up a packet's destination, and
//! the rules are asked too (`fib_check_nh_v4_gw` of `net/ipv4/fib_semantics.c`, `ip6_route_check_nh` of
//! `net/ipv6/route.c`). A rule that rejects such packets has it refuse the route.

use std::net::IpAddr;

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
        let mut rules: Vec<&Rule> = namespace.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority.value);
        for sought in self.sought(namespace) {
            let first = rules
                .iter()
                .find(|rule| meets(rule, &sought) && (rejects(rule) || looks_in_main(rule)));
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
        let mut sought = Vec::new();
        for route in &namespace.routes {
            for hop in route.hops().iter().filter(|hop| !hop.onlink) {
                let Some(via) = hop.via else { continue };
                // A table of its own that leads there is asked first, and the main one with the rules.
                let direct = namespace.routes.iter().any(|other| {
                    other.table == route.table
                        && route.table != MAIN
                        && other.to.value.contains(&via.value)
                        && matches!(other.hops(), [only] if only.via.is_none())
                });
                if !direct {
                    sought.push(Sought {
                        via: via.value,
                        link: self.reach.link_of(self.ns, hop),
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
    let to = rule.to.is_none_or(|to| to.value.contains(&sought.via));
    let from = rule.from.is_none_or(|from| from.value.prefix_len() == 0);
    let oif = rule
        .oif
        .as_ref()
        .is_none_or(|oif| Some(&oif.value) == sought.link);
    asked && to && from && oif && rule.mark.is_none() && rule.families().contains(&family)
}

fn rejects(rule: &Rule) -> bool {
    !matches!(rule.action, Action::Lookup(_))
}

fn looks_in_main(rule: &Rule) -> bool {
    matches!(rule.action, Action::Lookup(MAIN))
}
