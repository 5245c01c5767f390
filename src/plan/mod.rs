//! From two States to a plan: what differs, in which order it is mended, and why.
//!
//! [`plan`] is a pure function: the same two States give the same plan, to the byte. It never asks the
//! kernel anything.

use std::fmt;

use serde::Serialize;

use crate::resource::name::TopologyName;
use crate::resource::sysctl::Sysctl;
use crate::resource::{Id, Resource};

/// What `apply` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// For which topology.
    pub topology: TopologyName,
    /// The operations, in an order in which they can be done one after the other.
    pub operations: Vec<Operation>,
    /// What a person should know before saying yes.
    pub warnings: Vec<Warning>,
}

/// One change of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Of what.
    pub id: Id,
    /// What is done.
    pub action: Action,
    /// The operation on another resource that does this one too: the kernel makes a veth's peer with it,
    /// and removes the addresses of a link with the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<Id>,
    /// Why, where the action alone doesn't say it. For people: nothing depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The places in [`Plan::operations`] of those that must be done before, all of them earlier.
    #[serde(skip)]
    pub after: Vec<usize>,
}

/// What is done to a resource.
///
/// A replacement is a removal and a creation of one identity, in this order and with the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create(Resource),
    /// It is changed in place.
    Update {
        /// What it is.
        before: Resource,
        /// What it becomes.
        after: Resource,
    },
    /// It is removed.
    Remove(Resource),
    /// A sysctl of the host is set, and its value recorded first. The value may stay the same: another
    /// topology set it, and the last to leave gives it back.
    Borrow {
        /// What it is.
        before: Sysctl,
        /// What it becomes.
        after: Sysctl,
        /// What is to be given back.
        original: String,
    },
    /// A borrowed sysctl is given back, and forgotten.
    GiveBack {
        /// What it is.
        before: Sysctl,
        /// What it becomes; the same as before where it must stay.
        after: Sysctl,
        /// Why it stays as it is, if it does.
        stays: Option<Stays>,
    },
}

/// Why a borrowed value is not given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stays {
    /// Another topology has it on loan too; the last to leave gives it back.
    Borrowed(TopologyName),
    /// Somebody changed it meanwhile.
    Changed,
    /// Something else relies on it now: forwarding of a link while the whole host forwards.
    Relied,
}

/// Why an operation is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The resource can't be changed in place: what differs.
    Replaced(String),
    /// The kernel takes it down with an operation on this one, so it is made again.
    Fell(Id),
    /// A creation that never came to its end left this behind.
    HalfMade,
}

/// What a person should know before saying yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Warning {
    /// Something foreign goes, because an operation takes it down with it.
    Collateral {
        /// What goes.
        id: Id,
        /// With the operation on this one.
        with: Id,
    },
    /// A remark of lowering or of the kernel's reading.
    Remark {
        /// The place it is about.
        ns: crate::resource::Ns,
        /// The text: one sentence of what is, and one of what to do.
        text: String,
    },
}

/// An object that the topology needs exists, and isn't its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What.
    pub id: Id,
    /// What stands there.
    pub resource: Resource,
    /// The topology whose it is; none: it carries no tag.
    pub owner: Option<TopologyName>,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stays::Borrowed(topology) => write!(f, "topology {topology} needs it too"),
            Stays::Changed => f.write_str("somebody changed it meanwhile"),
            Stays::Relied => f.write_str("the whole host forwards now"),
        }
    }
}
