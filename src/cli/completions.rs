//! `netform completions`, and the answers to what its scripts ask.

use std::env;

use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell};

use super::{Status, output};
use crate::kernel::{Kernel, namespace};

/// Set by the scripts when they ask. None that anything else has a reason to set.
const VARIABLE: &str = "_NETFORM_COMPLETE";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: netform completions bash > /usr/share/bash-completion/completions/netform

The scripts ask netform itself, so they know the topologies and the namespaces of this host.")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let shells = Shells::builtins();
    let name = arguments.shell.to_string();
    let mut script = Vec::new();
    let written = shells.completer(&name).map(|shell| {
        shell.write_registration(VARIABLE, "netform", "netform", "netform", &mut script)
    });
    if let Some(Ok(())) = written {
        return output::result(&String::from_utf8_lossy(&script));
    }
    output::error(&format!("there are no completions for {name}"));
    Status::Failed
}

/// Answers if it is a script of ours that asks. Before anything else: it may print nothing besides.
pub(super) fn answered() -> Option<Status> {
    let asked = CompleteEnv::with_factory(super::command).var(VARIABLE);
    let here = env::current_dir().ok();
    match asked.try_complete(env::args_os(), here.as_deref()) {
        Ok(true) => Some(Status::Done),
        Ok(false) => None,
        Err(error) => {
            let _ = error.print();
            Some(Status::Usage)
        }
    }
}

/// The topologies that have a record here. Who may not read that is told nothing.
pub(super) fn topologies() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(Kernel::topologies().unwrap_or_default()))
}

/// The namespaces that have a name here.
pub(super) fn namespaces() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(namespace::names().unwrap_or_default()))
}

fn candidates(names: impl IntoIterator<Item: ToString>) -> Vec<CompletionCandidate> {
    let names = names.into_iter().map(|name| name.to_string());
    names.map(CompletionCandidate::new).collect()
}
