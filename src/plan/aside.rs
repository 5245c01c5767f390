//! Routes and rules that can't be changed where they are, because they lead the kernel astray meanwhile.
//!
//! It looks for the next hop of an IPv6 route in the route's own table and then by the rules, and refuses
//! one that it finds behind a router (`ip6_route_check_nh` of `net/ipv6/route.c`, Linux 6.12). In the end
//! nothing leads there, or it would be an error of the spec; but what a rule leads to now may be the very
//! route that is to be changed, or what the rule is not to lead to any more. IPv4 passes over such routes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use super::decide::Decision;
use crate::resource::name::LinkName;
use crate::resource::route::{MAIN, Route, RouteKey};
use crate::resource::rule::RuleKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::State;

/// A next hop that the kernel is going to look for by the rules.
#[derive(Debug, Clone, Copy)]
struct Sought<'s> {
    via: IpAddr,
    dev: &'s LinkName,
}

/// What is sought, by the tables that rules lead the search to.
type Searches<'s> = BTreeMap<(&'s Ns, u32), Vec<Sought<'s>>>;

/// Has those routes and rules removed and made again.
pub(super) fn consider<'s>(
    decisions: &mut BTreeMap<&'s Id, Decision<'s>>,
    desired: &'s State,
    observed: &'s State,
) {
    replace_those_in_their_own_way(decisions, desired);
    let rules = rules(observed);
    if rules.is_empty() {
        return;
    }
    let searches = searches(decisions, &rules, desired);
    // The tables in which one of them meets a route through a router, as things are now.
    let mut astray: BTreeMap<(&Ns, u32), Vec<Sought<'_>>> = BTreeMap::new();
    for (id, entry) in &observed.entries {
        if let (Key::Route(key), Resource::Route(route)) = (&id.key, &entry.resource)
            && let Some(sought) = searches.get(&(&id.ns, key.table))
        {
            let met = sought.iter().filter(|sought| hides(key, route, sought));
            let met: Vec<Sought<'_>> = met.copied().collect();
            if !met.is_empty() {
                astray.entry((&id.ns, key.table)).or_default().extend(met);
            }
        }
    }
    for (id, decision) in decisions {
        let Decision::Update(found, wanted) = *decision else {
            continue;
        };
        let hiding = match (&id.key, found) {
            (Key::Route(key), Resource::Route(before)) => {
                let met = astray.get(&(&id.ns, key.table));
                let mut met = met.into_iter().flatten();
                met.any(|sought| hides(key, before, sought))
            }
            (Key::Rule(key), Resource::Rule(before)) if is_asked(key) => {
                let table = before.action.table();
                let met = table.and_then(|table| astray.get(&(&id.ns, table)));
                met.into_iter().flatten().any(|sought| asks(key, sought))
            }
            _ => false,
        };
        if hiding {
            let why = match id.key {
                Key::Rule(_) => "it leads the kernel away from a next hop of the routes",
                _ => "a rule leads to it, so the kernel doesn't change it in place",
            };
            *decision = Decision::Replace(found, wanted, why.to_owned());
        }
    }
}

/// A route of the main table to its own next hop, among others: the kernel finds the old one while it looks for
/// that, unless what says that the hop is on the link is more specific.
fn replace_those_in_their_own_way(decisions: &mut BTreeMap<&Id, Decision<'_>>, desired: &State) {
    for (id, decision) in decisions {
        let Decision::Update(found, wanted) = *decision else {
            continue;
        };
        let (Key::Route(key), Resource::Route(before), Resource::Route(after)) =
            (&id.key, found, wanted)
        else {
            continue;
        };
        let mut sought = after.hops().iter().filter(|hop| !hop.onlink);
        let hides_one = sought.any(|hop| match (hop.via, &hop.dev) {
            (Some(via), Some(dev)) => {
                let sought = Sought { via, dev };
                via.is_ipv6()
                    && !is_link_local(via)
                    && hides(key, before, &sought)
                    && key.to.prefix_len() > beside(&id.ns, &sought, desired)
            }
            _ => false,
        });
        if key.table == MAIN && hides_one {
            let why = "it leads to its own next hop, so the kernel doesn't change it in place";
            *decision = Decision::Replace(found, wanted, why.to_owned());
        }
    }
}

/// The length of the longest prefix that an address of its link has around a next hop.
fn beside(ns: &Ns, sought: &Sought<'_>, desired: &State) -> u8 {
    let first = Id::link(ns.clone(), sought.dev.clone());
    let rest = desired
        .entries
        .range(first..)
        .take_while(|(id, _)| id.ns == *ns);
    let around = rest.filter_map(|(id, entry)| match (&id.key, &entry.resource) {
        (Key::Address(key), Resource::Address(address)) if key.link == *sought.dev => {
            let net = address.network(key.ip)?;
            net.contains(&sought.via).then_some(net.prefix_len())
        }
        _ => None,
    });
    around.max().unwrap_or(0)
}

