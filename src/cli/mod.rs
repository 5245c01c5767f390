//! The command line: one file a verb. Nothing else in the crate prints.

mod apply;
mod check;
mod completions;
mod confirm;
mod conflict;
mod destroy;
mod exec;
mod explain;
mod export;
mod from;
mod graph;
mod ground;
mod man;
mod output;
mod plan;
mod progress;
mod prune;
mod sandbox;
mod saved;
mod schema;
mod session;
mod show;
mod signals;
mod source;
mod undo;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// What a run ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done.
    Done,
    /// Failed, and nothing was changed.
    Failed,
    /// `plan --detailed-exitcode`: changes are pending.
    Pending,
    /// Failed, and everything is rolled back.
    RolledBack,
    /// Failed, and something is left changed.
    LeftChanged,
    /// The arguments are wrong.
    Usage,
    /// That of the command that `exec` or `sandbox` ran, or of its failure to run.
    Command(u8),
}

impl Status {
    /// The worse of two ends, of several things that were done one after the other.
    fn worse(self, other: Status) -> Status {
        if other.gravity() > self.gravity() {
            other
        } else {
            self
        }
    }

    /// Whether what was asked for was found out or done.
    fn is_success(self) -> bool {
        matches!(self, Status::Done | Status::Pending)
    }

    fn gravity(self) -> u8 {
        match self {
            Status::Done | Status::Command(_) => 0,
            Status::Pending => 1,
            Status::Usage => 2,
            Status::Failed => 3,
            Status::RolledBack => 4,
            Status::LeftChanged => 5,
        }
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        match status {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Pending => 2,
            Status::RolledBack => 3,
            Status::LeftChanged => 4,
            Status::Usage => 64,
            Status::Command(status) => status,
        }
    }
}

/// Declare network namespaces, and what joins them, in YAML: see what would change, then make it so.
#[derive(Debug, Parser)]
#[command(
    name = "netform",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(after_help = "\
Exit status: 0 done, 1 failed and nothing changed, 2 changes pending (plan --detailed-exitcode),
3 failed and rolled back, 4 failed and something left changed, 64 wrong usage. exec and sandbox:
that of the command; 125 they failed themselves, 126 the command can't be executed, 127 not found.")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print what apply would do, and change nothing
    Plan(plan::Arguments),
    /// Make this host as the spec says
    Apply(apply::Arguments),
    /// Remove all that a topology owns, and give back what it borrowed
    Destroy(destroy::Arguments),
    /// Keep what `apply --confirm` has done
    Confirm(confirm::Arguments),
    /// Take back what `apply --confirm` has done, now
    Revert(confirm::Arguments),
    /// List the topologies of this host, or what one of them owns
    Show(show::Arguments),
    /// Check a spec without the kernel
    Validate(validate::Arguments),
    /// Try the checks of a spec: what must be reached from where, and what must not
    Check(check::Arguments),
    /// Print a spec of what exists, whoever made it
    Export(export::Arguments),
    /// Draw topologies: as Mermaid, DOT, SVG or a page
    Graph(graph::Arguments),
    /// Run a command in a namespace, with the namespace's files of /etc
    Exec(exec::Arguments),
    /// Run a command on a private host with a small internet behind it; no root needed
    Sandbox(sandbox::Arguments),
    /// Print the JSON Schema of the spec, or of what is printed as JSON
    Schema(schema::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
    /// Print a man page
    Man(man::Arguments),
}

/// Parses the arguments, runs the verb, and turns its end into an exit status.
///
/// Nothing here starts a thread before the verb runs: a sandbox can only be entered without any.
pub fn main() -> ExitCode {
    if let Some(status) = completions::answered() {
        return ExitCode::from(u8::from(status));
    }
    let status = match Arguments::try_parse() {
        Ok(arguments) => run(arguments.verb),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() {
                Status::Usage
            } else {
                Status::Done
            }
        }
    };
    ExitCode::from(u8::from(status))
}

fn run(verb: Verb) -> Status {
    match verb {
        Verb::Plan(arguments) => plan::run(&arguments),
        Verb::Apply(arguments) => apply::run(&arguments),
        Verb::Destroy(arguments) => destroy::run(&arguments),
        Verb::Confirm(arguments) => confirm::run(&arguments, confirm::Answer::Confirm),
        Verb::Revert(arguments) => confirm::run(&arguments, confirm::Answer::Revert),
        Verb::Show(arguments) => show::run(&arguments),
        Verb::Validate(arguments) => validate::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
        Verb::Graph(arguments) => graph::run(&arguments),
        Verb::Exec(arguments) => exec::run(&arguments),
        Verb::Sandbox(arguments) => sandbox::run(&arguments),
        Verb::Schema(arguments) => schema::run(&arguments),
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::Man(arguments) => man::run(&arguments),
    }
}

/// The command as clap knows it, for what is generated from it.
pub fn command() -> clap::Command {
    Arguments::command()
}
