//! The way back from an apply or a destroy that failed.

use std::thread;
use std::time::Duration;

use super::apply::Options;
use super::session::{self, Session};
use super::{Status, output, signals};
use crate::kernel::{self, Failure};
use crate::plan::{self, Action, Conflict, Operation, Plan, Transfer};
use crate::render::plan::View;
use crate::render::{self, phrase};
use crate::resource::name::TopologyName;
use crate::resource::sysctl::{FORCED, ROUTE_LOCALNET, SysctlKey};
use crate::resource::{Family, Id, Key, Resource};
use crate::state::{Owner, State};

/// Which operation failed, and how.
pub(super) fn told(failure: &Failure, plan: &Plan) -> String {
    let what = match failure.operation.and_then(|at| plan.operations.get(at)) {
        Some(operation) => {
            let verb = match operation.action {
                Action::Borrow { .. } | Action::Create(Resource::Sysctl(_)) => "set",
                _ if operation.transfer == Some(Transfer::Adopt) => "adopt",
                _ if operation.transfer == Some(Transfer::Release) => "give back",
                Action::Create(_) => "create",
                Action::Update { .. } => "change",
                Action::Remove(_) => "remove",
                Action::GiveBack { .. } => "give back",
            };
            format!(
                "failed to {verb} {}",
                phrase::located(&operation.id, &plan.topology)
            )
        }
        None => match (&failure.error, signals::asked()) {
            (kernel::Error::Stopped, Some(signal)) => {
                return format!(
                    "stopped by {signal}, when {} of {} operations were done",
                    failure.done,
                    plan.operations.len()
                );
            }
            _ => "failed".to_owned(),
        },
    };
    format!("{what}: {}", failure.error)
}

/// Goes back to what was before an apply, its name too.
pub(super) fn take_back(session: &mut Session, before: &State, options: &Options) -> Status {
    let old = session.renamed.take();
    let done = session.plan.operations.len();
    let status = undo(session, before, options, done);
    name_back(session, status, old.as_ref())
}

/// Has a topology that was renamed be called as before, if everything else is as before.
pub(super) fn name_back(
    session: &mut Session,
    status: Status,
    old: Option<&TopologyName>,
) -> Status {
    let (Status::RolledBack | Status::Failed, Some(old)) = (status, old) else {
        return status;
    };
    let new = session.topology.clone();
    match session.kernel.rename(&new, old) {
        Ok(()) => Status::RolledBack,
        Err(error) => {
            session::failed(&error);
            output::error(&format!(
                "topology {old} is called {new} now: `netform destroy {new}`, or apply its spec with \
                 `--adopt-from {new}`"
            ));
            Status::LeftChanged
        }
    }
}

/// How often it is tried to get somewhere while somebody else is changing the host.
pub(super) const ATTEMPTS: u32 = 5;

/// How long to wait before another attempt: the kernel needs a while to do away with a namespace, and with what led there.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Plans back to what was before, and does it. So many operations are known to be done.
pub(super) fn undo(
    session: &mut Session,
    before: &State,
    options: &Options,
    done: usize,
) -> Status {
    if !options.no_rollback
        && let Err(error) = session.kernel.bring_back(&session.topology)
    {
        session::failed(&error);
    }
    let mut back = match way_back(session, before) {
        Ok(back) => back,
        Err(why) => {
            output::error(&format!(
                "there is no way back from what was done, and it is left as it is: {why}"
            ));
            return Status::LeftChanged;
        }
    };
    // What is on loan as it was before, because it could not be set, is only to be forgotten.
    let is_nothing = |operation: &Operation| matches!(&operation.action, Action::GiveBack { before, after, .. } if before == after);
    if back.operations.iter().all(is_nothing) {
        // What never came to be is struck from the record.
        if let Err(failure) = session.kernel.execute(&back) {
            output::error(&told(&failure, &back));
        }
        if done == 0 {
            return Status::Failed;
        }
        output::remark("Nothing is left changed.\n");
        return Status::RolledBack;
    }
    let colour = output::colour_of_stderr();
    if options.no_rollback {
        let text = render::plan::plan(&back, &View::full(colour));
        output::remark(&format!(
            "Left as it is (--no-rollback). To undo it by hand:\n{text}"
        ));
        return Status::LeftChanged;
    }
    for attempt in 1..=ATTEMPTS {
        let failed = session.kernel.execute(&back).err();
        let left = way_back(session, before);
        if left.as_ref().is_ok_and(|left| left.operations.is_empty()) {
            output::remark("Everything that had been done is undone.\n");
            return Status::RolledBack;
        }
        if attempt == ATTEMPTS {
            if let Some(failure) = &failed {
                output::error(&told(failure, &back));
            }
            output::error(&match left {
                Ok(left) => format!(
                    "undoing it failed too. To get back to what was before:\n{}",
                    render::plan::plan(&left, &View::full(colour))
                ),
                Err(why) => format!("undoing it failed too: {why}"),
            });
            return Status::LeftChanged;
        }
        thread::sleep(PAUSE * attempt);
        if let Ok(left) = way_back(session, before) {
            back = left;
        }
    }
    Status::LeftChanged
}

