//! Publications: what arrives at a port or an address leads to a member, with real packets.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};

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
