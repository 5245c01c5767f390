//! Files in `/etc/netns/NAME`, and the directories they need.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::adoption::Was;
use super::error::Error;
use super::tag;
use crate::resource::file::{FileKind, NOTICE};
use crate::resource::name::{NamespaceName, TopologyName};

/// Where `ip netns exec` looks for files (`man 8 ip-netns`). It may be a link itself, as on a machine whose `/etc` can't
/// be written; what is in it is opened by one name after the other, and no link is followed there.
const DIRECTORY: &str = "/etc/netns";

/// Where a file is written before it gets its name: beside the namespaces' directories and not in one, where
/// `ip netns exec` would find it. Who writes holds the lock.
const DRAFT: &str = ".netform-draft";

/// The most that is read of a file, in bytes: no resolver takes so much.
const LIMIT: u64 = 16 << 20;

/// How files are opened: not at the other end of a link, and without waiting for that of a pipe.
const CAREFULLY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// How directories are.
const AS_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What everybody may read, and only the owner write.
const READABLE: u32 = 0o644;
/// The same of a directory.
const PASSABLE: u32 = 0o755;

/// The directory of all namespaces' directories.
fn base() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, DIRECTORY, AS_DIRECTORY, Mode::empty())
}

/// The directory of a namespace's files. `NOTDIR`: it is a link, or no directory.
fn opened(ns: &NamespaceName) -> Result<OwnedFd, Errno> {
    let flags = AS_DIRECTORY | OFlags::NOFOLLOW;
    rustix::fs::openat(&base()?, ns.as_str(), flags, Mode::empty())
}

/// Opens a file, which must be one itself. `LOOP`: it is a link or something else.
fn open(directory: &OwnedFd, kind: FileKind, flags: OFlags) -> Result<File, Errno> {
    let file = rustix::fs::openat(
        directory,
        kind.file_name(),
        flags | CAREFULLY,
        Mode::empty(),
    )?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(Errno::LOOP),
    }
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    /// What it says, without the comment that names its owner.
    pub(super) content: String,
    /// The topology that wrote it.
    pub(super) owner: Option<TopologyName>,
    /// Whether it is a file of its own, and doesn't lead to something else.
    pub(super) plain: bool,
}

/// A file. What is no file of its own has no content: it is only in the way.
pub(super) fn read(ns: &NamespaceName, kind: FileKind) -> Result<Option<Found>, Error> {
    let found = content(ns, kind)?.map(|(content, owner)| Found {
        content,
        owner,
        plain: is_plain(ns, kind),
    });
    Ok(found)
}

/// Its content and its owner.
fn content(
    ns: &NamespaceName,
    kind: FileKind,
) -> Result<Option<(String, Option<TopologyName>)>, Error> {
    let directory = match opened(ns) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        // What a link leads to is somebody else's. A file in place of the directory has nothing in it.
        Err(Errno::NOTDIR) => {
            let is_link = self::directory(ns).is_symlink();
            return Ok(is_link.then(|| (String::new(), None)));
        }
        Err(e) => return Err(Error::io("open", self::directory(ns), e)),
    };
    match open(&directory, kind, OFlags::RDONLY) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(LIMIT)
                .read_to_end(&mut bytes)
                .map_err(|e| Error::io("read", path(ns, kind), e))?;
            Ok(Some(split(&String::from_utf8_lossy(&bytes))))
        }
        Err(Errno::NOENT) => Ok(None),
        // Opening a socket says ENXIO (`man 2 open`).
        Err(Errno::LOOP | Errno::NXIO) => Ok(Some((String::new(), None))),
        Err(e) => Err(Error::io("read", path(ns, kind), e)),
    }
}

/// The namespaces that have a directory, also if they don't exist.
pub(super) fn namespaces() -> Result<BTreeSet<NamespaceName>, Error> {
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeSet::new());
        }
        Err(e) => return Err(Error::io("read", DIRECTORY, e)),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names
        .filter_map(|name| NamespaceName::try_from(name.to_str()?).ok())
        .collect())
}

/// All bytes of a file that is taken over.
pub(super) fn bytes(ns: &NamespaceName, kind: FileKind) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    opened(ns)
        .and_then(|directory| open(&directory, kind, OFlags::RDONLY))
        .map_err(std::io::Error::from)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
        .and_then(|length| {
            if length as u64 > LIMIT {
                return Err(ErrorKind::FileTooLarge.into());
            }
            Ok(bytes)
        })
        .map_err(|e| Error::io("read", path(ns, kind), e))
}

/// The content and the owner in a file's text.
fn split(text: &str) -> (String, Option<TopologyName>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.strip_prefix("# ").and_then(tag::owner) {
        Some(owner) => {
            let content = rest.strip_prefix(NOTICE).unwrap_or(rest);
            (content.to_owned(), Some(owner))
        }
        None => (text.to_owned(), None),
    }
}

fn text(topology: &TopologyName, content: &str) -> String {
    format!("# {}\n{NOTICE}{content}", tag::text(topology))
}

/// The directories that a namespace's files need and that don't exist.
pub(super) fn missing_directories(ns: &NamespaceName) -> Vec<PathBuf> {
    [PathBuf::from(DIRECTORY), directory(ns)]
        .into_iter()
        .filter(|path| !path.exists())
        .collect()
}

