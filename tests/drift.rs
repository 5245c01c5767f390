//! Drift of each kind is named by `plan`, mended by `apply`, and nothing else is done.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "specs/breezyfrost-dual.yaml";

/// The lines of what changes. The signs stand in the third column; what is deeper is the inside of a file or a table.
fn named(plan: &str) -> Vec<&str> {
    plan.lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter(|line| !line.starts_with("  namespace "))
        // A link-layer address depends on the machine.
        .map(|line| line.split(" mac ").next().unwrap_or(line).trim())
        .collect()
}

/// Drift, made by a shell script, and the lines that a plan then has.
fn drift(script: &str, lines: &[&str]) {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        let right = world();
        sh(script).ok();
        let plan = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
        assert_eq!(plan.status, 2, "{}{}", plan.stdout, plan.stderr);
        assert_eq!(named(&plan.stdout), lines, "{}", plan.stdout);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
        sh("ip netns exec breezyfrost ping -6 -c1 -W10 2001:db8:10::10").ok();
        assert_same_world(&right, &world());
    });
}

#[test]
fn a_route_is_removed() {
    drift(
        "ip -n breezyfrost route del default",
        &["+  route default via 192.168.50.3 dev veth1"],
    );
}

#[test]
fn a_route_leads_elsewhere() {
    drift(
        "ip -n breezyfrost route replace default via 192.168.50.7 proto 110",
        &["~  route default  via 192.168.50.7 dev veth1 → via 192.168.50.3 dev veth1"],
    );
}

#[test]
fn addresses_are_flushed() {
    drift(
        "ip -n breezyfrost addr flush dev veth1 scope global",
        &[
            "+  address 192.168.50.2/24 on veth1",
            "+  address fd50::2/64 on veth1",
            "+  route default via 192.168.50.3 dev veth1",
        ],
    );
}

#[test]
fn a_link_goes_down() {
    drift(
        "ip link set veth1_p down",
        &[
            "~  link veth1_p  down → up",
            "+  address fd50::3/64 on veth1_p",
        ],
    );
}

#[test]
fn links_get_another_mtu() {
    drift(
        "ip link set veth1_p mtu 1400; ip -n breezyfrost link set veth1 mtu 1300",
        &[
            "~  link veth1  mtu 1300 → 1500",
            "~  link veth1_p  mtu 1400 → 1500",
        ],
    );
}

#[test]
fn a_link_gets_another_address() {
    drift(
        "ip link set veth1_p address 02:00:00:00:00:01",
        &["~  link veth1_p"],
    );
}

#[test]
fn a_namespace_is_deleted() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip netns del breezyfrost; while ip link show veth1_p; do sleep 0.1; done").ok();
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert!(
            plan.contains("+  create") && !plan.contains("\n  -  "),
            "{plan}"
        );
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
    });
}

#[test]
fn a_table_is_removed() {
    drift(
        "nft delete table inet netform-breezyfrost-dual",
        &["+  table inet netform-breezyfrost-dual"],
    );
}

#[test]
fn the_whole_ruleset_is_flushed() {
    drift(
        "nft flush ruleset",
        &["+  table inet netform-breezyfrost-dual"],
    );
}

/// A pair that is made again has other numbers.
#[test]
fn a_link_is_deleted() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip -n breezyfrost link del veth1").ok();
        let plan = netform(&["plan", "-f", SPEC]).ok();
        let lines = [
            "+  veth veth1 ⇄ host:veth1_p",
            "+  address 192.168.50.2/24 on veth1",
            "+  address fd50::2/64 on veth1",
            "+  route default via 192.168.50.3 dev veth1",
            "+  route default6 via fd50::3 dev veth1",
            "+  sysctl net.ipv6.conf.veth1.accept_ra = 0",
            "+  sysctl net.ipv6.conf.veth1.accept_redirects = 0",
            "+  address 192.168.50.3/24 on veth1_p",
            "+  address fd50::3/64 on veth1_p",
            "+  sysctl net.ipv4.conf.veth1_p.forwarding = 1",
            "+  sysctl net.ipv6.conf.veth1_p.accept_ra = 0",
            "+  sysctl net.ipv6.conf.veth1_p.force_forwarding = 1",
        ];
        assert_eq!(named(&plan), lines, "{plan}");
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let again = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
        assert_eq!(again.status, 0, "{}", again.stdout);
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
    });
}

