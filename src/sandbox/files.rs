//! The files of a private host: `/proc` and `/sys` of its namespaces, `/run` and `/etc` of its own.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};

use super::error::Error;
use super::internet;

/// What nobody should find in a file system that is for data: set-uid programs and devices.
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Mounts them all. Mounts of this process must be its own.
pub(super) fn mount_all() -> Result<(), Error> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| Error::host("keep mounts to itself", e))?;
    kernel("proc", "/proc")?;
    kernel("sysfs", "/sys")?;
    etc()?;
    run()
}

/// Mounts a file system in which the kernel shows this process's namespaces.
fn kernel(kind: &str, path: &str) -> Result<(), Error> {
    let flags = PLAIN | MountFlags::NOEXEC;
    // An ordinary user can't write where the machine's own one is mounted read-only.
    match mount(kind, path, kind, flags, None) {
        Err(Errno::PERM) => mount(kind, path, kind, flags | MountFlags::RDONLY, None),
        mounted => mounted,
    }
    .map_err(|e| Error::host(&format!("mount {path}"), e))
}

/// Lays a writable layer over `/etc`, with a resolver of the internet's and an empty `/etc/netns`.
/// Nothing reaches the machine's own `/etc`.
///
/// The layer is prepared before it is laid: what an ordinary user finds in `/etc` is not theirs, so
/// they couldn't change it afterwards.
fn etc() -> Result<(), Error> {
    memory("/run")?;
    let write = || {
        fs::create_dir_all("/run/upper/netns")?;
        fs::create_dir("/run/work")?;
        fs::write("/run/upper/resolv.conf", internet::RESOLVER)
    };
    write().map_err(|e| Error::host("prepare /etc", e))?;
    let layers = c"lowerdir=/etc,upperdir=/run/upper,workdir=/run/work";
    mount("overlay", "/etc", "overlay", PLAIN, layers).map_err(|e| {
        Error::host(
            "mount /etc (an overlay, which Linux 5.11 lets users have)",
            e,
        )
    })?;
    // The layer keeps what it was made of.
    unmount("/run", UnmountFlags::DETACH).map_err(|e| Error::host("unmount /run", e))?;
    memory("/etc/netns")
}

/// Mounts an empty `/run` with what netform and `ip netns` need there.
fn run() -> Result<(), Error> {
    memory("/run")?;
    for directory in ["/run/netns", "/run/lock"] {
        fs::create_dir(directory).map_err(|e| Error::host(&format!("create {directory}"), e))?;
    }
    mount_bind("/run/netns", "/run/netns")
        .and_then(|()| mount_change("/run/netns", MountPropagationFlags::SHARED))
        .map_err(|e| Error::host("share /run/netns", e))
}

/// Mounts an empty file system in memory.
fn memory(path: impl AsRef<Path>) -> Result<(), Error> {
    let path = path.as_ref();
    mount("tmpfs", path, "tmpfs", PLAIN, c"mode=755")
        .map_err(|e| Error::host(&format!("mount {}", path.display()), e))
}
