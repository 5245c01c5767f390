//! `/run/netns`, which others use too.

use std::fs;

use super::common::{in_sandbox, netform, sh};
use super::{SPEC, apply, refused, stands_and_goes, write_spec};

/// Takes the directory away, with what is mounted in it and on it.
const WITHOUT: &str = "while umount -l /run/netns 2>/dev/null; do :; done; rm -rf /run/netns";

#[test]
fn who_comes_first_hides_no_namespace_of_another() {
    in_sandbox(|| {
        sh(&format!(
            "cat > {SPEC} <<'EOF'
version: 1
name: odd
namespaces: {{ a: , b: , c: , d: }}
EOF"
        ))
        .ok();
        let netform = env!("CARGO_BIN_EXE_netform");
        for _ in 0..25 {
            sh(&format!(
                "{WITHOUT}
                 {netform} apply -f {SPEC} & all=$!
                 for i in 1 2 3 4; do ip netns add x$i & all=\"$all $!\"; done
                 for one in $all; do wait $one; done
                 for i in a b c d x1 x2 x3 x4; do ip netns exec $i true; done
                 ip netns add later && ip netns exec later true
                 {netform} plan -f {SPEC} --detailed-exitcode
                 {netform} destroy odd --yes
                 for i in x1 x2 x3 x4 later; do ip netns delete $i; done
                 [ -z \"$(ls /run/netns)\" ]"
            ))
            .ok();
        }
    });
}

#[test]
fn who_prepares_the_directory_is_waited_for() {
    in_sandbox(|| {
        write_spec();
        // As `ip netns add` does it: it looks whether it is mounted, and mounts it if not.
        sh(&format!(
            "{WITHOUT}; mkdir /run/netns; mkfifo /run/locked
             (flock 9; echo > /run/locked; sleep 0.5; ! mount --make-shared /run/netns
              mount --bind /run/netns /run/netns; mount --make-shared /run/netns) 9</run/netns >/dev/null 2>&1 &
             read x < /run/locked"
        ))
        .ok();
        apply().ok();
        sh("sleep 0.6; ip netns exec a true").ok();
        stands_and_goes();
    });
}

#[test]
fn the_directory_need_not_be_there() {
    in_sandbox(|| {
        write_spec();
        sh(WITHOUT).ok();
        netform(&["plan", "-f", SPEC]).ok();
        assert!(fs::symlink_metadata("/run/netns").is_err());
        apply().ok();
        sh("ip netns exec a true").ok();
        stands_and_goes();
    });
}

#[test]
fn an_empty_file_is_taken_over_where_the_spec_wants_it_and_else_named() {
    in_sandbox(|| {
        write_spec();
        sh("mkdir -p /run/netns; touch /run/netns/a /run/netns/other; chmod 0 /run/netns/a").ok();
        apply().ok();
        stands_and_goes();
        assert!(fs::symlink_metadata("/run/netns/a").is_err());
        assert!(fs::symlink_metadata("/run/netns/other").is_ok());
        let exec = netform(&["exec", "other", "--", "true"]);
        let words = [
            "/run/netns/other",
            "no namespace is mounted",
            "rm /run/netns/other",
        ];
        refused(&exec, &words);
    });
}

#[test]
fn a_namespace_that_others_alone_see_is_left_to_them() {
    in_sandbox(|| {
        write_spec();
        sh("ip netns add first").ok();
        // As a service with PrivateMounts= makes it.
        sh("mkfifo /run/ready /run/end
            unshare -m --propagation private sh -c 'ip netns add a; echo > /run/ready; read x < /run/end; \
            ip netns exec a true && echo alive > /run/said' >/dev/null 2>&1 &
            read x < /run/ready")
        .ok();
        let words = [
            "namespace a is mounted",
            "only for process",
            "(sh)",
            "PrivateMounts=",
        ];
        refused(&apply(), &words);
        refused(&netform(&["exec", "a", "--", "true"]), &words);
        sh("cat > /run/external.yaml <<'EOF'
version: 1
name: out
namespaces: { a: { external: true } }
veths:
  - ends: [{ namespace: a, name: q0 }, { namespace: host, name: q1 }]
EOF")
        .ok();
        refused(&netform(&["plan", "-f", "/run/external.yaml"]), &words);
        sh("echo > /run/end; while ! [ -s /run/said ]; do sleep 0.05; done").ok();
    });
}

#[test]
fn a_directory_that_can_not_be_written_is_said() {
    in_sandbox(|| {
        write_spec();
        sh("ip netns add first; mount -o remount,ro,bind /run/netns").ok();
        refused(
            &apply(),
            &[
                "create namespace a",
                "/run/netns/a: Read-only file system",
                "mount it writable",
            ],
        );
        sh("mount --bind /run /run; mount -o remount,ro,bind /run").ok();
        netform(&["plan", "-f", SPEC]).ok();
        refused(
            &apply(),
            &["/run/netform: Read-only file system", "mount it writable"],
        );
    });
}

#[test]
fn names_are_free_as_soon_as_what_had_them_is_removed() {
    in_sandbox(|| {
        let spec = |link: &str, mac: &str| {
            format!(
                "version: 1
name: odd
namespaces: {{ a: }}
veths:
  - ends:
      - {{ namespace: a, name: {link}, addresses: [10.9.0.2/24] }}
      - {{ namespace: host, name: odd0, mac: '{mac}', addresses: [10.9.0.1/24] }}
"
            )
        };
        fs::write("/run/one.yaml", spec("eth0", "02:00:00:00:00:01")).expect("text");
        fs::write("/run/two.yaml", spec("eth1", "02:00:00:00:00:02")).expect("text");
        for round in 0..100 {
            for file in ["/run/one.yaml", "/run/two.yaml"] {
                // All that it has goes behind its back, and comes again with the same names.
                if round % 3 == 1 {
                    netform(&["destroy", "odd", "--yes"]).ok();
                }
                netform(&["apply", "-f", file, "--yes"]).ok();
            }
        }
    });
}
