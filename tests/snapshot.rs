//! Hosts in a file: `show --snapshot`, and `plan --from` it.

mod common;

use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};

use common::{Output, in_sandbox, netform, sh};
use fastrand::Rng;
use serde_json::Value;

const SPEC: &str = "/run/spec.yaml";
const SNAPSHOT: &str = "/run/host.json";

const LAB: &str = "version: 1
name: lab
namespaces: { a: {} }
subnets: { lan: { cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {} } }
veths:
  - ends:
      - { namespace: a, name: eth0, addresses: [10.7.0.2] }
      - { namespace: host, name: to-a, addresses: [10.7.0.1] }
";

fn write(text: &str) {
    fs::write(SPEC, text).expect("write");
}

/// Takes a snapshot, and gives its text.
#[track_caller]
fn take() -> String {
    let text = netform(&["show", "--snapshot"]).ok();
    fs::write(SNAPSHOT, &text).expect("write");
    text
}

/// What is planned here and from the snapshot, in some format: the two must be the same.
#[track_caller]
fn both(arguments: &[&str]) -> Output {
    let here = netform(arguments);
    let there = netform(&[arguments, &["--from", SNAPSHOT]].concat());
    assert_eq!(
        (here.status, &here.stdout, &here.stderr),
        (there.status, &there.stdout, &there.stderr),
        "{arguments:?}"
    );
    here
}

/// The same for the spec, in each format.
#[track_caller]
fn planned_alike(more: &[&str]) -> String {
    let mut text = String::new();
    for format in ["json", "shell", "text"] {
        let plan = ["plan", "-f", SPEC, "--full", "-v", "-o", format];
        text = both(&[&plan, more].concat()).stdout;
    }
    text
}

#[test]
fn each_example_is_planned_from_a_snapshot_as_on_the_host() {
    for entry in fs::read_dir("specs").expect("there are examples") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let path = path.display();
        in_sandbox(|| {
            sh("ip netns add box; ip netns exec box ip link set lo up").ok();
            fs::copy(path.to_string(), SPEC).expect("copied");
            take();
            planned_alike(&[]);
            if netform(&["apply", "-f", SPEC, "--yes"]).status == 0 {
                take();
                let text = planned_alike(&[]);
                assert!(text.starts_with("No changes."), "{path}: {text}");
                // Of another topology everything is in the way.
                let other = fs::read_to_string(SPEC).expect("text");
                let named = |line: &&str| line.starts_with("name: ");
                let name = other.lines().find(named).expect("it has a name");
                write(&other.replacen(name, "name: other", 1));
                assert_ne!(both(&["plan", "-f", SPEC]).status, 0);
            }
        });
    }
}

