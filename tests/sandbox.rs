//! The private host, and `netform sandbox`, which runs commands on it.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, fchmod, memfd_create};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use common::{Output, ask, assert_same_world, in_sandbox, netform, run, sh, world};

#[test]
fn a_private_host_has_an_uplink_and_default_routes() {
    in_sandbox(|| {
        let addresses = sh("ip -o addr show dev ens33").ok();
        assert!(addresses.contains("192.168.95.191/24"), "{addresses}");
        assert!(addresses.contains("fd95::191/64"), "{addresses}");
        assert!(!addresses.contains("tentative"), "{addresses}");
        assert!(
            sh("ip route")
                .ok()
                .contains("default via 192.168.95.2 dev ens33")
        );
        assert!(
            sh("ip -6 route")
                .ok()
                .contains("default via fd95::2 dev ens33")
        );
        assert!(sh("ip -o link show dev lo").ok().contains("LOWER_UP"));
    });
}

#[test]
fn the_internet_answers_pings_of_both_families() {
    in_sandbox(|| {
        for address in [
            "192.168.95.2",
            "fd95::2",
            "198.51.100.10",
            "2001:db8:10::10",
        ] {
            sh(&format!("ping -c 1 -W 20 {address}")).ok();
        }
    });
}

#[test]
fn the_internet_tells_callers_their_address() {
    in_sandbox(|| {
        assert_eq!(ask("198.51.100.10:80"), "192.168.95.191");
        assert_eq!(ask("[2001:db8:10::10]:80"), "fd95::191");
    });
}

#[test]
fn a_caller_who_says_nothing_holds_up_nobody() {
    in_sandbox(|| {
        let silent = TcpStream::connect("198.51.100.10:80").expect("connect");
        assert_eq!(ask("198.51.100.10:80"), "192.168.95.191");
        drop(silent);
    });
}

#[test]
fn the_internet_resolves_one_name() {
    in_sandbox(|| {
        let ipv4 = sh("getent ahostsv4 www.example.test").ok();
        assert!(ipv4.starts_with("198.51.100.10 "), "{ipv4}");
        let ipv6 = sh("getent ahostsv6 www.example.test").ok();
        assert!(ipv6.starts_with("2001:db8:10::10 "), "{ipv6}");
        assert_ne!(sh("getent hosts other.example.test").status, 0);
    });
}

#[test]
fn the_resolver_answers_over_tcp() {
    in_sandbox(|| {
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01";
        let mut resolver = TcpStream::connect("198.51.100.53:53").expect("connect");
        for _ in 0..2 {
            resolver.write_all(&[0, 34]).expect("the length");
            resolver.write_all(query).expect("a query");
            let mut length = [0; 2];
            resolver.read_exact(&mut length).expect("a length");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            resolver.read_exact(&mut answer).expect("an answer");
            assert!(answer.ends_with(&[198, 51, 100, 10]), "{answer:?}");
        }
    });
}

#[test]
fn the_internet_has_no_way_back_to_what_is_behind_the_host() {
    in_sandbox(|| {
        sh("ip addr add 192.168.50.3/24 dev lo").ok();
        sh("ping -c 1 -W 20 198.51.100.10").ok();
        assert_ne!(sh("ping -c 1 -W 2 -I 192.168.50.3 198.51.100.10").status, 0);
    });
}

#[test]
fn a_private_host_has_files_of_its_own() {
    in_sandbox(|| {
        assert_eq!(sh("ls -A /etc/netns").ok(), "");
        assert_eq!(
            sh("ls -A /run --ignore=nsswitch.conf").ok(),
            "lock\nnetns\n"
        );
        let resolver = fs::read_to_string("/etc/resolv.conf").expect("a file");
        assert_eq!(resolver, "nameserver 198.51.100.53\n");
        let hosts = fs::read_to_string("/etc/passwd").expect("the machine's file");
        assert!(hosts.contains("root"), "{hosts}");
        assert_eq!(sh("ls /sys/class/net").ok(), "ens33\nlo\n");
        fs::create_dir("/etc/netns/a").expect("a directory");
        fs::write("/etc/netns/a/resolv.conf", "#").expect("a file");
        sh("ip netns add a && ip netns exec a ip link set lo up && ip netns delete a").ok();
    });
}

