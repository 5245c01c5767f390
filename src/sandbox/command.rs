//! Becoming a command.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::Error;

/// Directories of tools that the search path of ordinary users may lack.
const OF_SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Which commands are found without a path to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// Those of `PATH`.
    OfUser,
    /// Those of `PATH`, and those for root, which is what anybody is on a private host.
    OfSystem,
}

/// Becomes a command, and returns only if that fails.
///
/// Returns [`Error::Empty`], [`Error::NotFound`] or [`Error::NotExecutable`].
pub fn execute(command: &[OsString], tools: Tools) -> Error {
    let Some((name, arguments)) = command.split_first() else {
        return Error::Empty;
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut command = Command::new(name);
    command.args(arguments);
    if tools == Tools::OfSystem {
        for directory in OF_SYSTEM.map(PathBuf::from) {
            if !path.contains(&directory) {
                path.push(directory);
            }
        }
        match std::env::join_paths(&path) {
            Ok(path) => command.env("PATH", path),
            Err(error) => return Error::host("extend PATH", error),
        };
    }
    let error = command.exec();
    // A directory of the path that this user can't look into is no reason, nor is it for shells.
    let hidden = || {
        error.kind() == ErrorKind::PermissionDenied
            && Path::new(name).components().count() == 1
            && !path.iter().any(|directory| directory.join(name).exists())
    };
    let text = name.to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound || hidden() {
        Error::NotFound(text)
    } else {
        Error::NotExecutable(format!("{text}: {error}"))
    }
}
