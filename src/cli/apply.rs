//! `netform apply`, and what `destroy` has in common with it.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::check::Trial;
use super::confirm::{self, Waiter};
use super::progress::Progress;
use super::session::{self, Access, Session, Takeover};
use super::source::Files;
use super::undo::{ATTEMPTS, PAUSE, before, name_back, named, told, undo};
use super::{Status, check, destroy, output, prune, saved, signals};
use crate::duration;
use crate::plan::{self, Action, Plan, Reason};
use crate::render;
use crate::render::plan::View;
use crate::resource::Key;
use crate::state::State;

#[derive(Debug, clap::Args)]
#[command(mut_arg("files", |files| files.required(false).required_unless_present("plan")))]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Do what `plan --out` saved, if it still is what would be done; with -f also only if the spec is the same
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["adopt", "adopt_from", "prune"])]
    plan: Option<PathBuf>,

    #[command(flatten)]
    takeover: Takeover,

    /// Remove the topologies of this host that the directory of -f doesn't have, once all others are applied
    #[arg(long, conflicts_with = "confirm")]
    prune: bool,

    /// Try the checks of the spec afterwards, and take everything back if one isn't as expected
    #[arg(long)]
    check: bool,

    /// Say of each check that isn't as expected where its packets get and what stops them, before everything is taken back
    #[arg(long, requires = "check")]
    explain: bool,

    #[command(flatten)]
    options: Options,
}

impl Arguments {
    /// What is tried afterwards.
    fn trial(&self) -> Trial {
        match (self.check, self.explain) {
            (false, _) => Trial::None,
            (true, false) => Trial::Checks,
            (true, true) => Trial::Explained,
        }
    }
}

/// What `apply` and `destroy` both take.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// Don't ask before something is removed or replaced
    #[arg(short = 'y', long)]
    pub(super) yes: bool,

    /// Show each change, also where many are alike
    #[arg(long)]
    full: bool,

    /// Leave what is done when something fails, for debugging
    #[arg(long)]
    pub(super) no_rollback: bool,

    /// Take everything back unless `netform confirm` comes within this time (60s, 5m), whatever becomes of this terminal
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "no_rollback")]
    pub(super) confirm: Option<Duration>,

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
    if let Some(path) = &arguments.plan {
        let saved = saved::read(path, &arguments.files)?;
        let mut session = saved::session(path, &saved, arguments.options.access())?;
        check::keep(&mut session, arguments.trial());
        return Ok(carry_out(session, &arguments.options, Verb::Apply));
    }
    let directory = arguments
        .prune
        .then(|| prune::directory(&arguments.files))
        .transpose()?;
    let given = session::parse(&arguments.files)?;
    arguments.takeover.fits(&given)?;
    confirm::fits(&arguments.options, given.len())?;
    let mut worst = Status::Done;
    for (place, one) in given.iter().enumerate() {
        if place > 0 {
            output::result("\n");
        }
        let status = match Session::of_spec(one, &arguments.takeover, arguments.options.access()) {
            Ok(mut session) => {
                check::keep(&mut session, arguments.trial());
                carry_out(session, &arguments.options, Verb::Apply)
            }
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
        let told = prune::announcement(&topology, directory);
        output::result(&format!("\n{told}"));
        let session = Session::of_nothing(topology, arguments.options.access());
        worst = worst.worse(match session {
            Ok(session) => destroy::carry_out(session, &arguments.options, Verb::Prune),
            Err(status) => status,
        });
    }
    Ok(worst)
}

