//! The private host: a machine of one's own, with an uplink and a small internet behind it, for which
//! nobody needs to be root.
//!
//! ```text
//! netform ── PID 1 ─┬─ the internet (namespace without a name)
//!                   └─ the command  (namespace of the host)
//! ```
//!
//! PID 1 and all below it see network, mounts and processes of their own, and `/run` and `/etc` of their
//! own. They end when netform does, and leave nothing behind.

mod command;
mod error;
mod files;
mod internet;
pub(crate) mod process;
mod uplink;
mod user;

use std::ffi::OsString;

use rustix::fs::Mode;
use rustix::process::{
    Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit, umask,
};

pub use self::command::{Tools, execute};
pub use self::error::Error;

use self::internet::Internet;
use self::process::{Lifeline, Mask, Report, attend, fork, reap};

/// Runs a command on a private host, after `before`, and returns its status: 128 and the signal's
/// number when a signal ended it.
///
/// `SIGINT`, `SIGTERM`, `SIGHUP`, `SIGQUIT`, `SIGUSR1` and `SIGUSR2` reach the command, unless they
/// come from a key at a terminal, which sends them to the command by itself. Only for processes without
/// threads, which are in the namespaces of the private host afterwards.
pub fn run(command: &[OsString], before: impl FnOnce() -> Result<(), String>) -> Result<u8, Error> {
    let limit = getrlimit(Resource::Nofile);
    enter(|| {
        before().map_err(Error::Before)?;
        // What comes before may raise the limit of open files for itself. If it can't be lowered
        // again, the command has a higher one.
        let _ = setrlimit(Resource::Nofile, limit);
        Err(execute(command, Tools::OfSystem))
    })
}

/// Does `work` on a private host, in a process of its own, and returns what it returns.
///
/// Only for processes without threads, which are in the namespaces of the private host afterwards.
pub fn enter(work: impl FnOnce() -> Result<u8, Error>) -> Result<u8, Error> {
    let mask = Mask::block()?;
    let report = Report::open()?;
    let lifeline = Lifeline::tie()?;
    user::unshare()?;
    let init = fork(|| match init(work, &report, &lifeline, &mask) {
        Ok(status) => status,
        Err(error) => {
            report.send(&error);
            Error::STATUS
        }
    })?;
    let status = attend(init, || reap(Some(init), init))?;
    report.receive().map_or(Ok(status), Err)
}

/// What PID 1 does.
fn init(
    work: impl FnOnce() -> Result<u8, Error>,
    report: &Report,
    lifeline: &Lifeline,
    mask: &Mask,
) -> Result<u8, Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Error::host("tie it to netform", e))?;
    // Netform may have ended just before it was tied to.
    if !lifeline.holds() {
        return Ok(Error::STATUS);
    }
    // What is made here is for all, whatever the command wants of its own files.
    let own = umask(Mode::WGRP | Mode::WOTH);
    files::mount_all()?;
    umask(own);
    let internet = Internet::connect()?;
    fork(|| internet.serve())?;
    drop(internet);
    let command = fork(|| {
        mask.restore();
        work().unwrap_or_else(|error| {
            report.send(&error);
            error.status()
        })
    })?;
    attend(command, || reap(None, command))
}
