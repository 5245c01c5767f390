//! The examples, and single cases: names that mean something to a shell, what others made, what was left half made, firewalls.

use std::fmt::Write as _;
use std::fs;

use netform::spec::source::Source;
use netform::spec::{self, Spec};

use crate::common::{assert_same_world, in_sandbox, netform, sh, world};
use crate::harness::{self, Host, picture, without_places};

const SPEC: &str = "/run/lab.yaml";

fn parse(text: &str) -> Spec {
    let parsed = spec::parse(&[Source::new("lab.yaml", text.to_owned())]);
    parsed.unwrap_or_else(|wrong| {
        panic!("{:?}", wrong.iter().map(|d| &d.message).collect::<Vec<_>>())
    })
}

/// Gets to some specs one after the other by `apply`, and then from each to the next by scripts, and back to nothing.
fn alike(given: &str, topology: &str, texts: &[&str]) {
    in_sandbox(|| {
        sh("mkdir -p /run/netform; ip netns add first; ip netns del first").ok();
        sh(given).ok();
        both_ways(topology, texts);
    });
}

fn both_ways(topology: &str, texts: &[&str]) {
    let specs: Vec<Spec> = texts.iter().map(|text| parse(text)).collect();
    let before = world();
    let mut host = Host::of(topology);
    let mut applied = Vec::new();
    for spec in &specs {
        host.apply(Some(spec));
        applied.push((host.observed(Some(spec)), picture(), host.record()));
    }
    host.apply(None);
    for (spec, (state, seen, record)) in specs.iter().zip(applied) {
        let (_, plan, script) = host.script(Some(spec));
        harness::run(&script);
        host.explained(Some(spec), &plan, record.as_deref());
        host.put(record.as_deref());
        harness::same_state(&state, &host.observed(Some(spec)));
        assert_same_world(&seen, &picture());
        host.nothing_left(Some(spec));
    }
    let (_, _, script) = host.script(None);
    harness::run(&script);
    assert_same_world(&without_places(&before), &without_places(&world()));
    host.finish();
    assert_same_world(&before, &world());
}

#[test]
fn every_example_is_made_by_its_script() {
    in_sandbox(|| {
        sh("mkdir -p /run/netform; ip netns add first; ip netns del first").ok();
        let mut specs: Vec<_> = fs::read_dir("specs")
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
            .collect();
        specs.sort();
        assert!(specs.len() > 10);
        for path in specs {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("a spec");
            // It takes its time, and is much of the same.
            let text = if name == "fan-out" {
                sh("python3 specs/fan-out.py 3").ok()
            } else {
                text
            };
            if name == "external" {
                sh("ip netns add app; ip -n app link set lo up").ok();
            }
            both_ways(&name, &[&text]);
            if name == "external" {
                sh("ip netns del app").ok();
            }
        }
    });
}

/// Words of the shell, patterns, options, comments and things that are hard to see.
const NAMES: [&str; 10] = [
    "-n",
    "a'b",
    "$(id>&2)",
    "`id`;id",
    "\"q\"",
    "*?[a]",
    "#no\\n",
    "~\u{202e}☃é",
    "&&|<>!{}",
    "42",
];

#[test]
fn names_are_only_names() {
    let mut text = "version: 1\nname: lab\nnamespaces:\n".to_owned();
    let mut veths = "veths:\n".to_owned();
    for (n, name) in NAMES.iter().enumerate() {
        let quoted = serde_json::to_string(name).expect("JSON is YAML");
        let _ = writeln!(
            text,
            "  {quoted}: {{ dns: {{ nameservers: [192.0.2.{n}] }}, sysctls: {{ net.ipv4.ip_default_ttl: 7{n} }}, \
             rules: [{{ priority: 7, iif: \"-{n}.$x'*\", table: 7 }}], routes: [{{ to: 10.9.{n}.0/24, table: 7, type: blackhole }}] }}"
        );
        let _ = write!(
            veths,
            "  - ends:\n      - {{ namespace: {quoted}, name: \"-{n}.$x'*\", addresses: [10.8.{n}.1/24] }}\n      \
             - {{ namespace: host, name: \"`{n}`;&#\\\\\", addresses: [10.8.{n}.2/24, \"fd08:{n}::2/64\"], up: true }}\n"
        );
    }
    let text =
        text + "  host: { sysctls: { \"net/ipv4/conf/`0`;&#\\\\/rp_filter\": 0 } }\n" + &veths;
    alike("true", "lab", &[&text]);
    in_sandbox(|| {
        fs::write(SPEC, &text).expect("written");
        sh(&format!(
            "{} plan -f {SPEC} -o shell >/run/script; sh /run/script",
            env!("CARGO_BIN_EXE_netform")
        ))
        .ok();
        assert_eq!(
            sh("ls /run/netns | wc -l").ok().trim(),
            NAMES.len().to_string()
        );
    });
}

