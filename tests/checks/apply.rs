//! `apply --check`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{assert_same_world, in_sandbox, netform, sh, world};
use crate::lab::{SPEC, write};

const GOOD: &str = "  - { from: red, ping: 10.0.0.1 }\n";
const BAD: &str =
    "  - { from: red, ping: 10.0.0.1 }\n  - { from: red, ping: 10.1.0.2, within: 300ms }\n";

#[test]
fn a_check_that_fails_takes_the_apply_back() {
    in_sandbox(|| {
        write(BAD);
        let before = world();
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check"]);
        assert_eq!(output.status, 3, "{output:?}");
        assert!(
            output.stdout.contains("2 checks, 1 not as expected."),
            "{}",
            output.stdout
        );
        for said in [
            "a check isn't as expected",
            "Everything that had been done is undone.",
        ] {
            assert!(output.stderr.contains(said), "{}", output.stderr);
        }
        assert_same_world(&before, &world());
        // What stops it is said while it is there.
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check", "--explain"]);
        assert_eq!(output.status, 3, "{output:?}");
        let judge = "host: table inet netform-lab, chain judge, rule ";
        assert!(output.stdout.contains(judge), "{}", output.stdout);
        assert_same_world(&before, &world());
        let alone = netform(&["apply", "-f", SPEC, "--yes", "--explain"]);
        assert_eq!(alone.status, 64, "{alone:?}");
        // Nobody asked for it.
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        // Nothing is done, so there is nothing to take back.
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check"]);
        assert_eq!(output.status, 1, "{output:?}");
    });
}

#[test]
fn checks_that_pass_keep_what_was_applied() {
    in_sandbox(|| {
        write(GOOD);
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check"]).ok();
        assert!(output.ends_with("1 check, as expected.\n"), "{output}");
        let again = netform(&["apply", "-f", SPEC, "--yes", "--check"]).ok();
        assert!(again.ends_with("1 check, as expected.\n"), "{again}");
        // A change that breaks something is taken back to what was there, and that works.
        let spec = fs::read_to_string(SPEC).expect("read");
        fs::write(
            SPEC,
            spec.replace(
                "red, name: eth0, addresses: [10.0.0.2, ",
                "red, name: eth0, up: false, addresses: [10.0.0.2, ",
            ),
        )
        .expect("write");
        let before = world();
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check"]);
        assert_eq!(output.status, 3, "{output:?}");
        assert_same_world(&before, &world());
        fs::write(SPEC, spec).expect("write");
        assert_eq!(netform(&["check", "-f", SPEC]).status, 0);
    });
}

#[test]
fn a_topology_that_was_only_renamed_gets_its_name_back() {
    in_sandbox(|| {
        write(BAD);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let spec = fs::read_to_string(SPEC).expect("read");
        fs::write(SPEC, spec.replace("name: lab\n", "name: other\n")).expect("write");
        let before = world();
        let output = netform(&["apply", "-f", SPEC, "--check", "--adopt-from", "lab"]);
        assert_eq!(output.status, 3, "{output:?}");
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_spec_without_checks_is_applied_and_it_is_said() {
    in_sandbox(|| {
        write("  []\n");
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check"]);
        assert_eq!(
            (output.status, output.stderr.as_str()),
            (0, "lab has no checks.\n")
        );
    });
}

#[test]
fn what_is_not_to_be_taken_back_stays_and_is_told() {
    in_sandbox(|| {
        write(BAD);
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check", "--no-rollback"]);
        assert_eq!(output.status, 4, "{output:?}");
        assert!(
            output.stderr.contains("Left as it is (--no-rollback)"),
            "{}",
            output.stderr
        );
        assert_eq!(
            netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).status,
            0
        );
    });
}

#[test]
fn each_of_several_topologies_has_its_own_checks() {
    in_sandbox(|| {
        let one = |name: &str, port: u16| {
            format!(
                "version: 1\nname: {name}\nnamespaces: {{ {name}: }}
veths: [{{ ends: [{{ namespace: {name}, name: eth0, addresses: [10.{port}.0.2/24] }}, {{ namespace: host, name: to-{name}, addresses: [10.{port}.0.1/24] }}] }}]
checks: [{{ from: {name}, ping: 10.5.0.1, within: 500ms }}]\n"
            )
        };
        fs::write("/run/a.yaml", one("aa", 5)).expect("write");
        fs::write("/run/b.yaml", one("bb", 6)).expect("write");
        let files = ["-f", "/run/a.yaml", "-f", "/run/b.yaml"];
        let output = netform(&[&["apply", "--yes", "--check"][..], &files].concat());
        assert_eq!(output.status, 3, "{output:?}");
        assert!(
            output.stderr.contains("topology bb is not applied"),
            "{}",
            output.stderr
        );
        assert_eq!(sh("ip netns list | cut -d' ' -f1").ok(), "aa\n");
        let output = netform(&[&["check", "-o", "json"][..], &files].concat());
        let document: serde_json::Value = serde_json::from_str(&output.stdout).expect("one");
        let ok: Vec<_> = (0..2)
            .map(|at| document["topologies"][at]["ok"].clone())
            .collect();
        assert_eq!((ok, output.status), (vec![true.into(), false.into()], 1));
    });
}

#[test]
fn a_signal_while_checks_are_tried_takes_the_apply_back() {
    in_sandbox(|| {
        write("  - { from: red, ping: 10.1.0.2, within: 60s }\n");
        let before = world();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
        command.args(["apply", "-f", SPEC, "--yes", "--check"]);
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // Then the checks begin, which takes no time.
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut lines = stdout.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("Applied:")));
        std::thread::sleep(Duration::from_millis(300));
        sh(&format!("kill -INT {}", child.id())).ok();
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.contains("stopped by SIGINT, while checks were tried"),
            "{stderr}"
        );
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_saved_plan_and_a_yes_that_is_waited_for_go_with_checks() {
    in_sandbox(|| {
        write(BAD);
        netform(&["plan", "-f", SPEC, "--out", "/run/plan.json"]).ok();
        let before = world();
        let output = netform(&["apply", "--plan", "/run/plan.json", "--yes", "--check"]);
        assert_eq!(output.status, 3, "{output:?}");
        assert_same_world(&before, &world());
        let output = netform(&["apply", "-f", SPEC, "--yes", "--check", "--confirm", "60s"]);
        assert_eq!(output.status, 3, "{output:?}");
        // Nobody waits any more.
        assert_eq!(netform(&["confirm"]).status, 1);
        assert_eq!(sh("ip netns list").ok(), "");
    });
}
