//! What has come by a topology's tables, and what goes through them now.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use super::error::Error;
use super::nftables::NfSocket;
use super::space::door;
use super::{Kernel, conntrack, namespace, tables};
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;
use crate::resource::nftables::gateway::withdrawn::Withdrawn;
use crate::resource::{Ns, Resource};
use crate::state::{Counted, State, Traffic};

impl Kernel {
    /// Reads what the tables of a topology have counted, and the connections of their members, by namespace, where `state`
    /// is what was observed.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn traffic(
        &self,
        topology: &TopologyName,
        state: &State,
    ) -> Result<BTreeMap<Ns, Traffic>, Error> {
        let mut all = BTreeMap::new();
        for (id, entry) in &state.entries {
            if let Resource::Table(table) = &entry.resource
                && entry.owner.is(topology)
                && let Some(door) = door(&self.doors, &id.ns)?
            {
                let traffic = namespace::inside(door.as_fd(), || of(table))?;
                all.insert(id.ns.clone(), traffic);
            }
        }
        Ok(all)
    }
}

/// What rules have counted, by namespace and table.
pub type Counts = BTreeMap<(Ns, String), Vec<Counted>>;

/// What the rules of all topologies have counted in some namespaces.
///
/// # Errors
///
/// What the kernel says.
pub fn counted(doors: &BTreeMap<Ns, OwnedFd>) -> Result<Counts, Error> {
    let read = |(ns, door): (&Ns, &OwnedFd)| -> Result<Counts, Error> {
        namespace::enter(door)?;
        let tables = tables::all()?.into_iter().map(|table| {
            let counted = NfSocket::open()?.counters(&table.name)?;
            Ok(((ns.clone(), table.name), counted))
        });
        tables.collect()
    };
    let mut all = BTreeMap::new();
    for counted in namespace::spread(doors.iter().collect(), read) {
        all.extend(counted?);
    }
    Ok(all)
}

/// That of a table in the namespace of this thread.
fn of(table: &Table) -> Result<Traffic, Error> {
    let counted = NfSocket::open()?.counters(&table.name)?;
    let connections = conntrack::count(&Withdrawn::between(table, None))?;
    Ok(Traffic {
        counted,
        connections,
    })
}
