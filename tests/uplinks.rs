//! Hosts with several uplinks: each subnet leaves by its own, whichever that is at the time.

mod common;

use std::fs;
use std::process::Command;

use common::{Output, assert_same_world, in_sandbox, netform, run, sh, world};

const SPEC: &str = "/run/site.yaml";

/// The internet behind `ens33`, and that behind `ens34`.
const FIRST: [&str; 2] = ["198.51.100.10", "2001:db8:10::10"];
const SECOND: [&str; 2] = ["203.0.113.10", "2001:db8:34::10"];

/// The addresses of the host on them.
const AT_FIRST: [&str; 2] = ["192.168.95.191", "fd95::191"];
const AT_SECOND: [&str; 2] = ["10.34.0.1", "fd00:34::1"];

/// Tells callers their address, as the internet of the sandbox does.
const SERVER: &str = r#"
import socket
s = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
open("/run/serving", "w").close()
while True:
    c, (address, *_) = s.accept()
    c.recv(100)
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + address.removeprefix("::ffff:").encode() + b"\n")
    c.close()
"#;

const CLIENT: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], 80), float(sys.argv[2]))
s.sendall(b"GET / HTTP/1.0\r\n\r\n")
answer = b""
while more := s.recv(1000):
    answer += more
print(answer.decode().split()[-1])
"#;

