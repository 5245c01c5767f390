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

impl Veth {
    /// Why this can't be made of `found`: an end has the peer that it was born with.
    pub(super) fn differs_from(&self, found: &Veth) -> Option<String> {
        if self.peer == found.peer {
            return None;
        }
        Some(match &found.peer {
            Some(Peer { ns, name }) => format!("its peer is {ns}:{name}"),
            None => "its peer is in another namespace".to_owned(),
        })
    }
}
