//! Routes over several links, which lose next hops one by one.
//!
//! Tried on Linux 6.18 (`fib_sync_down_dev` of `net/ipv4/fib_semantics.c`, `fib6_ifdown` of
//! `net/ipv6/route.c`):
//!
//! | what happens to a link | IPv4 route | IPv6 route |
//! |---|---|---|
//! | it is removed | goes, whatever its other next hops | loses the next hop |
//! | it goes down | keeps the next hop, dead until the link is up | the same |
//! | its last IPv4 address goes | keeps the next hop, dead until there is one | nothing |
//! | it loses IPv6 | nothing | loses the next hop |
//!
//! A route all of whose next hops are dead or lost goes. One that is wanted as it is is made again after
//! any of these, which does no harm to one that is whole; one that is to go is removed before them.

use std::collections::BTreeMap;

use super::decide::Decision;
use super::fall::{Effects, goes};
use crate::resource::link::{IPV6_MIN_MTU, Link};
use crate::resource::name::LinkName;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::State;

/// What happens to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Removed,
    Down,
    Ipv6,
    LastIpv4,
}

impl Loss {
    /// Whether a next hop of a family is dead or lost by it.
    fn concerns(self, family: Family) -> bool {
        match self {
            Loss::Removed | Loss::Down => true,
            Loss::Ipv6 => family == Family::Ipv6,
            Loss::LastIpv4 => family == Family::Ipv4,
        }
    }
}

/// What happens to links, and with the operation on what.
type Losses<'s> = BTreeMap<(&'s Ns, &'s LinkName), (Loss, &'s Id)>;

/// The routes over several links that lose next hops, or all of them. `effects` says by now which links
/// and addresses go.
pub(super) fn fray<'s>(
    effects: &mut Effects<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
) {
    let routes: Vec<_> = observed
        .entries
        .iter()
        .filter_map(|(id, entry)| match (&id.key, &entry.resource) {
            (Key::Route(key), Resource::Route(route)) if route.spreads() => {
                Some((id, key.family(), route))
            }
            _ => None,
        })
        .filter(|(id, ..)| !effects.fallen.contains_key(id))
        .collect();
    if routes.is_empty() {
        return;
    }
    let losses = losses(effects, decisions, observed);
    for (id, family, route) in routes {
        let of_hops: Vec<Option<(Loss, &Id)>> = route
            .hops()
            .iter()
            .map(|hop| {
                let loss = losses.get(&(&id.ns, hop.dev.as_ref()?)).copied();
                loss.filter(|(loss, _)| loss.concerns(family))
            })
            .collect();
        let Some((_, cause)) = of_hops.iter().flatten().last().copied() else {
            continue;
        };
        let lost = |by: Loss| of_hops.iter().flatten().any(|(loss, _)| *loss == by);
        let whole =
            family == Family::Ipv4 && lost(Loss::Removed) || of_hops.iter().all(Option::is_some);
        let visibly = whole || lost(Loss::Removed) || lost(Loss::Ipv6);
        match decisions.get(id) {
            Some(Decision::Keep) => {
                effects.frayed.insert(id, cause);
            }
            None | Some(Decision::Conflict(..)) if whole => {
                effects.fallen.insert(id, cause);
            }
            None | Some(Decision::Conflict(..)) if visibly => {
                effects.frayed.insert(id, cause);
            }
            _ => {}
        }
    }
}

/// What takes an address, and where that stands.
type Going<'s> = (u32, &'s Id);

fn losses<'s>(
    effects: &Effects<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
) -> Losses<'s> {
    let mut losses = Losses::new();
    // Of each link: whether IPv4 addresses stay, and the last that goes.
    let mut ipv4: BTreeMap<(&Ns, &LinkName), (bool, Option<Going<'_>>)> = BTreeMap::new();
    for (id, entry) in &observed.entries {
        let fallen = effects.fallen.get(id).copied();
        match &id.key {
            Key::Link(name) => {
                let loss = match (decisions.get(id), fallen) {
                    (_, Some(cause)) => Some((Loss::Removed, cause)),
                    (_, None) if goes(decisions, id) => Some((Loss::Removed, id)),
                    (
                        Some(Decision::Update(Resource::Link(before), Resource::Link(after))),
                        None,
                    ) => change(before, after).map(|loss| (loss, id)),
                    _ => None,
                };
                if let Some(loss) = loss {
                    losses.insert((&id.ns, name), loss);
                }
            }
            Key::Address(key) if key.ip.is_ipv4() => {
                let Resource::Address(address) = &entry.resource else {
                    continue;
                };
                let (stays, last) = ipv4.entry((&id.ns, &key.link)).or_default();
                // They are removed from the last to the first.
                let goes = match fallen {
                    Some(cause) => Some((u32::MAX, cause)),
                    None if goes(decisions, id) => Some((address.place, id)),
                    None => None,
                };
                *stays |= goes.is_none() || address.twice;
                *last = match (*last, goes) {
                    (Some(last), Some(goes)) => Some(last.min(goes)),
                    (last, goes) => last.or(goes),
                };
            }
            _ => {}
        }
    }
    for (link, (stays, last)) in ipv4 {
        if let Some((_, last)) = last.filter(|_| !stays) {
            losses.entry(link).or_insert((Loss::LastIpv4, last));
        }
    }
    losses
}

/// What a change of a link does to what leads over it.
fn change(before: &Link, after: &Link) -> Option<Loss> {
    let small = |link: &Link| link.mtu.is_some_and(|mtu| mtu < IPV6_MIN_MTU);
    if before.up && !after.up {
        Some(Loss::Down)
    } else if small(after) && !small(before) {
        Some(Loss::Ipv6)
    } else {
        None
    }
}
