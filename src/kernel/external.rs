//! Namespaces that others make: where they are found, and which they are.
//!
//! They are opened once for all that is done with what was read, and kept open: the path of one may be
//! another's a moment later.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::namespace;
use super::observe::{Host, Seen};
use super::record::{Known, Record};
use super::socket::Socket;
use super::space::{Doors, Names, inode_of};
use crate::resource::Ns;
use crate::resource::name::NamespaceName;
use crate::state::External;

/// Which network namespace one is: a number that no other gets while this machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Identity(u64);

impl Identity {
    /// That of the namespace that a socket is of: its cookie (`SO_NETNS_COOKIE`, Linux 5.14). Older kernels
    /// tell only the number of its file, which another may have later.
    pub(super) fn of(socket: &Socket, door: BorrowedFd<'_>) -> Result<Identity, Error> {
        match cookie(socket) {
            Ok(cookie) => Ok(Identity(cookie)),
            Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => inode_of(door).map(Identity),
            Err(e) => Err(Error::call("ask which network namespace one is", e)),
        }
    }
}

#[expect(unsafe_code, reason = "no crate knows this option of sockets")]
fn cookie(socket: &Socket) -> std::io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// An external namespace that was found, and how to get in.
#[derive(Debug)]
pub(super) struct Found<D> {
    pub(super) door: D,
    /// Where it was found; none: by its name.
    pub(super) path: Option<PathBuf>,
    pub(super) identity: Identity,
}

/// What is at a path.
#[derive(Debug)]
pub(super) enum There<D> {
    Namespace(D, Identity),
    Nothing,
    /// Something else: what.
    Other(String),
}

/// What is where external namespaces are looked for.
pub(super) type Looked<D> = Vec<(NamespaceName, Option<PathBuf>, Result<There<D>, Error>)>;

/// Looks at a path, and opens what is there if it is a network namespace, and only then: the opening of
/// a device can do harm, and that of a pipe wait for ever. This thread is inside of it afterwards.
fn look(path: &Path) -> Result<There<OwnedFd>, Error> {
    let closed = OFlags::PATH | OFlags::CLOEXEC;
    let handle = match rustix::fs::openat(CWD, path, closed, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => return Ok(There::Nothing),
        Err(e) => return Err(Error::io("look at", path, e)),
    };
    if !namespace::is_one(&handle).map_err(|e| Error::io("look at", path, e))? {
        let stat = rustix::fs::fstat(&handle).map_err(|e| Error::io("look at", path, e))?;
        let is = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => "a directory",
            FileType::RegularFile if stat.st_size == 0 => "an empty file",
            FileType::RegularFile => "a file",
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            FileType::BlockDevice | FileType::CharacterDevice => "a device",
            _ => "something else",
        };
        return Ok(There::Other(is.to_owned()));
    }
    let same = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let open = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, same, open, Mode::empty())
        .map_err(|e| Error::io("open", path, e))?;
    match kind(&fd).map_err(|e| Error::io("look at", path, e))? {
        libc::CLONE_NEWNET => {}
        other => {
            let of = match other {
                libc::CLONE_NEWNS => "mount",
                libc::CLONE_NEWPID => "PID",
                libc::CLONE_NEWUSER => "user",
                libc::CLONE_NEWUTS => "UTS",
                libc::CLONE_NEWIPC => "IPC",
                libc::CLONE_NEWCGROUP => "cgroup",
                _ => "time",
            };
            return Ok(There::Other(format!("a {of} namespace")));
        }
    }
    namespace::enter(&fd)?;
    let identity = Identity::of(&Socket::open()?, fd.as_fd())?;
    Ok(There::Namespace(fd, identity))
}

/// Which kind of namespace one is, as `clone(2)` calls it (`NS_GET_NSTYPE`, `man 2 ioctl_ns`).
#[expect(unsafe_code, reason = "no crate knows this request")]
fn kind(ns: &OwnedFd) -> std::io::Result<i32> {
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(ns.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(kind)
    }
}

/// Opens the namespace at a path, which a name stands for. None: there is nothing.
pub(super) fn open(name: &NamespaceName, path: &Path) -> Result<Option<OwnedFd>, Error> {
    // Whoever looks is inside afterwards.
    let looked = std::thread::scope(|scope| scope.spawn(|| look(path)).join());
    match looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
        There::Namespace(fd, _) => Ok(Some(fd)),
        There::Nothing => Ok(None),
        There::Other(is) => Err(Error::NotNetwork {
            name: name.clone(),
            path: path.to_owned(),
            is,
        }),
    }
}

