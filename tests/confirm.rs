//! What waits for a yes, and is taken back without one, whatever becomes of who began it.

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/lab.yaml";
const NETFORM: &str = env!("CARGO_BIN_EXE_netform");

fn lab(name: &str, third: u8, members: u8) -> String {
    let namespaces: Vec<String> = (2..2 + members)
        .map(|n| format!("{name}{n}: {{}}"))
        .collect();
    let veth = |n: u8| {
        format!(
            "  - ends:
      - {{ namespace: {name}{n}, name: eth0, addresses: [10.7.{third}.{n}] }}
      - {{ namespace: host, name: {name}-{n}, bridge: {name}-br }}
"
        )
    };
    let veths: Vec<String> = (2..2 + members).map(veth).collect();
    format!(
        "version: 1
name: {name}
namespaces: {{ host: {{ links: {{ {name}-br: {{ bridge: {{}}, addresses: [10.7.{third}.1] }} }} }}, {} }}
subnets: {{ lan: {{ cidr: 10.7.{third}.0/24, gateway: 10.7.{third}.1, egress: {{}} }} }}
veths:
{}",
        namespaces.join(", "),
        veths.concat()
    )
}

fn write(text: &str) {
    fs::write(SPEC, text).expect("write");
}

/// Begins something, and gives its process.
fn begin(arguments: &[&str]) -> Child {
    let mut command = Command::new(NETFORM);
    command.args(arguments).stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Its end.
fn end(child: Child) -> Output {
    let output = child.wait_with_output().expect("it ends");
    Output {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until something is so.
#[track_caller]
fn until(so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never comes");
        sleep(Duration::from_millis(10));
    }
}

fn exists(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Waits until an apply of a topology is done, and waits for its yes.
#[track_caller]
fn until_it_waits(topology: &str) {
    let says = |said: &Output| said.stderr.contains("still being applied");
    let socket = format!("/run/netform/confirm/{topology}");
    until(|| exists(&socket));
    // A question that is none, so that nothing changes.
    let ask = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{socket}\"); s.send(b\"look\\n\")"
    );
    until(|| !says(&sh(&format!("python3 -c '{ask}'"))));
    until(|| sh("flock -n /run/netform/lock true").status == 0);
}

/// Waits until who waited for a yes has taken everything back.
#[track_caller]
fn until_it_is_taken_back() {
    until(|| !exists("/run/netform/confirm"));
    until(|| sh("flock -n /run/netform/lock true").status == 0);
}

/// That the topology is as its spec says, and works: only links have other numbers.
#[track_caller]
fn is_as_before() {
    assert_eq!(
        netform(&["plan", "-f", SPEC]).ok(),
        "No changes. lab is as the spec says.\n"
    );
    sh("ip netns exec lab2 ping -c1 -W20 198.51.100.10").ok();
    assert!(!exists("/run/netns/new"));
}

/// A host on which something is applied already, so that the directories are there.
fn host() -> String {
    write(&lab("old", 9, 1));
    netform(&["apply", "-f", SPEC]).ok();
    write(&lab("lab", 7, 2));
    world()
}

#[test]
fn without_a_yes_all_is_as_before() {
    in_sandbox(|| {
        let before = host();
        let output = netform(&["apply", "-f", SPEC, "--confirm", "1s"]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        for words in [
            "`netform revert lab`, or wait 1 s",
            "`netform confirm lab` keeps it",
            "lab is taken back: nobody said yes within 1 s",
            "Everything that had been done is undone.",
        ] {
            assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
        }
        assert!(output.stdout.contains("Applied: "), "{}", output.stdout);
        assert_same_world(&before, &world());
        let late = netform(&["confirm"]);
        assert_eq!(late.status, 1, "{}", late.stderr);
        assert!(late.stderr.contains("nothing waits"), "{}", late.stderr);
        let late = netform(&["revert", "lab"]);
        assert!(late.stderr.contains("the time is over"), "{}", late.stderr);
    });
}

#[test]
fn with_a_yes_it_stays() {
    in_sandbox(|| {
        host();
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        let kept = "Topology lab stays as it was applied.\n";
        let said = netform(&["confirm"]);
        assert_eq!((said.status, said.stderr.as_str()), (0, kept));
        let output = end(apply);
        assert!(output.stderr.ends_with(kept), "{}", output.stderr);
        assert_eq!(output.status, 0);
        assert!(!exists("/run/netform/confirm"));
        assert_eq!(
            netform(&["plan", "-f", SPEC]).ok(),
            "No changes. lab is as the spec says.\n"
        );
        // There is nothing to say yes to.
        netform(&["apply", "-f", SPEC, "--confirm", "5m"]).ok();
    });
}

#[test]
fn what_is_said_to_be_taken_back_is() {
    in_sandbox(|| {
        host();
        netform(&["apply", "-f", SPEC]).ok();
        let spec = lab("lab", 7, 2)
            .replace("10.7.7.2", "10.7.7.9")
            .replace("lab3", "new");
        write(&spec);
        let apply = begin(&["apply", "-f", SPEC, "--yes", "--confirm", "5m"]);
        until_it_waits("lab");
        assert!(exists("/run/netns/new") && !exists("/run/netns/lab3"));
        let said = netform(&["revert", "lab"]);
        assert_eq!(said.status, 0, "{}", said.stderr);
        assert!(
            said.stderr
                .contains("Everything that had been done is undone."),
            "{}",
            said.stderr
        );
        let output = end(apply);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert!(
            output.stderr.contains("`netform revert` said so"),
            "{}",
            output.stderr
        );
        write(&lab("lab", 7, 2));
        is_as_before();
    });
}

#[test]
fn an_interrupt_takes_it_back() {
    in_sandbox(|| {
        let before = host();
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        sh(&format!("kill -INT {}", apply.id())).ok();
        let output = end(apply);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert!(output.stderr.contains("is undone"), "{}", output.stderr);
        assert_same_world(&before, &world());
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        sh(&format!(
            "kill -TERM $(pidof netform | tr ' ' '\\n' | grep -vx {})",
            apply.id()
        ))
        .ok();
        let output = end(apply);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert!(
            output.stderr.contains("stopped by SIGTERM"),
            "{}",
            output.stderr
        );
        assert_same_world(&before, &world());
    });
}

#[test]
fn who_began_it_may_die_while_it_waits() {
    in_sandbox(|| {
        let before = host();
        let mut apply = begin(&["apply", "-f", SPEC, "--confirm", "8s"]);
        until_it_waits("lab");
        apply.kill().expect("killed");
        apply.wait().expect("it ends");
        assert!(exists("/run/netns/lab2"));
        until_it_is_taken_back();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_terminal_that_goes_away_takes_nothing_with_it() {
    in_sandbox(|| {
        let before = host();
        let terminal = format!(
            "import os, pty
pid, fd = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    os.execv('{NETFORM}', ['netform', 'apply', '-f', '{SPEC}', '--confirm', '2s'])
seen = b''
while b' s left' not in seen:
    seen += os.read(fd, 4096)
os.close(fd)
"
        );
        fs::write("/run/terminal.py", terminal).expect("write");
        let ended = sh("python3 /run/terminal.py");
        fs::remove_file("/run/terminal.py").expect("removed");
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        assert!(exists("/run/netns/lab2"));
        until_it_is_taken_back();
        assert_same_world(&before, &world());
    });
}

#[test]
fn who_began_it_may_die_in_the_middle() {
    in_sandbox(|| {
        host();
        write(&lab("lab", 7, 200));
        let before = world();
        for pause in [0, 5, 20, 50] {
            let apply = Command::new(NETFORM)
                .args(["apply", "-f", SPEC, "--confirm", "5m"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let mut apply = apply.expect("it starts");
            until(|| exists("/run/netns/lab2"));
            sleep(Duration::from_millis(pause));
            apply.kill().expect("killed");
            apply.wait().expect("it ends");
            until_it_is_taken_back();
            assert_same_world(&before, &world());
        }
    });
}

#[test]
fn while_one_waits_another_may_change_its_own() {
    in_sandbox(|| {
        host();
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        for arguments in [
            &["apply", "-f", SPEC, "--yes"][..],
            &["destroy", "lab", "--yes"],
        ] {
            write(&lab("lab", 7, 1));
            let output = netform(arguments);
            assert_eq!(output.status, 1, "{}", output.stderr);
            assert!(
                output
                    .stderr
                    .contains("`netform confirm lab` keeps it, `netform revert lab` takes it back"),
                "{}",
                output.stderr
            );
        }
        write(&lab("two", 8, 1));
        let two = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("two");
        let which = netform(&["confirm"]);
        assert_eq!(which.status, 64, "{}", which.stderr);
        assert!(
            which
                .stderr
                .contains("`netform confirm lab`, `netform confirm two`"),
            "{}",
            which.stderr
        );
        netform(&["confirm", "two"]).ok();
        assert_eq!(end(two).status, 0);
        netform(&["revert"]).ok();
        assert_eq!(end(apply).status, 3);
        // What both had borrowed stays with the other.
        sh("ip netns exec two2 ping -c1 -W20 198.51.100.10").ok();
        assert_eq!(
            netform(&["plan", "-f", SPEC]).ok(),
            "No changes. two is as the spec says.\n"
        );
    });
}

#[test]
fn what_was_destroyed_comes_back_with_what_runs_in_it() {
    in_sandbox(|| {
        host();
        netform(&["apply", "-f", SPEC]).ok();
        let inside = sh("ip netns exec lab2 sleep 1000 >/dev/null 2>&1 & echo $!").ok();
        until(|| sh("ip netns pids lab2").ok() == inside);
        let output = netform(&["destroy", "lab", "--yes", "--confirm", "1s"]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert_eq!(sh("ip netns pids lab2").ok(), inside);
        is_as_before();
        sh(&format!("kill {inside}")).ok();
    });
}

#[test]
fn what_was_taken_over_or_renamed_is_as_before() {
    in_sandbox(|| {
        host();
        sh("ip netns add lab2; ip -n lab2 link set lo up; ip -n lab2 link add mine type bridge")
            .ok();
        let before = world();
        let output = netform(&["apply", "-f", SPEC, "--adopt", "--confirm", "1s"]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert_same_world(&before, &world());
        let spec = lab("old", 9, 1).replace("name: old", "name: new");
        write(&spec.replace("10.7.9.2", "10.7.9.3"));
        let output = netform(&[
            "apply",
            "-f",
            SPEC,
            "--adopt-from",
            "old",
            "--yes",
            "--confirm",
            "1s",
        ]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        write(&lab("old", 9, 1));
        assert_eq!(
            netform(&["plan", "-f", SPEC]).ok(),
            "No changes. old is as the spec says.\n"
        );
        assert!(!netform(&["show"]).ok().contains("new"));
    });
}

#[test]
fn when_nobody_can_take_it_back_any_more_that_is_said() {
    in_sandbox(|| {
        host();
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        let pids = sh("pidof netform").ok();
        let own = apply.id().to_string();
        let waiter = pids
            .split_whitespace()
            .find(|pid| **pid != own)
            .expect("it waits");
        sh(&format!("kill -9 {waiter}")).ok();
        let output = end(apply);
        assert_eq!(output.status, 4, "{}", output.stderr);
        assert!(
            output.stderr.contains("stays as it was applied"),
            "{}",
            output.stderr
        );
        let said = netform(&["confirm"]);
        assert!(said.stderr.contains("was killed"), "{}", said.stderr);
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}

#[test]
fn wrong_words_are_told() {
    in_sandbox(|| {
        host();
        for (arguments, word) in [
            (&["--confirm", "soon"][..], "soon"),
            (&["--confirm", "5m", "--no-rollback"], "no-rollback"),
            (&["--confirm", "5m", "--prune"], "prune"),
        ] {
            let arguments = [&["apply", "-f", SPEC], arguments].concat();
            let output = netform(&arguments);
            assert_eq!(output.status, 64, "{}", output.stderr);
            assert!(output.stderr.contains(word), "{}", output.stderr);
        }
        fs::create_dir("/run/net").expect("made");
        for name in ["one", "two"] {
            fs::write(format!("/run/net/{name}.yaml"), lab(name, 1, 1)).expect("write");
        }
        let output = netform(&["apply", "-f", "/run/net", "--confirm", "5m"]);
        assert_eq!(output.status, 64, "{}", output.stderr);
    });
}

#[test]
fn only_who_may_change_the_network_may_say_yes() {
    in_sandbox(|| {
        host();
        let apply = begin(&["apply", "-f", SPEC, "--confirm", "5m"]);
        until_it_waits("lab");
        sh("chmod 0 /run/netform/confirm").ok();
        for arguments in [&["confirm"][..], &["confirm", "lab"]] {
            let script = format!(
                "setpriv --bounding-set -all --inh-caps -all {NETFORM} {}",
                arguments.join(" ")
            );
            let said = sh(&script);
            assert_eq!(said.status, 1, "{}", said.stderr);
            assert!(said.stderr.contains("run it as root"), "{}", said.stderr);
        }
        sh("chmod 700 /run/netform/confirm").ok();
        netform(&["revert"]).ok();
        assert_eq!(end(apply).status, 3);
    });
}
