//! What a plan says of the host that it meets, and that nothing is said that isn't so.

mod common;

use std::fs;

use common::{in_sandbox, netform, sh};

/// The file that the specs of these tests are written to.
const FILE: &str = "/run/lab.yaml";

/// A namespace `a` behind `to-a`, with a way out. `more` goes into the subnet, `host` into the entry of the host.
fn lab(egress: &str, host: &str) -> String {
    format!(
        "version: 1
name: lab
namespaces:
  a: {{}}
  host: {{{host}}}
subnets:
  lab: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {egress} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.7.0.2] }}
      - {{ namespace: host, name: to-a, addresses: [10.7.0.1] }}
"
    )
}

/// The warnings of the plan of a spec, in its order.
#[track_caller]
fn warnings(spec: &str) -> Vec<String> {
    fs::write(FILE, spec).expect("write");
    let plan = netform(&["plan", "-f", FILE]).ok();
    let lines = plan.lines().filter_map(|line| line.strip_prefix("  !  "));
    lines.map(str::to_owned).collect()
}

/// That the plan of a spec says one thing, which has all of these words.
#[track_caller]
fn says(spec: &str, words: &[&str]) {
    let warnings = warnings(spec);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for word in words {
        assert!(warnings[0].contains(word), "{word}: {}", warnings[0]);
    }
}

/// That the plan of a spec says nothing.
#[track_caller]
fn silent(spec: &str) {
    assert_eq!(warnings(spec), [""; 0]);
}

/// Applies what was written last.
#[track_caller]
fn apply() {
    netform(&["apply", "-f", FILE, "--yes"]).ok();
}

/// A second provider behind `up1`, whose server answers 203.0.113.9 to whoever asks from 10.9.0.1.
const PROVIDER: &str = "
    ip netns add provider
    ip link add up1 type veth peer name wan netns provider
    ip address add 10.9.0.1/24 dev up1; ip link set up1 up
    ip -n provider address add 10.9.0.2/24 dev wan; ip -n provider link set wan up
    ip -n provider address add 203.0.113.9/32 dev lo; ip -n provider link set lo up
";