/// A host with a second uplink, and what is behind that.
fn second_uplink() {
    // The first `apply` of all makes /run/netns a mount, and leaves that, as `ip netns` does.
    sh("ip netns add lan; ip -n lan link set lo up
        for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done
        ip -n lan address add 203.0.113.10/32 dev lo; ip -n lan address add 2001:db8:34::10/128 dev lo")
    .ok();
    plug("ens34");
    fs::write("/run/server.py", SERVER).expect("write");
    sh(
        "ip netns exec lan python3 /run/server.py >/run/server.log 2>&1 &
        for i in $(seq 1500); do [ -e /run/serving ] && exit 0; sleep 0.02; done; cat /run/server.log; exit 1",
    )
    .ok();
}

/// Makes a link to there.
fn plug(link: &str) {
    sh(&format!(
        "ip link add {link} type veth peer name eth0 netns lan
        ip link set {link} up; ip -n lan link set eth0 up
        ip address add 10.34.0.1/24 dev {link}; ip address add fd00:34::1/64 dev {link} nodad
        ip -n lan address add 10.34.0.2/24 dev eth0; ip -n lan address add fd00:34::2/64 dev eth0 nodad
        for i in $(seq 1500); do ip -6 address show tentative | grep -q inet6 || exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
}

/// Asks a server for the address that it sees of a namespace.
fn call(ns: &str, server: &str, patience: u32) -> Output {
    let patience = patience.to_string();
    let mut command = Command::new("ip");
    command.args([
        "netns", "exec", ns, "python3", "-c", CLIENT, server, &patience,
    ]);
    run(&mut command)
}

#[track_caller]
fn seen(ns: &str, server: &str) -> String {
    call(ns, server, 30).ok().trim().to_owned()
}

/// Whether a namespace is told that it may not.
fn is_refused(ns: &str, server: &str) -> bool {
    let said = call(ns, server, 30);
    said.status != 0
        && (said.stderr.contains("No route to host") || said.stderr.contains("Permission denied"))
}

fn write(text: &str) {
    fs::write(SPEC, format!("version: 1\nname: site\n{text}")).expect("write");
}

/// Applies the spec, with nothing left to be done.
#[track_caller]
fn apply() -> String {
    let done = netform(&["apply", "-f", SPEC, "--yes"]).ok();
    let again = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
    done
}

fn plan() -> String {
    netform(&["plan", "-f", SPEC]).ok()
}

/// The links that forward a family, of all that the host has.
fn forwarding(family: &str, switch: &str) -> Vec<String> {
    let said = sh(&format!(
        "cd /proc/sys/net/{family}/conf; grep -l 1 */{switch} | cut -d/ -f1 | sort"
    ));
    said.ok().lines().map(str::to_owned).collect()
}

/// A member behind a gateway link of the host, in both families, whose ways out are these.
fn member(name: &str, net: u8, ways: [&str; 2]) -> (String, String) {
    let [way4, way6] = ways;
    let subnets = format!(
        "  {name}4: {{ cidr: 10.{net}.0.0/24, gateway: 10.{net}.0.1, egress: {way4} }}
  {name}6: {{ cidr: 'fd00:{net}::/64', gateway: 'fd00:{net}::1', egress: {way6} }}
"
    );
    let veth = format!(
        "  - ends:
      - {{ namespace: {name}, name: eth0, addresses: [10.{net}.0.2, 'fd00:{net}::2'] }}
      - {{ namespace: host, name: to-{name}, addresses: [10.{net}.0.1, 'fd00:{net}::1'] }}
"
    );
    (subnets, veth)
}

#[test]
fn each_subnet_leaves_by_its_own_uplink() {
    in_sandbox(|| {
        second_uplink();
        sh("ip link add ens35 type bridge; ip link set ens35 up").ok();
        let before = world();
        let (a, to_a) = member("a", 1, ["{}", "{}"]);
        let (b, to_b) = member("b", 2, ["{ dev: ens34 }", "{ dev: ens34 }"]);
        // One family by each.
        let (c, to_c) = member("c", 3, ["{ dev: ens33 }", "{ dev: ens34 }"]);
        write(&format!(
            "\
namespaces:
  a: {{}}
  b: {{}}
  c: {{}}
  host:
    routes:
      - {{ to: default, via: 10.34.0.2, table: 34 }}
      - {{ to: default, via: 'fd00:34::2', table: 34 }}
    rules:
      - {{ priority: 1000, from: 10.2.0.0/24, table: 34 }}
      - {{ priority: 1001, from: 'fd00:2::/64', table: 34 }}
      - {{ priority: 1002, from: 'fd00:3::/64', table: 34 }}
subnets:
{a}{b}{c}veths:
{to_a}{to_b}{to_c}"
        ));
        apply();
        for family in 0..2 {
            assert_eq!(seen("a", FIRST[family]), AT_FIRST[family]);
            assert_eq!(seen("b", SECOND[family]), AT_SECOND[family]);
        }
        assert_eq!(seen("c", FIRST[0]), AT_FIRST[0]);
        assert_eq!(seen("c", SECOND[1]), AT_SECOND[1]);
        // Egress doesn't route; where the host sends what it doesn't lead out by, it is refused.
        sh("ip route add 203.0.113.10 via 10.34.0.2; ip route add 2001:db8:34::10 via fd00:34::2")
            .ok();
        for server in SECOND {
            assert!(is_refused("a", server), "{server}");
        }
        assert!(is_refused("c", SECOND[0]));
        sh("ip route del 203.0.113.10 via 10.34.0.2; ip route del 2001:db8:34::10 via fd00:34::2")
            .ok();
        let all = ["ens33", "ens34", "to-a", "to-b", "to-c"];
        assert_eq!(forwarding("ipv4", "forwarding"), all);

        // One goes by the other from now on.
        let text = fs::read_to_string(SPEC).expect("read");
        let text = text.replace(
            "gateway: 10.2.0.1, egress: { dev: ens34 }",
            "gateway: 10.2.0.1, egress: {}",
        );
        let text = text.replace(
            "      - { priority: 1000, from: 10.2.0.0/24, table: 34 }\n",
            "",
        );
        fs::write(SPEC, text).expect("write");
        let plan = plan();
        for line in [
            "! ends the IPv4 connections from to-b to ens34\n",
            "forwarding",
            "\"to-b\" . \"ens33\"",
        ] {
            assert!(plan.contains(line), "{line}: {plan}");
        }
        apply();
        assert_eq!(seen("b", FIRST[0]), AT_FIRST[0]);
        assert_eq!(seen("b", SECOND[1]), AT_SECOND[1]);
        assert_eq!(
            forwarding("ipv4", "forwarding"),
            ["ens33", "to-a", "to-b", "to-c"]
        );
        netform(&["destroy", "site", "--yes"]).ok();
        fs::remove_file(SPEC).expect("remove");
        assert_same_world(&before, &world());
    });
}

#[test]
fn the_way_out_moves_with_the_default_route_of_its_family() {
    in_sandbox(|| {
        second_uplink();
        let before = world();
        let (a, to_a) = member("a", 1, ["{}", "{}"]);
        write(&format!(
            "namespaces: {{ a: {{}} }}\nsubnets:\n{a}veths:\n{to_a}"
        ));
        apply();
        for family in 0..2 {
            assert_eq!(seen("a", FIRST[family]), AT_FIRST[family]);
        }
        sh("ip route replace default via 10.34.0.2 dev ens34").ok();
        let moved = plan();
        for line in [
            "\"to-a\" . \"ens34\"",
            "\"to-a\" . \"ens33\"",
            "! ends the IPv4 connections from to-a to ens33\n",
            "net.ipv4.conf.ens34.forwarding",
            "net.ipv4.conf.ens33.forwarding",
        ] {
            assert!(moved.contains(line), "{line}: {moved}");
        }
        assert!(!moved.contains("ipv6"), "{moved}");
        assert!(apply().starts_with(&moved));
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
        assert_eq!(seen("a", FIRST[1]), AT_FIRST[1]);

        sh("ip -6 route replace default via fd00:34::2 dev ens34").ok();
        apply();
        assert_eq!(seen("a", SECOND[1]), AT_SECOND[1]);
        assert_eq!(forwarding("ipv4", "forwarding"), ["ens34", "to-a"]);

        // A better one.
        sh("ip -6 route add default via fd95::2 dev ens33 metric 1").ok();
        apply();
        assert_eq!(seen("a", FIRST[1]), AT_FIRST[1]);
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);

        // There is none any more: what stands, stays.
        sh("ip route del default").ok();
        let lost = netform(&["plan", "-f", SPEC]);
        assert_eq!(lost.status, 1, "{}", lost.stdout);
        assert!(
            lost.stderr
                .contains("host has no IPv4 default route, so `a4` has no way out"),
            "{}",
            lost.stderr
        );
        sh("ip route add default via 10.34.0.2 dev ens34").ok();
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
        assert_eq!(
            netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).status,
            0
        );

        netform(&["destroy", "site", "--yes"]).ok();
        sh("ip -6 route del default metric 1; ip -6 route del default; ip -6 route add default via fd95::2 dev ens33 proto static
            ip route del default; ip route add default via 192.168.95.2 dev ens33 proto static").ok();
        fs::remove_file(SPEC).expect("remove");
        assert_same_world(&before, &world());
    });
}

#[test]
fn an_uplink_may_come_and_go() {
    in_sandbox(|| {
        second_uplink();
        sh("ip link del ens34").ok();
        let before = world();
        let (a, to_a) = member("a", 1, ["{ dev: tun9 }", "{ dev: tun9 }"]);
        write(&format!(
            "namespaces: {{ a: {{}} }}\nsubnets:\n{a}veths:\n{to_a}"
        ));
        let planned = plan();
        assert!(
            planned.contains("link tun9, by which `a4` is to leave, does not exist yet"),
            "{planned}"
        );
        apply();
        assert!(is_refused("a", FIRST[0]), "not by another");

        for _ in 0..2 {
            plug("tun9");
            sh("ip route add 203.0.113.10 via 10.34.0.2; ip route add 2001:db8:34::10 via fd00:34::2").ok();
            let planned = plan();
            assert!(
                planned.contains("net.ipv4.conf.tun9.forwarding"),
                "{planned}"
            );
            assert!(
                !planned.contains("table"),
                "the rules know it by its name: {planned}"
            );
            assert!(!planned.contains("does not exist"), "{planned}");
            apply();
            for family in 0..2 {
                assert_eq!(seen("a", SECOND[family]), AT_SECOND[family]);
            }
            sh("ip link del tun9").ok();
            let planned = plan();
            assert!(planned.contains("does not exist yet"), "{planned}");
            apply();
        }
        netform(&["destroy", "site", "--yes"]).ok();
        fs::remove_file(SPEC).expect("remove");
        assert_same_world(&before, &world());
    });
}

/// What is wrong with the spec.
#[track_caller]
fn refused() -> String {
    let said = netform(&["plan", "-f", SPEC]);
    assert_eq!(said.status, 1, "{}", said.stdout);
    said.stderr
}

#[test]
fn the_default_route_of_the_lowest_metric_is_the_way_out() {
    in_sandbox(|| {
        second_uplink();
        sh("ip route replace default via 192.168.95.2 dev ens33 metric 100; ip route del default metric 0").ok();
        let (a, to_a) = member("a", 1, ["{}", "{ dev: ens33 }"]);
        let spec = |metric: &str| {
            write(&format!(
                "\
namespaces:
  a: {{}}
  host:
    routes: [{{ to: default, via: 10.34.0.2{metric} }}]
subnets:
{a}veths:
{to_a}"
            ));
        };
        // A spare one.
        spec(", metric: 200");
        apply();
        assert_eq!(seen("a", FIRST[0]), AT_FIRST[0]);
        spec(", metric: 50");
        apply();
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
        spec("");
        apply();
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
        netform(&["destroy", "site", "--yes"]).ok();
    });
}

#[test]
fn a_router_leaves_by_its_best_default_route() {
    in_sandbox(|| {
        second_uplink();
        let (a, to_a) = member("a", 1, ["{}", "{}"]);
        let to_a = to_a.replace("namespace: host", "namespace: r");
        write(&format!(
            "\
namespaces:
  a: {{}}
  r:
    gateway: [r4, s6]
    routes: [{{ to: default, via: 'fd00:9::1', metric: 10 }}]
subnets:
{a}  r4: {{ cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {{ dev: ens34 }} }}
  r6: {{ cidr: 'fd00:9::/64', gateway: 'fd00:9::1', egress: {{}} }}
  s6: {{ cidr: 'fd00:8::/64', gateway: 'fd00:8::1', egress: {{ dev: ens34 }} }}
veths:
{to_a}  - ends:
      - {{ namespace: r, name: spare, addresses: ['fd00:8::2'] }}
      - {{ namespace: host, name: to-spare, addresses: ['fd00:8::1'] }}
  - ends:
      - {{ namespace: r, name: up, addresses: [10.9.0.2, 'fd00:9::2'] }}
      - {{ namespace: host, name: to-r, addresses: [10.9.0.1, 'fd00:9::1'] }}
"
        ));
        sh("ip rule add priority 99 from 10.9.0.0/24 lookup 34; ip route add default via 10.34.0.2 table 34").ok();
        apply();
        // `r` has an IPv6 default route through `spare` as a member, of a higher metric.
        let routes = sh("ip -n r -6 route show default").ok();
        assert!(
            routes.contains("dev spare") && routes.contains("dev up"),
            "{routes}"
        );
        assert_eq!(seen("a", FIRST[1]), AT_FIRST[1]);
        assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
        netform(&["destroy", "site", "--yes"]).ok();
    });
}

#[test]
fn a_default_route_over_several_links_is_told_of() {
    in_sandbox(|| {
        second_uplink();
        let (a, to_a) = member("a", 1, ["{}", "{}"]);
        write(&format!(
            "namespaces: {{ a: {{}} }}\nsubnets:\n{a}veths:\n{to_a}"
        ));
        assert!(!plan().contains("leads over"));
        sh("ip route replace default nexthop via 192.168.95.2 dev ens33 nexthop via 10.34.0.2 dev ens34").ok();
        let said = plan();
        let remark = "the IPv4 default route of the host leads over ens33, ens34, and `a4` leaves by ens33 alone";
        assert!(said.contains(remark), "{said}");
        assert!(!said.contains("the IPv6 default route"), "{said}");
        // Over one link twice.
        sh("ip route replace default nexthop via 192.168.95.2 dev ens33 nexthop via 192.168.95.3 dev ens33").ok();
        assert!(!plan().contains("leads over"));
    });
}

#[test]
fn a_port_is_no_uplink() {
    in_sandbox(|| {
        second_uplink();
        let (a, to_a) = member("a", 1, ["{ dev: ens34 }", "{ dev: ens33 }"]);
        write(&format!(
            "namespaces: {{ a: {{}} }}\nsubnets:\n{a}veths:\n{to_a}"
        ));
        assert!(!plan().contains("is a port"));
        sh("ip link add br-lan type bridge; ip link set br-lan up; ip link set ens34 master br-lan").ok();
        let said = plan();
        let remark = "link ens34, by which `a4` is to leave, is a port of br-lan, which packets leave by: name that";
        assert!(said.contains(remark), "{said}");
        assert!(!said.contains("`a6` is to leave"), "{said}");
    });
}

#[test]
fn subnets_behind_a_link_of_others_agree_too() {
    in_sandbox(|| {
        second_uplink();
        sh("ip link add lab type bridge; ip link set lab up
            ip address add 10.1.0.1/24 dev lab; ip address add 10.2.0.1/24 dev lab")
        .ok();
        let spec = |one: &str, other: &str| {
            write(&format!(
                "\
subnets:
  a: {{ cidr: 10.1.0.0/24, gateway: 10.1.0.1{one} }}
  b: {{ cidr: 10.2.0.0/24, gateway: 10.2.0.1{other} }}
"
            ));
        };
        spec(", egress: { dev: ens33 }", ", egress: { dev: ens34 }");
        let said = refused();
        assert!(
            said.contains("`a` and `b` are behind one link, `lab`, but their ways out differ"),
            "{said}"
        );
        assert!(said.contains("/run/site.yaml:5:"), "{said}");
        spec(", egress: { dev: lab }", ", egress: { dev: lab }");
        let said = refused();
        assert!(
            said.contains("`lab` is where `a` comes in, so it can't leave there"),
            "{said}"
        );
        // As the default route has it.
        sh("ip route replace default via 10.1.0.9 dev lab").ok();
        spec(", egress: {}", ", egress: {}");
        let said = refused();
        assert!(
            said.contains("`lab` is where `b` comes in, so it can't leave there"),
            "{said}"
        );
        spec(", egress: { dev: ens33 }", ", egress: { dev: ens33 }");
        plan();
    });
}

#[test]
fn a_topology_leaves_by_a_link_of_another() {
    in_sandbox(|| {
        second_uplink();
        // A router between the host and the second internet, for what the host sends there.
        let inner = "\
version: 1
name: inner
namespaces: { host: { gateway: none }, r: { gateway: r } }
subnets:
  r: { cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: { dev: ens34 } }
  way: { cidr: 10.8.0.0/24, gateway: 10.8.0.1, egress: { dev: up } }
veths:
  - ends:
      - { namespace: r, name: in, addresses: [10.8.0.1] }
      - { namespace: host, name: way, addresses: [10.8.0.2] }
  - ends:
      - { namespace: r, name: up, addresses: [10.9.0.2] }
      - { namespace: host, name: to-r, addresses: [10.9.0.1] }
";
        sh("ip rule add priority 99 from 10.1.0.0/24 lookup 34
            ip rule add priority 98 from 10.9.0.0/24 lookup 35; ip route add default via 10.34.0.2 table 35")
        .ok();
        let before = world();
        fs::write("/run/inner.yaml", inner).expect("write");
        for last in ["inner", "site"] {
            netform(&["apply", "-f", "/run/inner.yaml"]).ok();
            sh("ip route add default via 10.8.0.1 table 34").ok();
            let (a, to_a) = member("a", 1, ["{ dev: way }", "{}"]);
            write(&format!(
                "namespaces: {{ a: {{}} }}\nsubnets:\n{a}veths:\n{to_a}"
            ));
            apply();
            assert_eq!(seen("a", SECOND[0]), AT_SECOND[0]);
            // What the one needs of the other's link is no drift there.
            let said = netform(&["plan", "-f", "/run/inner.yaml", "--detailed-exitcode"]);
            assert_eq!(said.status, 0, "{}", said.stdout);
            if last == "inner" {
                netform(&["destroy", "site", "--yes"]).ok();
                let said = netform(&["plan", "-f", "/run/inner.yaml", "--detailed-exitcode"]);
                assert_eq!(said.status, 0, "{}", said.stdout);
                assert_eq!(forwarding("ipv4", "forwarding"), ["ens34", "to-r"]);
                netform(&["destroy", "inner", "--yes"]).ok();
            } else {
                netform(&["destroy", "inner", "--yes"]).ok();
                assert!(plan().contains("does not exist yet"));
                apply();
                netform(&["destroy", "site", "--yes"]).ok();
            }
        }
        sh("rm /run/site.yaml /run/inner.yaml").ok();
        assert_same_world(&before, &world());
    });
}
