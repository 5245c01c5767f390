//! The processes inside of namespaces that go.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use super::Kernel;
use super::error::Error;
use super::space::{door, inode_of};
use crate::plan::{Action, Plan, Warning};
use crate::resource::{Key, Ns};

/// How much of a command is told, in characters.
const WORDS: usize = 60;

/// What to say of the processes inside of the namespaces that a plan removes, by namespace and number.
pub(super) fn inmates(kernel: &Kernel, plan: &Plan) -> Result<Vec<Warning>, Error> {
    let mut going: BTreeMap<u64, &Ns> = BTreeMap::new();
    for operation in &plan.operations {
        if let (Key::Namespace, Action::Remove(_)) = (&operation.id.key, &operation.action)
            && let Some(door) = door(&kernel.doors, &operation.id.ns)?
        {
            going.insert(inode_of(door.as_fd())?, &operation.id.ns);
        }
    }
    // To look at every process takes a while where there are many.
    if going.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: Vec<(&Ns, u32)> = Vec::new();
    let processes = fs::read_dir("/proc").map_err(|e| Error::io("read", "/proc", e))?;
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One may have ended meanwhile, and a kernel thread has none.
        let Ok(link) = fs::read_link(process.path().join("ns/net")) else {
            continue;
        };
        let inode = link.to_str().and_then(|text| {
            let number = text.strip_prefix("net:[")?.strip_suffix(']')?;
            number.parse::<u64>().ok()
        });
        if let Some(ns) = inode.and_then(|inode| going.get(&inode)) {
            found.push((ns, pid));
        }
    }
    found.sort_unstable();
    let warning = |(ns, pid): (&Ns, u32)| Warning::Inmate {
        ns: ns.clone(),
        pid,
        command: command(pid),
    };
    Ok(found.into_iter().map(warning).collect())
}

/// What a process runs, in words that a terminal shows as they are.
fn command(pid: u32) -> String {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = match read("cmdline") {
        // A zombie has none.
        line if line.is_empty() => read("comm"),
        line => line,
    };
    words(&line)
}

fn words(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\0', '\n']);
    let shown = |c: char| match c {
        '\0' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut words: String = text.chars().take(WORDS).map(shown).collect();
    if text.chars().count() > WORDS {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_command_is_told_in_few_harmless_words() {
        assert_eq!(words(b"sleep\x00600\x00"), "sleep 600");
        assert_eq!(
            words(b"sh\x00-c\x00\x1b[2J\nx\x00"),
            "sh -c \u{fffd}[2J\u{fffd}x"
        );
        let long = words(&[b'x'; 500]);
        assert_eq!((long.chars().count(), long.ends_with("x…")), (61, true));
    }
}
