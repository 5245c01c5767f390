//! Configuration of other programs, as files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// How much of a file is read, in bytes. No configuration that somebody wrote is as long.
const LIMIT: u64 = 256 * 1024;

/// How many files of a directory are looked at.
const FILES: usize = 1000;

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

/// The files of some directories whose names end in a suffix, in the order of their names. Of two of one name
/// only that in the first directory counts (`man 5 systemd.unit`, `man 5 NetworkManager.conf`, `man 7 udev`).
pub(super) fn files(directories: &[String], suffix: &str) -> Vec<PathBuf> {
    let mut files = BTreeMap::new();
    for directory in directories {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.take(FILES) {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(suffix) {
                files.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    files.into_values().collect()
}

/// The lines of an INI file that say something, each with its section: the key, and the value.
pub(super) fn settings(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(title) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = title;
        }
        if line.starts_with(['#', ';', '[']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        Some((section, key.trim(), value.trim()))
    })
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

    #[test]
    fn a_setting_has_its_section() {
        let ini = "# a=b\nx=0\n[Network]\n ManageForeignRoutes = no \n;c=d\n[Match]\nName=*\n";
        let all: Vec<_> = settings(ini).collect();
        let wanted = [
            ("", "x", "0"),
            ("Network", "ManageForeignRoutes", "no"),
            ("Match", "Name", "*"),
        ];
        assert_eq!(all, wanted);
    }
}
