//! The story, from the first plan to the last trace, on a private host.

mod common;

use common::{ask, assert_same_world, in_sandbox, netform, sh, world};

const INTERNET4: &str = "198.51.100.10:80";
const INTERNET6: &str = "[2001:db8:10::10]:80";

/// Applies a spec, lets `inside` look at the host, and destroys it again. The host is then what it was.
fn story(spec: &str, inside: impl Fn(&str)) {
    in_sandbox(|| {
        // The first `apply` of all makes /run/netns a mount, and leaves that, as `ip netns` does.
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        let plan = netform(&["plan", "-f", spec, "--detailed-exitcode"]);
        assert_eq!(plan.status, 2, "{}{}", plan.stdout, plan.stderr);
        assert_same_world(&before, &world());

        let applied = netform(&["apply", "-f", spec]).ok();
        assert!(
            applied.starts_with(&plan.stdout),
            "apply does what plan says:\n{applied}"
        );
        inside(spec);
        let again = netform(&["plan", "-f", spec, "--detailed-exitcode"]);
        assert_eq!(
            (again.status, again.stdout.lines().count()),
            (0, 1),
            "{}",
            again.stdout
        );
        let again = netform(&["apply", "-f", spec]).ok();
        assert_eq!(again.lines().count(), 1, "{again}");

        netform(&["destroy", "-f", spec, "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_namespace_pings_the_world_by_name_and_leaves_no_trace() {
    story("specs/breezyfrost.yaml", |_| {
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
        let names = sh("ip netns exec breezyfrost getent ahostsv4 www.example.test").ok();
        assert!(names.starts_with("198.51.100.10 "), "{names}");
        let seen = netform(&[
            "exec",
            "breezyfrost",
            "--",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/198.51.100.10/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n1 <&3",
        ]);
        assert_eq!(seen.ok().trim(), "192.168.95.191", "masqueraded");
    });
}

#[test]
fn the_dual_stack_sibling_does_the_same_twice() {
    story("specs/breezyfrost-dual.yaml", |_| {
        sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
        sh("ip netns exec breezyfrost ping -6 -c1 -W10 2001:db8:10::10").ok();
        let names = sh("ip netns exec breezyfrost getent ahosts www.example.test").ok();
        assert!(
            names.contains("2001:db8:10::10") && names.contains("198.51.100.10"),
            "{names}"
        );
        // The host itself still gets out.
        assert_eq!(ask(INTERNET4), "192.168.95.191");
        assert_eq!(ask(INTERNET6), "fd95::191");
    });
}

#[test]
fn an_apply_that_is_cut_off_is_finished_by_the_next() {
    in_sandbox(|| {
        let spec = "specs/breezyfrost-dual.yaml";
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        for delay in 0..12 {
            let binary = env!("CARGO_BIN_EXE_netform");
            // Killed at another moment each time; some runs get to the end.
            sh(&format!(
                "{binary} apply -f {spec} >/dev/null & sleep 0.00{delay}; kill -9 $! || true; wait $! || true"
            ))
            .ok();
            netform(&["apply", "-f", spec, "--yes"]).ok();
            sh("ip netns exec breezyfrost ping -c1 -W10 198.51.100.10").ok();
            netform(&["destroy", "-f", spec, "--yes"]).ok();
            assert_same_world(&before, &world());
        }
    });
}

#[test]
fn a_line_of_namespaces_reaches_the_world_through_two_translations() {
    let spec = "\
version: 1
name: line
namespaces:
  router: {}
  inner: {}
subnets:
  outer: { cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: {} }
  deep: { cidr: 192.168.51.0/24, gateway: 192.168.51.1, egress: { dev: up } }
veths:
  - ends:
      - { namespace: router, name: up, addresses: [192.168.50.2] }
      - { namespace: host, name: down, addresses: [192.168.50.1] }
  - ends:
      - { namespace: inner, name: up, addresses: [192.168.51.2] }
      - { namespace: router, name: down, addresses: [192.168.51.1] }
";
    in_sandbox(|| {
        std::fs::write("/run/line.yaml", spec).expect("write");
        netform(&["apply", "-f", "/run/line.yaml"]).ok();
        sh("ip netns exec inner ping -c1 -W10 198.51.100.10").ok();
        // The way back in is shut: the host can't reach what is behind the router's gateway link.
        sh("ip route add 192.168.51.0/24 via 192.168.50.2").ok();
        assert_ne!(sh("ping -c1 -W1 192.168.51.2").status, 0);
        netform(&["destroy", "line", "--yes"]).ok();
    });
}
