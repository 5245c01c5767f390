//! The topology's nftables table in the namespace of this thread.

use super::conntrack;
use super::error::Error;
use super::execute::{Failed, one_by_one};
use super::nftables::{self, NfSocket, PermitChange, TableChange, TableName};
use crate::plan::{Action, Operation, Plan};
use crate::resource::name::TopologyName;
use crate::resource::nftables::{PREFIX, Table, owner};
use crate::resource::permit::{Permit, PermitKey};
use crate::resource::{Key, Resource};

/// A topology's table. None: there is none, or no nftables in this kernel.
pub(super) fn read(topology: &TopologyName) -> Result<Option<Table>, Error> {
    let read = || NfSocket::open()?.read(&Table::name_of(topology));
    match read() {
        Err(error) if lacks_nftables(&error) => Ok(None),
        result => Ok(result?),
    }
}

/// The tables of all topologies but one.
pub(super) fn of_others(topology: &TopologyName) -> Result<Vec<Table>, Error> {
    own(|owner| owner.is_some_and(|owner| owner != *topology))
}

/// All tables that are called as those of topologies are.
pub(super) fn all() -> Result<Vec<Table>, Error> {
    own(|_| true)
}

fn own(is_wanted: impl Fn(Option<TopologyName>) -> bool) -> Result<Vec<Table>, Error> {
    let read = || {
        let mut socket = NfSocket::open()?;
        let mut all = Vec::new();
        for TableName { name, comment } in socket.tables()? {
            if name.starts_with(PREFIX) && is_wanted(comment.as_deref().and_then(owner)) {
                all.extend(socket.read(&name)?);
            }
        }
        Ok(all)
    };
    match read() {
        Err(error) if lacks_nftables(&error) => Ok(Vec::new()),
        result => Ok(result?),
    }
}

/// Changes tables, and accept rules in the chains of others, in order: of the latter those that come one after the
/// other in one transaction.
pub(super) fn change(
    plan: &Plan,
    places: &[usize],
    finished: &mut Vec<usize>,
) -> Result<(), Failed> {
    let is_permit = |place: &usize| matches!(plan.operations[*place].id.key, Key::Permit(_));
    for run in places.chunk_by(|one, next| is_permit(one) == is_permit(next)) {
        if is_permit(&run[0]) {
            permit(plan, run)?;
            finished.extend_from_slice(run);
        } else {
            one_by_one(run, finished, |place| table(&plan.operations[place]))?;
        }
    }
    Ok(())
}

/// Makes, changes or removes a table, all at once or not at all, and then ends the connections that
/// depended on what is withdrawn.
fn table(operation: &Operation) -> Result<(), Error> {
    let change = match &operation.action {
        Action::Create(Resource::Table(new)) => TableChange::Create(new.clone()),
        Action::Update {
            before: Resource::Table(before),
            after: Resource::Table(after),
        } => TableChange::Update {
            before: before.clone(),
            after: after.clone(),
        },
        Action::Remove(Resource::Table(old)) => TableChange::Remove(old.name.clone()),
        _ => return Err(Error::Impossible("a table is something else")),
    };
    NfSocket::open()?.apply(&[change])?;
    operation.ends.as_deref().map_or(Ok(()), conntrack::end)
}

/// Makes and removes accept rules in the chains of others.
fn permit(plan: &Plan, places: &[usize]) -> Result<(), Failed> {
    let change = |place: &usize| {
        let operation = &plan.operations[*place];
        match (&operation.id.key, &operation.action) {
            (Key::Permit(key), Action::Create(_)) => Ok(PermitChange::Create(key)),
            (Key::Permit(key), Action::Remove(_)) => Ok(PermitChange::Remove(key)),
            _ => Err(Failed::at(*place)(Error::Impossible(
                "a rule in a chain of others is made or removed",
            ))),
        }
    };
    let changes: Vec<PermitChange<'_>> = places.iter().map(change).collect::<Result<_, _>>()?;
    let apply = || NfSocket::open()?.permit(&changes);
    apply().map_err(|error| {
        let failed = changes.iter().position(|change| error.is_of(change.key()));
        Failed::at(places[failed.unwrap_or(0)])(error.into())
    })
}

/// The accept rules that topologies have in the chains of others.
pub(super) fn permits() -> Result<Vec<(PermitKey, Permit)>, Error> {
    let read = || NfSocket::open()?.permits();
    match read() {
        Err(error) if lacks_nftables(&error) => Ok(Vec::new()),
        result => Ok(result?),
    }
}

/// Whether an error of reading says that the kernel knows nothing of nftables (`nfnetlink_rcv_msg` of
/// `net/netfilter/nfnetlink.c`).
pub(super) fn lacks_nftables(error: &nftables::Error) -> bool {
    match error {
        nftables::Error::Open { .. } => true,
        nftables::Error::Refused { errno, .. } => {
            matches!(*errno, libc::EINVAL | libc::EOPNOTSUPP)
        }
        _ => false,
    }
}
