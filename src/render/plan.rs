//! A plan as a text to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use similar::{ChangeTag, TextDiff};

use crate::resource::nftables::{self, diff};

use super::changes::{self, Count, Sign, changes};
use super::style::{Colour, Role};
use super::{fold, phrase};
use crate::plan::{Action, Operation, Plan, Reason, Transfer, Warning};
use crate::resource::link::{GROUP, Link, MacAddress};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::{Change, Family, Id, Key, Ns, Resource};

/// What stands for a link-layer address that is made from a machine ID which isn't known.
pub const DERIVED: &str = "derived";

/// How a plan is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'v> {
    /// Whether in colour.
    pub colour: Colour,
    /// Whether each change is shown, also where many are alike.
    pub full: bool,
    /// What was changed by others since the spec before this one was applied, if that is known: what differs from that too.
    pub drift: Option<&'v BTreeSet<Id>>,
    /// The link-layer addresses that only stand for those of a host that isn't known.
    pub derived: Option<&'v BTreeSet<MacAddress>>,
}

impl View<'_> {
    /// With nothing left out.
    pub fn full(colour: Colour) -> View<'static> {
        View {
            colour,
            full: true,
            drift: None,
            derived: None,
        }
    }
}

/// What a plan does and says in one namespace.
#[derive(Debug, Default)]
struct Group {
    changes: Vec<Line>,
    warnings: Vec<Line>,
}

/// A line of a plan, and those that belong to it.
#[derive(Debug)]
struct Line {
    text: String,
    /// What it has in common with those that are alike.
    shape: String,
}

impl Line {
    /// What stands in a namespace, as a colour has it.
    fn new(ns: &Ns, view: &View<'_>, text: &dyn Fn(Colour) -> String) -> Line {
        let shown = text(view.colour);
        let shape = match view.colour {
            _ if view.full => String::new(),
            Colour::Off => fold::shape(&shown, ns),
            Colour::On => fold::shape(&text(Colour::Off), ns),
        };
        Line { text: shown, shape }
    }
}

/// The plan, grouped by namespace, one line an operation, the count last.
pub fn plan(plan: &Plan, view: &View<'_>) -> String {
    let colour = view.colour;
    let changes = changes(plan);
    let groups = groups(&changes, plan, view);
    if groups.is_empty() {
        return format!("No changes. {} is as the spec says.\n", plan.topology);
    }
    let mut text = format!("{}\n", colour.paint(Role::Title, plan.topology.as_str()));
    let folded = if view.full {
        fold::none(groups.len())
    } else {
        let shapes: Vec<String> = groups
            .iter()
            .map(|(_, group)| {
                let lines = group.changes.iter().chain(&group.warnings);
                lines.map(|line| line.shape.as_str()).collect()
            })
            .collect();
        fold::fold(shapes.iter().map(String::as_str))
    };
    for ((ns, group), shown) in groups.iter().zip(&folded) {
        let Some(alike) = shown else { continue };
        let title = colour.paint(Role::Title, &format!("namespace {ns}"));
        let _ = writeln!(text, "\n  {title}");
        changes_of(&mut text, &group.changes, view);
        let warnings = group.warnings.iter();
        warnings.for_each(|line| text.push_str(&line.text));
        if let [first, .., last] | [first @ last] = alike.as_slice() {
            let [first, last] = [first, last].map(|place| groups[*place].0);
            let more = format!(
                "… and {} namespaces alike, {first} to {last} (`--full` shows each)",
                alike.len()
            );
            let _ = writeln!(text, "\n  {}", colour.paint(Role::Faint, &more));
        }
    }
    if plan.operations.is_empty() {
        let _ = writeln!(text, "\nNo changes. {} is as the spec says.", plan.topology);
        return text;
    }
    let count = Count::of(&changes);
    let _ = writeln!(text, "\n{}", summary(count));
    let drifted = |drift: &BTreeSet<Id>| {
        let shown = changes.iter().filter(|change| !change.is_told);
        shown
            .filter(|change| drift.contains(&change.operation.id))
            .count()
    };
    if let Some(n) = view.drift.map(drifted).filter(|n| *n > 0) {
        let what = if n == 1 {
            "1 of these mends"
        } else {
            &format!("{n} of these mend")
        };
        let _ = writeln!(
            text,
            "Drift: {what} what differs from the previous spec too."
        );
    }
    if count.adopt > 0 {
        let topology = &plan.topology;
        let _ = writeln!(
            text,
            "What is adopted is {topology}'s from then on: `netform destroy {topology}` removes it."
        );
    }
    text
}

