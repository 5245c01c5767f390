//! A plan as a text to read.

use std::collections::BTreeMap;
use std::fmt::Write;

use similar::{ChangeTag, TextDiff};

use crate::resource::nftables::{self, diff};

use super::phrase;
use super::style::{Colour, Role};
use crate::plan::{Action, Operation, Plan, Reason, Transfer, Warning};
use crate::resource::link::{GROUP, Link};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::{Change, Family, Id, Key, Ns, Resource};

/// How many operations of each sort a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// What comes.
    pub add: usize,
    /// What changes in place.
    pub change: usize,
    /// What goes.
    pub remove: usize,
    /// What goes and comes again.
    pub replace: usize,
    /// What others made and is taken over.
    pub adopt: usize,
}

/// The sign in front of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Add,
    Change,
    Remove,
    Replace,
    Adopt,
}

impl Sign {
    fn text(self) -> (&'static str, Role) {
        match self {
            Sign::Add => ("+", Role::Added),
            Sign::Change => ("~", Role::Changed),
            Sign::Remove => ("-", Role::Removed),
            Sign::Replace => ("±", Role::Changed),
            Sign::Adopt => ("=", Role::Changed),
        }
    }
}

/// The plan, grouped by namespace, one line an operation, the count last.
pub fn plan(plan: &Plan, colour: Colour) -> String {
    let mut text = String::new();
    let groups = groups(plan);
    if groups.is_empty() {
        let _ = writeln!(text, "No changes. {} is as the spec says.", plan.topology);
        return text;
    }
    let _ = writeln!(
        text,
        "{}",
        colour.paint(Role::Title, plan.topology.as_str())
    );
    for (ns, group) in &groups {
        let _ = writeln!(
            text,
            "\n  {}",
            colour.paint(Role::Title, &format!("namespace {ns}"))
        );
        for (sign, operation) in &group.lines {
            line(&mut text, *sign, operation, plan, colour);
        }
        for warning in &group.warnings {
            let sign = colour.paint(Role::Warning, "!");
            let _ = writeln!(text, "  {sign}  {}", self::warning(warning, &plan.topology));
        }
    }
    if plan.operations.is_empty() {
        let _ = writeln!(text, "\nNo changes. {} is as the spec says.", plan.topology);
    } else {
        let count = count(plan);
        let _ = writeln!(text, "\n{}", summary(count));
        if count.adopt > 0 {
            let topology = &plan.topology;
            let _ = writeln!(
                text,
                "What is adopted is {topology}'s from then on: `netform destroy {topology}` removes it."
            );
        }
    }
    text
}

/// How many operations of each sort there are. What the kernel makes with a link, its peer, isn't
/// counted: a pair is one thing.
pub fn count(plan: &Plan) -> Count {
    let mut count = Count::default();
    for (sign, _) in groups(plan).values().flat_map(|group| &group.lines) {
        *match sign {
            Sign::Add => &mut count.add,
            Sign::Change => &mut count.change,
            Sign::Remove => &mut count.remove,
            Sign::Replace => &mut count.replace,
            Sign::Adopt => &mut count.adopt,
        } += 1;
    }
    count
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

/// What a plan does and says in one namespace.
#[derive(Debug, Default)]
struct Group<'p> {
    lines: Vec<(Sign, &'p Operation)>,
    warnings: Vec<&'p Warning>,
}

fn groups(plan: &Plan) -> BTreeMap<&Ns, Group<'_>> {
    let mut by_id: BTreeMap<&Id, (Sign, &Operation)> = BTreeMap::new();
    for operation in &plan.operations {
        let sign = match (&operation.action, by_id.get(&operation.id)) {
            (Action::Create(_), Some(_)) => Sign::Replace,
            (Action::Create(_), None) => match operation.reason {
                Some(Reason::Fell(_) | Reason::Replaced(_)) => Sign::Replace,
                _ => Sign::Add,
            },
            (Action::Remove(_), _) => Sign::Remove,
            _ if operation.transfer == Some(Transfer::Adopt) => Sign::Adopt,
            (Action::Update { .. } | Action::Borrow { .. } | Action::GiveBack { .. }, _) => {
                Sign::Change
            }
        };
        by_id.insert(&operation.id, (sign, operation));
    }
    let mut groups: BTreeMap<&Ns, Group<'_>> = BTreeMap::new();
    for (id, (sign, operation)) in &by_id {
        if !is_peer_of_another(operation, &by_id) {
            groups
                .entry(&id.ns)
                .or_default()
                .lines
                .push((*sign, operation));
        }
    }
    for warning in &plan.warnings {
        let ns = match warning {
            Warning::Collateral { id, .. }
            | Warning::Released { id, .. }
            | Warning::OutOfReach { id, .. } => &id.ns,
            Warning::Remark { ns, .. } | Warning::Inmate { ns, .. } => ns,
        };
        groups.entry(ns).or_default().warnings.push(warning);
    }
    groups
}