/// A container at a path that no tool gave it, with a rule of the firewall of its own.
const POD: &str = "
    mkdir -p '/run/pods of $x'; touch '/run/pods of $x/it'\"'\"'s'
    unshare --net=\"/run/pods of \\$x/it's\" ip link set lo up";

#[test]
fn what_is_in_namespaces_of_others_is_done_there() {
    let text = "
version: 1
name: lab
namespaces:
  pod:
    external: { path: \"/run/pods of $x/it's\" }
    forwarding: true
    sysctls: { net.ipv4.ip_default_ttl: 99 }
    routes: [{ to: 10.90.0.0/16, via: 10.9.0.1 }]
    rules: [{ priority: 700, from: 10.9.0.0/24, table: 70 }]
  inner: { gateway: s }
subnets:
  s: { cidr: 10.10.0.0/24, gateway: 10.10.0.1, egress: { dev: eth0 } }
veths:
  - ends:
      - { namespace: host, name: to-pod, addresses: [10.9.0.1/24, \"fd09::1/64\"] }
      - { namespace: pod, name: eth0, addresses: [10.9.0.2/24, \"fd09::2/64\"] }
  - ends:
      - { namespace: pod, name: to-inner, addresses: [10.10.0.1/24] }
      - { namespace: inner, name: eth0, addresses: [10.10.0.2/24] }
";
    alike(POD, "lab", &[text]);
}

#[test]
fn rules_that_the_kernel_takes_for_each_other_are_told_apart() {
    let spec = |rules: &str| {
        format!(
            "version: 1\nname: lab\nnamespaces:\n  a: {{ rules: [{rules}] }}\n  host: {{ rules: [{rules}] }}\n"
        )
    };
    let narrow = "{ priority: 7, from: 10.1.0.0/16, table: 77 }, { priority: 7, to: 10.2.0.0/16, fwmark: 0x5/0xff, table: 77 }";
    let wide = "{ priority: 7, from: 0.0.0.0/0, table: 77 }";
    let other = "{ priority: 7, iif: lo, table: 77 }";
    let barred = "{ priority: 7, from: 10.1.0.0/16, action: blackhole }";
    let all = [
        spec(narrow),
        spec(&format!("{narrow}, {wide}")),
        spec(&format!("{other}, {narrow}, {wide}")),
        spec(&format!("{other}, {narrow}")),
        spec(&format!("{barred}, {other}")),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    alike(
        "ip rule add priority 7 to 10.1.0.0/16 lookup 77",
        "lab",
        &all,
    );
}

#[test]
fn a_table_of_the_same_rules_keeps_its_counters() {
    let spec = |also: &str| {
        format!(
            "version: 1\nname: lab\nnamespaces: {{ a: {{ gateway: s }} }}\n\
             subnets: {{ s: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {{}} }} }}\n\
             veths:\n  - ends:\n      - {{ namespace: host, name: to-a, addresses: [10.7.0.1] }}\n      \
             - {{ namespace: a, name: eth0, addresses: [10.7.0.2{also}] }}\n"
        )
    };
    alike("true", "lab", &[&spec(""), &spec(", 10.7.0.3"), &spec("")]);
    in_sandbox(|| {
        let script = |text: &str| {
            fs::write(SPEC, text).expect("written");
            netform(&["plan", "-f", SPEC, "-o", "shell"]).ok()
        };
        harness::run(&script(&spec("")));
        sh("ip netns exec a ping -c1 -W1 198.51.100.10").ok();
        sh("ip -n a address add 10.7.0.9/24 dev eth0; ! ip netns exec a ping -I 10.7.0.9 -c1 -W1 198.51.100.10").ok();
        let count = || sh("nft list chain inet netform-lab source | grep 'no member'").ok();
        let counted = count();
        assert!(counted.contains("packets 1"), "{counted}");
        let further = script(&spec(", 10.7.0.3"));
        assert!(
            further.contains("add element inet netform-lab"),
            "{further}"
        );
        harness::run(&further);
        assert_eq!(count(), counted);
    });
}

/// What Docker leaves behind, as far as it matters.
const DOCKER: &str = "
    for t in iptables-nft ip6tables-nft; do
        $t -N DOCKER-USER
        $t -A FORWARD -j DOCKER-USER
        $t -A DOCKER-USER -i docker0 -j RETURN
        $t -P FORWARD DROP
    done";

#[test]
fn rules_in_chains_of_others_come_and_go() {
    let text = fs::read_to_string("specs/breezyfrost-dual.yaml").expect("a spec");
    alike(DOCKER, "breezyfrost-dual", &[&text]);
    in_sandbox(|| {
        sh(DOCKER).ok();
        let before = sh("iptables-nft -S; ip6tables-nft -S").ok();
        let script = || netform(&["plan", "-f", "specs/breezyfrost-dual.yaml", "-o", "shell"]).ok();
        harness::run(&script());
        assert_eq!(
            sh("iptables-nft -S DOCKER-USER")
                .ok()
                .matches("netform:breezyfrost-dual")
                .count(),
            2
        );
        sh("ip netns exec breezyfrost ping -c1 -W5 198.51.100.10").ok();
        // As after a restart of a firewall that saves and restores; and one that has come before it.
        sh("iptables-nft-save | sed 's/ -c [0-9]* [0-9]*//' >/run/saved; iptables-nft-restore </run/saved").ok();
        sh("iptables-nft -I DOCKER-USER -o ens33 -j DROP").ok();
        harness::run(&script());
        sh("ip netns exec breezyfrost ping -c1 -W5 198.51.100.10").ok();
        sh("iptables-nft -D DOCKER-USER -o ens33 -j DROP").ok();
        let mut host = Host::of("breezyfrost-dual");
        let (_, _, script) = host.script(None);
        harness::run(&script);
        assert_eq!(sh("iptables-nft -S; ip6tables-nft -S").ok(), before);
    });
}

#[test]
fn what_was_left_half_made_is_finished() {
    let text = fs::read_to_string("specs/bridge.yaml").expect("a spec");
    in_sandbox(|| {
        fs::write(SPEC, &text).expect("written");
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let whole = picture();
        let record = fs::read_to_string("/run/netform/bridge.json").expect("a record");
        // Links without their tags, and a name without a namespace.
        let name = sh("ls /run/netns | head -1").ok();
        let name = name.trim();
        sh(&format!(
            "ip -n {name} link set dev $(ip -n {name} -o link | sed -n 's/^[0-9]*: \\([^@: ]*\\)@.*/\\1/p' | head -1) alias ''
            ip netns del $(ls /run/netns | tail -1); touch /run/netns/gone"
        ))
        .ok();
        let mut host = Host::of("bridge");
        let spec = parse(&text);
        let (_, plan, _) = host.script(Some(&spec));
        let missing = plan.operations.iter().find_map(|operation| {
            (operation.id.key == netform::resource::Key::Namespace)
                .then(|| operation.id.ns.to_string())
        });
        let missing = missing.expect("a namespace is made again");
        sh(&format!("rm /run/netns/gone; touch /run/netns/{missing}")).ok();
        let (_, _, script) = host.script(Some(&spec));
        harness::run(&script);
        assert_same_world(&whole, &picture());
        host.put(Some(&record));
        host.nothing_left(Some(&spec));
    });
}

/// All of it made by hand, with what a spec doesn't say: words, a metric, a flag, a broadcast address.
const BY_HAND: &str = "
    ip netns add pod; ip -n pod link set lo up alias 'of Ann'
    mkdir -p /etc/netns/pod; echo nameserver 198.51.100.53 >/etc/netns/pod/resolv.conf
    ip link add lab0 address 02:00:00:00:09:01 type veth peer name eth0 address 02:00:00:00:09:02 netns pod
    ip link set lab0 alias 'of the night shift' group 7
    ip -n pod link set eth0 alias 'netform:other of Bob' mtu 1400
    ip address add 10.9.0.1/24 dev lab0 metric 5; ip -6 address add fd09::1/64 dev lab0 nodad
    ip -n pod address add 10.9.0.2/24 brd 10.9.0.255 dev eth0
    ip -n pod -6 address add fd09::2/64 dev eth0 nodad home
    ip link set lab0 up; ip -n pod link set eth0 up
    ip -n pod route add default via 10.9.0.1 advmss 1300
    ip -n pod -6 route add fd91::/64 via fd09::1 proto static
    ip -n pod -6 route add blackhole fd92::/64
    ip address add 192.168.95.77/24 dev ens33
    ip route add 10.90.0.0/16 via 10.9.0.2 proto static
    ip route add 10.91.0.0/16 via 10.9.0.3 table 71
    ip rule add priority 700 from 10.9.0.0/24 table 70
    ip rule add priority 701 to 10.9.0.0/24 table 70 protocol static
    ip link add br9 address 02:00:00:00:09:09 type bridge; ip link set br9 up
    ip link add p9 address 02:00:00:00:09:08 type veth peer name p8 address 02:00:00:00:09:07; ip link set p9 master br9";

const ADOPTED: &str = "\
version: 1
name: lab
namespaces:
  pod:
    dns: { nameservers: [198.51.100.53], search: [example.test] }
    routes: [{ to: default, via: 10.9.0.1 }, { to: \"fd91::/64\", via: \"fd09::1\" }, { to: \"fd92::/64\", type: blackhole }]
  host:
    links:
      ens33: { addresses: [192.168.95.77/24] }
      br9: { bridge: {}, mac: 02:00:00:00:09:09 }
      p9: { bridge: br9 }
    routes: [{ to: 10.90.0.0/16, via: 10.9.0.2 }, { to: 10.91.0.0/16, via: 10.9.0.2, table: 71 }]
    rules: [{ priority: 700, from: 10.9.0.0/24, table: 71 }, { priority: 701, to: 10.9.0.0/24, table: 70 }]
veths:
  - ends:
      - { namespace: pod, name: eth0, mac: 02:00:00:00:09:02, addresses: [10.9.0.2/24, fd09::2/64] }
      - { namespace: host, name: lab0, mac: 02:00:00:00:09:01, addresses: [10.9.0.1/24, fd09::1/64] }
";

#[test]
fn what_others_made_is_taken_over_as_apply_does() {
    in_sandbox(|| {
        sh("mkdir -p /run/netform; ip netns add first; ip netns del first").ok();
        let before = world();
        sh(BY_HAND).ok();
        fs::write(SPEC, ADOPTED).expect("written");
        netform(&["apply", "-f", SPEC, "--adopt", "--yes"]).ok();
        let applied = picture();
        let record = fs::read_to_string("/run/netform/lab.json").expect("a record");
        netform(&["destroy", "lab", "--yes"]).ok();
        sh("ip link del p9; rm -r /etc/netns/*").ok();
        fs::remove_file(SPEC).expect("removed");
        assert_same_world(&without_places(&before), &without_places(&world()));
        sh(BY_HAND).ok();
        fs::write(SPEC, ADOPTED).expect("written");
        let script = netform(&["plan", "-f", SPEC, "--adopt", "-o", "shell"]).ok();
        harness::run(&script);
        assert_same_world(&applied, &picture());
        fs::create_dir_all("/run/netform").expect("a directory");
        fs::write("/run/netform/lab.json", record).expect("written");
        netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
    });
}

#[test]
fn a_script_comes_whole_or_does_nothing() {
    in_sandbox(|| {
        let before = world();
        let script = netform(&["plan", "-f", "specs/edge.yaml", "-o", "shell"]).ok();
        for part in [script.len() / 3, script.len() / 2, script.len() - 20] {
            let mut part = part;
            while !script.is_char_boundary(part) {
                part -= 1;
            }
            fs::write("/run/script", &script[..part]).expect("written");
            let output = sh("sh /run/script");
            assert_eq!(output.status, 2, "{}", output.stderr);
            fs::remove_file("/run/script").expect("removed");
            assert_same_world(&before, &world());
        }
        // Who isn't root, or lacks a program, is told before anything is done.
        fs::write("/run/script", &script).expect("written");
        let output = sh("PATH=/run/nowhere; /bin/sh /run/script");
        assert_eq!(output.status, 1, "{}", output.stderr);
        fs::remove_file("/run/script").expect("removed");
        assert_same_world(&before, &world());
    });
}

#[test]
fn several_topologies_are_one_script() {
    in_sandbox(|| {
        sh("mkdir -p /run/netform /run/specs; ip netns add first; ip netns del first").ok();
        sh("cp specs/tenant-blue.yaml specs/tenant-red.yaml specs/pair.yaml /run/specs").ok();
        let plan = |more: &[&str]| {
            let arguments = ["plan", "-f", "/run/specs", "-o", "shell"];
            netform(&arguments.iter().chain(more).copied().collect::<Vec<_>>())
        };
        let script = plan(&[]).ok();
        assert_eq!(script.matches("#!/bin/sh").count(), 1);
        assert_eq!(script.matches("\n# Topology ").count(), 3);
        harness::run(&script);
        let names = sh("ip netns list | wc -l").ok();
        assert!(
            names.trim().parse::<u32>().expect("a number") >= 4,
            "{names}"
        );
        let refused = || {
            let renamed = plan(&["--adopt-from", "pair"]);
            let said = (renamed.status, renamed.stdout.as_str());
            assert_eq!(said, (64, ""), "{}", renamed.stderr);
            renamed.stderr
        };
        sh("rm /run/specs/pair.yaml").ok();
        refused();
        sh("cp specs/tenant-blue.yaml /run/specs/one.yaml; rm /run/specs/tenant*").ok();
        let said = refused();
        assert!(said.contains("can't rename topology pair"), "{said}");
    });
}