/// The changes within a namespace, those that are alike counted.
fn changes_of(text: &mut String, changes: &[Line], view: &View<'_>) {
    let folded = if view.full {
        fold::none(changes.len())
    } else {
        fold::fold(changes.iter().map(|line| line.shape.as_str()))
    };
    for (line, shown) in changes.iter().zip(folded) {
        let Some(alike) = shown else { continue };
        text.push_str(&line.text);
        if !alike.is_empty() {
            let more = format!("… and {} like this (`--full` shows each)", alike.len());
            let _ = writeln!(text, "     {}", view.colour.paint(Role::Faint, &more));
        }
    }
}

/// The lines of a plan by namespace.
fn groups<'p>(
    changes: &[changes::Change<'p>],
    plan: &'p Plan,
    view: &View<'_>,
) -> Vec<(&'p Ns, Group)> {
    let mut groups: BTreeMap<&Ns, Group> = BTreeMap::new();
    for change in changes.iter().filter(|change| !change.is_told) {
        let ns = &change.operation.id.ns;
        let text = |colour| line(change, plan, &View { colour, ..*view });
        let line = Line::new(ns, view, &text);
        groups.entry(ns).or_default().changes.push(line);
    }
    for warning in &plan.warnings {
        let ns = changes::place(warning);
        let text = |colour: Colour| {
            let sign = colour.paint(Role::Warning, "!");
            format!("  {sign}  {}\n", self::warning(warning, &plan.topology))
        };
        let line = Line::new(ns, view, &text);
        groups.entry(ns).or_default().warnings.push(line);
    }
    groups.into_iter().collect()
}

/// The last line of a plan.
fn summary(count: Count) -> String {
    let Count {
        add,
        change,
        remove,
        replace,
        adopt,
    } = count;
    let adopt = match adopt {
        0 => String::new(),
        n => format!(", {n} to adopt"),
    };
    let replace = match replace {
        0 => String::new(),
        n => format!(", {n} to replace"),
    };
    format!("Plan: {add} to add, {change} to change, {remove} to remove{replace}{adopt}.")
}

/// An operation as a plan tells it, in lines, but for what changes in a file or a table.
pub(super) fn told(operation: &Operation, plan: &Plan) -> String {
    let sign = changes::sign(operation, false);
    head(sign, operation, plan, &View::full(Colour::Off)).0
}

/// A change, and what belongs to it, in lines of their own.
fn line(change: &changes::Change<'_>, plan: &Plan, view: &View<'_>) -> String {
    let (mut text, diff) = head(change.sign, change.operation, plan, view);
    for (sign, line) in diff {
        let (sign, role) = sign.map_or((" ", Role::Faint), Sign::text);
        let line = view.colour.paint(role, &format!("{sign} {line}"));
        let _ = writeln!(text, "       {line}");
    }
    text
}

