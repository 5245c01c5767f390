//! The story, from nothing to nothing.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netform::kernel::Kernel;
use netform::plan::Plan;
use netform::state::State;

use crate::lab::{Builder, apply, changed, difference, on_a_private_host, plan, sh, story, world};

#[test]
fn the_story_is_made_seen_and_unmade() {
    on_a_private_host(|| {
        sh("mount --bind /run/netns /run/netns; mount --make-shared /run/netns");
        let before = world();
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        let lock = kernel.lock().expect("lock");
        let first = apply(&mut kernel, &topology, &state);
        assert_eq!(first.operations.len(), state.entries.len());
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        assert_eq!(
            difference(&mut Kernel::open().expect("open"), &topology, &state),
            []
        );
        sh("ip netns exec breezyfrost ping -c1 -W5 192.168.50.3");
        sh("ip netns exec breezyfrost ping -c1 -W5 fd50::3");
        let names = Kernel::topologies().expect("topologies");
        assert!(names.into_iter().eq([topology.clone()]));
        apply(&mut kernel, &topology, &State::new());
        drop(lock);
        assert_eq!(changed(&before, &world()), [""; 0]);
    });
}

#[test]
fn drift_of_each_kind_is_seen_and_mended() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        let in_ns = "ip netns exec breezyfrost";
        for (drift, differences) in [
            (format!("{in_ns} ip route del default"), 1),
            (
                format!("{in_ns} ip address del 192.168.50.2/24 dev veth1"),
                2,
            ),
            (format!("{in_ns} ip link set veth1 down"), 4),
            (format!("{in_ns} sysctl -qw net.ipv4.ip_forward=1"), 1),
            (
                format!("{in_ns} sysctl -qw net.ipv6.conf.all.forwarding=1"),
                1,
            ),
            ("ip link set veth1_p mtu 1400".to_owned(), 1),
            (
                "ip link set veth1_p address 02:00:00:00:00:77".to_owned(),
                1,
            ),
            ("sysctl -qw net.ipv6.conf.veth1_p.accept_ra=2".to_owned(), 1),
            (
                "echo search x >> /etc/netns/breezyfrost/resolv.conf".to_owned(),
                1,
            ),
            ("rm /etc/netns/breezyfrost/resolv.conf".to_owned(), 1),
        ] {
            sh(&drift);
            let found = difference(&mut kernel, &topology, &state);
            assert_eq!(found.len(), differences, "{drift}: {found:#?}");
            apply(&mut kernel, &topology, &state);
            assert_eq!(difference(&mut kernel, &topology, &state), [], "{drift}");
        }
    });
}

#[test]
fn a_namespace_that_somebody_deleted_comes_back() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        // The socket that is kept would keep the namespace alive, nameless.
        sh("ip netns delete breezyfrost; ip link delete veth1_p");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        sh("ip netns exec breezyfrost ping -c1 -W5 fd50::3");
    });
}

#[test]
fn stopped_after_any_operation_the_next_apply_ends_it() {
    on_a_private_host(|| {
        sh("mount --bind /run/netns /run/netns; mount --make-shared /run/netns");
        let before = world();
        let Builder { topology, state } = story();
        for stop in 0..=state.entries.len() {
            let mut kernel = Kernel::open().expect("open");
            let lock = kernel.lock().expect("lock");
            let observed = kernel.observe(&topology, &state).expect("observed");
            let whole = plan(&topology, &state, &observed);
            let operations = whole.operations[..stop].to_vec();
            let part = Plan {
                operations,
                ..whole
            };
            kernel.execute(&part).expect("executed");

            let mut kernel = Kernel::open().expect("open");
            apply(&mut kernel, &topology, &state);
            assert_eq!(
                difference(&mut kernel, &topology, &state),
                [],
                "after {stop}"
            );
            apply(&mut kernel, &topology, &State::new());
            drop(lock);
            assert_eq!(changed(&before, &world()), [""; 0], "after {stop}");
        }
    });
}

#[test]
fn two_hundred_namespaces_are_made_at_once() {
    on_a_private_host(|| {
        let Builder { topology, state } = Builder::many(200);
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        sh("ip netns exec n199 ping -c1 -W5 fd50:c7::1");
        apply(&mut kernel, &topology, &State::new());
        assert_eq!(sh("ls /run/netns; ip -o link | wc -l"), "1\n");
    });
}

/// Set in the process that is to be killed.
const VICTIM: &str = "NETFORM_TEST_VICTIM";

#[test]
fn killed_at_any_moment_the_next_apply_ends_it() {
    let Builder { topology, state } = Builder::many(20);
    if std::env::var_os(VICTIM).is_some() {
        // The parent's host: make it all and unmake it until somebody kills us.
        let mut kernel = Kernel::open().expect("open");
        loop {
            let _lock = kernel.lock().expect("lock");
            apply(&mut kernel, &topology, &state);
            apply(&mut kernel, &topology, &State::new());
        }
    }
    on_a_private_host(|| {
        sh("mount --bind /run/netns /run/netns; mount --make-shared /run/netns");
        let before = world();
        for moment in 0..12 {
            let mut victim = Command::new(std::env::current_exe().expect("a path"))
                .args([
                    "--exact",
                    "story::killed_at_any_moment_the_next_apply_ends_it",
                ])
                .env(VICTIM, "1")
                .stdout(Stdio::null())
                .spawn()
                .expect("it runs");
            thread::sleep(Duration::from_millis(3 + moment * 7));
            victim.kill().expect("killed");
            victim.wait().expect("it ends");

            let mut kernel = Kernel::open().expect("open");
            let lock = kernel.lock().expect("lock");
            apply(&mut kernel, &topology, &state);
            assert_eq!(difference(&mut kernel, &topology, &state), []);
            apply(&mut kernel, &topology, &State::new());
            drop(lock);
            assert_eq!(changed(&before, &world()), [""; 0]);
        }
    });
}