/// Whether a rule may be asked about a next hop of IPv6: the search is from nowhere, comes in by no link
/// and carries no mark.
pub(super) fn is_asked(rule: &RuleKey) -> bool {
    let from_anywhere = rule.from.is_none() && rule.iif.is_none() && rule.mark.is_none();
    from_anywhere && rule.family == Family::Ipv6
}

/// Whether such a rule is asked about this one.
fn asks(rule: &RuleKey, sought: &Sought<'_>) -> bool {
    let to = rule.to.is_none_or(|to| to.contains(&sought.via));
    let oif = rule.oif.as_ref().is_none_or(|oif| oif == sought.dev);
    to && oif
}

/// The rules there are that may be asked and lead to a table of their own, with that.
fn rules(observed: &State) -> BTreeMap<&Ns, Vec<(&RuleKey, u32)>> {
    let mut rules: BTreeMap<&Ns, Vec<(&RuleKey, u32)>> = BTreeMap::new();
    for (id, entry) in &observed.entries {
        if let (Key::Rule(key), Resource::Rule(rule)) = (&id.key, &entry.resource)
            && let Some(table) = rule.action.table().filter(|table| *table != MAIN)
            && is_asked(key)
        {
            rules.entry(&id.ns).or_default().push((key, table));
        }
    }
    rules
}

/// The next hops of the routes to be made or changed that the rules are going to be asked about.
fn searches<'s>(
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    rules: &BTreeMap<&'s Ns, Vec<(&RuleKey, u32)>>,
    desired: &'s State,
) -> Searches<'s> {
    let mut searches = Searches::new();
    for (id, decision) in decisions {
        let (Key::Route(key), Some(rules)) = (&id.key, rules.get(&id.ns)) else {
            continue;
        };
        let (Decision::Create(Resource::Route(route))
        | Decision::Update(_, Resource::Route(route))
        | Decision::Replace(_, Resource::Route(route), _)) = decision
        else {
            continue;
        };
        for hop in route.hops() {
            let (Some(IpAddr::V6(via)), Some(dev), false) = (hop.via, &hop.dev, hop.onlink) else {
                continue;
            };
            let via = IpAddr::V6(via);
            let sought = Sought { via, dev };
            let asked = rules.iter().filter(|(rule, _)| asks(rule, &sought));
            let tables: BTreeSet<u32> = asked.map(|(_, table)| *table).collect();
            if tables.is_empty() || is_link_local(via) || is_beside(id, key, &sought, desired) {
                continue;
            }
            for table in tables {
                let of_table = searches.entry((&id.ns, table)).or_default();
                of_table.push(sought);
            }
        }
    }
    searches
}

/// Whether the route's own table says that a next hop is on its link: then no rule is asked. The main table
/// says so by the address beside it.
fn is_beside(id: &Id, key: &RouteKey, sought: &Sought<'_>, desired: &State) -> bool {
    if key.table == MAIN {
        return true;
    }
    let first = Id::new(id.ns.clone(), Key::Namespace);
    let of_ns = desired.entries.range(first..);
    let of_ns = of_ns.take_while(|(other, _)| other.ns == id.ns);
    let found = of_ns.filter_map(|(other, entry)| match (&other.key, &entry.resource) {
        (Key::Route(other_key), Resource::Route(route))
            if other != id
                && other_key.table == key.table
                && other_key.to.contains(&sought.via) =>
        {
            let mut hops = route.hops().iter();
            let hop = hops.find(|hop| hop.dev.as_ref() == Some(sought.dev))?;
            let rank = (other_key.to.prefix_len(), Reverse(other_key.metric));
            Some((rank, hop.via.is_none()))
        }
        _ => None,
    });
    found
        .max_by_key(|(rank, _)| *rank)
        .is_some_and(|(_, direct)| direct)
}

/// Whether the kernel sends no search for it anywhere.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if Ipv6Addr::is_unicast_link_local(&ip))
}

/// Whether a route leads to a next hop through a router.
fn hides(key: &RouteKey, route: &Route, sought: &Sought<'_>) -> bool {
    let mut hops = route.hops().iter();
    let over = hops.any(|hop| hop.via.is_some() && hop.dev.as_ref() == Some(sought.dev));
    key.to.contains(&sought.via) && over
}
