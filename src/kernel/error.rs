//! What can go wrong between netform and the kernel.

use std::path::{Path, PathBuf};

use super::nftables;
use crate::resource::Ns;
use crate::resource::name::{NamespaceName, TopologyName};

/// Why the kernel could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process lacks a capability.
    #[error(
        "netform needs {capability} to change networks: run it as root (sudo), or try it in `netform sandbox`"
    )]
    Privilege {
        /// The capability, as `man 7 capabilities` calls it.
        capability: &'static str,
    },
    /// Another netform is at work.
    #[error(
        "another netform is at work here ({holder}): wait for it to end, then run this again, or give it longer \
         with `--lock-timeout`"
    )]
    Locked {
        /// Which: `pid 4711: netform apply -f site.yaml`.
        holder: String,
    },
    /// There is no namespace of that name.
    #[error("there is no namespace {name}: {}", existing(others))]
    NoNamespace {
        /// The name.
        name: NamespaceName,
        /// The namespaces that there are.
        others: Vec<NamespaceName>,
    },
    /// There is no such external namespace.
    #[error("external namespace `{name}` doesn't exist: {}", how_to_make(name, path.as_deref()))]
    NoExternal {
        /// What the spec calls it.
        name: NamespaceName,
        /// Where it was to be found, if not by its name.
        path: Option<PathBuf>,
    },
    /// What was to be an external namespace is none.
    #[error(
        "external namespace `{name}` is none: {path} is {is}, and no network namespace; /proc/PID/ns/net \
         is that of a process, for example"
    )]
    NotNetwork {
        /// What the spec calls it.
        name: NamespaceName,
        /// Where it was to be found.
        path: PathBuf,
        /// What is there, with its article.
        is: String,
    },
    /// An external namespace has two names.
    #[error(
        "namespaces `{name}` and `{other}` of the spec are the same one: write all that is to be in it below \
         one of the two names"
    )]
    SameNamespace {
        /// What the spec calls it.
        name: NamespaceName,
        /// What it is called too.
        other: Ns,
    },
    /// The topology made a namespace of the name that its spec gives to an external one.
    #[error(
        "namespace `{name}` was made by this topology, and the spec has that name for {path}: write another \
         name there"
    )]
    StillMade {
        /// The name.
        name: NamespaceName,
        /// Where the external one is.
        path: PathBuf,
    },
    /// The directory that files are to be in is none.
    #[error(
        "{path} is no directory of its own: netform follows no link there, and writes nothing elsewhere; remove it \
         (`rm {path}`), then run this again"
    )]
    NoDirectory {
        /// Where it should be.
        path: PathBuf,
    },
    /// A namespace's file has nothing mounted on it.
    #[error(
        "{path} is a file on which no namespace is mounted, as after an `ip netns add` that was killed: remove it \
         (`rm {path}`), or apply a spec that makes a namespace of that name"
    )]
    Hollow {
        /// The file.
        path: PathBuf,
    },
    /// A namespace's file has it mounted for others only.
    #[error(
        "namespace {name} is mounted on {path} only for process {pid} ({process}) and those that share its mounts: make \
         it where its mounts are seen here (for a service of systemd, without PrivateMounts= and what implies it), or \
         end what has it, remove the file, and run this again"
    )]
    Elsewhere {
        /// Its name.
        name: NamespaceName,
        /// The file.
        path: PathBuf,
        /// A process that sees it.
        pid: u32,
        /// What that is called.
        process: String,
    },
    /// A file or a system call failed.
    #[error("can't {action} {path}: {source}{}", remedy(action, path, source))]
    Io {
        /// What was tried: `read`, `create`, `mount`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A system call without a file failed.
    #[error("can't {action}: {source}{}", remedy(action, Path::new(""), source))]
    Call {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The kernel refused a request.
    #[error("{}{}", errno_name(*errno), text.as_deref().map(|t| format!(": {t}")).unwrap_or_default())]
    Refused {
        /// The number of the error (`man 3 errno`).
        errno: i32,
        /// What the kernel says in words, if anything.
        text: Option<String>,
    },
    /// The kernel holds something else than what was observed.
    #[error(
        "{}{}: it has changed since it was read; run this again",
        errno_name(*errno), text.as_deref().map(|t| format!(": {t}")).unwrap_or_default()
    )]
    Stale {
        /// The number of the error (`man 3 errno`).
        errno: i32,
        /// What the kernel says in words, if anything.
        text: Option<String>,
    },
    /// There is no such sysctl.
    #[error(
        "there is no /proc/sys/{path}: the name may be wrong, the kernel's module not loaded, or the \
         setting one that only the machine itself has"
    )]
    NoSysctl {
        /// Its path below `/proc/sys`.
        path: String,
    },
    /// The kernel refuses a sysctl's value.
    #[error("the kernel doesn't take {value:?} for /proc/sys/{path}: {source}")]
    SysctlValue {
        /// Its path below `/proc/sys`.
        path: String,
        /// The value.
        value: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The kernel lacks a kind of link.
    #[error(
        "this kernel has no {kind} links: load the module that brings them (`modprobe {kind}`), or \
         boot a kernel that has it"
    )]
    NoKind {
        /// The kernel's name of the kind, which is that of its module too.
        kind: String,
    },
    /// The kernel lacks what a setting of a kind of link needs.
    #[error(
        "this kernel was built without {option}, so a {kind} can't have `{word}`: remove that from \
         the spec, or boot a kernel that has it"
    )]
    NoSetting {
        /// The kernel's name of the kind.
        kind: String,
        /// What the spec calls the setting.
        word: &'static str,
        /// The option of the kernel's configuration.
        option: &'static str,
    },
    /// What was to be changed isn't there.
    #[error("{what} is not there: it has changed since it was read; run this again")]
    Missing {
        /// What.
        what: String,
    },
    /// nftables could not be read or changed.
    #[error(transparent)]
    Nftables(Box<nftables::Error>),
    /// A dump was interrupted by changes again and again.
    #[error("the network changes faster than it can be read: run this again when it is quiet")]
    Restless,
    /// A record can't be understood.
    #[error(
        "can't read the record {path}: {reason}; if it is broken, remove it (`rm {path}`): what that topology \
         borrowed then stays as it is, and its next plan names what that is likely to be"
    )]
    Record {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing outside a namespace confirms that it is the topology's.
    #[error(
        "namespace {name} says that it belongs to {topology}, but nothing outside of it does: \
         remove it by hand (`ip netns delete {name}`) if it really does"
    )]
    Unwitnessed {
        /// The namespace.
        name: String,
        /// The topology.
        topology: TopologyName,
    },
    /// There is no topology of that name.
    #[error("there is no topology {name} here: {}", topologies(others))]
    NoTopology {
        /// The name.
        name: TopologyName,
        /// The topologies that there are.
        others: Vec<TopologyName>,
    },
    /// A topology of that name is there already.
    #[error(
        "topology {name} is there already, and a renaming doesn't join two: give the new one a name that none has, \
         or `netform destroy {name}` first"
    )]
    Taken {
        /// The name.
        name: TopologyName,
    },
    /// A rule can't be told from others for sure.
    #[error(
        "there are several rules of priority {priority}, and the kernel doesn't tell for sure which one is \
         meant: give those of others another priority, or remove them"
    )]
    Crowded {
        /// Their priority.
        priority: u32,
    },
    /// Who had a plan carried out asked to stop.
    #[error("it was told to stop")]
    Stopped,
    /// The operation is none that can be done.
    #[error("netform can't do this: {0}; please report it")]
    Impossible(&'static str),
}

