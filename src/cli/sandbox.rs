//! `netform sandbox`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::session::{self, Access, Session, Takeover};
use super::source::Files;
use super::{Status, output};
use crate::sandbox;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Apply a spec there first
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The command, and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let before = || {
        if arguments.files.is_empty() {
            return Ok(());
        }
        apply(&Files {
            files: arguments.files.clone(),
        })
    };
    match sandbox::run(&arguments.command, before) {
        Ok(status) => Status::Command(status),
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                output::error(&text);
            }
            Status::Command(error.status())
        }
    }
}

/// Applies a spec without a word, because standard output is the command's. An empty error was
/// printed already.
fn apply(files: &Files) -> Result<(), String> {
    let given = session::parse(files).map_err(|_| String::new())?;
    for one in &given {
        let mut session =
            Session::of_spec(one, &Takeover::default(), Access::Change(Duration::ZERO))
                .map_err(|_| String::new())?;
        let failed = session.kernel.execute(&session.plan).err();
        if let Some(failure) = failed {
            return Err(format!("the spec can't be applied: {}", failure.error));
        }
    }
    Ok(())
}
