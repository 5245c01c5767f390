//! Addresses of links on a real kernel: with the other end's, and in the order written.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/spec.yaml";

/// Writes a spec of the namespaces `a` and `b` with a pair `va` and `vb` between them. `a` says what else
/// is said of the first namespace; the addresses are written in the manner of YAML's flow.
fn write(a: &str, of_a: &str, of_b: &str) {
    let text = format!(
        "\
version: 1
name: addresses
namespaces: {{ a: {{ {a} }}, b: {{ forwarding: true }} }}
veths:
  - ends:
      - {{ namespace: a, name: va, addresses: [{of_a}] }}
      - {{ namespace: b, name: vb, addresses: [{of_b}] }}
"
    );
    std::fs::write(SPEC, text).expect("write");
}

/// What a plan says.
fn plan() -> String {
    netform(&["plan", "-f", SPEC]).ok()
}

/// Applies the spec, with nothing left to be done.
fn apply() -> String {
    let done = netform(&["apply", "-f", SPEC, "--yes"]).ok();
    netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
    done
}

/// What a command says in the namespace `a`.
fn in_a(command: &str) -> String {
    sh(&format!("ip netns exec a {command}")).ok()
}

/// Runs a test on a private host, and takes down what it applied: the host is then what it was.
fn story(body: impl FnOnce()) {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        body();
        netform(&["destroy", "addresses", "--yes"]).ok();
        sh(&format!("rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn an_address_with_a_peer_leads_to_the_other_end() {
    let routes = "gateway: [10.9.0.2, 'fd09::2'], routes: [{ to: 10.8.0.0/16, via: 10.9.0.2 }]";
    let of_a =
        "{ address: 10.1.0.1, peer: 10.9.0.2/32 }, { address: 'fd01::1', peer: 'fd09::2/128' }";
    let of_b =
        "{ address: 10.9.0.2, peer: 10.1.0.1/32 }, { address: 'fd09::2', peer: 'fd01::1/128' }";
    story(|| {
        write(routes, of_a, of_b);
        let said = plan();
        assert!(
            said.contains("address 10.1.0.1 peer 10.9.0.2/32 on va"),
            "{said}"
        );
        apply();
        assert!(in_a("ip -o addr show va").contains("inet 10.1.0.1 peer 10.9.0.2/32 "));
        assert!(in_a("ip -o addr show va").contains("inet6 fd01::1 peer fd09::2/128 "));
        assert!(in_a("ip route").contains("default via 10.9.0.2 dev va"));
        in_a("ping -n -c1 -W10 10.9.0.2");
        in_a("ping -n -c1 -W10 fd09::2");

        // Another peer, another length, and none: the address is made again each time.
        for (of_a, shown) in [
            (
                "{ address: 10.1.0.1, peer: 10.9.0.3/32 }",
                "10.1.0.1 peer 10.9.0.3/32",
            ),
            (
                "{ address: 10.1.0.1, peer: 10.9.0.3/24 }",
                "10.1.0.1 peer 10.9.0.3/24",
            ),
            ("10.1.0.1/24", "10.1.0.1/24"),
            (
                "{ address: 10.1.0.1, peer: 10.1.0.0/31 }",
                "10.1.0.1 peer 10.1.0.0/31",
            ),
        ] {
            write("", of_a, of_b);
            let said = plan();
            assert!(said.contains(&format!("address {shown} on va")), "{said}");
            apply();
            let found = in_a("ip -4 -o addr show va");
            assert!(found.contains(&format!("inet {shown} ")), "{found}");
        }
    });
}

#[test]
fn the_prefix_of_a_peer_is_reached_by_its_link() {
    story(|| {
        let routes =
            "routes: [{ to: 10.8.0.0/16, via: 10.9.0.77 }, { to: 'fd08::/64', via: 'fd01::77' }]";
        let of_a =
            "{ address: 10.1.0.1, peer: 10.9.0.2/24 }, { address: 'fd01::1', peer: 'fd09::2/64' }";
        write(routes, of_a, "");
        apply();
        assert!(in_a("ip route").contains("10.8.0.0/16 via 10.9.0.77 dev va"));
        assert!(in_a("ip -6 route").contains("fd08::/64 via fd01::77 dev va"));
    });
}

#[test]
fn a_foreign_address_with_another_peer_stays() {
    story(|| {
        let of_a = "{ address: 10.1.0.1, peer: 10.9.0.2/32 }";
        let routes = "routes: [{ to: 10.8.0.0/16, via: 10.9.0.2, src: 10.1.0.1 }]";
        write(routes, of_a, "");
        apply();
        in_a("ip addr add 10.1.0.1 peer 10.9.0.9/32 dev va");
        apply();
        in_a("ip addr del 10.1.0.1 peer 10.9.0.2/32 dev va");
        let refused = netform(&["plan", "-f", SPEC]);
        assert!(
            refused.stderr.contains("10.1.0.1 peer 10.9.0.9/32"),
            "{refused:?}"
        );
        in_a("ip addr del 10.1.0.1 peer 10.9.0.9/32 dev va");
        apply();
    });
}
