//! `netform plan`.

use super::session::{Access, Session, Takeover};
use super::source::Files;
use super::{Status, output};
use crate::render;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    takeover: Takeover,

    /// Exit with 2 when changes are pending
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let session = match Session::of_spec(&arguments.files, &arguments.takeover, Access::Read) {
        Ok(session) => session,
        Err(status) => return status,
    };
    let printed = output::result(&render::plan::plan(
        &session.plan,
        output::colour_of_stdout(),
    ));
    let pending = arguments.detailed_exitcode && !session.plan.operations.is_empty();
    if printed == Status::Done && pending {
        Status::Pending
    } else {
        printed
    }
}
