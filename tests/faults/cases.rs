//! The specs that faults are tried with, and what is compared.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use netform::kernel::namespace;
use netform::resource::name::NamespaceName;

use crate::common::{Output, assert_same_world, describe, netform, settled, sh, world};

/// Where the spec lies that is tried, and the same after a change.
const OLD: &str = "/run/old.yaml";
const NEW: &str = "/run/new.yaml";

/// A spec, and a change of it that adds, replaces and removes.
pub(crate) struct Case {
    /// The file in `specs`, without its end, or a text.
    pub(crate) spec: Spec,
    /// A script that makes what is there before.
    pub(crate) given: &'static str,
    /// What stands there, and what shall stand there.
    pub(crate) edit: &'static [(&'static str, &'static str)],
}

/// Where a spec comes from.
pub(crate) enum Spec {
    /// From a file of `specs`.
    Of(&'static str),
    /// It is this text.
    Text(&'static str),
}

/// What is on its way when a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// From nothing to the spec.
    Apply,
    /// From the spec to what becomes of it.
    Change,
    /// From the spec to nothing.
    Destroy,
}

impl Move {
    /// All.
    pub(crate) const ALL: [Move; 3] = [Move::Apply, Move::Change, Move::Destroy];

    /// The arguments of netform that make it.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        match self {
            Move::Apply => vec!["apply", "--yes", "-f", OLD],
            Move::Change => vec!["apply", "--yes", "-f", NEW],
            Move::Destroy => vec!["destroy", "--yes", "-f", OLD],
        }
    }

    /// Gets to where it begins.
    pub(crate) fn go_back(self) -> Output {
        netform(&match self {
            Move::Apply => Move::Destroy.arguments(),
            Move::Change | Move::Destroy => Move::Apply.arguments(),
        })
    }

    /// Gets to where it ends, and makes sure that nothing is left to do.
    pub(crate) fn finish(self) {
        netform(&self.arguments()).ok();
        if self != Move::Destroy {
            let file = self.arguments()[3];
            let plan = netform(&["plan", "-f", file, "--detailed-exitcode"]);
            assert_eq!(plan.status, 0, "{}{}", plan.stdout, plan.stderr);
        }
    }
}

impl Case {
    /// Writes the specs, and makes what is there before.
    pub(crate) fn prepare(&self) {
        sh("ip netns add first; ip netns del first").ok();
        sh(self.given).ok();
        let old = match self.spec {
            Spec::Of(name) => fs::read_to_string(format!("specs/{name}.yaml")).expect("a spec"),
            Spec::Text(text) => text.to_owned(),
        };
        let mut new = old.clone();
        for (old, new_text) in self.edit {
            assert_eq!(new.matches(old).count(), 1, "of {old:?}");
            new = new.replace(old, new_text);
        }
        fs::write(OLD, old).expect("write");
        fs::write(NEW, new).expect("write");
    }
}

/// The host, and all namespaces that have a name, as text. The numbers of links are left out: a link that is made
/// anew has another. So are those of namespaces that a link leads into, and what a kernel counts.
pub(crate) struct Whole {
    /// The host, with the numbers of its links if all of them must be the same ones.
    host: String,
    namespaces: String,
}

impl Whole {
    /// As it is now. Where nothing was there before, the links of the host are compared with their numbers.
    pub(crate) fn now(of: Move) -> Whole {
        let host = match of {
            Move::Apply => world(),
            Move::Change | Move::Destroy => space("host"),
        };
        let mut namespaces = mounts();
        let entries = fs::read_dir(namespace::DIRECTORY).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("a name")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        for name in names {
            let fd = NamespaceName::try_from(name.as_str())
                .ok()
                .and_then(|name| namespace::open(&name).expect("it can be read"))
                .unwrap_or_else(|| panic!("{name} is no namespace"));
            let inside = || Ok(space(&name));
            namespaces += &namespace::inside(fd.as_fd(), inside).expect("inside");
        }
        Whole { host, namespaces }
    }

    /// Panics with the lines that differ.
    #[track_caller]
    pub(crate) fn assert_same(&self, now: &Whole) {
        assert_same_world(&self.host, &now.host);
        assert_same_world(&self.namespaces, &now.namespaces);
    }
}

/// Where something is mounted that netform could have mounted.
fn mounts() -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.filter(|point| point.starts_with("/run/") || point.starts_with("/etc/"));
    let mut lines: Vec<String> = points.map(|point| format!("mounted: {point}\n")).collect();
    lines.sort();
    lines.concat()
}

/// What is in the namespace of this thread.
fn space(name: &str) -> String {
    const COMMANDS: &str = "
        ip -o -d link; ip -o -4 addr; ip -o -6 addr; ip -o route show table all; ip -o -6 route show table all
        ip rule; ip -6 rule; nft -s list ruleset";
    let mut lines: Vec<String> = Vec::new();
    let mut ruleset = Vec::new();
    for line in sh(COMMANDS).ok().lines() {
        if line.contains(" table local ") {
            continue;
        }
        if line.starts_with("table ") || !ruleset.is_empty() {
            ruleset.push(line.to_owned());
            continue;
        }
        lines.push(without_numbers(&settled(line).replace(" tentative", "")));
    }
    // The order of IPv4 addresses counts, and that of nothing else.
    let key = |line: &String| match line.find(" inet ") {
        Some(end) if line.starts_with("link ") => line[..end].to_owned(),
        _ => line.clone(),
    };
    lines.sort_by_key(key);
    let mut text = String::new();
    for line in lines.iter().chain(&ruleset) {
        writeln!(text, "{name}: {line}").expect("text");
    }
    let mut settings = String::new();
    let but = ["netfilter", "bridge"];
    describe(&mut settings, Path::new("/proc/sys/net"), &but);
    if name == "host" {
        describe(&mut settings, Path::new("/etc/netns"), &[]);
        describe(&mut settings, Path::new("/run"), &["lock"]);
    }
    for line in settings.lines() {
        writeln!(text, "{name}: {line}").expect("text");
    }
    text
}

/// A line of `ip -o` without what it says of numbers of links and of namespaces.
fn without_numbers(line: &str) -> String {
    let line = line.replace('\\', " ");
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let is_number = |word: &str| word.trim_end_matches(':').parse::<u32>().is_ok();
    // A rule begins with a number too.
    if is_number(&words[0]) && !matches!(words[1].as_str(), "from" | "not") {
        "link".clone_into(&mut words[0]);
        if let Some(end) = words[1].find('@') {
            words[1].truncate(end);
        }
    }
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            // How they are numbered depends on what else was there.
            "link-netnsid" | "link-netns" => drop(words.next()),
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}
