//! Links of others as ports of bridges, with real packets on private hosts.

mod common;

use std::fs;

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};

/// A bridge of the host with a namespace behind it, into which a link of the host is plugged.
const PLUGGED: &str = "\
version: 1
name: plugged
namespaces:
  host:
    links:
      br0: { bridge: {}, addresses: [192.168.60.1/24] }
      nic: { bridge: br0 }
  red: {}
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [192.168.60.2/24, \"fd60::2/64\"] }
      - { namespace: host, name: red, bridge: br0 }
";

/// A link of the host that others made, with somebody behind it.
const NIC: &str = "ip netns add outside; ip link add nic address 02:00:00:00:00:77 type veth peer name eth0 netns outside; \
    ip link property add dev nic altname enp7s0; ip link set nic up; ip -n outside link set eth0 up; \
    ip -n outside address add 192.168.60.77/24 dev eth0; ip -n outside address add fd60::77/64 dev eth0 nodad";

const PATH: &str = "/run/ports.yaml";

/// What a new host has after the first namespace and the first bridge ever, which leave traces.
fn fresh() -> String {
    sh("ip netns add first && ip netns del first").ok();
    world()
}

fn write(spec: &str) {
    fs::write(PATH, spec).expect("write");
}

/// Applies a spec, after which there is nothing more to do.
#[track_caller]
fn apply(spec: &str) {
    write(spec);
    netform(&["apply", "-f", PATH, "--yes"]).ok();
    let again = netform(&["plan", "-f", PATH, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
}

fn plan(spec: &str) -> Output {
    write(spec);
    netform(&["plan", "-f", PATH])
}

fn destroy(before: &str) {
    netform(&["destroy", "-f", PATH, "--yes"]).ok();
    fs::remove_file(PATH).expect("remove");
    assert_same_world(before, &world());
}

/// Whether an address answers, from inside of a namespace. `options` are those of ping(8).
fn answers(ns: &str, options: &str) -> bool {
    sh(&format!("ip netns exec {ns} ping -n -c1 -w10 {options}")).status == 0
}

/// Whether an address doesn't answer within a second.
fn is_silent(ns: &str, options: &str) -> bool {
    sh(&format!("ip netns exec {ns} ping -n -c1 -W1 {options}")).status != 0
}

/// What a link is a port of.
fn master(link: &str) -> String {
    let shown = sh(&format!("ip -o link show {link}")).ok();
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "master");
    words.next().unwrap_or("nothing").to_owned()
}

#[test]
fn a_link_of_the_host_is_plugged_into_a_bridge_and_released() {
    in_sandbox(|| {
        sh(NIC).ok();
        let before = fresh();
        let text = plan(PLUGGED).ok();
        assert!(text.contains("+  port nic of br0\n"), "{text}");
        apply(PLUGGED);
        for ip in ["192.168.60.1", "192.168.60.2", "-6 fd60::2"] {
            assert!(answers("outside", ip), "{ip}");
        }
        assert!(answers("red", "192.168.60.77"));
        let shown = netform(&["show", "plugged"]).ok();
        assert!(shown.contains("port nic of br0"), "{shown}");

        // What somebody does about it is mended.
        sh("ip link set nic nomaster").ok();
        let text = plan(PLUGGED).ok();
        assert!(text.contains("+  port nic of br0\n"), "{text}");
        apply(PLUGGED);
        sh("ip link del br0").ok();
        apply(PLUGGED);
        assert!(answers("outside", "192.168.60.2"));
        // By another name it is another bridge, and so it is with one that is there beside it.
        let other = PLUGGED.replace("br0", "lan");
        apply(&other);
        assert!(answers("outside", "192.168.60.2"));
        let two = other.replace(
            "      nic: { bridge: lan }",
            "      br1: { bridge: {} }\n      enp7s0: { bridge: br1 }",
        );
        let text = plan(&two).ok();
        assert!(text.contains("~  port nic  of lan → br1\n"), "{text}");
        apply(&two);
        assert_eq!(master("nic"), "br1");
        assert!(is_silent("outside", "192.168.60.2"));
        apply(&other);

        // It is a port no longer, with the bridge there.
        let without = other.replace("      nic: { bridge: lan }\n", "");
        let text = plan(&without).ok();
        assert!(text.contains("-  port nic of lan\n"), "{text}");
        apply(&without);
        assert_eq!(master("nic"), "nothing");
        apply(&other);
        destroy(&before);
    });
}

#[test]
fn a_link_that_others_plug_elsewhere_or_take_away_is_theirs() {
    in_sandbox(|| {
        sh(NIC).ok();
        sh("ip link add theirs address 02:00:00:00:00:98 type bridge; ip link set nic master theirs").ok();
        let before = fresh();
        // It is somebody's port: nothing is done.
        for spec in [
            PLUGGED,
            &PLUGGED
                .replace("br0: { bridge: {}, ", "theirs: { ")
                .replace("bridge: br0", "bridge: theirs"),
        ] {
            let refused = plan(spec);
            assert_eq!(refused.status, 1);
            for text in [
                "link nic on the host is a port of theirs already",
                "`ip link set nic nomaster`",
            ] {
                assert!(refused.stderr.contains(text), "{}", refused.stderr);
            }
        }
        sh("ip link set nic nomaster").ok();
        apply(PLUGGED);
        // Somebody moves it: it is theirs from then on, and stays so.
        sh("ip link set nic master theirs").ok();
        let refused = plan(PLUGGED);
        assert!(
            refused.stderr.contains("a port of theirs already"),
            "{}",
            refused.stderr
        );
        destroy(&before);

        // One that vanished needs no release.
        sh("ip link set nic nomaster").ok();
        apply(PLUGGED);
        sh("ip link del nic").ok();
        let gone = plan(PLUGGED);
        assert!(
            gone.stderr.contains("the host has no link `nic`"),
            "{}",
            gone.stderr
        );
        write(PLUGGED);
        netform(&["destroy", "-f", PATH, "--yes"]).ok();
        fs::remove_file(PATH).expect("remove");
        assert_eq!(
            sh("ls -R /run/netform 2>/dev/null | grep json || true").ok(),
            ""
        );
        assert_eq!(sh("ip -o link show type bridge").ok().lines().count(), 1);
    });
}

#[test]
fn a_bridge_of_others_gets_a_port_and_two_topologies_dont_quarrel_about_it() {
    let spec = "\
version: 1
name: patch
namespaces:
  host:
    links:
      nic: { bridge: company, addresses: [192.168.61.1/24] }
";
    in_sandbox(|| {
        sh(NIC).ok();
        sh(
            "ip link add br9 address 02:00:00:00:00:99 type bridge; ip link set br9 addrgenmode none; \
            ip link add keep type veth peer name kept; ip link set keep master br9; ip link set kept up; \
            ip link set keep up; ip link set br9 up; ip link property add dev br9 altname company; ip address add 192.168.60.9/24 dev br9",
        )
        .ok();
        let before = fresh();
        apply(spec);
        assert!(answers("outside", "192.168.60.9"));
        let other = plan(&spec.replace("name: patch", "name: other"));
        assert_eq!(other.status, 1);
        let text = "is a port of br9 already, by the wish of topology patch";
        assert!(other.stderr.contains(text), "{}", other.stderr);
        write(spec);
        destroy(&before);
    });
}

#[test]
fn what_a_port_has_itself_is_spoken_of_and_needs_a_yes() {
    let spec = PLUGGED.replace("nic:", "ens33:");
    in_sandbox(|| {
        let before = fresh();
        let text = plan(&spec).ok();
        let line = "what ens33 has itself (";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains(
                "the default route) stops working once it is a port: what comes in by it is br0's"
            ),
            "{text}"
        );
        let asked = netform(&["apply", "-f", PATH]);
        assert_eq!(asked.status, 1);
        fs::remove_file(PATH).expect("remove");
        assert_same_world(&before, &world());
        apply(&spec);
        // It is said once.
        let text = plan(&spec).ok();
        assert!(text.starts_with("No changes."), "{text}");
        destroy(&before);
    });
}

#[test]
fn what_can_be_no_port_is_refused_before_anything_is_done() {
    in_sandbox(|| {
        sh("ip link add br8 type bridge; ip tuntap add tun7 mode tun").ok();
        for (link, message) in [
            ("br8", "`br8` is a bridge itself"),
            ("tun7", "`tun7` has no Ethernet frames"),
        ] {
            let refused = plan(&PLUGGED.replace("nic:", &format!("{link}:")));
            assert_eq!(refused.status, 1);
            assert!(refused.stderr.contains(message), "{}", refused.stderr);
        }
        // A link of another topology is its own.
        let theirs = "\
version: 1
name: theirs
namespaces: { a: {} }
veths:
  - ends: [{ namespace: a, name: x }, { namespace: host, name: nic }]
";
        apply(theirs);
        let refused = plan(PLUGGED);
        let message = "topology theirs made `nic`";
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    });
}

#[test]
fn a_failed_apply_releases_the_port_again() {
    let spec = PLUGGED.replace(
        "  red: {}\n",
        "  red: { sysctls: { net.ipv4.conf.eth0.arp_notify: \"01\" } }\n",
    );
    in_sandbox(|| {
        sh(NIC).ok();
        let before = fresh();
        write(&spec);
        let failed = netform(&["apply", "-f", PATH, "--yes"]);
        assert_eq!(failed.status, 3, "{}", failed.stderr);
        fs::remove_file(PATH).expect("remove");
        assert_same_world(&before, &world());
        // And one that has it keeps it.
        apply(PLUGGED);
        write(&spec.replace(
            "nic: { bridge: br0 }",
            "br1: { bridge: {} }\n      nic: { bridge: br1 }",
        ));
        let with = world();
        let failed = netform(&["apply", "-f", PATH, "--yes"]);
        assert_eq!(failed.status, 3, "{}", failed.stderr);
        assert_same_world(&with, &world());
        destroy(&before);
    });
}

#[test]
fn a_container_plugs_its_own_link() {
    let spec = "\
version: 1
name: inside
namespaces:
  box:
    external: true
    links:
      br0: { bridge: {}, addresses: [192.168.60.1/24] }
      eth9: { bridge: br0 }
";
    in_sandbox(|| {
        sh("ip netns add outside; ip netns add box; \
            ip -n box link add eth9 address 02:00:00:00:00:79 type veth peer name eth0 netns outside; \
            ip -n box link set eth9 up; ip -n outside link set eth0 up; \
            ip -n outside address add 192.168.60.77/24 dev eth0")
        .ok();
        let before = fresh();
        let inside = sh("ip -n box -o link").ok();
        apply(spec);
        assert!(answers("outside", "192.168.60.1"));
        destroy(&before);
        assert_eq!(sh("ip -n box -o link").ok(), inside);
        apply(spec);
        // One that comes anew is another, and what was said of the old one isn't true of it.
        sh(
            "ip netns del box; ip netns add box; ip -n box link add br0 type bridge; \
            ip -n box link add eth9 type veth peer name other; ip -n box link set eth9 master br0",
        )
        .ok();
        write(spec);
        netform(&["destroy", "-f", PATH, "--yes"]).ok();
        let left = sh("ip -n box -o link show eth9").ok();
        assert!(left.contains("master br0"), "{left}");
    });
}

#[test]
fn who_is_behind_a_plugged_link_reaches_the_members_and_not_the_gateway() {
    let spec = "\
version: 1
name: guarded
namespaces:
  host:
    links:
      br0: { bridge: {}, addresses: [192.168.60.1] }
      nic: { bridge: br0 }
  red: {}
subnets:
  lan: { cidr: 192.168.60.0/24, gateway: 192.168.60.1, egress: {} }
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [192.168.60.2] }
      - { namespace: host, name: red, bridge: br0 }
";
    in_sandbox(|| {
        sh(NIC).ok();
        sh(
            "ip -n outside route add default via 192.168.60.1 onlink dev eth0; \
            sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true",
        )
        .ok();
        let before = fresh();
        apply(spec);
        assert!(answers("red", "192.168.60.77"));
        assert!(answers("outside", "192.168.60.2"));
        assert!(answers("red", "198.51.100.10"));
        assert!(is_silent("outside", "192.168.60.1"));
        assert!(is_silent("outside", "198.51.100.10"));
        destroy(&before);
    });
}
