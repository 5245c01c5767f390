//! `--prune`: the topologies of this host that a directory doesn't have.

use std::collections::BTreeSet;
use std::path::Path;

use super::session::{Given, failed};
use super::source::Files;
use super::{Status, output, show};
use crate::kernel::Kernel;
use crate::resource::name::TopologyName;

/// The directory that says which topologies there are to be. Wrong usage is told.
pub(super) fn directory(files: &Files) -> Result<&Path, Status> {
    match files.files.as_slice() {
        [directory] if directory.is_dir() => Ok(directory),
        given => {
            let given: Vec<String> = given
                .iter()
                .map(|path| format!("`-f {}`", path.display()))
                .collect();
            output::error(&format!(
                "`--prune` removes every topology of this host that isn't in the directory of `-f`, so it takes one \
                 directory, and not {}\n  \
                 put the files into a directory, or remove a topology with `netform destroy NAME`",
                given.join(" ")
            ));
            Err(Status::Usage)
        }
    }
}

/// The topologies of this host that none of the files is of.
pub(super) fn superfluous(given: &[Given]) -> Result<BTreeSet<TopologyName>, Status> {
    let known = Kernel::open().and_then(|mut kernel| show::known(&mut kernel));
    let mut known = known.map_err(|error| failed(&error))?;
    for one in given {
        known.remove(&one.spec.name.value);
    }
    Ok(known)
}

/// What is said of a topology that a directory doesn't have.
pub(super) fn announcement(topology: &TopologyName, directory: &Path) -> String {
    let directory = directory.display();
    format!("Topology {topology} is in no file of {directory}, and goes:\n\n")
}
