//! A host that gets to a spec by `apply` or by a script.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use netform::kernel::Kernel;
use netform::plan::{Action, Conflict, Plan, plan};
use netform::render::shell;
use netform::resource::name::TopologyName;
use netform::resource::{Id, Key, Ns};
use netform::spec::{self, Spec};
use netform::state::{Owner, State};

use crate::common::{describe, run as common_run, settled, sh};

/// One host with one topology on it.
pub(crate) struct Host {
    pub(crate) kernel: Kernel,
    topology: TopologyName,
}

impl Host {
    pub(crate) fn of(topology: &str) -> Host {
        Host {
            kernel: Kernel::open().expect("open"),
            topology: TopologyName::try_from(topology).expect("a name"),
        }
    }

    /// Closes all sockets: one in a namespace that is deleted has it live on.
    pub(crate) fn forget(&mut self) {
        self.kernel = Kernel::open().expect("open");
    }

    /// What a spec means here.
    fn wanted(&mut self, spec: Option<&Spec>) -> State {
        spec.map_or_else(State::new, |spec| {
            let mut facts = self.kernel.facts(&spec.external()).expect("facts");
            let ports = self
                .kernel
                .ports(&self.topology, &spec.publishes_in(), &mut facts);
            ports.expect("the ports are read");
            if spec.has_gateways() || spec.has_bridges() && facts.has_frames() {
                self.kernel.look_at_firewalls(&mut facts);
            }
            spec::lower(spec, &facts).expect("it fits this host").state
        })
    }

    /// What there is, and the way to a spec, if nothing stands in it.
    fn try_plan(&mut self, spec: Option<&Spec>) -> (State, Result<Plan, Vec<Conflict>>) {
        let wanted = self.wanted(spec);
        let observed = self.kernel.observe(&self.topology, &wanted);
        let observed = observed.expect("the host is read");
        let plan = plan(&self.topology, &wanted, &observed);
        (observed, plan)
    }

    fn plan(&mut self, spec: Option<&Spec>) -> (State, Plan) {
        let (observed, plan) = self.try_plan(spec);
        (observed, plan.expect("nothing is in the way"))
    }

    /// Gets to a spec as `apply` does.
    pub(crate) fn apply(&mut self, spec: Option<&Spec>) {
        let (_, plan) = self.plan(spec);
        if let Err(failure) = self.kernel.execute(&plan) {
            let what = failure.operation.map(|place| &plan.operations[place]);
            panic!("{what:?}: {}", failure.error);
        }
        self.kernel.commit();
    }

    /// What there is.
    pub(crate) fn observed(&mut self, spec: Option<&Spec>) -> State {
        self.try_plan(spec).0
    }

    /// What there is, the plan to a spec, and its script.
    pub(crate) fn script(&mut self, spec: Option<&Spec>) -> (State, Plan, String) {
        let (observed, plan) = self.plan(spec);
        let script = shell::script(&[(&plan, &observed.external)], false);
        assert_eq!(script, shell::script(&[(&plan, &observed.external)], false));
        (observed, plan, script)
    }

    /// That there is nothing more to do.
    pub(crate) fn nothing_left(&mut self, spec: Option<&Spec>) {
        let (_, plan) = self.plan(spec);
        assert_eq!(plan.operations, [], "something is left");
    }

    /// Has netform take note of what a script removed: only the record is left, and directories.
    pub(crate) fn finish(&mut self) {
        let (_, plan) = self.plan(None);
        for operation in &plan.operations {
            let is_forgotten = matches!(&operation.action, Action::GiveBack { before, after, .. } if before == after);
            assert!(is_forgotten, "{operation:?} is left");
        }
        self.apply(None);
    }

    fn file(&self) -> String {
        format!("/run/netform/{}.json", self.topology)
    }

    /// The record.
    pub(crate) fn record(&self) -> Option<String> {
        fs::read_to_string(self.file()).ok()
    }

    /// Puts a record in place.
    pub(crate) fn put(&self, record: Option<&str>) {
        match record {
            Some(record) => {
                fs::create_dir_all("/run/netform").expect("a directory");
                fs::write(self.file(), record).expect("written");
            }
            None => drop(fs::remove_file(self.file())),
        }
    }

    /// That what netform says after a script, before it has the record of an apply, is what that record would have told it.
    pub(crate) fn explained(&mut self, spec: Option<&Spec>, done: &Plan, record: Option<&str>) {
        let record = record.unwrap_or_default();
        let made: BTreeSet<&Id> = done
            .operations
            .iter()
            .map(|operation| &operation.id)
            .collect();
        match self.try_plan(spec).1 {
            Ok(plan) => {
                for operation in &plan.operations {
                    // It is lent already, and of that nothing is written.
                    let is_loan = matches!(
                        operation.action,
                        Action::Borrow { .. } | Action::GiveBack { .. }
                    );
                    assert!(
                        is_loan && made.contains(&operation.id)
                            || matches!(operation.id.key, Key::Port(_)),
                        "{operation:?} isn't explained by the record"
                    );
                }
            }
            Err(conflicts) => {
                for conflict in &conflicts {
                    let Conflict { id, .. } = conflict;
                    // What the record names: what is on links of others, and namespaces that nothing leads into.
                    let is_named = match (&id.ns, &id.key) {
                        (Ns::Named(name), Key::Namespace) => {
                            record.contains(&format!("\"{name}\""))
                        }
                        _ => true,
                    };
                    let of_others = matches!(
                        id.key,
                        Key::Namespace
                            | Key::Address(_)
                            | Key::Route(_)
                            | Key::Rule(_)
                            | Key::Port(_)
                    ) || matches!(id.ns, Ns::Named(_));
                    assert!(
                        is_named && of_others,
                        "{conflict:?} isn't explained by the record"
                    );
                }
            }
        }
    }
}

