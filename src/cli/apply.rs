//! `netform apply`, and what `destroy` has in common with it.

use super::progress::Progress;
use super::session::{self, Access, Session};
use super::source::Files;
use super::{Status, output};
use crate::kernel::{self, Failure};
use crate::plan::{self, Action, Plan, Reason};
use crate::render::{self, phrase};
use crate::resource::sysctl::{FORCED, ROUTE_LOCALNET, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Resource};
use crate::state::{Owner, State};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    options: Options,
}

/// What `apply` and `destroy` both take.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// Don't ask before something is removed or replaced
    #[arg(short = 'y', long)]
    pub(super) yes: bool,

    /// Leave what is done when something fails, for debugging
    #[arg(long)]
    pub(super) no_rollback: bool,
}

/// Which of the two this is, in what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Apply,
    Destroy,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Apply => "apply",
            Verb::Destroy => "destroy",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Status {
    match Session::of_spec(&arguments.files, Access::Change) {
        Ok(session) => carry_out(session, &arguments.options, Verb::Apply),
        Err(status) => status,
    }
}

/// Shows a plan, asks if it must, does it, and looks whether it came out as asked.
pub(super) fn carry_out(mut session: Session, options: &Options, verb: Verb) -> Status {
    output::result(&render::plan::plan(
        &session.plan,
        output::colour_of_stdout(),
    ));
    if session.plan.operations.is_empty() {
        return if session.observed.lost.is_some() {
            note_again(session)
        } else {
            Status::Done
        };
    }
    if (verb == Verb::Destroy || takes_something_away(&session.plan)) && !options.yes {
        match output::confirmed("\nGo on?") {
            Some(true) => {}
            Some(false) => {
                output::remark("Nothing was changed.\n");
                return Status::Failed;
            }
            None => {
                output::error(&format!(
                    "the plan removes or replaces something, and there is no terminal to ask on: \
                     nothing was changed\n  read the plan, then run `netform {}` again with `--yes`",
                    verb.name()
                ));
                return Status::Failed;
            }
        }
    }
    let before = match before(&mut session) {
        Ok(before) => before,
        Err(error) => return session::failed(&error),
    };
    let plan = session.plan.clone();
    let mut progress = Progress::of(&plan, verb);
    let executed = session
        .kernel
        .execute_telling(&plan, &mut |done| progress.tell(done));
    drop(progress);
    if let Err(failure) = executed {
        tell(&failure, &plan);
        // Also of the operations that were sent with the first that failed, some may be done.
        return undo(session, &before, options, failure.done);
    }
    match session.kernel.observe(&session.topology, &session.desired) {
        Ok(now) => match plan::plan(&session.topology, &session.desired, &now) {
            Ok(rest) if rest.operations.is_empty() => {
                output::result(&done(&plan, verb));
                Status::Done
            }
            Ok(rest) => {
                let mut left = rest.operations.iter();
                let why = if left.all(|operation| matches!(operation.id.key, Key::Sysctl(_))) {
                    "the kernel took every value, but gives others back: write them as it does, or somebody \
                     else is changing them"
                } else {
                    "the kernel took every operation, but the host is not as the spec says: either somebody \
                     else is changing it, or this is an error of netform"
                };
                let rest = render::plan::plan(&rest, output::colour_of_stderr());
                output::error(&format!("{why}. What differs:\n{rest}"));
                undo(session, &before, options, plan.operations.len())
            }
            Err(conflicts) => {
                let what: Vec<String> = conflicts
                    .iter()
                    .map(|conflict| phrase::located(&conflict.id, &session.topology))
                    .collect();
                output::error(&format!(
                    "somebody else changed the host meanwhile: {}",
                    what.join(", ")
                ));
                undo(session, &before, options, plan.operations.len())
            }
        },
        Err(error) => {
            session::failed(&error);
            undo(session, &before, options, plan.operations.len())
        }
    }
}

/// Writes a lost record anew, as far as what is here tells what it should say.
fn note_again(mut session: Session) -> Status {
    match session.kernel.execute(&session.plan) {
        Ok(()) => Status::Done,
        Err(failure) => session::failed(&failure.error),
    }
}

