//! What others have on the host, and how all of it is told as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;
use std::{fs, thread};

use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use super::common::{assert_same_world, sh};
use super::sketch::{NAMES, on_uplink};

/// Namespaces, links of several kinds with addresses, routes, rules, tables as Docker and a person would write
/// them, and a connection that the host forwards between two of the namespaces.
const WORLD: &str = "
    for ns in theirs other box; do ip netns add $ns; ip -n $ns link set lo up; done
    ip link add name f0 type veth peer name f1 netns theirs
    ip link set f0 up; ip -n theirs link set f1 up
    ip addr add 10.99.0.1/24 dev f0; ip -6 addr add fd99::1/64 dev f0 nodad
    ip -n theirs addr add 10.99.0.2/24 dev f1; ip -n theirs -6 addr add fd99::2/64 dev f1 nodad
    ip -n theirs route add default via 10.99.0.1
    ip link add lan0 type bridge
    ip link set lan0 up; ip addr add 172.17.0.1/16 dev lan0
    ip link add name vethd0 type veth peer name eth0 netns other
    ip link set vethd0 master lan0 up; ip -n other link set eth0 up
    ip -n other addr add 172.17.0.2/16 dev eth0; ip -n other route add default via 172.17.0.1
    ip link add spare type veth peer name sparex; ip link set sparex up; ip link set spare alias 'kept for a rainy day'; ip link set spare up
    ip -n box link add name eth9 type veth peer name eth9x
    ip -n box link set eth9 up; ip -n box link set eth9x up
    ip -n box addr add 10.96.0.1/24 dev eth9; ip -n box route add 10.95.0.0/16 via 10.96.0.2
    ip netns exec box nft add table inet theirs
    ip route add 10.98.0.0/16 via 10.99.0.2; ip route add 10.97.0.0/16 via 10.99.0.2 table 77
    ip route add blackhole 10.94.0.0/16 metric 9; ip -6 route add fd98::/64 via fd99::2 dev f0
    ip rule add priority 5000 fwmark 0x77 lookup 77; ip -6 rule add priority 5000 fwmark 0x77 lookup 77
    mkdir -p /etc/netns/theirs; echo 'nameserver 192.0.2.1' >/etc/netns/theirs/resolv.conf
    sysctl -qw net.ipv4.conf.f0.forwarding=1 net.ipv4.conf.lan0.forwarding=1 net.ipv4.conf.f0.rp_filter=2
    nft -f - <<'EOF'
table ip nat {
    chain DOCKER { iifname \"lan0\" counter return; }
    chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local counter jump DOCKER; }
    chain OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local counter jump DOCKER; }
    chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; oifname != \"lan0\" ip saddr 172.17.0.0/16 counter masquerade; }
}
table inet theirs {
    set known { type ipv4_addr; flags interval; elements = { 10.99.0.0/24, 172.17.0.0/16 }; }
    counter seen { }
    chain input { type filter hook input priority filter; policy accept; ip saddr @known counter name seen accept; }
    chain forward { type filter hook forward priority 5; policy accept; ct state invalid counter drop; }
}
EOF
";

