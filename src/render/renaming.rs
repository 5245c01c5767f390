//! What a renaming of a topology comes to.

use crate::resource::Key;
use crate::resource::name::TopologyName;
use crate::state::State;

/// A line that says what of a topology gets another name, by how many of each.
///
/// `observed` is told as if it were called `new` already.
pub fn text(old: &TopologyName, new: &TopologyName, observed: &State) -> String {
    let count = |is: fn(&Key) -> bool, one: &str, many: &str| {
        let own = observed.entries.iter();
        let n = own
            .filter(|(id, entry)| is(&id.key) && entry.owner.is(new))
            .count();
        match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        }
    };
    let kinds = [
        count(|key| *key == Key::Namespace, "namespace", "namespaces"),
        count(|key| matches!(key, Key::Link(_)), "link", "links"),
        count(|key| matches!(key, Key::Port(_)), "port", "ports"),
        count(|key| matches!(key, Key::Address(_)), "address", "addresses"),
        count(|key| matches!(key, Key::Route(_)), "route", "routes"),
        count(|key| matches!(key, Key::Rule(_)), "rule", "rules"),
        count(|key| matches!(key, Key::File(_)), "file", "files"),
        count(|key| *key == Key::Table, "table", "tables"),
    ];
    let kinds: Vec<String> = kinds.into_iter().flatten().collect();
    let what = match kinds.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "what it has on loan".to_owned(),
    };
    format!(
        "Topology {old} becomes {new}: {what} of its own get the new name, and stay as they are.\n\n"
    )
}
