//! `netform destroy`.

use std::path::PathBuf;

use super::apply::{self, Options};
use super::session::{self, Session};
use super::source::Files;
use super::{Status, output};
use crate::resource::name::TopologyName;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(false))]
pub(super) struct Arguments {
    /// The topology's name
    #[arg(group = "which", value_name = "NAME")]
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
    let topology = match &arguments.name {
        Some(name) => name.clone(),
        None => match session::parse(&Files {
            files: arguments.file.clone(),
        }) {
            Ok(spec) => spec.name.value,
            Err(status) => return status,
        },
    };
    match Session::of_nothing(topology) {
        Ok(mut session) if session.plan.operations.is_empty() => {
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
        Ok(session) => apply::carry_out(session, &arguments.options, apply::Verb::Destroy),
        Err(status) => status,
    }
}
