//! Namespaces whose names are gone and that live on until it is sure that they are to go: what is in them that a State
//! doesn't hold, as processes, is there again if a plan fails and is undone.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::error::Error;
use super::record::Record;
use super::socket::Socket;
use super::space::inode_of;
use super::{Kernel, adoption, namespace, read, tag};
use crate::plan::{Action, Plan};
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::{Key, Ns};

impl Kernel {
    /// Takes a namespace's name away, and keeps it.
    pub(super) fn put_aside(&mut self, name: &NamespaceName) -> Result<(), Error> {
        // Where there is no room for one more descriptor it ends at once.
        if let Ok(Some(ns)) = namespace::open(name) {
            self.kept.insert(name.clone(), ns);
        }
        namespace::remove(name)
    }

    /// Has a process that was forked go on with this: with sockets of its own, and with what must be known to go back.
    pub fn go_on(&mut self) {
        self.spaces.clear();
        self.found.clear();
        self.recent = None;
        self.last = None;
        self.renaming = None;
    }

    /// Keeps what must be known to go back from a plan that is going to be done by another process: the namespaces that it
    /// removes, and what is taken over as it is.
    ///
    /// # Errors
    ///
    /// Why that couldn't be read.
    pub fn keep(&mut self, plan: &Plan) -> Result<(), Error> {
        for operation in &plan.operations {
            if let (Key::Namespace, Action::Remove(_), Some(name)) =
                (&operation.id.key, &operation.action, operation.id.ns.name())
                && let Some(ns) = namespace::open(name)?
            {
                self.kept.insert(name.clone(), ns);
            }
        }
        adoption::remember(self, plan)
    }

    /// Lets the namespaces end that plans have removed: nobody will go back.
    pub fn commit(&mut self) {
        self.kept.clear();
    }

    /// Gives a topology's namespaces their names again that plans have removed. One that was made in the place of such a
    /// one ends; one that is somebody else's stays.
    ///
    /// # Errors
    ///
    /// Why the first couldn't have its name back; the others have.
    pub fn bring_back(&mut self, topology: &TopologyName) -> Result<(), Error> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept);
        // Who looks into the record must find them in it as soon as they are there.
        let mut record = Record::read(topology)?;
        record.namespaces.extend(kept.keys().cloned());
        record.write()?;
        let mut result = Ok(());
        for (name, ns) in kept {
            self.spaces.remove(&Ns::Named(name.clone()));
            result = result.and(mount_back(topology, &name, &ns));
        }
        result
    }
}

fn mount_back(topology: &TopologyName, name: &NamespaceName, ns: &OwnedFd) -> Result<(), Error> {
    if let Some(other) = namespace::open(name)? {
        let inode = inode_of(other.as_fd())?;
        if inode == inode_of(ns.as_fd())? {
            return Ok(());
        }
        if owner_of(&other)?.as_ref() != Some(topology) {
            return Ok(());
        }
        drop(other);
        namespace::remove(name)?;
    }
    let path = namespace::path(name);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o444)
        .open(&path)
        .map_err(|e| Error::io("create", &path, e))?;
    let source = format!("/proc/self/fd/{}", ns.as_raw_fd());
    rustix::mount::mount_bind(source, &path)
        .map_err(|e| Error::io("mount a namespace on", &path, e))
}

/// Whose tag a namespace has.
fn owner_of(ns: &OwnedFd) -> Result<Option<TopologyName>, Error> {
    let mut socket = namespace::inside(ns.as_fd(), Socket::open)?;
    let links = read::links(&mut socket)?;
    let lo = links.iter().find(|link| link.is_loopback());
    Ok(lo.and_then(tag::of_link))
}
