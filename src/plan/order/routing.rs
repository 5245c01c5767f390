//! Routes beside each other, and the rules that lead to them.

use std::collections::BTreeMap;

use super::{Edges, Step};
use crate::plan::{Action, Operation};
use crate::resource::name::LinkName;
use crate::resource::route::MAIN;
use crate::resource::rule::Action as Decided;
use crate::resource::{Family, Id, Key, Ns, Resource};

/// The operations on the rules or on the routes of a table, one after the other: the last so far.
type Last<'o> = BTreeMap<(&'o Ns, u32), usize>;

impl<'o> Edges<'o> {
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
        let removed = self.misleading();
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
            if previous.is_none() {
                self.after[place].extend(removed.get(&id.ns).into_iter().flatten());
            }
        }
        let made = self.of_step(Step::Route);
        let sought: Vec<usize> = made.into_iter().filter(is_indirect).collect();
        for step in [Step::RemoveRule, Step::Rule] {
            for place in self.of_step(step) {
                self.rule(place, &filled, &sought);
            }
        }
    }

    /// The IPv6 routes that are removed. What is made meanwhile must not have its next hop
    /// sought behind one of them.
    fn misleading(&self) -> BTreeMap<&'o Ns, Vec<usize>> {
        let operations = self.operations;
        let mut removed: BTreeMap<&Ns, Vec<usize>> = BTreeMap::new();
        for place in self.of_step(Step::RemoveRoute) {
            let operation = &operations[place];
            if let (Key::Route(key), Some(Resource::Route(route))) =
                (&operation.id.key, resource(&operation.action))
                && key.family() == Family::Ipv6
                && !route.hops().is_empty()
            {
                removed.entry(&operation.id.ns).or_default().push(place);
            }
        }
        removed
    }

    /// The kernel looks up next hops as it does destinations. What lets it find them comes before the
    /// routes, and what keeps it from that after.
    fn rule(&mut self, place: usize, filled: &Last<'_>, sought: &[usize]) {
        let operations = self.operations;
        let operation = &operations[place];
        let ns = &operation.id.ns;
        let family = match &operation.id.key {
            Key::Rule(key) => key.family,
            _ => return,
        };
        let sought = sought.iter().filter(|route| {
            let id = &operations[**route].id;
            id.ns == *ns && matches!(&id.key, Key::Route(key) if key.family() == family)
        });
        let search = Search::changed_by(operation);
        match search {
            Search::Opened => {
                for route in sought {
                    self.add(*route, Some(place));
                }
            }
            Search::Closed => self.after[place].extend(sought),
            Search::AsIs => {}
        }
        if let (Search::Closed | Search::AsIs, Step::Rule, Some(table)) =
            (search, self.steps[place], table(&operation.action))
        {
            self.add(place, filled.get(&(ns, table)).copied());
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

/// What an operation on a rule may do to the kernel's search for next hops, which is a search for where
/// the namespace's own packets to them go.
enum Search {
    /// It finds what it didn't.
    Opened,
    /// It doesn't find any more what it did.
    Closed,
    /// Nothing.
    AsIs,
}

impl Search {
    fn changed_by(operation: &Operation) -> Search {
        let Key::Rule(key) = &operation.id.key else {
            return Search::AsIs;
        };
        let incoming = key.iif.as_ref().is_some_and(|iif| iif.as_str() != "lo");
        if key.from.is_some() || key.mark.is_some() || incoming {
            return Search::AsIs;
        }
        let action = |resource: &Resource| match resource {
            Resource::Rule(rule) => Some(rule.action),
            _ => None,
        };
        let (before, after) = match &operation.action {
            Action::Create(after) => (None, action(after)),
            Action::Update { before, after } => (action(before), action(after)),
            Action::Remove(before) => (action(before), None),
            _ => return Search::AsIs,
        };
        let rejects = |action: Option<Decided>| action.is_some_and(|a| a.table().is_none());
        let finds = |action: Option<Decided>| action == Some(Decided::Lookup(MAIN));
        // What leads elsewhere may lead IPv6 to a route through a router, which is no way to a next hop.
        let leads = key.family == Family::Ipv6;
        if rejects(before) || finds(after) || leads && after.is_none() {
            Search::Opened
        } else if rejects(after) || leads && before.is_none() {
            Search::Closed
        } else {
            Search::AsIs
        }
    }
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
