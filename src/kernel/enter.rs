//! Entering a namespace for good, as `ip netns exec` does: with its `/sys`, and its files of `/etc`.

use std::fs;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::UnshareFlags;

use super::error::Error;
use super::namespace;
use crate::resource::name::NamespaceName;

/// Where namespaces have files that stand for those of `/etc` (`man 8 ip-netns`).
const FILES: &str = "/etc/netns";

/// Moves this process into a namespace: its network, a `/sys` that shows its links, and the files of
/// `/etc/netns/NAME` in place of those of `/etc`. Returns warnings: which of the files have nothing to
/// be in place of.
///
/// Only for processes without threads: others would stay outside.
///
/// Fails with [`Error::NoNamespace`], which names those that there are, and with [`Error::Call`] and
/// [`Error::Io`] without `CAP_SYS_ADMIN`.
pub fn enter(name: &NamespaceName) -> Result<Vec<String>, Error> {
    let Some(ns) = namespace::open(name)? else {
        return Err(missing(name)?);
    };
    namespace::enter(&ns)?;
    // SAFETY: descriptors stay shared.
    #[expect(unsafe_code, reason = "unshare is unsafe for other flags than this")]
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(|e| Error::call("make a mount namespace", e))?;
    // What is mounted outside later is seen inside, and not the other way round.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(|e| Error::io("keep mounts from leaving", "/", e))?;
    mount_sys()?;
    bind_files(&Path::new(FILES).join(name.as_str()))
}

/// That there is no such namespace, and which there are.
fn missing(name: &NamespaceName) -> Result<Error, Error> {
    if let Some(hollow) = namespace::hollow(name) {
        return Ok(hollow);
    }
    let mut others = Vec::new();
    for other in namespace::names()? {
        if namespace::open(&other)?.is_some() {
            others.push(other);
        }
    }
    others.sort();
    Ok(Error::NoNamespace {
        name: name.clone(),
        others,
    })
}

/// Mounts `/sys` anew, because it shows the links of the namespace that it is mounted in. It stays
/// read-only where it was, as in containers.
fn mount_sys() -> Result<(), Error> {
    let sys = statvfs("/sys").map_err(|e| Error::io("look at", "/sys", e))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if sys.f_flag.contains(StatVfsMountFlags::RDONLY) {
        flags |= MountFlags::RDONLY;
    }
    mount("sysfs", "/sys", "sysfs", flags, None).map_err(|e| Error::io("mount", "/sys", e))
}

/// Mounts the files of a namespace over those of `/etc`.
fn bind_files(directory: &Path) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(warnings),
        Err(e) => return Err(Error::io("read", directory, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", directory, e))?;
        let over = Path::new("/etc").join(entry.file_name());
        if let Err(error) = mount_bind(entry.path(), &over) {
            warnings.push(format!(
                "{} does not stand for {}, which must exist and be of the same type: {error}",
                entry.path().display(),
                over.display(),
            ));
        }
    }
    Ok(warnings)
}
