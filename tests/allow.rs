//! What subnets allow each other, connections from outside, and fixed source addresses, tried with packets.

mod common;

use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};

/// Answers on ports of TCP and UDP with the caller's address.
const SERVER: &str = r#"
import socket, sys, threading
def tcp(port):
    s = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        c, a = s.accept()
        c.sendall(a[0].removeprefix("::ffff:").encode())
        c.close()
def udp(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("", port))
    while True:
        _, a = s.recvfrom(100)
        s.sendto(a[0].removeprefix("::ffff:").encode(), a)
for what in sys.argv[2:]:
    kind, port = what.split(":")
    threading.Thread(target={"tcp": tcp, "udp": udp}[kind], args=(int(port),)).start()
open(sys.argv[1], "w").close()
"#;

/// Asks such a server who it is that asks.
const CLIENT: &str = r#"
import socket, sys
kind, server, port, patience = sys.argv[1:]
try:
    if kind == "tcp":
        s = socket.create_connection((server, int(port)), float(patience))
    else:
        s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(float(patience))
        s.connect((server, int(port)))
        s.send(b"?")
    print(s.recv(100).decode() or "nothing")
except TimeoutError:
    print("silence")
except OSError as e:
    print("refused")
"#;

/// Starts a server in a namespace.
fn serve(ns: &str, what: &str) {
    fs::write("/run/server.py", SERVER).expect("write");
    sh(&format!(
        "ip netns exec {ns} python3 /run/server.py /run/serves-{ns} {what} >/run/server-{ns} 2>&1 &
         for i in $(seq 1500); do [ -e /run/serves-{ns} ] && exit 0; sleep 0.02; done; cat /run/server-{ns}; exit 1"
    ))
    .ok();
}

/// As whom a server sees somebody in a namespace, or that it doesn't.
fn seen_as(ns: &str, what: &str, server: &str) -> String {
    ask(ns, what, server, 20)
}

/// Whether nobody is let through: refused at once where `ns` is a member, and never answered outside.
fn is_kept_out(ns: &str, what: &str, server: &str) -> bool {
    matches!(ask(ns, what, server, 1).as_str(), "refused" | "silence")
}

fn ask(ns: &str, what: &str, server: &str, patience: u32) -> String {
    fs::write("/run/client.py", CLIENT).expect("write");
    let (kind, port) = what.split_once(':').expect("kind:port");
    sh(&format!(
        "ip netns exec {ns} python3 /run/client.py {kind} {server} {port} {patience}"
    ))
    .ok()
    .trim()
    .to_owned()
}

fn pings(ns: &str, address: &str) -> bool {
    sh(&format!("ip netns exec {ns} ping -n -c1 -W1 {address}")).status == 0
}