/// Whether an operation is on the other end of a pair that comes or goes, which its first end already
/// tells.
fn is_peer_of_another(operation: &Operation, all: &BTreeMap<&Id, (Sign, &Operation)>) -> bool {
    let (Action::Create(Resource::Link(link)) | Action::Remove(Resource::Link(link))) =
        &operation.action
    else {
        return false;
    };
    let Some(peer) = link.peer() else {
        return false;
    };
    let peer = Id::link(peer.ns.clone(), peer.name.clone());
    let told = all.get(&peer).is_some_and(|(_, of_peer)| {
        std::mem::discriminant(&of_peer.action) == std::mem::discriminant(&operation.action)
    });
    told && peer < operation.id
}

fn line(text: &mut String, sign: Sign, operation: &Operation, plan: &Plan, colour: Colour) {
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
        Action::Update { before, after } => update(id, before, after, topology),
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
    text.push('\n');
    if let Some(note) = opening(operation, plan) {
        let _ = writeln!(text, "       {}", colour.paint(Role::Faint, &note));
    }
    for ended in &operation.ends.ended {
        let what = colour.paint(Role::Warning, "!");
        let _ = writeln!(text, "       {what} ends {}", phrase::connections(ended));
    }
    for (sign, line) in diff {
        let (sign, role) = sign.map_or((" ", Role::Faint), Sign::text);
        let _ = writeln!(
            text,
            "       {}",
            colour.paint(role, &format!("{sign} {line}"))
        );
    }
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
    let Action::Update { before, after } = &operation.action else {
        return None;
    };
    Some(match operation.transfer? {
        // It says so itself.
        _ if operation.id.key == Key::Namespace => return None,
        Transfer::Adopt if after.change_from(before) == Change::None => "(adopted as it is)",
        Transfer::Adopt => "(adopted)",
        Transfer::Release => "(given back untagged, as it was)",
    })
}

fn reason(reason: &Reason, id: &Id, topology: &TopologyName) -> String {
    match reason {
        Reason::Replaced(why) => why.clone(),
        Reason::Fell(with) if with.ns == id.ns => {
            format!("lost with {}", phrase::identity(with, topology))
        }
        Reason::Fell(with) => format!("lost with {}", phrase::located(with, topology)),
        Reason::HalfMade => "left behind by a creation that never came to its end".to_owned(),
    }
}

fn warning(warning: &Warning, topology: &TopologyName) -> String {
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
) -> (String, Vec<(Option<Sign>, String)>) {
    let name = phrase::identity(id, topology);
    match (before, after) {
        (before, after) if after.change_from(before) == Change::None => {
            (phrase::resource(id, before, topology), Vec::new())
        }
        (Resource::Link(before), Resource::Link(after)) => (
            format!("{name}  {}", link_changes(before, after)),
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

fn link_changes(before: &Link, after: &Link) -> String {
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
    change(&mut changes, "mac", before.mac.as_ref(), after.mac.as_ref());
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
