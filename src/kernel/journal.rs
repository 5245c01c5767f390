//! Keeping the record of a topology while a plan is carried out.

use std::collections::{BTreeSet, HashSet};

use super::execute::Failed;
use super::record::{self, Borrowed, Membership, Record};
use super::space::Names;
use super::{Account, Error, Kernel, file, namespace, sysctl};
use crate::plan::{Action, Operation, Plan, Transfer};
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::port::Port;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Id, Key, Ns, Resource};

/// The record of the plan's topology. It says what the plan makes before that is made, all at once:
/// what is in it and never came to be does no harm.
pub(super) struct Journal {
    /// What it said before.
    before: Record,
    record: Record,
    /// What the topology has in external namespaces, and on loan there.
    abroad: Option<BTreeSet<Id>>,
}

impl Journal {
    /// Writes down what the plan is about to make and to borrow.
    pub(super) fn open(kernel: &mut Kernel, plan: &Plan) -> Result<Journal, Failed> {
        let fail = |error| Failed { place: None, error };
        let written = Record::read(&plan.topology).map_err(fail)?;
        let mut before = written.clone();
        let mut abroad = None;
        let last = kernel.last.take();
        let last = last.filter(|last| last.topology == plan.topology);
        if let Some(last) = &last {
            before = before.seen_from(&kernel.doors.names);
            abroad = Some(last.abroad.clone());
        }
        let mut record = before.clone();
        // What a crash left in it, or somebody else removed.
        if let Some(Account {
            gone, left, lost, ..
        }) = last
        {
            lost.note(&mut record);
            record.ports.retain(|port| !left.contains(port));
            // What it was planned with may be an earlier look, at which that was there, and is made again.
            let ids = plan.operations.iter().map(|operation| &operation.id);
            let planned: HashSet<&Id> = ids.filter(|id| gone.contains(id)).collect();
            record
                .claims
                .retain(|id| !gone.contains(id) || planned.contains(id));
            let (lost, left) = std::mem::take(&mut record.namespaces)
                .into_iter()
                .partition(|name| gone.contains(&Id::namespace(Ns::Named(name.clone()))));
            record.namespaces = left;
            let lost: BTreeSet<NamespaceName> = lost;
            lost.iter().try_for_each(namespace::sweep).map_err(fail)?;
        }
        for operation in &plan.operations {
            if let Some(name) = operation.id.ns.name() {
                record.enter(name.clone(), &kernel.doors.names);
            }
        }
        // One that the topology made once, and that somebody else made anew.
        let external = &record.external;
        record
            .namespaces
            .retain(|name| !external.contains_key(name));
        let makes = made(plan);
        for (place, operation) in plan.operations.iter().enumerate() {
            let id = &operation.id;
            if operation.transfer == Some(Transfer::Adopt) && takes(&mut record, operation) {
                continue;
            }
            match (&operation.action, &id.key, &id.ns) {
                (Action::Create(_), Key::Namespace, Ns::Named(name)) => {
                    record.namespaces.insert(name.clone());
                }
                (Action::Create(_), Key::File(_), Ns::Named(name)) => {
                    record.directories.extend(file::missing_directories(name));
                }
                (
                    Action::Create(Resource::Port(port))
                    | Action::Update {
                        after: Resource::Port(port),
                        ..
                    },
                    ..,
                ) => {
                    record.ports.insert(membership(id, port));
                }
                // A route that leads over one of our links tells whose it is; a blackhole that it becomes doesn't.
                (
                    Action::Create(resource)
                    | Action::Update {
                        after: resource @ Resource::Route(_),
                        ..
                    },
                    _,
                    _,
                ) if !found_without_record(kernel, plan, &makes, id, resource) => {
                    record.claims.insert(id.clone());
                }
                (
                    Action::Borrow {
                        original, after, ..
                    },
                    Key::Sysctl(key),
                    _,
                ) if record.loan(id).is_none() => {
                    let links = already_on(kernel, id, key).map_err(Failed::at(place))?;
                    record.loans.push(Borrowed {
                        id: id.clone(),
                        original: original.clone(),
                        lent: lent(key, &after.value),
                        links,
                    });
                }
                (
                    Action::Update {
                        after: Resource::Sysctl(after),
                        ..
                    },
                    Key::Sysctl(key),
                    _,
                ) => {
                    if let Some(loan) = record.loan_mut(id) {
                        loan.lent = lent(key, &after.value);
                    }
                }
                _ => {}
            }
        }
        withdraw(&plan.topology, &makes, &kernel.doors.names).map_err(fail)?;
        if record != written {
            record.write().map_err(fail)?;
        }
        Ok(Journal {
            before,
            record,
            abroad,
        })
    }