/// What leads the members over the second provider.
const DETOUR: &str = "
    routes: [{ to: default, via: 10.9.0.2, dev: up1, table: 100 }], rules: [";

fn pings(address: &str) -> bool {
    let ping = format!("ping -n -c1 -W2 {address}");
    netform(&["exec", "a", "--", "sh", "-c", &ping]).status == 0
}

#[test]
fn replies_that_a_strict_filter_drops_are_told_of() {
    in_sandbox(|| {
        sh(PROVIDER).ok();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1
            nft add table ip marks
            nft 'add chain ip marks p { type filter hook prerouting priority mangle; }'
            nft add rule ip marks p iifname to-a meta mark set 1")
        .ok();
        let marked = format!("{DETOUR} {{ priority: 100, fwmark: 1, table: 100 }}]");
        let by_link = format!("{DETOUR} {{ priority: 100, iif: to-a, table: 100 }}]");
        let by_source = format!("{DETOUR} {{ priority: 100, from: 10.7.0.0/24, table: 100 }}]");
        let spec = lab("{ dev: up1 }", &marked);
        says(
            &spec,
            &["up1", "`lab`", "net.ipv4.conf.up1.rp_filter: 2", "`host`"],
        );
        apply();
        assert!(!pings("203.0.113.9"));

        // What the warning says to do.
        let loose = format!("{marked}, sysctls: {{ net.ipv4.conf.up1.rp_filter: 2 }}");
        silent(&lab("{ dev: up1 }", &loose));
        apply();
        assert!(pings("203.0.113.9"));
        // Rules that are for the replies too.
        for host in [&by_link, &by_source] {
            silent(&lab("{ dev: up1 }", host));
            apply();
            assert!(pings("203.0.113.9"));
        }
        silent(&lab("{}", ""));
        silent(&lab("{ dev: ens33 }", &marked));
        says(&spec, &["up1"]);
        // Of a rule that looks at more it isn't known which way the replies go.
        for rule in ["not fwmark 0x7", "from 10.7.0.0/25"] {
            sh(&format!("ip rule add {rule} lookup 77 priority 90")).ok();
            silent(&spec);
            sh("ip rule del priority 90").ok();
        }
        // Either way is one of the default route.
        sh("ip route replace default nexthop via 192.168.95.2 dev ens33 nexthop via 10.9.0.2 dev up1")
            .ok();
        silent(&spec);
        sh("ip route replace default via 192.168.95.2 dev ens33").ok();
        says(&spec, &["up1"]);
        // Loose, or none, or with the mark.
        for (off, on) in [
            ("up1.rp_filter=2", "up1.rp_filter=0"),
            ("all.src_valid_mark=1", "all.src_valid_mark=0"),
            ("all.rp_filter=0", "up1.rp_filter=1"),
        ] {
            sh(&format!("sysctl -qw net.ipv4.conf.{off}")).ok();
            silent(&spec);
            sh(&format!("sysctl -qw net.ipv4.conf.{on}")).ok();
            says(&spec, &["up1"]);
        }
    });
}

#[test]
fn connections_that_a_strict_filter_drops_are_told_of() {
    in_sandbox(|| {
        sh(PROVIDER).ok();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1
            ip -n provider route add 10.7.0.0/24 via 10.9.0.1")
        .ok();
        // From beyond the neighbours of the uplink, and from one.
        let reached = |from: &str| {
            let ping = format!("ip netns exec provider ping -n -c1 -W2 -I {from} 10.7.0.2");
            sh(&ping).status == 0
        };
        let open = "{ dev: up1, inbound: allow }";
        let spec = lab(open, "");
        says(
            &spec,
            &["up1", "connections from beyond", "`lab`", "rule `from`"],
        );
        apply();
        assert!(reached("10.9.0.2"));
        assert!(!reached("203.0.113.9"));
        // What the warning says to do.
        let by_source = format!("{DETOUR} {{ priority: 100, from: 10.7.0.0/24, table: 100 }}]");
        silent(&lab(open, &by_source));
        apply();
        assert!(reached("203.0.113.9"));
        silent(&lab("{ inbound: allow }", ""));

        let published = |dev: &str| {
            let publish = format!("\npublish: [{{ port: 80, to: 10.7.0.2{dev} }}]\nveths:");
            lab("{}", "").replace("\nveths:", &publish)
        };
        says(
            &published(", dev: up1"),
            &["up1", "`10.7.0.2`", "connections from beyond"],
        );
        silent(&published(""));
        sh("sysctl -qw net.ipv4.conf.up1.rp_filter=2").ok();
        silent(&published(", dev: up1"));
        silent(&spec);
    });
}

#[test]
fn a_way_out_that_takes_less_than_members_send_is_told_of() {
    in_sandbox(|| {
        silent(&lab("{}", ""));
        sh("ip link set ens33 mtu 1400").ok();
        says(&lab("{}", ""), &["ens33", "1400", "1500", "`mtu: 1400`"]);
        silent(&lab("{}", "").replace("\n  - ends:", "\n  - mtu: 1400\n    ends:"));
        let routed = "a: { gateway: none, routes: [{ to: default, via: 10.7.0.1, mtu: 1400 }] }";
        silent(&lab("{}", "").replace("a: {}", routed));
        // And it is still so when nothing is to be done.
        fs::write(FILE, lab("{}", "")).expect("write");
        apply();
        let plan = netform(&["plan", "-f", FILE, "--detailed-exitcode"]);
        assert_eq!(plan.status, 0, "{}", plan.stdout);
        assert!(plan.stdout.contains("  !  ens33"), "{}", plan.stdout);
        assert!(
            plan.stdout
                .ends_with("No changes. lab is as the spec says.\n"),
            "{}",
            plan.stdout
        );
    });
}

#[test]
fn addresses_that_the_host_has_elsewhere_are_told_of() {
    in_sandbox(|| {
        let spec = lab("{}", "");
        sh(PROVIDER).ok();
        silent(&spec);
        // A part of the subnet.
        sh("ip route add 10.7.0.128/25 via 10.9.0.2").ok();
        says(
            &spec,
            &[
                "the host routes 10.7.0.128/25 over up1",
                "`lab`",
                "another `cidr`",
            ],
        );
        sh("ip route del 10.7.0.128/25").ok();
        // More than the subnet.
        sh("ip route add 10.0.0.0/8 via 10.9.0.2").ok();
        says(&spec, &["10.0.0.0/8", "takes 10.7.0.0/24 from that"]);
        sh("ip route del 10.0.0.0/8; ip route add blackhole 10.0.0.0/8").ok();
        silent(&spec);
        // The prefix of another link.
        sh("ip address add 10.7.0.77/23 dev up1").ok();
        says(&spec, &["10.7.0.0/23 over up1"]);
        // Where the gateway is held by that very link, it is the subnet's own.
        sh("ip address add 10.8.0.1/24 dev up1").ok();
        let existing = "version: 1
name: lab
subnets:
  lab: { cidr: 10.8.0.0/24, gateway: 10.8.0.1, egress: {} }
";
        silent(existing);
        sh("ip address del 10.7.0.77/23 dev up1").ok();
        silent(&spec);
        apply();
        silent(&spec);
        // Nor is it a surprise in a namespace of its own.
        let second = spec
            .replace("name: lab\n", "name: second\n")
            .replace("a, name", "b, name")
            .replace("a: {}", "b: {}")
            .replace("to-a", "to-b");
        says(&second, &["10.7.0.0/24 over to-a (topology lab)"]);
    });
}

#[test]
fn a_name_server_on_the_loopback_is_told_of() {
    in_sandbox(|| {
        let with = |servers: &str| {
            let entry = format!("a: {{ dns: {{ nameservers: [{servers}] }} }}");
            lab("{}", "").replace("a: {}", &entry)
        };
        silent(&with("198.51.100.53"));
        says(&with("127.0.0.53"), &["127.0.0.53", "own loopback"]);
        says(&with("198.51.100.53, \"::1\""), &["names ::1,"]);
        sh("mkdir -p /run/systemd/resolve
            printf '# x\\nnameserver 192.0.2.7\\nsearch y\\n' > /run/systemd/resolve/resolv.conf")
        .ok();
        says(
            &with("127.0.0.53"),
            &["write what the host's asks itself: 192.0.2.7"],
        );
    });
}

#[test]
fn two_topologies_that_make_the_host_a_router_are_told_of_each_other() {
    in_sandbox(|| {
        let first = lab("{}", " forwarding: true ");
        let second = first
            .replace("name: lab\n", "name: second\n")
            .replace("a, name", "b, name")
            .replace("a: {}", "b: {}")
            .replace("to-a", "to-b")
            .replace("10.7.0", "10.8.0");
        silent(&first);
        apply();
        silent(&first);
        says(&second, &["topology lab", "second", "`forwarding`"]);
        apply();
        let reaches = || {
            let ping = ["exec", "b", "--", "ping", "-n", "-c1", "-W2", "10.7.0.2"];
            netform(&ping).status == 0
        };
        assert!(reaches());
        // What the warning says to do.
        silent(&second.replace(" forwarding: true ", ""));
        apply();
        assert!(!reaches());
    });
}

#[test]
fn what_forwarding_opens_is_said_once_where_it_is_switched_on() {
    in_sandbox(|| {
        let note = "neighbours on ens33 can send to other links too";
        let plan = |spec: &str| {
            fs::write(FILE, spec).expect("write");
            netform(&["plan", "-f", FILE]).ok()
        };
        let spec = lab("{}", "");
        let first = plan(&spec);
        assert_eq!(first.matches(note).count(), 1, "{first}");
        assert!(
            first.contains("forwarding  0 → 1\n       neighbours"),
            "{first}"
        );
        let both = spec
            .replace(
                "veths:",
                "  six: { cidr: 'fd07::/64', gateway: 'fd07::1', egress: {} }\nveths:",
            )
            .replace("10.7.0.2]", "10.7.0.2, 'fd07::2']")
            .replace("10.7.0.1] }\n", "10.7.0.1, 'fd07::1'] }\n");
        assert_eq!(plan(&both).matches(note).count(), 1);
        plan(&spec);
        apply();
        assert!(!plan(&spec).contains(note));

        // Where all of the host forwards already, nothing is opened.
        sh("sysctl -qw net.ipv4.ip_forward=1").ok();
        netform(&["destroy", "lab", "--yes"]).ok();
        assert!(!plan(&spec).contains(note));
    });
}

#[test]
fn what_forwarding_opens_is_open_and_shut_by_what_the_plan_says() {
    in_sandbox(|| {
        sh(PROVIDER).ok();
        sh(
            "ip netns add lan; ip link add lan0 type veth peer name eth0 netns lan
            ip address add 10.5.0.1/24 dev lan0; ip link set lan0 up
            ip -n lan address add 10.5.0.2/24 dev eth0; ip -n lan link set eth0 up
            ip -n lan route add default via 10.5.0.1
            ip -n provider route add 10.5.0.0/24 via 10.9.0.1
            ip netns exec lan nft add table ip count
            ip netns exec lan nft add counter ip count seen
            ip netns exec lan nft 'add chain ip count c { type filter hook input priority 0; }'
            ip netns exec lan nft add rule ip count c ip protocol icmp counter name seen",
        )
        .ok();
        // The packets of a ping that came, and whether there was an answer.
        let heard = || {
            let ping = sh("ip netns exec provider ping -n -c1 -W1 10.5.0.2");
            let list = "ip netns exec lan nft reset counters | grep -o 'packets [0-9]*'";
            (sh(list).ok(), ping.status == 0)
        };
        let none = ("packets 0\n".to_owned(), false);
        assert_eq!(heard(), none);
        let host = format!("{DETOUR} {{ priority: 100, iif: to-a, table: 100 }}]");
        fs::write(FILE, lab("{ dev: up1 }", &host)).expect("write");
        let plan = netform(&["plan", "-f", FILE]).ok();
        apply();
        assert_eq!(heard(), ("packets 1\n".to_owned(), false));

        let (_, rule) = plan
            .split_once("in a forward chain this shuts it: ")
            .expect("a rule");
        let rule = rule.lines().next().expect("a line");
        sh("nft add table inet shut
            nft 'add chain inet shut forward { type filter hook forward priority 0; }'")
        .ok();
        sh(&format!("nft 'add rule inet shut forward {rule}'")).ok();
        assert_eq!(heard(), none);
        assert!(pings("203.0.113.9"));
    });
}

/// Two members behind a bridge of the host, which holds no gateway.
const BRIDGED: &str = "version: 1
name: lab
namespaces:
  a: {}
  b: {}
  host: { links: { br0: { bridge: {} } } }
veths:
  - ends:
      - { namespace: a, name: eth0, addresses: [10.7.0.2/24] }
      - { namespace: host, name: to-a, bridge: br0 }
  - ends:
      - { namespace: b, name: eth0, addresses: [10.7.0.3/24] }
      - { namespace: host, name: to-b, bridge: br0 }
";

#[test]
fn what_others_drop_between_the_ports_of_a_bridge_is_told_of() {
    in_sandbox(|| {
        let shown = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if !fs::exists(shown).expect("known") {
            // No frames are shown without the module `br_netfilter`, which only the machine can load.
            return;
        }
        let policy = |table: &str, chain: &str, policy: &str| {
            sh(&format!(
                "nft add table {table}
                nft 'add chain {table} {chain} {{ type filter hook forward priority 0; policy {policy}; }}'"
            ))
            .ok();
        };
        fs::write(shown, "1").expect("write");
        silent(BRIDGED);
        apply();
        assert!(pings("10.7.0.3"));
        policy("inet strict", "every", "accept");
        silent(BRIDGED);
        policy("inet strict", "every", "drop");
        let command = "nft insert rule inet strict every iifname br0 oifname br0 accept";
        fs::write(FILE, BRIDGED).expect("write");
        let plan = netform(&["plan", "-f", FILE]).ok();
        let told = "IPv4 between members behind br0";
        assert_eq!(plan.matches(told).count(), 1, "{plan}");
        assert!(
            plan.contains(&format!("this permits it:\n       {command}\n")),
            "{plan}"
        );
        assert!(!pings("10.7.0.3"));

        // What is not shown isn't dropped, as is what its rules accept.
        fs::write(shown, "0").expect("write");
        silent(BRIDGED);
        assert!(pings("10.7.0.3"));
        silent(&BRIDGED.replace("to-b, bridge: br0 }", "to-b }"));
        fs::write(shown, "1").expect("write");
        silent(&BRIDGED.replace("to-b, bridge: br0 }", "to-b }"));
        says(BRIDGED, &[told]);
        let sysctls = "host: { sysctls: { net.bridge.bridge-nf-call-iptables: 0 }, links";
        silent(&BRIDGED.replace("host: { links", sysctls));
        // What the warning says to do.
        sh(command).ok();
        silent(BRIDGED);
        assert!(pings("10.7.0.3"));
        sh("nft delete table inet strict").ok();

        // In the chain of iptables it is accepted by netform itself.
        policy("ip filter", "FORWARD", "drop");
        assert!(!pings("10.7.0.3"));
        silent(BRIDGED);
        apply();
        assert!(pings("10.7.0.3"));
        netform(&["destroy", "lab", "--yes"]).ok();
        let rules = sh("nft list chain ip filter FORWARD").ok();
        assert!(!rules.contains("br0"), "{rules}");
    });
}
