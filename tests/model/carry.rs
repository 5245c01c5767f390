//! Carrying a plan out, and watching it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use fastrand::Rng;
use netform::plan::{Action, Plan};
use netform::resource::name::LinkName;
use netform::resource::{Family, Key, Ns, Resource};

use super::execute::{close, record, step};
use super::kernel::{World, conf};

/// How an execution ends before its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// After how many operations.
    pub(crate) after: usize,
    /// Whether the process is killed, so that it doesn't put its record right.
    pub(crate) killed: bool,
}

/// Carries a plan out, whole or in part.
pub(crate) fn carry_out(world: &mut World, plan: &Plan, stop: Option<Stop>) {
    CARRIED.with_borrow_mut(|plans| plans.push(plan.clone()));
    record(world, plan);
    let done = stop.map_or(plan.operations.len(), |stop| stop.after);
    let mut opened: Vec<BTreeSet<Open>> = vec![open(world, plan)];
    for place in 0..done {
        if let Err(refusal) = step(world, plan, place) {
            panic!(
                "refused: {refusal}\noperation {place}: {:#?}\nof {}",
                plan.operations[place],
                listing(plan)
            );
        }
        opened.push(open(world, plan));
        forwarding_goes_first(world, plan, |other| other <= place);
    }
    if !stop.is_some_and(|stop| stop.killed) {
        close(world, plan, done);
    }
    if stop.is_none() {
        guard(plan, &opened);
        lead_somewhere(plan, &(0..done).collect::<Vec<_>>());
    }
}

std::thread_local! {
    /// The plans that a case carried out, to be shown when something doesn't hold.
    pub(crate) static CARRIED: RefCell<Vec<Plan>> = const { RefCell::new(Vec::new()) };
}

/// Carries a plan out in any order that the operations allow.
pub(crate) fn carry_out_shuffled(world: &mut World, plan: &Plan, rng: &mut Rng) {
    record(world, plan);
    let mut done = vec![false; plan.operations.len()];
    let mut opened: Vec<BTreeSet<Open>> = vec![open(world, plan)];
    let mut order = Vec::new();
    while order.len() < done.len() {
        let ready = (0..done.len()).filter(|place| {
            !done[*place] && plan.operations[*place].after.iter().all(|o| done[*o])
        });
        let place = rng.choice(ready.collect::<Vec<_>>()).expect("no circle");
        order.push(place);
        done[place] = true;
        let operation = &plan.operations[place];
        // What goes with another may have been made anew by now.
        let noted = operation.with.is_some() && matches!(operation.action, Action::Remove(_));
        if !noted && let Err(refusal) = step(world, plan, place) {
            panic!("refused: {refusal}\noperation {place} in the order {order:?}");
        }
        opened.push(open(world, plan));
        forwarding_goes_first(world, plan, |other| done[other]);
    }
    close(world, plan, done.len());
    guard(plan, &opened);
    lead_somewhere(plan, &order);
}

/// On the way back from a gateway its namespace stops forwarding before its links go.
fn forwarding_goes_first(world: &World, plan: &Plan, done: impl Fn(usize) -> bool) {
    let pending = plan
        .operations
        .iter()
        .enumerate()
        .filter(|(place, operation)| {
            matches!(&operation.action, Action::GiveBack { before, after, .. } if before != after)
                && !done(*place)
        });
    let pending: BTreeSet<&Ns> = pending.map(|(_, operation)| &operation.id.ns).collect();
    for operation in &plan.operations {
        let removed = matches!(operation.action, Action::Remove(Resource::Link(_)));
        assert!(
            !removed
                || !pending.contains(&operation.id.ns)
                || world.entries.contains_key(&operation.id),
            "{:?} goes before the forwarding",
            operation.id
        );
    }
}

/// A rule comes after the routes of its table, and goes before them.
fn lead_somewhere(plan: &Plan, order: &[usize]) {
    let mut led: BTreeSet<(&Ns, u32)> = BTreeSet::new();
    let mut emptied: BTreeSet<(&Ns, u32)> = BTreeSet::new();
    for operation in order.iter().map(|place| &plan.operations[*place]) {
        let ns = &operation.id.ns;
        match (&operation.id.key, &operation.action) {
            _ if operation.with.is_some() => {}
            (Key::Rule(_), Action::Remove(Resource::Rule(rule))) => {
                let table = rule.action.table();
                let late = table.is_some_and(|table| emptied.contains(&(ns, table)));
                assert!(!late, "{operation:?} comes late");
            }
            // One that rejected must go before, or routes couldn't be made, and so must one that keeps
            // them from being rejected.
            (
                Key::Rule(key),
                Action::Update {
                    before: Resource::Rule(rule),
                    ..
                },
            ) if key.from.is_none() && rule.action.table().is_none() => {}
            (
                Key::Rule(key),
                Action::Create(Resource::Rule(rule))
                | Action::Update {
                    after: Resource::Rule(rule),
                    ..
                },
            ) if key.from.is_none() && rule.action.table() == Some(254) => {}
            (
                Key::Rule(_),
                Action::Create(Resource::Rule(rule))
                | Action::Update {
                    after: Resource::Rule(rule),
                    ..
                },
            ) => led.extend(rule.action.table().map(|table| (ns, table))),
            (Key::Route(key), Action::Remove(_)) => {
                emptied.insert((ns, key.table));
            }
            (Key::Route(key), _) => {
                let early = led.contains(&(ns, key.table));
                assert!(!early, "{operation:?} comes after a rule that leads to it");
            }
            _ => {}
        }
    }
}

/// A plan, a line an operation.
pub(crate) fn listing(plan: &Plan) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (place, o) in plan.operations.iter().enumerate() {
        let _ = writeln!(
            text,
            "{place} {:?} {:?} with {:?} because {:?} after {:?}",
            o.id, o.action, o.with, o.reason, o.after
        );
    }
    text
}

/// A link of the topology that forwards without a table in its namespace.
type Open = (Ns, LinkName, Family);

fn open(world: &World, plan: &Plan) -> BTreeSet<Open> {
    let mut open = BTreeSet::new();
    let topology = &plan.topology;
    if plan
        .operations
        .iter()
        .all(|operation| operation.id.key != Key::Table)
    {
        return open;
    }
    for (id, entry) in &world.entries {
        let Key::Link(name) = &id.key else { continue };
        let guarded = world
            .tables
            .contains_key(&(id.ns.clone(), topology.clone()));
        if guarded || !entry.owner.is(topology) {
            continue;
        }
        for (family, name_of) in [
            (Family::Ipv4, "forwarding"),
            (Family::Ipv6, "forwarding"),
            (Family::Ipv6, "force_forwarding"),
        ] {
            if world.value(&id.ns, conf(family, name, name_of)) == Some("1") {
                open.insert((id.ns.clone(), name.clone(), family));
            }
        }
    }
    open
}

/// Only what is open in the end, or was before, may be open in between.
fn guard(plan: &Plan, opened: &[BTreeSet<Open>]) {
    let (first, last) = (&opened[0], &opened[opened.len() - 1]);
    let tables: BTreeSet<&Ns> = plan
        .operations
        .iter()
        .filter(|operation| operation.id.key == Key::Table)
        .map(|operation| &operation.id.ns)
        .collect();
    for (place, now) in opened.iter().enumerate() {
        for link in now {
            let judged = tables.contains(&link.0);
            assert!(
                !judged || first.contains(link) || last.contains(link),
                "{link:?} is open after {place} operations"
            );
        }
    }
}
