//! A record that is lost or damaged.

mod common;

use std::fs;

use common::{Output, in_sandbox, netform, sh};

const FILE: &str = "/run/lab.yaml";
const RECORD: &str = "/run/netform/lab.json";
const WORDS: &str = "the record of lab in /run/netform is lost";

/// A topology with a namespace `a`, and `more` of them, whose gateway is on the host.
fn lab(name: &str, net: u8, more: &str) -> String {
    format!(
        "version: 1
name: {name}
namespaces: {{ {name}-a: {{}}{more} }}
subnets:
  lab: {{ cidr: 10.{net}.0.0/24, gateway: 10.{net}.0.1, egress: {{}} }}
veths:
  - ends:
      - {{ namespace: {name}-a, name: eth0, addresses: [10.{net}.0.2] }}
      - {{ namespace: host, name: to-{name}, addresses: [10.{net}.0.1] }}
"
    )
}

#[track_caller]
fn apply(spec: &str) -> String {
    fs::write(FILE, spec).expect("write");
    netform(&["apply", "-f", FILE, "--yes"]).ok()
}

fn plan() -> String {
    netform(&["plan", "-f", FILE]).ok()
}

#[test]
fn what_a_lost_record_had_on_loan_is_named() {
    in_sandbox(|| {
        let spec = lab("lab", 7, "");
        apply(&spec);
        assert!(!plan().contains("lost"));
        fs::remove_file(RECORD).expect("remove");
        let names = "likely net.ipv4.conf.ens33.forwarding: look";
        for said in [plan(), netform(&["show", "lab"]).ok()] {
            assert_eq!(said.matches(WORDS).count(), 1, "{said}");
            assert!(said.contains(names), "{said}");
        }
        // It is written again, and so it is said for the last time.
        assert!(apply(&spec).contains(WORDS));
        assert!(!plan().contains("lost"));
        fs::remove_file(RECORD).expect("remove");
        let said = netform(&["destroy", "lab", "--yes"]).ok();
        assert!(said.contains(WORDS) && said.contains(names), "{said}");
        assert_eq!(sh("nft list tables; ls /run/netns").ok(), "");
        assert_eq!(sh("sysctl -n net.ipv4.conf.ens33.forwarding").ok(), "1\n");
    });
}

#[test]
fn nothing_is_left_behind_by_a_record_that_was_written_anew() {
    in_sandbox(|| {
        apply(&lab("lab", 7, ""));
        fs::remove_file(RECORD).expect("remove");
        // The new record is written for another namespace.
        apply(&lab("lab", 7, ", extra: {}"));
        assert!(!plan().contains("lost"));
        netform(&["destroy", "lab", "--yes"]).ok();
        assert_eq!(
            sh("nft list tables; ls /run/netns; ls /run/netform 2>&1 || true").ok(),
            "ls: cannot access '/run/netform': No such file or directory\n"
        );
    });
}

#[test]
fn only_what_is_lost_is_called_so() {
    in_sandbox(|| {
        // On loan to another topology, whose record is there.
        apply(&lab("other", 8, ""));
        apply(&lab("lab", 7, ""));
        fs::remove_file(RECORD).expect("remove");
        let said = plan();
        assert!(said.contains("nothing that looks borrowed"), "{said}");
        netform(&["destroy", "lab", "--yes"]).ok();
        // All of the host forwards: a link that does says nothing.
        apply(&lab("lab", 7, ""));
        netform(&["destroy", "other", "--yes"]).ok();
        fs::remove_file(RECORD).expect("remove");
        sh("sysctl -qw net.ipv4.ip_forward=1").ok();
        let said = netform(&["show", "lab"]).ok();
        assert!(
            said.contains("nothing that looks borrowed was found"),
            "{said}"
        );
        netform(&["destroy", "lab", "--yes"]).ok();

        // A topology that never had one, for it has nothing that the kernel doesn't tell of.
        let pair = "version: 1
name: lab
veths:
  - ends:
      - { namespace: host, name: p0, addresses: [10.9.0.1/24] }
      - { namespace: host, name: p1 }
";
        apply(pair);
        assert!(!fs::exists(RECORD).expect("known"));
        assert!(!plan().contains("lost"));
        netform(&["destroy", "lab", "--yes"]).ok();
        // A tag that somebody inside of a namespace wrote.
        sh("ip netns add trap; ip -n trap link set lo alias netform:lab").ok();
        apply(&pair.replace(
            "\nveths",
            "\nnamespaces: { trap: { external: true } }\nveths",
        ));
        assert!(!plan().contains("lost"));
    });
}

#[test]
fn a_damaged_record_stops_everything_and_says_what_to_do() {
    in_sandbox(|| {
        let spec = lab("lab", 7, "");
        apply(&spec);
        let whole = fs::read(RECORD).expect("read");
        for damaged in [
            &b""[..],
            b"\xff\xfe\n",
            b"{",
            b"[1]",
            &whole[..whole.len() / 2],
        ] {
            fs::write(RECORD, damaged).expect("write");
            for verb in [
                &["plan", "-f", FILE][..],
                &["destroy", "lab", "--yes"],
                &["show"],
            ] {
                let Output { status, stderr, .. } = netform(verb);
                assert_eq!(status, 1, "{verb:?}: {stderr}");
                assert!(
                    stderr.contains(&format!("`rm {RECORD}`")),
                    "{verb:?}: {stderr}"
                );
            }
        }
        sh(&format!("rm {RECORD}")).ok();
        assert!(apply(&spec).contains(WORDS));
        assert!(!plan().contains("lost"));
    });
}
