//! The files of a private host: `/proc` and `/sys` of its namespaces, `/run` and `/etc` of its own.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, unmount,
};

use super::error::Error;
use super::{internet, user};

/// What nobody should find in a file system that is for data: set-uid programs and devices.
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Why an ordinary user has no private host in most containers, and what to do.
const COVERED: &str = "parts of /proc are covered here, as in containers, and a user may not have \
    another one: run this as root, or start the container with --privileged or \
    --security-opt systempaths=unconfined";

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
    .map_err(|e| match e {
        Errno::PERM if user::is_proc_covered() => Error::Refused(COVERED.to_owned()),
        e => Error::host(&format!("mount {path}"), e),
    })
}

/// Gives the host an `/etc` of its own, with the machine's files, a resolver of the internet's and an
/// empty `/etc/netns`. Nothing reaches the machine's own `/etc`.
fn etc() -> Result<(), Error> {
    memory("/run")?;
    match lay_over_etc() {
        Ok(()) => {}
        // A kernel may lack overlays, keep them from users (before Linux 5.11), or find that there are
        // too many on each other already, as in a container in a container.
        Err(_) => rebuild_etc()?,
    }
    // What was mounted keeps what it was made of.
    unmount("/run", UnmountFlags::DETACH).map_err(|e| Error::host("unmount /run", e))?;
    memory("/etc/netns")
}

/// Lays a writable layer over `/etc`.
///
/// The layer is prepared before it is laid: what an ordinary user finds in `/etc` is not theirs, so
/// they couldn't change it afterwards.
fn lay_over_etc() -> io::Result<()> {
    fs::create_dir_all("/run/upper/netns")?;
    fs::create_dir("/run/work")?;
    fs::write("/run/upper/resolv.conf", internet::RESOLVER)?;
    let layers = c"lowerdir=/etc,upperdir=/run/upper,workdir=/run/work";
    Ok(mount("overlay", "/etc", "overlay", PLAIN, layers)?)
}

/// Mounts an empty `/etc`, and in it all that was there, read-only.
fn rebuild_etc() -> Result<(), Error> {
    let build = || -> io::Result<()> {
        let old = Path::new("/run/etc");
        fs::create_dir(old)?;
        mount_bind_recursive("/etc", old)?;
        make_read_only(c"/run/etc")?;
        mount("tmpfs", "/etc", "tmpfs", PLAIN, c"mode=755")?;
        for entry in fs::read_dir(old)? {
            let entry = entry?;
            let (from, to) = (entry.path(), Path::new("/etc").join(entry.file_name()));
            let kind = entry.file_type()?;
            if entry.file_name() == "resolv.conf" || entry.file_name() == "netns" {
                continue;
            }
            if kind.is_symlink() {
                symlink(fs::read_link(from)?, to)?;
                continue;
            }
            if kind.is_dir() {
                fs::create_dir(&to)?;
            } else {
                fs::write(&to, "")?;
            }
            mount_bind_recursive(from, to)?;
        }
        fs::create_dir("/etc/netns")?;
        fs::write("/etc/resolv.conf", internet::RESOLVER)
    };
    build().map_err(|e| Error::host("mount an /etc of its own (Linux 5.12 can)", e))
}

/// Makes all that is mounted at a path and below it read-only (`man 2 mount_setattr`, Linux 5.12).
fn make_read_only(path: &CStr) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a NUL, and the attributes are as long as is said.
    #[expect(unsafe_code, reason = "rustix has no such call")]
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
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
