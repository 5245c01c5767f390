//! How a plan is told: to a person, to a program, in full, since a spec before, and without a host.

mod common;

use std::fs;
use std::path::Path;

use common::{in_sandbox, netform, sh};
use serde_json::Value;

const SPEC: &str = "/run/lab.yaml";
const OLD: &str = "/run/old.yaml";

/// A topology of some namespaces, each joined to the host.
fn lab(name: &str, namespaces: usize, extra: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!("version: 1\nname: {name}\nnamespaces:\n");
    for n in 0..namespaces {
        writeln!(text, "  {name}{n}: {{{extra}}}").expect("text");
    }
    text.push_str("veths:\n");
    for n in 0..namespaces {
        let ends = format!(
            "{{ namespace: {name}{n}, name: eth0, addresses: [10.9.{n}.2/24] }}, {{ namespace: host, name: {name}{n}, addresses: [10.9.{n}.1/24] }}"
        );
        writeln!(text, "  - ends: [{ends}]").expect("text");
    }
    text
}

fn write(path: &str, text: &str) {
    fs::write(path, text).expect("write");
}

fn json(arguments: &[&str]) -> Value {
    let text = netform(arguments).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_others_changed_is_told_apart_from_what_the_spec_changes() {
    in_sandbox(|| {
        write(OLD, &lab("lab", 2, ""));
        netform(&["apply", "-f", OLD, "--yes"]).ok();
        write(SPEC, &lab("lab", 2, "forwarding: true"));
        sh("ip -n lab0 addr del 10.9.0.2/24 dev eth0; ip -n lab1 link set eth0 mtu 1400").ok();
        let plan = netform(&["plan", "-f", SPEC, "--previous", OLD]).ok();
        let line = |what: &str| {
            let mut lines = plan.lines().filter(|line| line.contains(what));
            lines.next().unwrap_or_else(|| panic!("{what} in\n{plan}"))
        };
        assert!(line("address 10.9.0.2/24 on eth0").ends_with("(drift)"));
        assert!(line("mtu 1400 → 1500").ends_with("(drift)"));
        assert!(line("ip_forward").ends_with("0 → 1"));
        assert!(
            plan.ends_with("Drift: 2 of these mend what differs from the previous spec too.\n")
        );
        let document = json(&["plan", "-f", SPEC, "--previous", OLD, "-o", "json"]);
        let operations = document["plans"][0]["operations"]
            .as_array()
            .expect("a list");
        let drifted = operations.iter().filter(|one| one["drift"] == true);
        assert_eq!(drifted.count(), 2, "{document}");
        assert!(operations.iter().all(|one| one["drift"].is_boolean()));
        // Of a topology that the previous spec didn't have nothing has drifted; without one nobody says.
        write(OLD, &lab("other", 1, ""));
        let plan = netform(&["plan", "-f", SPEC, "--previous", OLD]).ok();
        assert!(!plan.contains("drift"), "{plan}");
        let document = json(&["plan", "-f", SPEC, "-o", "json"]);
        assert!(document["plans"][0]["operations"][0].get("drift").is_none());
    });
}

#[test]
fn changes_that_are_alike_are_shown_once_and_counted() {
    in_sandbox(|| {
        write(SPEC, &lab("lab", 12, ""));
        let plan = netform(&["plan", "-f", SPEC]).ok();
        let full = netform(&["plan", "-f", SPEC, "--full"]).ok();
        let namespaces = |text: &str| text.matches("\n  namespace lab").count();
        assert_eq!((namespaces(&plan), namespaces(&full)), (3, 12), "{plan}");
        assert!(
            plan.contains("… and 9 namespaces alike, lab11 to lab9 ("),
            "{plan}"
        );
        assert!(plan.contains("     … and 9 like this ("), "{plan}");
        assert_eq!(full.matches("  +  address").count(), 24, "{full}");
        assert_eq!(plan.lines().last(), full.lines().last());
        // The namespace that isn't like the others is shown.
        let odd = lab("lab", 12, "").replace("lab7: {}", "lab7: { forwarding: true }");
        write(SPEC, &odd);
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert!(plan.contains("\n  namespace lab7\n"), "{plan}");
        assert!(plan.contains("… and 8 namespaces alike"), "{plan}");
        // So it is where it is applied.
        let applied = netform(&["apply", "-f", SPEC, "--yes"]).ok();
        assert!(applied.contains("… and 8 namespaces alike"), "{applied}");
        let gone = netform(&["destroy", "lab", "--yes", "--full"]).ok();
        assert_eq!(namespaces(&gone), 12, "{gone}");
    });
}

#[test]
fn what_stays_is_shown_when_asked_for() {
    in_sandbox(|| {
        write(SPEC, &lab("lab", 1, ""));
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert_eq!(plan, "No changes. lab is as the spec says.\n");
        let plan = netform(&["plan", "-f", SPEC, "-v"]).ok();
        for what in [
            "veth eth0 ⇄ host:lab0",
            "address 10.9.0.1/24 on lab0",
            "ip_forward = 0",
        ] {
            assert!(plan.contains(what), "{what} in\n{plan}");
        }
    });
}

#[test]
fn all_plans_are_one_document_which_is_whole_or_not_there() {
    in_sandbox(|| {
        fs::create_dir("/run/specs").expect("a directory");
        write("/run/specs/a.yaml", &lab("a", 1, ""));
        write(
            "/run/specs/b.yaml",
            &lab("b", 1, "").replace("10.9.", "10.8."),
        );
        let arguments = [
            "plan",
            "-f",
            "/run/specs",
            "-o",
            "json",
            "--detailed-exitcode",
        ];
        let planned = netform(&arguments);
        assert_eq!(planned.status, 2, "{}", planned.stderr);
        let document: Value = serde_json::from_str(&planned.stdout).expect("JSON");
        assert_eq!(document["format_version"], "1.0");
        let plans = document["plans"].as_array().expect("a list");
        let told: Vec<_> = plans
            .iter()
            .map(|plan| (&plan["topology"], &plan["changes"]))
            .collect();
        assert_eq!(
            told,
            [(&"a".into(), &true.into()), (&"b".into(), &true.into())]
        );
        netform(&["apply", "-f", "/run/specs", "--yes"]).ok();
        let planned = netform(&arguments);
        assert_eq!(planned.status, 0, "{}", planned.stderr);
        let document: Value = serde_json::from_str(&planned.stdout).expect("JSON");
        assert_eq!(document["plans"][1]["changes"], false);
        assert_eq!(document["plans"][1]["operations"], Value::Array(Vec::new()));
        // What somebody else has made stands in the way of one of them.
        sh("ip link add c0 type veth peer name c1").ok();
        write(
            "/run/specs/c.yaml",
            &lab("c", 1, "").replace("10.9.", "10.7."),
        );
        let planned = netform(&arguments);
        assert_eq!(
            (planned.status, planned.stdout.as_str()),
            (1, ""),
            "{}",
            planned.stderr
        );
        assert!(planned.stderr.contains("c0"), "{}", planned.stderr);
    });
}

#[test]
fn specs_are_compared_without_a_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let [old, new, nothing] = [at("old"), at("new"), at("nothing.yaml")];
    for path in [&old, &new] {
        fs::create_dir(path).expect("a directory");
    }
    let put = |path: &str, text: &str| write(path, text);
    put(&format!("{old}/a.yaml"), &lab("a", 1, ""));
    put(
        &format!("{old}/b.yaml"),
        &lab("b", 1, "").replace("10.9.", "10.8."),
    );
    put(&format!("{new}/a.yaml"), &lab("a", 2, ""));
    put(&nothing, "# nothing yet\n");
    let plan = netform(&["plan", "-f", &new, "--from", &old]).ok();
    assert!(
        plan.starts_with("a\n\n  namespace a1\n") && plan.ends_with("0 to remove.\n"),
        "{plan}"
    );
    let plan = netform(&[
        "plan",
        "-f",
        &new,
        "--from",
        &old,
        "--prune",
        "--detailed-exitcode",
    ]);
    assert_eq!(plan.status, 2, "{}", plan.stderr);
    assert!(
        plan.stdout.contains("\n  namespace b0\n  -  remove\n"),
        "{}",
        plan.stdout
    );
    let plan = netform(&["plan", "-f", &new, "--from", &new, "--detailed-exitcode"]);
    assert_eq!(
        (plan.status, plan.stdout.as_str()),
        (0, "No changes. a is as the spec says.\n")
    );
    let from_nothing = netform(&["plan", "-f", &new, "--from", &nothing]).ok();
    let from_null = netform(&["plan", "-f", &new, "--from", "/dev/null"]).ok();
    assert!(from_nothing == from_null && from_nothing.contains("namespace a0\n  +  create"));
    // Two that want the same on the host, and a spec before that is none.
    put(
        &format!("{new}/c.yaml"),
        &lab("c", 1, "").replace("host, name: c0", "host, name: a0"),
    );
    let plan = netform(&["plan", "-f", &new, "--from", &old]);
    assert_eq!(plan.status, 1, "{}", plan.stdout);
    assert!(plan.stderr.contains("a0"), "{}", plan.stderr);
    put(&nothing, "version: 1\nname: [\n");
    let plan = netform(&["plan", "-f", &format!("{new}/a.yaml"), "--from", &nothing]);
    assert_eq!(plan.status, 1, "{}", plan.stdout);
    assert!(plan.stderr.contains("nothing.yaml:"), "{}", plan.stderr);
    let plan = netform(&["plan", "-f", &new, "--from", &at("missing.yaml")]);
    assert_eq!(plan.status, 1, "{}", plan.stdout);
    assert!(plan.stderr.contains("missing.yaml"), "{}", plan.stderr);
    assert!(!Path::new("/run/netform").join("a.json").exists());
}

#[test]
fn what_can_not_be_together_is_refused() {
    for (arguments, word) in [
        (&["--from", "a", "--adopt-from", "b"][..], "--adopt-from"),
        (&["--from", "a", "--out", "b"], "--out"),
        (&["--from", "a", "--previous", "b"], "--previous"),
    ] {
        let all = [&["plan", "-f", "c"], arguments].concat();
        let refused = netform(&all);
        assert_eq!(refused.status, 64, "{}", refused.stderr);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}
