//! Hosts that are odd, or hostile: netform handles them, or says it in one line.

#[path = "hosts/busy.rs"]
mod busy;
mod common;
#[path = "hosts/files.rs"]
mod files;
#[path = "hosts/lacks.rs"]
mod lacks;
#[path = "hosts/names.rs"]
mod names;

use common::{Output, netform, sh};

/// A topology with a namespace that has a file, and a link to the host.
const SPEC: &str = "/run/odd.yaml";

/// Writes it.
fn write_spec() {
    sh(&format!(
        "cat > {SPEC} <<'EOF'
version: 1
name: odd
namespaces:
  a: {{ dns: {{ nameservers: [192.0.2.53] }} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.9.0.2/24] }}
      - {{ namespace: host, name: odd0, addresses: [10.9.0.1/24] }}
EOF"
    ))
    .ok();
}

/// Writes one whose namespace reaches the world through the host.
fn write_gateway() {
    sh(&format!(
        "cat > {SPEC} <<'EOF'
version: 1
name: odd
subnets: {{ lan: {{ cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {{ dev: ens33 }} }} }}
namespaces: {{ a: }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.9.0.2] }}
      - {{ namespace: host, name: odd0, addresses: [10.9.0.1] }}
EOF"
    ))
    .ok();
}

fn apply() -> Output {
    netform(&["apply", "-f", SPEC, "--yes"])
}

/// That it is as the spec says, and can be taken down again.
#[track_caller]
fn stands_and_goes() {
    let plan = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
    assert_eq!(plan.status, 0, "{}{}", plan.stdout, plan.stderr);
    netform(&["destroy", "odd", "--yes"]).ok();
}

/// That something failed with a message of one line, or one more that says that all is undone, which has some words.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    assert_ne!(output.status, 0, "{output:?}");
    let mut lines = output.stderr.lines();
    let first = lines.next().unwrap_or_default();
    for word in words {
        assert!(first.contains(word), "no {word:?} in: {}", output.stderr);
    }
    let rest: Vec<&str> = lines.collect();
    let undone = ["Everything that had been done is undone."];
    assert!(rest.is_empty() || rest == undone, "{}", output.stderr);
}
