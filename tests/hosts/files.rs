//! `/etc/netns`, and what somebody put there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::common::{assert_same_world, in_sandbox, netform, sh, world};
use super::{SPEC, apply, refused, stands_and_goes, write_spec};

/// Another place, with a file that must stay as it is.
const ELSEWHERE: &str = "mkdir -p /run/else; echo keep > /run/else/kept";

#[test]
fn a_directory_that_is_a_link_has_nothing_written_elsewhere() {
    in_sandbox(|| {
        write_spec();
        sh(&format!("{ELSEWHERE}; ln -s /run/else /etc/netns/a")).ok();
        let before = world();
        let output = apply();
        assert_eq!(output.status, 1, "{output:?}");
        assert!(
            output
                .stderr
                .contains("file /etc/netns/a/resolv.conf exists"),
            "{output:?}"
        );
        assert_same_world(&before, &world());
        // Who wants no file there isn't bothered by it.
        sh(&format!("sed -i 's/ {{ dns.*//' {SPEC}")).ok();
        let before = world();
        apply().ok();
        stands_and_goes();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_directory_that_becomes_a_link_is_neither_written_nor_emptied() {
    in_sandbox(|| {
        write_spec();
        apply().ok();
        sh("mv /etc/netns/a /run/moved; ln -s /run/moved /etc/netns/a").ok();
        let ours = fs::read_to_string("/run/moved/resolv.conf").expect("it was moved");
        sh(&format!("sed -i 's/192.0.2.53/192.0.2.54/' {SPEC}")).ok();
        assert_eq!(apply().status, 1);
        netform(&["destroy", "odd", "--yes"]).ok();
        assert_eq!(
            fs::read_to_string("/run/moved/resolv.conf").ok(),
            Some(ours)
        );
        assert!(fs::symlink_metadata("/etc/netns/a").is_ok_and(|of| of.is_symlink()));
    });
}

#[test]
fn a_file_that_leads_to_one_with_our_own_header_is_not_ours() {
    in_sandbox(|| {
        write_spec();
        sh(
            "mkdir -p /etc/netns/a; printf '# netform:odd\\nold\\n' > /run/victim; \
            ln -s /run/victim /etc/netns/a/resolv.conf",
        )
        .ok();
        let output = apply();
        assert_eq!(output.status, 1, "{output:?}");
        assert!(
            output.stderr.contains("netform didn't make it"),
            "{output:?}"
        );
        let victim = fs::read_to_string("/run/victim").expect("it is there");
        assert_eq!(victim, "# netform:odd\nold\n");
    });
}

#[test]
fn a_draft_that_is_a_link_is_not_followed_and_modes_do_not_depend_on_the_mask() {
    in_sandbox(|| {
        write_spec();
        sh(&format!(
            "{ELSEWHERE}; ln -s /run/else/kept /etc/netns/.netform-draft"
        ))
        .ok();
        let netform = env!("CARGO_BIN_EXE_netform");
        sh(&format!("umask 077; {netform} apply -f {SPEC}")).ok();
        assert_eq!(
            fs::read_to_string("/run/else/kept").ok().as_deref(),
            Some("keep\n")
        );
        for (path, mode) in [("/etc/netns/a", 0o755), ("/etc/netns/a/resolv.conf", 0o644)] {
            let of = fs::symlink_metadata(path).expect("it was made");
            assert_eq!(of.permissions().mode() & 0o777, mode, "{path}");
        }
        assert!(fs::symlink_metadata("/etc/netns/.netform-draft").is_err());
        stands_and_goes();
    });
}

#[test]
fn the_directory_of_all_may_be_a_link() {
    in_sandbox(|| {
        write_spec();
        sh("mkdir /run/etc /run/files; ln -s /run/files /run/etc/netns; mount --bind /run/etc /etc")
            .ok();
        apply().ok();
        let text = fs::read_to_string("/run/files/a/resolv.conf").expect("it is there");
        assert!(text.ends_with("nameserver 192.0.2.53\n"), "{text}");
        stands_and_goes();
        assert_eq!(fs::read_dir("/run/files").expect("it stays").count(), 0);
    });
}

#[test]
fn an_etc_that_can_not_be_written_is_said_and_all_is_undone() {
    in_sandbox(|| {
        write_spec();
        sh("mount --bind /etc/netns /etc/netns; mount -o remount,ro,bind /etc/netns").ok();
        let before = world();
        let words = ["/etc/netns/a: Read-only file system", "mount it writable"];
        refused(&apply(), &words);
        assert_same_world(&before, &world());
    });
}