/// Says a word again and again to who says it back, and tells in a file how often it was heard.
const TALK: &str = r#"
import ctypes, os, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def enter(ns):
    if libc.setns(os.open("/run/netns/" + ns, os.O_RDONLY), 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
ready = threading.Event()
def answer():
    enter("theirs")
    listener = socket.create_server(("10.99.0.2", 7))
    ready.set()
    peer, _ = listener.accept()
    while word := peer.recv(10):
        peer.sendall(word)
threading.Thread(target=answer, daemon=True).start()
ready.wait()
enter("other")
s = socket.create_connection(("10.99.0.2", 7), 60)
heard = 0
while True:
    s.sendall(b"word")
    if s.recv(10) != b"word":
        break
    heard += 1
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(str(heard))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(0.05)
"#;

/// What others have on the host.
pub(crate) struct Foreign {
    /// With the file of those who talk.
    directory: TempDir,
    /// All of it as it was at first.
    first: String,
}

impl Foreign {
    /// Furnishes a fresh host.
    pub(crate) fn new(random: &mut Rng) -> Foreign {
        sh(WORLD).ok();
        let switches = [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.ens33.forwarding=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.ip_default_ttl=64",
        ];
        let switch = switches[random.usize(..switches.len())];
        sh(&format!("sysctl -qw {switch}")).ok();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        fs::write(directory.path().join("talk.py"), TALK).expect("write");
        sh(&format!(
            "python3 {path}/talk.py {path}/heard >{path}/said 2>&1 &
             for i in $(seq 1500); do [ -e {path}/heard ] && exit 0; sleep 0.02; done; cat {path}/said; exit 1"
        ))
        .ok();
        // The kernel puts addresses that it looked for into use in its own time.
        sh("for i in $(seq 1500); do
            for ns in theirs other box; do ip -n $ns -6 addr show tentative; done | grep . || \
                ip -6 addr show tentative | grep . || exit 0
            sleep 0.02; done; exit 1")
        .ok();
        let first = snapshot();
        Foreign { directory, first }
    }

    /// It is as it was, and those who talked talk.
    #[track_caller]
    pub(crate) fn assert_same(&self) {
        let lent = Lent::now();
        assert_same_world(&lent.without(&self.first), &lent.without(&snapshot()));
        let heard = || fs::read_to_string(self.directory.path().join("heard")).expect("a number");
        let before = heard();
        for _ in 0..1500 {
            if heard() != before {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nothing is heard any more");
    }
}

/// All that is foreign, as text.
fn snapshot() -> String {
    let mut text = String::new();
    for ns in ["host", "theirs", "other", "box"] {
        let inside = match ns {
            "host" => String::new(),
            _ => format!("ip netns exec {ns} "),
        };
        let script = "ip -d -j addr; ip -4 -j route show table all; ip -6 -j route show table all
            ip -4 -j rule; ip -6 -j rule; nft -a -s list ruleset";
        let told = sh(&format!("{inside}sh -ec '{script}'")).ok();
        let mut lines = told.lines();
        for what in ["link", "route", "route6", "rule", "rule6"] {
            let list: Value = serde_json::from_str(lines.next().expect(what)).expect(what);
            for mut item in list.as_array().expect(what).clone() {
                if !is_ours(&item) {
                    settle(&mut item);
                    writeln!(text, "{ns} {what}: {item}").expect("text");
                }
            }
        }
        let mut ours = false;
        for line in lines {
            if line.starts_with("table ") {
                ours = line.starts_with("table inet netform-");
            }
            if !ours {
                writeln!(text, "{ns} nftables: {line}").expect("text");
            }
        }
        let settings = sh(&format!(
            "{inside}sh -c 'cd /proc/sys/net && grep -rs \"\" core ipv4 ipv6 unix | sort'"
        ));
        for line in settings.stdout.lines() {
            let (path, _) = line.split_once(':').expect("a path");
            let of_ours = path.split('/').any(starts_as_ours);
            if !of_ours {
                writeln!(text, "{ns} sysctl: {line}").expect("text");
            }
        }
    }
    let files = "cd /run/netns; stat -Lc '%n %i' theirs other box; cd /etc; grep -r '' netns/theirs; ls netns";
    for line in sh(files).ok().lines().filter(|line| !starts_as_ours(line)) {
        writeln!(text, "file: {line}").expect("text");
    }
    text
}

/// What topologies have on loan: the beginnings of the lines that tell of it.
#[derive(Debug, Default)]
struct Lent {
    lines: BTreeSet<String>,
    /// The links that they made ports, each with its namespace.
    ports: Vec<(String, String)>,
}

impl Lent {
    /// What their records say.
    fn now() -> Lent {
        let mut lent = Lent::default();
        for name in NAMES {
            let Ok(record) = fs::read_to_string(format!("/run/netform/{name}.json")) else {
                continue;
            };
            let record: Value = serde_json::from_str(&record).expect("a record");
            let list = |key: &str| record[key].as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            // `host`, or a name under a key that says so.
            let place = |value: &Value| match value {
                Value::Object(named) => text(named.values().next().expect("a name")),
                other => text(other),
            };
            for item in list("loans") {
                let key = &item["id"]["key"]["sysctl"];
                let path = match &key["conf"] {
                    Value::Null => text(&key["global"]),
                    conf => format!(
                        "net/{}/conf/{}/{}",
                        text(&conf["family"]),
                        text(&conf["link"]),
                        text(&conf["name"])
                    ),
                };
                let ns = place(&item["id"]["ns"]);
                let path = path.trim_start_matches("net/");
                lent.lines.insert(format!("{ns} sysctl: {path}"));
            }
            for item in list("ports") {
                let link = text(&item["id"]["key"]["port"]);
                lent.ports.push((place(&item["id"]["ns"]), link));
            }
        }
        lent
    }

    /// A snapshot without what is on loan, or written by the kernel along with what is.
    fn without(&self, snapshot: &str) -> String {
        let lines = snapshot.split_inclusive('\n');
        lines.filter(|line| !self.has(line)).collect()
    }

    fn has(&self, line: &str) -> bool {
        if let Some((ns, link)) = line.split_once(" link: ") {
            let mut ports = self.ports.iter();
            return ports
                .any(|(of, port)| of == ns && link.contains(&format!("\"ifname\":\"{port}\"")));
        }
        let Some((setting, _)) = line
            .split_once(" sysctl: ")
            .and_then(|(_, rest)| rest.split_once(':'))
        else {
            return false;
        };
        let ns = line.split(' ').next().expect("a namespace");
        let lent = |path: &str| self.lines.contains(&format!("{ns} sysctl: {path}"));
        let forwards = setting.ends_with("/forwarding") || setting.ends_with("/force_forwarding");
        let of_switch = setting.starts_with("ipv4/conf/") && lent("ipv4/ip_forward")
            || setting.starts_with("ipv6/conf/") && lent("ipv6/conf/all/forwarding");
        lent(setting) || forwards && of_switch
    }
}

/// Whether a name is one of a topology's.
fn starts_as_ours(name: &str) -> bool {
    NAMES.iter().any(|topology| name.starts_with(topology))
}

/// Whether a link, a route or a rule is a topology's, by its name or netform's protocol number.
fn is_ours(item: &Value) -> bool {
    let name = |key: &str| item[key].as_str().is_some_and(starts_as_ours);
    let on_uplink = |key: &str| item[key].as_str().is_some_and(is_on_uplink);
    let of_protocol = item["protocol"] == "110";
    // Those of the local table come with the addresses, or while links forward IPv6.
    let comes = on_uplink("dst") || on_uplink("prefsrc") || item["type"] == "anycast";
    let local = item["table"] == "local" && comes;
    name("ifname") || name("dev") || of_protocol || local
}

fn is_on_uplink(text: &str) -> bool {
    (0..NAMES.len()).any(|number| on_uplink(number) == text)
}

/// Takes out of what `ip` tells of something foreign what changes by itself, and the addresses of topologies.
fn settle(item: &mut Value) {
    if let Some(Value::Array(addresses)) = item.get_mut("addr_info") {
        addresses.retain(|address| !address["local"].as_str().is_some_and(is_on_uplink));
    }
    forget_clocks(item);
}

fn forget_clocks(item: &mut Value) {
    match item {
        Value::Object(members) => {
            members.retain(|key, _| !key.ends_with("_timer") && !key.ends_with("_life_time"));
            members.values_mut().for_each(forget_clocks);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_clocks),
        _ => {}
    }
}
