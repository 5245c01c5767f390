//! Files that netform writes for itself to read again: with a version, and a checksum by which it is noticed that one was cut
//! short or written in.

use std::hash::Hasher;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The version of the format that this release reads and writes.
const FORMAT: u32 = 1;

/// What such a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A saved plan.
    Plan,
    /// What a host was seen to have.
    Snapshot,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plan => "saved plan",
            Kind::Snapshot => "snapshot",
        }
    }

    /// How to get another one.
    fn again(self) -> &'static str {
        match self {
            Kind::Plan => "save the plan again: `netform plan -f FILE --out PLAN`",
            Kind::Snapshot => "take it again, on the host: `netform show --snapshot`",
        }
    }
}

/// What stands in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format_version: u32,
    /// The release that wrote it.
    netform: String,
    /// Of what it holds. It is no signature.
    checksum: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Value>,
}

/// Only what is looked at before the rest.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
    netform: String,
}

/// Whether a text begins as such a file does.
pub(crate) fn is_one(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix('{').map(str::trim_start);
    rest.is_some_and(|rest| rest.starts_with("\"format_version\""))
}

/// The text of a file that holds something.
pub(crate) fn seal(kind: Kind, held: Value) -> String {
    let checksum = checksum(&held);
    let (saved, snapshot) = match kind {
        Kind::Plan => (Some(held), None),
        Kind::Snapshot => (None, Some(held)),
    };
    let envelope = Envelope {
        format_version: FORMAT,
        netform: env!("CARGO_PKG_VERSION").to_owned(),
        checksum,
        saved,
        snapshot,
    };
    serde_json::to_string_pretty(&envelope).expect("it is plain data") + "\n"
}

/// What the text of a file holds, or what is wrong with it, and what to do.
pub(crate) fn open<T: DeserializeOwned>(kind: Kind, text: &str) -> Result<T, String> {
    let (name, again) = (kind.name(), kind.again());
    let isnt = |error: &serde_json::Error| isnt(kind, &error.to_string());
    let version: Version = serde_json::from_str(text).map_err(|error| {
        if error.is_eof() {
            format!("is cut short ({})\n  {again}", one_line(&error.to_string()))
        } else {
            isnt(&error)
        }
    })?;
    if version.format_version != FORMAT {
        return Err(format!(
            "was written by netform {} in format {}, and this release reads format {FORMAT}\n  {again}",
            version.netform.escape_debug(),
            version.format_version
        ));
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| isnt(&error))?;
    let held = match kind {
        Kind::Plan => envelope.saved,
        Kind::Snapshot => envelope.snapshot,
    };
    let held = held.ok_or_else(|| format!("is no {name}\n  {again}"))?;
    if envelope.checksum != checksum(&held) {
        return Err(format!(
            "was changed after it was saved: its checksum is another\n  {again}"
        ));
    }
    self::held(kind, held)
}

/// What a value stands for.
pub(crate) fn held<T: DeserializeOwned>(kind: Kind, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| isnt(kind, &error.to_string()))
}

/// That it is not what it is said to be, and why.
pub(crate) fn isnt(kind: Kind, why: &str) -> String {
    format!(
        "is no {} ({})\n  {}",
        kind.name(),
        one_line(why),
        kind.again()
    )
}

/// How much of a reason is told: what is unknown in a file may be as long as the file.
const TOLD: usize = 200;

/// A reason that may have text of the file in it. That must not look like a line of netform's own.
fn one_line(why: &str) -> String {
    let mut chars = why.chars();
    let line = chars.by_ref().take(TOLD);
    let mut line: String = line
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Text of a file from elsewhere, as a terminal shows it.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

fn checksum(value: &Value) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(value.to_string().as_bytes());
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}
