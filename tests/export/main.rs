//! `netform export`: what is written of a host is a spec that, planned against that host, changes nothing but tags.

#[path = "../common/mod.rs"]
mod common;

mod by_hand;
#[path = "../language/case.rs"]
#[expect(dead_code, reason = "nobody else has anything on these hosts")]
mod case;
mod random;
#[path = "../language/sketch.rs"]
#[expect(dead_code, reason = "nothing is broken here")]
mod sketch;

use common::{netform, sh};

/// Where a spec is written to.
const EXPORTED: &str = "/run/exported.yaml";

/// Writes a spec of what there is, and gives its text.
#[track_caller]
fn export(arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["export"].iter().chain(arguments).copied().collect();
    let text = netform(&arguments).ok();
    std::fs::write(EXPORTED, &text).expect("written");
    text
}

/// The plan of what was written, taking over what there is.
#[track_caller]
fn plan() -> String {
    netform(&["plan", "-f", EXPORTED, "--adopt", "--full"]).ok()
}

/// That nothing changes but tags.
#[track_caller]
fn assert_changes_nothing(text: &str, plan: &str) {
    let unchanged = plan.starts_with("No changes.")
        || plan.contains("\nPlan: 0 to add, 0 to change, 0 to remove, ");
    let changes = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("=  ")
            && !line.starts_with("=  adopt")
            && !line.contains("(adopted as it is)")
    };
    let changed: Vec<&str> = plan.lines().filter(changes).collect();
    assert!(
        unchanged && changed.is_empty(),
        "{text}\nis planned as\n{plan}\nand there is\n{}",
        sh("ip -d link; ip address; ip route show table all; ip -6 route show table all; ip netns")
            .ok()
    );
}