#[test]
fn a_rule_is_edited_by_hand() {
    drift(
        "nft insert rule inet netform-breezyfrost-dual judge counter accept",
        &["~  table inet netform-breezyfrost-dual"],
    );
}

#[test]
fn resolv_conf_is_edited_by_hand() {
    drift(
        "echo nameserver 192.0.2.1 >>/etc/netns/breezyfrost/resolv.conf",
        &["~  file /etc/netns/breezyfrost/resolv.conf"],
    );
}

#[test]
fn resolv_conf_is_removed() {
    drift(
        "rm /etc/netns/breezyfrost/resolv.conf",
        &["+  file /etc/netns/breezyfrost/resolv.conf"],
    );
}

#[test]
fn forwarding_is_switched() {
    drift(
        "sysctl -qw net.ipv4.conf.ens33.forwarding=0; ip netns exec breezyfrost sysctl -qw net.ipv4.ip_forward=1",
        &[
            "~  sysctl net.ipv4.ip_forward  1 → 0",
            "~  sysctl net.ipv4.conf.ens33.forwarding  0 → 1",
        ],
    );
}

#[test]
fn what_others_add_is_left_alone() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip -n breezyfrost addr add 203.0.113.7/24 dev veth1
            ip -n breezyfrost route add 203.0.114.0/24 via 192.168.50.3
            ip link add other type veth peer name other_p
            nft add table inet theirs")
        .ok();
        let theirs = world();
        netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
        let plan = netform(&["plan", "-f", SPEC, "-v"]).ok();
        let (spec, left) = plan
            .split_once("\n\nLeft alone")
            .expect("something is left alone");
        let begins =
            "No changes. breezyfrost-dual is as the spec says.\n\nAs the spec says already:\n\n";
        assert!(
            spec.starts_with(begins) && !spec.contains("203.0.11"),
            "{plan}"
        );
        assert_eq!(
            left,
            ", because netform didn't make it:

  namespace breezyfrost
  ·  address 203.0.113.7/24 on veth1
  ·  route 203.0.114.0/24 via 192.168.50.3 dev veth1
"
        );
        netform(&["apply", "-f", SPEC]).ok();
        assert_same_world(&theirs, &world());
    });
}

#[test]
fn the_tag_of_a_link_is_cleared() {
    drift("ip link set veth1_p alias ''", &["~  link veth1_p  tag"]);
}

#[test]
fn a_link_loses_forwarding_with_the_egress_that_needed_it() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        let spec = std::fs::read_to_string(SPEC).expect("a spec");
        let lines = spec.split_inclusive('\n');
        let shut: String = lines
            .filter(|line| !line.trim_start().starts_with("egress:"))
            .collect();
        assert_ne!(shut, spec);
        std::fs::write("/run/shut.yaml", shut).expect("write");
        netform(&["apply", "-f", "/run/shut.yaml", "--yes"]).ok();
        for (family, name) in [("ipv4", "forwarding"), ("ipv6", "force_forwarding")] {
            for link in ["veth1_p", "ens33"] {
                let path = format!("/proc/sys/net/{family}/conf/{link}/{name}");
                // Linux before 6.17 has no forwarding of IPv6 by link.
                if let Ok(value) = std::fs::read_to_string(&path) {
                    assert_eq!(value, "0\n", "{path}");
                }
            }
        }
        // It is still guarded.
        let table = sh("nft list table inet netform-breezyfrost-dual").ok();
        assert!(table.contains("chain judge"), "{table}");
        netform(&["plan", "-f", "/run/shut.yaml", "--detailed-exitcode"]).ok();
    });
}

#[test]
fn no_address_of_a_new_link_has_to_wait() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        let waiting =
            sh("ip -6 addr show tentative; ip -n breezyfrost -6 addr show tentative").ok();
        // The kernel comes to its own link-local ones in its own time, but doesn't look who else has them.
        let mut waiting = waiting.lines().filter(|line| line.contains("inet6"));
        assert!(
            waiting.all(|line| line.contains("inet6 fe80:")),
            "{waiting:?}"
        );
        let value = |link: &str| format!("cat /proc/sys/net/ipv6/conf/{link}/accept_dad");
        let (host, inside) = (value("veth1_p"), value("veth1"));
        let detects = sh(&format!("{host}; ip netns exec breezyfrost {inside}")).ok();
        assert_eq!(detects, "0\n0\n");
        sh("ip netns exec breezyfrost ping -6 -c1 -W10 2001:db8:10::10").ok();
    });
}
