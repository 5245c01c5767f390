//! A plan as a shell script that does by hand what `apply` would do.
//!
//! What is in the plan is said in the words of `ip`, `nft` and files below `/proc/sys`. What execution takes from
//! elsewhere, the script finds out itself when it runs: its own functions for that stand at its beginning (`helpers.rs`).

mod helpers;
mod links;
mod routing;
mod settings;
mod tables;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use self::helpers::Helper;
use self::words::{Doors, comment, quoted};
use super::plan::{told, warning};
use crate::plan::{Action, Operation, Plan, Transfer};
use crate::resource::link::Link;
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::External;

/// What a script says of itself. The names of the topologies stand before it.
const ABOUT: &str = "
It needs root, iproute2 (5.2 or later; tried with 6.1), and what else it looks for at its beginning, nft 1.0 or later for
tables. It takes the host to be as it was when the plan was made, and netform not to run meanwhile. Nothing happens if it comes
in parts: the shell reads all of it first.

It stops at the first failure, and leaves what it has done by then: it doesn't roll back, as `netform apply` does. Nor does
it write the record in /run/netform. So what it borrows is to be given back by hand, with the commands that are said below; and
of what only the record tells whose it is (addresses, routes and rules on what others made, ports of others, namespaces that no
link leads into from the host) netform asks for `--adopt` afterwards. Directories in /etc/netns that get empty stay.
";

/// A plan, and where the external namespaces are that it names.
pub type Part<'p> = (&'p Plan, &'p External);

/// The script of some plans, one after the other. One of specs is for no host, and only to be read.
pub fn script(parts: &[Part<'_>], of_specs: bool) -> String {
    let mut body = String::new();
    let mut uses = BTreeSet::new();
    let mut programs = BTreeSet::from(["ip"]);
    let (mut checks, mut barriers) = (BTreeSet::new(), Vec::new());
    for (plan, external) in parts {
        let mut writer = Writer::new(plan, external);
        writer.all();
        body.push_str(&writer.text);
        uses.append(&mut writer.uses);
        programs.append(&mut writer.programs);
        checks.append(&mut writer.checks);
        barriers.append(&mut writer.barriers);
    }
    if of_specs {
        barriers
            .push("this was planned from one spec to another, and not for this host".to_owned());
    }
    programs.extend(uses.iter().flat_map(|helper| helper.needs()));
    let names: Vec<&str> = parts
        .iter()
        .map(|(plan, _)| plan.topology.as_str())
        .collect();
    let names = match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => format!("topology {one}"),
        all => format!("topologies {}", all.join(", ")),
    };
    let mut text = "#!/bin/sh\n".to_owned();
    text.push_str(&comment(&format!(
        "What `netform apply` would do for {names}, by hand.\nMade by `netform plan -o shell`, version {}.",
        env!("CARGO_PKG_VERSION")
    )));
    text.push_str(&comment(ABOUT));
    if parts.len() > 1 {
        text.push_str(&comment(
            "\nEach topology is planned as if the others stayed as they are.",
        ));
    }
    text.push_str("{\nset -eu\numask 022\nexport LC_ALL=C\n");
    text.push_str(helpers::DIE);
    for barrier in &barriers {
        let _ = write!(
            text,
            "\n{}die {}\n",
            comment("This can't be done by a script, so nothing is."),
            quoted(barrier)
        );
    }
    text.push_str("\n[ \"$(id -u)\" = 0 ] || die 'this takes root'\n");
    let programs: Vec<&str> = programs.into_iter().collect();
    let _ = writeln!(
        text,
        "for program in {}; do\n    command -v \"$program\" >/dev/null || die \"there is no $program here\"\ndone",
        programs.join(" ")
    );
    for helper in &uses {
        text.push_str(&helper.text());
    }
    if !checks.is_empty() {
        text.push('\n');
        text.push_str(&comment("That what goes is what was planned to go."));
        text.extend(checks);
    }
    text.push_str(&body);
    text.push_str("exit\n} </dev/null\n");
    text
}

/// Writes the part of a plan.
struct Writer<'p> {
    plan: &'p Plan,
    doors: Doors<'p>,
    text: String,
    uses: BTreeSet<Helper>,
    programs: BTreeSet<&'static str>,
    /// What is made sure of before anything is changed.
    checks: BTreeSet<String>,
    /// What no script can do.
    barriers: Vec<String>,
    /// The links that the plan makes.
    creations: BTreeMap<&'p Id, &'p Link>,
    /// The links that went up or have new ports, and whose carrier the kernel may not have noticed.
    risen: BTreeMap<&'p Ns, Vec<&'p LinkName>>,
    /// Whether a link went up at all.
    fresh: bool,
    /// The addresses that were made, each as [`Helper::OwnAddress`] takes it.
    addresses: BTreeMap<&'p Id, String>,
}

