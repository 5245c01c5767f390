//! Plans that are saved, read, and carried out later just so or not at all.

mod common;

use std::fs;

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};
use netform::saved::Saved;

const SPEC: &str = "/run/lab.yaml";
const PLAN: &str = "/run/plan.json";

fn lab(last: u8) -> String {
    format!(
        "version: 1
name: lab
namespaces: {{ a: {{}} }}
subnets: {{ lan: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {{}} }} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.7.0.{last}] }}
      - {{ namespace: host, name: to-a, addresses: [10.7.0.1] }}
"
    )
}

fn write(last: u8) {
    fs::write(SPEC, lab(last)).expect("write");
}

/// Saves the plan of the spec, and gives what was printed of it.
#[track_caller]
fn save() -> String {
    netform(&["plan", "-f", SPEC, "--out", PLAN]).ok()
}

fn apply() -> Output {
    netform(&["apply", "--plan", PLAN, "--yes"])
}

/// That a saved plan is refused with all of some words, and that nothing changes.
#[track_caller]
fn refused(output: impl FnOnce() -> Output, words: &[&str]) {
    let before = world();
    let output = output();
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (1, ""),
        "{}",
        output.stderr
    );
    for word in words {
        assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
    }
    assert_same_world(&before, &world());
}

#[test]
fn what_was_saved_is_what_is_done() {
    in_sandbox(|| {
        let before = world();
        write(2);
        let said = save();
        let done = apply().ok();
        assert!(
            done.starts_with(&said) && done.contains("Applied: "),
            "{done}"
        );
        // Once more it is no failure.
        assert_eq!(apply().ok(), "No changes. lab is as the spec says.\n");
        write(3);
        save();
        netform(&["apply", "--plan", PLAN, "-f", SPEC, "--yes"]).ok();
        assert!(
            sh("ip -n a address show dev eth0")
                .ok()
                .contains("10.7.0.3/24")
        );
        netform(&["destroy", "lab", "--yes"]).ok();
        for file in [SPEC, PLAN] {
            fs::remove_file(file).expect("removed");
        }
        assert_same_world(&before, &world());
    });
}

#[test]
fn what_changed_since_is_shown_and_nothing_is_done() {
    in_sandbox(|| {
        write(2);
        save();
        write(3);
        let with_file = || netform(&["apply", "--plan", PLAN, "-f", SPEC]);
        refused(
            with_file,
            &[
                "made from another spec",
                "\n-      - { namespace: a, name: eth0, addresses: [10.7.0.2] }\n",
                "\n+      - { namespace: a, name: eth0, addresses: [10.7.0.3] }\n",
            ],
        );
        sh("sysctl -qw net.ipv4.conf.ens33.forwarding=1").ok();
        refused(
            apply,
            &[
                "isn't what would be done anymore",
                "\n-  ~  sysctl net.ipv4.conf.ens33.forwarding  0 → 1\n",
            ],
        );
        sh("sysctl -qw net.ipv4.conf.ens33.forwarding=0; ip link add to-a type bridge").ok();
        refused(apply, &["to-a"]);
        sh("ip link delete to-a").ok();
        apply().ok();
    });
}

#[test]
fn processes_inside_may_come_and_go_but_not_others() {
    in_sandbox(|| {
        write(2);
        netform(&["apply", "-f", SPEC]).ok();
        let spec = lab(2)
            .replace("{ a: {} }", "{ b: {} }")
            .replace("namespace: a", "namespace: b");
        fs::write(SPEC, spec).expect("write");
        let start = |what: &str| {
            sh(&format!("ip netns exec a {what} >/dev/null 2>&1 & echo $!"))
                .ok()
                .trim()
                .to_owned()
        };
        let wait = |pid: &str, what: &str| {
            sh(&format!(
                "until grep -q {what} /proc/{pid}/comm; do sleep 0.01; done"
            ))
            .ok();
        };
        let first = start("sleep 7000");
        wait(&first, "sleep");
        assert!(save().contains("sleep 7000"));
        sh(&format!(
            "kill {first}; while [ -d /proc/{first} ]; do sleep 0.01; done"
        ))
        .ok();
        let other = start("tail -f /dev/null");
        wait(&other, "tail");
        refused(apply, &["sleep 7000", "tail -f"]);
        sh(&format!(
            "kill {other}; while [ -d /proc/{other} ]; do sleep 0.01; done"
        ))
        .ok();
        let same = start("sleep 7000");
        wait(&same, "sleep");
        apply().ok();
        sh(&format!("kill {same}")).ok();
    });
}