    /// Strikes out what is gone, and removes the record if nothing is left.
    pub(super) fn close(self, plan: &Plan, done: &[bool], begun: &[bool]) -> Result<(), Failed> {
        self.strike(plan, done, begun)
            .map_err(|error| Failed { place: None, error })
    }

    fn strike(self, plan: &Plan, done: &[bool], begun: &[bool]) -> Result<(), Error> {
        let mut record = self.record;
        let old = record.clone();
        if let Some(abroad) = self.abroad.filter(|_| done.iter().all(|done| *done)) {
            leave(&mut record, abroad, plan);
        }
        let makes = made(plan);
        let kept = unfinished(plan, done);
        for (place, (operation, done)) in plan.operations.iter().zip(done).enumerate() {
            let id = &operation.id;
            let begun = begun[place];
            match operation.transfer {
                Some(Transfer::Adopt) if !done => {
                    forget(&mut record, id, Some(&self.before));
                    continue;
                }
                Some(Transfer::Release) if *done => {
                    forget(&mut record, id, None);
                    continue;
                }
                _ => {}
            }
            match (&operation.action, &id.key, &id.ns) {
                // What never came to be must not be taken for ours once somebody else makes it.
                (Action::Create(_), Key::Namespace, Ns::Named(name))
                    if !done && !self.before.namespaces.contains(name) =>
                {
                    record.namespaces.remove(name);
                }
                (Action::Create(_), Key::Table | Key::Permit(_), _)
                    if !done && !begun && !self.before.claims.contains(id) =>
                {
                    record.claims.remove(id);
                }
                (
                    Action::Create(Resource::Port(port))
                    | Action::Update {
                        after: Resource::Port(port),
                        ..
                    },
                    ..,
                ) => {
                    let port = membership(id, port);
                    if *done {
                        record
                            .ports
                            .retain(|other| other.id != *id || *other == port);
                    } else if !begun && !self.before.ports.contains(&port) {
                        record.ports.remove(&port);
                    }
                }
                (Action::Borrow { before: was, .. }, Key::Sysctl(key), _)
                    if !done
                        && self.before.loan(id).is_none()
                        && (!begun || is_still(id, key, &was.value)) =>
                {
                    record.loans.retain(|loan| loan.id != *id);
                }
                (
                    Action::Update {
                        before: Resource::Sysctl(was),
                        ..
                    },
                    Key::Sysctl(key),
                    _,
                ) if !done => {
                    if let (Some(loan), Some(before)) = (record.loan_mut(id), self.before.loan(id))
                        && (!begun || is_still(id, key, &was.value))
                    {
                        loan.lent.clone_from(&before.lent);
                    }
                }
                _ if !done => {}
                // The kernel may give a value back in other words, and it must be known for what we wrote.
                (Action::Borrow { .. } | Action::Update { .. }, Key::Sysctl(key), Ns::Host) => {
                    if let Some(loan) = record.loan_mut(id)
                        && let Some(value) = sysctl::read(&key.path())?
                    {
                        loan.lent = lent(key, &value);
                    }
                }
                // One that is made anew is there.
                (Action::Remove(_), ..) if makes.contains(id) => {}
                (Action::Remove(_), Key::Namespace, Ns::Named(name)) => {
                    record.namespaces.remove(name);
                    record.claims.retain(|claim| claim.ns != id.ns);
                }
                (
                    Action::Remove(_),
                    Key::Address(_) | Key::Route(_) | Key::Rule(_) | Key::Table | Key::Permit(_),
                    _,
                ) => {
                    record.claims.remove(id);
                }
                (Action::Remove(_), Key::Port(_), _) => {
                    record.ports.retain(|port| port.id != *id);
                }
                (Action::GiveBack { .. }, ..) if !kept.contains(&place) => {
                    record.loans.retain(|loan| loan.id != *id);
                }
                _ => {}
            }
        }
        let mut left = BTreeSet::new();
        // The deepest first.
        for path in record.directories.iter().rev() {
            if !file::remove_directory(path)? {
                left.insert(path.clone());
            }
        }
        record.directories = left;
        hand_over(&mut record)?;
        if record != old {
            record.write()?;
        }
        Ok(())
    }
}

