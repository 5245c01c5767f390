//! Configuration of other programs, as files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// How much of a file is read, in bytes. No configuration that somebody wrote is as long.
const LIMIT: u64 = 256 * 1024;

/// The text of a regular file, wherever links lead to it. None: there is none, it can't be read, or it is too
/// long to be one that somebody wrote. What is no regular file is neither waited for nor read.
pub(super) fn text(path: impl AsRef<Path>) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(CWD, path.as_ref(), flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let read = file.take(LIMIT + 1).read_to_end(&mut bytes).ok()?;
    (read as u64 <= LIMIT).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_read() {
        assert_eq!(text("/dev/zero"), None);
        assert_eq!(text("/etc"), None);
        assert_eq!(text("/nowhere"), None);
    }
}