/// The lines of an operation but for what changes in a file or a table, and that.
fn head(
    sign: Sign,
    operation: &Operation,
    plan: &Plan,
    view: &View<'_>,
) -> (String, Vec<(Option<Sign>, String)>) {
    let mut text = String::new();
    let colour = view.colour;
    let (id, topology) = (&operation.id, &plan.topology);
    let (what, diff) = match &operation.action {
        Action::Create(resource) | Action::Remove(resource) if id.key == Key::Namespace => {
            let _ = resource;
            (
                if sign == Sign::Remove {
                    "remove"
                } else {
                    "create"
                }
                .to_owned(),
                Vec::new(),
            )
        }
        Action::Create(resource) => (
            phrase::resource(id, resource, topology),
            diff(None, resource),
        ),
        Action::Remove(resource @ (Resource::Sysctl(_) | Resource::File(_))) => {
            let _ = resource;
            (phrase::identity(id, topology), Vec::new())
        }
        Action::Remove(resource) => (phrase::resource(id, resource, topology), Vec::new()),
        Action::Update { .. } if id.key == Key::Namespace => {
            let what = match operation.transfer {
                Some(Transfer::Release) => "give back untagged",
                _ => "adopt",
            };
            (what.to_owned(), Vec::new())
        }
        Action::Update { before, .. } if operation.transfer == Some(Transfer::Release) => {
            (phrase::resource(id, before, topology), Vec::new())
        }
        Action::Update { before, after } => update(id, before, after, topology, view),
        Action::Borrow {
            before,
            after,
            original,
        } => {
            let name = phrase::identity(id, topology);
            let what = if before == after {
                format!("{name}  stays {} (to become {original} again)", after.value)
            } else {
                format!("{name}  {} → {}", before.value, after.value)
            };
            (what, Vec::new())
        }
        Action::GiveBack {
            before,
            after,
            stays,
        } => {
            let name = phrase::identity(id, topology);
            let what = match stays {
                Some(why) => format!("{name}  stays {} ({why})", before.value),
                None => format!("{name}  {} → {}", before.value, after.value),
            };
            (what, Vec::new())
        }
    };
    let (sign, role) = sign.text();
    let _ = write!(text, "  {}  {what}", colour.paint(role, sign));
    if let Some(hands) = hands(operation) {
        let _ = write!(text, "  {}", colour.paint(Role::Faint, hands));
    }
    if let Some(reason) = &operation.reason {
        let reason = format!("({})", self::reason(reason, id, topology));
        let _ = write!(text, "  {}", colour.paint(Role::Faint, &reason));
    }
    if view.drift.is_some_and(|drift| drift.contains(id)) {
        let _ = write!(text, "  {}", colour.paint(Role::Warning, "(drift)"));
    }
    text.push('\n');
    if let Some(note) = opening(operation, plan) {
        let _ = writeln!(text, "       {}", colour.paint(Role::Faint, &note));
    }
    for ended in operation.ended() {
        let what = colour.paint(Role::Warning, "!");
        let _ = writeln!(text, "       {what} ends {}", phrase::connections(ended));
    }
    (text, diff)
}

/// What switching on the forwarding of a link opens besides what it is for, because it is decided by the link
/// that a packet comes in by alone; said once for both families. None: nothing, or it was on.
fn opening(operation: &Operation, plan: &Plan) -> Option<String> {
    let (_, link) = opened(operation, Family::Ipv4).or_else(|| {
        let found = opened(operation, Family::Ipv6)?;
        let mut all = plan.operations.iter();
        all.all(|other| opened(other, Family::Ipv4) != Some(found))
            .then_some(found)
    })?;
    Some(format!(
        "neighbours on {link} can send to other links too, one way; in a forward chain this shuts it: \
         iifname \"{link}\" oifgroup != {GROUP:#x} ct state new drop"
    ))
}

/// The link whose forwarding an operation switches on, and where, if others made it.
fn opened(operation: &Operation, family: Family) -> Option<(&Ns, &LinkName)> {
    let (Key::Sysctl(key), Action::Borrow { before, after, .. }) =
        (&operation.id.key, &operation.action)
    else {
        return None;
    };
    let of_family = match family {
        Family::Ipv4 => key.forwarding_of_link() == Some(family),
        Family::Ipv6 => key.is_forced(),
    };
    let opens = of_family && before.value == "0" && after.value != "0";
    Some((&operation.id.ns, operation.id.key.of_link()?)).filter(|_| opens)
}

