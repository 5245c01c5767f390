//! `netform completions`.

use clap_complete::Shell;

use super::{Status, output};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::command(),
        "netform",
        &mut script,
    );
    output::result(&String::from_utf8_lossy(&script))
}
