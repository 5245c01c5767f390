//! Network namespaces: the only place that enters, makes or removes one.
//!
//! A namespace is a property of a thread, so whatever enters one does it on a thread that ends
//! afterwards. As with `ip netns`, a namespace's name is a file in `/run/netns` that it is mounted over.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::error::Error;
use super::{processes, sysctl};
use crate::resource::name::NamespaceName;
use crate::resource::namespace::INHERITED;

/// Where namespaces have their names (`man 8 ip-netns`).
pub const DIRECTORY: &str = "/run/netns";

/// The namespace of the thread that opens it.
const OWN: &str = "/proc/thread-self/ns/net";

/// What namespaces lie on (`NSFS_MAGIC` of `linux/magic.h`).
const NSFS: u64 = 0x6e73_6673;

/// The file of a namespace.
pub fn path(name: &NamespaceName) -> PathBuf {
    Path::new(DIRECTORY).join(name.as_str())
}

/// Opens a namespace by its name. None: it doesn't exist. A file that no namespace is mounted over,
/// which a crash leaves behind, is none.
pub fn open(name: &NamespaceName) -> Result<Option<OwnedFd>, Error> {
    let path = path(name);
    let file = match File::open(&path) {
        Ok(file) => OwnedFd::from(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let is_one = is_one(&file).map_err(|e| Error::io("look at", path, e))?;
    Ok(is_one.then_some(file))
}

/// Whether a descriptor is of a namespace, of whichever kind.
pub(super) fn is_one(file: impl AsFd) -> rustix::io::Result<bool> {
    let stat = rustix::fs::fstatfs(file)?;
    Ok(u64::try_from(stat.f_type).is_ok_and(|kind| kind == NSFS))
}

/// The names in `/run/netns`, also of files that no namespace is mounted over.
pub fn names() -> Result<Vec<NamespaceName>, Error> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", DIRECTORY, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", DIRECTORY, e))?;
        // A name that we don't take is none of ours.
        let name = entry.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| NamespaceName::try_from(name).ok()),
        );
    }
    Ok(names)
}

/// Opens the namespace of this thread.
pub fn open_own() -> Result<OwnedFd, Error> {
    let file = File::open(OWN).map_err(|e| Error::io("open", OWN, e))?;
    Ok(file.into())
}

/// Moves this thread into a namespace. Only for threads that end afterwards.
pub fn enter(ns: impl AsFd) -> Result<(), Error> {
    move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::call("enter a network namespace", e))
}

/// Does `work` inside of a namespace, on a thread of its own.
pub fn inside<T: Send>(
    ns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let run = move || {
        enter(ns)?;
        work()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| {
        std::panic::resume_unwind(panic);
    })
}

/// Does `work` for each item, on as many threads as there are processors. The threads end afterwards, so
/// `work` may enter namespaces. What comes back is in the order of the items.
pub(super) fn spread<I: Send, O: Send>(items: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(items.len());
    // The last is taken first: it is the host, which takes as long as hundreds of others.
    let waiting: Vec<(usize, I)> = items.into_iter().enumerate().collect();
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().ok()?.pop();
    let mut all: Vec<(usize, O)> = thread::scope(|scope| {
        let one = || {
            let items = std::iter::from_fn(next);
            items.map(|(place, item)| (place, work(item))).collect()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let results = running.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        results
            .collect::<Vec<Vec<_>>>()
            .into_iter()
            .flatten()
            .collect()
    });
    all.sort_unstable_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, result)| result).collect()
}

