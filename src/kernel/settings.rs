//! All settings of a network namespace at once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::error::Error;
use super::{namespace, sysctl};

/// The last parts of the names of settings that are secrets: from what addresses are derived (RFC 7217), and what lets
/// a connection begin with data (RFC 7413).
pub(super) const SECRET: [&str; 2] = ["stable_secret", "tcp_fastopen_key"];

/// The settings of the namespace of this thread that can be read and written, by their paths, as far as these are wanted:
/// `net/ipv4/conf` and all that is below, or one of it.
pub(super) fn here(is_wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    let top = fs::File::open("/proc/sys").map_err(|e| Error::io("read", "/proc/sys", e))?;
    below("net", top.as_fd(), &is_wanted, &mut all)?;
    Ok(all)
}

/// Those of a new namespace.
pub(super) fn usual(
    is_wanted: impl Fn(&str) -> bool + Sync,
) -> Result<BTreeMap<String, String>, Error> {
    // Whoever looks is in the new one afterwards.
    let look = || namespace::fresh().and_then(|()| here(&is_wanted));
    let usual = std::thread::scope(|scope| scope.spawn(look).join());
    usual.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The last part of the name of a setting.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Reads what is in a directory. All is opened from there: the kernel finds a name below `/proc/sys/net` among those of all
/// namespaces with such a setting, one after the other (`proc_sys_compare` of `fs/proc/proc_sysctl.c`), but what is in a directory of a namespace is its own.
fn below(
    path: &str,
    at: BorrowedFd<'_>,
    is_wanted: &impl Fn(&str) -> bool,
    all: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    let failed = |path: &str, e: Errno| {
        let path = Path::new("/proc/sys").join(path);
        Error::io("read", path, io::Error::from(e))
    };
    let name = last(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match openat(at, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        // A link may have gone meanwhile.
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(failed(path, e)),
    };
    let entries = Dir::read_from(&directory).map_err(|e| failed(path, e))?;
    for entry in entries {
        let Ok(entry) = entry else {
            break;
        };
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let inside = format!("{path}/{name}");
        if matches!(name, "." | "..") || !is_wanted(&inside) {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            below(&inside, directory.as_fd(), is_wanted, all)?;
            continue;
        }
        let Ok(kind) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if kind.st_mode & 0o600 == 0o600 {
            let value = sysctl::read_at(directory.as_fd(), name, &inside)?;
            all.extend(value.map(|value| (inside, value)));
        }
    }
    Ok(())
}
