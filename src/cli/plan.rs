//! `netform plan`.

use super::session::{Access, Session, Takeover};
use super::source::Files;
use super::{Status, apply};

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
    let printed = apply::show(&session);
    let changes = !session.plan.operations.is_empty() || session.renamed.is_some();
    let pending = arguments.detailed_exitcode && changes;
    if printed == Status::Done && pending {
        Status::Pending
    } else {
        printed
    }
}
