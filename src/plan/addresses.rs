//! What is to be done about addresses because of others: of what happens to their links, and of the order
//! in which they stand.

mod places;

use std::collections::BTreeMap;

use super::decide::Decision;
use crate::resource::address::Address;
use crate::resource::{Id, Key, Resource};
use crate::state::State;

/// Has addresses made again that are as they should be by themselves.
pub(super) fn consider<'s>(
    decisions: &mut BTreeMap<&'s Id, Decision<'s>>,
    desired: &'s State,
    observed: &'s State,
) {
    let mut again = of_risen(decisions, desired);
    again.extend(places::out_of_place(decisions, desired, observed));
    for (id, why) in again {
        if let (Some(wanted), Some(found)) = (desired.get(id), observed.get(id)) {
            let (wanted, found) = (&wanted.resource, &found.resource);
            decisions.insert(id, Decision::Replace(found, wanted, why));
        }
    }
}

/// The IPv6 addresses with a peer on links that go up: the kernel makes the route to the peer when they
/// are added, and not when the link goes up (`fixup_permanent_addr` of `net/ipv6/addrconf.c`).
fn of_risen<'s>(
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    desired: &'s State,
) -> Vec<(&'s Id, String)> {
    let rises = |decision: Option<&Decision<'_>>| {
        matches!(
            decision,
            Some(Decision::Update(Resource::Link(before), Resource::Link(after)))
                if !before.up && after.up
        )
    };
    let mut again = Vec::new();
    for (id, decision) in decisions {
        let (Key::Address(key), Decision::Keep) = (&id.key, decision) else {
            continue;
        };
        let wanted = desired.get(id).map(|entry| &entry.resource);
        if let Some(Resource::Address(Address {
            peer: Some(peer), ..
        })) = wanted
            && peer.is_ipv6()
            && rises(decisions.get(&Id::link(id.ns.clone(), key.link.clone())))
        {
            again.push((*id, "its link goes up".to_owned()));
        }
    }
    again
}
