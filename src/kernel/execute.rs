//! Doing what a plan says.
//!
//! The work goes in rounds. A round takes all operations of one sort that are ready, because what they
//! come after is done, and does them together: namespaces on several threads, requests many a datagram.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::adoption::{self, Was};
use super::error::{Error, Failure};
use super::journal::Journal;
use super::writer::Writer;
use super::{Kernel, births, deaths, file, namespace, sysctl, tables};
use crate::plan::{Action, Operation, Plan, Transfer};
use crate::resource::file::FileKind;
use crate::resource::name::NamespaceName;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Id, Key, Ns, Resource};

/// What an operation is done with, in the order in which rounds prefer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    /// Nothing: another operation does it too.
    Nothing,
    /// Making a namespace.
    Birth,
    /// Files in `/etc/netns`.
    File,
    /// nftables.
    Table,
    /// Netlink, through the socket of a namespace.
    Netlink,
    /// Files below `/proc/sys`.
    Sysctl,
    /// Removing a namespace.
    Death,
}

/// What an operation that failed leaves.
pub(super) struct Failed {
    /// Its place; none if it was not one that failed.
    pub(super) place: Option<usize>,
    pub(super) error: Error,
}

impl Failed {
    /// The failure of the operation at a place.
    pub(super) fn at(place: usize) -> impl FnOnce(Error) -> Failed {
        move |error| Failed {
            place: Some(place),
            error,
        }
    }
}

pub(super) fn execute(
    kernel: &mut Kernel,
    plan: &Plan,
    tell: &mut dyn FnMut(usize),
    stop: &dyn Fn() -> bool,
) -> Result<(), Failure> {
    let mut run = Run::new(plan);
    let result = run.all(kernel, tell, stop);
    result.map_err(|Failed { place, error }| Failure {
        operation: place,
        error,
        done: run.done.iter().filter(|done| **done).count(),
    })
}