/// Shows a plan, asks if it must, does it, and looks whether it came out as asked.
pub(super) fn carry_out(mut session: Session, options: &Options, verb: Verb) -> Status {
    if let Err(status) = confirm::stands_in_the_way(&session) {
        return status;
    }
    show(&session, options);
    if session.plan.operations.is_empty() {
        let old = session.renamed.clone();
        if let Err(status) = rename(&mut session) {
            return status;
        }
        let status = check::after(&session);
        let status = name_back(&mut session, status, old.as_ref());
        return match session.observed.lost {
            Some(_) => note_again(session).worse(status),
            None => status,
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
    let waiter = match options.confirm {
        Some(time) => match Waiter::start(&mut session, &before, options, time) {
            Ok(waiter) => Some(waiter),
            Err(status) => return status,
        },
        None => None,
    };
    let old = session.renamed.clone();
    let status = match rename(&mut session) {
        Ok(()) => {
            let status = match execute(&mut session, &before, options, verb) {
                Status::Done => checked(&mut session, &before, options),
                status => status,
            };
            name_back(&mut session, status, old.as_ref())
        }
        Err(status) => status,
    };
    match waiter {
        Some(waiter) if status == Status::Done => waiter.wait(session),
        waiter => {
            // While signals wait: it lets go of the lock.
            drop(session);
            if let Some(waiter) = waiter {
                waiter.dismiss();
            }
            status
        }
    }
}

/// Prints what is going to be done.
pub(super) fn show(session: &Session, options: &Options) -> Status {
    let colour = output::colour_of_stdout();
    if let Some(old) = &session.renamed {
        output::page(&render::renaming::text(
            old,
            &session.topology,
            &session.observed,
        ));
    }
    let view = View {
        full: options.full,
        ..View::full(colour)
    };
    output::page(&render::plan::plan(&session.plan, &view))
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

/// Why a plan didn't come to what was asked.
struct Trouble {
    /// In words, with what to do.
    text: String,
    /// Whether it is worth planning again, because somebody else may have changed the host meanwhile.
    passing: bool,
    /// How many operations are done for sure.
    done: usize,
}

/// Does a plan, and looks whether it came out as asked. Where somebody else changes the host meanwhile, it is planned
/// again, but never for more to go than was agreed to.
fn execute(session: &mut Session, before: &State, options: &Options, verb: Verb) -> Status {
    let success = done(&session.plan, verb);
    let agreed = options.yes || verb != Verb::Apply || takes_something_away(&session.plan);
    let mut all_done = 0;
    let mut last = None;
    let mut attempt = 1;
    loop {
        let Err(trouble) = attempt_once(session, verb) else {
            if attempt > 1 {
                output::remark(
                    "Somebody else was changing the host, so it was planned again on the way.\n",
                );
            }
            output::result(&success);
            return Status::Done;
        };
        all_done += trouble.done;
        if trouble.passing && attempt < ATTEMPTS {
            thread::sleep(PAUSE * attempt);
            let tried = session.plan.clone();
            let planned = session.plan_again();
            // What fails in the same way from the same place has another reason.
            let same = planned && session.plan == tried && last.as_ref() == Some(&trouble.text);
            if planned && !same && (agreed || !takes_something_away(&session.plan)) {
                last = Some(trouble.text);
                attempt += 1;
                continue;
            }
        }
        output::error(&trouble.text);
        return undo(session, before, options, all_done);
    }
}

/// Tries the checks of a topology that is applied, and goes back if one of them isn't as expected.
fn checked(session: &mut Session, before: &State, options: &Options) -> Status {
    if check::after(session) == Status::Done {
        return Status::Done;
    }
    let done = session.plan.operations.len();
    undo(session, before, options, done)
}

/// Does a plan once.
fn attempt_once(session: &mut Session, verb: Verb) -> Result<(), Trouble> {
    let Session {
        kernel,
        topology,
        desired,
        plan,
        ..
    } = session;
    let mut progress = Progress::of(plan, verb);
    let executed = kernel.execute_telling(plan, &mut |done| progress.tell(done), &|| {
        signals::asked().is_some()
    });
    drop(progress);
    executed.map_err(|failure| Trouble {
        text: told(&failure, plan),
        passing: failure.error.is_passing(),
        // Also of the operations that were sent with the first that failed, some may be done.
        done: failure.done,
    })?;
    let trouble = |text, passing| Trouble {
        text,
        passing,
        done: plan.operations.len(),
    };
    let now = kernel
        .observe_after(plan, topology, desired)
        .map_err(|error| trouble(error.to_string(), error.is_passing()))?;
    let rest = plan::plan(topology, desired, &now).map_err(|conflicts| {
        let what = named(&conflicts, topology);
        let text = format!("somebody else changed the host meanwhile: {what}");
        trouble(text, false)
    })?;
    if rest.operations.is_empty() {
        return Ok(());
    }
    let settings = |operation: &plan::Operation| matches!(operation.id.key, Key::Sysctl(_));
    let only_settings = rest.operations.iter().all(settings);
    let why = if only_settings {
        "the kernel took every value, but gives others back: write them as it does, or somebody else is changing \
         them"
    } else {
        "the kernel took every operation, but the host is not as the spec says: either somebody else is changing \
         it, or this is an error of netform"
    };
    let rest = render::plan::plan(&rest, &View::full(output::colour_of_stderr()));
    let text = format!("{why}. What differs:\n{rest}");
    Err(trouble(text, !only_settings))
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
    let render::changes::Count {
        add,
        change,
        remove,
        replace,
        adopt,
    } = render::changes::count(plan);
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
