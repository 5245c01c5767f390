//! Routes that can't be changed where they are, because a rule leads the kernel to them.
//!
//! It looks for the next hop of an IPv6 route in the route's own table and then by the rules, and refuses
//! one that it finds behind a router (`ip6_route_check_nh` of `net/ipv6/route.c`). While a rule leads to the
//! table, what it finds there may be the very route that is to be changed.

use std::collections::BTreeMap;

use super::decide::Decision;
use crate::resource::name::LinkName;
use crate::resource::route::{MAIN, NextHop, Route, RouteKey};
use crate::resource::rule::RuleKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::State;

/// Has those routes removed and made again.
pub(super) fn consider<'s>(decisions: &mut BTreeMap<&'s Id, Decision<'s>>, observed: &'s State) {
    let mut misled: Option<BTreeMap<(&Ns, u32), Vec<&RuleKey>>> = None;
    for (id, decision) in decisions {
        let (Key::Route(key), Decision::Update(found, wanted)) = (&id.key, &*decision) else {
            continue;
        };
        let (Resource::Route(before), Resource::Route(after)) = (found, wanted) else {
            continue;
        };
        let misled = misled.get_or_insert_with(|| rules(observed));
        let of_table = misled.get(&(&id.ns, key.table));
        let rules = of_table.map_or(&[][..], Vec::as_slice);
        if rules.iter().any(|rule| hides(rule, key, before, after)) {
            let why = "a rule leads to it, so the kernel doesn't change it in place".to_owned();
            *decision = Decision::Replace(found, wanted, why);
        }
    }
}

/// The rules that the kernel may ask about a next hop of IPv6, by the table that they lead to.
fn rules(observed: &State) -> BTreeMap<(&Ns, u32), Vec<&RuleKey>> {
    let mut rules: BTreeMap<(&Ns, u32), Vec<&RuleKey>> = BTreeMap::new();
    for (id, entry) in &observed.entries {
        let (Key::Rule(key), Resource::Rule(rule)) = (&id.key, &entry.resource) else {
            continue;
        };
        let asked = key.from.is_none() && key.iif.is_none() && key.mark.is_none();
        if let Some(table) = rule.action.table().filter(|table| *table != MAIN)
            && key.family == Family::Ipv6
            && asked
        {
            rules.entry((&id.ns, table)).or_default().push(key);
        }
    }
    rules
}

/// Whether a rule leads to a route itself when one of its new next hops is looked for.
fn hides(rule: &RuleKey, key: &RouteKey, before: &Route, after: &Route) -> bool {
    let over = |link: Option<&LinkName>| {
        let mut hops = before.hops().iter();
        hops.any(|hop| hop.via.is_some() && hop.dev.as_ref() == link)
    };
    let asked = |hop: &NextHop| {
        let Some(via) = hop.via.filter(|_| !hop.onlink) else {
            return false;
        };
        let dev = hop.dev.as_ref();
        let to = rule.to.is_none_or(|to| to.contains(&via));
        let oif = rule.oif.as_ref().is_none_or(|oif| Some(oif) == dev);
        to && oif && key.to.contains(&via) && over(dev)
    };
    after.hops().iter().any(asked)
}
