//! `apply --confirm`, `netform confirm` and `netform revert`.
//!
//! Before anything is changed a second process is forked, which knows what there was. It belongs to no terminal, and it
//! takes everything back once the time is over, or at once if the apply dies in the middle. It hears of a yes through a
//! socket in `/run/netform/confirm`.

mod waiter;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub(super) use self::waiter::Waiter;
use super::apply::Options;
use super::session::Session;
use super::{Status, completions, output};
use crate::resource::name::TopologyName;

/// Where the sockets lie, by the names of topologies.
const DIRECTORY: &str = "/run/netform/confirm";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The topology; not needed if only one waits
    #[arg(value_name = "NAME", add = completions::topologies())]
    name: Option<TopologyName>,
}

/// What is said to who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It stays as it is.
    Confirm,
    /// Everything is taken back.
    Revert,
}

impl Answer {
    fn word(self) -> &'static str {
        match self {
            Answer::Confirm => "confirm",
            Answer::Revert => "revert",
        }
    }
}

fn path(topology: &TopologyName) -> PathBuf {
    Path::new(DIRECTORY).join(topology.as_str())
}

/// The topologies that have a socket.
fn names() -> io::Result<Vec<TopologyName>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        TopologyName::try_from(name).ok()
    });
    let mut names: Vec<TopologyName> = names.collect();
    names.sort();
    Ok(names)
}

pub(super) fn run(arguments: &Arguments, answer: Answer) -> Status {
    let verb = answer.word();
    let names = match names() {
        Ok(names) => names,
        Err(error) => {
            output::error(&format!(
                "can't read {DIRECTORY}: {error}; run it as root (sudo)"
            ));
            return Status::Failed;
        }
    };
    let topology = match (&arguments.name, names.as_slice()) {
        (Some(name), _) | (None, [name]) => name.clone(),
        (None, []) => {
            output::error(
                "nothing waits for a yes: only `apply --confirm TIME` does, for that time",
            );
            return Status::Failed;
        }
        (None, names) => {
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("`netform {verb} {name}`"))
                .collect();
            output::error(&format!(
                "several topologies wait for a yes, say which: {}",
                names.join(", ")
            ));
            return Status::Usage;
        }
    };
    match ask(&topology, answer) {
        Ok(Reply { status, text }) => {
            output::remark(&text);
            match (status, answer) {
                // That was asked for.
                (Status::RolledBack, Answer::Revert) => Status::Done,
                (status, _) => status,
            }
        }
        Err(error) => {
            let text = match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "topology {topology} waits for no yes: it was said, or the time is over"
                ),
                io::ErrorKind::ConnectionRefused => {
                    let _ = fs::remove_file(path(&topology));
                    format!(
                        "the process that waited was killed, so topology {topology} stays as it was applied: \
                         apply the spec that it had before, or `netform destroy {topology}`"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    format!(
                        "{} is root's: run it as root (sudo)",
                        path(&topology).display()
                    )
                }
                _ => format!("can't ask at {}: {error}", path(&topology).display()),
            };
            output::error(&text);
            Status::Failed
        }
    }
}

/// What who waits replies.
struct Reply {
    status: Status,
    text: String,
}

/// Says something to who waits for a topology, and gives what it replies.
fn ask(topology: &TopologyName, answer: Answer) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(path(topology))?;
    stream.write_all(format!("{}\n", answer.word()).as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Reply::parse(&text).ok_or_else(|| io::Error::other("it ended without a reply"))
}

impl Reply {
    fn to_text(&self) -> String {
        format!("{}\n{}", u8::from(self.status), self.text)
    }

    fn parse(text: &str) -> Option<Reply> {
        let (number, text) = text.split_once('\n')?;
        let number: u8 = number.parse().ok()?;
        let all = [
            Status::Done,
            Status::Failed,
            Status::RolledBack,
            Status::LeftChanged,
        ];
        let status = all.into_iter().find(|status| u8::from(*status) == number)?;
        let text = text.to_owned();
        Some(Reply { status, text })
    }
}

/// That no earlier apply of the topology waits for its yes.
pub(super) fn stands_in_the_way(session: &Session) -> Result<(), Status> {
    for topology in session.renamed.iter().chain([&session.topology]) {
        if UnixStream::connect(path(topology)).is_ok() {
            output::error(&format!(
                "an apply of topology {topology} still waits for its yes, and nothing was changed: \
                 `netform confirm {topology}` keeps it, `netform revert {topology}` takes it back"
            ));
            return Err(Status::Failed);
        }
    }
    Ok(())
}

/// That it is one topology that is to wait for a yes.
pub(super) fn fits(options: &Options, count: usize) -> Result<(), Status> {
    if options.confirm.is_some() && count > 1 {
        output::error(&format!(
            "`--confirm` waits for one topology, and the files are of {count}: apply one after the other"
        ));
        return Err(Status::Usage);
    }
    Ok(())
}