/// A plan on its way.
struct Run<'p> {
    plan: &'p Plan,
    sorts: Vec<Sort>,
    done: Vec<bool>,
    /// Those that were begun. One that is not done may be done all the same, if it only was said to have failed.
    begun: Vec<bool>,
    /// The place of the operation that does this one too.
    with: Vec<Option<usize>>,
    /// The links that are not made or changed yet, by the namespaces they or their peers are in. A
    /// route waits for them, because it needs a link that is up at both ends.
    pending: BTreeMap<&'p Ns, usize>,
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan) -> Run<'p> {
        let operations = &plan.operations;
        let mut last: BTreeMap<&Id, Vec<usize>> = BTreeMap::new();
        for (place, operation) in operations.iter().enumerate() {
            last.entry(&operation.id).or_default().push(place);
        }
        let with = operations
            .iter()
            .map(|operation| {
                let removes = is_removal(operation);
                let places = last.get(operation.with.as_ref()?)?;
                places
                    .iter()
                    .copied()
                    .find(|place| is_removal(&operations[*place]) == removes)
            })
            .collect();
        let mut run = Run {
            plan,
            sorts: operations.iter().map(sort).collect(),
            done: vec![false; operations.len()],
            begun: vec![false; operations.len()],
            with,
            pending: BTreeMap::new(),
        };
        for operation in operations {
            for ns in operation.touches() {
                *run.pending.entry(ns).or_default() += 1;
            }
        }
        run
    }

    fn all(
        &mut self,
        kernel: &mut Kernel,
        tell: &mut dyn FnMut(usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Failed> {
        all_seen(kernel, self.plan)?;
        adoption::remember(kernel, self.plan).map_err(|error| Failed { place: None, error })?;
        let journal = Journal::open(kernel, self.plan)?;
        let result = self.rounds(kernel, tell, stop);
        // Also after a failure: what was given back isn't on loan anymore.
        let closed = journal.close(self.plan, &self.done, &self.begun);
        result.and(closed)
    }

    fn rounds(
        &mut self,
        kernel: &mut Kernel,
        tell: &mut dyn FnMut(usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Failed> {
        let mut writer = Writer::new(self.plan);
        while let Some(sort) = self.next_sort() {
            if stop() {
                return Err(Failed {
                    place: None,
                    error: Error::Stopped,
                });
            }
            let round = self.round(sort);
            for place in &round {
                self.begun[*place] = true;
            }
            self.play(kernel, &mut writer, sort, &round)?;
            tell(self.done.iter().filter(|done| **done).count());
        }
        if self.done.iter().all(|done| *done) {
            writer.settle(kernel)
        } else {
            Err(Failed {
                place: self.done.iter().position(|done| !done),
                error: Error::Impossible("operations wait for each other"),
            })
        }
    }

    /// The sort of the first operation that is ready.
    fn next_sort(&self) -> Option<Sort> {
        (0..self.done.len())
            .find(|place| self.is_ready(*place, &[]))
            .map(|place| self.sorts[place])
    }

    /// All operations of a sort that are ready, or will be once others of the round are done. Only what
    /// goes through the same socket is sure to be done in its order.
    fn round(&self, sort: Sort) -> Vec<usize> {
        let mut round = vec![false; self.done.len()];
        for place in 0..self.done.len() {
            round[place] = self.sorts[place] == sort && self.is_ready(place, &round);
        }
        (0..round.len()).filter(|place| round[*place]).collect()
    }

    fn is_ready(&self, place: usize, round: &[bool]) -> bool {
        if self.done[place] {
            return false;
        }
        let operation = &self.plan.operations[place];
        let mut before = operation.after.iter().chain(&self.with[place]);
        let in_order = |other: &usize| {
            self.done[*other]
                || round.get(*other) == Some(&true)
                    && self.plan.operations[*other].id.ns == operation.id.ns
                    && matches!(
                        self.sorts[place],
                        Sort::Netlink | Sort::Sysctl | Sort::Table
                    )
        };
        before.all(in_order) && !self.waits_for_links(operation)
    }

    fn waits_for_links(&self, operation: &Operation) -> bool {
        matches!(operation.id.key, Key::Route(_))
            && !is_removal(operation)
            && self.pending.get(&operation.id.ns).is_some_and(|n| *n > 0)
    }

    fn finish(&mut self, place: usize) {
        if !std::mem::replace(&mut self.done[place], true) {
            for ns in self.plan.operations[place].touches() {
                if let Some(n) = self.pending.get_mut(ns) {
                    *n -= 1;
                }
            }
        }
    }

    fn play(
        &mut self,
        kernel: &mut Kernel,
        writer: &mut Writer<'p>,
        sort: Sort,
        round: &[usize],
    ) -> Result<(), Failed> {
        let plan = self.plan;
        let mut finished = Vec::new();
        let result = match sort {
            Sort::Nothing => {
                finished.extend_from_slice(round);
                Ok(())
            }
            Sort::Birth => {
                let extra = |place: usize| self.settings_of_birth(place);
                let jobs = round.iter().map(|place| (*place, extra(*place))).collect();
                births::births(kernel, plan, jobs, &mut finished)
            }
            Sort::File => one_by_one(round, &mut finished, |place| {
                self.file(place, kernel.was.get(&plan.operations[place].id))
            }),
            Sort::Table => self.inside(kernel, round, &mut finished, |places, finished, _| {
                tables::change(plan, places, finished)
            }),
            Sort::Netlink => writer.write(kernel, round, &mut finished),
            Sort::Sysctl => self.inside(kernel, round, &mut finished, |places, finished, here| {
                one_by_one(places, finished, |place| {
                    setting(&plan.operations[place], here)
                })
            }),
            Sort::Death => deaths::deaths(kernel, plan, round, &mut finished),
        };
        for place in finished {
            self.finish(place);
        }
        result
    }

    /// The settings of a whole new namespace that need nothing but it: they are written while it is
    /// made, from the thread that is in it already.
    fn settings_of_birth(&self, birth: usize) -> Vec<usize> {
        let ns = &self.plan.operations[birth].id.ns;
        (birth + 1..self.done.len())
            .take_while(|place| self.plan.operations[*place].id.ns == *ns)
            .filter(|place| {
                let operation = &self.plan.operations[*place];
                matches!(operation.id.key, Key::Sysctl(SysctlKey::Global(_)))
                    && matches!(operation.action, Action::Create(_))
                    && operation
                        .after
                        .iter()
                        .all(|other| *other == birth || self.done[*other])
            })
            .collect()
    }

    fn file(&self, place: usize, was: Option<&Was>) -> Result<(), Error> {
        let topology = &self.plan.topology;
        let operation = &self.plan.operations[place];
        let (ns, kind) = file_of(&operation.id)?;
        if operation.transfer == Some(Transfer::Release) {
            return file::restore(ns, kind, was);
        }
        match &operation.action {
            Action::Create(Resource::File(new)) => file::create(ns, kind, topology, &new.content),
            Action::Update {
                after: Resource::File(new),
                ..
            } => file::update(ns, kind, topology, &new.content),
            Action::Remove(_) => file::remove(ns, kind),
            _ => Err(Error::Impossible("a file is something else")),
        }
    }

    /// Does operations from inside of their namespaces, several of these at once.
    fn inside(
        &self,
        kernel: &Kernel,
        round: &[usize],
        finished: &mut Vec<usize>,
        work: impl Fn(&[usize], &mut Vec<usize>, &sysctl::Here) -> Result<(), Failed> + Sync,
    ) -> Result<(), Failed> {
        let mut by_ns: BTreeMap<&Ns, Vec<usize>> = BTreeMap::new();
        for place in round {
            let ns = &self.plan.operations[*place].id.ns;
            by_ns.entry(ns).or_default().push(*place);
        }
        let doors = &kernel.doors;
        let visit = |(ns, places): (&Ns, Vec<usize>)| -> (Vec<usize>, Result<(), Failed>) {
            let entered = super::space::door_of(doors, ns).and_then(namespace::enter);
            let mut finished = Vec::with_capacity(places.len());
            let result = entered
                .map_err(Failed::at(places[0]))
                .and_then(|()| work(&places, &mut finished, &sysctl::Here::default()));
            (finished, result)
        };
        let results = namespace::spread(by_ns.into_iter().collect(), visit);
        let mut all = Ok(());
        for (mut done, result) in results {
            finished.append(&mut done);
            all = all.and(result);
        }
        all
    }
}

/// Writes one setting, from a thread in its namespace.
pub(super) fn setting(operation: &Operation, here: &sysctl::Here) -> Result<(), Error> {
    let Key::Sysctl(key) = &operation.id.key else {
        return Err(Error::Impossible("a sysctl is something else"));
    };
    let value = match &operation.action {
        Action::Create(Resource::Sysctl(new))
        | Action::Update {
            after: Resource::Sysctl(new),
            ..
        } => &new.value,
        // Even where it was so already: a switch that went off just before may have cleared it.
        Action::Borrow { after, .. } => &after.value,
        Action::GiveBack { before, after, .. } => {
            if before == after {
                return Ok(());
            }
            &after.value
        }
        // There is no removing a sysctl: it is forgotten.
        Action::Remove(_) => return Ok(()),
        _ => return Err(Error::Impossible("a sysctl is something else")),
    };
    here.write(key, value)
}

/// Does operations one after the other until one fails.
pub(super) fn one_by_one(
    round: &[usize],
    finished: &mut Vec<usize>,
    mut work: impl FnMut(usize) -> Result<(), Error>,
) -> Result<(), Failed> {
    for place in round {
        work(*place).map_err(Failed::at(*place))?;
        finished.push(*place);
    }
    Ok(())
}

fn file_of(id: &Id) -> Result<(&NamespaceName, FileKind), Error> {
    match (&id.ns, &id.key) {
        (Ns::Named(name), Key::File(kind)) => Ok((name, *kind)),
        _ => Err(Error::Impossible("the host has no files in /etc/netns")),
    }
}

/// That no value is to be borrowed of something that was not there when it was read, as a link, or a namespace that was
/// being made anew: nobody could give it back.
fn all_seen(kernel: &Kernel, plan: &Plan) -> Result<(), Failed> {
    for (place, operation) in plan.operations.iter().enumerate() {
        let (Action::Borrow { before, .. }, Key::Sysctl(key)) =
            (&operation.action, &operation.id.key)
        else {
            continue;
        };
        if !before.value.is_empty() {
            continue;
        }
        let read = || {
            let door = super::space::door_of(&kernel.doors, &operation.id.ns)?;
            namespace::inside(door.as_fd(), || sysctl::read(&key.path()))
        };
        let has_value = |value: Option<String>| value.is_some_and(|value| !value.is_empty());
        if operation.is_unseen() || has_value(read().map_err(Failed::at(place))?) {
            let what = format!("the value of {key} in {}", operation.id.ns);
            return Err(Failed::at(place)(Error::Missing { what }));
        }
    }
    Ok(())
}

fn is_removal(operation: &Operation) -> bool {
    matches!(operation.action, Action::Remove(_))
}

fn sort(operation: &Operation) -> Sort {
    if is_removal(operation) && operation.with.is_some() {
        return Sort::Nothing;
    }
    match &operation.id.key {
        Key::Namespace if is_removal(operation) => Sort::Death,
        Key::Namespace if operation.transfer.is_some() => Sort::Netlink,
        Key::Namespace => Sort::Birth,
        Key::File(_) => Sort::File,
        Key::Table | Key::Permit(_) => Sort::Table,
        Key::Sysctl(_) => Sort::Sysctl,
        Key::Link(_) | Key::Port(_) | Key::Address(_) | Key::Route(_) | Key::Rule(_) => {
            Sort::Netlink
        }
    }
}