/// The topologies that there are, in words.
fn topologies(names: &[TopologyName]) -> String {
    if names.is_empty() {
        return "there is none".to_owned();
    }
    let names: Vec<&str> = names.iter().map(TopologyName::as_str).collect();
    format!("there are {}", names.join(", "))
}

impl From<nftables::Error> for Error {
    fn from(error: nftables::Error) -> Error {
        Error::Nftables(Box::new(error))
    }
}

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// The operation that failed, by its place in the plan. None: what comes before or after all of
    /// them failed.
    pub operation: Option<usize>,
    /// Why.
    pub error: Error,
    /// How many operations of the plan were done before. Operations that don't depend on the one that
    /// failed may be among them, whatever their place.
    pub done: usize,
}

impl Error {
    /// An error of the system about a file.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Error {
        Error::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    /// An error of the system about no file.
    pub(crate) fn call(action: &'static str, source: impl Into<std::io::Error>) -> Error {
        Error::Call {
            action,
            source: source.into(),
        }
    }

    /// Whether somebody else may have changed the host just then, so that it is worth reading it again and planning anew.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Stale { .. }
            | Error::Missing { .. }
            | Error::NoSysctl { .. }
            | Error::Restless => true,
            Error::Refused { errno, .. } => matches!(
                *errno,
                libc::EBUSY
                    | libc::EAGAIN
                    | libc::ENOBUFS
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTUNREACH
                    | libc::EADDRNOTAVAIL
            ),
            // The file of a namespace that is being made, for example.
            Error::Io { source, .. } => matches!(
                source.raw_os_error(),
                Some(libc::ENOENT | libc::EEXIST | libc::EBUSY)
            ),
            Error::Nftables(error) => {
                error.is_stale() || matches!(**error, nftables::Error::Restless)
            }
            _ => false,
        }
    }

    /// The kernel's refusal of a change. That something exists already, or doesn't, means that it is
    /// not what was observed.
    pub(super) fn refused(errno: i32, text: Option<String>) -> Error {
        match errno {
            libc::EEXIST | libc::ENOENT | libc::ENODEV | libc::ESRCH => {
                Error::Stale { errno, text }
            }
            _ => Error::Refused { errno, text },
        }
    }
}