/// Has a shell that ends when it fails read a script.
pub(crate) fn run(script: &str) {
    let mut child = Command::new("sh")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(script.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!((&*said, output.stdout.len()), ("", 0));
}

/// Whether it is a link-local address that the kernel gives a link in its own time, once it has noticed a carrier. It may not
/// come to that if the carrier goes soon after, as that of a bridge whose port has none.
fn is_in_its_own_time(state: &State, id: &Id) -> bool {
    let of_kernel = state
        .get(id)
        .is_none_or(|entry| entry.owner == Owner::Kernel);
    of_kernel && matches!(&id.key, Key::Address(key) if is_link_local(key.ip))
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Panics with what differs between two States: each thing, its value, and whose it is.
pub(crate) fn same_state(applied: &State, scripted: &State) {
    let ids: BTreeSet<&Id> = applied
        .entries
        .keys()
        .chain(scripted.entries.keys())
        .collect();
    for id in ids {
        if is_in_its_own_time(applied, id) && is_in_its_own_time(scripted, id) {
            continue;
        }
        assert_eq!(applied.get(id), scripted.get(id), "{id:?}");
    }
    assert_eq!(applied.loans, scripted.loans);
    assert_eq!(applied.external, scripted.external);
}

/// All that `ip`, `nft` and `/proc/sys` tell of all namespaces, and the files, but for the numbers of links.
pub(crate) fn picture() -> String {
    let mut all = String::new();
    let names = sh("ls /run/netns 2>/dev/null || :").ok();
    let script = "ls /sys/class/net | while IFS= read -r link; do
            ip -d -o link show dev \"$link\"; ip -o address show dev \"$link\"
        done
        ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; nft -s list ruleset
        cd /proc/sys/net; find . -type f -not -path './netfilter/*' -not -path './ipv4/neigh/*' -not -path './ipv6/neigh/*' \
            -not -name stable_secret -not -path './bridge/*' -perm -400 | sort | xargs -n 500 grep -s '' || :";
    for name in std::iter::once("host").chain(names.lines()) {
        let mut command = Command::new(if name == "host" { "sh" } else { "ip" });
        if name != "host" {
            command.args(["netns", "exec", name, "sh"]);
        }
        let told = common_run(command.args(["-ec", script])).ok();
        assert!(told.contains(" lo: "), "{name}: {told}");
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for line in told.lines() {
            if [" table local ", " table 255 ", " fe80:", "fe80::/64"]
                .iter()
                .all(|own| !line.contains(own))
            {
                *lines.entry(plain(line)).or_default() += 1;
            }
        }
        for (line, count) in lines {
            writeln!(all, "{name}: {count} {line}").expect("text");
        }
    }
    let mut files = String::new();
    describe(&mut files, Path::new("/etc/netns"), &[]);
    describe(&mut files, Path::new("/run"), &["lock", "netform", "netns"]);
    // A script leaves directories.
    let files = files.lines().filter(|line| !line.ends_with('/'));
    files.fold(all, |all, line| all + line + "\n")
}

/// A line without the numbers of links and of the ports of bridges, which are others each time, and without clocks.
fn plain(line: &str) -> String {
    let line = settled(line)
        .replace("NO-CARRIER,", "")
        .replace(",LOWER_UP", "");
    let mut words: Vec<String> = Vec::new();
    let mut numbered = false;
    for word in line.split_whitespace() {
        let is_number = [
            "link-netnsid",
            "state",
            "port_id",
            "port_no",
            "designated_port",
            // What the spanning tree does about ports that come up, and for how long.
            "ageing_time",
            "topology_change",
            "topology_change_detected",
        ];
        let number = std::mem::replace(&mut numbered, is_number.contains(&word));
        let word = match word.split_once("@if") {
            Some((name, _)) => format!("{name}@:"),
            None => word.to_owned(),
        };
        let first = words.is_empty()
            && word.trim_end_matches(':').parse::<u32>().is_ok()
            && line.contains(": ");
        if !number && !first {
            words.push(word);
        }
    }
    words.retain(|word| word != "tentative" && word != "linkdown");
    words.join(" ")
}

/// A world without what a script leaves: the directories of files, and the record.
pub(crate) fn without_places(world: &str) -> String {
    let lines = world
        .lines()
        .filter(|line| !line.starts_with("/etc/netns") && !line.contains("/run/netform"));
    lines.fold(String::new(), |all, line| all + line + "\n")
}
