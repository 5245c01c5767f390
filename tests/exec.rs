//! `netform exec`.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{assert_same_world, in_sandbox, netform, sh, world};

#[test]
fn a_command_is_in_the_namespace() {
    in_sandbox(|| {
        sh("ip netns add a; ip -n a link add inner type veth peer name outer").ok();
        let links = netform(&["exec", "a", "--", "ip", "-o", "link"]).ok();
        assert!(links.contains("inner@outer"), "{links}");
        assert!(!links.contains("ens33"), "{links}");
        let shown = netform(&["exec", "a", "--", "ls", "/sys/class/net"]).ok();
        assert_eq!(shown, "inner\nlo\nouter\n");
    });
}

#[test]
fn a_command_sees_the_files_of_its_namespace() {
    in_sandbox(|| {
        sh("ip netns add a; ip netns add b; mkdir /etc/netns/a").ok();
        fs::write("/etc/netns/a/resolv.conf", "nameserver 192.0.2.1\n").expect("a file");
        let cat = |name| netform(&["exec", name, "--", "cat", "/etc/resolv.conf"]).ok();
        assert_eq!(cat("a"), "nameserver 192.0.2.1\n");
        assert_eq!(cat("b"), "nameserver 198.51.100.53\n");
        let outside = fs::read_to_string("/etc/resolv.conf").expect("a file");
        assert_eq!(outside, "nameserver 198.51.100.53\n");
    });
}

#[test]
fn files_stand_for_what_a_link_of_etc_leads_to() {
    in_sandbox(|| {
        sh("ip netns add a; mkdir /etc/netns/a; echo inside >/etc/netns/a/linked").ok();
        fs::write("/run/target", "outside\n").expect("a file");
        symlink("../run/target", "/etc/linked").expect("a link");
        assert_eq!(
            netform(&["exec", "a", "--", "cat", "/etc/linked"]).ok(),
            "inside\n"
        );
        assert_eq!(
            fs::read_to_string("/run/target").expect("a file"),
            "outside\n"
        );
    });
}

#[test]
fn a_file_that_stands_for_nothing_is_a_warning() {
    in_sandbox(|| {
        sh("ip netns add a; mkdir /etc/netns/a; touch /etc/netns/a/netform-test").ok();
        let output = netform(&["exec", "a", "--", "echo", "here"]);
        assert_eq!((output.status, output.stdout.as_str()), (0, "here\n"));
        let told = "warning: /etc/netns/a/netform-test does not stand for /etc/netform-test";
        assert!(output.stderr.starts_with(told), "{}", output.stderr);
    });
}

#[test]
fn a_missing_namespace_is_told_with_those_that_exist() {
    in_sandbox(|| {
        let output = netform(&["exec", "a", "--", "true"]);
        assert_eq!(output.status, 125);
        assert!(
            output
                .stderr
                .contains("there is no namespace a: there are none"),
            "{output:?}"
        );
        // A file that no namespace is mounted on is none.
        sh("ip netns add c; ip netns add b; touch /run/netns/d").ok();
        let output = netform(&["exec", "a", "--", "true"]);
        assert_eq!(output.status, 125);
        assert_eq!(
            output.stderr,
            "error: there is no namespace a: there are b, c\n"
        );
    });
}

#[test]
fn the_status_is_that_of_the_command() {
    in_sandbox(|| {
        sh("ip netns add a").ok();
        let status = |command: &[&str]| {
            let arguments = [&["exec", "a", "--"], command].concat();
            netform(&arguments).status
        };
        assert_eq!(status(&["true"]), 0);
        assert_eq!(status(&["sh", "-c", "exit 42"]), 42);
        assert_eq!(status(&["sh", "-c", "kill -KILL $$"]), 137);
        assert_eq!(status(&["netform-no-such-command"]), 127);
        assert_eq!(status(&["/etc/passwd"]), 126);
        assert_eq!(netform(&["exec", "a"]).status, 64);
    });
}

#[test]
fn the_host_stays_as_it_is() {
    in_sandbox(|| {
        sh("ip netns add a; mkdir /etc/netns/a; echo x >/etc/netns/a/resolv.conf").ok();
        // The mount command keeps its books there.
        fs::create_dir("/run/mount").expect("a directory");
        let before = world();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        netform(&[
            "exec",
            "a",
            "--",
            "sh",
            "-ec",
            "mount -t tmpfs none /tmp; ip link set lo up",
        ])
        .ok();
        assert_same_world(&before, &world());
        let after = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert_same_world(&mounts, &after);
    });
}
