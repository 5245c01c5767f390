//! Routes and rules on private hosts: applied, tried with packets, and taken down again.

mod common;

use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};

/// Applies a spec, after which there is nothing more to do.
fn apply(path: &str) {
    netform(&["apply", "-f", path, "--yes"]).ok();
    let again = netform(&["plan", "-f", path, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
}

/// Whether an address answers, from inside of a namespace. `options` are those of ping(8).
fn answers(ns: &str, options: &str) -> bool {
    let patience = 10;
    sh(&format!(
        "ip netns exec {ns} ping -n -c1 -W{patience} {options}"
    ))
    .status
        == 0
}

/// Whether an address doesn't answer within a second.
fn is_silent(ns: &str, options: &str) -> bool {
    sh(&format!("ip netns exec {ns} ping -n -c1 -W1 {options}")).status != 0
}

#[test]
fn what_is_behind_a_member_passes_its_gateway() {
    let spec = "\
version: 1
name: behind
namespaces:
  site:
    forwarding: true
    routes:
      - { to: default, via: 192.168.50.1, metric: 10 }
      - { to: default, via: \"fd50::1\", metric: 10 }
  inner:
    routes:
      - { to: default, via: 10.55.0.1 }
      - { to: default, via: \"fd55::1\" }
  host:
    routes:
      - { to: 10.55.0.0/24, via: 192.168.50.2 }
      - { to: \"fd55::/64\", via: \"fd50::2\" }
subnets:
  lab:  { cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: {} }
  lab6: { cidr: \"fd50::/64\", gateway: \"fd50::1\", egress: {} }
veths:
  - ends:
      - { namespace: site, name: up, addresses: [192.168.50.2, \"fd50::2\"] }
      - { namespace: host, name: down, addresses: [192.168.50.1, \"fd50::1\"] }
  - ends:
      - { namespace: inner, name: up, addresses: [10.55.0.2/24, 10.56.0.2/24, \"fd55::2/64\"] }
      - { namespace: site, name: down, addresses: [10.55.0.1/24, 10.56.0.1/24, \"fd55::1/64\"] }
";
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        let path = "/run/behind.yaml";
        fs::write(path, spec).expect("write");
        apply(path);
        assert!(answers("inner", "-I 10.55.0.2 198.51.100.10"));
        assert!(answers("inner", "-6 2001:db8:10::10"));
        assert!(answers("site", "198.51.100.10"));
        // Only what the spec routes there is a source, whatever the host would answer.
        sh("ip route add 10.56.0.0/24 via 192.168.50.2").ok();
        assert!(is_silent("inner", "-I 10.56.0.2 198.51.100.10"));
        sh("ip route del 10.56.0.0/24").ok();
        // Without the route it is none either.
        fs::write(
            path,
            spec.replace("      - { to: 10.55.0.0/24, via: 192.168.50.2 }\n", ""),
        )
        .expect("write");
        apply(path);
        sh("ip route add 10.55.0.0/24 via 192.168.50.2").ok();
        assert!(is_silent("inner", "-I 10.55.0.2 198.51.100.10"));
        assert!(answers("inner", "-6 2001:db8:10::10"));
        sh("ip route del 10.55.0.0/24").ok();
        netform(&["destroy", "-f", path, "--yes"]).ok();
        fs::remove_file(path).expect("remove");
        assert_same_world(&before, &world());
    });
}

#[test]
fn routes_and_rules_on_links_of_the_host_come_and_go() {
    let spec = "\
version: 1
name: host-routes
namespaces:
  host:
    routes:
      - { to: 10.70.0.0/16, via: 192.168.95.2, dev: ens33, table: 70 }
      - { to: 10.71.0.0/16, via: 192.168.95.2 }
      - { to: \"fd71::/48\", type: unreachable }
      - { to: 10.72.0.0/16, type: blackhole, table: 70 }
    rules:
      - { priority: 700, iif: lo, to: 10.70.0.0/16, table: 70 }
      - { priority: 701, oif: nowhere, table: 70 }
";
    in_sandbox(|| {
        sh("ip rule add priority 900 lookup 9; ip route add 10.99.0.0/16 via 192.168.95.2 table 70").ok();
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        let path = "/run/host-routes.yaml";
        fs::write(path, spec).expect("write");
        apply(path);
        let way = sh("ip route get 10.70.1.1").ok();
        assert!(way.contains("192.168.95.2"), "{way}");
        // Both families have the rule that names no prefix.
        assert!(sh("ip -6 rule").ok().contains("oif nowhere"));
        // Somebody changes what it does.
        sh("ip rule del priority 700; ip rule add priority 700 iif lo to 10.70.0.0/16 blackhole protocol 110; ip route del 10.71.0.0/16").ok();
        let plan = netform(&["plan", "-f", path]).ok();
        assert!(
            plan.contains("~  rule 700 to 10.70.0.0/16 iif lo  blackhole → lookup 70"),
            "{plan}"
        );
        assert!(
            plan.contains("+  route 10.71.0.0/16 via 192.168.95.2 dev ens33"),
            "{plan}"
        );
        apply(path);
        let half = spec.split("    rules:").next().expect("the routes");
        fs::write(path, half).expect("write");
        apply(path);
        assert!(!sh("ip rule").ok().contains("700:"));
        netform(&["destroy", "-f", path, "--yes"]).ok();
        fs::remove_file(path).expect("remove");
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_route_over_two_links_is_whole_again_after_either_is_lost() {
    let spec = |length: u8| {
        format!(
            "\
version: 1
name: spread
namespaces:
  a:
    routes:
      - {{ to: 10.9.0.0/16, nexthops: [{{ via: 10.0.1.2 }}, {{ via: 10.0.2.2, weight: 5 }}] }}
      - {{ to: \"fd09::/48\", nexthops: [{{ via: \"fd02::2\", weight: 5 }}, {{ via: \"fd01::2\" }}, {{ via: \"fd03::2\" }}] }}
  b: {{}}
veths:
  - ends:
      - {{ namespace: a, name: v1, addresses: [10.0.1.1/{length}, \"fd01::1/64\"] }}
      - {{ namespace: b, name: v1, addresses: [10.0.1.2/24, \"fd01::2/64\"] }}
  - ends:
      - {{ namespace: a, name: v2, addresses: [10.0.2.1/{length}, \"fd02::1/64\"] }}
      - {{ namespace: b, name: v2, addresses: [10.0.2.2/24, \"fd02::2/64\"] }}
  - ends:
      - {{ namespace: a, name: v3, addresses: [\"fd03::1/64\"] }}
      - {{ namespace: b, name: v3, addresses: [\"fd03::2/64\"] }}
"
        )
    };
    in_sandbox(|| {
        let path = "/run/spread.yaml";
        fs::write(path, spec(24)).expect("write");
        apply(path);
        for drift in [
            "ip -n a link del v1",
            "ip -n a link del v2",
            "ip -n a link set v2 down",
            "ip -n a link set v1 down; ip -n a link set v2 down; ip -n a link set v3 down",
            "ip -n a link set v2 mtu 1000",
            "ip -n a addr flush dev v1",
            "ip -n a addr flush dev v1; ip -n a addr flush dev v2",
            "ip -n a link set v1 down; ip -n a link set v1 up",
            "ip -n a -6 route del fd09::/48",
            "ip netns del b",
        ] {
            sh(drift).ok();
            apply(path);
        }
        // The last addresses of both links go and come again while the route is wanted.
        fs::write(path, spec(25)).expect("write");
        apply(path);
        let routes = sh("ip -n a route show 10.9.0.0/16; ip -n a -6 route show fd09::/48").ok();
        assert_eq!(routes.matches("nexthop").count(), 5, "{routes}");
        assert!(!routes.contains("dead"), "{routes}");
        netform(&["destroy", "-f", path, "--yes"]).ok();
    });
}

#[test]
fn a_router_outside_of_every_prefix_is_reached_by_a_route_to_it() {
    let spec = "\
version: 1
name: outside
namespaces:
  guest:
    routes:
      - { to: default, via: 203.0.113.1 }
      - { to: 203.0.113.1, dev: eth0 }
      - { to: default6, via: \"fe80::1\", dev: eth0 }
      - { to: 10.77.0.0/16, via: 198.18.7.7, dev: eth0, onlink: true, src: 192.0.2.7 }
  provider: {}
veths:
  - ends:
      - { namespace: guest, name: eth0, addresses: [192.0.2.7/32, \"2001:db8:7::7/64\"] }
      - { namespace: provider, name: guest, addresses: [203.0.113.1/32, 10.9.9.9/32, \"2001:db8:9::9/128\"] }
";
    in_sandbox(|| {
        let path = "/run/outside.yaml";
        fs::write(path, spec).expect("write");
        apply(path);
        // The provider's way back.
        sh("ip -n provider route add 192.0.2.7 dev guest").ok();
        assert!(answers("guest", "10.9.9.9"));
        // Again in the right order after all of it is lost.
        sh("ip -n guest link set eth0 down").ok();
        apply(path);
        assert!(answers("guest", "10.9.9.9"));
        let way = sh("ip -n guest route get 10.77.1.1").ok();
        assert!(
            way.contains("via 198.18.7.7") && way.contains("src 192.0.2.7"),
            "{way}"
        );
        let way = sh("ip -n guest -6 route get 2001:db8:99::1").ok();
        assert!(way.contains("via fe80::1 dev eth0"), "{way}");
        netform(&["destroy", "-f", path, "--yes"]).ok();
    });
}

#[test]
fn a_default_route_that_is_written_is_a_way_out() {
    let spec = "\
version: 1
name: written
namespaces:
  router:
    routes:
      - { to: default, via: 192.168.50.1 }
  inner: {}
subnets:
  deep: { cidr: 192.168.51.0/24, gateway: 192.168.51.1, egress: {} }
  host: { cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: { dev: ens33 } }
veths:
  - ends:
      - { namespace: router, name: up, addresses: [192.168.50.2] }
      - { namespace: host, name: down, addresses: [192.168.50.1] }
  - ends:
      - { namespace: inner, name: up, addresses: [192.168.51.2] }
      - { namespace: router, name: down, addresses: [192.168.51.1] }
";
    in_sandbox(|| {
        let path = "/run/written.yaml";
        // The subnet brings the same route.
        fs::write(path, spec).expect("write");
        let twice = netform(&["plan", "-f", path]);
        assert!(
            twice.stderr.contains("say `gateway: none`"),
            "{}",
            twice.stderr
        );
        fs::write(
            path,
            spec.replace("  router:\n", "  router:\n    gateway: none\n"),
        )
        .expect("write");
        apply(path);
        assert!(answers("inner", "198.51.100.10"));
        netform(&["destroy", "-f", path, "--yes"]).ok();
    });
}

#[test]
fn a_next_hop_that_the_host_does_not_reach_is_found_when_planning() {
    let spec = |route: &str| {
        let text =
            format!("version: 1\nname: away\nnamespaces: {{ host: {{ routes: [{route}] }} }}\n");
        fs::write("/run/away.yaml", text).expect("write");
        netform(&["plan", "-f", "/run/away.yaml"])
    };
    in_sandbox(|| {
        let plan = spec("{ to: 10.9.0.0/16, via: 172.31.9.9 }");
        assert_ne!(plan.status, 0);
        assert!(
            plan.stderr
                .contains("no link of the host reaches the next hop"),
            "{}",
            plan.stderr
        );
        let plan = spec("{ to: 10.9.0.0/16, via: 172.31.9.9, dev: ens34 }");
        assert!(
            plan.stderr.contains("the host has no link `ens34`"),
            "{}",
            plan.stderr
        );
        let plan = spec("{ to: 10.9.0.0/16, via: 192.168.95.2, src: 192.0.2.9 }");
        assert!(
            plan.stderr.contains("the host has no address 192.0.2.9"),
            "{}",
            plan.stderr
        );
        let plan = spec("{ to: 10.9.0.0/16, via: 172.31.9.9, dev: ens33 }");
        assert_eq!(plan.status, 1);
        assert!(
            plan.stderr.contains("say `onlink: true`"),
            "{}",
            plan.stderr
        );
    });
}

#[test]
fn a_route_to_where_a_next_hop_on_the_link_is_is_made_again() {
    let spec = |hop: &str| {
        format!(
            "version: 1
name: onlink
namespaces:
  a: {{ routes: [{{ to: 'fd01::/80', {hop}, onlink: true }}] }}
  b: {{}}
veths:
  - ends:
      - {{ namespace: a, name: b3, addresses: ['fd03::2/64'] }}
      - {{ namespace: b, name: z3, addresses: ['fd03::1/64'] }}
  - ends:
      - {{ namespace: a, name: y8, addresses: ['fd08::2/64'] }}
      - {{ namespace: b, name: y8, addresses: ['fd08::1/64'] }}
"
        )
    };
    in_sandbox(|| {
        let path = "/run/onlink.yaml";
        fs::write(path, spec("via: 'fd03::1', dev: b3")).expect("write");
        apply(path);
        // The kernel would look for it behind the route itself, on b3, and refuse it on y8.
        fs::write(path, spec("via: 'fd01::1', dev: y8")).expect("write");
        let plan = netform(&["plan", "-f", path]).ok();
        assert!(
            plan.contains("the next hop fd01::1 would be looked for behind it"),
            "{plan}"
        );
        apply(path);
        let route = sh("ip -n a -6 route show fd01::/80").ok();
        assert!(
            route.contains("via fd01::1 dev y8") && route.contains("onlink"),
            "{route}"
        );
        netform(&["destroy", "-f", path, "--yes"]).ok();
    });
}

#[test]
fn a_next_hop_on_the_link_is_found_before_what_leads_elsewhere_to_it() {
    let spec = "version: 1
name: onlink
namespaces:
  a:
    routes:
      - { to: 'fd22::/32', via: 'fd01::1', dev: b1, onlink: true }
      - { to: 'fd01::/80', via: 'fd03::2', dev: b3 }
      - { to: 'fd01::1', dev: b1 }
  b: {}
veths:
  - ends:
      - { namespace: a, name: b1, addresses: ['fd01::2/64'] }
      - { namespace: b, name: z1, addresses: ['fd01::1/64'] }
  - ends:
      - { namespace: a, name: b3, addresses: ['fd03::1/64'] }
      - { namespace: b, name: z3, addresses: ['fd03::2/64'] }
";
    in_sandbox(|| {
        let path = "/run/onlink.yaml";
        fs::write(path, spec).expect("write");
        apply(path);
        // Its routes are lost, those over the other link are not.
        sh("ip -n a link set b1 down").ok();
        apply(path);
        // This is why the way to it must be there.
        sh("ip -n a -6 route del fd01::1; ip -n a -6 route del fd22::/32").ok();
        let refused = sh("ip -n a -6 route add fd22::/32 via fd01::1 dev b1 onlink");
        assert!(
            refused.stderr.contains("Nexthop has invalid gateway"),
            "{}",
            refused.stderr
        );
        apply(path);
        netform(&["destroy", "-f", path, "--yes"]).ok();
    });
}

#[test]
fn a_route_or_a_rule_of_somebody_else_stops_the_plan() {
    let spec = "\
version: 1
name: taken
namespaces:
  host:
    routes:
      - { to: 10.80.0.0/16, type: blackhole }
    rules:
      - { priority: 800, from: 10.80.0.0/16, table: 80 }
";
    in_sandbox(|| {
        sh("ip route add 10.80.0.0/16 via 192.168.95.2; ip rule add priority 800 from 10.80.0.0/16 lookup 81").ok();
        let path = "/run/taken.yaml";
        fs::write(path, spec).expect("write");
        let before = world();
        let refused = netform(&["apply", "-f", path, "--yes"]);
        assert_ne!(refused.status, 0);
        let text = refused.stderr + &refused.stdout;
        assert!(
            text.contains("rule 800") && text.contains("route 10.80.0.0/16"),
            "{text}"
        );
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_route_keeps_its_mtu_when_that_of_its_link_changes() {
    let spec = |mtu: u32| {
        format!(
            "\
version: 1
name: narrow
namespaces:
  host:
    links: {{ bridge0: {{ bridge: {{}}, mtu: {mtu}, addresses: ['fd09::1/64'] }}, bridge1: {{ bridge: {{}}, addresses: ['fd10::1/64', 'fd08::1/64'] }} }}
    routes:
      - {{ to: 'fd80::/32', via: 'fd09::2', mtu: 1300 }}
      - {{ to: 'fd81::/32', via: 'fd09::2', mtu: 1290 }}
      - {{ to: 'fd82::/32', nexthops: [{{ via: 'fd09::2' }}, {{ via: 'fd10::2' }}], mtu: 1300 }}
      - {{ to: 'fd83::/32', nexthops: [{{ via: 'fd08::2' }}, {{ via: 'fd09::2' }}], mtu: 1300 }}
"
        )
    };
    in_sandbox(|| {
        let path = "/run/narrow.yaml";
        for mtu in [1400, 1300, 1500, 1295, 1300, 1280, 1400] {
            fs::write(path, spec(mtu)).expect("write");
            // At once, and not planned again because the kernel changed a route with its link.
            let output = netform(&["apply", "-f", path, "--yes"]);
            assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{mtu}");
            let routes = sh("ip -6 route show fd80::/32; ip -6 route show fd81::/32").ok();
            assert!(
                routes.contains("mtu 1300") && routes.contains("mtu 1290"),
                "{mtu}: {routes}"
            );
            // Each next hop has one of its own, and what lists routes tells that of the first.
            for (to, link) in [
                ("fd82::1", 0),
                ("fd82::1", 1),
                ("fd83::1", 0),
                ("fd83::1", 1),
            ] {
                let taken = sh(&format!("ip -6 route get {to} oif bridge{link}")).ok();
                assert!(taken.contains("mtu 1300"), "{mtu}: {taken}");
            }
            let again = netform(&["plan", "-f", path, "--detailed-exitcode"]);
            assert_eq!(again.status, 0, "{mtu}: {}", again.stdout);
        }
    });
}
