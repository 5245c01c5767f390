//! One netform at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Error;
use super::{processes, record};

/// How often to look whether it is done.
const PAUSE: Duration = Duration::from_millis(50);

/// How much is said of what the holder runs, in characters.
const LONGEST: usize = 80;

/// The right to change the network, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    /// None: it is another's by now.
    file: Option<File>,
}

impl Lock {
    /// Waits for it, for as long as `patience`.
    pub(super) fn take(patience: Duration) -> Result<Lock, Error> {
        let directory = Path::new(record::DIRECTORY);
        Lock::try_take(directory, patience).inspect_err(|_| {
            // If there is nothing in it, nobody needs it.
            let _ = fs::remove_dir(directory);
        })
    }

    fn try_take(directory: &Path, patience: Duration) -> Result<Lock, Error> {
        let path = path();
        let deadline = Instant::now() + patience;
        loop {
            fs::create_dir_all(directory).map_err(|e| Error::io("create", directory, e))?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let mut file = match file {
                Ok(file) => file,
                // The last holder has just removed the directory.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("open", path, e)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The last holder may have removed the file while it was being opened.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    // From here on it goes with what it made, also if it can't be signed.
                    let mut lock = Lock { file: Some(file) };
                    if let Some(file) = &mut lock.file {
                        sign(file).map_err(|e| Error::io("write", path, e))?;
                    }
                    return Ok(lock);
                }
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    let holder = holder(&mut file);
                    return Err(Error::Locked { holder });
                }
                Err(e) => return Err(Error::io("lock", path, e)),
            }
        }
    }
}

impl Lock {
    /// In a process that was forked: leaves it to the one that took it.
    pub fn leave(mut self) {
        self.file = None;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        // What nobody needs anymore goes, so that the last destroy leaves /run as it was. Who waits for
        // the file that is removed here sees that it is, and makes a new one.
        record::remove_drafts();
        if record::names().is_ok_and(|names| names.is_empty()) {
            let _ = fs::remove_file(path());
            let _ = fs::remove_dir(record::DIRECTORY);
        }
        let _ = flock(file, FlockOperation::Unlock);
    }
}

fn path() -> PathBuf {
    Path::new(record::DIRECTORY).join("lock")
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Who holds it, and what that runs, as far as can be told.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let Ok(pid) = text.trim().parse() else {
        return "its number is unknown".to_owned();
    };
    // It may be in another namespace of processes, or have ended just now.
    match processes::command(pid, LONGEST) {
        command if command.is_empty() => format!("pid {pid}"),
        command => format!("pid {pid}: {command}"),
    }
}

/// Writes who we are into the file.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
