//! Who is asked for names in a namespace.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/lab.yaml";

/// Writes a spec of a namespace `a` with a way out.
fn write(a: &str) {
    let text = format!(
        "version: 1
name: lab
namespaces: {{ a: {{ {a} }} }}
subnets:
  lab: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {{}} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.7.0.2] }}
      - {{ namespace: host, name: to-a, addresses: [10.7.0.1] }}
"
    );
    fs::write(SPEC, text).expect("write");
}

/// Applies the spec, with nothing left to be done.
fn apply() -> String {
    let done = netform(&["apply", "-f", SPEC, "--yes"]).ok();
    let again = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}", again.stdout);
    done
}

#[test]
fn names_are_asked_of_the_namespaces_own_servers_where_the_hosts_are_not() {
    in_sandbox(|| {
        let host = |line: &str| {
            // A mount of the sandbox's.
            let text = format!("passwd: files\nhosts: {line}\n");
            fs::write("/etc/nsswitch.conf", text).expect("write");
        };
        let file = "/etc/netns/a/nsswitch.conf";
        let asks = || {
            let getent = ["exec", "a", "--", "getent", "hosts", "www.example.test"];
            netform(&getent).status == 0
        };
        sh("ip netns add first; ip netns del first").ok();
        host("files dns");
        fs::write(SPEC, "").expect("write");
        let before = world();
        write("dns: { nameservers: [198.51.100.53] }");
        apply();
        assert!(!Path::new(file).exists());
        assert!(asks());

        host("mymachines resolve [!UNAVAIL=return] files");
        assert!(!asks());
        let plan = apply();
        assert!(plan.contains(&format!("+  file {file}")), "{plan}");
        assert!(asks());
        let text = fs::read_to_string(file).expect("a file");
        assert!(text.starts_with("# netform:lab\n"), "{text}");
        assert!(
            text.ends_with("passwd: files\nhosts: files dns\n"),
            "{text}"
        );
        let seen = sh("ip netns exec a grep hosts /etc/nsswitch.conf").ok();
        assert_eq!(seen, "hosts: files dns\n");
        // It is drift like any other file.
        sh(&format!("echo 'hosts: files' >> {file}")).ok();
        assert!(!asks());
        apply();
        assert!(asks());
        // Without name servers of its own it asks as the host does.
        write("");
        apply();
        assert!(!Path::new(file).exists());
        write("dns: { nameservers: [198.51.100.53] }");
        apply();
        host("files dns");
        assert!(apply().contains(&format!("-  file {file}")));
        netform(&["destroy", "lab", "--yes"]).ok();
        fs::write(SPEC, "").expect("write");
        assert_same_world(&before, &world());
    });
}
