//! Publications: what arrives at a port or an address leads to a member, with real packets.

mod common;

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

/// A host with a second uplink, `ens34`, beyond which somebody is: 192.168.96.2 and fd96::2.
fn with_neighbour(test: impl FnOnce()) {
    in_sandbox(|| {
        fs::write("/run/server.py", SERVER).expect("write");
        fs::write("/run/client.py", CLIENT).expect("write");
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

/// A command in a namespace.
fn inside(ns: &str, command: &str) -> String {
    match ns {
        "host" => command.to_owned(),
        ns => format!("ip netns exec {ns} {command}"),
    }
}

/// Has services in a namespace, `tcp:80 udp:53` for example.
fn serve(ns: &str, services: &str) {
    let ready = format!("/run/ready-{ns}");
    let server = inside(ns, &format!("python3 /run/server.py {ready} {services}"));
    sh(&format!(
        "{server} >/run/served-{ns} 2>&1 &
         for i in $(seq 1500); do [ -e {ready} ] && exit 0; sleep 0.02; done; cat /run/served-{ns} >&2; exit 1"
    ))
    .ok();
}

/// What somebody in a namespace is told by `tcp 192.0.2.1 80`.
fn asked(ns: &str, whom: &str, patience: u32) -> String {
    let client = inside(ns, &format!("python3 /run/client.py {whom} {patience}"));
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
            wrong += &format!("{ns} asks {whom}: {told}, and not {expected}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}{}", sh("nft list ruleset").ok());
}

fn apply(spec: &str) -> String {
    fs::write("/run/site.yaml", spec).expect("write");
    let plan = netform(&["plan", "-f", "/run/site.yaml"]).ok();
    let applied = netform(&["apply", "-f", "/run/site.yaml", "--yes"]).ok();
    assert!(applied.starts_with(&plan), "{applied}");
    let again = netform(&["plan", "-f", "/run/site.yaml", "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}", again.stdout);
    // `nft` can read what it prints of it.
    sh("nft list ruleset >/run/rules && nft -c -f /run/rules").ok();
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
        let before = world();
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
        assert!(["10.3.0.3 80", "10.3.0.1 80"].contains(&told.as_str()), "{told}");

        netform(&["destroy", "site", "--yes"]).ok();
        sh("ip -n out route del 10.0.0.0/8").ok();
        assert_same_world(&before, &world());
    });
}
