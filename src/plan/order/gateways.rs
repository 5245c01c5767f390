//! Gateways: their rules are there before what they judge, and go after it.

use std::collections::BTreeMap;

use super::{Edges, Step, relied};
use crate::plan::Action;
use crate::resource::{Id, Key, Ns};

impl Edges<'_> {
    /// On the way back from a gateway: forwarding off, then the links, then the rules that guarded them.
    pub(super) fn gateways(&mut self) {
        let mut last_given: BTreeMap<&Ns, usize> = BTreeMap::new();
        let mut by_step: Vec<usize> = (0..self.operations.len())
            .filter(|place| matches!(self.steps[*place], Step::GiveSwitchBack | Step::GiveBack))
            .filter(|place| !relied(&self.operations[*place]))
            .collect();
        by_step.sort_by_key(|place| (self.steps[*place], *place));
        for place in by_step {
            let previous = last_given.insert(&self.operations[place].id.ns, place);
            self.add(place, previous);
        }
        for place in 0..self.operations.len() {
            let ns = &self.operations[place].id.ns;
            let table = self.places.get(&Id::new(ns.clone(), Key::Table)).copied();
            let table = table.unwrap_or_default();
            match self.steps[place] {
                Step::RemoveLink | Step::RemovePort => {
                    let root = self.root(place);
                    self.add(root, last_given.get(ns).copied());
                    for table in [table.make, table.remove].into_iter().flatten() {
                        if self.operations[table].with.is_none() {
                            self.add(table, Some(root));
                        }
                    }
                }
                Step::RemovePermit => {
                    self.add(place, last_given.get(ns).copied());
                    for table in [table.make, table.remove].into_iter().flatten() {
                        if self.operations[table].with.is_none() {
                            self.add(table, Some(place));
                        }
                    }
                }
                // A gateway that is none any more: what it forwards is judged until it forwards nothing.
                Step::Switch | Step::Sysctl => {
                    if let Some(table) = table.remove
                        && self.operations[table].with.is_none()
                    {
                        self.add(table, Some(place));
                    }
                }
                // A link may also lose its IPv6, and with it the forwarding, by a change of its MTU.
                Step::Link if matches!(self.operations[place].action, Action::Update { .. }) => {
                    if let Some(table) = table.remove {
                        self.add(table, Some(place));
                    }
                }
                Step::Table | Step::RemoveTable if self.operations[place].with.is_none() => {
                    self.add(place, last_given.get(ns).copied());
                }
                _ => {}
            }
        }
    }
}