fn apply(spec: &str) -> String {
    fs::write("/run/lab.yaml", spec).expect("write");
    let plan = netform(&["plan", "-f", "/run/lab.yaml"]).ok();
    let applied = netform(&["apply", "-f", "/run/lab.yaml", "--yes"]).ok();
    assert!(applied.starts_with(&plan), "{applied}");
    let again = netform(&["plan", "-f", "/run/lab.yaml", "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}", again.stdout);
    plan
}

/// Three namespaces behind gateways of the host, the third behind a bridge.
fn lab(allow: &str, allow6: &str) -> String {
    format!(
        "\
version: 1
name: lab
namespaces:
  a: {{}}
  b: {{}}
  c: {{}}
  host:
    links:
      br0: {{ bridge: {{}}, addresses: [192.168.52.1, \"fd52::1\"] }}
subnets:
  a:  {{ cidr: 192.168.50.0/24, gateway: 192.168.50.1{allow} }}
  a6: {{ cidr: \"fd50::/64\", gateway: \"fd50::1\"{allow6} }}
  b:  {{ cidr: 192.168.51.0/24, gateway: 192.168.51.1 }}
  b6: {{ cidr: \"fd51::/64\", gateway: \"fd51::1\" }}
  c:  {{ cidr: 192.168.52.0/24, gateway: 192.168.52.1 }}
  c6: {{ cidr: \"fd52::/64\", gateway: \"fd52::1\" }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [192.168.50.2, \"fd50::2\"] }}
      - {{ namespace: host, name: to-a, addresses: [192.168.50.1, \"fd50::1\"] }}
  - ends:
      - {{ namespace: b, name: eth0, addresses: [192.168.51.2, \"fd51::2\"] }}
      - {{ namespace: host, name: to-b, addresses: [192.168.51.1, \"fd51::1\"] }}
  - ends:
      - {{ namespace: c, name: eth0, addresses: [192.168.52.2, \"fd52::2\"] }}
      - {{ namespace: host, name: to-c, bridge: br0 }}
"
    )
}

#[test]
fn what_is_allowed_passes_one_way_with_its_own_source_and_nothing_else_does() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        apply(&lab("", ""));
        for ns in ["a", "b", "c"] {
            serve(ns, "tcp:80 tcp:81 tcp:8005 tcp:8011 udp:53 udp:54");
        }
        for (what, server) in [("tcp:80", "192.168.51.2"), ("tcp:80", "fd51::2")] {
            assert!(is_kept_out("a", what, server), "{server} isn't allowed yet");
        }
        let services = "{ subnet: SUBNET, tcp: [80, 8000-8010, 8003], udp: [53], icmp: true }";
        let allow = |b: &str, c: &str| format!(", allow: [{b}, {}]", services.replace("SUBNET", c));
        let plan = apply(&lab(&allow("b", "c"), &allow("b6", "c6")));
        assert!(
            plan.contains(r#"+   element "to-a" . "br0" . tcp . 8000-8010"#),
            "{plan}"
        );
        assert!(
            plan.contains("sysctl net.ipv4.conf.to-b.forwarding"),
            "{plan}"
        );

        for (own, b, c) in [
            ("192.168.50.2", "192.168.51.2", "192.168.52.2"),
            ("fd50::2", "fd51::2", "fd52::2"),
        ] {
            for what in ["tcp:80", "tcp:81", "tcp:8011", "udp:54"] {
                assert_eq!(seen_as("a", what, b), own, "{what} of {b}");
            }
            assert!(pings("a", b) && pings("a", c));
            for what in ["tcp:80", "tcp:8005", "udp:53"] {
                assert_eq!(seen_as("a", what, c), own, "{what} of {c}");
            }
            for what in ["tcp:81", "tcp:8011", "udp:54"] {
                assert!(is_kept_out("a", what, c), "{what} of {c}");
            }
            for ns in ["b", "c"] {
                assert!(is_kept_out(ns, "tcp:80", own), "from {ns} to {own}");
                assert!(!pings(ns, own), "from {ns} to {own}");
            }
            assert!(is_kept_out("b", "tcp:80", c) && is_kept_out("c", "tcp:80", b));
        }

        let plan = apply(&lab(
            ", allow: [{ subnet: c, tcp: [80] }]",
            &allow("b6", "c6"),
        ));
        for line in [
            "! ends the IPv4 connections from to-a to to-b\n",
            "! ends the IPv4 connections from to-a to br0 to icmp, tcp 8000-8010, udp 53\n",
        ] {
            assert!(plan.contains(line), "{plan}");
        }
        assert!(!plan.contains("ends the IPv6"), "{plan}");
        assert!(is_kept_out("a", "tcp:80", "192.168.51.2"));
        assert!(is_kept_out("a", "tcp:8005", "192.168.52.2"));
        assert_eq!(seen_as("a", "tcp:80", "192.168.52.2"), "192.168.50.2");
        assert_eq!(seen_as("a", "tcp:81", "fd51::2"), "fd50::2");

        netform(&["destroy", "lab", "--yes"]).ok();
        sh("rm /run/*.py /run/*.yaml /run/server-* /run/serves-*").ok();
        assert_same_world(&before, &world());
    });
}

/// A link of the host to somebody outside, who knows the way to the members.
fn outside() {
    sh("ip netns add out
        ip link add up0 type veth peer name eth0 netns out
        ip addr add 10.9.0.1/24 dev up0; ip addr add fd09::1/64 dev up0 nodad; ip addr add 10.9.0.77/24 dev up0
        ip addr add fd09::77/64 dev up0 nodad; ip link set up0 up
        ip -n out addr add 10.9.0.2/24 dev eth0; ip -n out addr add fd09::2/64 dev eth0 nodad
        ip -n out link set lo up; ip -n out link set eth0 up
        ip -n out route add default via 10.9.0.1; ip -n out route add default via fd09::1")
        .ok();
    serve("out", "tcp:80");
}

fn with_egress(egress: &str) -> String {
    lab(egress, egress)
}

#[test]
fn somebody_outside_gets_in_where_the_door_is_open() {
    in_sandbox(|| {
        outside();
        let egress = ", egress: { dev: up0, masquerade: false }";
        apply(&with_egress(egress));
        serve("a", "tcp:80");
        serve("b", "tcp:80");
        for (own, server, far) in [
            ("192.168.50.2", "10.9.0.2", "192.168.51.2"),
            ("fd50::2", "fd09::2", "fd51::2"),
        ] {
            assert_eq!(seen_as("a", "tcp:80", server), own);
            assert!(
                is_kept_out("out", "tcp:80", own) && !pings("out", own),
                "{own}"
            );
            assert!(is_kept_out("out", "tcp:80", far));
        }
        apply(&with_egress(
            ", egress: { dev: up0, masquerade: false, inbound: allow }",
        ));
        for (own, server, far) in [
            ("192.168.50.2", "10.9.0.2", "192.168.51.2"),
            ("fd50::2", "fd09::2", "fd51::2"),
        ] {
            assert_eq!(seen_as("out", "tcp:80", own), server);
            assert!(
                is_kept_out("out", "tcp:80", far),
                "another subnet stays shut"
            );
        }
        let plan = apply(&with_egress(egress));
        assert!(
            plan.contains("! ends the IPv4 connections from up0 to to-a\n"),
            "{plan}"
        );
        assert!(is_kept_out("out", "tcp:80", "192.168.50.2"));
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}

#[test]
fn a_fixed_source_is_seen_outside_and_another_one_after_a_change() {
    in_sandbox(|| {
        outside();
        let egress = |snat: &str, snat6: &str| {
            let of = |ip| format!(", egress: {{ dev: up0, snat: \"{ip}\" }}");
            lab(&of(snat), &of(snat6))
        };
        let plan = apply(&egress("10.9.0.77", "fd09::77"));
        assert!(!plan.contains("  !  "), "{plan}");
        assert_eq!(seen_as("a", "tcp:80", "10.9.0.2"), "10.9.0.77");
        assert_eq!(seen_as("a", "tcp:80", "fd09::2"), "fd09::77");
        let plan = apply(&egress("10.9.0.1", "fd09::77"));
        assert!(
            plan.contains("! ends the IPv4 connections from to-a to up0\n"),
            "{plan}"
        );
        assert_eq!(seen_as("a", "tcp:80", "10.9.0.2"), "10.9.0.1");

        // Nobody here has it: a remark, and replies come back once somebody sends them here.
        let plan = apply(&egress("10.9.0.99", "fd09::77"));
        assert!(
            plan.contains("!  no link of host has 10.9.0.99, to which"),
            "{plan}"
        );
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}

/// Members behind a link that the host has already, which somebody else shares.
#[test]
fn to_and_from_a_link_that_exists_only_the_prefix_there_is_allowed() {
    in_sandbox(|| {
        sh("ip link add lan0 type bridge; ip link set lan0 up
            ip addr add 10.7.0.1/24 dev lan0; ip addr add fd07::1/64 dev lan0 nodad
            ip netns add pc; ip link add pc0 master lan0 type veth peer name eth0 netns pc; ip link set pc0 up
            ip -n pc link set lo up; ip -n pc link set eth0 up
            for a in 10.7.0.2/24 10.8.0.9/24; do ip -n pc addr add $a dev eth0; done
            for a in fd07::2/64 fd08::9/64; do ip -n pc addr add $a dev eth0 nodad; done
            ip -n pc route add default via 10.7.0.1; ip -n pc route add default via fd07::1 src fd07::2
            ip route add 10.8.0.0/24 dev lan0; ip route add fd08::/64 dev lan0")
            .ok();
        let spec = |a: &str, lan: &str| {
            let text = lab(a, &a.replace("lan", "lan6"));
            let lan = format!(
                "  lan:  {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1{lan} }}\n  \
                 lan6: {{ cidr: \"fd07::/64\", gateway: \"fd07::1\"{} }}\nveths:",
                lan.replace("[b", "[b6").replace("subnet: b", "subnet: b6")
            );
            text.replace("veths:", &lan)
        };
        apply(&spec(", allow: [lan]", ""));
        serve("pc", "tcp:80 tcp:81");
        serve("a", "tcp:80 tcp:81");
        serve("b", "tcp:80 tcp:81");
        for (near, far, own, b) in [
            ("10.7.0.2", "10.8.0.9", "192.168.50.2", "192.168.51.2"),
            ("fd07::2", "fd08::9", "fd50::2", "fd51::2"),
        ] {
            assert_eq!(seen_as("a", "tcp:80", near), own);
            assert!(is_kept_out("a", "tcp:80", far), "not of the subnet");
            assert!(is_kept_out("b", "tcp:80", near));
            assert!(is_kept_out("pc", "tcp:80", own) && is_kept_out("pc", "tcp:80", b));
        }
        apply(&spec(
            ", allow: [{ subnet: lan, tcp: [81] }]",
            ", allow: [{ subnet: b, tcp: [80] }]",
        ));
        for (near, far, own, b) in [
            ("10.7.0.2", "10.8.0.9", "192.168.50.2", "192.168.51.2"),
            ("fd07::2", "fd08::9", "fd50::2", "fd51::2"),
        ] {
            assert_eq!(seen_as("a", "tcp:81", near), own);
            assert!(is_kept_out("a", "tcp:80", near));
            assert!(is_kept_out("a", "tcp:81", far), "not of the subnet");
            assert_eq!(seen_as("pc", "tcp:80", b), near);
            assert!(is_kept_out("pc", "tcp:81", b) && is_kept_out("pc", "tcp:80", own));
        }
        // The other prefix on that link isn't allowed either.
        sh("ip -n pc route replace 192.168.51.0/24 via 10.7.0.1 src 10.8.0.9").ok();
        assert!(is_kept_out("pc", "tcp:80", "192.168.51.2"));
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}
