//! `plan --out` and `apply --plan`.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::session::{self, Access, Given, Session, Takeover};
use super::source::Files;
use super::{Status, output};
use crate::saved::Saved;

/// The largest file that is read, in bytes: a spec of 64 MiB, and its plan.
const LIMIT: u64 = 1 << 30;

/// That there is one topology, as a plan is of one.
pub(super) fn fits(given: &[Given]) -> Result<(), Status> {
    let [_, _, ..] = given else { return Ok(()) };
    let names: Vec<&str> = given
        .iter()
        .map(|one| one.spec.name.value.as_str())
        .collect();
    output::error(&format!(
        "`--out` saves the plan of one topology, and the files are of several: {}\n  \
         what one changes the plan of the next depends on: save one, apply it, then save the next",
        names.join(", ")
    ));
    Err(Status::Usage)
}

/// Saves a plan, and says so. The file is there as a whole or not at all.
pub(super) fn write(path: &Path, given: &Given, takeover: &Takeover, session: &Session) -> Status {
    let adopts = (takeover.adopt, takeover.adopt_from.as_ref());
    let saved = Saved::of(&given.sources, adopts, &session.plan);
    if let Err(error) = put(path, &saved.to_text()) {
        output::error(&format!(
            "can't save the plan in {}: {error}",
            path.display()
        ));
        return Status::Failed;
    }
    let path = path.display();
    output::remark(&format!(
        "The plan is saved: `netform apply --plan {path}` does just this, or nothing if what it depends on has changed.\n"
    ));
    Status::Done
}

/// Writes a file beside the one that it replaces.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::IsADirectory)?
        .to_owned();
    name.push(format!(".{:08x}", fastrand::u32(..)));
    let draft = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&draft)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Reads a saved plan, and looks whether files that were given as well are still what it was made from.
pub(super) fn read(path: &Path, files: &Files) -> Result<Saved, Status> {
    let fail = |why: &str| {
        output::error(&format!("{} {why}", path.display()));
        Status::Failed
    };
    let saved = text(path).map_err(|error| fail(&format!("can't be read: {error}")))?;
    let saved = Saved::parse(&saved).map_err(|why| fail(&why))?;
    if !files.files.is_empty() {
        let sources = files.read().map_err(|message| {
            output::error(&message);
            Status::Failed
        })?;
        if let Some(difference) = saved.differs_from_spec(&sources) {
            return Err(fail(&format!(
                "was made from another spec, and nothing was changed: save the plan again. What has changed:\n{difference}"
            )));
        }
    }
    Ok(saved)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(LIMIT)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The same plan, made anew. Where it comes out otherwise, that is told; that nothing is to be done anymore is no
/// failure, so that who runs it again after a success has one.
pub(super) fn session(path: &Path, saved: &Saved, access: Access) -> Result<Session, Status> {
    let given = session::parse_one(saved.sources())?;
    let takeover = Takeover {
        adopt: saved.adopt,
        adopt_from: saved.adopt_from.clone(),
    };
    let session = Session::of_spec(&given, &takeover, access)?;
    if session.plan.operations.is_empty() && session.renamed.is_none() {
        return Ok(session);
    }
    match saved.differs_from(&session.plan) {
        None => Ok(session),
        Some(difference) => {
            let difference = if difference.is_empty() {
                "another release of netform made it".to_owned()
            } else {
                format!("the plan would be another now:\n{difference}")
            };
            output::error(&format!(
                "{} isn't what would be done anymore, and nothing was changed: save the plan again, and read it. {difference}",
                path.display()
            ));
            Err(Status::Failed)
        }
    }
}
