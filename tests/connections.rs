//! Connections that end with what they depended on, and others that don't notice.

mod common;

use std::fs;

use common::{in_sandbox, netform, sh};

/// Says back what it hears.
const ECHO: &str = r#"
import socket, sys, threading
def serve(c):
    while data := c.recv(1000):
        c.sendall(data)
s = socket.create_server(("", 80), family=socket.AF_INET6, dualstack_ipv6=True)
open("/run/echoes-" + sys.argv[1], "w").close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"#;

/// Opens a connection to an echo, and speaks again once `/run/go` is there. Then it says `alive` or `ended`.
const VISITOR: &str = r#"
import os, socket, sys, time
server, mark = sys.argv[1], sys.argv[2]
s = socket.create_connection((server, 80), 20)
s.settimeout(20)
s.sendall(b"one")
assert s.recv(10) == b"one"
open("/run/open-" + mark, "w").close()
while not os.path.exists("/run/go-" + mark):
    time.sleep(0.02)
s.settimeout(float(sys.argv[3]))
try:
    s.sendall(b"two")
    print("alive" if s.recv(10) == b"two" else "ended", flush=True)
except OSError:
    print("ended", flush=True)
open("/run/told-" + mark, "w").close()
"#;

/// Somebody outside, beyond another link of the host, with an echo.
fn outside() {
    sh("ip netns add out; ip link add ext0 type veth peer name eth0 netns out
        ip addr add 10.99.0.1/24 dev ext0; ip addr add fd99::1/64 dev ext0 nodad; ip link set ext0 up
        ip -n out addr add 10.99.0.2/24 dev eth0; ip -n out addr add fd99::2/64 dev eth0 nodad
        ip -n out link set lo up; ip -n out link set eth0 up")
        .ok();
    echo("out");
}

fn echo(ns: &str) {
    fs::write("/run/echo.py", ECHO).expect("write");
    sh(&format!(
        "ip netns exec {ns} python3 /run/echo.py {ns} >/run/echo-{ns} 2>&1 &"
    ))
    .ok();
    wait(&format!("/run/echoes-{ns}"));
}

/// Two members of a router, which the host lets out. The router itself stays one whatever goes.
fn spec(a: &str, b: &str) -> String {
    format!(
        "\
version: 1
name: site
namespaces: {{ r: {{}}, {a}b: {{}} }}
subnets:
  lab-a: {{ cidr: 10.1.0.0/24, gateway: 10.1.0.1{b} }}
  lab-b: {{ cidr: 10.2.0.0/24, gateway: 10.2.0.1, egress: {{}} }}
  lab-b6: {{ cidr: \"fd02::/64\", gateway: \"fd02::1\", egress: {{}} }}
  up:    {{ cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {{ dev: ext0 }} }}
  up6:   {{ cidr: \"fd09::/64\", gateway: \"fd09::1\", egress: {{ dev: ext0 }} }}
veths:
  - ends:
      - {{ namespace: r, name: up0, addresses: [10.9.0.2, \"fd09::2\"] }}
      - {{ namespace: host, name: down0, addresses: [10.9.0.1, \"fd09::1\"] }}
  - ends:
      - {{ namespace: b, name: eth0, addresses: [10.2.0.2, \"fd02::2\"] }}
      - {{ namespace: r, name: to-b, addresses: [10.2.0.1, \"fd02::1\"] }}
"
    )
}

const A: &str = "  - ends:
      - { namespace: a, name: eth0, addresses: [10.1.0.2] }
      - { namespace: r, name: to-a, addresses: [10.1.0.1] }
";

/// Has somebody in a namespace open a connection. `mark` tells the visitors apart.
fn visit(ns: &str, server: &str, mark: &str, patience: u32) {
    fs::write("/run/visitor.py", VISITOR).expect("write");
    sh(&format!(
        "ip netns exec {ns} python3 /run/visitor.py {server} {mark} {patience} >/run/said-{mark} 2>&1 &"
    ))
    .ok();
    wait(&format!("/run/open-{mark}"));
}

/// Whether the connection is still alive.
fn is_alive(mark: &str) -> bool {
    fs::write(format!("/run/go-{mark}"), "").expect("write");
    wait(&format!("/run/told-{mark}"));
    let said = fs::read_to_string(format!("/run/said-{mark}")).expect("read");
    match said.trim() {
        "alive" => true,
        "ended" => false,
        other => panic!("{mark}: {other}"),
    }
}

fn wait(file: &str) {
    sh(&format!(
        "for i in $(seq 1500); do [ -e {file} ] && exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
}

/// How many entries of connection tracking a namespace has of an IPv4 address, whichever way.
fn entries(ns: &str, address: &str) -> usize {
    let script = r#"
import socket, struct, sys
wanted = socket.inet_aton(sys.argv[1])
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.send(struct.pack("=IHHIIBBH", 20, 0x101, 0x301, 1, 0, 2, 0, 0))
count, done = 0, False
while not done:
    data = s.recv(1 << 18)
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind in (2, 3):
            done = True
            break
        count += wanted in data[20:length]
        data = data[(length + 3) & ~3:]
print(count)
"#;
    fs::write("/run/entries.py", script).expect("write");
    let inside = if ns == "host" {
        String::new()
    } else {
        format!("ip netns exec {ns} ")
    };
    let count = sh(&format!("{inside}python3 /run/entries.py {address}")).ok();
    count.trim().parse().expect("a number")
}

#[test]
fn connections_end_with_the_egress_that_they_went_by_and_others_go_on() {
    in_sandbox(|| {
        outside();
        let with = spec("a: {}, ", ", egress: {}") + A;
        fs::write("/run/site.yaml", &with).expect("write");
        netform(&["apply", "-f", "/run/site.yaml"]).ok();
        visit("a", "10.99.0.2", "a", 3);
        visit("b", "10.99.0.2", "b", 30);
        visit("b", "fd99::2", "b6", 30);
        // To the router's own address: it isn't forwarded, so it doesn't depend on any egress.
        echo("r");
        visit("a", "10.1.0.1", "near", 30);
        assert!(entries("r", "10.1.0.2") >= 2);

        let without = spec("a: {}, ", "") + A;
        fs::write("/run/site.yaml", &without).expect("write");
        let plan = netform(&["plan", "-f", "/run/site.yaml"]).ok();
        assert!(
            plan.contains("! ends the IPv4 connections from to-a to up0\n"),
            "{plan}"
        );
        assert_eq!(plan.matches("! ends").count(), 1, "{plan}");
        let applied = netform(&["apply", "-f", "/run/site.yaml", "--yes"]).ok();
        assert!(applied.starts_with(&plan), "{applied}");
        assert!(is_alive("b"), "of another member");
        assert!(is_alive("b6"), "of another member, IPv6");
        assert!(is_alive("near"), "with the router itself");
        assert!(!is_alive("a"));
        netform(&["destroy", "site", "--yes"]).ok();
    });
}

#[test]
fn connections_of_a_member_end_with_it() {
    in_sandbox(|| {
        outside();
        let with = spec("a: {}, ", ", egress: {}") + A;
        fs::write("/run/site.yaml", &with).expect("write");
        netform(&["apply", "-f", "/run/site.yaml"]).ok();
        visit("a", "10.99.0.2", "a", 3);
        visit("b", "10.99.0.2", "b", 30);
        assert_eq!(entries("r", "10.1.0.2"), 1);
        let others = entries("r", "10.2.0.2");

        fs::write(
            "/run/site.yaml",
            spec("", "").replace("  lab-a: { cidr: 10.1.0.0/24, gateway: 10.1.0.1 }\n", ""),
        )
        .expect("write");
        let plan = netform(&["plan", "-f", "/run/site.yaml"]).ok();
        assert!(
            plan.contains("! ends the connections of 10.1.0.2\n"),
            "{plan}"
        );
        netform(&["apply", "-f", "/run/site.yaml", "--yes"]).ok();
        assert_eq!(entries("r", "10.1.0.2"), 0, "forgotten");
        assert_eq!(entries("r", "10.2.0.2"), others, "and nothing else");
        assert!(is_alive("b"));

        // The host saw all of it as the router's, which goes now.
        assert!(entries("host", "10.9.0.2") >= 1);
        netform(&["destroy", "site", "--yes"]).ok();
        assert_eq!(entries("host", "10.9.0.2"), 0);
    });
}
