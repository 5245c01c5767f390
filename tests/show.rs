//! What `show` tells of topologies besides what they own: whether they are as their specs say, and what goes by.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use common::{in_sandbox, netform, sh};
use netform::kernel::namespace;
use serde_json::Value;

const SPECS: &str = "/run/specs";

fn lab(name: &str, ns: &str, net: u8) -> String {
    format!(
        "version: 1
name: {name}
namespaces: {{ {ns}: {{}} }}
subnets: {{ lan: {{ cidr: 10.{net}.0.0/24, gateway: 10.{net}.0.1, egress: {{}} }} }}
veths:
  - ends:
      - {{ namespace: {ns}, name: eth0, addresses: [10.{net}.0.2] }}
      - {{ namespace: host, name: to-{ns}, addresses: [10.{net}.0.1] }}
"
    )
}

fn write(name: &str, ns: &str, net: u8) -> String {
    fs::create_dir_all(SPECS).expect("a directory");
    let path = format!("{SPECS}/{name}.yaml");
    fs::write(&path, lab(name, ns, net)).expect("write");
    path
}

/// What stands at the end of the line of a topology.
#[track_caller]
fn of(name: &str, list: &str) -> String {
    let line = list.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} isn't in {list}"));
    let words: Vec<&str> = line.split_whitespace().skip(9).collect();
    words.join(" ")
}

#[test]
fn it_is_told_whether_each_topology_is_as_its_spec_says() {
    in_sandbox(|| {
        let paths = [
            write("same", "a", 11),
            write("drifted", "b", 12),
            write("blocked", "c", 13),
            write("gone", "d", 14),
        ];
        for path in &paths {
            netform(&["apply", "-f", path]).ok();
        }
        fs::remove_file(&paths[3]).expect("removed");
        write("new", "e", 15);
        sh(
            "ip -n b address del 10.12.0.2/24 dev eth0; ip -n b address add 10.12.0.9/24 dev eth0
            netform=1; ip link set to-b mtu 1400
            ip -n c address del 10.13.0.2/24 dev eth0
            ip -n c address add 10.13.0.2/24 dev eth0",
        )
        .ok();
        let list = netform(&["show", "-f", SPECS]).ok();
        assert_eq!(of("same", &list), "in sync");
        let pending = netform(&["plan", "-f", &paths[1], "-o", "json"]).ok();
        let pending: Value = serde_json::from_str(&pending).expect("JSON");
        let operations = pending["plans"][0]["operations"]
            .as_array()
            .expect("a list");
        let changes = format!("drifted: {} changes", operations.len());
        assert_eq!(of("drifted", &list), changes);
        assert_eq!(of("blocked", &list), "blocked: 1 in the way");
        assert_eq!(of("gone", &list), "no spec");
        assert_eq!(of("new", &list), "not applied");
        // As data, and of one alone.
        let all = netform(&["show", "-f", SPECS, "-o", "json"]).ok();
        let all: Value = serde_json::from_str(&all).expect("JSON");
        let states = all["topologies"].as_array().expect("a list").iter();
        let states: Vec<&str> = states
            .filter_map(|one| one["sync"]["state"].as_str())
            .collect();
        let expected = ["blocked", "drifted", "no_spec", "not_applied", "in_sync"];
        assert_eq!(states, expected);
        let one = netform(&["show", "drifted", "-f", &paths[1]]).ok();
        assert!(one.starts_with(&format!("drifted  {changes}\n")), "{one}");
        // Without specs nobody asks.
        assert_eq!(of("same", &netform(&["show"]).ok()), "");
        // A spec that isn't valid is told of.
        fs::write(&paths[0], "version: 1\nname: same\nnamespces: {}\n").expect("write");
        let wrong = netform(&["show", "-f", SPECS]);
        assert_eq!((wrong.status, wrong.stdout.as_str()), (1, ""));
        assert!(wrong.stderr.contains("namespces"), "{}", wrong.stderr);
    });
}