#[test]
fn what_others_have_on_the_host_counts() {
    in_sandbox(|| {
        // A firewall, another topology's port, and a program's.
        sh("nft add table inet theirs
            nft add chain inet theirs f '{ type filter hook forward priority 0; policy drop; }'
            nft add rule inet theirs f iifname \"to-a\" oifname \"ens33\" tcp dport 80 accept
            ip netns add box; ip -n box link set lo up")
        .ok();
        let other = LAB.replace("lab", "other").replace("10.7.", "10.8.");
        let other = other
            .replace(" a:", " b:")
            .replace("namespace: a", "namespace: b");
        let other = other.replace("to-a", "to-b");
        write(&(other + "publish: [{ port: 8080, to: \"10.8.0.2:80\" }]\n"));
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let listener = TcpListener::bind("0.0.0.0:9090").expect("it listens");
        let lab = format!(
            "{LAB}publish: [{{ port: 9090, to: \"10.7.0.2:80\" }}, {{ port: 8080, to: \"10.7.0.2:81\" }}]\n"
        );
        write(&lab);
        take();
        let refused = both(&["plan", "-f", SPEC]).stderr;
        assert!(refused.contains("8080"), "{refused}");
        write(&lab.replace("8080", "8081"));
        let text = planned_alike(&[]);
        for told in ["9090", "inet theirs"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        drop(listener);
        assert!(!netform(&["plan", "-f", SPEC]).ok().contains("listens"));

        // What stands in the way, and is taken over from where it was seen.
        write(LAB);
        sh("ip netns add a; mkdir -p /etc/netns/a; echo 127.0.0.1 theirs >/etc/netns/a/hosts").ok();
        take();
        let refused = netform(&["plan", "-f", SPEC, "--from", SNAPSHOT]);
        assert_eq!(refused.status, 1);
        for told in ["namespace a exists", "on the host itself", "--adopt"] {
            assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
        }
        let text = planned_alike(&["--adopt"]);
        assert!(text.contains("adopt"), "{text}");
    });
}

#[test]
fn what_topologies_have_and_have_lost_counts() {
    in_sandbox(|| {
        fs::create_dir("/run/specs").expect("a directory");
        write(LAB);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        // A process inside whose command has a secret in it.
        let mut inmate = Inmate::of("a");
        let text = take();
        assert!(!text.contains(Inmate::SECRET), "{text}");
        fs::write(
            "/run/specs/other.yaml",
            "version: 1\nname: other\nnamespaces: { z: {} }\n",
        )
        .expect("write");
        let plan = ["plan", "-f", "/run/specs", "--prune", "-o", "json"];
        let here = netform(&plan).ok();
        let there = netform(&[&plan[..], &["--from", SNAPSHOT]].concat()).ok();
        let command = format!("{} 600", Inmate::SECRET);
        assert!(here.contains(&command), "{here}");
        // Of what it runs only the name is in it.
        assert_eq!(there, here.replace(&command, "sleep"));
        inmate.0.kill().expect("it ends");

        sh("rm /run/netform/lab.json").ok();
        take();
        let text = planned_alike(&[]);
        assert!(text.contains("record"), "{text}");
    });
}

/// A process in a namespace.
struct Inmate(Child);

impl Inmate {
    const SECRET: &str = "correct-horse";

    fn of(ns: &str) -> Inmate {
        let script = format!("exec -a {} sleep 600", Inmate::SECRET);
        let mut command = Command::new("ip");
        let child = command.args(["netns", "exec", ns, "bash", "-c", &script]);
        let child = Inmate(child.spawn().expect("it starts"));
        sh(&format!(
            "for i in $(seq 100); do grep -q horse /proc/{}/cmdline && exit; sleep 0.05; done; exit 1",
            child.0.id()
        ))
        .ok();
        child
    }
}

impl Drop for Inmate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_external_namespace_is_known_by_its_name_and_where_a_topology_found_it() {
    in_sandbox(|| {
        let mut process = Command::new("unshare");
        let mut process = process
            .args(["-n", "sleep", "600"])
            .spawn()
            .expect("it starts");
        let path = format!("/proc/{}/ns/net", process.id());
        sh(&format!(
            "for i in $(seq 100); do
                [ $(readlink {path}) = $(readlink /proc/self/ns/net) ] || exit 0; sleep 0.05
            done; exit 1"
        ))
        .ok();
        sh("ip netns add box").ok();
        let spec = |paths: [&str; 2]| {
            let [one, other] = paths;
            format!(
                "version: 1
name: lab
namespaces:
  one: {{ external: {{ path: {one} }} }}
  other: {{ external: {{ path: {other} }} }}
veths:
  - ends:
      - {{ namespace: one, name: v0, addresses: [10.9.0.1/30] }}
      - {{ namespace: other, name: v1, addresses: [10.9.0.2/30] }}
"
            )
        };
        write(&spec([&path, "/run/netns/box"]));
        take();
        let refused = netform(&["plan", "-f", SPEC, "--from", SNAPSHOT]);
        assert_eq!(refused.status, 1);
        for word in [path.as_str(), "isn't in the snapshot", "apply"] {
            assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
        }
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        take();
        let text = planned_alike(&[]);
        assert!(text.starts_with("No changes."), "{text}");
        write(&spec([&path, "/var/run/netns/box"]).replace(".2/30", ".2/29"));
        planned_alike(&[]);
        write(&spec(["/run/netns/box", "/run/netns/box"]));
        let refused = both(&["plan", "-f", SPEC]);
        assert!(
            refused.stderr.contains("the same one"),
            "{}",
            refused.stderr
        );
        process.kill().expect("it ends");
        process.wait().expect("it ended");
    });
}

#[test]
fn a_snapshot_is_the_same_as_long_as_the_host_is_and_has_no_secrets() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("ip netns exec a sh -c 'cd /proc/sys/net
            echo 0123:4567:89ab:cdef:0123:4567:89ab:cdef >ipv6/conf/eth0/stable_secret
            echo 11223344-55667788-99aabbcc-ddeeff00 >ipv4/tcp_fastopen_key
            echo 30 >ipv4/tcp_fin_timeout'")
        .ok();
        let text = take();
        assert_eq!(text, take());
        for secret in ["89ab", "99aabbcc", "/etc/machine-id"] {
            assert!(!text.contains(secret), "{secret}");
        }
        if let Ok(machine) = fs::read_to_string("/etc/machine-id") {
            assert!(machine.trim().is_empty() || !text.contains(machine.trim()));
        }
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let others = &value["snapshot"]["others"];
        let settings = &others[0]["settings"];
        assert_eq!(settings["net/ipv4/tcp_fin_timeout"], "30", "{settings}");
        // What is as in every new namespace isn't told again.
        assert!(
            settings.as_object().expect("they are named").len() < 20,
            "{settings}"
        );
    });
}

#[test]
fn planning_from_a_snapshot_needs_no_privilege_and_no_host() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        write(&LAB.replace("10.7.0.2", "10.7.0.3"));
        take();
        let here = netform(&["plan", "-f", SPEC]).ok();
        let elsewhere = format!(
            "setpriv --bounding-set -all --inh-caps -all unshare -U \
             setpriv --bounding-set -all --inh-caps -all {} plan -f {SPEC} --from {SNAPSHOT}",
            env!("CARGO_BIN_EXE_netform")
        );
        // Also where there is nothing of it.
        sh("netform=1; rm -rf /run/netform; ip link del to-a; ip netns del a").ok();
        assert_eq!(sh(&elsewhere).ok(), here);
    });
}