/// What is said of what changes hands.
fn hands(operation: &Operation) -> Option<&'static str> {
    let Action::Update { .. } = &operation.action else {
        return None;
    };
    Some(match operation.transfer? {
        // It says so itself.
        _ if operation.id.key == Key::Namespace => return None,
        Transfer::Adopt if operation.adopts_as_it_is() => "(adopted as it is)",
        Transfer::Adopt => "(adopted)",
        Transfer::Release => "(given back untagged, as it was)",
    })
}

/// Why an operation is there, in words.
pub(super) fn reason(reason: &Reason, id: &Id, topology: &TopologyName) -> String {
    match reason {
        Reason::Replaced(why) => why.clone(),
        Reason::Fell(with) if with.ns == id.ns => {
            format!("lost with {}", phrase::identity(with, topology))
        }
        Reason::Fell(with) => format!("lost with {}", phrase::located(with, topology)),
        Reason::HalfMade => "left behind by a creation that never came to its end".to_owned(),
    }
}

/// A warning in words.
pub(super) fn warning(warning: &Warning, topology: &TopologyName) -> String {
    match warning {
        Warning::Collateral { id, with } => format!(
            "{} isn't netform's and goes with {}",
            phrase::identity(id, topology),
            phrase::located(with, topology)
        ),
        Warning::Released { id, from } => format!(
            "{} isn't netform's, and is no port any more once {} goes",
            phrase::identity(id, topology),
            phrase::identity(from, topology)
        ),
        Warning::OutOfReach {
            id,
            master,
            addresses,
            default,
        } => {
            let link = id.key.of_link().map_or("", LinkName::as_str);
            let mut what: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if *default {
                what.push("the default route".to_owned());
            }
            format!(
                "what {link} has itself ({}) stops working once it is a port: what comes in by it is {master}'s, \
                 so give that what must stay reachable",
                what.join(", ")
            )
        }
        Warning::Inmate { pid, command, .. } => format!(
            "process {pid} ({command}) is inside, and is left running without the links, in a namespace that has no name"
        ),
        Warning::Remark { text, .. } => text.clone(),
    }
}

fn update(
    id: &Id,
    before: &Resource,
    after: &Resource,
    topology: &TopologyName,
    view: &View<'_>,
) -> (String, Vec<(Option<Sign>, String)>) {
    let name = phrase::identity(id, topology);
    match (before, after) {
        (before, after) if after.change_from(before) == Change::None => {
            (phrase::resource(id, before, topology), Vec::new())
        }
        (Resource::Link(before), Resource::Link(after)) => (
            format!("{name}  {}", link_changes(before, after, view)),
            Vec::new(),
        ),
        (Resource::Port(before), Resource::Port(after)) => (
            format!("{name}  of {} → {}", before.master, after.master),
            Vec::new(),
        ),
        (Resource::Sysctl(before), Resource::Sysctl(after)) => (
            format!("{name}  {} → {}", before.value, after.value),
            Vec::new(),
        ),
        (Resource::Route(before), Resource::Route(after)) => {
            let change = format!("{} → {}", phrase::way(before), phrase::way(after));
            (format!("{name}  {change}"), Vec::new())
        }
        (Resource::Rule(_), Resource::Rule(_)) => {
            let before = phrase::resource(id, before, topology);
            let after = phrase::resource(id, after, topology);
            let old = before.strip_prefix(&name).unwrap_or(&before).trim();
            let new = after.strip_prefix(&name).unwrap_or(&after).trim();
            (format!("{name}  {old} → {new}"), Vec::new())
        }
        _ => (name, diff(Some(before), after)),
    }
}