#[test]
fn what_is_stopped_and_what_goes_through_is_counted() {
    in_sandbox(|| {
        let path = write("lab", "a", 11);
        let published = lab("lab", "a", 11) + "publish: [{ port: 8080, to: \"10.11.0.2:80\" }]\n";
        fs::write(&path, published).expect("write");
        netform(&["apply", "-f", &path]).ok();
        let quiet = netform(&["show", "lab"]).ok();
        assert!(
            quiet.contains("\n     0 connections of its members now\n")
                && !quiet.contains("stopped"),
            "{quiet}"
        );
        // Three pings with a source that is nobody's, and one that leaves.
        sh("ip -n a address add 10.99.0.1/32 dev eth0
            ip netns exec a ping -n -c3 -i0.2 -W1 -I 10.99.0.1 198.51.100.10 >&2 || true
            ip netns exec a ping -n -c1 -W5 198.51.100.10 >&2")
        .ok();
        let told = netform(&["show", "lab"]).ok();
        for line in [
            "     1 connection of its members now: 1 with a rewritten source",
            "     stopped 3 packets (252 bytes) in chain source: no member's address",
        ] {
            assert!(told.lines().any(|found| found == line), "{line}: {told}");
        }
        // A connection to what is published.
        let a = namespace::open(&"a".parse().expect("a name")).expect("opened");
        let listen = || Ok(TcpListener::bind("10.11.0.2:80").expect("it listens"));
        let _listener = namespace::inside(a.expect("it is there").as_fd(), listen);
        let _led = TcpStream::connect("10.11.0.1:8080").expect("it leads there");
        let all = netform(&["show", "-o", "json"]).ok();
        let all: Value = serde_json::from_str(&all).expect("JSON");
        let passing = &all["topologies"][0]["traffic"][0];
        assert_eq!(passing["namespace"], "host");
        let connections = &passing["connections"];
        assert_eq!(connections["all"], 2, "{connections}");
        assert_eq!(connections["source_rewritten"], 1);
        assert_eq!(connections["destination_rewritten"], 1);
        let counters = passing["counters"].as_array().expect("a list");
        let stopped = counters.iter().find(|one| one["packets"] == 3);
        let stopped = stopped.unwrap_or_else(|| panic!("{passing}"));
        assert_eq!(stopped["rule"], "no member's address");
        assert_eq!(stopped["bytes"], 252);
        // What others have of connections doesn't count.
        let listener = TcpListener::bind("127.0.0.1:0").expect("it listens");
        let local = listener.local_addr().expect("it has an address");
        let _held = TcpStream::connect(local).expect("connects");
        let told = netform(&["show", "lab"]).ok();
        let line = "\n     2 connections of its members now: 1 with a rewritten source, 1 with a rewritten destination\n";
        assert!(told.contains(line), "{told}");
    });
}

/// A `show --watch` on its way.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_changes_is_printed_as_it_does() {
    in_sandbox(|| {
        let path = write("lab", "a", 11);
        netform(&["apply", "-f", &path]).ok();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
        let command = command.args(["show", "-f", SPECS, "--watch=1"]);
        let mut watch = Watch(command.stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut lines = BufReader::new(watch.0.stdout.take().expect("a pipe"));
        let mut next = || {
            let mut text = String::new();
            for _ in 0..2 {
                lines.read_line(&mut text).expect("a line");
            }
            of("lab", &text)
        };
        assert_eq!(next(), "in sync");
        sh("ip link set to-a mtu 1400").ok();
        assert_eq!(next(), "drifted: 1 change");
        // Nothing is printed again that is as it was.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        sh("ip link set to-a mtu 1500").ok();
        assert_eq!(next(), "in sync");
        // It ends as soon as nobody reads any more, or with a signal.
        watch.0.kill().expect("it ends");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "");
        for wrong in ["--watch=0", "--watch=x", "--watch=1.5"] {
            assert_eq!(netform(&["show", wrong]).status, 64);
        }
    });
}

#[test]
fn a_namespace_that_is_deleted_meanwhile_does_not_live_on() {
    in_sandbox(|| {
        let path = write("lab", "a", 11);
        netform(&["apply", "-f", &path]).ok();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
        let command = command.args(["show", "lab", "--watch=3600"]);
        let mut watch = Watch(command.stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut lines = BufReader::new(watch.0.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        // The kernel takes a moment, and the reader a moment to come to its rest.
        sh("ip netns del a; for _ in $(seq 200); do [ -e /sys/class/net/to-a ] || exit 0; sleep 0.02; done; exit 1").ok();
    });
}
