//! Publications: what arrives at a port or an address leads to a member, with real packets.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};
use netform::plan::plan;
use netform::resource::{Id, Key, Ns, Resource};
use netform::spec::source::Source;
use netform::spec::{lower, parse};
use netform::state::{Facts, Machine, Place, PlaceLink, State};

/// Serves ports, `tcp:80` for example, until it is killed: whoever asks is told the address that is seen of him, and the port.
const SERVER: &str = r#"
import select, socket, sys
served = {}
for argument in sys.argv[2:]:
    proto, port = argument.split(":")
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", int(port)))
    if proto == "tcp":
        s.listen(50)
    served[s] = port
open(sys.argv[1], "w").close()
while True:
    for s in select.select(list(served), [], [])[0]:
        if s.type == socket.SOCK_STREAM:
            connection, peer = s.accept()
        else:
            _, peer = s.recvfrom(100)
        text = (peer[0].replace("::ffff:", "") + " " + served[s]).encode()
        if s.type == socket.SOCK_STREAM:
            connection.sendall(text)
            connection.close()
        else:
            s.sendto(text, peer)
"#;

/// Asks, and says what it is told; `refused` or `silence` if it isn't told anything.
const CLIENT: &str = r#"
import socket, sys
proto, host, port, patience = sys.argv[1:]
try:
    if proto == "tcp":
        s = socket.create_connection((host, int(port)), float(patience))
    else:
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(float(patience))
        s.connect((host, int(port)))
        s.send(b"x")
    print(s.recv(100).decode())
except socket.timeout:
    print("silence")
except OSError:
    print("refused")
"#;

/// Answers whatever it is told, on every connection, at port 7.
const ECHO: &str = r#"
import socket, sys, threading
s = socket.create_server(("::", 7), family=socket.AF_INET6, dualstack_ipv6=True)
open(sys.argv[1], "w").close()
def echo(connection):
    while data := connection.recv(100):
        connection.sendall(data)
while True:
    threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
"#;

/// Keeps a connection, and says whether it is alive once it is asked.
const HOLDER: &str = r#"
import os, socket, sys, time
host, port, mark, patience = sys.argv[1:]
s = socket.create_connection((host, int(port)), 20)
s.sendall(b"x")
s.recv(1)
open(mark + "-open", "w").close()
while not os.path.exists(mark + "-go"):
    time.sleep(0.02)
s.settimeout(float(patience))
try:
    s.sendall(b"y")
    print("alive" if s.recv(1) == b"y" else "ended", flush=True)
except OSError:
    print("ended", flush=True)
open(mark + "-told", "w").close()
"#;

