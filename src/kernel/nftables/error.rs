//! Why nftables could not be read or changed.

use std::fmt;
use std::io;

use crate::resource::firewall::TableFamily;
use crate::resource::permit::{PermitKey, TABLE};

/// Why nftables could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket can't be made.
    #[error("can't open a netfilter socket: {source}; is CONFIG_NF_TABLES in this kernel?")]
    Open {
        /// Why.
        source: io::Error,
    },
    /// The socket failed.
    #[error("can't {action} nftables: {source}")]
    Socket {
        /// What was tried: `read`, `change`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a request; nothing of its batch was applied.
    #[error("can't {action} {object}: {}{}", io::Error::from_raw_os_error(*errno), hint(*errno, text.as_deref()))]
    Refused {
        /// What was tried: `read`, `create`, `delete`.
        action: &'static str,
        /// With what.
        object: Object,
        /// The number of the error (`man 3 errno`).
        errno: i32,
        /// What the kernel says in words, if anything.
        text: Option<String>,
    },
    /// The ruleset changed each time while it was read.
    #[error("nftables changes faster than it can be read: run this again when it is quiet")]
    Restless,
    /// The kernel sent something that libnftnl can't read.
    #[error("can't understand what the kernel says of {object}; is libnftnl too old for it?")]
    Malformed {
        /// Of what.
        object: Object,
    },
    /// What is to be written was read, and isn't understood well enough to be written again.
    #[error("{object} was not made by netform, and can't be made again by it")]
    Unwritable {
        /// What.
        object: Object,
    },
    /// The kernel takes no message as large as this, even in parts.
    #[error(
        "the rules are {bytes} bytes, and the kernel takes {limit} at once: raise net.core.wmem_max"
    )]
    TooLarge {
        /// How large the rules are without the elements of sets.
        bytes: usize,
        /// How large a message may be.
        limit: usize,
    },
}

impl Error {
    /// Whether the kernel holds something else than what was observed: observe and plan again.
    pub fn is_stale(&self) -> bool {
        matches!(
            self,
            Error::Refused {
                errno: libc::ENOENT | libc::EEXIST | libc::EBUSY,
                ..
            }
        )
    }

    /// Whether the kernel refused an accept rule in a chain of others.
    pub fn is_of(&self, key: &PermitKey) -> bool {
        matches!(self, Error::Refused { object, .. } if *object == Object::of(key))
    }
}

fn hint(errno: i32, text: Option<&str>) -> String {
    let text = text.map(|text| format!(" ({text})")).unwrap_or_default();
    let hint = match errno {
        libc::EPERM => "; run it as root (sudo), or try it in `netform sandbox`",
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT => "; the kernel lacks a module of nf_tables",
        libc::ENOENT | libc::EEXIST | libc::EBUSY => {
            "; it has changed since it was read, or the kernel lacks a module of nf_tables: run this again"
        }
        _ => "",
    };
    format!("{text}{hint}")
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The whole ruleset.
    Ruleset,
    /// A table.
    Table(String),
    /// A chain of a table.
    Chain(String, String),
    /// A set of a table.
    Set(String, String),
    /// Elements of a set of a table.
    Elements(String, String),
    /// A rule of a chain of a table, as text.
    Rule(String, String, String),
    /// An accept rule in a chain of others, as text.
    Permit(TableFamily, String, String),
}

impl Object {
    /// An accept rule in a chain of others.
    pub(super) fn of(key: &PermitKey) -> Object {
        Object::Permit(key.family, key.chain.clone(), key.to_string())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Ruleset => f.write_str("the ruleset"),
            Object::Table(table) => write!(f, "table inet {table}"),
            Object::Chain(table, chain) => write!(f, "chain {chain} of table inet {table}"),
            Object::Set(table, set) => write!(f, "set {set} of table inet {table}"),
            Object::Elements(table, set) => {
                write!(f, "elements of set {set} of table inet {table}")
            }
            Object::Permit(family, chain, rule) => {
                write!(
                    f,
                    "rule `{rule}` of chain {chain} of table {family} {TABLE}"
                )
            }
            Object::Rule(table, chain, rule) => {
                write!(f, "rule `{rule}` of chain {chain} of table inet {table}")
            }
        }
    }
}