/// The last line of a success.
fn done(plan: &Plan, verb: Verb) -> String {
    let render::plan::Count {
        add,
        change,
        remove,
        replace,
    } = render::plan::count(plan);
    let replaced = if replace == 0 {
        String::new()
    } else {
        format!(", {replace} replaced")
    };
    let word = match verb {
        Verb::Apply => "Applied",
        Verb::Destroy => "Destroyed",
    };
    format!("\n{word}: {add} added, {change} changed, {remove} removed{replaced}.\n")
}

/// Whether somebody should say yes first.
fn takes_something_away(plan: &Plan) -> bool {
    plan.operations.iter().any(|operation| {
        matches!(operation.action, Action::Remove(_))
            || matches!(operation.reason, Some(Reason::Replaced(_)))
    }) || plan.warnings.iter().any(|warning| {
        matches!(
            warning,
            plan::Warning::Collateral { .. } | plan::Warning::OutOfReach { .. }
        )
    })
}

/// Says which operation failed, and how.
fn tell(failure: &Failure, plan: &Plan) {
    let what = match failure.operation.and_then(|at| plan.operations.get(at)) {
        Some(operation) => {
            let verb = match operation.action {
                Action::Borrow { .. } | Action::Create(Resource::Sysctl(_)) => "set",
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
        None => "failed".to_owned(),
    };
    output::error(&format!("{what}: {}", failure.error));
}

/// Plans back to what was before, and does it. So many operations are known to be done.
fn undo(mut session: Session, before: &State, options: &Options, done: usize) -> Status {
    let rest = |session: &mut Session| {
        let now = session.kernel.observe(&session.topology, before).ok()?;
        plan::plan(&session.topology, before, &now).ok()
    };
    let Some(back) = rest(&mut session) else {
        output::error("what was done could not be read back, and is left as it is");
        return Status::LeftChanged;
    };
    if back.operations.is_empty() && done == 0 {
        return Status::Failed;
    }
    if back.operations.is_empty() {
        output::remark("Nothing is left changed.\n");
        return Status::RolledBack;
    }
    let colour = output::colour_of_stderr();
    if options.no_rollback {
        let text = render::plan::plan(&back, colour);
        output::remark(&format!(
            "Left as it is (--no-rollback). To undo it by hand:\n{text}"
        ));
        return Status::LeftChanged;
    }
    let failed = session.kernel.execute(&back).err();
    if let Some(failure) = &failed {
        tell(failure, &back);
    }
    match rest(&mut session) {
        Some(left) if left.operations.is_empty() => {
            output::remark("Everything that had been done is undone.\n");
            Status::RolledBack
        }
        Some(left) => {
            let text = render::plan::plan(&left, colour);
            output::error(&format!(
                "undoing it failed too. To get back to what was before:\n{text}"
            ));
            Status::LeftChanged
        }
        None => {
            output::error("undoing it failed too, and the host can't be read");
            Status::LeftChanged
        }
    }
}

/// What there is to go back to if a plan fails: what the topology owns, the settings of that, and what it
/// has on loan, each as it is now.
fn before(session: &mut Session) -> Result<State, kernel::Error> {
    let topology = &session.topology;
    let mut owned = State {
        external: session.observed.external.clone(),
        ..State::new()
    };
    for (id, entry) in &session.observed.entries {
        if !entry.owner.is(topology) {
            continue;
        }
        owned.entries.insert(id.clone(), entry.clone());
        // A plan that takes one away doesn't name its settings, so they may not have been read.
        for key in settings(&id.key) {
            let setting = Id::new(id.ns.clone(), Key::Sysctl(key));
            owned.insert(
                setting,
                Resource::Sysctl(Sysctl::off()),
                entry.owner.clone(),
            );
        }
    }
    let on_loan = session.observed.loans.iter();
    for (id, loan) in on_loan.filter(|(_, loan)| loan.by.contains_key(topology)) {
        let off = Resource::Sysctl(Sysctl::off());
        owned.insert(id.clone(), off, Owner::Topology(topology.clone()));
        owned.loans.insert(id.clone(), loan.clone());
    }
    let now = session.kernel.observe(topology, &owned)?;
    owned.entries.retain(|id, entry| {
        let Key::Sysctl(_) = id.key else { return true };
        // One that can't be read is not there: IPv6 on a link with a small MTU.
        now.get(id)
            .map(|found| entry.resource = found.resource.clone())
            .is_some()
    });
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