/// What to do about a failure of the system, where that is known.
fn remedy(action: &str, path: &Path, source: &std::io::Error) -> &'static str {
    let mounts = [
        "mount",
        "unmount",
        "share",
        "enter",
        "make a",
        "keep mounts",
    ];
    match source.raw_os_error() {
        Some(libc::EROFS) => {
            "; netform must write there: mount it writable (`mount -o remount,rw`), or a tmpfs in its place"
        }
        Some(libc::ENOENT) if path.starts_with("/proc") => {
            "; all of /proc must be mounted here (`mount -t proc proc /proc`), with nothing over /proc/sys"
        }
        Some(libc::EPERM) if mounts.iter().any(|word| action.starts_with(word)) => {
            "; that takes CAP_SYS_ADMIN in the user namespace that it belongs to: run netform as root of the machine, \
             or in `netform sandbox`"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "; it belongs to another user or is locked: run netform as root of the machine (CAP_DAC_OVERRIDE, and \
             CAP_NET_ADMIN for what is below /proc/sys/net)"
        }
        _ => "",
    }
}

/// What to do about an external namespace that doesn't exist.
fn how_to_make(name: &NamespaceName, path: Option<&Path>) -> String {
    match path {
        Some(path) => format!(
            "there is no {}; start what makes it first, and write its path of today",
            path.display()
        ),
        None => format!("start what makes it first, or run `ip netns add {name}`"),
    }
}

/// Which namespaces there are, in words.
fn existing(names: &[NamespaceName]) -> String {
    let names: Vec<&str> = names.iter().map(NamespaceName::as_str).collect();
    if names.is_empty() {
        "there are none here (`netform apply` makes those of a spec)".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// The name of an error number, as `man 3 errno` has it, or the number where networks don't give it.
pub(super) fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => {
            "EPERM (not permitted: that takes CAP_NET_ADMIN in the user namespace that it belongs to)"
        }
        libc::ENOENT => "ENOENT (no such thing)",
        libc::ESRCH => "ESRCH (no such thing)",
        libc::EIO => "EIO (input or output failed)",
        libc::ENXIO => "ENXIO (no such device)",
        libc::E2BIG => "E2BIG (too big)",
        libc::EAGAIN => "EAGAIN (try again)",
        libc::ENOMEM => "ENOMEM (out of memory)",
        libc::EACCES => "EACCES (permission denied)",
        libc::EBUSY => "EBUSY (in use)",
        libc::EEXIST => "EEXIST (exists already)",
        libc::ENODEV => "ENODEV (no such device)",
        libc::EINVAL => "EINVAL (invalid argument)",
        libc::ENFILE => "ENFILE (too many files open on this machine)",
        libc::EMFILE => "EMFILE (too many files open)",
        libc::ENOSPC => "ENOSPC (no space left, or a limit is reached)",
        libc::ERANGE => "ERANGE (out of range)",
        libc::EOPNOTSUPP => "EOPNOTSUPP (the kernel can't do it)",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT (the kernel lacks the address family)",
        libc::EADDRINUSE => "EADDRINUSE (address in use)",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL (no such address)",
        libc::ENETDOWN => "ENETDOWN (the link is down)",
        libc::ENETUNREACH => "ENETUNREACH (the next hop is not reachable)",
        libc::EHOSTUNREACH => "EHOSTUNREACH (the next hop is not reachable)",
        libc::ENOBUFS => "ENOBUFS (out of buffers)",
        libc::ENOTCONN => "ENOTCONN (not connected)",
        libc::ELOOP => "ELOOP (a loop)",
        libc::EMSGSIZE => "EMSGSIZE (too long)",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT (the kernel lacks the protocol)",
        _ => return format!("error {errno}"),
    };
    name.to_owned()
}