/// Whether a sysctl that was to be written is what it was. One that is said to have failed may have been written
/// all the same; of those that can't be read from here that is taken for so, and the next observation tells.
fn is_still(id: &Id, key: &SysctlKey, was: &str) -> bool {
    id.ns == Ns::Host && matches!(sysctl::read(&key.path()), Ok(Some(value)) if value == was)
}

/// What the record says of the value that a sysctl on loan is set to.
fn lent(key: &SysctlKey, value: &str) -> Option<String> {
    (value != key.lent()).then(|| value.to_owned())
}

/// The places of the switches that were given back, but not all the links yet whose value that wrote.
/// They stay on loan, because the loan says which these are.
fn unfinished(plan: &Plan, done: &[bool]) -> HashSet<usize> {
    let operations = plan.operations.iter().zip(done);
    operations
        .filter(|(operation, done)| !**done && matches!(operation.id.key, Key::Sysctl(_)))
        .flat_map(|(operation, _)| operation.after.iter().copied())
        .collect()
}

/// Directories that outlive the topology that made them go over to another that uses them, so that the
/// last to leave removes them.
fn hand_over(record: &mut Record) -> Result<(), Error> {
    let directories = std::mem::take(&mut record.directories);
    if directories.is_empty() || !record.is_empty() {
        record.directories = directories;
        return Ok(());
    }
    let heir = record::all()?
        .into_iter()
        .find(|other| other.topology != record.topology && other.has_namespaces());
    if let Some(mut heir) = heir {
        heir.directories.extend(directories);
        heir.write()?;
    }
    Ok(())
}

/// Strikes out the external namespaces that a plan, all of which is done, leaves nothing in.
fn leave(record: &mut Record, mut abroad: BTreeSet<Id>, plan: &Plan) {
    for operation in &plan.operations {
        match operation.action {
            _ if operation.transfer == Some(Transfer::Release) => {
                abroad.remove(&operation.id);
            }
            _ if operation.transfer.is_some() => {
                abroad.insert(operation.id.clone());
            }
            Action::Create(_) | Action::Borrow { .. } => {
                abroad.insert(operation.id.clone());
            }
            Action::Remove(_) | Action::GiveBack { .. } => {
                abroad.remove(&operation.id);
            }
            Action::Update { .. } => {}
        }
    }
    let inhabited: BTreeSet<&NamespaceName> = abroad.iter().filter_map(|id| id.ns.name()).collect();
    record.external.retain(|name, _| inhabited.contains(name));
}

/// Strikes out the claims of other topologies on what a plan makes: what they had there is gone.
fn withdraw(topology: &TopologyName, makes: &HashSet<&Id>, names: &Names) -> Result<(), Error> {
    for other in record::all()? {
        if other.topology == *topology {
            continue;
        }
        let mut left = other.clone();
        let is_theirs = |id: &Id| {
            let here = other.seen_as(id, names);
            id.key == Key::Table || here.is_none_or(|id| !makes.contains(&id))
        };
        left.claims.retain(is_theirs);
        left.ports.retain(|port| is_theirs(&port.id));
        if left != other {
            left.write()?;
        }
    }
    Ok(())
}

/// Writes down what a plan takes over. False: it is no thing of the record, or is written down as what is made.
fn takes(record: &mut Record, operation: &Operation) -> bool {
    let id = &operation.id;
    match (&id.key, &id.ns) {
        (Key::Namespace, Ns::Named(name)) => record.namespaces.insert(name.clone()),
        (Key::Address(_) | Key::Route(_) | Key::Rule(_), _) => record.claims.insert(id.clone()),
        _ => return false,
    };
    true
}

