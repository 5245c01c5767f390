//! `netform validate`.

use super::source::Files;
use super::{Status, output, session};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    match session::parse(&arguments.files) {
        Ok(spec) => output::result(&format!("{} is valid.\n", spec.name.value)),
        Err(status) => status,
    }
}
