//! Taking over what others made, and giving it back.

use std::collections::BTreeMap;

use super::decide::Decision;
use super::{Action, Transfer};
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key};
use crate::state::{Owner, State};

/// Offers a topology what it wants and what others made: a plan then takes it over as far as it can be changed
/// in place. What the kernel made by itself is left out, and what belongs to other topologies.
pub fn offer(topology: &TopologyName, desired: &State, observed: &mut State) {
    for id in desired.entries.keys() {
        if matches!(id.key, Key::Sysctl(_) | Key::Table) || observed.unfit.contains_key(id) {
            continue;
        }
        if let Some(entry) = observed.entries.get_mut(id)
            && match &entry.owner {
                Owner::Foreign => true,
                Owner::Disputed(by) => by == topology,
                _ => false,
            }
        {
            entry.owner = Owner::Offered;
        }
    }
}

/// Has nothing be made again that others made: where it can't be changed in place, it stays in the way.
pub(super) fn spare<'s>(decisions: &mut BTreeMap<&'s Id, Decision<'s>>, observed: &'s State) {
    for (id, decision) in decisions {
        if let Decision::Replace(_, _, why) = decision
            && let Some(found) = observed.get(id)
            && found.owner == Owner::Offered
        {
            *decision = Decision::Unfit(found, std::mem::take(why));
        }
    }
}

/// Whether something changes hands with an operation on it.
pub(super) fn transfer(
    id: &Id,
    action: &Action,
    desired: &State,
    observed: &State,
) -> Option<Transfer> {
    if !matches!(action, Action::Create(_) | Action::Update { .. }) {
        return None;
    }
    let offered = |state: &State| {
        let entry = state.get(id);
        entry.is_some_and(|entry| entry.owner == Owner::Offered)
    };
    if offered(desired) {
        Some(Transfer::Release)
    } else {
        offered(observed).then_some(Transfer::Adopt)
    }
}
