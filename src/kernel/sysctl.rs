//! Sysctls, as files below `/proc/sys`. Those below `net` are of the namespace of the thread that opens
//! them.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::Error;

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys").join(path)
}

/// A value, without the newline at its end and with single spaces for tabs. None: there is no such
/// sysctl, or it can't be read.
pub(super) fn read(path: &str) -> Result<Option<String>, Error> {
    match fs::read_to_string(file(path)) {
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
    let mut opened = match OpenOptions::new().write(true).open(file(path)) {
        Ok(opened) => opened,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::NoSysctl {
                path: path.to_owned(),
            });
        }
        Err(e) => return Err(Error::io("write", file(path), e)),
    };
    opened
        .write_all(value.as_bytes())
        .map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL | libc::ERANGE) => Error::SysctlValue {
                path: path.to_owned(),
                value: value.to_owned(),
                source,
            },
            _ => Error::io("write", file(path), source),
        })
}
