//! The topology's nftables table in the namespace of this thread.

use super::conntrack;
use super::error::Error;
use super::nftables::{self, NfSocket, TableChange};
use crate::plan::{Action, Operation};
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;
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

/// Makes, changes or removes a table, all at once or not at all, and then ends the connections that
/// depended on what is withdrawn.
pub(super) fn change(operation: &Operation) -> Result<(), Error> {
    if let Key::Permit(key) = &operation.id.key {
        return permit(operation, key);
    }
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
    conntrack::end(&operation.ends)
}

/// Makes or removes an accept rule in a chain of others.
fn permit(operation: &Operation, key: &PermitKey) -> Result<(), Error> {
    let mut socket = NfSocket::open()?;
    match &operation.action {
        Action::Create(_) => Ok(socket.permit(key)?),
        Action::Remove(_) => Ok(socket.forbid(key)?),
        _ => Err(Error::Impossible(
            "a rule in a chain of others is made or removed",
        )),
    }
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
