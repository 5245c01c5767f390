//! What a lost record means for what is on loan.

use std::collections::BTreeSet;

use super::Warning;
use super::loan::{is_borrowed, value};
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::State;

/// What a person should know where the record of a topology is lost: what it had on loan is not given back.
pub fn lost(topology: &TopologyName, desired: &State, observed: &State) -> Option<Warning> {
    let mut likely: BTreeSet<&Id> = observed.lost.as_ref()?.iter().collect();
    // What is as wanted, and not on loan, was so before, or was borrowed.
    likely.extend(desired.entries.iter().filter_map(|(id, entry)| {
        let Resource::Sysctl(wanted) = &entry.resource else {
            return None;
        };
        let kept = is_borrowed(id, desired)
            && !observed.loans.contains_key(id)
            && value(observed, id) == Some(&wanted.value);
        kept.then_some(id)
    }));
    let likely: Vec<String> = likely
        .into_iter()
        .filter_map(|id| match (&id.key, &id.ns) {
            (Key::Sysctl(key), Ns::Host) => Some(key.to_string()),
            (Key::Sysctl(key), Ns::Named(name)) => Some(format!("{key} in {name}")),
            _ => None,
        })
        .collect();
    let what = if likely.is_empty() {
        "nothing that looks borrowed was found".to_owned()
    } else {
        format!(
            "likely {}: look whether others need it, and set it back by hand (`sysctl -w NAME=0`)",
            likely.join(", ")
        )
    };
    Some(Warning::Remark {
        ns: Ns::Host,
        text: format!(
            "the record of {topology} in /run/netform is lost, so what it borrowed will not be given back; {what}"
        ),
    })
}