impl<'p> Writer<'p> {
    fn new(plan: &'p Plan, external: &'p External) -> Writer<'p> {
        let creation = |operation: &'p Operation| match &operation.action {
            Action::Create(Resource::Link(link)) => Some((&operation.id, link)),
            _ => None,
        };
        Writer {
            plan,
            doors: Doors::new(external),
            text: String::new(),
            uses: BTreeSet::new(),
            programs: BTreeSet::new(),
            checks: BTreeSet::new(),
            barriers: Vec::new(),
            creations: plan.operations.iter().filter_map(creation).collect(),
            risen: BTreeMap::new(),
            fresh: false,
            addresses: BTreeMap::new(),
        }
    }

    fn all(&mut self) {
        let title = format!("Topology {}.", self.plan.topology);
        let _ = write!(self.text, "\n{}", comment(&title));
        for one in &self.plan.warnings {
            let text = format!("  !  {}", warning(one, &self.plan.topology));
            self.text.push_str(&comment(&text));
        }
        if self.plan.operations.is_empty() {
            self.text.push_str(&comment("No changes."));
        }
        let mut last = None;
        for operation in ordered(self.plan) {
            // Another does it too.
            if is_removal(operation) && operation.with.is_some() {
                continue;
            }
            if last != Some(&operation.id.ns) {
                let _ = write!(
                    self.text,
                    "\n{}",
                    comment(&format!("namespace {}", operation.id.ns))
                );
                last = Some(&operation.id.ns);
            }
            self.text.push_str(&comment(&told(operation, self.plan)));
            self.operation(operation);
        }
        self.settle();
        self.own_addresses();
    }

    fn operation(&mut self, operation: &'p Operation) {
        if operation.transfer == Some(Transfer::Release) {
            let what = super::phrase::located(&operation.id, &self.plan.topology);
            self.barriers.push(format!(
                "{what} is given back as it was: only netform knows how"
            ));
            return;
        }
        match &operation.id.key {
            Key::Namespace => self.namespace(operation),
            Key::Link(name) => self.link(operation, name),
            Key::Port(name) => self.port(operation, name),
            Key::Address(key) => self.address(operation, key),
            Key::Route(key) => self.route(operation, key),
            Key::Rule(key) => self.rule(operation, key),
            Key::File(kind) => self.file(operation, *kind),
            Key::Sysctl(key) => self.sysctl(operation, key),
            Key::Table => self.table(operation),
            Key::Permit(key) => self.permit(operation, key),
        }
    }

    /// Appends a command.
    fn command(&mut self, command: &str) {
        self.text.push_str(command);
        self.text.push('\n');
    }

    /// `ip` in the namespace of an operation.
    fn ip(&self, operation: &Operation) -> String {
        self.doors.ip(&operation.id.ns)
    }

    /// What stands before a command to have it run in the namespace of an operation.
    fn inside(&mut self, ns: &Ns) -> String {
        let inside = self.doors.inside(ns);
        if inside.starts_with("nsenter") {
            self.programs.insert("nsenter");
        }
        inside
    }

    /// The tag of the topology.
    fn tag(&self) -> String {
        crate::resource::nftables::tag(&self.plan.topology)
    }

    /// Has the kernel take notice of the links that went up, so that what stands on them is usable.
    fn notice(&mut self, ns: &'p Ns) {
        let Some(links) = self.risen.remove(ns) else {
            return;
        };
        let links: BTreeSet<&LinkName> = links.into_iter().collect();
        for link in links {
            let ip = self.doors.ip(ns);
            let link = quoted(link.as_str());
            self.command(&format!("{ip} link show dev {link} >/dev/null"));
        }
    }

    /// The same in all namespaces. What was removed meanwhile needs nothing.
    fn settle(&mut self) {
        let spaces: Vec<&Ns> = self.risen.keys().copied().collect();
        if !spaces.is_empty() {
            let why = "The kernel takes notice of new links when it is asked for them.";
            let _ = write!(self.text, "\n{}", comment(why));
        }
        for ns in spaces {
            self.notice(ns);
        }
    }
}

fn is_removal(operation: &Operation) -> bool {
    matches!(operation.action, Action::Remove(_))
}

/// The operations one after the other: as the plan has them, but that routes wait for all links of their namespaces, which
/// must be up at both ends.
fn ordered(plan: &Plan) -> Vec<&Operation> {
    let mut pending: BTreeMap<&Ns, usize> = BTreeMap::new();
    for ns in plan.operations.iter().flat_map(Operation::touches) {
        *pending.entry(ns).or_default() += 1;
    }
    let mut done = vec![false; plan.operations.len()];
    let mut order = Vec::with_capacity(done.len());
    loop {
        let before = order.len();
        for (place, operation) in plan.operations.iter().enumerate() {
            let waits = matches!(operation.id.key, Key::Route(_))
                && !is_removal(operation)
                && pending.get(&operation.id.ns).is_some_and(|n| *n > 0);
            if done[place] || waits || !operation.after.iter().all(|other| done[*other]) {
                continue;
            }
            done[place] = true;
            for ns in operation.touches() {
                if let Some(n) = pending.get_mut(ns) {
                    *n -= 1;
                }
            }
            order.push(operation);
        }
        if order.len() == before {
            break;
        }
    }
    // Whatever waits for each other comes last, and not never.
    let rest = plan.operations.iter().zip(done);
    order.extend(rest.filter_map(|(operation, done)| (!done).then_some(operation)));
    order
}