/// Looks for namespaces, on several threads.
pub(super) fn look_for(wanted: &External) -> Looked<OwnedFd> {
    let places = wanted.iter().collect();
    namespace::spread(
        places,
        |(name, path): (&NamespaceName, &Option<PathBuf>)| {
            let at = path.clone().unwrap_or_else(|| namespace::path(name));
            (name.clone(), path.clone(), look(&at))
        },
    )
}

/// Finds the external namespaces of a spec. All of them must exist.
pub(super) fn require<H: Host>(host: &mut H, wanted: &External) -> Result<(), Error> {
    let mut found = BTreeMap::new();
    for (name, path, there) in host.look_for(wanted) {
        match there? {
            There::Namespace(door, identity) => {
                let one = Found {
                    door,
                    path,
                    identity,
                };
                found.insert(name, one);
            }
            There::Nothing => return Err(Error::NoExternal { name, path }),
            There::Other(is) => {
                if let (None, Some(hollow)) = (&path, namespace::hollow(&name)) {
                    return Err(hollow);
                }
                let path = path.unwrap_or_else(|| namespace::path(&name));
                return Err(Error::NotNetwork { name, path, is });
            }
        }
    }
    host.hold(found);
    Ok(())
}

/// Finds those of the external namespaces of a State that exist, and those that the record of the topology
/// has: if they are still the same.
pub(super) fn locate<D>(
    wanted: &External,
    mine: Option<&Record>,
    look_for: impl Fn(&External) -> Looked<D>,
) -> Result<BTreeMap<NamespaceName, Found<D>>, Error> {
    let mut found: BTreeMap<NamespaceName, Found<D>> = BTreeMap::new();
    for (name, path, there) in look_for(wanted) {
        if let There::Namespace(door, identity) = there? {
            let one = Found {
                door,
                path,
                identity,
            };
            found.insert(name, one);
        }
    }
    let recorded = mine.iter().flat_map(|record| &record.external);
    let recorded: External = recorded
        .filter(|(_, known)| !found.values().any(|one| one.identity == known.identity))
        .map(|(name, known)| (name.clone(), known.path.clone()))
        .collect();
    for (name, path, there) in look_for(&recorded) {
        let known = mine.and_then(|record| record.external.get(&name));
        // A path that can't be opened any more is as good as none.
        if let (Ok(There::Namespace(door, identity)), Some(known)) = (there, known)
            && identity == known.identity
        {
            let name = free(name, &found);
            let one = Found {
                door,
                path,
                identity,
            };
            found.insert(name, one);
        }
    }
    Ok(found)
}

/// A name for a namespace whose own is another's by now: the spec has another path for it.
fn free<D>(name: NamespaceName, taken: &BTreeMap<NamespaceName, Found<D>>) -> NamespaceName {
    let mut free = name;
    while taken.contains_key(&free) {
        let longer = format!("{free}.before");
        let Ok(longer) = NamespaceName::try_from(longer) else {
            break;
        };
        free = longer;
    }
    free
}

/// That no external namespace is one that has another name too.
pub(super) fn distinct(seen: &[Seen], external: &External) -> Result<(), Error> {
    let mut known: BTreeMap<u64, &Ns> = BTreeMap::new();
    for Seen { ns, inode, .. } in seen {
        let Some(other) = known.insert(*inode, ns) else {
            continue;
        };
        let name = [ns, other].into_iter().filter_map(Ns::name);
        let mut name = name.filter(|name| external.contains_key(*name));
        if let Some(name) = name.next() {
            let other = if ns.name() == Some(name) { other } else { ns };
            return Err(Error::SameNamespace {
                name: name.clone(),
                other: other.clone(),
            });
        }
    }
    Ok(())
}

impl Doors {
    /// Keeps these open, and those only.
    pub(super) fn hold(&mut self, found: BTreeMap<NamespaceName, Found<OwnedFd>>) {
        self.names = Names::of(&found);
        let fds = found.into_iter().map(|(name, one)| (name, one.door));
        self.external = fds.collect();
    }
}

impl Names {
    /// Those of the external namespaces that were found.
    pub(super) fn of<D>(found: &BTreeMap<NamespaceName, Found<D>>) -> Names {
        let known = |one: &Found<D>| Known {
            path: one.path.clone(),
            identity: one.identity,
        };
        let external = found.iter().map(|(name, one)| (name.clone(), known(one)));
        let all = found.iter().map(|(name, one)| (one.identity, name.clone()));
        Names {
            external: external.collect(),
            all: all.collect(),
        }
    }
}
