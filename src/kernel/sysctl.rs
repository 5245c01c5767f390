//! Sysctls, as files below `/proc/sys`. Those below `net` are of the namespace of the thread that opens
//! them.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::Error;
use crate::resource::Family;
use crate::resource::sysctl::SysctlKey;

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys").join(path)
}

/// A value, without the newline at its end and with single spaces for tabs. None: there is no such
/// sysctl, or it can't be read.
pub(super) fn read(path: &str) -> Result<Option<String>, Error> {
    value(path, fs::read_to_string(file(path)))
}

/// The same of a file in a directory.
pub(super) fn read_at(
    directory: BorrowedFd<'_>,
    name: &str,
    path: &str,
) -> Result<Option<String>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, Mode::empty());
    let text = opened.map_err(io::Error::from).and_then(|opened| {
        let mut text = String::new();
        File::from(opened).read_to_string(&mut text)?;
        Ok(text)
    });
    value(path, text)
}

/// What was read, or why nothing was.
fn value(path: &str, read: io::Result<String>) -> Result<Option<String>, Error> {
    match read {
        Ok(text) => Ok(Some(text.trim_end().replace('\t', " "))),
        // EINVAL and EIO are how some of them say that they are only for writing.
        Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::PermissionDenied => {
            Ok(None)
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EIO)) => Ok(None),
        Err(e) => Err(Error::io("read", file(path), e)),
    }
}

/// Whether there is a sysctl.
pub(super) fn exists(path: &str) -> bool {
    file(path).exists()
}

/// Writes a value.
pub(super) fn write(path: &str, value: &str) -> Result<(), Error> {
    write_to(path, openat(CWD, file(path), WRITING, Mode::empty()), value)
}

const WRITING: OFlags = OFlags::WRONLY.union(OFlags::CLOEXEC);

fn write_to(path: &str, opened: rustix::io::Result<OwnedFd>, value: &str) -> Result<(), Error> {
    let mut opened = match opened {
        Ok(opened) => File::from(opened),
        // Every namespace has these, so all of it is hidden.
        Err(rustix::io::Errno::NOENT) if path.starts_with("net/") && !exists("net/core") => {
            return Err(Error::io("write", file(path), rustix::io::Errno::NOENT));
        }
        Err(rustix::io::Errno::NOENT) => {
            return Err(Error::NoSysctl {
                path: path.to_owned(),
            });
        }
        Err(e) => return Err(Error::io("write", file(path), io::Error::from(e))),
    };
    // Nothing at all would never come to the kernel: an empty line empties a list.
    let text = if value.is_empty() { "\n" } else { value };
    opened
        .write_all(text.as_bytes())
        .map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL | libc::ERANGE) => Error::SysctlValue {
                path: path.to_owned(),
                value: value.to_owned(),
                source,
            },
            _ => Error::io("write", file(path), source),
        })
}

/// The sysctls of the namespace that a thread is in, and stays in.
///
/// The kernel looks for the name `ipv4` among those of all namespaces, one after the other
/// (`proc_sys_compare` of `fs/proc/proc_sysctl.c`), so it is looked for once, and not for each link.
#[derive(Debug, Default)]
pub(super) struct Here {
    conf: [OnceCell<Option<OwnedFd>>; 2],
}

impl Here {
    /// Writes a value.
    pub(super) fn write(&self, key: &SysctlKey, value: &str) -> Result<(), Error> {
        let path = key.path();
        if let SysctlKey::Conf { family, link, name } = key
            && let Some(conf) = self.conf(*family)
        {
            let opened = openat(conf, format!("{link}/{name}"), WRITING, Mode::empty());
            return write_to(&path, opened, value);
        }
        write(&path, value)
    }

    fn conf(&self, family: Family) -> Option<&OwnedFd> {
        let open = || {
            let path = match family {
                Family::Ipv4 => "net/ipv4/conf",
                Family::Ipv6 => "net/ipv6/conf",
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, file(path), flags, Mode::empty()).ok()
        };
        self.conf[family as usize].get_or_init(open).as_ref()
    }
}
