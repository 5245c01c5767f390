//! What topologies own, as a text to read.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::phrase;
use super::style::{Colour, Role};
use crate::plan::Warning;
use crate::resource::link::LinkKind;
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::State;

/// The heads of the columns after the name, in the order of [`counts`].
const HEADS: [&str; 8] = [
    "NAMESPACES",
    "LINKS",
    "ADDRESSES",
    "ROUTES",
    "RULES",
    "FILES",
    "TABLES",
    "BORROWED",
];

/// Topologies and how much each owns, in columns, each topology with a State in which it was observed.
pub fn list(topologies: &[(TopologyName, State)], colour: Colour) -> String {
    if topologies.is_empty() {
        return "There is no topology here.\n".to_owned();
    }
    let names = topologies.iter().map(|(name, _)| name.as_str().len());
    let width = names.chain(["TOPOLOGY".len()]).max().unwrap_or_default();
    let mut head = format!("{:width$}", "TOPOLOGY");
    for title in HEADS {
        let _ = write!(head, "  {title}");
    }
    let mut text = format!("{}\n", colour.paint(Role::Title, &head));
    for (name, state) in topologies {
        let _ = write!(text, "{name:width$}");
        for (title, count) in HEADS.into_iter().zip(counts(name, state)) {
            let _ = write!(text, "  {count:>width$}", width = title.len());
        }
        text.push('\n');
    }
    text
}

/// How many things of each kind are a topology's. `lo` is a part of its namespace, and a port what a topology has
/// of somebody else's link.
fn counts(topology: &TopologyName, state: &State) -> [usize; 8] {
    let mut counts = [0; 8];
    for (id, _) in owned(topology, state) {
        let column = match &id.key {
            Key::Namespace => 0,
            Key::Link(name) if name.as_str() == "lo" => continue,
            Key::Link(_) | Key::Port(_) => 1,
            Key::Address(_) => 2,
            Key::Route(_) => 3,
            Key::Rule(_) => 4,
            Key::File(_) => 5,
            Key::Table => 6,
            // It stands in what is somebody else's.
            Key::Permit(_) => 7,
            Key::Sysctl(_) => continue,
        };
        counts[column] += 1;
    }
    counts[7] += lent(topology, state).count();
    counts
}

/// What a topology owns and has borrowed, grouped by namespace, one line a thing, and what a person should know
/// of its record.
pub fn one(
    topology: &TopologyName,
    state: &State,
    warning: Option<&Warning>,
    colour: Colour,
) -> String {
    let mut groups: BTreeMap<&Ns, Vec<String>> = BTreeMap::new();
    for (id, resource) in owned(topology, state) {
        let group = groups.entry(&id.ns).or_default();
        let of_namespace = matches!(
            resource,
            Resource::Link(link) if link.kind == LinkKind::Loopback && link.up
        );
        if !matches!(id.key, Key::Namespace | Key::Sysctl(_)) && !of_namespace {
            group.push(phrase::resource(id, resource, topology));
        }
    }
    for (id, original) in lent(topology, state) {
        let now = match state.get(id).map(|entry| &entry.resource) {
            Some(resource) => phrase::resource(id, resource, topology),
            None => format!("{}, which is gone", phrase::identity(id, topology)),
        };
        let line = format!("{now}  borrowed, was {original}");
        groups.entry(&id.ns).or_default().push(line);
    }
    let title = |text: &str| colour.paint(Role::Title, text);
    let mut text = format!("{}\n", title(topology.as_str()));
    for (ns, lines) in groups {
        let _ = writeln!(text, "\n  {}", title(&format!("namespace {ns}")));
        for line in lines {
            let _ = writeln!(text, "     {line}");
        }
    }
    if let Some(Warning::Remark { text: warning, .. }) = warning {
        let _ = writeln!(text, "\n  {}  {warning}", colour.paint(Role::Warning, "!"));
    }
    text
}

/// What carries a topology's tag.
pub(super) fn owned<'s>(
    topology: &TopologyName,
    state: &'s State,
) -> impl Iterator<Item = (&'s Id, &'s Resource)> {
    let entries = state.entries.iter();
    entries
        .filter(|(_, entry)| entry.owner.is(topology))
        .map(|(id, entry)| (id, &entry.resource))
}

/// The sysctls that a topology has on loan, and what each was.
pub(super) fn lent<'s>(
    topology: &TopologyName,
    state: &'s State,
) -> impl Iterator<Item = (&'s Id, &'s String)> {
    let loans = state.loans.iter();
    loans.filter_map(|(id, loan)| Some((id, loan.by.get(topology)?)))
}
