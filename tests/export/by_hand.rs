//! A script as people write them, written down as a spec, and applied to another host: the same packets pass.

use crate::common::{in_sandbox, netform, sh};
use crate::{EXPORTED, export};

/// What both hosts have: a second uplink, beyond which somebody is who knows the way to the namespaces.
const NEIGHBOUR: &str = "
    ip netns add out
    ip link add ens34 type veth peer name eth0 netns out
    ip addr add 192.168.96.1/24 dev ens34; ip addr add fd96::1/64 dev ens34 nodad; ip link set ens34 up
    ip -n out addr add 192.168.96.2/24 dev eth0; ip -n out addr add fd96::2/64 dev eth0 nodad
    ip -n out link set lo up; ip -n out link set eth0 up
    ip -n out route add 10.0.0.0/8 via 192.168.96.1
";

/// Two servers at a bridge, a jail behind a router of its own, and one that may go nowhere.
const NETWORK: &str = "
    ip netns add web
    ip netns add db
    ip netns add edge
    ip netns add jail
    ip netns add alone
    ip link add br0 type bridge
    ip addr add 10.20.0.1/24 dev br0
    ip addr add fd20::1/64 dev br0 nodad
    ip link set br0 up
    for name in web db edge; do
        ip link add v-$name type veth peer name eth0 netns $name
        ip link set v-$name master br0 up
        ip -n $name link set lo up
        ip -n $name link set eth0 up
    done
    ip -n web addr add 10.20.0.10/24 dev eth0
    ip -n web addr add fd20::10/64 dev eth0 nodad
    ip -n db addr add 10.20.0.11/24 dev eth0
    ip -n edge addr add 10.20.0.30/24 dev eth0
    ip -n web route add default via 10.20.0.1
    ip -n web route add default via fd20::1
    ip -n db route add default via 10.20.0.1
    ip -n edge route add default via 10.20.0.1
    ip -n db route add unreachable 10.66.0.0/16
    ip -n edge link add lan type veth peer name eth0 netns jail
    ip -n edge addr add 10.30.0.1/24 dev lan
    ip -n edge link set lan up
    ip -n jail addr add 10.30.0.2/24 dev eth0
    ip -n jail link set eth0 up
    ip -n jail route add default via 10.30.0.1
    ip netns exec edge sysctl -qw net.ipv4.ip_forward=1
    ip netns exec edge nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; };
        add rule ip nat post ip saddr { 10.30.0.0/24, 10.31.0.0/24 } oifname eth0 masquerade'
    ip link add to-alone mtu 1400 type veth peer name eth0 mtu 1400 netns alone
    ip addr add 10.40.0.1 peer 10.40.0.2/32 dev to-alone
    ip link set to-alone up
    ip -n alone addr add 10.40.0.2 peer 10.40.0.1/32 dev eth0
    ip -n alone link set eth0 up
    ip -n alone rule add priority 100 to 198.51.100.10 blackhole
    mkdir -p /etc/netns/web
    echo nameserver 198.51.100.53 >/etc/netns/web/resolv.conf
    sysctl -qw net.ipv4.ip_forward=1
    sysctl -qw net.ipv6.conf.all.forwarding=1
";

const IPTABLES: &str = "
    iptables -t nat -A POSTROUTING -s 10.20.0.0/24 -o ens33 -j MASQUERADE
    ip6tables -t nat -A POSTROUTING -s fd20::/64 -o ens33 -j MASQUERADE
    iptables -t nat -A PREROUTING -i ens34 -p tcp --dport 8080 -j DNAT --to-destination 10.20.0.10:80
    iptables -t nat -A PREROUTING -i ens34 -p tcp --dport 5000:5010 -j DNAT --to-destination 10.20.0.11
    iptables -P FORWARD DROP
    iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    iptables -A FORWARD -i br0 -o br0 -j ACCEPT
    iptables -A FORWARD -i br0 -o ens33 -j ACCEPT
    iptables -A FORWARD -i ens34 -d 10.20.0.10 -p tcp --dport 80 -j ACCEPT
    iptables -A FORWARD -i ens34 -d 10.20.0.11 -p tcp --dport 5000:5010 -j ACCEPT
";

const NFT: &str = "
    nft -f - <<'END'
    table inet firewall {
        chain pre {
            type nat hook prerouting priority dstnat;
            iifname ens34 tcp dport 8080 dnat ip to 10.20.0.10:80
            iifname ens34 tcp dport 5000-5010 dnat ip to 10.20.0.11
        }
        chain post {
            type nat hook postrouting priority srcnat;
            ip saddr 10.20.0.0/24 oifname ens33 masquerade
            ip6 saddr fd20::/64 oifname ens33 masquerade
        }
        chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            iifname br0 oifname { br0, ens33 } accept
            iifname ens34 ip daddr 10.20.0.10 tcp dport 80 accept
            iifname ens34 ip daddr 10.20.0.11 tcp dport 5000-5010 accept
        }
    }
