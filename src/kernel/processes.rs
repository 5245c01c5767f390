//! What `/proc` tells of processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The processes there are, by number, and where `/proc` tells of each.
pub(super) fn all() -> io::Result<impl Iterator<Item = (u32, PathBuf)>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    }))
}

/// The number of the file that a link below `/proc` leads to, `KIND:[NUMBER]`. None: it is of another kind, or gone.
pub(super) fn inode(link: &Path, kind: &str) -> Option<u64> {
    let target = fs::read_link(link).ok()?;
    let number = target.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    number.strip_suffix(']')?.parse().ok()
}

/// The name of a process, as a terminal shows it.
pub(super) fn name(pid: u32) -> String {
    shown(&read(pid, "comm"), usize::MAX)
}

/// What a process runs, in at most so many characters, as a terminal shows them.
pub(super) fn command(pid: u32, longest: usize) -> String {
    let line = match read(pid, "cmdline") {
        // A zombie has none.
        line if line.is_empty() => read(pid, "comm"),
        line => line,
    };
    shown(&line, longest)
}

fn read(pid: u32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn shown(line: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\0', '\n']);
    let shown = |c: char| match c {
        '\0' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut words: String = text.chars().take(longest).map(shown).collect();
    if text.chars().nth(longest).is_some() {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_command_is_told_in_few_harmless_words() {
        let words = |line: &[u8]| shown(line, 60);
        assert_eq!(words(b"sleep\x00600\x00"), "sleep 600");
        assert_eq!(
            words(b"sh\x00-c\x00\x1b[2J\nx\x00"),
            "sh -c \u{fffd}[2J\u{fffd}x"
        );
        let long = words(&[b'x'; 500]);
        assert_eq!((long.chars().count(), long.ends_with("x…")), (61, true));
    }
}
