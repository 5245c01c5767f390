//! `netform apply`, and what `destroy` has in common with it.

use std::time::Duration;

use super::progress::Progress;
use super::session::{self, Access, Session, Takeover};
use super::source::Files;
use super::undo::{before, tell, undo};
use super::{Status, destroy, duration, output, prune, signals};
use crate::plan::{self, Action, Plan, Reason};
use crate::render::{self, phrase};
use crate::resource::Key;
use crate::state::State;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    takeover: Takeover,

    /// Remove the topologies of this host that the directory of -f doesn't have, once all others are applied
    #[arg(long)]
    prune: bool,

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

    /// Wait this long for another netform to end: `30`, `45s`, `2m`
    #[arg(long, value_name = "SECONDS", default_value = "10s", value_parser = duration::parse)]
    lock_timeout: Duration,
}

impl Options {
    /// To change the host, when another netform doesn't.
    pub(super) fn access(&self) -> Access {
        Access::Change(self.lock_timeout)
    }
}

/// Which of the two this is, in what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Apply,
    Destroy,
    Prune,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Apply => "apply",
            Verb::Destroy => "destroy",
            Verb::Prune => "apply --prune",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Status {
    all(arguments).unwrap_or_else(|status| status)
}

/// Applies one topology after the other, also after one that failed. The worst status is that of all.
fn all(arguments: &Arguments) -> Result<Status, Status> {
    let directory = arguments
        .prune
        .then(|| prune::directory(&arguments.files))
        .transpose()?;
    let given = session::parse(&arguments.files)?;
    arguments.takeover.fits(&given)?;
    let mut worst = Status::Done;
    for (place, one) in given.iter().enumerate() {
        if place > 0 {
            output::result("\n");
        }
        let status = match Session::of_spec(one, &arguments.takeover, arguments.options.access()) {
            Ok(session) => carry_out(session, &arguments.options, Verb::Apply),
            Err(status) => status,
        };
        if status != Status::Done && given.len() > 1 {
            output::error(&format!("topology {} is not applied", one.spec.name.value));
        }
        worst = worst.worse(status);
        if let (Some(signal), Some(next)) = (signals::asked(), given.get(place + 1)) {
            output::error(&format!(
                "stopped by {signal}: topology {} and what comes after it are as they were",
                next.spec.name.value
            ));
            return Ok(worst.worse(Status::Failed));
        }
    }
    let Some(directory) = directory else {
        return Ok(worst);
    };
    let superfluous = prune::superfluous(&given)?;
    if worst != Status::Done && !superfluous.is_empty() {
        output::error("nothing is pruned, because not all of the directory is applied");
        return Ok(worst);
    }
    for topology in superfluous {
        if let Some(signal) = signals::asked() {
            output::error(&format!("stopped by {signal}: {topology} is not pruned"));
            return Ok(worst.worse(Status::Failed));
        }
        let session = prune::without(topology, directory, arguments.options.access());
        worst = worst.worse(match session {
            Ok(session) => destroy::carry_out(session, &arguments.options, Verb::Prune),
            Err(status) => status,
        });
    }
    Ok(worst)
}

/// Shows a plan, asks if it must, does it, and looks whether it came out as asked.
pub(super) fn carry_out(mut session: Session, options: &Options, verb: Verb) -> Status {
    show(&session);
    if session.plan.operations.is_empty() {
        return match rename(&mut session) {
            Err(status) => status,
            Ok(()) if session.observed.lost.is_some() => note_again(session),
            Ok(()) => Status::Done,
        };
    }
    if (verb != Verb::Apply || takes_something_away(&session.plan)) && !options.yes {
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
    // From here on nothing ends this but its end.
    let _guard = signals::Guard::new();
    let renamed = session.renamed.clone();
    let (old, new) = (renamed, session.topology.clone());
    if let Err(status) = rename(&mut session) {
        return status;
    }
    let (status, session) = execute(session, &before, options, verb);
    match (status, old, session) {
        // The name goes back with the rest.
        (Status::RolledBack | Status::Failed, Some(old), Some(mut session)) => {
            match session.kernel.rename(&new, &old) {
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
        (status, ..) => status,
    }
}

/// Prints what is going to be done.
pub(super) fn show(session: &Session) -> Status {
    let colour = output::colour_of_stdout();
    if let Some(old) = &session.renamed {
        output::result(&render::renaming::text(
            old,
            &session.topology,
            &session.observed,
        ));
    }
    output::result(&render::plan::plan(&session.plan, colour))
}

/// Gives the topology its new name, if it is to have one, and plans again what is to be done to it then: after a
/// renaming that was cut off, that may be more than could be seen before.
fn rename(session: &mut Session) -> Result<(), Status> {
    let Some(old) = session.renamed.take() else {
        return Ok(());
    };
    let new = session.topology.clone();
    if let Err(error) = session.kernel.rename(&old, &new) {
        session::failed(&error);
        let back = session.kernel.rename(&new, &old);
        return Err(match back {
            Ok(()) => Status::RolledBack,
            Err(error) => {
                session::failed(&error);
                output::error(&format!(
                    "topology {old} is renamed in part: run the same again to finish it"
                ));
                Status::LeftChanged
            }
        });
    }
    session
        .observe_again()
        .map_err(|_| match session.kernel.rename(&new, &old) {
            Ok(()) => Status::RolledBack,
            Err(error) => {
                session::failed(&error);
                Status::LeftChanged
            }
        })
}

/// Does a plan, and looks whether it came out as asked.
fn execute(
    mut session: Session,
    before: &State,
    options: &Options,
    verb: Verb,
) -> (Status, Option<Session>) {
    let plan = session.plan.clone();
    let mut progress = Progress::of(&plan, verb);
    let executed = session
        .kernel
        .execute_telling(&plan, &mut |done| progress.tell(done), &|| {
            signals::asked().is_some()
        });
    drop(progress);
    if let Err(failure) = executed {
        tell(&failure, &plan);
        // Also of the operations that were sent with the first that failed, some may be done.
        return undo(session, before, options, failure.done);
    }
    match session.kernel.observe(&session.topology, &session.desired) {
        Ok(now) => match plan::plan(&session.topology, &session.desired, &now) {
            Ok(rest) if rest.operations.is_empty() => {
                output::result(&done(&plan, verb));
                (Status::Done, None)
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
                undo(session, before, options, plan.operations.len())
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
                undo(session, before, options, plan.operations.len())
            }
        },
        Err(error) => {
            session::failed(&error);
            undo(session, before, options, plan.operations.len())
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
        adopt,
    } = render::plan::count(plan);
    let adopted = if adopt == 0 {
        String::new()
    } else {
        format!(", {adopt} adopted")
    };
    let replaced = if replace == 0 {
        String::new()
    } else {
        format!(", {replace} replaced")
    };
    let word = match verb {
        Verb::Apply => "Applied",
        Verb::Destroy | Verb::Prune => "Destroyed",
    };
    format!("\n{word}: {add} added, {change} changed, {remove} removed{replaced}{adopted}.\n")
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