#[test]
fn a_file_that_is_no_snapshot_is_refused() {
    in_sandbox(|| {
        write(LAB);
        let whole = take();
        let refused = |text: &str, words: &[&str]| {
            fs::write(SNAPSHOT, text).expect("write");
            let output = netform(&["plan", "-f", SPEC, "--from", SNAPSHOT]);
            assert_eq!((output.status, output.stdout.as_str()), (1, ""));
            for word in words.iter().chain(&["netform show --snapshot", SNAPSHOT]) {
                assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
            }
        };
        let mut random = Rng::with_seed(7);
        for _ in 0..20 {
            let end = random.usize(30..whole.len() - 2);
            refused(&whole[..end], &["cut short"]);
        }
        let edited = whole.replacen("\"mtu\": 1500", "\"mtu\": 1400", 1);
        refused(&edited, &["changed after"]);
        let later = whole.replacen("\"format_version\": 1", "\"format_version\": 2", 1);
        refused(&later, &["format 2", "format 1"]);
        netform(&["plan", "-f", SPEC, "--out", "/run/plan"]).ok();
        let plan = fs::read_to_string("/run/plan").expect("it was saved");
        refused(&plan, &["no snapshot"]);

        fs::write(SNAPSHOT, &whole).expect("write");
        let usage = |arguments: &[&str], word: &str| {
            let output = netform(&[&["plan", "-f", SPEC, "--from"], arguments].concat());
            assert_eq!(output.status, 64, "{}", output.stderr);
            assert!(output.stderr.contains(word), "{}", output.stderr);
        };
        usage(&[SNAPSHOT, "--from", SPEC], "takes one");
        usage(&[SPEC, "--adopt"], "snapshot of the host");
    });
}

/// A text that was changed on purpose must not do harm either.
#[test]
fn what_a_stranger_wrote_does_no_harm() {
    in_sandbox(|| {
        sh(
            "ip netns add foreign; ip link add f0 type veth peer name f1 netns foreign
            nft add table inet theirs
            nft add chain inet theirs f '{ type filter hook forward priority 0; policy drop; }'
            nft add rule inet theirs f ip saddr 10.0.0.0/8 tcp dport 22 counter accept",
        )
        .ok();
        write(LAB);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let text = take();
        let seed = std::env::var("NETFORM_SEED").map_or_else(
            |_| fastrand::u64(..),
            |text| text.parse().expect("a number"),
        );
        let mutations =
            std::env::var("NETFORM_MUTATIONS").map_or(300, |text| text.parse().expect("a number"));
        let mut random = Rng::with_seed(seed);
        let sealed: Value = serde_json::from_str(&text).expect("JSON");
        for mutation in 0..mutations {
            let mut held = sealed["snapshot"].clone();
            for _ in 0..random.usize(1..4) {
                mutate(&mut held, &mut random);
            }
            let read = || netform::fuzz::snapshot(held.to_string().as_bytes());
            let read = catch_unwind(AssertUnwindSafe(read));
            assert!(read.is_ok(), "NETFORM_SEED={seed}, mutation {mutation}");
        }
    });
}

/// Changes something somewhere in a value.
fn mutate(value: &mut Value, random: &mut Rng) {
    match value {
        Value::Array(all) if !all.is_empty() && random.u8(..8) > 0 => {
            let place = random.usize(..all.len());
            match random.u8(..10) {
                0 => drop(all.remove(place)),
                1 => all.push(all[place].clone()),
                2 => all.swap(0, place),
                _ => mutate(&mut all[place], random),
            }
        }
        Value::Object(all) if !all.is_empty() && random.u8(..8) > 0 => {
            let names: Vec<String> = all.keys().cloned().collect();
            let name = &names[random.usize(..names.len())];
            // Most of it are settings, and of no interest.
            let name = if name.starts_with("net/") || name == "usual" {
                &names[random.usize(..names.len())]
            } else {
                name
            };
            match random.u8(..20) {
                0 => drop(all.remove(name)),
                _ => mutate(all.get_mut(name).expect("it is there"), random),
            }
        }
        other => {
            let numbers = [
                0,
                1,
                2,
                31,
                33,
                128,
                129,
                255,
                256,
                65_535,
                u64::from(u32::MAX),
            ];
            let texts = [
                "",
                "lo",
                "a",
                "host",
                "\u{1b}[2J",
                "x\ny",
                "0.0.0.0/0",
                "::/0",
                "10.7.0.1",
                "netform:lab",
                "-1",
                "main",
            ];
            *other = match random.u8(..6) {
                0 => Value::Null,
                1 => Value::Bool(random.bool()),
                2 | 3 => numbers[random.usize(..numbers.len())].into(),
                _ => texts[random.usize(..texts.len())].into(),
            };
        }
    }
}
