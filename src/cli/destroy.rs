//! `netform destroy`.

use std::path::PathBuf;

use super::apply::{self, Options};
use super::session::{self, Session};
use super::source::Files;
use super::{Status, completions, confirm, output, signals};
use crate::resource::name::TopologyName;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(false))]
pub(super) struct Arguments {
    /// The topology's name
    #[arg(group = "which", value_name = "NAME", add = completions::topologies())]
    name: Option<TopologyName>,

    /// A spec of it, of which only the name counts
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        group = "which",
        num_args = 1
    )]
    file: Vec<PathBuf>,

    #[command(flatten)]
    options: Options,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let topologies = match &arguments.name {
        Some(name) => vec![name.clone()],
        None => match session::parse(&Files {
            files: arguments.file.clone(),
        }) {
            // What came last may stand on what came first.
            Ok(given) => given
                .into_iter()
                .rev()
                .map(|one| one.spec.name.value)
                .collect(),
            Err(status) => return status,
        },
    };
    if let Err(status) = confirm::fits(&arguments.options, topologies.len()) {
        return status;
    }
    let mut worst = Status::Done;
    for topology in topologies {
        if let Some(signal) = signals::asked() {
            output::error(&format!("stopped by {signal}: {topology} is as it was"));
            return worst.worse(Status::Failed);
        }
        worst = worst.worse(
            match Session::of_nothing(topology, arguments.options.access()) {
                Ok(session) => carry_out(session, &arguments.options, apply::Verb::Destroy),
                Err(status) => status,
            },
        );
    }
    worst
}

/// Removes what a topology has, if it has anything.
pub(super) fn carry_out(mut session: Session, options: &Options, verb: apply::Verb) -> Status {
    if !session.plan.operations.is_empty() {
        return apply::carry_out(session, options, verb);
    }
    // The record of what a crash, or somebody else, has taken away is all that may be left.
    if let Err(failure) = session.kernel.execute(&session.plan) {
        return session::failed(&failure.error);
    }
    output::result(&format!(
        "No changes. There is nothing of {} here.\n",
        session.topology
    ));
    Status::Done
}
