//! What differs between two tables, line by line.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use super::render::{attributes, chain_body, chain_head, head, set_attributes, set_head};
use super::set::{Element, Set};
use super::{Chain, Table};

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What becomes of it.
    pub change: Change,
    /// How deep it stands: 0 the table itself, 1 its sets and chains, 2 what is in them.
    pub depth: usize,
    /// The text, in the language of `nft`.
    pub text: String,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays, and says where the others stand.
    Same,
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It stands for more lines that aren't shown.
    More,
}

/// The lines that differ, each below the set or chain that it stands in. No more than `limit` elements
/// of a set are listed; the rest is counted.
///
/// Elements have no order, so they are compared as what they are, and never by place.
pub fn diff(before: &Table, after: &Table, limit: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    changed_lines(&mut lines, 1, &attributes(before), &attributes(after));
    for (name, set) in both(&before.sets, &after.sets) {
        set_lines(&mut lines, name, set, limit);
    }
    for (name, chain) in both(&before.chains, &after.chains) {
        chain_lines(&mut lines, name, chain);
    }
    if !lines.is_empty() {
        lines.insert(0, Line::new(Change::Same, 0, head(after)));
    }
    lines
}

impl Line {
    fn new(change: Change, depth: usize, text: impl Into<String>) -> Line {
        Line {
            change,
            depth,
            text: text.into(),
        }
    }
}

/// The entries of two maps by name, each with what it was and what it becomes.
fn both<'a, T>(
    before: &'a BTreeMap<String, T>,
    after: &'a BTreeMap<String, T>,
) -> Vec<(&'a str, [Option<&'a T>; 2])> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| (name.as_str(), [before.get(name), after.get(name)]))
        .collect()
}

/// How the first line of a set or chain changes, from whether it is there before and after.
fn change_of<T>(states: [Option<&T>; 2]) -> Change {
    match states {
        [None, _] => Change::Added,
        [_, None] => Change::Removed,
        _ => Change::Same,
    }
}

fn set_lines(lines: &mut Vec<Line>, name: &str, states: [Option<&Set>; 2], limit: usize) {
    let change = change_of(states);
    let [before, after] = states;
    let Some(shown) = after.or(before) else {
        return;
    };
    let mut inside = Vec::new();
    let texts = [before, after].map(|set| set.map(set_attributes).unwrap_or_default());
    changed_lines(&mut inside, 2, &texts[0], &texts[1]);
    let none = BTreeSet::new();
    let [old, new] = [before, after].map(|set| set.map_or(&none, |set| &set.elements));
    element_lines(&mut inside, Change::Removed, old.difference(new), limit);
    element_lines(&mut inside, Change::Added, new.difference(old), limit);
    if !inside.is_empty() {
        lines.push(Line::new(change, 1, set_head(name, shown)));
        lines.extend(inside);
    }
}

fn element_lines<'a>(
    lines: &mut Vec<Line>,
    change: Change,
    mut elements: impl Iterator<Item = &'a Element>,
    limit: usize,
) {
    let shown = elements.by_ref().take(limit);
    lines.extend(shown.map(|element| Line::new(change, 2, format!("element {element}"))));
    let more = elements.count();
    if more > 0 {
        let verb = if change == Change::Added {
            "added"
        } else {
            "removed"
        };
        lines.push(Line::new(
            Change::More,
            2,
            format!("{more} more elements {verb}"),
        ));
    }
}

fn chain_lines(lines: &mut Vec<Line>, name: &str, states: [Option<&Chain>; 2]) {
    let mut inside = Vec::new();
    let texts = states.map(|chain| chain.map(chain_body).unwrap_or_default());
    changed_lines(&mut inside, 2, &texts[0], &texts[1]);
    let change = change_of(states);
    if !inside.is_empty() || change != Change::Same {
        lines.push(Line::new(change, 1, chain_head(name)));
        lines.extend(inside);
    }
}

/// The lines that differ.
fn changed_lines(lines: &mut Vec<Line>, depth: usize, before: &[String], after: &[String]) {
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    for change in TextDiff::from_slices(&before, &after).iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Insert => Change::Added,
            ChangeTag::Delete => Change::Removed,
        };
        lines.push(Line::new(kind, depth, change.value()));
    }
}
