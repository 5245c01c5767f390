//! What who is root inside of a namespace can do to netform, which works outside: next to nothing.

mod common;

use std::time::{Duration, Instant};

use common::{Output, in_sandbox, netform, sh};

const SPEC: &str = "/run/inmates.yaml";

/// A namespace with a link to the host.
fn begin() {
    sh(&format!(
        "cat > {SPEC} <<'EOF'
version: 1
name: odd
namespaces: {{ a: }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.9.0.2/24] }}
      - {{ namespace: host, name: odd0, addresses: [10.9.0.1/24] }}
EOF"
    ))
    .ok();
    netform(&["apply", "-f", SPEC]).ok();
}

/// That nothing was printed that does something to a terminal.
#[track_caller]
fn is_harmless(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let bad = text.chars().find(|c| *c != '\n' && c.is_control());
        assert_eq!(bad, None, "{text:?}");
    }
}

#[test]
fn names_of_inmates_do_nothing_to_a_terminal() {
    in_sandbox(|| {
        begin();
        let red = "$(printf '\\033[31mred')";
        sh(&format!(
            "cp $(command -v sleep) \"/run/{red}\"
             ip -n a link add \"v{red}\" type veth peer name \"w{red}\"
             ip -n a link set \"v{red}\" alias \"alias {red}\"
             ip -n a link property add dev \"v{red}\" altname \"altname{red}\"
             ip -n a addr add 10.77.0.1/24 dev \"v{red}\"
             ip -n a link set \"v{red}\" up
             ip -n a route add 10.78.0.0/24 dev \"v{red}\"
             ip -n a rule add iif \"v{red}\" table 9
             ip -n a link set eth0 alias \"netform:odd {red}\"
             ip netns exec a \"/run/{red}\" 60 >/dev/null 2>&1 & sleep 0.2"
        ))
        .ok();
        let plan = netform(&["plan", "-f", SPEC]);
        is_harmless(&plan);
        for arguments in [
            &["show"][..],
            &["show", "odd"],
            &["apply", "-f", SPEC],
            // This tells of the process, and waits for a yes that doesn't come.
            &["destroy", "odd"],
        ] {
            is_harmless(&netform(arguments));
        }
        sh("ip -n a link set eth0 alias netform:odd").ok();
        let destroyed = netform(&["destroy", "odd", "--yes"]);
        is_harmless(&destroyed);
        assert!(destroyed.stdout.contains("[31mred"), "{destroyed:?}");
        destroyed.ok();
    });
}

#[test]
fn a_crowd_of_things_of_an_inmate_delays_little_and_changes_nothing() {
    in_sandbox(|| {
        begin();
        let plan = || {
            let start = Instant::now();
            let plan = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
            (plan, start.elapsed())
        };
        assert_eq!(plan().0.status, 0);
        sh("for i in $(seq 200); do echo \"link add q$i type veth peer name r$i\"; done > /run/batch
            for i in $(seq 0 3999); do
              echo \"addr add 10.80.$((i / 250)).$((i % 250))/32 dev lo\"
              echo \"route add 10.81.$((i / 250)).$((i % 250))/32 dev lo proto 110\"
              echo \"rule add pref $((10000 + i)) fwmark $i table 77\"
            done >> /run/batch
            ip -n a -batch /run/batch")
        .ok();
        let (crowded, took) = plan();
        assert!(took < Duration::from_secs(15), "{took:?}");
        // Routes with our protocol number are ours by their tag, and say so; all else is the inmate's.
        assert!(
            crowded.status == 0 || crowded.status == 2,
            "{}",
            crowded.stderr
        );
        let removed = crowded
            .stdout
            .lines()
            .filter(|line| line.trim_start().starts_with("- "));
        assert!(
            removed.clone().all(|line| line.contains("route 10.81.")),
            "{}",
            crowded.stdout
        );
        let start = Instant::now();
        netform(&["destroy", "odd", "--yes"]).ok();
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_table_that_an_inmate_calls_ours_is_no_way_to_the_host() {
    in_sandbox(|| {
        begin();
        sh("nft 'add table inet own; \
            add chain inet own f { type filter hook forward priority 0; policy drop; }'")
        .ok();
        let before = sh("nft list table inet own").ok();
        sh(
            "ip netns exec a nft 'add table inet netform-odd { comment \"netform:odd\"; }; \
            add table inet own { comment \"netform:odd\"; }'",
        )
        .ok();
        netform(&["plan", "-f", SPEC]);
        netform(&["destroy", "odd", "--yes"]).ok();
        assert_eq!(sh("nft list table inet own").ok(), before);
    });
}