/// The plan to what was before, or why there is none.
fn way_back(session: &mut Session, before: &State) -> Result<Plan, String> {
    // A link that was made and that the kernel refused to tag is known by what was wanted.
    let mut known = before.clone();
    for (id, entry) in &session.desired.entries {
        if let Resource::Link(_) = entry.resource {
            known.entries.entry(id.clone()).or_insert(entry.clone());
        }
    }
    let now = session.kernel.observe(&session.topology, &known);
    let now = now.map_err(|error| error.to_string())?;
    plan::plan(&session.topology, before, &now).map_err(|conflicts| {
        let what = named(&conflicts, &session.topology);
        format!("somebody else has made {what} meanwhile")
    })
}

/// What stands in the way, by name.
pub(super) fn named(conflicts: &[Conflict], topology: &TopologyName) -> String {
    let conflicts = conflicts.iter();
    let what = conflicts.map(|conflict| phrase::located(&conflict.id, topology));
    what.collect::<Vec<String>>().join(", ")
}

/// What there is to go back to if a plan fails: what the topology owns, the settings of that, and what it
/// has on loan, each as it is now.
pub(super) fn before(session: &mut Session) -> Result<State, kernel::Error> {
    let topology = &session.topology;
    let mut owned = State {
        external: session.observed.external.clone(),
        ..State::new()
    };
    // A plan that takes something away doesn't name its settings, so they may not have been read.
    let mut unread: Vec<Id> = Vec::new();
    let mut add_settings_of = |id: &Id| {
        let of_it = settings(&id.key).into_iter();
        let of_it = of_it.map(|key| Id::new(id.ns.clone(), Key::Sysctl(key)));
        unread.extend(of_it.filter(|setting| session.observed.get(setting).is_none()));
    };
    for (id, entry) in &session.observed.entries {
        if !entry.owner.is(topology) {
            continue;
        }
        let mut entry = entry.clone();
        if let Resource::Rule(rule) = &mut entry.resource {
            rule.surplus.clear();
        }
        owned.entries.insert(id.clone(), entry);
        add_settings_of(id);
    }
    // What is taken over is to be somebody else's again, and its settings are to be what they are.
    let owner = || Owner::Topology(topology.clone());
    for operation in &session.plan.operations {
        let Some(entry) = session.observed.get(&operation.id) else {
            continue;
        };
        if operation.transfer == Some(Transfer::Adopt) {
            owned.entries.insert(operation.id.clone(), entry.clone());
            add_settings_of(&operation.id);
            for key in settings(&operation.id.key) {
                let setting = Id::new(operation.id.ns.clone(), Key::Sysctl(key));
                if let Some(read) = session.observed.get(&setting) {
                    owned.insert(setting, read.resource.clone(), owner());
                }
            }
        } else if let Action::Update {
            before: Resource::Sysctl(_),
            ..
        } = operation.action
        {
            owned
                .entries
                .entry(operation.id.clone())
                .or_insert_with(|| entry.clone());
        }
    }
    let on_loan = session.observed.loans.iter();
    for (id, loan) in on_loan.filter(|(_, loan)| loan.by.contains_key(topology)) {
        owned.loans.insert(id.clone(), loan.clone());
        match session.observed.get(id) {
            Some(read) => owned.insert(id.clone(), read.resource.clone(), owner()),
            None => unread.push(id.clone()),
        }
    }
    for (id, value) in session.kernel.settings(unread)? {
        owned.insert(id, Resource::Sysctl(value), owner());
    }
    Ok(owned)
}

/// The settings of a thing that the language can lead to.
fn settings(key: &Key) -> Vec<SysctlKey> {
    match key {
        Key::Namespace => Family::BOTH.map(SysctlKey::forwarding).into(),
        Key::Link(link) if link.as_str() != "lo" => [
            (Family::Ipv4, "forwarding"),
            (Family::Ipv4, ROUTE_LOCALNET),
            (Family::Ipv6, FORCED),
            (Family::Ipv6, "accept_ra"),
            (Family::Ipv6, "accept_redirects"),
        ]
        .map(|(family, name)| SysctlKey::conf(family, link.clone(), name))
        .into(),
        _ => Vec::new(),
    }
}
