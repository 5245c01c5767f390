//! Routes beside each other, and the rules that lead to them.

use std::collections::BTreeMap;

use super::{Edges, Step};
use crate::plan::{Action, Operation};
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Ns, Resource};

/// The operations on the rules or on the routes of a table, one after the other: the last so far.
type Last<'o> = BTreeMap<(&'o Ns, u32), usize>;

impl Edges<'_> {
    /// A table is filled before a rule leads to it, and emptied when none does any more. Destinations on a
    /// link come before what is reached through them.
    pub(super) fn routing(&mut self) {
        let operations = self.operations;
        let mut rules_removed = Last::new();
        for place in self.of_step(Step::RemoveRule) {
            if let Some(table) = table(&operations[place].action) {
                let previous = rules_removed.insert((&operations[place].id.ns, table), place);
                self.add(place, previous);
            }
        }
        for place in self.of_step(Step::RemoveRoute) {
            let operation = &operations[place];
            let Key::Route(key) = &operation.id.key else {
                continue;
            };
            let rules = rules_removed.get(&(&operation.id.ns, key.table)).copied();
            self.add(place, rules);
            if let Action::Remove(Resource::Route(route)) = &operation.action
                && route.spreads()
            {
                let devs = route.hops().iter().filter_map(|hop| hop.dev.as_ref());
                for dev in devs {
                    self.before_link(place, &operation.id.ns, dev);
                }
            }
        }
        let mut made = self.of_step(Step::Route);
        let is_indirect = |place: &usize| match resource(&operations[*place].action) {
            Some(Resource::Route(route)) => route.hops().iter().any(|hop| hop.via.is_some()),
            _ => false,
        };
        made.sort_by_key(|place| (is_indirect(place), *place));
        let mut direct: BTreeMap<&Ns, usize> = BTreeMap::new();
        let mut filled = Last::new();
        for place in made {
            let id = &operations[place].id;
            let Key::Route(key) = &id.key else { continue };
            let previous = if is_indirect(&place) {
                direct.get(&id.ns).copied()
            } else {
                direct.insert(&id.ns, place)
            };
            self.add(place, previous);
            let previous = filled.insert((&id.ns, key.table), place);
            self.add(place, previous);
        }
        let mut barred: BTreeMap<&Ns, Vec<usize>> = BTreeMap::new();
        for place in self.of_step(Step::RemoveRule) {
            if bars(&operations[place]) {
                let of_ns = barred.entry(&operations[place].id.ns).or_default();
                of_ns.push(place);
            }
        }
        for place in self.of_step(Step::Rule) {
            let operation = &operations[place];
            if bars(operation) {
                barred.entry(&operation.id.ns).or_default().push(place);
            } else if let Some(table) = table(&operation.action) {
                self.add(place, filled.get(&(&operation.id.ns, table)).copied());
            }
        }
        // The kernel looks up next hops as it does destinations, and a rule may keep it from that.
        for place in self.of_step(Step::Route) {
            let Some(rules) = barred.get(&operations[place].id.ns) else {
                continue;
            };
            if is_indirect(&place) {
                self.after[place].extend(rules);
            }
        }
    }

    /// The places of a step's operations that are done by themselves.
    fn of_step(&self, step: Step) -> Vec<usize> {
        (0..self.operations.len())
            .filter(|place| self.steps[*place] == step && self.operations[*place].with.is_none())
            .collect()
    }

    /// What is done to a link waits for the removal of a route that would lose a next hop by it.
    fn before_link(&mut self, place: usize, ns: &Ns, dev: &LinkName) {
        let link = Id::link(ns.clone(), dev.clone());
        for of_link in [self.removal(&link), self.make(&link)]
            .into_iter()
            .flatten()
        {
            let root = self.root(of_link);
            self.add(root, Some(place));
        }
    }
}

/// Whether an operation changes or removes a rule that rejects what the kernel looks next hops up by: what a namespace
/// sends itself, to wherever.
fn bars(operation: &Operation) -> bool {
    let (
        Key::Rule(key),
        Action::Update {
            before: Resource::Rule(before),
            ..
        }
        | Action::Remove(Resource::Rule(before)),
    ) = (&operation.id.key, &operation.action)
    else {
        return false;
    };
    let incoming = key.iif.as_ref().is_some_and(|iif| iif.as_str() != "lo");
    before.action.table().is_none() && key.from.is_none() && key.mark.is_none() && !incoming
}

/// What an operation makes or removes.
fn resource(action: &Action) -> Option<&Resource> {
    match action {
        Action::Create(resource)
        | Action::Remove(resource)
        | Action::Update {
            after: resource, ..
        } => Some(resource),
        Action::Borrow { .. } | Action::GiveBack { .. } => None,
    }
}

/// The table that a rule leads to, as it is made or removed.
fn table(action: &Action) -> Option<u32> {
    match resource(action)? {
        Resource::Rule(rule) => rule.action.table(),
        _ => None,
    }
}
