//! Several topologies in one directory, and those that it doesn't have any more.

mod common;

use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};

/// A topology with a namespace that reaches out over the host's uplink.
fn topology(name: &str, third: u8) -> String {
    format!(
        "\
version: 1
name: {name}
namespaces: {{ {name}: {{}} }}
subnets: {{ lan: {{ cidr: 10.9.{third}.0/24, gateway: 10.9.{third}.1, egress: {{}} }} }}
veths:
  - ends:
      - {{ namespace: {name}, name: eth0, addresses: [10.9.{third}.2] }}
      - {{ namespace: host, name: {name}-0, addresses: [10.9.{third}.1] }}
"
    )
}

fn directory(topologies: &[(&str, u8)]) {
    let _ = fs::remove_dir_all("/run/net");
    fs::create_dir("/run/net").expect("created");
    for (name, third) in topologies {
        fs::write(format!("/run/net/{name}.yaml"), topology(name, *third)).expect("written");
    }
}

#[track_caller]
fn reach(names: &[&str]) {
    for name in names {
        sh(&format!("ip netns exec {name} ping -c1 -W20 198.51.100.10")).ok();
    }
}

#[test]
fn a_directory_of_several_topologies_is_applied_one_after_the_other() {
    in_sandbox(|| {
        directory(&[]);
        let before = world();
        directory(&[("one", 1), ("two", 2)]);
        // Two files of one topology, and names of files in another order.
        fs::write(
            "/run/net/a.yaml",
            "version: 1\nname: two\nnamespaces: { more: {} }\n",
        )
        .expect("written");
        let plan = netform(&["plan", "-f", "/run/net", "--detailed-exitcode"]);
        assert_eq!(plan.status, 2, "{}", plan.stderr);
        let places = ["two\n\n  namespace more", "\none\n\n  namespace one"].map(|part| {
            plan.stdout
                .find(part)
                .unwrap_or_else(|| panic!("{part:?} is not in:\n{}", plan.stdout))
        });
        assert!(places[0] < places[1], "{}", plan.stdout);
        assert_eq!(
            netform(&["validate", "-f", "/run/net"]).ok(),
            "two is valid.\none is valid.\n"
        );
        netform(&["apply", "-f", "/run/net"]).ok();
        reach(&["one", "two"]);
        let again = netform(&["plan", "-f", "/run/net", "--detailed-exitcode"]);
        assert_eq!(again.status, 0, "{}", again.stdout);
        assert_eq!(
            again.stdout.matches("No changes.").count(),
            2,
            "{}",
            again.stdout
        );
        netform(&["destroy", "-f", "/run/net", "--yes"]).ok();
        directory(&[]);
        assert_same_world(&before, &world());
    });
}

#[test]
fn one_that_fails_doesnt_keep_the_others_from_being_applied() {
    in_sandbox(|| {
        directory(&[("old", 4)]);
        netform(&["apply", "-f", "/run/net"]).ok();
        directory(&[("one", 1), ("three", 3), ("two", 2)]);
        sh("ip netns add three").ok();
        let failed = netform(&["apply", "-f", "/run/net", "--prune", "--yes"]);
        assert_eq!(failed.status, 1, "{}", failed.stdout);
        assert!(
            failed.stderr.contains("namespace three exists"),
            "{}",
            failed.stderr
        );
        assert!(
            failed.stderr.contains("topology three is not applied"),
            "{}",
            failed.stderr
        );
        reach(&["one", "two"]);
        let line = "nothing is pruned, because not all of the directory is applied";
        assert!(failed.stderr.contains(line), "{}", failed.stderr);
        reach(&["old"]);
        // An error in one file stops all before anything is done.
        fs::write(
            "/run/net/four.yaml",
            "version: 1\nname: four\nnamespace: {}\n",
        )
        .expect("written");
        sh("ip netns exec one ip link del eth0").ok();
        let before = world();
        for also in [&[][..], &["--prune", "--yes"]] {
            let mut arguments = vec!["apply", "-f", "/run/net"];
            arguments.extend(also);
            let stopped = netform(&arguments);
            assert_eq!(stopped.status, 1, "{}", stopped.stdout);
            assert!(
                stopped.stderr.contains("four.yaml:3:1"),
                "{}",
                stopped.stderr
            );
            assert_same_world(&before, &world());
        }
        // So does one that says no name.
        fs::write(
            "/run/net/four.yaml",
            "version: 1\nnamespaces: { four: {} }\n",
        )
        .expect("written");
        let stopped = netform(&["apply", "-f", "/run/net", "--yes"]);
        assert_eq!(stopped.status, 1, "{}", stopped.stdout);
        assert!(stopped.stderr.contains("four.yaml"), "{}", stopped.stderr);
    });
}

