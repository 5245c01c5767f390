//! What goes wrong, and what is said then.

use std::thread;
use std::time::Duration;

use netform::kernel::{Error, Kernel};
use netform::plan::Plan;
use netform::resource::route::RouteKey;
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::State;

use crate::lab::{Builder, apply, difference, name, on_a_private_host, plan, sh, story};

#[test]
fn a_refusal_names_its_operation_and_the_kernels_words() {
    on_a_private_host(|| {
        let mut b = story();
        let ns = Ns::Named(name("breezyfrost"));
        b.route(&ns, "10.9.0.0/16", "203.0.113.1", "veth1");
        let mut kernel = Kernel::open().expect("open");
        let observed = kernel.observe(&b.topology, &b.state).expect("observed");
        let plan = plan(&b.topology, &b.state, &observed);
        let failure = kernel.execute(&plan).expect_err("refused");
        let bad = RouteKey::main("10.9.0.0/16".parse().expect("a prefix"));
        let place = failure.operation.expect("an operation failed");
        assert_eq!(plan.operations[place].id, Id::new(ns, Key::Route(bad)));
        assert!(failure.done > 0 && failure.done < plan.operations.len());
        let text = failure.to_string();
        assert!(
            text.starts_with("ENETUNREACH") && text.contains("gateway"),
            "{text}"
        );
    });
}

#[test]
fn what_came_meanwhile_is_not_taken_for_ours() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        for (meanwhile, cleanup) in [
            (
                "ip link add veth1_p type veth peer name veth1_px",
                "ip link delete veth1_p",
            ),
            ("ip netns add breezyfrost", "ip netns delete breezyfrost"),
        ] {
            let mut kernel = Kernel::open().expect("open");
            let observed = kernel.observe(&topology, &state).expect("observed");
            let plan = plan(&topology, &state, &observed);
            sh(meanwhile);
            let before = sh("ip -d link show veth1_p 2>&1 || true");
            let failure = kernel.execute(&plan).expect_err("refused");
            assert!(matches!(failure.error, Error::Stale { .. }), "{failure:?}");
            assert!(failure.to_string().contains("run this again"), "{failure}");
            if meanwhile.contains("link") {
                assert_eq!(sh("ip -d link show veth1_p"), before);
            }
            if meanwhile.contains("netns") {
                // A namespace that is not ours must not get a witness.
                assert_eq!(sh("ls /run/netform"), "");
            }
            sh(cleanup);
            let mut kernel = Kernel::open().expect("open");
            apply(&mut kernel, &topology, &state);
            apply(&mut kernel, &topology, &State::new());
        }
    });
}

#[test]
fn an_empty_file_in_place_of_a_namespace_is_taken_over() {
    on_a_private_host(|| {
        sh("touch /run/netns/breezyfrost");
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
    });
}

#[test]
fn one_netform_waits_for_another() {
    on_a_private_host(|| {
        let kernel = Kernel::open().expect("open");
        let held = kernel.lock().expect("lock");
        let refused = kernel
            .lock_within(Duration::from_millis(100))
            .expect_err("held");
        let text = refused.to_string();
        assert!(
            text.contains(&format!("pid {}", std::process::id())),
            "{text}"
        );
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(200));
                drop(held);
            });
            // The file goes with its last holder, so this waits through its removal too.
            let next = kernel.lock_within(Duration::from_secs(60)).expect("lock");
            assert_eq!(sh("ls /run/netform"), "lock\n");
            drop(next);
        });
        assert_eq!(sh("ls /run | grep netform || true"), "");
    });
}

#[test]
fn a_record_that_is_broken_stops_everything_and_says_so() {
    on_a_private_host(|| {
        sh("mkdir /run/netform; echo '{' > /run/netform/other.json");
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        let error = kernel.observe(&topology, &state).expect_err("refused");
        assert!(
            error.to_string().contains("/run/netform/other.json"),
            "{error}"
        );
    });
}

#[test]
fn operations_that_wait_for_each_other_are_an_error() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        let observed = kernel.observe(&topology, &state).expect("observed");
        let mut plan: Plan = plan(&topology, &state, &observed);
        let last = plan.operations.len() - 1;
        plan.operations[0].after = vec![last];
        plan.operations[last].after = vec![0];
        assert!(kernel.execute(&plan).is_err());
    });
}

