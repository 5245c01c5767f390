//! All settings of a network namespace at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::Error;
use super::{namespace, sysctl};

/// The last parts of the names of settings that are secrets: from what addresses are derived (RFC 7217), and what lets
/// a connection begin with data (RFC 7413).
pub(super) const SECRET: [&str; 2] = ["stable_secret", "tcp_fastopen_key"];

/// The settings of the namespace of this thread that can be read and written, by their paths, as far as these are wanted:
/// `net/ipv4/conf` and all that is below, or one of it.
pub(super) fn here(is_wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    below("net", &is_wanted, &mut all)?;
    Ok(all)
}

/// Those of a new namespace.
pub(super) fn usual(
    is_wanted: impl Fn(&str) -> bool + Sync,
) -> Result<BTreeMap<String, String>, Error> {
    // Whoever looks is in the new one afterwards.
    let look = || namespace::fresh().and_then(|()| here(&is_wanted));
    let usual = std::thread::scope(|scope| scope.spawn(look).join());
    usual.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The last part of the name of a setting.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn below(
    path: &str,
    is_wanted: &impl Fn(&str) -> bool,
    all: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    let directory = Path::new("/proc/sys").join(path);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        // A link may have gone meanwhile.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", directory, e)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (Some(name), Ok(kind)) = (name.to_str(), entry.metadata()) else {
            continue;
        };
        let inside = format!("{path}/{name}");
        if !is_wanted(&inside) {
            continue;
        }
        if kind.is_dir() {
            below(&inside, is_wanted, all)?;
        } else if kind.permissions().mode() & 0o600 == 0o600 {
            all.extend(sysctl::read(&inside)?.map(|value| (inside, value)));
        }
    }
    Ok(())
}
