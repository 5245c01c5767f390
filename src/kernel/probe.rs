//! Whether the kernel has the kinds of links that a plan makes, before anything is changed.
//!
//! The kernel doesn't say which kinds it has: one is made in a namespace that nobody else sees, and that ends
//! with the thread that made it. As for the link itself, the kernel may load a module for it.

use std::thread;

use super::creation::lack;
use super::encode::{self, End};
use super::error::Error;
use super::namespace;
use super::socket::{Requests, Socket};
use crate::plan::{Action, Operation, Plan};
use crate::resource::Resource;
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::LinkName;

/// What the kernel lacks for a plan, by the place of the first operation that needs it. What can't be found
/// out is not lacking: the operation itself will tell.
pub(super) fn lacking(plan: &Plan) -> Vec<(usize, Error)> {
    let mut wanted: Vec<(usize, &Link)> = Vec::new();
    for (place, operation) in plan.operations.iter().enumerate() {
        let new = needed(operation).filter(|link| {
            let mut known = wanted.iter();
            !known.any(|(_, known)| alike(&known.kind, &link.kind))
        });
        wanted.extend(new.map(|link| (place, link)));
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let tried = thread::scope(|scope| scope.spawn(|| try_all(&wanted)).join());
    tried
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .unwrap_or_default()
}

/// The link that an operation needs the kernel to be able to make.
fn needed(operation: &Operation) -> Option<&Link> {
    match &operation.action {
        Action::Create(Resource::Link(link)) if link.kind.is_single() => Some(link),
        Action::Update {
            before: Resource::Link(before),
            after: Resource::Link(after),
        } => {
            let changes = after.kind.changes_from(&before.kind);
            let mut changes = changes.iter();
            let needs = changes.any(|setting| !setting.usual && setting.needs.is_some());
            needs.then_some(after)
        }
        _ => None,
    }
}

/// Whether the kernel needs the same for two kinds.
fn alike(one: &LinkKind, other: &LinkKind) -> bool {
    let options = |kind: &LinkKind| {
        let settings = kind.settings().into_iter();
        let unusual = settings.filter(|setting| !setting.usual);
        unusual
            .filter_map(|setting| setting.needs)
            .collect::<Vec<_>>()
    };
    one.name() == other.name() && options(one) == options(other)
}

/// Makes one of each, in a namespace of this thread's own.
fn try_all(wanted: &[(usize, &Link)]) -> Result<Vec<(usize, Error)>, Error> {
    namespace::fresh()?;
    let socket = Socket::open()?;
    let mut requests = Requests::default();
    for (number, (_, link)) in (2_u32..).zip(wanted) {
        let name = LinkName::try_from(format!("probe{number}"))
            .map_err(|_| Error::Impossible("a number is too long for a name"))?;
        let link = Link {
            mtu: None,
            mac: None,
            ..(*link).clone()
        };
        let end = End {
            index: number,
            name: &name,
            link: None,
        };
        encode::new_single(&mut requests, &end, &link);
    }
    let failed = socket.send(&mut requests, |_, _| {})?;
    let lacks = failed.into_iter().filter_map(|(request, verdict)| {
        let (place, link) = wanted.get(request)?;
        Some((*place, lack(&link.kind, &verdict)?))
    });
    Ok(lacks.collect())
}