#[test]
fn a_table_that_goes_and_is_made_again_meanwhile_is_still_claimed() {
    on_a_private_host(|| {
        let b = story();
        let mut empty = b.state.clone();
        let table = empty.entries.get_mut(&Id::new(Ns::Host, Key::Table));
        let Some(Resource::Table(table)) = table.map(|entry| &mut entry.resource) else {
            panic!("there is a table")
        };
        table.sets.clear();
        table.chains.clear();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &b.topology, &empty);
        let observed = kernel.observe(&b.topology, &b.state).expect("observed");
        let plan = plan(&b.topology, &b.state, &observed);
        sh("nft delete table inet netform-breezyfrost");
        // It was planned with an earlier look than the last.
        kernel.observe(&b.topology, &b.state).expect("observed");
        kernel.execute(&plan).expect("the kernel takes it");
        apply(&mut kernel, &b.topology, &b.state);
        apply(&mut kernel, &b.topology, &State::new());
        assert_eq!(sh("nft list tables; ls /run/netform"), "");
    });
}

#[test]
fn a_value_that_was_not_seen_is_not_borrowed() {
    on_a_private_host(|| {
        let mut b = Builder::new();
        let ttl = SysctlKey::Global("net/ipv4/ip_default_ttl".into());
        b.sysctl(&Ns::Host, ttl.clone(), "100");
        let ports = SysctlKey::Global("net/ipv4/ip_local_reserved_ports".into());
        b.sysctl(&Ns::Host, ports, "8080");
        let mut kernel = Kernel::open().expect("open");
        let mut observed = kernel.observe(&b.topology, &b.state).expect("observed");
        // As of a namespace that is just being made anew.
        observed
            .entries
            .remove(&Id::new(Ns::Host, Key::Sysctl(ttl)));
        let plan = plan(&b.topology, &b.state, &observed);
        let failure = kernel.execute(&plan).expect_err("refused");
        assert!(
            matches!(failure.error, Error::Missing { .. }),
            "{failure:?}"
        );
        assert!(
            failure.to_string().contains("net.ipv4.ip_default_ttl"),
            "{failure}"
        );
        assert_eq!(sh("ls /run/netform 2>/dev/null || true"), "");
        // One that is empty all the same is.
        apply(&mut kernel, &b.topology, &b.state);
        assert_eq!(sh("sysctl -n net.ipv4.ip_local_reserved_ports"), "8080\n");
        apply(&mut kernel, &b.topology, &State::new());
        assert_eq!(sh("sysctl -n net.ipv4.ip_local_reserved_ports"), "\n");
    });
}

#[test]
fn what_a_plan_has_to_do_with_is_read_again_and_nothing_else() {
    on_a_private_host(|| {
        let mut b = Builder::new();
        let spaces = ["a", "b", "c"].map(|text| b.namespace(text));
        for (ns, mac) in spaces.iter().zip([1, 3, 5]) {
            let outside = format!("v{ns}");
            b.end((ns, "eth0"), (&Ns::Host, &outside), mac);
            b.end((&Ns::Host, &outside), (ns, "eth0"), mac + 1);
        }
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &b.topology, &b.state);
        // The other end of this one is on the host, that of the next in a namespace.
        let changed = &spaces[0];
        b.link(changed, "eth0").mtu = Some(1400);
        kernel.begin_to_change();
        let observed = kernel.observe(&b.topology, &b.state).expect("observed");
        let plan = plan(&b.topology, &b.state, &observed);
        assert_eq!(plan.operations.len(), 1, "{plan:?}");
        kernel.execute(&plan).expect("done");

        sh(
            "ip -n a link set eth0 mtu 1410; ip -n c link set eth0 mtu 1420; ip link set vc mtu 1430",
        );
        let after = kernel.observe_after(&plan, &b.topology, &b.state);
        let after = after.expect("observed");
        let mtu = |state: &State, ns: &Ns, link: &str| {
            let found = state.get(&Id::link(ns.clone(), name(link)));
            match found.map(|entry| &entry.resource) {
                Some(Resource::Link(link)) => link.mtu.expect("it has one"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(mtu(&after, changed, "eth0"), 1410);
        assert_eq!(mtu(&after, &spaces[2], "eth0"), 1500);
        assert_eq!(mtu(&after, &Ns::Host, "vc"), 1430);
        // It is known for once only.
        let now = kernel.observe(&b.topology, &b.state).expect("observed");
        assert_eq!(mtu(&now, &spaces[2], "eth0"), 1420);
    });
}