#[test]
fn what_the_directory_doesnt_have_is_pruned() {
    in_sandbox(|| {
        directory(&[]);
        sh("ip netns add foreign; ip link add theirs type ifb; ip link set theirs alias netform:ghost").ok();
        let before = world();
        directory(&[("one", 1), ("two", 2), ("three", 3)]);
        netform(&["apply", "-f", "/run/net"]).ok();
        let all = netform(&["plan", "-f", "/run/net", "--prune", "--detailed-exitcode"]);
        assert_eq!(all.status, 0, "{}{}", all.stdout, all.stderr);
        // One is known by its tags only.
        fs::remove_file("/run/netform/three.json").expect("removed");
        directory(&[("one", 1)]);
        let running = world();
        let quiet = netform(&["plan", "-f", "/run/net"]).ok();
        assert_eq!(quiet, "No changes. one is as the spec says.\n");
        let plan = netform(&["plan", "-f", "/run/net", "--prune", "--detailed-exitcode"]);
        assert_eq!(plan.status, 2, "{}", plan.stderr);
        for part in [
            "\nTopology three is in no file of /run/net, and goes:\n\nthree\n\n  namespace three\n  -  remove\n",
            "\nTopology two is in no file of /run/net, and goes:\n\ntwo\n\n  namespace two\n  -  remove\n",
        ] {
            assert!(
                plan.stdout.contains(part),
                "{part:?} is not in:\n{}",
                plan.stdout
            );
        }
        assert!(!plan.stdout.contains("ghost"), "{}", plan.stdout);
        let asks = netform(&["apply", "-f", "/run/net", "--prune"]);
        assert_eq!(asks.status, 1, "{}", asks.stdout);
        assert!(
            asks.stderr
                .contains("run `netform apply --prune` again with `--yes`"),
            "{}",
            asks.stderr
        );
        assert_same_world(&running, &world());
        reach(&["one", "two"]);
        netform(&["apply", "-f", "/run/net", "--prune", "--yes"]).ok();
        reach(&["one"]);
        assert_ne!(sh("ip netns exec two true").status, 0);
        assert_ne!(sh("ip netns exec three true").status, 0);
        // Nothing is left to be pruned.
        assert_eq!(
            netform(&["apply", "-f", "/run/net", "--prune"]).ok(),
            "No changes. one is as the spec says.\n"
        );
        netform(&["destroy", "one", "--yes"]).ok();
        directory(&[]);
        assert_same_world(&before, &world());
    });
}

#[test]
fn only_a_directory_prunes() {
    in_sandbox(|| {
        directory(&[("one", 1), ("two", 2)]);
        netform(&["apply", "-f", "/run/net"]).ok();
        let before = world();
        for files in [
            &["-f", "/run/net/one.yaml"][..],
            &["-f", "-"],
            &["-f", "/run/net", "-f", "/run/net/one.yaml"],
            &["-f", "/run/nowhere"],
        ] {
            for verb in ["plan", "apply"] {
                let mut arguments = vec![verb, "--prune"];
                arguments.extend(files);
                let refused = netform(&arguments);
                assert_eq!(refused.status, 64, "{}", refused.stderr);
                assert!(
                    refused.stderr.contains("so it takes one directory"),
                    "{}",
                    refused.stderr
                );
            }
        }
        // Nor does an empty one, which is a mistake.
        fs::create_dir("/run/empty").expect("created");
        assert_eq!(
            netform(&["apply", "-f", "/run/empty", "--prune", "--yes"]).status,
            1
        );
        let refused = netform(&["apply", "-f", "/run/net", "--adopt-from", "three"]);
        assert_eq!(refused.status, 64, "{}", refused.stderr);
        assert!(
            refused
                .stderr
                .contains("the files are of several: one, two"),
            "{}",
            refused.stderr
        );
        fs::remove_dir("/run/empty").expect("removed");
        assert_same_world(&before, &world());
    });
}

#[test]
fn topologies_side_by_side_are_changed_and_leave_in_any_order() {
    for order in [
        ["one", "two", "three"],
        ["three", "one", "two"],
        ["two", "three", "one"],
    ] {
        in_sandbox(|| {
            directory(&[]);
            let before = world();
            let numbers = [("one", 1), ("two", 2), ("three", 3)];
            directory(&numbers);
            netform(&["apply", "-f", "/run/net"]).ok();
            for (place, name) in order.iter().enumerate() {
                let stay = &order[place + 1..];
                let spec = format!("/run/net/{name}.yaml");
                // It changes first: another address, a namespace more.
                let text = fs::read_to_string(&spec).expect("a spec");
                let text = text.replace("{}", "{}, extra: {}").replacen(
                    "{}, extra: {} }",
                    "{}, extra-NAME: {} }",
                    1,
                );
                let text = text
                    .replace("egress: {}, extra: {}", "egress: {}")
                    .replace("NAME", name);
                fs::write(&spec, text).expect("written");
                netform(&["apply", "-f", &spec, "--yes"]).ok();
                reach(&order[place..]);
                netform(&["destroy", name, "--yes"]).ok();
                reach(stay);
                for other in stay {
                    let spec = format!("/run/net/{other}.yaml");
                    assert!(
                        netform(&["plan", "-f", &spec])
                            .ok()
                            .starts_with("No changes.")
                    );
                }
            }
            directory(&[]);
            assert_same_world(&before, &world());
        });
    }
}