#[test]
fn two_private_hosts_know_nothing_of_each_other() {
    in_sandbox(|| {
        sh(
            "ip netns add a; ip link add inner type veth peer name outer; \
             ip addr add 192.168.50.1/24 dev inner",
        )
        .ok();
        let before = world();
        let script = "test ! -e /run/netns/a; if ip link show inner; then exit 1; fi; ip netns add d; mkdir /etc/netns/d; \
                      ip link set ens33 down; ip link set ens33 name a; \
                      nft add table inet t; echo 1 >/proc/sys/net/ipv4/ip_forward; touch /run/e";
        netform(&["sandbox", "--", "sh", "-ec", script]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_private_host_on_a_private_host_on_a_private_host_is_like_any() {
    // No kernel lays so many overlays on each other.
    in_sandbox(|| {
        let outside = sh("ls -A /etc; cat /etc/passwd").ok();
        let script = "ls -A /etc; cat /etc/passwd; touch /etc/netform-test /etc/netns/a; \
                      test \"$(cat /etc/resolv.conf)\" = 'nameserver 198.51.100.53'; \
                      if echo >>/etc/passwd; then exit 1; fi; \
                      ping -c 1 -W 20 www.example.test >&2";
        let netform_path = env!("CARGO_BIN_EXE_netform");
        let nested = [
            "sandbox",
            "--",
            netform_path,
            "sandbox",
            "--",
            "sh",
            "-ec",
            script,
        ];
        let inside = netform(&nested).ok();
        assert_same_world(&outside, &inside);
        assert!(!std::path::Path::new("/etc/netform-test").exists());
    });
}

#[test]
fn the_machine_stays_as_it_is() {
    let seen = || {
        let entries = |path| -> Vec<_> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).collect()
        };
        let resolver = fs::read("/etc/resolv.conf").ok();
        let links = sh("ip -o link | cut -d: -f2").ok();
        (
            entries("/etc"),
            entries("/etc/netns"),
            entries("/run/netns"),
            resolver,
            links,
        )
    };
    let before = seen();
    let script = "ip netns add netform-test-a; touch /etc/netns/a /etc/netform-test; \
                  echo >>/etc/resolv.conf; ip link add netform-test type veth";
    netform(&["sandbox", "--", "sh", "-ec", script]).ok();
    assert_eq!(before, seen());
}

#[test]
fn an_ordinary_user_has_a_private_host() {
    let script = "test $(id -u) = 0; ip -o addr show dev ens33; ip netns add a; nft add table inet t; \
                  mkdir /etc/netns/a; echo >/etc/netns/a/resolv.conf; ping -c 1 -W 20 www.example.test";
    let said = as_nobody("/usr/bin:/bin", &["sandbox", "--", "sh", "-ec", script]).ok();
    assert!(said.contains("192.168.95.191/24"), "{said}");
}

#[test]
fn root_has_a_private_host_where_user_namespaces_are_refused() {
    in_sandbox(|| {
        fs::write("/proc/sys/user/max_user_namespaces", "0").expect("a limit of this host");
        let before = world();
        let script = "ip -o addr show dev ens33; ip netns add a; ping -c 1 -W 20 www.example.test";
        let said = netform(&["sandbox", "--", "sh", "-ec", script]).ok();
        assert!(said.contains("192.168.95.191/24"), "{said}");
        assert_same_world(&before, &world());
    });
}

#[test]
fn root_has_a_private_host_where_proc_is_covered() {
    in_sandbox(|| {
        sh("mount -t tmpfs none /proc/tty").ok();
        let script = "ip -o addr show dev ens33; ip netns add a; ping -c 1 -W 20 www.example.test";
        let said = netform(&["sandbox", "--", "sh", "-ec", script]).ok();
        assert!(said.contains("192.168.95.191/24"), "{said}");
    });
}

#[test]
fn a_narrow_umask_is_the_command_s_alone() {
    let script = "umask 077; $0 sandbox -- sh -ec \
                  'stat -c %a /etc /etc/resolv.conf /run/netns; umask'";
    let mut command = Command::new("sh");
    command.args(["-ec", script, env!("CARGO_BIN_EXE_netform")]);
    assert_eq!(run(&mut command).ok(), "755\n644\n755\n0077\n");
}

/// Runs netform as somebody who isn't root, with a search path.
fn as_nobody(path: &str, arguments: &[&str]) -> Output {
    // The directories that netform is in may be closed to others.
    let binary = fs::read(env!("CARGO_BIN_EXE_netform")).expect("netform");
    let copy = memfd_create("netform", MemfdFlags::empty()).expect("memory");
    let mut copy = fs::File::from(copy);
    copy.write_all(&binary).expect("a copy");
    fchmod(&copy, rustix::fs::Mode::from_raw_mode(0o755)).expect("executable");
    let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    command.args(arguments).current_dir("/").env("PATH", path);
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    run(&mut command)
}

#[test]
fn a_closed_directory_is_no_reason_for_a_missing_command() {
    let closed = tempfile::tempdir().expect("a directory");
    let path = format!("{}:/usr/bin:/bin", closed.path().display());
    let output = as_nobody(&path, &["sandbox", "--", "netform-no-such-command"]);
    assert_eq!(output.status, 127, "{output:?}");
}

#[test]
fn the_status_is_that_of_the_command() {
    let status = |command: &[&str]| {
        let arguments = [&["sandbox", "--"], command].concat();
        netform(&arguments).status
    };
    assert_eq!(status(&["true"]), 0);
    assert_eq!(status(&["sh", "-c", "exit 42"]), 42);
    assert_eq!(status(&["sh", "-c", "kill -KILL $$"]), 137);
    assert_eq!(status(&["netform-no-such-command"]), 127);
    assert_eq!(status(&["/etc/passwd"]), 126);
}

#[test]
fn a_command_that_cannot_run_is_named() {
    let output = netform(&["sandbox", "--", "netform-no-such-command"]);
    assert_eq!(
        output.stderr,
        "error: netform-no-such-command: command not found\n"
    );
    let output = netform(&["sandbox", "--", "/etc/passwd"]);
    assert!(
        output.stderr.contains("can't execute /etc/passwd"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_spec_that_cannot_be_read_keeps_the_command_from_running() {
    let output = netform(&["sandbox", "-f", "/nowhere.yaml", "--", "echo", "here"]);
    assert_eq!((output.status, output.stdout.as_str()), (125, ""));
    assert!(output.stderr.contains("/nowhere.yaml"), "{}", output.stderr);
}

#[test]
fn a_spec_is_applied_before_the_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let spec = directory.path().join("topology.yaml");
    let text = "version: 1
name: breezyfrost
namespaces:
  breezyfrost:
    dns: { nameservers: [198.51.100.53] }
subnets:
  lab:
    cidr: 192.168.50.0/24
    gateway: 192.168.50.3
    egress: { dev: ens33 }
veths:
  - ends:
      - { namespace: breezyfrost, name: veth1,   addresses: [192.168.50.2] }
      - { namespace: host,        name: veth1_p, addresses: [192.168.50.3] }
";
    fs::write(&spec, text).expect("a spec");
    let spec = spec.to_str().expect("text");
    let script = "netform=$0; echo here; \
                  $netform exec breezyfrost -- ping -c 1 -W 20 www.example.test >&2";
    let path = env!("CARGO_BIN_EXE_netform");
    let arguments = ["sandbox", "-f", spec, "--", "sh", "-ec", script, path];
    assert_eq!(netform(&arguments).ok(), "here\n");
}

#[test]
fn tools_of_the_system_are_found_without_a_path_to_them() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    command.args(["sandbox", "--", "nft", "list", "ruleset"]);
    run(command.env("PATH", "/usr/bin:/bin")).ok();
}

#[test]
fn commands_have_the_signals_that_netform_had() {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let outside = sh(script).ok();
    assert_eq!(
        netform(&["sandbox", "--", "sh", "-c", script]).ok(),
        outside
    );
}

#[test]
fn orphans_do_not_stay_as_zombies() {
    let script = "for i in 1 2 3; do sh -c 'sleep 0 & exit'; done; \
                  for i in $(seq 200); do \
                    grep -qs '^State:.Z' /proc/[0-9]*/status || exit 0; sleep 0.1; \
                  done; exit 1";
    netform(&["sandbox", "--", "sh", "-c", script]).ok();
}

#[test]
fn a_command_in_a_process_group_of_its_own_ends() {
    // As interactive shells are.
    let said = netform(&["sandbox", "--", "setsid", "sh", "-c", "exit 42"]);
    assert_eq!(said.status, 42);
    let script = "for i in 1 2 3; do sh -c 'setsid sleep 0 & exit'; done; \
                  for i in $(seq 200); do \
                    grep -qs '^State:.Z' /proc/[0-9]*/status || exit 0; sleep 0.1; \
                  done; exit 1";
    netform(&["sandbox", "--", "sh", "-c", script]).ok();
}

/// Begins a script on a private host, and waits until it says that it is ready.
fn begin(script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netform"))
        .args(["sandbox", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("netform runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    (child, stdout)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it is there");
}

#[test]
fn signals_reach_the_command() {
    for (name, sent) in [
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let script = format!("trap 'exit 42' {name}; echo ready; while :; do sleep 0.1; done");
        let (mut child, _) = begin(&script);
        signal(&child, sent);
        assert_eq!(child.wait().expect("an end").code(), Some(42), "{name}");
    }
}

#[test]
fn all_ends_with_the_terminal() {
    let (mut ours, mut theirs) = (0, 0);
    let no_name = std::ptr::null_mut();
    let (no_settings, no_size) = (std::ptr::null(), std::ptr::null());
    // SAFETY: both descriptors are written, and are ours alone when the call succeeds.
    #[expect(unsafe_code, reason = "the standard library has no terminals")]
    let (terminal, theirs) = unsafe {
        let made = libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            no_name,
            no_settings,
            no_size,
        );
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let cloexec = rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&terminal, cloexec).expect("not inherited");
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    command.args(["sandbox", "--", "sh", "-c", "echo ready; sleep 1000"]);
    command.stdin(theirs).stdout(Stdio::piped());
    // SAFETY: these are system calls, and nothing else.
    #[expect(unsafe_code, reason = "netform is to lead the session of the terminal")]
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn().expect("netform runs");
    drop(command);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    drop(terminal);
    assert_eq!(child.wait().expect("an end").code(), Some(129));
}

#[test]
fn all_ends_with_netform() {
    let (mut child, mut stdout) = begin("(sleep 1000 &); echo ready; sleep 1000");
    signal(&child, Signal::KILL);
    child.wait().expect("an end");
    // The end of the pipe comes when nobody holds it anymore.
    let begun = Instant::now();
    stdout.read_to_string(&mut String::new()).expect("the end");
    assert!(begun.elapsed() < Duration::from_secs(500));
}

#[test]
fn all_ends_with_the_command() {
    let (mut child, mut stdout) = begin("trap '' HUP; (sleep 1000 &); echo ready");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let begun = Instant::now();
    stdout.read_to_string(&mut String::new()).expect("the end");
    assert!(begun.elapsed() < Duration::from_secs(500));
}

#[test]
fn a_test_that_fails_on_a_private_host_fails() {
    let failed = std::panic::catch_unwind(|| in_sandbox(|| panic!("as it should")));
    let message = failed.expect_err("it panicked");
    let message = message.downcast_ref::<String>().expect("text");
    assert!(message.contains("as it should"), "{message}");
}

#[test]
fn a_change_of_the_host_is_seen() {
    in_sandbox(|| {
        for (change, line) in [
            ("ip addr add 192.168.50.3/24 dev lo", "192.168.50.3"),
            (
                "ip route add 203.0.113.0/24 via 192.168.95.2",
                "203.0.113.0/24",
            ),
            ("ip link set ens33 mtu 1400", "mtu 1400"),
            ("ip rule add from 203.0.113.1 table 100", "203.0.113.1"),
            ("ip netns add a", "/run/netns/a"),
            (
                "mkdir /etc/netns/a; echo x >/etc/netns/a/hosts",
                "/etc/netns/a/hosts",
            ),
            ("nft add table inet t", "table inet t"),
            (
                "echo 1 >/proc/sys/net/ipv4/ip_forward",
                "/proc/sys/net/ipv4/ip_forward",
            ),
        ] {
            let before = world();
            sh(change).ok();
            let after = world();
            let seen = std::panic::catch_unwind(|| assert_same_world(&before, &after));
            let message = seen.expect_err(change);
            let message = message.downcast_ref::<String>().expect("text");
            assert!(message.contains(line), "{change}: {message}");
        }
    });
}
