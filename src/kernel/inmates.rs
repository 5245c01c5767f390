//! The processes inside of namespaces that go.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::error::Error;
use super::space::{door, inode_of};
use super::{Kernel, processes};
use crate::plan::{Action, Plan, Warning};
use crate::resource::{Key, Ns};

/// How much of a command is told, in characters.
const WORDS: usize = 60;

/// What to say of the processes inside of the namespaces that a plan removes, by namespace and number.
pub(super) fn inmates(kernel: &Kernel, plan: &Plan) -> Result<Vec<Warning>, Error> {
    let mut going: BTreeMap<u64, &Ns> = BTreeMap::new();
    for operation in &plan.operations {
        if let (Key::Namespace, Action::Remove(_)) = (&operation.id.key, &operation.action)
            && let Some(door) = door(&kernel.doors, &operation.id.ns)?
        {
            going.insert(inode_of(door.as_fd())?, &operation.id.ns);
        }
    }
    // To look at every process takes a while where there are many.
    if going.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: Vec<(&Ns, u32)> = Vec::new();
    for (pid, path) in processes::all().map_err(|e| Error::io("read", "/proc", e))? {
        // One may have ended meanwhile, and a kernel thread has none.
        let inode = processes::inode(&path.join("ns/net"), "net");
        if let Some(ns) = inode.and_then(|inode| going.get(&inode)) {
            found.push((ns, pid));
        }
    }
    found.sort_unstable();
    let warning = |(ns, pid): (&Ns, u32)| Warning::Inmate {
        ns: ns.clone(),
        pid,
        command: processes::command(pid, WORDS),
    };
    Ok(found.into_iter().map(warning).collect())
}
