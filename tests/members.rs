//! What members take from their neighbours, and how their links come into the world.

mod common;

use std::fs;

use common::{in_sandbox, netform, sh};

const FILE: &str = "/run/lab.yaml";

/// Members `a` and `evil` behind a bridge of the host. What is said of `a` and of its link is written in the
/// manner of YAML's flow.
fn apply(a: &str) {
    let spec = format!(
        "version: 1
name: lab
namespaces:
  a: {{ {a} }}
  evil: {{}}
  host: {{ links: {{ br0: {{ bridge: {{}}, addresses: ['fd07::1/64', 'fe80::1/64'] }} }} }}
subnets:
  lab: {{ cidr: 'fd07::/64', gateway: 'fd07::1' }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: ['fd07::2'] }}
      - {{ namespace: host, name: to-a, bridge: br0 }}
  - ends:
      - {{ namespace: evil, name: eth0, addresses: ['fd07::3', 'fe80::3/64'] }}
      - {{ namespace: host, name: to-evil, bridge: br0 }}
"
    );
    fs::write(FILE, spec).expect("write");
    netform(&["apply", "-f", FILE, "--yes"]).ok();
}

/// Sends a router advertisement for `evil`, and a redirect to `evil` in the name of the router `fe80::1`.
const LIES: &str = r#"
import socket, struct
a, all_nodes = "fd07::2", "ff02::1"
address = lambda text: socket.inet_pton(socket.AF_INET6, text)
link = lambda name: bytes.fromhex(open(f"/sys/class/net/{name}/address").read().strip().replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
def send(source, target, to, icmp):
    pseudo = address(source) + address(target) + struct.pack("!II", len(icmp), 58)
    data = pseudo + icmp
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    icmp = icmp[:2] + struct.pack("!H", ~total & 0xffff) + icmp[4:]
    header = struct.pack("!IHBB", 6 << 28, len(icmp), 58, 255) + address(source) + address(target)
    s.send(to + link("eth0") + b"\x86\xdd" + header + icmp)
send("fe80::3", all_nodes, bytes.fromhex("333300000001"),
     struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0))
mac = bytes.fromhex(MAC)
send("fe80::1", a, mac, struct.pack("!BBHI", 137, 0, 0, 0) + address("fe80::3") + address("2001:db8:10::10")
     + struct.pack("!BB", 2, 1) + link("eth0"))
"#;

/// Whether `a` believes the advertisement, and the redirect.
fn believes() -> (bool, bool) {
    let mac = sh("ip netns exec a cat /sys/class/net/eth0/address").ok();
    let script = LIES.replace("MAC)", &format!("'{}')", mac.trim().replace(':', "")));
    fs::write("/run/lies.py", script).expect("write");
    // The router is known, as after any packet.
    sh("ip netns exec a ping -6 -c1 -W10 fe80::1%eth0
        ip netns exec evil ip link show >/dev/null
        nsenter --net=/run/netns/evil unshare -m sh -c 'mount -t sysfs none /sys; python3 /run/lies.py'")
    .ok();
    // What was sent before is dealt with once this is answered.
    sh("ip netns exec evil ping -6 -c1 -W10 fd07::2").ok();
    let routes = sh("ip -n a -6 route show default").ok();
    let way = sh("ip -n a -6 route get 2001:db8:10::10").ok();
    (routes.contains("proto ra"), way.contains("via fe80::3"))
}

const THROUGH: &str = "gateway: none, routes: [{ to: default, via: 'fe80::1', dev: eth0 }]";

#[test]
fn members_with_a_gateway_believe_no_advertisements_and_no_redirects() {
    in_sandbox(|| {
        // Where it is loaded, br_netfilter would have the gateway's table drop what goes from port to port.
        sh("f=/proc/sys/net/bridge/bridge-nf-call-ip6tables; [ ! -e $f ] || echo 0 >$f").ok();
        apply("");
        assert_eq!(believes(), (false, false));
        netform(&["destroy", "lab", "--yes"]).ok();
        apply(THROUGH);
        assert_eq!(believes(), (false, false));
        let plan = netform(&["plan", "-f", FILE, "--detailed-exitcode"]);
        assert_eq!(plan.status, 0, "{}", plan.stdout);
        // Somebody in there has it believe all.
        sh("ip netns exec a sysctl -qw net.ipv6.conf.eth0.accept_redirects=1").ok();
        let plan = netform(&["plan", "-f", FILE]).ok();
        assert!(
            plan.contains("sysctl net.ipv6.conf.eth0.accept_redirects  1 → 0"),
            "{plan}"
        );
        assert!(believes().1);
        netform(&["destroy", "lab", "--yes"]).ok();
        // Or its spec.
        apply(&format!(
            "{THROUGH}, sysctls: {{ net.ipv6.conf.eth0.accept_redirects: 1 }}"
        ));
        assert_eq!(believes(), (false, true));
        netform(&["destroy", "lab", "--yes"]).ok();
        // Without a gateway of the spec's it listens, as the kernel has it.
        apply("gateway: none");
        assert!(believes().0);
    });
}

#[test]
fn links_are_made_with_their_addresses_and_otherwise_as_the_kernel_has_it() {
    in_sandbox(|| {
        for mode in ["0", "1"] {
            sh(&format!(
                "sysctl -qw net.ipv6.conf.default.addr_gen_mode={mode}"
            ))
            .ok();
            apply("");
            let of = |ns: &str, link: &str| {
                sh(&format!(
                    "ip netns exec {ns} cat /sys/class/net/{link}/addr_assign_type \
                     /proc/sys/net/ipv6/conf/{link}/addr_gen_mode"
                ))
                .ok()
            };
            // NET_ADDR_SET: udev's policies leave these alone.
            assert_eq!(of("a", "eth0"), "3\n0\n");
            for link in ["br0", "to-a"] {
                let host = sh(&format!(
                    "cat /sys/class/net/{link}/addr_assign_type /proc/sys/net/ipv6/conf/{link}/addr_gen_mode"
                ));
                assert_eq!(host.ok(), format!("3\n{mode}\n"), "{link}");
            }
            netform(&["destroy", "lab", "--yes"]).ok();
        }
    });
}