/// Makes a directory that everybody may look into, if it isn't there.
fn make_directory(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(PASSABLE)) {
        Ok(()) => {
            // Whatever the mask of this process is.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | CAREFULLY;
            let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(PASSABLE))
        }
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The directory of a namespace's files, which is made if need be, and that of all.
fn prepared(ns: &NamespaceName) -> Result<(OwnedFd, OwnedFd), Error> {
    let make = || {
        let etc = rustix::fs::openat(CWD, "/etc", AS_DIRECTORY, Mode::empty())?;
        make_directory(&etc, "netns")?;
        base()
    };
    let base = make().map_err(|e| Error::io("create", DIRECTORY, e))?;
    make_directory(&base, ns.as_str()).map_err(|e| Error::io("create", directory(ns), e))?;
    match opened(ns) {
        Ok(directory) => Ok((base, directory)),
        Err(Errno::NOTDIR) => Err(Error::NoDirectory {
            path: directory(ns),
        }),
        Err(e) => Err(Error::io("open", directory(ns), e)),
    }
}

/// Makes a file whole: it appears under its name when it is complete.
pub(super) fn create(
    ns: &NamespaceName,
    kind: FileKind,
    topology: &TopologyName,
    content: &str,
) -> Result<(), Error> {
    let (base, directory) = prepared(ns)?;
    // A crash may have left one, or somebody made a link of that name.
    let _ = rustix::fs::unlinkat(&base, DRAFT, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | CAREFULLY;
    let mode = Mode::from_raw_mode(READABLE);
    let written = rustix::fs::openat(&base, DRAFT, flags, mode)
        .and_then(|file| rustix::fs::fchmod(&file, mode).map(|()| file))
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).write_all(text(topology, content).as_bytes()));
    if let Err(e) = written {
        let _ = rustix::fs::unlinkat(&base, DRAFT, AtFlags::empty());
        return Err(Error::io("write", Path::new(DIRECTORY).join(DRAFT), e));
    }
    // A link, unlike a renaming, doesn't take the place of a file that came meanwhile.
    let name = kind.file_name();
    let linked = rustix::fs::linkat(&base, DRAFT, &directory, name, AtFlags::empty());
    let _ = rustix::fs::unlinkat(&base, DRAFT, AtFlags::empty());
    let path = path(ns, kind);
    match linked {
        Err(Errno::EXIST) => Err(Error::refused(
            libc::EEXIST,
            Some(path.display().to_string()),
        )),
        Err(e) => Err(Error::io("create", path, e)),
        Ok(()) => Ok(()),
    }
}

/// Changes a file in place, so that processes that have it mounted over their own see the change. The
/// first line stays, so a crash between two writes leaves a file that is still ours.
pub(super) fn update(
    ns: &NamespaceName,
    kind: FileKind,
    topology: &TopologyName,
    content: &str,
) -> Result<(), Error> {
    let file = opened(ns).and_then(|directory| open(&directory, kind, OFlags::WRONLY));
    overwrite(file, text(topology, content).as_bytes())
        .map_err(|e| Error::io("write", path(ns, kind), e))
}

fn overwrite(file: Result<File, Errno>, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = file?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// Writes a file that was taken over as it was before.
pub(super) fn restore(ns: &NamespaceName, kind: FileKind, was: Option<&Was>) -> Result<(), Error> {
    let Some(Was::File(bytes)) = was else {
        return Err(Error::Impossible("what a file was is forgotten"));
    };
    let file = opened(ns).and_then(|directory| {
        let made = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | CAREFULLY;
            let mode = Mode::from_raw_mode(READABLE);
            rustix::fs::openat(&directory, kind.file_name(), flags, mode).map(File::from)
        };
        match open(&directory, kind, OFlags::WRONLY) {
            Err(Errno::NOENT) => made(),
            opened => opened,
        }
    });
    overwrite(file, bytes).map_err(|e| Error::io("write", path(ns, kind), e))
}

/// Whether a file can be taken over: it is one itself, and leads to none.
fn is_plain(ns: &NamespaceName, kind: FileKind) -> bool {
    opened(ns)
        .and_then(|directory| {
            rustix::fs::statat(&directory, kind.file_name(), AtFlags::SYMLINK_NOFOLLOW)
        })
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

/// Removes a file.
pub(super) fn remove(ns: &NamespaceName, kind: FileKind) -> Result<(), Error> {
    opened(ns)
        .and_then(|directory| rustix::fs::unlinkat(&directory, kind.file_name(), AtFlags::empty()))
        .map_err(|e| Error::io("remove", path(ns, kind), e))
}

/// Removes a directory if nothing is in it. Whether it is gone.
pub(super) fn remove_directory(path: &Path) -> Result<bool, Error> {
    if let Ok(base) = base() {
        // A crash may have left it.
        let _ = rustix::fs::unlinkat(&base, DRAFT, AtFlags::empty());
    }
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        // What is there now isn't what was made, so it is nobody's business here.
        Err(e) if e.kind() == ErrorKind::NotADirectory => Ok(true),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        // Where nothing may be written, that is said even of what isn't there.
        Err(_) if !path.exists() => Ok(true),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

fn directory(ns: &NamespaceName) -> PathBuf {
    Path::new(DIRECTORY).join(ns.as_str())
}

pub(super) fn path(ns: &NamespaceName, kind: FileKind) -> PathBuf {
    directory(ns).join(kind.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_owner_and_keeps_its_content() {
        let lab = TopologyName::try_from("lab").expect("a name");
        let content = "nameserver 198.51.100.53\n";
        assert_eq!(
            split(&text(&lab, content)),
            (content.to_owned(), Some(lab.clone()))
        );
        assert_eq!(split(content), (content.to_owned(), None));
        assert_eq!(split("# netform:lab"), (String::new(), Some(lab)));
        assert_eq!(split("# netform:Lab\nx\n").1, None);
    }
}
