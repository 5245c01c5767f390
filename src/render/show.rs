//! What topologies own, as a text to read.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::phrase;
use super::style::{Colour, Role};
use crate::plan::Warning;
use crate::resource::link::LinkKind;
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Counted, State, Traffic};

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

/// What there is to show of a topology.
#[derive(Debug)]
pub struct Portrait {
    /// Its name.
    pub name: TopologyName,
    /// A State in which it was observed.
    pub state: State,
    /// What a person should know of its record.
    pub lost: Option<Warning>,
    /// What goes by its tables, as far as that was read.
    pub traffic: BTreeMap<Ns, Traffic>,
    /// Whether it is as a spec says, if there are specs.
    pub sync: Option<Sync>,
}

/// Whether a topology is as a spec says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It is.
    Same,
    /// So many operations lead there.
    Differs(usize),
    /// So many things of others are in the way.
    Blocked(usize),
    /// Nothing of it is here; so many operations make it.
    NotApplied(usize),
    /// None of the specs is of this topology.
    NoSpec,
}

impl Sync {
    /// In few words.
    fn words(self) -> String {
        match self {
            Sync::Same => "in sync".to_owned(),
            Sync::Differs(1) => "drifted: 1 change".to_owned(),
            Sync::Differs(changes) => format!("drifted: {changes} changes"),
            Sync::Blocked(things) => format!("blocked: {things} in the way"),
            Sync::NotApplied(_) => "not applied".to_owned(),
            Sync::NoSpec => "no spec".to_owned(),
        }
    }

    fn role(self) -> Role {
        match self {
            Sync::Same => Role::Added,
            Sync::Differs(_) => Role::Changed,
            Sync::Blocked(_) => Role::Warning,
            Sync::NotApplied(_) | Sync::NoSpec => Role::Faint,
        }
    }
}

/// Topologies and how much each owns, in columns.
pub fn list(portraits: &[Portrait], colour: Colour) -> String {
    if portraits.is_empty() {
        return "There is no topology here.\n".to_owned();
    }
    let names = portraits.iter().map(|one| one.name.as_str().len());
    let width = names.chain(["TOPOLOGY".len()]).max().unwrap_or_default();
    let mut head = format!("{:width$}", "TOPOLOGY");
    for title in HEADS {
        let _ = write!(head, "  {title}");
    }
    if portraits.iter().any(|one| one.sync.is_some()) {
        head.push_str("  SPEC");
    }
    let mut text = format!("{}\n", colour.paint(Role::Title, &head));
    for Portrait {
        name, state, sync, ..
    } in portraits
    {
        let _ = write!(text, "{name:width$}");
        for (title, count) in HEADS.into_iter().zip(counts(name, state)) {
            let _ = write!(text, "  {count:>width$}", width = title.len());
        }
        if let Some(sync) = sync {
            let _ = write!(text, "  {}", colour.paint(sync.role(), &sync.words()));
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

/// What a topology owns and has borrowed, grouped by namespace, one line a thing; what goes by its tables; and what a
/// person should know of its record.
pub fn one(portrait: &Portrait, colour: Colour) -> String {
    let Portrait {
        name: topology,
        state,
        lost: warning,
        traffic,
        sync,
    } = portrait;
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
    for (ns, traffic) in traffic {
        groups.entry(ns).or_default().extend(passing(traffic));
    }
    let title = |text: &str| colour.paint(Role::Title, text);
    let mut text = title(topology.as_str());
    if let Some(sync) = sync {
        let _ = write!(text, "  {}", colour.paint(sync.role(), &sync.words()));
    }
    text.push('\n');
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

/// What goes by a table, a line each.
fn passing(traffic: &Traffic) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(now) = &traffic.connections {
        let of = match now.all {
            1 => "1 connection of its members now".to_owned(),
            all => format!("{all} connections of its members now"),
        };
        let rewritten = [
            (now.source_rewritten, "source"),
            (now.destination_rewritten, "destination"),
        ];
        let rewritten: Vec<String> = rewritten
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, end)| format!("{count} with a rewritten {end}"))
            .collect();
        let colon = if rewritten.is_empty() { "" } else { ": " };
        lines.push(format!("{of}{colon}{}", rewritten.join(", ")));
    }
    let met = traffic.counted.iter().filter(|one| one.packets > 0);
    let met: Vec<_> = met.collect();
    let packets = met.iter().map(|one| one.packets.to_string().len());
    let width = packets.max().unwrap_or_default();
    lines.extend(met.into_iter().map(|one| {
        let of = match one.packets {
            1 => "packet ",
            _ => "packets",
        };
        let rule = one.rule.as_deref().unwrap_or("by a rule without a comment");
        let Counted {
            packets,
            bytes,
            chain,
            ..
        } = one;
        format!("stopped {packets:>width$} {of} ({bytes} bytes) in chain {chain}: {rule}")
    }));
    lines
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
