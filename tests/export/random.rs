//! Random specs, as a topology has them and as a script would have made them.
//!
//! `NETFORM_EXPORTS` says how many are tried, and `NETFORM_SEED` from where on.

use std::process::Command;

use fastrand::Rng;
use netform::spec::{self, source::Source};

use crate::case::{Case, next, number};
use crate::common::{in_sandbox, netform, run, sh};
use crate::sketch::{self, Sketch};
use crate::{EXPORTED, assert_changes_nothing, export, plan};

const SPEC: &str = "/run/random.yaml";

/// How many are tried.
const SPECS: u64 = 12;

/// The next specs, one after the other.
fn specs(mut with: impl FnMut(&str)) {
    let seed = number("NETFORM_SEED", fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let mut sketch = Sketch::new(&mut random);
    let mut case = Case {
        seed,
        transition: 0,
        text: String::new(),
    };
    for transition in 0..number("NETFORM_EXPORTS", SPECS) {
        case.transition = transition;
        let text = loop {
            let (text, _) = next(&mut sketch, &mut random);
            let plain = without_subnets(&text);
            // This host has no link of others.
            let fits = !plain.contains("f0:");
            if fits && spec::parse(&[Source::new("plain", plain.clone())]).is_ok() {
                break plain;
            }
        };
        case.text.clone_from(&text);
        with(&text);
    }
}

/// A spec of plain routers.
fn without_subnets(text: &str) -> String {
    let rest = text.split("\nsubnets:\n").next().unwrap_or_default();
    let lines = rest
        .lines()
        .filter(|line| !line.starts_with("    gateway:"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn what_a_topology_has_is_its_spec() {
    in_sandbox(|| {
        sh(sketch::CONTAINER).ok();
        specs(|text| {
            std::fs::write(SPEC, text).expect("written");
            netform(&["apply", "-f", SPEC, "--yes"]).ok();
            let text = export(&places());
            assert_changes_nothing(&text, &plan());
        });
    });
}

#[test]
fn what_a_script_made_is_taken_over_as_it_is() {
    specs(|text| {
        // Several next hops can't be taken over.
        if text.contains("nexthops") {
            return;
        }
        in_sandbox(|| {
            sh(sketch::CONTAINER).ok();
            std::fs::write(SPEC, text).expect("written");
            let script = netform(&["plan", "-f", SPEC, "-o", "shell"]).ok();
            run(Command::new("sh").args(["-c", &by_hand(&script)])).ok();
            sh(FORGET).ok();
            let text = export(&places());
            let Some((_, told)) = text.split_once("\n# What stands in the way ") else {
                assert_changes_nothing(&text, &plan());
                return;
            };
            // What can't be changed in place can't be taken over, and that is told.
            let refused = netform(&["plan", "-f", EXPORTED, "--adopt"]);
            let errors = refused
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "));
            assert_eq!(
                told.lines().count() - 1,
                errors.count(),
                "{text}{}",
                refused.stderr
            );
        });
    });
}

/// What is written: the namespaces that the spec makes, and the host.
fn places() -> Vec<&'static str> {
    let there = sh("ip netns").ok();
    let is_there = |name: &&str| {
        there
            .lines()
            .any(|line| line.split(' ').next() == Some(*name))
    };
    let made = ["zed", "alpha", "mid"].into_iter().filter(is_there);
    made.chain(["host"]).collect()
}

/// A script of netform's without what says that it is netform's.
fn by_hand(script: &str) -> String {
    script
        .replace("proto 110", "")
        .replace("protocol 110", "")
        .replace("group 1852206337", "")
        .replace("alias netform:random", "")
        .replace("alias \"$2\"", "")
}

/// Has nothing be netform's any more.
const FORGET: &str = "
    rm -rf /run/netform
    for file in /etc/netns/*/*; do [ ! -e $file ] || sed -i /netform/d $file; done
";
