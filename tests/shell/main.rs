//! `netform plan -o shell`: what the script leaves is what `apply` leaves, by value and by all that `ip`, `nft` and `/proc/sys`
//! tell of it. For every spec of `specs/`, for random ones, from any to any other, and back to nothing.
//!
//! `NETFORM_SCRIPTS` says how many random transitions are tried, and `NETFORM_SEED` from where on.

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod harness;
#[path = "../language/sketch.rs"]
mod sketch;

use std::fmt::Write as _;

use common::{assert_same_world, in_sandbox, sh, world};
use fastrand::Rng;
use harness::{Host, picture, without_places};
use netform::spec::{self, Spec, source::Source};
use sketch::Sketch;

/// How many random transitions are tried.
const TRANSITIONS: u64 = 5;

/// What others have on the host, and nothing may touch.
const FOREIGN: &str = "
    ip netns add foreign
    ip link add name f0 type veth peer name f1 netns foreign
    ip link set f0 up
    ip address add 10.99.0.1/24 dev f0
    ip route add 10.98.0.0/16 via 10.99.0.2
    ip rule add priority 5000 fwmark 0x77 lookup 77
    nft add table inet theirs
";

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// A case that fails says how to try it again, and what was done.
struct Case {
    seed: u64,
    transition: u64,
    text: String,
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Case {
                seed,
                transition,
                text,
            } = self;
            let said = format!("NETFORM_SEED={seed}, transition {transition}\n{text}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), said.as_bytes());
        }
    }
}

/// The next valid spec.
fn next(sketch: &mut Sketch, random: &mut Rng) -> (String, Spec) {
    for _ in 0..1000 {
        let mut other = sketch.clone();
        other.change(random);
        let text = other.spec();
        if let Ok(spec) = spec::parse(&[Source::new("random.yaml", text.clone())]) {
            *sketch = other;
            return (text, spec);
        }
    }
    panic!("no spec is valid:\n{}", sketch.spec());
}

/// Gets from one random spec to another by `apply` and, from the same beginning, by the script, now and then with somebody's
/// doings before; and then to nothing.
fn transitions(drifts: bool) {
    in_sandbox(|| {
        sh(FOREIGN).ok();
        sh(sketch::CONTAINER).ok();
        let seed = number("NETFORM_SEED", fastrand::u64(..));
        let mut random = Rng::with_seed(seed);
        let mut case = Case {
            seed,
            transition: 0,
            text: String::new(),
        };
        let mut sketch = Sketch::new(&mut random);
        let mut host = Host::of(sketch::NAME);
        for transition in 0..number("NETFORM_SCRIPTS", TRANSITIONS) {
            let (first, from) = next(&mut sketch, &mut random);
            let mut mishap = String::new();
            // The record knows a container by a number that another of its name doesn't have.
            while drifts && (mishap.is_empty() || mishap.contains("ip netns del box")) {
                mishap = sketch.mishap(&mut random);
            }
            let (second, to) = next(&mut sketch, &mut random);
            case.transition = transition;
            case.text = format!("from\n{first}\nthen\n{mishap}\nto\n{second}\n");
            let begin = |host: &mut Host| {
                if transition % 4 > 0 {
                    host.apply(Some(&from));
                }
                sh(&mishap);
            };

            begin(&mut host);
            host.apply(Some(&to));
            let applied = (host.observed(Some(&to)), picture());
            let record = host.record();
            host.apply(None);

            begin(&mut host);
            let before = host.record();
            let (_, plan, script) = host.script(Some(&to));
            write!(case.text, "the script is\n{script}").expect("text");
            harness::run(&script);
            host.explained(Some(&to), &plan, record.as_deref());
            host.put(record.as_deref());
            let scripted = (host.observed(Some(&to)), picture());
            harness::same_state(&applied.0, &scripted.0);
            assert_same_world(&applied.1, &scripted.1);
            host.nothing_left(Some(&to));

            // And without it.
            let (_, _, script) = host.script(None);
            write!(case.text, "the script back is\n{script}").expect("text");
            let after = {
                harness::run(&script);
                without_places(&world())
            };
            drop(before);
            host.finish();
            let left = without_places(&world());
            assert_same_world(&left, &after);
            assert!(!left.contains("netform:random"), "{left}");
        }
    });
}

#[test]
fn a_script_does_what_apply_does() {
    transitions(false);
}

#[test]
fn a_script_mends_what_apply_mends() {
    transitions(true);
}