fn link_changes(before: &Link, after: &Link, view: &View<'_>) -> String {
    fn change<T: PartialEq + ToString>(
        changes: &mut Vec<String>,
        word: &str,
        before: Option<&T>,
        after: Option<&T>,
    ) {
        if let Some(after) = after.filter(|after| before != Some(after)) {
            let before = before.map_or_else(|| "none".to_owned(), ToString::to_string);
            changes.push(format!("{word} {before} → {}", after.to_string()));
        }
    }
    let mut changes = Vec::new();
    let settings = before.kind.settings();
    for setting in after.kind.changes_from(&before.kind) {
        let mut old = settings.iter().filter(|old| old.word == setting.word);
        let old = old.next().map_or("none", |old| &old.text);
        changes.push(format!("{} {old} → {}", setting.word, setting.text));
    }
    change(&mut changes, "mtu", before.mtu.as_ref(), after.mtu.as_ref());
    let mac = |mac: Option<MacAddress>| {
        let is_derived = |mac| view.derived.is_some_and(|derived| derived.contains(&mac));
        mac.map(|mac| {
            if is_derived(mac) {
                DERIVED.to_owned()
            } else {
                mac.to_string()
            }
        })
    };
    let [old, new] = [before, after].map(|link| mac(link.mac));
    change(&mut changes, "mac", old.as_ref(), new.as_ref());
    if before.master != after.master {
        let name = |master: &Option<LinkName>| match master {
            Some(name) => name.to_string(),
            None => "none".to_owned(),
        };
        changes.push(format!(
            "in {} → {}",
            name(&before.master),
            name(&after.master)
        ));
    }
    match (before.up, after.up) {
        (false, true) => changes.push("down → up".to_owned()),
        (true, false) => changes.push("up → down".to_owned()),
        _ => {}
    }
    if changes.is_empty() {
        changes.push("tag".to_owned());
    }
    changes.join(", ")
}

/// How many elements of a set are listed before the rest is counted.
const ELEMENTS: usize = 16;

/// What changes in resources of several lines: files and tables.
fn diff(before: Option<&Resource>, after: &Resource) -> Vec<(Option<Sign>, String)> {
    match (before, after) {
        (Some(Resource::Table(before)), Resource::Table(after)) => of_tables(before, after),
        (None, Resource::Table(after)) => {
            let nothing = nftables::Table {
                sets: BTreeMap::new(),
                chains: BTreeMap::new(),
                ..after.clone()
            };
            of_tables(&nothing, after)
        }
        (Some(Resource::File(before)), Resource::File(after)) => {
            of_files(&before.content, &after.content)
        }
        (None, Resource::File(after)) => of_files("", &after.content),
        _ => Vec::new(),
    }
}

fn of_tables(before: &nftables::Table, after: &nftables::Table) -> Vec<(Option<Sign>, String)> {
    let line = |line: diff::Line| {
        let sign = match line.change {
            diff::Change::Added => Some(Sign::Add),
            diff::Change::Removed => Some(Sign::Remove),
            diff::Change::Same | diff::Change::More => None,
        };
        (line.depth > 0).then(|| {
            (
                sign,
                format!("{}{}", "  ".repeat(line.depth - 1), line.text),
            )
        })
    };
    diff::diff(before, after, ELEMENTS)
        .into_iter()
        .filter_map(line)
        .collect()
}

fn of_files(before: &str, after: &str) -> Vec<(Option<Sign>, String)> {
    let lines = TextDiff::from_lines(before, after);
    let line = |change: similar::Change<&str>| {
        let sign = match change.tag() {
            ChangeTag::Insert => Some(Sign::Add),
            ChangeTag::Delete => Some(Sign::Remove),
            ChangeTag::Equal => None,
        };
        (sign, change.value().trim_end_matches('\n').to_owned())
    };
    lines
        .grouped_ops(1)
        .iter()
        .flatten()
        .flat_map(|op| lines.iter_changes(op).map(line))
        .collect()
}
