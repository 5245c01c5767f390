//! Bridges, dummies and links that exist already, with real packets on private hosts.

mod common;

use std::fs;

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};
use netform::kernel::{Error, Kernel};
use netform::spec;
use netform::spec::source::Source;

/// Three namespaces behind a bridge of the host, which is their gateway and their way out.
const LAN: &str = "\
version: 1
name: lan
namespaces:
  host:
    links:
      br0: { bridge: {}, addresses: [192.168.60.1, \"fd60::1\"] }
  red: {}
  green: {}
  blue: {}
subnets:
  lan:  { cidr: 192.168.60.0/24, gateway: 192.168.60.1, egress: {} }
  lan6: { cidr: \"fd60::/64\", gateway: \"fd60::1\", egress: {} }
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [192.168.60.2, \"fd60::2\"] }
      - { namespace: host, name: red, bridge: br0 }
  - ends:
      - { namespace: green, name: eth0, addresses: [192.168.60.3, \"fd60::3\"] }
      - { namespace: host, name: green, bridge: br0 }
  - ends:
      - { namespace: blue, name: eth0, addresses: [192.168.60.4, \"fd60::4\"] }
      - { namespace: host, name: blue, bridge: br0 }
";

const PATH: &str = "/run/links.yaml";

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

/// What `ip -d link` says of a link.
fn link(name: &str) -> String {
    sh(&format!("ip -d link show {name}")).ok()
}

/// Whether a namespace reaches its neighbours, its gateway and the internet.
#[track_caller]
fn is_on_line(ns: &str) {
    for last in [1, 2, 3, 4] {
        assert!(answers(ns, &format!("192.168.60.{last}")), "{ns} {last}");
        assert!(answers(ns, &format!("-6 fd60::{last}")), "{ns} {last}");
    }
    assert!(answers(ns, "198.51.100.10"), "{ns}");
    assert!(answers(ns, "-6 2001:db8:10::10"), "{ns}");
}

#[test]
fn three_namespaces_behind_a_bridge_reach_each_other_and_the_internet() {
    in_sandbox(|| {
        let before = fresh();
        apply(LAN);
        for ns in ["red", "green", "blue"] {
            is_on_line(ns);
        }
        assert!(link("br0").contains("stp_state 0"), "{}", link("br0"));

        // An address that the spec doesn't know of gets nowhere beyond the bridge.
        sh("ip -n red address add 192.168.60.99/24 dev eth0").ok();
        assert!(is_silent("red", "-I 192.168.60.99 198.51.100.10"));
        assert!(is_silent("red", "-I 192.168.60.99 192.168.60.1"));
        sh("ip -n red address del 192.168.60.99/24 dev eth0").ok();
        // Nobody outside reaches a member.
        sh("ip netns add outside; ip link add out type veth peer name eth0 netns outside; \
            ip address add 10.66.0.1/24 dev out; ip link set out up; \
            ip -n outside address add 10.66.0.2/24 dev eth0; ip -n outside link set eth0 up; \
            ip -n outside route add default via 10.66.0.1; sysctl -qw net.ipv4.conf.out.forwarding=1")
        .ok();
        assert!(answers("outside", "10.66.0.1"));
        assert!(is_silent("outside", "192.168.60.2"));
        sh("ip netns del outside; ip link del out 2>/dev/null || true").ok();

        // One leaves the bridge, and is alone; the others aren't.
        apply(&LAN.replace("name: green, bridge: br0", "name: green"));
        assert!(is_silent("green", "192.168.60.2"));
        assert!(answers("red", "192.168.60.4"));
        assert!(answers("red", "198.51.100.10"));
        apply(LAN);
        is_on_line("green");
        destroy(&before);
    });
}

#[test]
fn a_port_changes_its_bridge_in_place() {
    let two = LAN.replace(
        "  red: {}\n",
        "      br1: { bridge: {}, addresses: [192.168.61.1/24] }\n  red: {}\n",
    );
    in_sandbox(|| {
        let before = fresh();
        apply(&two);
        let number = sh("cat /sys/class/net/red/ifindex").ok();
        // By another name it is another bridge, and the ports stay.
        let renamed = two.replace("br0", "lan");
        let text = plan(&renamed).ok();
        assert!(text.contains("~  link red  in br0 → lan"), "{text}");
        apply(&renamed);
        is_on_line("red");
        apply(&renamed.replace("name: red, bridge: lan", "name: red, bridge: br1"));
        assert!(is_silent("red", "192.168.60.3"));
        assert!(link("red").contains("master br1"), "{}", link("red"));
        assert_eq!(sh("cat /sys/class/net/red/ifindex").ok(), number);
        destroy(&before);
    });
}

#[test]
fn what_somebody_changes_of_a_bridge_is_mended() {
    in_sandbox(|| {
        let before = fresh();
        apply(LAN);
        sh(
            "ip link set red nomaster; ip link set br0 type bridge stp_state 1; \
            ip link set br0 mtu 1400; ip link set green mtu 1300",
        )
        .ok();
        let text = plan(LAN).ok();
        for line in [
            "~  link br0  stp on → off, mtu 1400 → 1500",
            "~  link red  in none → br0",
            "~  link green  mtu 1300 → 1500",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        apply(LAN);
        is_on_line("red");
        // All of it goes, and comes again with its ports.
        for drift in [
            "ip link del br0",
            "ip link set br0 down",
            "ip link del red",
            "ip netns del green",
            "ip link set br0 alias ''",
            "ip link set br0 alias ''; ip link set red nomaster alias ''",
        ] {
            sh(drift).ok();
            apply(LAN);
            is_on_line("red");
        }
        destroy(&before);
    });
}

#[test]
fn a_bridge_keeps_its_mtu_whatever_its_ports_have() {
    let small = LAN.replace(
        "name: red, bridge: br0",
        "name: red, bridge: br0, mtu: 1400",
    );
    in_sandbox(|| {
        let before = fresh();
        apply(&small);
        assert!(link("br0").contains("mtu 1500"), "{}", link("br0"));
        for mtu in [1279, 1280, 68, 65535] {
            let other = LAN.replace(
                "br0: { bridge: {}, ",
                &format!("br0: {{ bridge: {{}}, mtu: {mtu}, "),
            );
            let other = if mtu < 1280 {
                other
                    .replace(", \"fd60::1\"", "")
                    .replace("  lan6: ", "  x-lan6: ")
                    .replace(", \"fd60::2\"", "")
                    .replace(", \"fd60::3\"", "")
                    .replace(", \"fd60::4\"", "")
            } else {
                other
            };
            apply(&other);
            // One that is made with it keeps it too.
            sh("ip link del br0").ok();
            apply(&other);
            assert!(
                link("br0").contains(&format!("mtu {mtu} ")),
                "{}",
                link("br0")
            );
        }
        destroy(&before);
    });
}

#[test]
fn a_foreign_bridge_of_the_name_stops_the_plan_and_a_port_of_it_is_possible() {
    in_sandbox(|| {
        sh(
            "ip link add br0 address 02:00:00:00:00:99 type bridge; ip link property add dev br0 altname company-bridge; \
            ip address add 192.168.60.1/24 dev br0; ip link set br0 up",
        )
        .ok();
        let before = fresh();
        write(LAN);
        let refused = netform(&["apply", "-f", PATH, "--yes"]);
        assert_eq!(refused.status, 1);
        let text = refused.stdout + &refused.stderr;
        assert!(text.contains("link br0 on the host"), "{text}");
        fs::remove_file(PATH).expect("remove");
        assert_same_world(&before, &world());

        // To hang ports into it takes no more than its name.
        let ports = "\
version: 1
name: lan
namespaces: { red: {}, green: {} }
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [192.168.60.2/24] }
      - { namespace: host, name: red, bridge: br0 }
  - ends:
      - { namespace: green, name: eth0, addresses: [192.168.60.3/24] }
      - { namespace: host, name: green, bridge: br0 }
";
        apply(ports);
        assert!(answers("red", "192.168.60.1"));
        assert!(answers("red", "192.168.60.3"));
        let gone = plan(&ports.replace("bridge: br0", "bridge: br7"));
        assert_eq!(gone.status, 1);
        assert!(
            gone.stderr.contains("the host has no bridge `br7`"),
            "{}",
            gone.stderr
        );
        let none = plan(&ports.replace("bridge: br0", "bridge: ens33"));
        assert!(
            none.stderr.contains("`ens33` is no bridge"),
            "{}",
            none.stderr
        );
        write(ports);
        netform(&["destroy", "-f", PATH, "--yes"]).ok();
        let left = sh("ip -br address show br0; ls /sys/class/net/br0/brif").ok();
        assert!(
            left.contains("192.168.60.1/24") && !left.contains("red"),
            "{left}"
        );
    });
}

#[test]
fn a_bridge_in_a_namespace_joins_its_neighbours() {
    // The switch has no address: the router is another namespace.
    let spec = "\
version: 1
name: switched
namespaces:
  switch:
    links:
      zz: { bridge: {} }
  router:
    gateway: 192.168.50.1
  one: {}
  two: {}
subnets:
  lan: { cidr: 10.0.0.0/24, gateway: 10.0.0.1, egress: { dev: up } }
  up:  { cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: {} }
veths:
  - ends:
      - { namespace: router, name: lan, addresses: [10.0.0.1] }
      - { namespace: switch, name: router, bridge: zz }
  - ends:
      - { namespace: one, name: eth0, addresses: [10.0.0.2] }
      - { namespace: switch, name: one, bridge: zz }
  - ends:
      - { namespace: two, name: eth0, addresses: [10.0.0.3] }
      - { namespace: switch, name: two, bridge: zz }
  - ends:
      - { namespace: router, name: up, addresses: [192.168.50.2] }
      - { namespace: host, name: down, addresses: [192.168.50.1] }
";
    in_sandbox(|| {
        let before = fresh();
        apply(spec);
        assert!(answers("one", "10.0.0.3"));
        assert!(answers("two", "198.51.100.10"));
        // What is behind the switch is known at the router, and nothing else is believed.
        sh("ip -n one address add 10.0.0.9/24 dev eth0").ok();
        assert!(is_silent("one", "-I 10.0.0.9 10.0.0.1"));
        sh("ip -n one address del 10.0.0.9/24 dev eth0").ok();
        sh("ip netns del switch").ok();
        apply(spec);
        assert!(answers("one", "198.51.100.10"));
        destroy(&before);
    });
}

#[test]
fn somebody_elses_port_is_spoken_of_before_its_bridge_goes() {
    in_sandbox(|| {
        apply(LAN);
        sh("ip link add theirs type veth peer name other; ip link set theirs master br0").ok();
        let text = plan(&LAN.replace("br0", "br1")).ok();
        let line = "link theirs isn't netform's, and is no port any more once link br0 goes";
        assert!(text.contains(line), "{text}");
        write(LAN);
        netform(&["destroy", "-f", PATH, "--yes"]).ok();
        assert!(!link("theirs").contains("master"), "{}", link("theirs"));
    });
}

/// What a kernel that lacks something says is one error, before anything is done; else it is possible.
#[track_caller]
fn lacks(spec: &str, message: &str) {
    let before = fresh();
    let planned = plan(spec);
    if planned.status == 0 {
        apply(spec);
        destroy(&before);
        return;
    }
    let applied = netform(&["apply", "-f", PATH, "--yes"]);
    for refused in [planned, applied] {
        assert_eq!(refused.status, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
    fs::remove_file(PATH).expect("remove");
    assert_same_world(&before, &world());
}

#[test]
fn a_bridge_filters_vlans_or_the_kernel_lacks_it() {
    let message = "this kernel was built without CONFIG_BRIDGE_VLAN_FILTERING";
    in_sandbox(|| {
        let spec = LAN.replace("bridge: {}", "bridge: { vlan_filtering: true }");
        lacks(&spec, message);
        let changed = LAN.replace("bridge: {}", "bridge: { stp: true }");
        apply(&changed);
        // Also where a bridge that is there is to have it.
        let refused = plan(&spec);
        if refused.status != 0 {
            let message = format!("link br0 on the host isn't possible on this machine: {message}");
            assert!(refused.stderr.contains(&message), "{}", refused.stderr);
        }
        assert!(link("br0").contains("stp_state 1"), "{}", link("br0"));
        apply(LAN);
        assert!(link("br0").contains("stp_state 0"), "{}", link("br0"));
    });
}

#[test]
fn a_dummy_carries_addresses_or_the_kernel_lacks_it() {
    let spec = "\
version: 1
name: home
namespaces:
  a:
    links:
      home: { dummy: {}, addresses: [10.7.0.1/32, \"fd07::1/128\"] }
";
    in_sandbox(|| lacks(spec, "this kernel has no dummy links"));
}

#[test]
fn what_a_plan_is_refused_without_a_look_beforehand_says_what_the_kernel_lacks() {
    let spec = "\
version: 1
name: home
namespaces: { host: { links: { home: { dummy: {} } } } }
";
    in_sandbox(|| {
        let source = Source::new("home.yaml", spec.to_owned());
        let spec = spec::parse(&[source]).expect("a spec");
        let mut kernel = Kernel::open().expect("open");
        let facts = kernel.facts(&spec.external()).expect("facts");
        let wanted = spec::lower(&spec, &facts).expect("it fits this host").state;
        let topology = &spec.name.value;
        let observed = kernel.observe(topology, &wanted).expect("it is read");
        let plan =
            netform::plan::plan(topology, &wanted, &observed).expect("nothing is in the way");
        let lacking = kernel.lacking(&plan);
        match kernel.execute(&plan) {
            Ok(()) => assert!(lacking.is_empty(), "{lacking:?}"),
            Err(failure) => {
                assert!(
                    matches!(&failure.error, Error::NoKind { kind } if kind == "dummy"),
                    "{failure:?}"
                );
                assert!(
                    matches!(&lacking[..], [(0, Error::NoKind { .. })]),
                    "{lacking:?}"
                );
            }
        }
    });
}

#[test]
fn addresses_on_lo_and_on_a_link_of_the_host_come_and_go() {
    let spec = "\
version: 1
name: added
namespaces:
  host:
    links:
      uplink: { addresses: [192.168.95.77/24, \"2001:db8:95::77/64\"] }
      lo: { addresses: [10.7.0.9/32] }
  site:
    links:
      lo: { addresses: [10.7.0.1/32, 127.0.0.53/8] }
    routes:
      - { to: 192.168.95.0/24, via: 10.7.1.1, src: 10.7.0.1 }
veths:
  - ends:
      - { namespace: site, name: up, addresses: [10.7.1.2/24] }
      - { namespace: host, name: down, addresses: [10.7.1.1/24] }
";
    in_sandbox(|| {
        sh("ip link property add dev ens33 altname uplink; ip address add 192.168.95.66/24 dev ens33").ok();
        let before = fresh();
        apply(spec);
        sh("ip route add 10.7.0.1 via 10.7.1.2").ok();
        assert!(answers("site", "192.168.95.77"));
        assert!(answers("site", "127.0.0.53"));
        sh("ip route del 10.7.0.1").ok();
        // Somebody takes one away.
        sh("ip address del 192.168.95.77/24 dev ens33; ip -n site address flush dev lo").ok();
        let text = plan(spec).ok();
        assert!(
            text.contains("+  address 192.168.95.77/24 on ens33"),
            "{text}"
        );
        assert!(text.contains("+  address 10.7.0.1/32 on lo"), "{text}");
        apply(spec);
        // Another address, and one fewer.
        apply(
            &spec
                .replace("192.168.95.77/24, ", "192.168.95.78/24, ")
                .replace("10.7.0.9/32", ""),
        );
        let held = sh("ip -br address").ok();
        assert!(
            held.contains("192.168.95.78/24") && held.contains("192.168.95.66/24"),
            "{held}"
        );
        assert!(
            !held.contains("192.168.95.77/24") && !held.contains("10.7.0.9"),
            "{held}"
        );
        destroy(&before);

        // What somebody else gave it stays somebody else's.
        let taken = plan(&spec.replace("192.168.95.77", "192.168.95.66"));
        assert_eq!(taken.status, 1);
        assert!(
            taken.stderr.contains("address 192.168.95.66 on ens33"),
            "{}",
            taken.stderr
        );
        let missing = plan(&spec.replace("uplink:", "eth7:"));
        assert_eq!(missing.status, 1);
        assert!(
            missing.stderr.contains("the host has no link `eth7`"),
            "{}",
            missing.stderr
        );
        assert!(missing.stderr.contains("ens33"), "{}", missing.stderr);
    });
}

#[test]
fn a_bridge_that_others_made_holds_a_gateway() {
    let spec = "\
version: 1
name: guests
namespaces:
  host:
    links:
      company: { addresses: [192.168.60.1] }
  red: {}
  green: {}
subnets:
  lan: { cidr: 192.168.60.0/24, gateway: 192.168.60.1, egress: {} }
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [192.168.60.2] }
      - { namespace: host, name: red, bridge: company }
  - ends:
      - { namespace: green, name: eth0, addresses: [192.168.60.3] }
      - { namespace: host, name: green, bridge: company }
";
    in_sandbox(|| {
        sh(
            "ip link add br9 address 02:00:00:00:00:99 type bridge; ip link set br9 up; \
            ip link property add dev br9 altname company; ip address add 10.9.9.1/24 dev br9",
        )
        .ok();
        apply(spec);
        assert!(answers("red", "192.168.60.3"));
        assert!(answers("red", "198.51.100.10"));
        assert!(answers("green", "10.9.9.1"));
        netform(&["destroy", "-f", PATH, "--yes"]).ok();
        let left = sh("ip -br address show br9; ls /sys/class/net/br9/brif; cat /proc/sys/net/ipv4/conf/br9/forwarding").ok();
        assert!(
            left.contains("10.9.9.1/24") && !left.contains("192.168.60.1"),
            "{left}"
        );
        assert!(!left.contains("red") && left.ends_with("0\n"), "{left}");
    });
}
