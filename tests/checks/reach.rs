//! Pings and connections.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::{in_sandbox, sh};
use crate::lab::{again, brief, listen, text, tried, write};

#[test]
fn what_is_there_is_reached_by_address_and_by_name_in_both_families() {
    in_sandbox(|| {
        let checks = tried(
            r#"
  - { from: red, ping: 10.0.0.1 }
  - { from: red, ping: "fd00::1" }
  - { from: red, ping: 198.51.100.10 }
  - { from: red, ping: "2001:db8:10::10" }
  - { from: red, ping: www.example.test }
  - { from: red, ping: db.lab }
  - { from: red, ping: both.lab }
  - { from: red, ping: 10.0.0.2 }
  - { from: red, ping: 127.0.0.1 }
  - { from: red, tcp: "198.51.100.10:80" }
  - { from: red, tcp: "[2001:db8:10::10]:80" }
  - { from: red, tcp: "www.example.test:80" }
  - { from: host, ping: 10.1.0.2 }
  - { from: host, tcp: "www.example.test:80" }
"#,
        );
        let brief: Vec<String> = checks.iter().map(brief).collect();
        assert_eq!(
            brief,
            [
                "ok 10.0.0.1",
                "ok fd00::1",
                "ok 198.51.100.10",
                "ok 2001:db8:10::10",
                "ok 2001:db8:10::10",
                "ok 10.0.0.1",
                "ok fd00::1",
                "ok 10.0.0.2",
                "ok 127.0.0.1",
                "ok 198.51.100.10",
                "ok 2001:db8:10::10",
                "ok 2001:db8:10::10",
                "ok 10.1.0.2",
                "ok 2001:db8:10::10",
            ]
        );
        // Where one family leads nowhere, the other is tried: at once if there is no route, and else after a while.
        sh("ip -n red -6 route del default").ok();
        let before = Instant::now();
        let without_route = again();
        assert_eq!(super::lab::brief(&without_route[4]), "ok 198.51.100.10");
        assert_eq!(super::lab::brief(&without_route[11]), "ok 198.51.100.10");
        sh("ip -n red -6 route add default dev lo").ok();
        let astray = again();
        assert_eq!(super::lab::brief(&astray[11]), "ok 198.51.100.10");
        assert!(before.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn a_failure_says_how_it_failed() {
    in_sandbox(|| {
        write(
            r#"
  - { from: red, tcp: "198.51.100.10:81", within: 1s }
  - { from: red, tcp: "10.0.0.1:4444", within: 1s }
  - { from: red, tcp: "10.0.0.1:4445", within: 1s }
  - { from: blue, ping: 192.0.2.1, within: 1s }
  - { from: red, ping: 192.0.2.1, within: 1s }
  - { from: red, ping: 192.0.2.2, within: 1s }
  - { from: red, tcp: "192.0.2.2:80", within: 1s }
  - { from: red, tcp: "[2001:db8:99::1]:80", within: 1s }
  - { from: blue, ping: 10.1.0.77, within: 5s }
  - { from: red, ping: 192.0.2.3, within: 1s }
  - { from: red, ping: 192.0.2.4, within: 1s }
"#,
        );
        crate::common::netform(&["apply", "-f", crate::lab::SPEC, "--yes"]).ok();
        sh("ip route add prohibit 192.0.2.2
            ip -6 route add prohibit 2001:db8:99::1
            ip route add 192.0.2.1 via 192.168.95.2 dev ens33
            ip -n red route add blackhole 192.0.2.3
            nft 'table inet wall {
              chain in { type filter hook input priority -400; tcp dport 4445 drop; }
              chain out { type filter hook prerouting priority -400; ip daddr 192.0.2.1 drop; }; }'
            ip netns exec red nft 'table inet wall {
              chain out { type filter hook output priority 0; ip daddr 192.0.2.4 drop; }; }'")
        .ok();
        let said: Vec<String> = again().iter().map(brief).collect();
        let wanted = [
            "refused: refused: nobody listens there at 198.51.100.10",
            "refused: refused: nobody listens there at 10.0.0.1",
            "timed-out: timed out",
            "no-route: no route to 192.0.2.1",
            "timed-out: timed out",
            "unreachable: 192.0.2.2 unreachable: it is prohibited, says 10.0.0.1",
            "unreachable: 192.0.2.2 unreachable: it is prohibited, says 10.0.0.1",
            "unreachable: 2001:db8:99::1 unreachable: it is prohibited, says fd00::1",
            "unreachable: unreachable: 10.1.0.77 or the router to it doesn't answer on its link",
            "barred: barred: the namespace's route to 192.0.2.3 is of type `blackhole`",
            "denied: denied: a firewall of the namespace itself lets nothing out to 192.0.2.4",
        ];
        for (said, wanted) in said.iter().zip(wanted) {
            assert!(said.starts_with(wanted), "{said}\n  instead of {wanted}");
        }
        assert_eq!(said.len(), wanted.len());
        let text = text();
        assert_eq!(text.status, 1);
        assert!(
            text.stdout.ends_with("11 checks, 11 not as expected.\n"),
            "{}",
            text.stdout
        );
    });
}

#[test]
fn a_check_that_is_to_fail_passes_when_it_does_and_fails_when_it_does_not() {
    in_sandbox(|| {
        let checks = tried(
            r#"
  - { from: red, tcp: "198.51.100.10:81", expect: fail }
  - { from: red, tcp: "198.51.100.10:80", expect: fail }
  - { from: red, ping: 10.0.0.1, expect: fail }
  - { from: blue, ping: 198.51.100.10, expect: fail }
  - { from: red, resolve: www.example.test, expect: fail }
  - { from: red, resolve: nobody.test, expect: fail }
  - { from: red, ping: 10.1.0.2, expect: fail, within: 500ms, name: red is kept from blue }
"#,
        );
        let ok: Vec<bool> = checks.iter().map(|check| check["ok"] == true).collect();
        assert_eq!(ok, [true, false, false, true, false, true, true]);
        // One that is refused needn't wait.
        assert!(checks[0]["seconds"].as_f64().expect("a number") < 0.5);
        let lines = text().stdout;
        for line in [
            "fails as expected: refused: nobody listens there at 198.51.100.10\n",
            "it takes the connection, and must not\n",
            "it answers, and must not\n",
            "fails as expected: no route to 198.51.100.10\n",
            "it has an address, and must not: 2001:db8:10::10, 198.51.100.10\n",
            "fails as expected: no such name: nobody.test\n",
            "red is kept from blue: fails as expected: 10.1.0.2 unreachable: it is prohibited, says 10.0.0.1\n",
            "\n7 checks, 3 not as expected.\n",
        ] {
            assert!(lines.contains(line), "{line} is not in\n{lines}");
        }
    });
}

#[test]
fn packets_that_get_lost_and_services_that_come_late_are_tried_again() {
    in_sandbox(|| {
        write("  - { from: red, ping: 10.0.0.1 }\n  - { from: host, tcp: \"10.0.0.2:7000\" }\n");
        crate::common::netform(&["apply", "-f", crate::lab::SPEC, "--yes"]).ok();
        sh("nft 'table inet wall { chain in { type filter hook input priority -400; icmp type echo-request drop; }; }'")
            .ok();
        let late = thread::spawn(|| {
            thread::sleep(Duration::from_millis(600));
            sh("nft delete table inet wall").ok();
            listen("red", "10.0.0.2:7000")
        });
        let checks = again();
        drop(late.join().expect("it listens"));
        for check in &checks {
            let seconds = check["seconds"].as_f64().expect("a number");
            assert!(check["ok"] == true && seconds > 0.5, "{check}");
        }
    });
}

#[test]
fn a_namespace_that_is_not_there_is_no_failure_that_was_expected() {
    in_sandbox(|| {
        write(
            "  - { from: red, ping: 10.0.0.1 }\n  - { from: blue, ping: 10.0.0.1, expect: fail }\n",
        );
        let output = text();
        let lines: Vec<&str> = output
            .stdout
            .lines()
            .filter(|line| line.contains('→'))
            .collect();
        assert_eq!(output.status, 1);
        assert_eq!(lines.len(), 2, "{}", output.stdout);
        for line in lines {
            let said = "there is no such namespace: apply the spec first";
            assert!(line.starts_with("  fail") && line.ends_with(said), "{line}");
        }
    });
}

#[test]
fn checks_are_tried_in_namespaces_that_others_make() {
    in_sandbox(|| {
        sh("ip netns add theirs; ip -n theirs link set lo up; unshare -n sleep 60 >/dev/null 2>&1 & echo $! > /run/pid").ok();
        let pid = std::fs::read_to_string("/run/pid").expect("a number");
        thread::sleep(Duration::from_millis(300));
        std::fs::write(
            crate::lab::SPEC,
            format!(
                "version: 1\nname: lab\nnamespaces:\n  theirs: {{ external: true }}\n  box: {{ external: {{ path: /proc/{}/ns/net }} }}
checks:
  - {{ from: theirs, ping: 127.0.0.1 }}
  - {{ from: box, ping: 127.0.0.1, expect: fail }}\n",
                pid.trim()
            ),
        )
        .expect("write");
        let checks = again();
        assert_eq!(brief(&checks[0]), "ok 127.0.0.1");
        assert_eq!(brief(&checks[1]), "no-route: no route to 127.0.0.1");
    });
}
