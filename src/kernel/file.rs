//! Files in `/etc/netns/NAME`, and the directories they need.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::adoption::Was;
use super::error::Error;
use super::tag;
use crate::resource::file::FileKind;
use crate::resource::name::{NamespaceName, TopologyName};

/// Where `ip netns exec` looks for files (`man 8 ip-netns`).
const DIRECTORY: &str = "/etc/netns";

/// Where a file is written before it gets its name: beside the namespaces' directories and not in one, where
/// `ip netns exec` would find it. Who writes holds the lock.
const DRAFT: &str = "/etc/netns/.netform-draft";

/// What is said below the owner.
const NOTICE: &str = "# Written by netform: changes are lost when it runs again.\n";

/// A file's content, without the comment that names its owner, and that owner. What is no file, or leads
/// to none, has no content: it is only in the way.
pub(super) fn read(
    ns: &NamespaceName,
    kind: FileKind,
) -> Result<Option<(String, Option<TopologyName>)>, Error> {
    let path = path(ns, kind);
    let mut bytes = Vec::new();
    match (fs::symlink_metadata(&path), fs::metadata(&path)) {
        (Ok(_), Ok(target)) if !target.is_file() => return Ok(Some((String::new(), None))),
        (Ok(link), Err(_)) if link.is_symlink() => return Ok(Some((String::new(), None))),
        _ => {}
    }
    match fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(split(&String::from_utf8_lossy(&bytes)))),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

/// The content and the owner in a file's text.
fn split(text: &str) -> (String, Option<TopologyName>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.strip_prefix("# ").and_then(tag::owner) {
        Some(owner) => {
            let content = rest.strip_prefix(NOTICE).unwrap_or(rest);
            (content.to_owned(), Some(owner))
        }
        None => (text.to_owned(), None),
    }
}

fn text(topology: &TopologyName, content: &str) -> String {
    format!("# {}\n{NOTICE}{content}", tag::text(topology))
}

/// The directories that a namespace's files need and that don't exist.
pub(super) fn missing_directories(ns: &NamespaceName) -> Vec<PathBuf> {
    [PathBuf::from(DIRECTORY), directory(ns)]
        .into_iter()
        .filter(|path| !path.exists())
        .collect()
}

/// Makes a file whole: it appears under its name when it is complete.
pub(super) fn create(
    ns: &NamespaceName,
    kind: FileKind,
    topology: &TopologyName,
    content: &str,
) -> Result<(), Error> {
    let path = path(ns, kind);
    let parent = directory(ns);
    fs::create_dir_all(&parent).map_err(|e| Error::io("create", &parent, e))?;
    let draft = Path::new(DRAFT);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(draft)
        .and_then(|mut file| file.write_all(text(topology, content).as_bytes()));
    if let Err(e) = written {
        let _ = fs::remove_file(draft);
        return Err(Error::io("write", draft, e));
    }
    // A link, unlike a renaming, doesn't take the place of a file that came meanwhile.
    let linked = fs::hard_link(draft, &path);
    let _ = fs::remove_file(draft);
    match linked {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Error::refused(
            libc::EEXIST,
            Some(path.display().to_string()),
        )),
        Err(e) => Err(Error::io("create", path, e)),
        Ok(()) => Ok(()),
    }
}

/// Changes a file in place, so that processes that have it mounted over their own see the change. The
/// first line stays, so a crash between two writes leaves a file that is still ours.
pub(super) fn update(
    ns: &NamespaceName,
    kind: FileKind,
    topology: &TopologyName,
    content: &str,
) -> Result<(), Error> {
    let path = path(ns, kind);
    let text = text(topology, content);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        })
        .map_err(|e| Error::io("write", path, e))
}

/// Writes a file that was taken over as it was before.
pub(super) fn restore(ns: &NamespaceName, kind: FileKind, was: Option<&Was>) -> Result<(), Error> {
    let Some(Was::File(bytes)) = was else {
        return Err(Error::Impossible("what a file was is forgotten"));
    };
    let path = path(ns, kind);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.set_len(bytes.len() as u64)
        })
        .map_err(|e| Error::io("write", path, e))
}

/// Whether a file can be taken over: it is one itself, and leads to none.
pub(super) fn is_plain(ns: &NamespaceName, kind: FileKind) -> bool {
    fs::symlink_metadata(path(ns, kind)).is_ok_and(|metadata| metadata.is_file())
}

/// Removes a file.
pub(super) fn remove(ns: &NamespaceName, kind: FileKind) -> Result<(), Error> {
    let path = path(ns, kind);
    fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))
}

/// Removes a directory if nothing is in it. Whether it is gone.
pub(super) fn remove_directory(path: &Path) -> Result<bool, Error> {
    // A crash may have left it.
    let _ = fs::remove_file(DRAFT);
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        // Where nothing may be written, that is said even of what isn't there.
        Err(_) if !path.exists() => Ok(true),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

fn directory(ns: &NamespaceName) -> PathBuf {
    Path::new(DIRECTORY).join(ns.as_str())
}

pub(super) fn path(ns: &NamespaceName, kind: FileKind) -> PathBuf {
    directory(ns).join(kind.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_owner_and_keeps_its_content() {
        let lab = TopologyName::try_from("lab").expect("a name");
        let content = "nameserver 198.51.100.53\n";
        assert_eq!(
            split(&text(&lab, content)),
            (content.to_owned(), Some(lab.clone()))
        );
        assert_eq!(split(content), (content.to_owned(), None));
        assert_eq!(split("# netform:lab"), (String::new(), Some(lab)));
        assert_eq!(split("# netform:Lab\nx\n").1, None);
    }
}
