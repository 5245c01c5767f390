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

        // The route keeps its source, because the address stays on the link.
        let wider = "{ address: 10.1.0.1, peer: 10.9.0.2/24 }";
        write(routes, wider, "");
        assert!(!plan().contains("route 10.8.0.0/16"));
        apply();
        write(routes, of_a, "");
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

/// The IPv4 addresses of `va` with their lengths, in the order in which the kernel has them.
fn order() -> Vec<String> {
    let shown = in_a("ip -4 -o addr show va");
    let addresses = shown.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "inet");
        words.nth(1).map(str::to_owned)
    });
    addresses.collect()
}

/// The source of what `a` sends to an address.
fn source(to: &str) -> String {
    let route = in_a(&format!("ip route get {to}"));
    let mut words = route.split_whitespace().skip_while(|word| *word != "src");
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn ipv4_addresses_stand_in_the_order_written() {
    story(|| {
        // By their numbers they would stand in another order.
        write(
            "",
            "10.0.0.9/24, 10.0.0.1/24, 10.0.1.1/24, 10.0.0.5/24, 10.0.0.3/32",
            "10.0.0.2/24",
        );
        apply();
        let primary_first = [
            "10.0.0.9/24",
            "10.0.1.1/24",
            "10.0.0.3/32",
            "10.0.0.1/24",
            "10.0.0.5/24",
        ];
        assert_eq!(order(), primary_first);
        assert_eq!(source("10.0.0.2"), "10.0.0.9");

        // The last two change places: only they are made again.
        write(
            "",
            "10.0.0.9/24, 10.0.0.5/24, 10.0.1.1/24, 10.0.0.1/24, 10.0.0.3/32",
            "10.0.0.2/24",
        );
        let said = plan();
        assert!(said.contains("address 10.0.0.1/24 on va"), "{said}");
        assert!(said.contains("it is to stand after 10.0.0.5"), "{said}");
        for other in ["10.0.0.9/", "10.0.0.5/", "10.0.1.1/", "10.0.0.3/"] {
            assert!(!said.contains(other), "{said}");
        }
        apply();
        assert_eq!(order()[3..], ["10.0.0.5/24", "10.0.0.1/24"]);

        // Another first address: the network's are made again, and what is behind it in the list.
        write(
            "",
            "10.0.0.1/24, 10.0.0.9/24, 10.0.0.5/24, 10.0.1.1/24, 10.0.0.3/32",
            "10.0.0.2/24",
        );
        apply();
        let now = [
            "10.0.0.1/24",
            "10.0.1.1/24",
            "10.0.0.3/32",
            "10.0.0.9/24",
            "10.0.0.5/24",
        ];
        assert_eq!(order(), now);
        assert_eq!(source("10.0.0.2"), "10.0.0.1");
    });
}

#[test]
fn the_order_is_mended_with_what_stands_on_the_addresses() {
    // Those of other tables than the main one keep a source that goes.
    let routes = "routes: [{ to: 10.8.0.0/16, via: 10.0.0.2, src: 10.0.0.7 }, \
                           { to: 10.6.0.0/16, via: 10.0.0.2, src: 10.0.0.7, table: 77 }, \
                           { to: 10.7.0.0/16, via: 10.0.0.2 }]";
    for promotes in ["0", "1"] {
        let all = || in_a("ip -4 route show table all") + &order().join(" ");
        story(|| {
            write(
                routes,
                "10.0.0.9/24, 10.0.0.7/24, 10.0.1.1/24",
                "10.0.0.2/24",
            );
            apply();
            let before = all();
            in_a(&format!(
                "sysctl -qw net.ipv4.conf.va.promote_secondaries={promotes}"
            ));
            for drift in [
                "del 10.0.0.9/24",
                "del 10.0.0.7/24",
                "del 10.0.1.1/24",
                "flush",
            ] {
                in_a(&format!("ip addr {drift} dev va"));
                apply();
                let after = all();
                assert_eq!(after, before, "after {drift} with {promotes}");
            }
        });
    }
}

#[test]
fn an_heir_keeps_its_place_and_its_routes() {
    let routes = "routes: [{ to: 10.8.0.0/16, via: 10.0.0.2, src: 10.0.0.7 }]";
    for promotes in ["0", "1"] {
        story(|| {
            let sysctls =
                format!("sysctls: {{ net.ipv4.conf.va.promote_secondaries: {promotes} }}, ");
            write(
                &format!("{sysctls}{routes}"),
                "10.0.0.9/24, 10.0.0.7/24",
                "10.0.0.2/24",
            );
            apply();
            write(&format!("{sysctls}{routes}"), "10.0.0.7/24", "10.0.0.2/24");
            let said = plan();
            assert!(said.contains("-  address 10.0.0.9/24 on va"), "{said}");
            assert_eq!(said.contains("10.0.0.7"), promotes == "0", "{said}");
            apply();
            assert_eq!(order(), ["10.0.0.7/24"]);
            assert!(in_a("ip route list 10.8.0.0/16").contains("src 10.0.0.7"));
        });
    }
}

#[test]
fn what_others_put_beside_ours_stays_where_it_is() {
    for promotes in ["0", "1"] {
        story(|| {
            write("", "10.0.0.9/24, 10.0.1.1/24", "10.0.0.2/24");
            apply();
            in_a(&format!(
                "sysctl -qw net.ipv4.conf.all.promote_secondaries={promotes}"
            ));
            in_a("ip addr add 10.0.1.7/24 dev va");
            in_a("ip addr add 10.0.9.7/24 dev va");
            apply();

            // Ours comes to be the second of a network whose first is somebody else's.
            write("", "10.0.0.9/24, 10.0.9.1/24, 10.0.1.1/24", "10.0.0.2/24");
            apply();
            let secondary = in_a("ip -4 -o addr show va secondary");
            assert!(secondary.contains("10.0.9.1/24"), "{secondary}");

            // To take the first of a network away takes theirs too, or has it become the first.
            write("", "10.0.0.9/24", "10.0.0.2/24");
            let said = plan();
            assert_eq!(said.contains("10.0.1.7"), promotes == "0", "{said}");
            apply();
            assert_eq!(order().contains(&"10.0.1.7/24".to_owned()), promotes == "1");
            assert!(order().contains(&"10.0.9.7/24".to_owned()));
        });
    }
}