END
";

/// Tells whoever connects from where he comes.
const SERVER: &str = r#"
import socket, sys
s = socket.create_server(("", int(sys.argv[1])))
open("/run/up-" + sys.argv[1], "w").close()
while True:
    connection, peer = s.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"#;

/// What passes, by name.
const PROBES: &[(&str, &str)] = &[
    (
        "web to the world",
        "ip netns exec web ping -c1 -W2 198.51.100.10",
    ),
    (
        "web to the world by IPv6",
        "ip netns exec web ping -c1 -W2 2001:db8:10::10",
    ),
    (
        "web knows names",
        "netform exec web -- getent hosts www.example.test",
    ),
    (
        "db to the world",
        "ip netns exec db ping -c1 -W2 198.51.100.10",
    ),
    ("db to web", "ip netns exec db ping -c1 -W2 10.20.0.10"),
    (
        "jail to the world",
        "ip netns exec jail ping -c1 -W2 198.51.100.10",
    ),
    (
        "jail to web",
        "ip netns exec jail python3 /run/ask.py 10.20.0.10 80",
    ),
    ("host to web", "python3 /run/ask.py 10.20.0.10 80"),
    (
        "web to the host",
        "ip netns exec web ping -c1 -W2 10.20.0.1",
    ),
    (
        "alone to the host",
        "ip netns exec alone ping -c1 -W2 10.40.0.1",
    ),
    (
        "outside to the published web",
        "ip netns exec out python3 /run/ask.py 192.168.96.1 8080",
    ),
    (
        "outside to the published db",
        "ip netns exec out python3 /run/ask.py 192.168.96.1 5003",
    ),
    (
        "outside to web itself",
        "ip netns exec out ping -c1 -W1 10.20.0.10",
    ),
    (
        "outside to the jail",
        "ip netns exec out ping -c1 -W1 10.30.0.2",
    ),
    (
        "alone to the world",
        "ip netns exec alone ping -c1 -W1 198.51.100.10",
    ),
    (
        "alone to web",
        "ip netns exec alone ping -c1 -W1 10.20.0.10",
    ),
    (
        "db to where nothing leads",
        "ip netns exec db ping -c1 -W1 10.66.0.1",
    ),
];

/// The last of these pass nowhere.
const CLOSED: usize = 5;

/// Says which of them passes, and what it is told.
fn probe() -> Vec<(&'static str, Option<String>)> {
    std::fs::write("/run/server.py", SERVER).expect("written");
    let ask = "import socket, sys\n\
               s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)\n\
               print(s.recv(100).decode())\n";
    std::fs::write("/run/ask.py", ask).expect("written");
    sh(
        "ip netns exec web python3 /run/server.py 80 >/dev/null 2>&1 &
        ip netns exec db python3 /run/server.py 5003 >/dev/null 2>&1 &
        until [ -e /run/up-80 ] && [ -e /run/up-5003 ]; do sleep 0.02; done",
    )
    .ok();
    let netform = env!("CARGO_BIN_EXE_netform");
    let probes = PROBES.iter().map(|(name, command)| {
        let output = sh(&command.replacen("netform", netform, 1));
        // Pings say how long they took.
        let told = output.stdout.lines().next().unwrap_or_default().to_owned();
        let told = if command.contains(" ping ") {
            String::new()
        } else {
            told
        };
        (*name, (output.status == 0).then_some(told))
    });
    probes.collect()
}

/// Writes down what a script makes, and applies it to another host.
fn moves(firewall: &str) {
    in_sandbox(|| {
        sh(NEIGHBOUR).ok();
        sh(NETWORK).ok();
        sh(firewall).ok();
        let text = export(&["web", "db", "edge", "jail", "alone"]);
        let here = probe();
        for (at, (name, passes)) in here.iter().enumerate() {
            let closed = at >= PROBES.len() - CLOSED;
            assert_eq!(passes.is_none(), closed, "{name}\n{text}");
        }
        // What two private hosts share is what is handed over.
        netform::sandbox::enter(|| {
            std::fs::write(EXPORTED, &text).expect("written");
            sh(NEIGHBOUR).ok();
            netform(&["apply", "-f", EXPORTED, "--yes"]).ok();
            let there = probe();
            assert_eq!(here, there, "{text}");
            Ok(0)
        })
        .expect("another host");
    });
}

#[test]
fn a_script_with_iptables_moves_to_another_host() {
    moves(IPTABLES);
}

#[test]
fn a_script_with_nft_moves_to_another_host() {
    moves(NFT);
}
