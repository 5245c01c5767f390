//! What others have added to what is a topology's, and a plan leaves alone.

use std::collections::BTreeSet;

use super::{Plan, Warning};
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key, Resource};
use crate::state::{Owner, State};

/// The addresses, routes, rules and links of others in a topology's namespaces, and those on its links elsewhere;
/// without what the plan takes over, and without what goes, which its warnings name.
pub fn left<'s>(plan: &Plan, observed: &'s State) -> Vec<(&'s Id, &'s Resource)> {
    let mut told: BTreeSet<&Id> = plan
        .operations
        .iter()
        .map(|operation| &operation.id)
        .collect();
    told.extend(plan.warnings.iter().filter_map(|warning| match warning {
        Warning::Collateral { id, .. } => Some(id),
        _ => None,
    }));
    let entries = observed.entries.iter();
    entries
        .filter(|(id, entry)| entry.owner == Owner::Foreign && !told.contains(id))
        .filter(|(id, entry)| is_on(&plan.topology, id, &entry.resource, observed))
        .map(|(id, entry)| (id, &entry.resource))
        .collect()
}

/// Whether a thing is in a topology's namespace, or on a link of its own.
fn is_on(topology: &TopologyName, id: &Id, resource: &Resource, observed: &State) -> bool {
    let owned = |id: &Id| {
        let entry = observed.get(id);
        entry.is_some_and(|entry| entry.owner.is(topology))
    };
    let on_link = |link| owned(&Id::link(id.ns.clone(), link));
    let within = || owned(&Id::namespace(id.ns.clone()));
    match (&id.key, resource) {
        (Key::Link(_) | Key::Rule(_), _) => within(),
        (Key::Address(key), _) => within() || on_link(key.link.clone()),
        (Key::Route(_), Resource::Route(route)) => {
            let mut links = route.hops().iter().filter_map(|hop| hop.dev.clone());
            within() || links.any(on_link)
        }
        _ => false,
    }
}
