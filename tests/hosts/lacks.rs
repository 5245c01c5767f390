//! What a host may lack: files of the kernel, IPv6, privileges.

use super::common::{in_sandbox, netform, sh};
use super::{SPEC, apply, refused, stands_and_goes, write_gateway, write_spec};

#[test]
fn without_proc_it_is_said_what_to_mount() {
    in_sandbox(|| {
        write_spec();
        sh("mount -t tmpfs none /proc").ok();
        for verb in [["plan", "-f", SPEC], ["apply", "-f", SPEC]] {
            refused(&netform(&verb), &["/proc", "mount -t proc proc /proc"]);
        }
    });
}

#[test]
fn a_hidden_or_locked_proc_sys_is_said_and_all_is_undone() {
    in_sandbox(|| {
        write_spec();
        sh("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys").ok();
        refused(
            &apply(),
            &[
                "/proc/sys/net/",
                "Read-only file system",
                "mount it writable",
            ],
        );
        sh("umount /proc/sys; ! ip netns exec a true; mount -t tmpfs none /proc/sys").ok();
        write_gateway();
        let words = ["/proc/sys/net/", "nothing over /proc/sys"];
        refused(&apply(), &words);
        sh("umount /proc/sys; ! ip netns exec a true").ok();
    });
}

#[test]
fn other_mounts_of_containers_do_no_harm() {
    in_sandbox(|| {
        write_spec();
        for odd in [
            "mount -o remount,hidepid=2 /proc",
            "mount -t tmpfs none /sys",
            "mount --bind /sys /sys && mount -o remount,ro,bind /sys",
        ] {
            if sh(odd).status == 0 {
                apply().ok();
                stands_and_goes();
            }
        }
        // The first of them depends on the kernel, the others do not.
        sh("findmnt -n -o FSTYPE /sys | grep -q tmpfs").ok();
    });
}

#[test]
fn without_ipv6_a_spec_of_ipv4_works_and_another_is_refused_by_its_line() {
    in_sandbox(|| {
        write_spec();
        sh("mount -t tmpfs none /proc/sys/net/ipv6").ok();
        let applied = apply().ok();
        assert!(!applied.contains("ipv6"), "{applied}");
        stands_and_goes();
        sh(&format!("sed -i 's,10.9.0.2/24,\"fd09::2/64\",' {SPEC}")).ok();
        let output = apply();
        assert_eq!(output.status, 1, "{output:?}");
        let first = output.stderr.lines().next().unwrap_or_default();
        assert_eq!(
            first,
            "error: this kernel has no IPv6, and the spec has fd09::2"
        );
        assert!(output.stderr.contains("odd.yaml:7:"), "{output:?}");
        assert!(output.stderr.contains("ipv6.disable=1"), "{output:?}");
    });
}

#[test]
fn what_lacks_a_capability_says_which() {
    in_sandbox(|| {
        write_spec();
        let netform = env!("CARGO_BIN_EXE_netform");
        let without = |capability: &str, arguments: &str| {
            sh(&format!(
                "setpriv --bounding-set -{capability} --inh-caps -{capability} {netform} {arguments}"
            ))
        };
        for (capability, name) in [
            ("net_admin", "CAP_NET_ADMIN"),
            ("sys_admin", "CAP_SYS_ADMIN"),
        ] {
            for verb in ["plan", "apply"] {
                refused(&without(capability, &format!("{verb} -f {SPEC}")), &[name]);
            }
        }
        sh("ip netns add other").ok();
        refused(
            &without("sys_admin", "exec other -- true"),
            &["CAP_SYS_ADMIN"],
        );
        // Root needs no others.
        let two = "setpriv --bounding-set -all,+net_admin,+sys_admin --inh-caps -all";
        sh(&format!("{two} {netform} apply -f {SPEC}")).ok();
        sh(&format!("{two} {netform} destroy odd --yes")).ok();
    });
}
