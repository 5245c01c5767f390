//! Many checks at once, and their time.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::common::{in_sandbox, netform, sh};
use crate::lab::{SPEC, again, brief, tried, write};

#[test]
fn five_hundred_checks_take_no_longer_than_the_slowest_of_them() {
    in_sandbox(|| {
        let mut checks = String::new();
        for number in 0..100 {
            write!(
                checks,
                "  - {{ from: red, ping: 10.0.0.1, within: 2s }}
  - {{ from: red, tcp: \"198.51.100.10:80\", within: 2s }}
  - {{ from: red, resolve: www.example.test, within: 2s }}
  - {{ from: red, ping: 10.1.0.{}, within: 2s, expect: fail }}
  - {{ from: blue, tcp: \"10.1.0.1:{}\", within: 2s, expect: fail }}
",
                number + 3,
                number + 9000,
            )
            .expect("text");
        }
        write(&checks);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        // What is kept from red by the host is dropped there without a word; so is this.
        sh("nft 'table inet wall { chain in { type filter hook input priority -400; tcp dport 9000-9999 drop; }; }'").ok();
        let start = Instant::now();
        let ended = again();
        let time = start.elapsed();
        assert!(
            time > Duration::from_secs(2) && time < Duration::from_secs(10),
            "{time:?}"
        );
        assert_eq!(ended.len(), 500);
        for check in &ended {
            assert!(check["ok"] == true, "{check}");
            assert!(
                check["seconds"].as_f64().expect("a number") < 2.5,
                "{check}"
            );
        }
        // With few descriptors fewer are tried at once, and all in the end.
        write(&checks.replace("2s, expect", "300ms, expect"));
        let few = sh(&format!(
            "ulimit -n 300; {} check -f {SPEC} | tail -n 1",
            env!("CARGO_BIN_EXE_netform")
        ));
        assert_eq!(few.ok(), "500 checks, all as expected.\n");
    });
}

#[test]
fn within_is_kept_whatever_is_waited_for() {
    in_sandbox(|| {
        let all = "
  - { from: red, ping: 10.0.0.1, within: 700ms }
  - { from: red, tcp: \"10.0.0.1:80\", within: 700ms }
  - { from: blue, resolve: www.example.test, within: 700ms }
  - { from: blue, ping: www.example.test, within: 700ms }
  - { from: blue, tcp: \"www.example.test:80\", within: 700ms }
  - { from: red, ping: 10.0.0.1, within: 200ms }
";
        tried(all);
        sh("nft 'table inet wall { chain in { type filter hook input priority -400; ip saddr 10.0.0.2 drop; }; }'").ok();
        crate::lab::serve("host", "10.1.0.1", |_| Vec::new());
        for (place, check) in again().iter().enumerate() {
            let seconds = check["seconds"].as_f64().expect("a number");
            let most = if place == 5 { 0.2 } else { 0.7 };
            assert!(
                seconds > most - 0.05 && seconds < most + 0.3,
                "{}: {check}",
                brief(check)
            );
        }
    });
}
