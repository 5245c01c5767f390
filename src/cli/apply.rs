//! `netform apply`, and what `destroy` has in common with it.

use super::progress::Progress;
use super::session::{self, Access, Session};
use super::source::Files;
use super::{Status, output};
use crate::kernel::Failure;
use crate::plan::{self, Action, Plan, Reason};
use crate::render::{self, phrase};
use crate::resource::Resource;
use crate::state::State;

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
        return Status::Done;
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
                     nothing was changed\n  read the plan, then run `netform {} --yes`",
                    verb.name()
                ));
                return Status::Failed;
            }
        }
    }
    let plan = session.plan.clone();
    let mut progress = Progress::of(&plan, verb);
    let executed = session
        .kernel
        .execute_telling(&plan, &mut |done| progress.tell(done));
    drop(progress);
    if let Err(failure) = executed {
        tell(&failure, &plan);
        return if failure.done == 0 {
            Status::Failed
        } else {
            undo(session, options)
        };
    }
    match session.kernel.observe(&session.topology, &session.desired) {
        Ok(now) => match plan::plan(&session.topology, &session.desired, &now) {
            Ok(rest) if rest.operations.is_empty() => {
                output::result(&done(&plan, verb));
                Status::Done
            }
            Ok(rest) => {
                let rest = render::plan::plan(&rest, output::colour_of_stderr());
                output::error(&format!(
                    "the kernel took every operation, but the host is not as the spec says: either \
                     somebody else is changing it, or this is an error of netform. What differs:\n{rest}"
                ));
                undo(session, options)
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
                undo(session, options)
            }
        },
        Err(error) => {
            session::failed(&error);
            undo(session, options)
        }
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
    }) || plan
        .warnings
        .iter()
        .any(|warning| matches!(warning, plan::Warning::Collateral { .. }))
}

/// Says which operation failed, and how.
fn tell(failure: &Failure, plan: &Plan) {
    let what = match failure.operation.and_then(|at| plan.operations.get(at)) {
        Some(operation) => {
            let verb = match operation.action {
                Action::Create(Resource::Sysctl(_)) => "set",
                Action::Create(_) => "create",
                Action::Update { .. } => "change",
                Action::Remove(_) => "remove",
                Action::Borrow { .. } => "set",
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

/// Plans back to what was before, and does it.
fn undo(mut session: Session, options: &Options) -> Status {
    let before = owned(&session);
    let rest = |session: &mut Session| {
        let now = session.kernel.observe(&session.topology, &before).ok()?;
        plan::plan(&session.topology, &before, &now).ok()
    };
    let Some(back) = rest(&mut session) else {
        output::error("what was done could not be read back, and is left as it is");
        return Status::LeftChanged;
    };
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

/// What the topology owned before, and had on loan.
fn owned(session: &Session) -> State {
    let lent = |id| {
        let loan = session.observed.loans.get(id);
        loan.is_some_and(|loan| loan.by.contains_key(&session.topology))
    };
    let entries = session
        .observed
        .entries
        .iter()
        .filter(|(id, entry)| entry.owner.is(&session.topology) || lent(id))
        .map(|(id, entry)| (id.clone(), entry.clone()))
        .collect();
    State {
        entries,
        loans: std::collections::BTreeMap::default(),
    }
}
