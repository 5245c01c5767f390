//! What can go wrong with a private host.

use std::fmt;

/// Why there is no private host, or no command on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine lets this user have no namespaces. Holds why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// The private host can't be made. Holds what failed, and why.
    #[error("can't make a private host: {0}")]
    Host(String),
    /// What comes before the command failed. Holds its message.
    #[error("{0}")]
    Before(String),
    /// There is no command.
    #[error("no command is given")]
    Empty,
    /// There is no such command. Holds its name.
    #[error("{0}: command not found")]
    NotFound(String),
    /// The command can't be executed. Holds its name, and why.
    #[error("can't execute {0}")]
    NotExecutable(String),
}

impl Error {
    /// The exit status of failures that are not the command's.
    pub(super) const STATUS: u8 = 125;

    /// The exit status that tells of it: 127 for a command that isn't found, 126 for one that can't be
    /// executed, else 125.
    pub fn status(&self) -> u8 {
        match self {
            Error::NotFound(_) => 127,
            Error::NotExecutable(_) => 126,
            _ => Error::STATUS,
        }
    }

    /// That a step of making the private host failed: `can't make a private host: can't STEP: WHY`.
    pub(super) fn host(step: &str, why: impl fmt::Display) -> Error {
        Error::Host(format!("can't {step}: {why}"))
    }

    /// For the way between two processes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, text) = match self {
            Error::Refused(text) => (0, text.as_str()),
            Error::Host(text) => (1, text.as_str()),
            Error::Before(text) => (2, text.as_str()),
            Error::Empty => (3, ""),
            Error::NotFound(text) => (4, text.as_str()),
            Error::NotExecutable(text) => (5, text.as_str()),
        };
        let mut bytes = vec![tag];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// The reverse of [`Error::encode`]. None: there is no error.
    pub(super) fn decode(bytes: &[u8]) -> Option<Error> {
        let (tag, text) = bytes.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match tag {
            0 => Error::Refused(text),
            2 => Error::Before(text),
            3 => Error::Empty,
            4 => Error::NotFound(text),
            5 => Error::NotExecutable(text),
            _ => Error::Host(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_between_processes() {
        let text = || "ü: why".to_owned();
        for error in [
            Error::Refused(text()),
            Error::Host(text()),
            Error::Before(text()),
            Error::Empty,
            Error::NotFound(text()),
            Error::NotExecutable(text()),
        ] {
            assert_eq!(Error::decode(&error.encode()), Some(error));
        }
        assert_eq!(Error::decode(&[]), None);
    }
}
