//! `netform plan -o shell`: what the script leaves is what `apply` leaves, by value and by all that `ip`, `nft` and `/proc/sys`
//! tell of it. For every spec of `specs/`, for random ones, from any to any other, and back to nothing.
//!
//! `NETFORM_SCRIPTS` says how many random transitions are tried, and `NETFORM_SEED` from where on.

#[path = "../common/mod.rs"]
mod common;

#[path = "../language/case.rs"]
mod case;
mod cases;
mod harness;
#[path = "../language/sketch.rs"]
mod sketch;

use std::fmt::Write as _;

use case::{Case, FOREIGN, next, number};
use common::{assert_same_world, in_sandbox, sh, world};
use fastrand::Rng;
use harness::{Host, picture, without_places};
use sketch::Sketch;

/// How many random transitions are tried.
const TRANSITIONS: u64 = 5;

/// Waits until all links of the namespaces deleted before are gone, and with them the other ends. The kernel clears namespaces
/// away in their order, some time after `ip netns del`, so the last one's link tells of all.
const NAMESPACES_ARE_GONE: &str = "ip netns add gone
    ip link add gone0 type veth peer name gone1 netns gone
    ip netns del gone
    while ip link show dev gone0 >/dev/null 2>&1; do sleep 0.01; done";

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
                host.forget();
                sh(&mishap);
                // A script isn't planned again when what the plan saw goes meanwhile.
                if mishap.contains("ip netns del") {
                    sh(NAMESPACES_ARE_GONE).ok();
                }
            };

            begin(&mut host);
            host.apply(Some(&to));
            let applied = (host.observed(Some(&to)), picture());
            let record = host.record();
            host.apply(None);

            begin(&mut host);
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
            harness::run(&script);
            let after = without_places(&world());
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
