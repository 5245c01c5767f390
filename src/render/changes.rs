//! The operations of a plan as people count them: one change for each identity, a replacement being one.

use std::collections::BTreeMap;
use std::mem::discriminant;

use schemars::JsonSchema;
use serde::Serialize;

use super::style::Role;
use crate::plan::{Action, Operation, Plan, Reason, Transfer, Warning};
use crate::resource::{Id, Ns, Resource};

/// How many changes of each sort there are, as the last line of the text counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Summary")]
pub struct Count {
    /// What comes.
    pub add: usize,
    /// What changes in place, borrowed values and such that are given back among them.
    pub change: usize,
    /// What goes.
    pub remove: usize,
    /// What goes and comes again.
    pub replace: usize,
    /// What others made and is taken over.
    pub adopt: usize,
}

impl Count {
    /// What the kernel makes with a link, its peer, isn't counted: a pair is one thing.
    pub(super) fn of(changes: &[Change<'_>]) -> Count {
        let mut count = Count::default();
        for change in changes.iter().filter(|change| !change.is_told) {
            *match change.sign {
                Sign::Add => &mut count.add,
                Sign::Change => &mut count.change,
                Sign::Remove => &mut count.remove,
                Sign::Replace => &mut count.replace,
                Sign::Adopt => &mut count.adopt,
            } += 1;
        }
        count
    }
}

/// The sign in front of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Add,
    Change,
    Remove,
    Replace,
    Adopt,
}

impl Sign {
    /// How it is printed.
    pub(super) fn text(self) -> (&'static str, Role) {
        match self {
            Sign::Add => ("+", Role::Added),
            Sign::Change => ("~", Role::Changed),
            Sign::Remove => ("-", Role::Removed),
            Sign::Replace => ("±", Role::Changed),
            Sign::Adopt => ("=", Role::Changed),
        }
    }
}

/// All that happens to one identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'p> {
    pub(super) sign: Sign,
    /// The operation, the last of several.
    pub(super) operation: &'p Operation,
    /// What is removed before, of a replacement that is planned as such.
    pub(super) removed: Option<&'p Resource>,
    /// Whether the change of the other end of a pair tells of this one too.
    pub(super) is_told: bool,
}

/// All changes of a plan, by namespace and kind.
pub(super) fn changes(plan: &Plan) -> Vec<Change<'_>> {
    let mut by_id: BTreeMap<&Id, Change<'_>> = BTreeMap::new();
    for operation in &plan.operations {
        let before = by_id.get(&operation.id);
        let sign = sign(operation, before.is_some());
        let removed = before.and_then(|change| match &change.operation.action {
            Action::Remove(resource) => Some(resource),
            _ => None,
        });
        let change = Change {
            sign,
            operation,
            removed,
            is_told: false,
        };
        by_id.insert(&operation.id, change);
    }
    let all = by_id.values().map(|change| Change {
        is_told: is_peer_of_another(change.operation, &by_id),
        ..*change
    });
    all.collect()
}

/// The sign of an operation. `again`: another on the same thing comes before.
pub(super) fn sign(operation: &Operation, again: bool) -> Sign {
    match &operation.action {
        Action::Create(_) if again => Sign::Replace,
        Action::Create(_) => match operation.reason {
            Some(Reason::Fell(_) | Reason::Replaced(_)) => Sign::Replace,
            _ => Sign::Add,
        },
        Action::Remove(_) => Sign::Remove,
        _ if operation.transfer == Some(Transfer::Adopt) => Sign::Adopt,
        Action::Update { .. } | Action::Borrow { .. } | Action::GiveBack { .. } => Sign::Change,
    }
}

/// How many changes of each sort a plan has.
pub fn count(plan: &Plan) -> Count {
    Count::of(&changes(plan))
}

/// Whether an operation is on the other end of a pair that comes or goes, which its first end already
/// tells.
fn is_peer_of_another(operation: &Operation, all: &BTreeMap<&Id, Change<'_>>) -> bool {
    let (Action::Create(Resource::Link(link)) | Action::Remove(Resource::Link(link))) =
        &operation.action
    else {
        return false;
    };
    let Some(peer) = link.peer() else {
        return false;
    };
    let peer = Id::link(peer.ns.clone(), peer.name.clone());
    let told = all.get(&peer).is_some_and(|of_peer| {
        discriminant(&of_peer.operation.action) == discriminant(&operation.action)
    });
    told && peer < operation.id
}

/// The namespace that a warning is about.
pub(super) fn place(warning: &Warning) -> &Ns {
    match warning {
        Warning::Collateral { id, .. }
        | Warning::Released { id, .. }
        | Warning::OutOfReach { id, .. } => &id.ns,
        Warning::Remark { ns, .. } | Warning::Inmate { ns, .. } => ns,
    }
}
