//! What has come by a topology's tables, and what goes through them now.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::error::Error;
use super::nftables::NfSocket;
use super::space::door;
use super::{Kernel, conntrack, namespace};
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;
use crate::resource::nftables::gateway::withdrawn::Withdrawn;
use crate::resource::{Ns, Resource};
use crate::state::{State, Traffic};

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

/// That of a table in the namespace of this thread.
fn of(table: &Table) -> Result<Traffic, Error> {
    let counted = NfSocket::open()?.counters(&table.name)?;
    let connections = conntrack::count(&Withdrawn::between(table, None))?;
    Ok(Traffic {
        counted,
        connections,
    })
}
