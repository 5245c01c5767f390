//! Reading the files of `-f`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::spec::source::Source;

/// Where the spec comes from, as every verb that reads one takes it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Files {
    /// A spec; a directory means its *.yaml and *.yml in name order; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}

/// The largest spec that is read, in bytes.
const LIMIT: u64 = 64 << 20;

impl Files {
    /// The texts of the files, in order. The error is a message for people.
    pub(super) fn read(&self) -> Result<Vec<Source>, String> {
        read(&self.files)
    }
}

/// The texts of `files`, in order. The error is a message for people.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    let mut stdin_taken = false;
    for path in files {
        if path.as_os_str() == "-" {
            if std::mem::replace(&mut stdin_taken, true) {
                return Err("`-f -` is given twice, but standard input can be read once".to_owned());
            }
            sources.push(text("<stdin>", std::io::stdin().lock())?);
        } else if path.is_dir() {
            let inside = specs_in(path)?;
            if inside.is_empty() {
                return Err(format!(
                    "{} has no *.yaml or *.yml file in it",
                    path.display()
                ));
            }
            for path in inside {
                sources.push(file(&path)?);
            }
        } else {
            sources.push(file(path)?);
        }
    }
    Ok(sources)
}

fn specs_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{} can't be read: {error}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file(path: &Path) -> Result<Source, String> {
    let opened = fs::File::open(path)
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    text(&path.display().to_string(), opened)
}

fn text(name: &str, from: impl Read) -> Result<Source, String> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name} can't be read: {error}"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!(
            "{name} is larger than {} MiB: no spec is",
            LIMIT >> 20
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        let at = error.utf8_error().valid_up_to();
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return format!("{name} is UTF-16 and not UTF-8: save it as UTF-8");
        }
        let lines = bytes[..at].split(|byte| *byte == b'\n');
        let (line, last) = lines.enumerate().last().unwrap_or_default();
        let (line, column) = (line + 1, last.len() + 1);
        format!(
            "{name} is not UTF-8: byte {column} of line {line} begins no character; save it as UTF-8"
        )
    })?;
    Ok(Source::new(name, text))
}