/// How long to wait for others that prepare the directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the directory of the names, and has mounts in it reach the other mount namespaces, as
/// `ip netns` does (`create_netns_dir` and `netns_add` of its `ipnetns.c`). It stays when the last name goes, as with `ip`.
///
/// Who comes first mounts the directory on itself. Two who do so at once would hide what one of them mounts in it
/// meanwhile, so both lock the directory for as long as they look and mount; the lock is that of the directory itself,
/// whatever it is mounted on.
pub(super) fn prepare() -> Result<(), Error> {
    fs::create_dir_all(DIRECTORY).map_err(|e| Error::io("create", DIRECTORY, e))?;
    let directory = File::open(DIRECTORY).map_err(|e| Error::io("open", DIRECTORY, e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(Error::io("lock", DIRECTORY, e)),
        }
    }
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(DIRECTORY, shared) {
        Ok(()) => Ok(()),
        // It is no mount point yet.
        Err(Errno::INVAL) => mount_bind_recursive(DIRECTORY, DIRECTORY)
            .and_then(|()| mount_change(DIRECTORY, shared))
            .map_err(|e| Error::io("mount", DIRECTORY, e)),
        Err(e) => Err(Error::io("share the mounts in", DIRECTORY, e)),
    }
}

/// Makes a namespace, which this thread is in afterwards, has `furnish` fill it, and only then gives it
/// its name. So a crash leaves nothing, or an empty file that the next one takes over.
pub(super) fn make<T>(
    name: &NamespaceName,
    furnish: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let path = path(name);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(&path)
    {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            if open(name)?.is_some() {
                return Err(Error::refused(libc::EEXIST, None));
            }
            if let Some(elsewhere) = elsewhere(name) {
                return Err(elsewhere);
            }
        }
        Err(e) => {
            // It may be there all the same.
            let _ = sweep(name);
            return Err(Error::io("create", path, e));
        }
    }
    let made = fresh().and_then(|()| furnish()).and_then(|made| {
        match rustix::mount::mount_bind(OWN, &path) {
            Ok(()) => Ok(made),
            Err(e) => Err(Error::io("mount a namespace on", &path, e)),
        }
    });
    if made.is_err() {
        // The error tells what matters; an empty file that stays is taken over the next time. Nothing was mounted
        // there before, so nothing but this one is unmounted.
        let _ = rustix::mount::unmount(&path, UnmountFlags::DETACH);
        let _ = fs::remove_file(&path);
    }
    made
}

/// That a namespace of a name is mounted, but not where this process sees it. To remove its file would take it away
/// from those who do (`man 2 unlink` of Linux 4.3 and later, `detach_mounts` of `fs/namespace.c`).
pub(super) fn elsewhere(name: &NamespaceName) -> Option<Error> {
    let path = path(name);
    let own = fs::read_link("/proc/thread-self/ns/mnt").ok()?;
    let device = fs::symlink_metadata(&path).ok()?.dev();
    let mut seen = HashSet::from([own]);
    for (pid, process) in processes::all().ok()? {
        let Ok(mounts) = fs::read_link(process.join("ns/mnt")) else {
            continue;
        };
        if seen.insert(mounts)
            && let Ok(table) = fs::read_to_string(process.join("mountinfo"))
            && is_mounted(&table, &path, device)
        {
            return Some(Error::Elsewhere {
                name: name.clone(),
                path,
                pid,
                process: processes::name(pid),
            });
        }
    }
    None
}

/// Whether a table of mounts (`man 5 proc`, `mountinfo`) has a namespace on a path, on the file system of a device: others
/// may have one of their own on that path.
fn is_mounted(table: &str, path: &Path, device: u64) -> bool {
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let fields = |line: &str| {
        let mut fields = line.split(' ').map(str::to_owned);
        Some([
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        ])
    };
    // Names have no characters that are written otherwise there.
    let mut namespaces = table
        .lines()
        .filter(|line| line.contains(" - nsfs "))
        .filter_map(fields)
        .filter(|[.., at]| Path::new(at) == path);
    namespaces.any(|[_, parent, ..]| {
        let mut mounts = table.lines().filter_map(fields);
        mounts.any(|[id, _, of, ..]| id == parent && of == device)
    })
}

/// Why there is no namespace of a name, if its file is there.
pub(super) fn hollow(name: &NamespaceName) -> Option<Error> {
    let path = path(name);
    let there = fs::symlink_metadata(&path).is_ok_and(|of| of.is_file());
    there.then(|| elsewhere(name).unwrap_or(Error::Hollow { path }))
}

