//! Files of several topologies.

use super::findings::Findings;
use super::source::Source;
use super::tree::{self, Value};

/// The files of each topology, in the order in which the names come first.
///
/// Files of one name are one topology. Where all that have a name have the same, those without one belong to it too;
/// where there are several names, such a file is on its own, and so wrong: nothing says where it belongs.
pub fn topologies(sources: Vec<Source>) -> Vec<Vec<Source>> {
    if sources.len() < 2 {
        return vec![sources];
    }
    let names: Vec<Option<String>> = sources.iter().map(name).collect();
    let mut known: Vec<&String> = Vec::new();
    for name in names.iter().flatten() {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    if known.len() < 2 {
        return vec![sources];
    }
    let mut several: Vec<(Option<&String>, Vec<Source>)> = Vec::new();
    for (source, name) in sources.into_iter().zip(&names) {
        let same = several
            .iter_mut()
            .find(|(of, _)| name.is_some() && *of == name.as_ref());
        match same {
            Some((_, files)) => files.push(source),
            None => several.push((name.as_ref(), vec![source])),
        }
    }
    several.into_iter().map(|(_, files)| files).collect()
}

/// The name of the topology that a file is of. None: it says none, or can't be read.
fn name(source: &Source) -> Option<String> {
    let root = tree::read(source, 0, &mut Findings::default())?;
    let Value::Map(entries) = &*root.value else {
        return None;
    };
    let mut entries = entries.iter();
    let entry = entries.find(|entry| entry.key.value == "name")?;
    match &*entry.value.value {
        Value::Scalar { text, .. } => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_by_the_name_of_their_topology() {
        let files = |texts: &[&str]| {
            let sources = texts.iter().enumerate();
            sources
                .map(|(at, text)| Source::new(at.to_string(), (*text).to_owned()))
                .collect()
        };
        let sorted = |texts: &[&str]| -> Vec<String> {
            let several = topologies(files(texts));
            let names = several.iter().map(|files| {
                let names = files.iter().map(|file| file.name.clone());
                names.collect::<Vec<_>>().join(" ")
            });
            names.collect()
        };
        assert_eq!(sorted(&["name: a"]), ["0"]);
        assert_eq!(sorted(&["name: a", "name: a", "version: 1"]), ["0 1 2"]);
        assert_eq!(sorted(&["name: b", "name: a", "name: b"]), ["0 2", "1"]);
        // What says none, and what can't be read, is nobody's.
        assert_eq!(
            sorted(&["name: b", "x: 1", "name: a", "{", "- name", "name: [b]"]),
            ["0", "1", "2", "3", "4", "5"]
        );
        assert_eq!(sorted(&["{", "x: 1"]), ["0 1"]);
    }
}