#[test]
fn a_plan_that_takes_over_is_saved_with_that() {
    in_sandbox(|| {
        sh("ip netns add a").ok();
        write(2);
        refused(
            || netform(&["plan", "-f", SPEC, "--out", PLAN]),
            &["namespace a"],
        );
        assert!(fs::metadata(PLAN).is_err());
        netform(&["plan", "-f", SPEC, "--adopt", "--out", PLAN]).ok();
        assert!(apply().ok().contains("1 adopted"));
        fs::write(SPEC, lab(2).replace("name: lab", "name: new")).expect("write");
        netform(&["plan", "-f", SPEC, "--adopt-from", "lab", "--out", PLAN]).ok();
        apply().ok();
        assert!(netform(&["show"]).ok().contains("new"));
    });
}

#[test]
fn every_example_is_saved_and_read_back() {
    in_sandbox(|| {
        let mut count = 0;
        for entry in fs::read_dir("specs").expect("specs") {
            let path = entry.expect("a file").path();
            let path = path.to_str().expect("a name");
            let saved = netform(&["plan", "-f", path, "--out", PLAN]);
            // Some need what a sandbox doesn't have at first.
            if saved.status != 0 {
                continue;
            }
            let text = fs::read_to_string(PLAN).expect("saved");
            let saved = Saved::parse(&text).expect("it is whole");
            assert_eq!(saved.to_text(), text, "{path}");
            count += 1;
        }
        assert!(count > 15, "{count}");
    });
}

#[test]
fn a_file_that_was_cut_or_written_in_is_refused() {
    in_sandbox(|| {
        write(2);
        save();
        let text = fs::read_to_string(PLAN).expect("saved");
        let whole = Saved::parse(&text).expect("it is whole");
        for end in (0..text.len() - 3).step_by(7) {
            if text.is_char_boundary(end) {
                Saved::parse(&text[..end]).expect_err("it is cut short");
            }
        }
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            let mut bytes = text.clone().into_bytes();
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..7);
            // Space between is nobody's.
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(saved) = Saved::parse(&text)
            {
                assert_eq!(saved, whole);
            }
        }
        let change = |from: &str, to: &str, word: &str| {
            assert!(text.contains(from));
            fs::write(PLAN, text.replace(from, to)).expect("write");
            refused(apply, &[word]);
        };
        change(
            "\"format_version\": 1",
            "\"format_version\": 2",
            "in format 2, and this release reads format 1",
        );
        change("10.7.0.2", "10.7.0.4", "changed after it was saved");
        change("\"saved\"", "\"plan\"", "no saved plan");
        change("{", "", "no saved plan");
        fs::write(PLAN, &text[..200]).expect("write");
        refused(apply, &["is cut short"]);
        fs::remove_file(PLAN).expect("removed");
        refused(apply, &["can't be read"]);
    });
}

#[test]
fn what_a_file_says_does_not_pass_for_a_line_of_netform() {
    let keys = [
        "x\n\nNo changes.\n",
        "a\tb\u{1b}[2J",
        &"long ".repeat(10_000),
    ];
    for key in keys {
        let mut file =
            serde_json::json!({ "format_version": 1, "netform": "0.1.0", "checksum": "" });
        file[key] = 1.into();
        let why = Saved::parse(&file.to_string()).expect_err("it has no such key");
        let lines: Vec<&str> = why.lines().collect();
        assert_eq!(lines.len(), 2, "{why}");
        assert!(
            lines[0].starts_with("is no saved plan (unknown field"),
            "{why}"
        );
        assert!(lines[1].starts_with("  save the plan again"), "{why}");
        assert!(why.len() < 400, "{}", why.len());
        assert!(
            !why.contains(|c: char| c.is_control() && c != '\n'),
            "{why:?}"
        );
    }
}

#[test]
fn one_file_is_of_one_topology() {
    in_sandbox(|| {
        fs::create_dir("/run/net").expect("made");
        for name in ["one", "two"] {
            let text = format!("version: 1\nname: {name}\nnamespaces: {{ {name}: {{}} }}\n");
            fs::write(format!("/run/net/{name}.yaml"), text).expect("write");
        }
        let output = netform(&["plan", "-f", "/run/net", "--out", PLAN]);
        assert_eq!(output.status, 64, "{}", output.stderr);
        assert!(output.stderr.contains("one, two"), "{}", output.stderr);
        let output = netform(&["apply"]);
        assert_eq!(output.status, 64, "{}", output.stderr);
        let output = netform(&["apply", "--plan", PLAN, "--adopt"]);
        assert_eq!(output.status, 64, "{}", output.stderr);
    });
}