/// Moves this thread into a new namespace.
pub(super) fn fresh() -> Result<(), Error> {
    // SAFETY: only the network namespace changes; descriptors stay shared among the threads.
    #[expect(unsafe_code, reason = "unshare is unsafe for other flags than this")]
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    unshared.map_err(|e| Error::call("make a network namespace", e))
}

/// Takes a namespace's name away. It ends once nothing holds it anymore: no process, no descriptor.
pub(super) fn remove(name: &NamespaceName) -> Result<(), Error> {
    let path = path(name);
    match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(Errno::NOENT) => return Err(Error::refused(libc::ENOENT, None)),
        Err(e) => return Err(Error::io("unmount", path, e)),
    }
    fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))
}

/// Removes the empty file that a crash leaves where a namespace had its name, or was to have it.
pub(super) fn sweep(name: &NamespaceName) -> Result<(), Error> {
    let path = path(name);
    let empty = fs::symlink_metadata(&path).is_ok_and(|of| of.is_file() && of.len() == 0);
    if !empty || open(name)?.is_some() || elsewhere(name).is_some() {
        return Ok(());
    }
    fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))
}

/// What to write into each new namespace to undo what the kernel copied into it.
#[derive(Debug, Default)]
pub(super) struct Inheritance {
    undo: OnceLock<Vec<(String, &'static str)>>,
}

impl Inheritance {
    /// Undoes it in the namespace of this thread, a new one. What was copied is looked up in the first
    /// one, because all copy from the same.
    pub(super) fn undo(&self) -> Result<(), Error> {
        let read = |path: &str| sysctl::read(path).ok().flatten();
        for (path, value) in self.undo.get_or_init(|| copied(read)) {
            sysctl::write(path, value)?;
        }
        Ok(())
    }
}

/// What differs from the kernel's own values, as `read` gives the present ones.
fn copied(read: impl Fn(&str) -> Option<String>) -> Vec<(String, &'static str)> {
    let mut undo = Vec::new();
    for (name, values) in INHERITED {
        for (link, value) in ["all", "default", "lo"].into_iter().zip(values) {
            let path = format!("net/ipv4/conf/{link}/{name}");
            // What this kernel doesn't have it hasn't copied.
            if read(&path).is_some_and(|now| now != value) {
                undo.push((path, value));
            }
        }
    }
    undo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_on_another_file_system_of_that_path_is_anothers() {
        let table = "30 1 0:27 / /run rw - tmpfs tmpfs rw\n\
                     41 30 0:4 net:[4026532300] /run/netns/a rw - nsfs nsfs rw\n";
        let path = Path::new("/run/netns/a");
        assert!(is_mounted(table, path, rustix::fs::makedev(0, 27)));
        assert!(!is_mounted(table, path, rustix::fs::makedev(0, 28)));
        assert!(!is_mounted(
            table,
            Path::new("/run/netns/b"),
            rustix::fs::makedev(0, 27)
        ));
    }

    #[test]
    fn only_what_was_copied_is_undone() {
        let own = |path: &str| {
            let (link, name) = path.strip_prefix("net/ipv4/conf/")?.split_once('/')?;
            let (_, values) = INHERITED.iter().find(|(default, _)| *default == name)?;
            let place = ["all", "default", "lo"].iter().position(|l| *l == link)?;
            Some(values[place].to_owned())
        };
        assert_eq!(copied(own), []);
        assert_eq!(copied(|_| None), []);
        let filtered = |path: &str| match path {
            "net/ipv4/conf/all/rp_filter" => Some("2".to_owned()),
            "net/ipv4/conf/lo/disable_policy" => None,
            _ => own(path),
        };
        let undo = [("net/ipv4/conf/all/rp_filter".to_owned(), "0")];
        assert_eq!(copied(filtered), undo);
    }
}
