//! Exit statuses and messages, as a person or a script meets them.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "specs/breezyfrost.yaml";

/// Another topology that leaves by the same uplink.
const OTHER: &str = "\
version: 1
name: other
namespaces: { other: {} }
subnets:
  lab: { cidr: 192.168.51.0/24, gateway: 192.168.51.1, egress: {} }
veths:
  - ends:
      - { namespace: other, name: eth0, addresses: [192.168.51.2] }
      - { namespace: host, name: other_p, addresses: [192.168.51.1] }
";

#[test]
fn wrong_usage_is_64() {
    for arguments in [
        &["plan"][..],
        &["--wrong"],
        &["frobnicate"],
        &["destroy"],
        &["exec"],
    ] {
        let output = netform(arguments);
        assert_eq!(output.status, 64, "{arguments:?}: {}", output.stderr);
        assert!(output.stdout.is_empty());
    }
    assert_eq!(netform(&["--version"]).status, 0);
}

#[test]
fn a_spec_that_is_wrong_or_missing_is_1_and_says_where() {
    let missing = netform(&["validate", "-f", "/nowhere/topology.yaml"]);
    assert_eq!(missing.status, 1);
    assert!(
        missing.stderr.contains("/nowhere/topology.yaml"),
        "{}",
        missing.stderr
    );
    let wrong = netform(&["validate", "-f", "tests/errors"]);
    assert_eq!(wrong.status, 1);
    assert!(
        wrong.stderr.contains("╭─ tests/errors/"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_file_that_is_given_twice_is_named() {
    let twice = netform(&[
        "validate",
        "-f",
        SPEC,
        "-f",
        "specs/../specs/breezyfrost.yaml",
    ]);
    assert_eq!(twice.status, 1);
    assert!(
        twice
            .stderr
            .contains("specs/../specs/breezyfrost.yaml is given twice"),
        "{}",
        twice.stderr
    );
}

#[test]
fn without_the_privilege_it_says_which_is_missing() {
    in_sandbox(|| {
        let binary = env!("CARGO_BIN_EXE_netform");
        let drop = "setpriv --bounding-set -net_admin --inh-caps -net_admin";
        let refused = sh(&format!("{drop} {binary} plan -f {SPEC}"));
        assert_eq!(refused.status, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("CAP_NET_ADMIN"),
            "{}",
            refused.stderr
        );
        // What doesn't need it does without.
        sh(&format!(
            "{drop} {binary} validate -f {SPEC} && {drop} {binary} schema"
        ))
        .ok();
    });
}

#[test]
fn what_exists_untagged_is_a_conflict_and_nothing_is_changed() {
    for (theirs, named) in [
        ("ip netns add breezyfrost", "namespace breezyfrost"),
        ("ip link add veth1_p type veth peer name x", "link veth1_p"),
        (
            "mkdir /etc/netns/breezyfrost; echo nameserver ::1 >/etc/netns/breezyfrost/resolv.conf",
            "file /etc/netns/breezyfrost/resolv.conf",
        ),
        (
            "nft add table inet netform-breezyfrost",
            "table inet netform-breezyfrost",
        ),
    ] {
        in_sandbox(|| {
            sh(theirs).ok();
            let before = world();
            for verb in ["plan", "apply"] {
                let output = netform(&[verb, "-f", SPEC]);
                assert_eq!(
                    output.status, 1,
                    "{theirs}: {}{}",
                    output.stdout, output.stderr
                );
                assert!(output.stderr.contains(named), "{theirs}: {}", output.stderr);
                assert_same_world(&before, &world());
            }
        });
    }
}

#[test]
fn what_removes_something_asks_for_a_yes() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        std::fs::write("/run/empty.yaml", "version: 1\nname: breezyfrost\n").expect("write");
        let before = world();
        let refused = netform(&["apply", "-f", "/run/empty.yaml"]);
        assert_eq!(refused.status, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
        assert_eq!(netform(&["destroy", "breezyfrost"]).status, 1);
        assert_same_world(&before, &world());
        netform(&["apply", "-f", "/run/empty.yaml", "--yes"]).ok();
        assert_ne!(sh("ip netns exec breezyfrost true").status, 0);
        let nothing = netform(&["destroy", "breezyfrost", "--yes"]).ok();
        assert!(nothing.starts_with("No changes."), "{nothing}");
    });
}

#[test]
fn two_topologies_share_an_uplink_and_leave_in_any_order() {
    for order in [["breezyfrost", "other"], ["other", "breezyfrost"]] {
        in_sandbox(|| {
            sh("ip netns add first && ip netns del first").ok();
            let before = world();
            std::fs::write("/run/other.yaml", OTHER).expect("write");
            netform(&["apply", "-f", SPEC]).ok();
            netform(&["apply", "-f", "/run/other.yaml"]).ok();
            for name in ["breezyfrost", "other"] {
                sh(&format!("ip netns exec {name} ping -c1 -W10 198.51.100.10")).ok();
            }
            // They don't reach each other.
            assert_ne!(
                sh("ip netns exec other ping -c1 -W1 192.168.50.2").status,
                0
            );
            assert_ne!(
                sh("ip netns exec breezyfrost ping -c1 -W1 192.168.51.2").status,
                0
            );
            netform(&["destroy", order[0], "--yes"]).ok();
            sh(&format!(
                "ip netns exec {} ping -c1 -W10 198.51.100.10",
                order[1]
            ))
            .ok();
            netform(&["destroy", order[1], "--yes"]).ok();
            std::fs::remove_file("/run/other.yaml").expect("it was written");
            assert_same_world(&before, &world());
        });
    }
}

#[test]
fn standard_input_is_a_spec_too() {
    in_sandbox(|| {
        let binary = env!("CARGO_BIN_EXE_netform");
        sh(&format!("cat {SPEC} | {binary} apply -f -")).ok();
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
        let again = sh(&format!("{binary} plan -f - --detailed-exitcode <{SPEC}"));
        assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
    });
}

/// What a command prints on a terminal with so many columns, without colours.
fn on_a_terminal(columns: u32, arguments: &str) -> String {
    let script = format!(
        "import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, {columns}, 0, 0))
    os.execvpe('{}', ['netform'] + sys.argv[1:], dict(os.environ, NO_COLOR='1', LC_ALL='C.UTF-8'))
try:
    while part := os.read(fd, 65536):
        os.write(1, part)
except OSError:
    pass
os.waitpid(pid, 0)
",
        env!("CARGO_BIN_EXE_netform")
    );
    std::fs::write("/run/terminal.py", script).expect("write");
    let printed = sh(&format!("python3 /run/terminal.py {arguments}")).ok();
    printed.replace('\r', "")
}

#[test]
fn a_narrow_terminal_gets_lines_that_fit_and_a_wide_one_what_a_file_gets() {
    in_sandbox(|| {
        let plan = format!("plan -f {SPEC}");
        let whole = netform(&["plan", "-f", SPEC]).ok();
        assert!(whole.lines().any(|line| line.chars().count() > 60));
        assert_eq!(on_a_terminal(300, &plan), whole);
        let narrow = on_a_terminal(60, &plan);
        for line in narrow.lines() {
            let is_word = !line.trim_start().contains(' ');
            assert!(line.chars().count() <= 60 || is_word, "{line}");
        }
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(words(&narrow), words(&whole));
        // What is for programs stays as it is.
        let json = netform(&["plan", "-f", SPEC, "-o", "json"]).ok();
        assert_eq!(on_a_terminal(60, &format!("{plan} -o json")), json);
    });
}