/// Strikes out what was not taken over after all, or is given back, unless it was there before.
fn forget(record: &mut Record, id: &Id, before: Option<&Record>) {
    match (&id.key, &id.ns) {
        (Key::Namespace, Ns::Named(name)) => {
            if before.is_none_or(|before| !before.namespaces.contains(name)) {
                record.namespaces.remove(name);
            }
        }
        (Key::Port(_), _) => {
            let had = |port: &Membership| before.is_some_and(|before| before.ports.contains(port));
            record.ports.retain(|port| port.id != *id || had(port));
        }
        _ => {
            if before.is_none_or(|before| !before.claims.contains(id)) {
                record.claims.remove(id);
            }
        }
    }
}

/// What the record says of a port.
fn membership(id: &Id, port: &Port) -> Membership {
    Membership {
        id: id.clone(),
        master: port.master.clone(),
    }
}

/// What a plan makes, or takes over.
fn made(plan: &Plan) -> HashSet<&Id> {
    let operations = plan.operations.iter();
    operations
        .filter(|operation| {
            matches!(operation.action, Action::Create(_))
                || operation.transfer == Some(Transfer::Adopt)
        })
        .map(|operation| &operation.id)
        .collect()
}

/// Whether something is found, and says whose it is, without the record: an address or a route by its
/// link or its namespace.
fn found_without_record(
    kernel: &Kernel,
    plan: &Plan,
    makes: &HashSet<&Id>,
    id: &Id,
    resource: &Resource,
) -> bool {
    let ns = &id.ns;
    let ours = |link: &LinkName| {
        makes.contains(&Id::link(ns.clone(), link.clone()))
            || kernel
                .spaces
                .get(ns)
                .and_then(|space| space.links.get(link))
                .is_some_and(|known| known.owner.as_ref() == Some(&plan.topology) || known.untagged)
    };
    let external = ns
        .name()
        .is_none_or(|name| kernel.doors.external.contains_key(name));
    let ns_is_ours = !external
        && (makes.contains(&Id::namespace(ns.clone()))
            || kernel
                .spaces
                .get(ns)
                .is_some_and(|space| space.owner.as_ref() == Some(&plan.topology)));
    match (&id.key, resource) {
        (Key::Address(key), _) => ours(&key.link) || ns_is_ours && key.link.as_str() == "lo",
        (Key::Route(_), Resource::Route(route)) => {
            ns_is_ours
                || route
                    .hops()
                    .iter()
                    .filter_map(|hop| hop.dev.as_ref())
                    .any(ours)
        }
        (Key::Rule(_), _) => ns_is_ours,
        (Key::Table | Key::Permit(_), _) => false,
        _ => true,
    }
}

/// The links that have forwarding on by their own right before the switch of the whole host is thrown:
/// neither because it is on loan there, nor because a topology made them. Of a switch that another
/// topology has thrown already: those that it wrote down.
fn already_on(kernel: &mut Kernel, id: &Id, key: &SysctlKey) -> Result<BTreeSet<LinkName>, Error> {
    let Some(family) = key.switch() else {
        return Ok(BTreeSet::new());
    };
    let records = record::all_seen_from(&kernel.doors.names)?;
    if let Some(loan) = records.iter().find_map(|record| record.loan(id)) {
        return Ok(loan.links.clone());
    }
    let on_loan = |name: &LinkName| {
        let key = Key::Sysctl(SysctlKey::conf(family, name.clone(), "forwarding"));
        let of_link = Id::new(id.ns.clone(), key);
        records
            .iter()
            .filter_map(|record| record.loan(&of_link))
            .any(|loan| loan.original == "0")
    };
    let links = &kernel.space(&id.ns)?.links;
    Ok(links
        .iter()
        .filter(|(_, known)| {
            known.conf.get(family, "forwarding") == Some(1) && known.owner.is_none()
        })
        .filter(|(name, _)| !on_loan(name))
        .map(|(name, _)| name.clone())
        .collect())
}
