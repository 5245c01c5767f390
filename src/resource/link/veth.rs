//! Veth pairs (`man 4 veth`).

use serde::Serialize;

use crate::resource::{Ns, name::LinkName};

/// What the kernel calls the kind.
pub const KIND: &str = "veth";

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Veth {
    /// The other end. `None` in what is read only: it lies in a namespace that nothing here knows.
    pub peer: Option<Peer>,
}

/// Where the other end is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Peer {
    /// Its namespace.
    pub ns: Ns,
    /// Its name.
    pub name: LinkName,
}
