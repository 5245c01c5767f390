//! `netform exec`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{Status, output};
use crate::kernel::enter;
use crate::resource::name::NamespaceName;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The namespace, as `ip netns` lists it
    #[arg(value_name = "NAMESPACE")]
    namespace: NamespaceName,

    /// The command, and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// Becomes the command, and returns only if that fails.
pub(super) fn run(arguments: &Arguments) -> Status {
    match enter::enter(&arguments.namespace) {
        Ok(warnings) => {
            for warning in warnings {
                output::remark(&format!("warning: {warning}\n"));
            }
        }
        Err(error) => {
            output::error(&error.to_string());
            return Status::Command(125);
        }
    }
    let Some((name, rest)) = arguments.command.split_first() else {
        return Status::Usage;
    };
    let error = Command::new(name).args(rest).exec();
    let name = name.to_string_lossy();
    if error.kind() == ErrorKind::NotFound {
        output::error(&format!("{name}: command not found"));
        Status::Command(127)
    } else {
        output::error(&format!("can't execute {name}: {error}"));
        Status::Command(126)
    }
}