/// A host with a second uplink, `ens34`, beyond which somebody is: 192.168.96.2 and `fd96::2`.
fn with_neighbour(test: impl FnOnce()) {
    in_sandbox(|| {
        fs::create_dir("/run/test").expect("a directory");
        fs::write("/run/test/server.py", SERVER).expect("write");
        fs::write("/run/test/client.py", CLIENT).expect("write");
        fs::write("/run/test/echo.py", ECHO).expect("write");
        fs::write("/run/test/holder.py", HOLDER).expect("write");
        sh("ip netns add out
            ip link add ens34 type veth peer name eth0 netns out
            ip addr add 192.168.96.1/24 dev ens34
            ip addr add fd96::1/64 dev ens34 nodad
            ip link set ens34 up
            ip -n out addr add 192.168.96.2/24 dev eth0
            ip -n out addr add fd96::2/64 dev eth0 nodad
            ip -n out link set lo up
            ip -n out link set eth0 up")
        .ok();
        test();
    });
}

/// Takes the topology away. The host is as it was then.
fn destroy(before: &str) {
    netform(&["destroy", "site", "--yes"]).ok();
    assert_same_world(before, &host());
}

/// All that netform may change on this host, without the files of the test.
fn host() -> String {
    let there = world();
    let lines = there.lines().filter(|line| !line.starts_with("/run/test/"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A command in a namespace.
fn inside(ns: &str, command: &str) -> String {
    match ns {
        "host" => command.to_owned(),
        ns => format!("ip netns exec {ns} {command}"),
    }
}

/// Has services in a namespace, `tcp:80 udp:53` for example.
fn serve(ns: &str, services: &str) {
    let ready = format!("/run/test/ready-{ns}");
    let server = inside(
        ns,
        &format!("python3 /run/test/server.py {ready} {services}"),
    );
    sh(&format!(
        "{server} >/run/test/served-{ns} 2>&1 &
         for i in $(seq 1500); do [ -e {ready} ] && exit 0; sleep 0.02; done; cat /run/test/served-{ns} >&2; exit 1"
    ))
    .ok();
}

/// What somebody in a namespace is told by `tcp 192.0.2.1 80`.
fn asked(ns: &str, whom: &str, patience: u32) -> String {
    let client = inside(
        ns,
        &format!("python3 /run/test/client.py {whom} {patience}"),
    );
    sh(&client).ok().trim().to_owned()
}

/// Checks what those in some namespaces are told.
#[track_caller]
fn assert_told(cases: &[(&str, &str, &str)]) {
    let mut wrong = String::new();
    for (ns, whom, expected) in cases {
        // Who waits for nothing waits a while; an answer may take its time.
        let patience = if *expected == "nothing" { 1 } else { 20 };
        let told = asked(ns, whom, patience);
        let nothing = *expected == "nothing" && (told == "refused" || told == "silence");
        if told != *expected && !nothing {
            writeln!(wrong, "{ns} asks {whom}: {told}, and not {expected}").expect("text");
        }
    }
    assert!(wrong.is_empty(), "{wrong}{}", sh("nft list ruleset").ok());
}

fn apply(spec: &str) -> String {
    fs::write("/run/test/site.yaml", spec).expect("write");
    let plan = netform(&["plan", "-f", "/run/test/site.yaml"]).ok();
    let applied = netform(&["apply", "-f", "/run/test/site.yaml", "--yes"]).ok();
    assert!(applied.starts_with(&plan), "{applied}");
    let again = netform(&["plan", "-f", "/run/test/site.yaml", "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}", again.stdout);
    // `nft` can read what it prints of it.
    sh("nft list ruleset >/run/test/rules && nft -c -f /run/test/rules").ok();
    plan
}

/// A member `a` with a way out, a member `b` without one, and two behind a bridge, of both families.
fn site(publish: &str) -> String {
    format!(
        r#"
version: 1
name: site
namespaces:
  a: {{}}
  b: {{}}
  c: {{}}
  d: {{}}
  host: {{ links: {{ br0: {{ bridge: {{}}, addresses: [10.3.0.1, "fd03::1"] }} }} }}
subnets:
  lab-a: {{ cidr: 10.1.0.0/24, gateway: 10.1.0.1, egress: {{ dev: ens34 }} }}
  lab-a6: {{ cidr: "fd01::/64", gateway: "fd01::1", egress: {{ dev: ens34 }} }}
  lab-b: {{ cidr: 10.2.0.0/24, gateway: 10.2.0.1 }}
  lab-b6: {{ cidr: "fd02::/64", gateway: "fd02::1" }}
  lab-c: {{ cidr: 10.3.0.0/24, gateway: 10.3.0.1, egress: {{}} }}
  lab-c6: {{ cidr: "fd03::/64", gateway: "fd03::1", egress: {{}} }}
publish:
{publish}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.1.0.2, "fd01::2"] }}
      - {{ namespace: host, name: to-a, addresses: [10.1.0.1, "fd01::1"] }}
  - ends:
      - {{ namespace: b, name: eth0, addresses: [10.2.0.2, "fd02::2"] }}
      - {{ namespace: host, name: to-b, addresses: [10.2.0.1, "fd02::1"] }}
  - ends:
      - {{ namespace: c, name: eth0, addresses: [10.3.0.2, "fd03::2"] }}
      - {{ namespace: host, name: to-c, bridge: br0 }}
  - ends:
      - {{ namespace: d, name: eth0, addresses: [10.3.0.3, "fd03::3"] }}
      - {{ namespace: host, name: to-d, bridge: br0 }}
"#
    )
}

#[test]
fn a_port_leads_to_a_member_from_outside_from_the_host_and_from_members() {
    with_neighbour(|| {
        let before = host();
        apply(&site(
            r#"
  - { port: 8080, to: 10.1.0.2:80 }
  - { port: 8080, to: "[fd01::2]:80" }
  - { proto: udp, port: 5300, to: 10.1.0.2:53 }
  - { proto: udp, port: 5300, to: "[fd01::2]:53" }
  - { port: 8082, to: 10.3.0.2:80 }
"#,
        ));
        // Nothing but what is published is open: neither the other port of the member, nor the member itself.
        serve("a", "tcp:80 tcp:81 udp:53");
        serve("c", "tcp:80");
        sh("ip -n out route add 10.0.0.0/8 via 192.168.96.1").ok();
        assert_told(&[
            ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
            ("out", "tcp fd96::1 8080", "fd96::2 80"),
            ("out", "udp 192.168.96.1 5300", "192.168.96.2 53"),
            ("out", "udp fd96::1 5300", "fd96::2 53"),
            ("out", "udp 192.168.96.1 8080", "nothing"),
            ("out", "tcp 192.168.96.1 80", "nothing"),
            ("out", "tcp 10.1.0.2 80", "nothing"),
            ("out", "tcp 10.1.0.2 81", "nothing"),
            ("out", "tcp 10.1.0.2 8080", "nothing"),
            // This one leaves by another link, so it isn't served here.
            ("out", "tcp 192.168.96.1 8082", "nothing"),
            ("host", "tcp 192.168.96.1 8080", "192.168.96.1 80"),
            ("host", "tcp 192.168.95.191 8080", "192.168.95.191 80"),
            ("host", "tcp 10.1.0.1 8080", "10.1.0.1 80"),
            ("host", "tcp fd96::1 8080", "fd96::1 80"),
            ("host", "udp fd96::1 5300", "fd96::1 53"),
            ("host", "tcp 127.0.0.1 8080", "refused"),
            ("host", "tcp ::1 8080", "refused"),
            ("b", "tcp 10.2.0.1 8080", "10.2.0.2 80"),
            ("b", "tcp 192.168.95.191 8080", "10.2.0.2 80"),
            ("b", "tcp fd02::1 8080", "fd02::2 80"),
            ("b", "udp 10.1.0.1 5300", "10.2.0.2 53"),
            ("b", "tcp 10.2.0.1 8082", "10.2.0.2 80"),
            ("b", "tcp 10.1.0.2 80", "refused"),
            // Turned back to its own link.
            ("a", "tcp 10.1.0.1 8080", "10.1.0.1 80"),
            ("a", "tcp 192.168.96.1 8080", "10.1.0.1 80"),
            ("a", "tcp fd01::1 8080", "fd01::1 80"),
        ]);
        // From one port of the bridge to another; as whom depends on whether `br_netfilter` is loaded.
        let told = asked("d", "tcp 10.3.0.1 8082", 20);
        assert!(
            ["10.3.0.3 80", "10.3.0.1 80"].contains(&told.as_str()),
            "{told}"
        );

        destroy(&before);
    });
}

#[test]
fn a_publication_is_where_it_says() {
    with_neighbour(|| {
        sh("ip addr add 192.168.96.7/24 dev ens34
            ip addr add fd96::7/64 dev ens34 nodad")
        .ok();
        let before = host();
        apply(&site(
            r#"
  - { dev: ens34, port: 8081, to: 10.3.0.2:80 }
  - { dev: ens33, port: 8081, to: 10.3.0.3:80 }
  - { address: 192.168.96.7, port: 8083, to: 10.2.0.2:80 }
  - { address: "fd96::7", port: 8083, to: "[fd02::2]:80" }
  - { port: 9000-9002, to: 10.1.0.2 }
  - { port: 9000-9002, to: "fd01::2" }
  - { proto: udp, port: 9001-9002, to: "10.1.0.2:9001" }
  - { address: 192.168.96.7, port: 9500-9501, to: 10.1.0.2 }
"#,
        ));
        serve(
            "a",
            "tcp:9000 tcp:9001 tcp:9002 tcp:9003 tcp:9500 udp:9001 udp:9002",
        );
        serve("b", "tcp:80");
        serve("c", "tcp:80");
        assert_told(&[
            ("out", "tcp 192.168.96.1 8081", "192.168.96.2 80"),
            ("host", "tcp 192.168.96.1 8081", "refused"),
            ("b", "tcp 10.2.0.1 8081", "refused"),
            ("out", "tcp 192.168.96.7 8083", "192.168.96.2 80"),
            ("out", "tcp 192.168.96.1 8083", "refused"),
            ("out", "tcp fd96::7 8083", "fd96::2 80"),
            ("out", "tcp fd96::1 8083", "refused"),
            ("host", "tcp 192.168.96.7 8083", "192.168.96.1 80"),
            ("host", "tcp 192.168.96.1 8083", "refused"),
            ("a", "tcp 192.168.96.7 8083", "10.1.0.2 80"),
            ("a", "tcp 192.168.96.1 8083", "refused"),
            ("out", "tcp 192.168.96.1 9000", "192.168.96.2 9000"),
            ("out", "tcp 192.168.96.1 9002", "192.168.96.2 9002"),
            ("out", "tcp 192.168.96.1 9003", "refused"),
            ("out", "tcp fd96::1 9001", "fd96::2 9001"),
            ("out", "udp 192.168.96.1 9002", "192.168.96.2 9002"),
            ("out", "udp 192.168.96.1 9000", "refused"),
            ("out", "tcp 192.168.96.7 9500", "192.168.96.2 9500"),
            ("host", "tcp 192.168.96.7 9500", "192.168.96.1 9500"),
            ("host", "tcp 192.168.96.1 9500", "refused"),
            ("host", "tcp 192.168.95.191 9001", "192.168.95.191 9001"),
            ("b", "tcp 10.2.0.1 9001", "10.2.0.2 9001"),
        ]);
        destroy(&before);
    });
}

#[test]
fn a_whole_address_leads_to_a_member_and_back() {
    with_neighbour(|| {
        // These come here, and nobody here has them.
        sh("ip -n out route add 203.0.113.9 via 192.168.96.1
            ip -n out route add 2001:db8:9::9 via fd96::1")
        .ok();
        let before = host();
        let plan = apply(&site(
            r#"
  - { address: 203.0.113.9, proto: any, to: 10.1.0.2 }
  - { address: 203.0.113.9, port: 8080, to: 10.3.0.2:80, dev: ens34 }
  - { address: "2001:db8:9::9", proto: any, to: "fd01::2" }
"#,
        ));
        assert!(!plan.contains("is not reached"), "{plan}");
        serve("a", "tcp:80 udp:53");
        serve("c", "tcp:80");
        serve("out", "tcp:80");
        assert_told(&[
            ("out", "tcp 203.0.113.9 80", "192.168.96.2 80"),
            ("out", "udp 203.0.113.9 53", "192.168.96.2 53"),
            ("out", "tcp 203.0.113.9 8080", "192.168.96.2 80"),
            ("out", "tcp 2001:db8:9::9 80", "fd96::2 80"),
            ("host", "tcp 203.0.113.9 80", "192.168.95.191 80"),
            ("b", "tcp 203.0.113.9 80", "10.2.0.2 80"),
            ("a", "tcp 203.0.113.9 80", "10.1.0.1 80"),
            // Back.
            ("a", "tcp 192.168.96.2 80", "203.0.113.9 80"),
            ("a", "tcp fd96::2 80", "2001:db8:9::9 80"),
        ]);
        sh("ip netns exec out ping -c1 -W10 203.0.113.9").ok();
        sh("ip netns exec out ping -c1 -W10 2001:db8:9::9").ok();
        destroy(&before);
    });
}

#[test]
fn an_address_of_the_host_is_mapped_with_a_warning() {
    with_neighbour(|| {
        let plan = apply(&site(
            "  - { address: 192.168.96.1, proto: any, to: 10.1.0.2 }",
        ));
        let warning = "192.168.96.1, an address of ens34, leads to 10.1.0.2 from now on: the host is not reached by it";
        assert!(plan.contains(warning), "{plan}");
    });
}

#[test]
fn the_hosts_own_processes_reach_it_at_127_0_0_1_and_members_do_not() {
    with_neighbour(|| {
        let before = host();
        let plan = apply(&site(
            "
  - { port: 8080, to: 10.1.0.2:80, localhost: true }
  - { proto: udp, port: 5300, to: 10.3.0.2:53, localhost: true }
  - { port: 8000-8001, to: 10.1.0.2, localhost: true }",
        ));
        let (table, sysctl) = (
            plan.find("table inet"),
            plan.find("to-a.route_localnet = 1"),
        );
        assert!(sysctl.is_some() && table.is_some(), "{plan}");
        serve("a", "tcp:80 tcp:8001");
        serve("c", "udp:53");
        // A service of the host that is for itself only, and one that is published besides.
        sh("python3 -m http.server 7000 --bind 127.0.0.1 >/run/test/own 2>&1 &
            for i in $(seq 500); do ss -tln | grep -q 127.0.0.1:7000 && exit 0; sleep 0.02; done; exit 1")
        .ok();
        assert_told(&[
            ("host", "tcp 127.0.0.1 8080", "10.1.0.1 80"),
            ("host", "tcp 127.0.0.1 8001", "10.1.0.1 8001"),
            ("host", "udp 127.0.0.1 5300", "10.3.0.1 53"),
            ("host", "tcp 192.168.96.1 8080", "192.168.96.1 80"),
            ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
        ]);
        // The sysctl opens 127.0.0.1 to whoever is behind the link, but for what shuts it.
        let knock = "ip netns exec a sh -c 'ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 10.1.0.1; \
            sysctl -qw net.ipv4.conf.eth0.route_localnet=1; \
            echo | python3 -c \"import socket; socket.create_connection((\\\"127.0.0.1\\\", 7000), 2)\"'";
        assert_ne!(sh(knock).status, 0);
        sh("nft delete chain inet netform-site shut_loopback").ok();
        sh(knock).ok();
        apply(&site(
            "
  - { port: 8080, to: 10.1.0.2:80, localhost: true }",
        ));
        assert_ne!(sh(knock).status, 0);

        // Without it the sysctl goes first.
        let plan = apply(&site("  - { port: 8080, to: 10.1.0.2:80 }"));
        assert!(
            plan.contains("net.ipv4.conf.to-a.route_localnet  1 → 0"),
            "{plan}"
        );
        assert_told(&[
            ("host", "tcp 127.0.0.1 8080", "refused"),
            ("host", "tcp 192.168.96.1 8080", "192.168.96.1 80"),
        ]);
        destroy(&before);
    });
}

/// Waits until a file is there.
fn wait(file: &str) {
    sh(&format!(
        "for i in $(seq 1500); do [ -e {file} ] && exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
}

/// Has somebody in a namespace keep a connection. `mark` tells them apart.
fn hold(ns: &str, whom: &str, mark: &str, patience: u32) {
    let mark = format!("/run/test/{mark}");
    let holder = format!("python3 /run/test/holder.py {whom} {mark} {patience}");
    sh(&format!("{} >{mark}-said 2>&1 &", inside(ns, &holder))).ok();
    wait(&format!("{mark}-open"));
}

/// Whether the connection is alive.
fn is_alive(mark: &str) -> bool {
    let mark = format!("/run/test/{mark}");
    fs::write(format!("{mark}-go"), "").expect("write");
    wait(&format!("{mark}-told"));
    let said = fs::read_to_string(format!("{mark}-said")).expect("read");
    match said.trim() {
        "alive" => true,
        "ended" => false,
        other => panic!("{mark}: {other}"),
    }
}

#[test]
fn connections_end_with_their_publication_and_others_go_on() {
    with_neighbour(|| {
        sh("ip -n out route add 203.0.113.9 via 192.168.96.1").ok();
        let kept = "
  - { port: 8001, to: 10.1.0.2:7 }
  - { port: 8001, to: \"[fd01::2]:7\" }";
        let allow =
            |spec: &str| spec.replace("gateway: 10.2.0.1 }", "gateway: 10.2.0.1, allow: [lab-a] }");
        apply(&allow(&site(&format!(
            "{kept}
  - {{ port: 8000, to: 10.1.0.2:7 }}
  - {{ port: 8000, to: \"[fd01::2]:7\" }}
  - {{ address: 203.0.113.9, proto: any, to: 10.1.0.2 }}"
        ))));
        for ns in ["a", "out"] {
            let echo = inside(
                ns,
                &format!("python3 /run/test/echo.py /run/test/echo-{ns}"),
            );
            sh(&format!("{echo} >/run/test/echoed-{ns} 2>&1 &")).ok();
            wait(&format!("/run/test/echo-{ns}"));
        }
        hold("out", "192.168.96.1 8000", "outside", 3);
        hold("out", "fd96::1 8000", "outside6", 3);
        hold("host", "192.168.96.1 8000", "own", 3);
        hold("b", "10.2.0.1 8000", "member", 3);
        hold("out", "203.0.113.9 7", "whole", 3);
        hold("a", "192.168.96.2 7", "back", 3);
        hold("out", "192.168.96.1 8001", "kept", 30);
        hold("b", "10.2.0.1 8001", "kept-member", 30);
        hold("out", "fd96::1 8001", "kept6", 30);
        hold("b", "10.1.0.2 7", "direct", 30);

        let plan = apply(&allow(&site(kept)));
        for ended in [
            "! ends the IPv4 connections to tcp 8000 that lead to 10.1.0.2\n",
            "! ends the IPv6 connections to tcp 8000 that lead to fd01::2\n",
            "! ends the IPv4 connections to 203.0.113.9 that lead to 10.1.0.2\n",
            "! ends the connections of 10.1.0.2 out by ens34\n",
        ] {
            assert!(plan.contains(ended), "{plan}");
        }
        assert_eq!(plan.matches("! ends").count(), 4, "{plan}");
        for mark in ["kept", "kept-member", "kept6", "direct"] {
            assert!(is_alive(mark), "{mark}");
        }
        for mark in ["outside", "outside6", "own", "member", "whole", "back"] {
            assert!(!is_alive(mark), "{mark}");
        }
    });
}

#[test]
fn a_published_connection_does_not_depend_on_what_else_was_allowed() {
    with_neighbour(|| {
        let spec = site("  - { port: 8000, to: 10.1.0.2:7 }");
        apply(&spec.replace("gateway: 10.2.0.1 }", "gateway: 10.2.0.1, allow: [lab-a] }"));
        sh("ip netns exec a python3 /run/test/echo.py /run/test/echo-a >/run/test/echoed 2>&1 &")
            .ok();
        wait("/run/test/echo-a");
        hold("b", "10.2.0.1 8000", "published", 30);
        hold("b", "10.1.0.2 7", "direct", 3);
        apply(&spec);
        assert!(is_alive("published"));
        assert!(!is_alive("direct"));
    });
}

#[test]
fn what_another_topology_publishes_is_an_error_that_names_it() {
    with_neighbour(|| {
        let other = |publish: &str| {
            format!(
                "
version: 1
name: other
namespaces: {{ o: {{}} }}
subnets: {{ lab-o: {{ cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {{ dev: ens34 }} }} }}
publish:
{publish}
veths:
  - ends:
      - {{ namespace: o, name: eth0, addresses: [10.9.0.2] }}
      - {{ namespace: host, name: to-o, addresses: [10.9.0.1] }}
"
            )
        };
        apply(&other(
            "
  - { port: 8080, to: 10.9.0.2:80 }
  - { port: 9000-9010, dev: ens33, to: 10.9.0.2 }
  - { address: 203.0.113.9, port: 80, to: 10.9.0.2 }",
        ));
        for (publication, message) in [
            (
                "port: 8080",
                "tcp 8080 of the host is published by topology `other` too, to 10.9.0.2",
            ),
            (
                "port: 8000-8100",
                "tcp 8000-8100 of the host is published by",
            ),
            (
                "port: 8080, dev: ens34",
                "tcp 8080 of the host is published by",
            ),
            (
                "port: 8080, address: 192.168.96.1",
                "tcp 8080 of 192.168.96.1 of the host is",
            ),
            (
                "port: 9005, dev: ens33",
                "tcp 9005 of the host is published by",
            ),
            (
                "proto: any, address: 203.0.113.9",
                "203.0.113.9 of the host is published by",
            ),
        ] {
            fs::write(
                "/run/test/site.yaml",
                site(&format!("  - {{ {publication}, to: 10.1.0.2 }}")),
            )
            .expect("write");
            let refused = netform(&["apply", "-f", "/run/test/site.yaml", "--yes"]);
            assert_eq!(refused.status, 1, "{publication}: {}", refused.stdout);
            assert!(
                refused.stderr.contains(message),
                "{publication}: {}",
                refused.stderr
            );
            assert!(
                refused.stderr.contains(&format!("{}:", "site.yaml")),
                "{}",
                refused.stderr
            );
        }
        assert_eq!(sh("ip link show to-a").status, 1, "nothing was made");
        // The same in another family, protocol, or place is something else.
        apply(&site(
            "
  - { port: 8080, to: \"fd01::2\" }
  - { proto: udp, port: 8080, to: 10.1.0.2 }
  - { port: 8080, dev: ens33, to: 10.1.0.2 }
  - { port: 9005, to: 10.1.0.2 }
  - { address: 203.0.113.8, port: 80, to: 10.1.0.2 }",
        ));
        serve("o", "tcp:80");
        serve("a", "tcp:8080 tcp:9005 udp:8080");
        assert_told(&[
            ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
            ("out", "udp 192.168.96.1 8080", "192.168.96.2 8080"),
            ("out", "tcp fd96::1 8080", "fd96::2 8080"),
            ("out", "tcp 192.168.96.1 9005", "192.168.96.2 9005"),
            // Members of one don't reach what the other publishes.
            ("b", "tcp 10.2.0.1 8080", "nothing"),
            ("b", "tcp 192.168.96.1 8080", "nothing"),
            ("o", "tcp 10.9.0.1 9005", "nothing"),
            ("o", "tcp 10.9.0.1 8080", "10.9.0.1 80"),
        ]);
        netform(&["destroy", "other", "--yes"]).ok();
        netform(&["destroy", "site", "--yes"]).ok();
    });
}

#[test]
fn a_process_that_is_not_heard_any_more_is_told_of() {
    with_neighbour(|| {
        sh("ip addr add 192.168.96.7/24 dev ens34").ok();
        for (port, bind) in [
            (8080, "0.0.0.0"),
            (8081, "127.0.0.1"),
            (8082, "192.168.96.7"),
            (8083, "::"),
        ] {
            sh(&format!(
                "python3 -m http.server {port} --bind {bind} >/run/test/own-{port} 2>&1 &
                 for i in $(seq 500); do ss -tln | grep -q :{port} && exit 0; sleep 0.02; done; exit 1"
            ))
            .ok();
        }
        let remarks = |publish: &str| {
            fs::write("/run/test/site.yaml", site(&format!("  - {{ {publish} }}"))).expect("write");
            let plan = netform(&["plan", "-f", "/run/test/site.yaml"]).ok();
            let lines = plan.lines().filter(|line| line.contains(" listens at "));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let told = remarks("port: 8080, to: 10.1.0.2:80");
        let [only] = told.as_slice() else {
            panic!("{told:?}")
        };
        let pid = sh("ss -tlnp 'sport = 8080' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p'").ok();
        let expected = format!(
            "python3 (pid {}) listens at tcp 8080 of the host: what comes there goes to 10.1.0.2 and is not heard by it \
             any more",
            pid.trim()
        );
        assert!(only.contains(&expected), "{only}\n{expected}");
        assert_eq!(remarks("port: 8079-8082, to: 10.1.0.2").len(), 2);
        assert_eq!(
            remarks("port: 8081, to: 10.1.0.2, localhost: true").len(),
            1
        );
        assert_eq!(
            remarks("port: 8082, to: 10.1.0.2, address: 192.168.96.7").len(),
            1
        );
        assert_eq!(
            remarks("port: 8080, to: 10.1.0.2, address: 192.168.96.7").len(),
            1
        );
        for quiet in [
            "port: 8081, to: 10.1.0.2",
            "port: 8082, to: 10.1.0.2, address: 192.168.96.1",
            "port: 8080, to: \"fd01::2\"",
            "proto: udp, port: 8080, to: 10.1.0.2",
            "port: 8090, to: 10.1.0.2",
        ] {
            assert_eq!(remarks(quiet), [""; 0], "{quiet}");
        }
        // Python has IPv6 sockets listen for IPv6 only, or for both, as the machine does by default.
        assert_eq!(remarks("port: 8083, to: \"fd01::2\"").len(), 1);
    });
}

/// A member behind a router, which is `r`, behind the host.
fn behind_a_router(entry: &str, publish: &str) -> String {
    format!(
        "
version: 1
name: site
namespaces: {{ r: {entry}, i: {{}} }}
subnets:
  outer: {{ cidr: 10.1.0.0/24, gateway: 10.1.0.1, egress: {{ dev: ens34 }} }}
  outer6: {{ cidr: \"fd01::/64\", gateway: \"fd01::1\", egress: {{ dev: ens34 }} }}
  inner: {{ cidr: 10.2.0.0/24, gateway: 10.2.0.1, egress: {{ dev: up }} }}
  inner6: {{ cidr: \"fd02::/64\", gateway: \"fd02::1\", egress: {{ dev: up }} }}
publish:
{publish}
veths:
  - ends:
      - {{ namespace: r, name: up, addresses: [10.1.0.2, \"fd01::2\"] }}
      - {{ namespace: host, name: down, addresses: [10.1.0.1, \"fd01::1\"] }}
  - ends:
      - {{ namespace: i, name: eth0, addresses: [10.2.0.2, \"fd02::2\"] }}
      - {{ namespace: r, name: to-i, addresses: [10.2.0.1, \"fd02::1\"] }}
"
    )
}

const THROUGH_A_ROUTER: &str = r#"
  - { port: 8080, to: 10.1.0.2:8081 }
  - { port: 8080, to: "[fd01::2]:8081" }
  - { namespace: r, port: 8081, to: 10.2.0.2:80, localhost: true }
  - { namespace: r, port: 8081, to: "[fd02::2]:80" }
"#;

/// What comes to the host goes to the router, and from there to the member.
fn assert_led_through_a_router() {
    serve("i", "tcp:80");
    assert_told(&[
        ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
        ("out", "tcp fd96::1 8080", "fd96::2 80"),
        ("host", "tcp 10.1.0.2 8081", "10.1.0.1 80"),
        ("host", "tcp fd01::2 8081", "fd01::1 80"),
        ("r", "tcp 10.1.0.2 8081", "10.1.0.2 80"),
        ("r", "tcp 127.0.0.1 8081", "10.2.0.1 80"),
        ("i", "tcp 10.2.0.1 8081", "10.2.0.1 80"),
        ("host", "tcp 10.2.0.2 80", "nothing"),
        ("host", "tcp 10.1.0.2 80", "nothing"),
    ]);
}

#[test]
fn a_router_publishes_what_is_behind_it() {
    with_neighbour(|| {
        let before = host();
        apply(&behind_a_router("{}", THROUGH_A_ROUTER));
        assert_led_through_a_router();
        // Nothing of 127.0.0.1 stays open.
        apply(&behind_a_router(
            "{}",
            "  - { port: 8080, to: 10.1.0.2:8081 }",
        ));
        let left = sh("ip netns exec r sysctl -n net.ipv4.conf.to-i.route_localnet").ok();
        assert_eq!(left.trim(), "0");
        destroy(&before);
    });
}

#[test]
fn a_plain_router_publishes_too() {
    with_neighbour(|| {
        apply(&behind_a_router("{ forwarding: true }", THROUGH_A_ROUTER));
        serve("i", "tcp:80");
        assert_told(&[
            ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
            ("r", "tcp 127.0.0.1 8081", "10.2.0.1 80"),
        ]);
    });
}

#[test]
fn an_external_namespace_publishes_what_is_behind_it() {
    with_neighbour(|| {
        sh("ip netns add r && ip -n r link set lo up").ok();
        let inside = || {
            let rules = sh("ip netns exec r nft list ruleset").ok();
            rules
                + &sh("ip netns exec r sysctl -a 2>/dev/null | grep -E 'forwarding|localnet'").ok()
        };
        let before = (host(), inside());
        apply(&behind_a_router("{ external: true }", THROUGH_A_ROUTER));
        assert_led_through_a_router();
        netform(&["destroy", "site", "--yes"]).ok();
        assert_same_world(&before.0, &host());
        assert_same_world(&before.1, &inside());
    });
}

#[test]
fn ports_that_docker_publishes_are_led_where_it_says() {
    for ours_first in [true, false] {
        with_neighbour(move || {
            // As Docker does it, with a container on a bridge of its own.
            let docker = "
                ip netns add container
                ip link add docker0 type bridge
                ip addr add 172.17.0.1/16 dev docker0
                ip link add vethc type veth peer name eth0 netns container
                ip link set vethc master docker0 up
                ip link set docker0 up
                ip -n container addr add 172.17.0.2/16 dev eth0
                ip -n container link set eth0 up
                ip -n container route add default via 172.17.0.1
                sysctl -qw net.ipv4.ip_forward=1
                nft -f - <<'END'
table ip nat {
	chain DOCKER {
		iifname != \"docker0\" meta l4proto tcp tcp dport 8090 dnat to 172.17.0.2:80
	}
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump DOCKER
	}
	chain OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER
	}
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade
	}
}
END";
            let ours = || {
                apply(&site(
                    "
  - { port: 8080, to: 10.1.0.2:80 }
  - { port: 8000-8050, to: 10.1.0.2 }",
                ))
            };
            if ours_first {
                ours();
                sh(docker).ok();
            } else {
                sh(docker).ok();
                ours();
            }
            serve("a", "tcp:80 tcp:8001");
            serve("container", "tcp:80");
            assert_told(&[
                ("out", "tcp 192.168.96.1 8090", "192.168.96.2 80"),
                ("out", "tcp 192.168.96.1 8080", "192.168.96.2 80"),
                ("out", "tcp 192.168.96.1 8001", "192.168.96.2 8001"),
                ("host", "tcp 192.168.96.1 8090", "192.168.96.1 80"),
                ("host", "tcp 192.168.96.1 8080", "192.168.96.1 80"),
            ]);
        });
    }
}

#[test]
fn a_link_is_called_by_another_name_of_its_own() {
    with_neighbour(|| {
        sh("ip link property add dev ens34 altname second-uplink-of-the-host").ok();
        apply(&site(
            "  - { port: 8081, dev: second-uplink-of-the-host, to: 10.3.0.2:80 }",
        ));
        serve("c", "tcp:80");
        assert_told(&[("out", "tcp 192.168.96.1 8081", "192.168.96.2 80")]);
        let plan = apply(&site("  - { port: 8081, dev: tun9, to: 10.3.0.2:80 }"));
        let remark =
            "link tun9, by which connections to 10.3.0.2 are to arrive, does not exist yet";
        assert!(plan.contains(remark), "{plan}");
        sh("ip link add tun9 type veth peer name eth9 netns out
            ip addr add 192.168.97.1/24 dev tun9
            ip link set tun9 up
            ip -n out addr add 192.168.97.2/24 dev eth9
            ip -n out link set eth9 up")
        .ok();
        apply(&site("  - { port: 8081, dev: tun9, to: 10.3.0.2:80 }"));
        assert_told(&[
            ("out", "tcp 192.168.97.1 8081", "192.168.97.2 80"),
            ("out", "tcp 192.168.96.1 8081", "refused"),
        ]);
    });
}

#[test]
fn what_leads_nowhere_on_this_host_is_an_error() {
    with_neighbour(|| {
        for (publish, message) in [
            (
                "  - { port: 80, to: 10.2.0.2 }",
                "the subnet of 10.2.0.2 has no egress, so nothing says by which link",
            ),
            (
                "  - { port: 80, to: 10.1.0.2 }\n  - { port: 70-90, dev: ens34, to: 10.3.0.2 }",
                "tcp 70-90 is published twice on `ens34`",
            ),
        ] {
            fs::write("/run/test/site.yaml", site(publish)).expect("write");
            let refused = netform(&["plan", "-f", "/run/test/site.yaml"]);
            assert_eq!(refused.status, 1, "{}", refused.stdout);
            assert!(refused.stderr.contains(message), "{}", refused.stderr);
        }
        // A gateway that is missing here.
        let spec = site("  - { port: 80, dev: ens34, to: 10.2.0.2 }");
        let spec = spec.replace(
            "addresses: [10.2.0.1, \"fd02::1\"]",
            "addresses: [10.2.0.9/24]",
        );
        fs::write("/run/test/site.yaml", spec).expect("write");
        let refused = netform(&["plan", "-f", "/run/test/site.yaml"]);
        let message = "no link of the host is a gateway that leads to 10.2.0.2";
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        // From the host itself there is no need of an egress.
        apply(&site("  - { port: 80, to: 10.2.0.2, localhost: true }"));
    });
}

/// What a spec means on a host with the uplinks of these tests.
fn lowered(spec: &str, own: &[&str]) -> State {
    let spec = spec.replace("egress: {}", "egress: { dev: ens33 }");
    let spec = parse(&[Source::new("site.yaml", spec)]).expect("a spec");
    let mut host = Place::default();
    for name in ["ens33", "ens34"].iter().chain(own) {
        let link = PlaceLink {
            owner: own.contains(name).then(|| spec.name.value.clone()),
            up: true,
            ..PlaceLink::default()
        };
        host.links.insert(name.parse().expect("a name"), link);
    }
    let facts = Facts {
        host,
        machine: Machine {
            force_forwarding: true,
            ipv6: true,
            ..Machine::default()
        },
        ..Facts::default()
    };
    lower(&spec, &facts).expect("it fits").state
}

#[test]
fn what_guards_127_0_0_1_is_there_before_it_is_opened_and_goes_after_it_is_shut() {
    let with = "  - { port: 8080, to: 10.1.0.2:80, dev: ens34, localhost: true }";
    let without = "  - { port: 8080, to: 10.1.0.2:80, dev: ens34 }";
    let router = |publish: &str| {
        let publish = publish
            .replace("10.1.0.2", "10.2.0.2")
            .replace("ens34", "up");
        behind_a_router("{}", &publish.replace("{ port", "{ namespace: r, port"))
    };
    for (with, without, link) in [
        (site(with), site(without), "to-a"),
        (router(with), router(without), "to-i"),
    ] {
        let own = ["to-a", "to-b", "to-c", "to-d", "br0", "down"];
        let [with, without] = [with, without].map(|spec| lowered(&spec, &own));
        let topology = "site".parse().expect("a name");
        let setting = format!("{link}.route_localnet");
        let is_setting =
            |id: &Id| matches!(&id.key, Key::Sysctl(key) if key.to_string().ends_with(&setting));
        let places = |to: &State, from: &State| {
            let plan = plan(&topology, to, from).expect("nothing is in the way");
            let place = |wanted: &dyn Fn(&Id) -> bool| {
                let mut ids = plan.operations.iter().map(|operation| &operation.id);
                ids.position(wanted)
            };
            let setting = place(&is_setting);
            let ns = plan.operations[setting.expect("it is set")].id.ns.clone();
            (setting, place(&|id| id.key == Key::Table && id.ns == ns))
        };
        let (setting, table) = places(&with, &without);
        assert!(table < setting && table.is_some(), "{link}: opened");
        let (setting, table) = places(&without, &with);
        assert!(setting < table, "{link}: shut");
    }
}

#[test]
fn a_member_more_is_no_element_more_of_what_is_published() {
    let publish = "
  - { port: 8080, to: 10.1.0.2:80 }
  - { port: 9000-9100, to: 10.1.0.2 }
  - { address: 203.0.113.9, proto: any, to: 10.1.0.2 }";
    let fewer = site(publish);
    let more = fewer.replace("  b: {}", "  b: {}\n  e: {}").replace(
        "subnets:\n",
        "subnets:\n  lab-e: { cidr: 10.4.0.0/24, gateway: 10.4.0.1, egress: { dev: ens34 } }\n",
    ) + "  - ends:
      - { namespace: e, name: eth0, addresses: [10.4.0.2] }
      - { namespace: host, name: to-e, addresses: [10.4.0.1] }
";
    let tables = [fewer, more].map(|spec| {
        let state = lowered(&spec, &[]);
        let table = state.get(&Id::new(Ns::Host, Key::Table));
        match table.map(|entry| entry.resource.clone()) {
            Some(Resource::Table(table)) => table,
            other => panic!("{other:?}"),
        }
    });
    let [fewer, more] = tables;
    assert_eq!(fewer.chains, more.chains, "no rule");
    for (name, set) in &more.sets {
        let before = fewer.sets.get(name).map_or(0, |set| set.elements.len());
        let one = ["links", "sources4", "pass4", "masquerade4"].contains(&name.as_str());
        assert_eq!(set.elements.len() - before, usize::from(one), "{name}");
    }
}
