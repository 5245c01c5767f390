//! `netform exec`.

use std::ffi::OsString;

use super::{Status, completions, output};
use crate::kernel::enter;
use crate::resource::name::NamespaceName;
use crate::sandbox::{Tools, execute};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The namespace, as `ip netns` lists it
    #[arg(value_name = "NAMESPACE", add = completions::namespaces())]
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
    let error = execute(&arguments.command, Tools::OfUser);
    output::error(&error.to_string());
    Status::Command(error.status())
}
