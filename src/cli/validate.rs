//! `netform validate`.

use super::source::Files;
use super::{Status, output, session};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let given = match session::parse(&arguments.files) {
        Ok(given) => given,
        Err(status) => return status,
    };
    let lines = given
        .iter()
        .map(|one| format!("{} is valid.\n", one.spec.name.value));
    output::result(&lines.collect::<String>())
}
