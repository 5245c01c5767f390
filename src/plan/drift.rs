//! What of a plan comes of others' doing, and not of a change of the spec.

use std::collections::BTreeSet;

use super::{Plan, Reason};
use crate::resource::Id;
use crate::state::State;

/// What a plan changes although the spec says the same of it as the one before: somebody else changed it since, or it never
/// came to be. What falls with something else and is made again is none of that.
pub fn drift(plan: &Plan, previous: &State, desired: &State) -> BTreeSet<Id> {
    let operations = plan.operations.iter();
    operations
        .filter(|operation| !matches!(operation.reason, Some(Reason::Fell(_))))
        .map(|operation| &operation.id)
        .filter(|id| {
            let [before, now] =
                [previous, desired].map(|state| state.get(id).map(|entry| &entry.resource));
            before == now
        })
        .cloned()
        .collect()
}

/// What a topology wants and a plan needn't touch.
pub fn kept<'s>(plan: &Plan, desired: &'s State) -> Vec<(&'s Id, &'s crate::resource::Resource)> {
    let touched: BTreeSet<&Id> = plan
        .operations
        .iter()
        .map(|operation| &operation.id)
        .collect();
    let entries = desired.entries.iter();
    entries
        .filter(|(id, _)| !touched.contains(id))
        .map(|(id, entry)| (id, &entry.resource))
        .collect()
}
