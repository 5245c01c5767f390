//! Whose is what: tags, records, loans.

use netform::kernel::Kernel;
use netform::plan::{Action, Operation, Plan};
use netform::resource::address::AddressKey;
use netform::resource::name::LinkName;
use netform::resource::route::RouteKey;
use netform::resource::sysctl::{Sysctl, SysctlKey};
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Owner, State};

use crate::lab::{Builder, apply, changed, difference, name, on_a_private_host, sh, story, world};

fn address(link: &str, ip: &str) -> Id {
    let ip = ip.parse().expect("an address");
    Id::new(
        Ns::Host,
        Key::Address(AddressKey {
            link: name(link),
            ip,
        }),
    )
}

#[test]
fn what_is_on_foreign_links_is_known_by_the_record() {
    on_a_private_host(|| {
        sh(
            "mount --bind /run/netns /run/netns; mount --make-shared /run/netns
            ip link add d0 type veth peer name d0x; ip link set d0 up; ip link set d0x up
            ip address add 10.0.0.1/24 dev d0
            ip route add 10.50.0.0/16 via 10.0.0.9",
        );
        let before = world();
        let mut b = Builder::new();
        b.address(&Ns::Host, "d0", "10.0.0.2/24");
        b.route(&Ns::Host, "10.60.0.0/16", "10.0.0.9", "d0");
        let Builder { topology, state } = b;
        let mut kernel = Kernel::open().expect("open");
        let lock = kernel.lock().expect("lock");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        let observed = kernel.observe(&topology, &state).expect("observed");
        let owner = |id: &Id| observed.get(id).map(|entry| entry.owner.clone());
        assert_eq!(owner(&address("d0", "10.0.0.1")), Some(Owner::Foreign));
        let foreign = RouteKey::main("10.50.0.0/16".parse().expect("a prefix"));
        assert_eq!(
            owner(&Id::new(Ns::Host, Key::Route(foreign))),
            Some(Owner::Foreign)
        );
        assert_eq!(owner(&Id::link(Ns::Host, name("d0"))), Some(Owner::Foreign));
        apply(&mut kernel, &topology, &State::new());
        drop(lock);
        assert_eq!(changed(&before, &world()), [""; 0]);
    });
}

#[test]
fn what_one_topology_lost_is_anothers_who_makes_it() {
    on_a_private_host(|| {
        sh(
            "ip link add d0 type veth peer name d0x; ip link set d0 up; ip link set d0x up
            ip address add 10.0.0.1/24 dev d0",
        );
        let mut first = Builder::new();
        first.topology = name("first");
        first.route(&Ns::Host, "10.60.0.0/16", "10.0.0.9", "d0");
        first.own();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &first.topology, &first.state);
        sh("ip route del 10.60.0.0/16");
        let mut second = Builder::new();
        second.topology = name("second");
        second.end((&Ns::Host, "s0"), (&Ns::Host, "s1"), 1);
        second.end((&Ns::Host, "s1"), (&Ns::Host, "s0"), 2);
        second.address(&Ns::Host, "s0", "10.1.0.1/24");
        second.route(&Ns::Host, "10.60.0.0/16", "10.1.0.9", "s0");
        second.own();
        apply(&mut kernel, &second.topology, &second.state);
        assert_eq!(difference(&mut kernel, &second.topology, &second.state), []);
        apply(&mut kernel, &first.topology, &State::new());
        assert!(sh("ip route").contains("10.60.0.0/16 via 10.1.0.9"));
    });
}

#[test]
fn our_number_without_a_record_is_nobodys() {
    on_a_private_host(|| {
        let mut b = Builder::new();
        sh("ip link add d0 type veth peer name d0x; ip link set d0 up; ip link set d0x up");
        b.address(&Ns::Host, "d0", "10.0.0.2/24");
        b.route(&Ns::Host, "10.60.0.0/16", "10.0.0.9", "d0");
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &b.topology, &b.state);
        sh("rm -r /run/netform");
        let observed = kernel.observe(&b.topology, &b.state).expect("observed");
        for id in b.state.entries.keys() {
            let owner = observed.get(id).map(|entry| &entry.owner);
            assert_eq!(owner, Some(&Owner::Foreign), "{id:?}");
        }
    });
}

#[test]
fn namespaces_are_found_again_when_the_record_is_lost() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        sh("rm -r /run/netform; ip netns add foreign");
        let observed = kernel.observe(&topology, &State::new()).expect("observed");
        let ours = observed.get(&Id::namespace(Ns::Named(name("breezyfrost"))));
        assert_eq!(
            ours.map(|entry| &entry.owner),
            Some(&Owner::Topology(topology.clone()))
        );
        assert_eq!(
            observed.get(&Id::namespace(Ns::Named(name("foreign")))),
            None
        );
        apply(&mut kernel, &topology, &State::new());
        assert_eq!(sh("ls /run/netns; ip -o link | wc -l"), "foreign\n1\n");
    });
}

#[test]
fn a_namespace_without_a_witness_outside_is_not_removed() {
    on_a_private_host(|| {
        sh("ip netns add trap; ip -n trap link set lo alias netform:breezyfrost");
        let mut b = Builder::new();
        b.namespace("trap");
        let mut kernel = Kernel::open().expect("open");
        let mut observed = kernel.observe(&b.topology, &b.state).expect("observed");
        let trap = Id::namespace(Ns::Named(name("trap")));
        let found = observed.entries.get_mut(&trap).expect("it is there");
        assert_eq!(found.owner, Owner::Foreign);
        // Even if somebody had planned it.
        found.owner = Owner::Topology(b.topology.clone());
        let removal = crate::lab::plan(&b.topology, &State::new(), &observed);
        assert!(!removal.operations.is_empty());
        let failure = kernel.execute(&removal).expect_err("refused");
        let text = failure.to_string();
        assert!(text.contains("ip netns delete trap"), "{text}");
        assert_eq!(sh("ip netns"), "trap\n");
    });
}

#[test]
fn a_half_made_pair_is_ours_and_is_finished() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        // As if netform had been killed between the two ends.
        sh("ip link set veth1_p down; ip link set veth1_p alias ''
            ip address flush dev veth1_p");
        let found = difference(&mut kernel, &topology, &state);
        let link = Id::link(Ns::Host, name("veth1_p"));
        assert!(
            found.iter().any(|operation| operation.id == link
                && matches!(operation.action, Action::Update { .. }))
        );
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        assert!(sh("ip link show veth1_p").contains("alias netform:breezyfrost"));
    });
}

#[test]
fn words_after_the_tag_stay() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        sh(
            "ip link set veth1_p alias 'netform:breezyfrost to the lab' mtu 1400
            ip -n breezyfrost link set lo alias 'netform:breezyfrost of Ann'",
        );
        assert_eq!(difference(&mut kernel, &topology, &state).len(), 1);
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        assert!(sh("ip link show veth1_p").contains("to the lab"));
    });
}

fn borrow(topology: &str, id: &Id, before: &str, original: &str) -> Plan {
    let sysctl = |value: &str| Sysctl {
        value: value.into(),
    };
    let action = Action::Borrow {
        before: sysctl(before),
        after: sysctl("1"),
        original: original.to_owned(),
    };
    one(topology, id, action)
}

fn give_back(topology: &str, id: &Id, after: &str) -> Plan {
    let sysctl = |value: &str| Sysctl {
        value: value.into(),
    };
    let (before, after) = (sysctl("1"), sysctl(after));
    one(
        topology,
        id,
        Action::GiveBack {
            before,
            after,
            stays: None,
        },
    )
}

fn one(topology: &str, id: &Id, action: Action) -> Plan {
    let id = id.clone();
    let operation = Operation {
        id,
        action,
        with: None,
        transfer: None,
        ends: None,
        reason: None,
        after: Vec::new(),
    };
    Plan {
        topology: name(topology),
        operations: vec![operation],
        warnings: Vec::new(),
    }
}

#[test]
fn a_borrowed_value_is_known_until_the_last_gives_it_back() {
    on_a_private_host(|| {
        sh(
            "ip link add d0 type veth peer name d0x; ip link add d1 type veth peer name d1x
            sysctl -qw net.ipv4.conf.d1.forwarding=1",
        );
        let mut kernel = Kernel::open().expect("open");
        let lock = kernel.lock().expect("lock");
        let id = Id::new(Ns::Host, Key::Sysctl(SysctlKey::forwarding(Family::Ipv4)));
        let empty = State::new();
        kernel.observe(&name("a"), &empty).expect("observed");
        kernel
            .execute(&borrow("a", &id, "0", "0"))
            .expect("borrowed");
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
        kernel.observe(&name("b"), &empty).expect("observed");
        kernel
            .execute(&borrow("b", &id, "1", "0"))
            .expect("borrowed");

        let observed = kernel.observe(&name("a"), &empty).expect("observed");
        let loan = &observed.loans[&id];
        assert!(loan.by.values().all(|original| original == "0"));
        assert_eq!(loan.by.len(), 2);
        assert!(loan.links.iter().map(LinkName::as_str).eq(["d1"]));
        // The switch is concerned, so each link's value is known.
        let d0 = Id::new(
            Ns::Host,
            Key::Sysctl(SysctlKey::conf(Family::Ipv4, name("d0"), "forwarding")),
        );
        let on = Resource::Sysctl(Sysctl::on());
        assert_eq!(observed.get(&d0).map(|entry| &entry.resource), Some(&on));
        assert_eq!(observed.get(&id).map(|entry| &entry.resource), Some(&on));

        kernel
            .execute(&give_back("a", &id, "1"))
            .expect("given back");
        assert_eq!(
            sh("cat /proc/sys/net/ipv4/ip_forward; ls /run/netform"),
            "1\nb.json\nlock\n"
        );
        kernel
            .execute(&give_back("b", &id, "0"))
            .expect("given back");
        drop(lock);
        assert_eq!(
            sh("cat /proc/sys/net/ipv4/ip_forward; ls /run | grep netform || true"),
            "0\n"
        );
    });
}

#[test]
fn the_last_topology_removes_the_directories_of_the_first() {
    on_a_private_host(|| {
        let first = story();
        let mut second = Builder::new();
        second.topology = name("second");
        let ns = second.namespace("second");
        second.put(
            &ns,
            Key::File(netform::resource::file::FileKind::ResolvConf),
            Resource::File(netform::resource::file::File {
                content: "search x\n".to_owned(),
            }),
        );
        second.own();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &first.topology, &first.state);
        apply(&mut kernel, &second.topology, &second.state);
        apply(&mut kernel, &first.topology, &State::new());
        assert_eq!(sh("ls /etc/netns"), "second\n");
        assert_eq!(difference(&mut kernel, &second.topology, &second.state), []);
        apply(&mut kernel, &second.topology, &State::new());
        assert_eq!(sh("ls /etc | grep netns || true"), "");
    });
}

#[test]
fn a_file_of_somebody_else_is_foreign() {
    on_a_private_host(|| {
        sh("mkdir -p /etc/netns/breezyfrost; echo search x > /etc/netns/breezyfrost/resolv.conf");
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        let observed = kernel.observe(&topology, &state).expect("observed");
        let foreign = observed
            .entries
            .values()
            .find(|e| matches!(e.resource, Resource::File(_)));
        assert_eq!(foreign.map(|entry| &entry.owner), Some(&Owner::Foreign));
        let failure = kernel
            .execute(&crate::lab::plan(&topology, &state, &State::new()))
            .expect_err("it is in the way");
        assert!(failure.to_string().contains("resolv.conf"), "{failure}");
        assert_eq!(sh("cat /etc/netns/breezyfrost/resolv.conf"), "search x\n");
    });
}

#[test]
fn a_table_inside_of_a_namespace_is_found_when_the_spec_has_none_anymore() {
    on_a_private_host(|| {
        let mut b = story();
        let ns = Ns::Named(name("breezyfrost"));
        b.table(&ns, "veth1");
        let Builder {
            topology,
            mut state,
        } = b;
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        for ns in [ns, Ns::Host] {
            state.entries.remove(&Id::new(ns, Key::Table));
        }
        let found = difference(&mut kernel, &topology, &state);
        assert_eq!(found.len(), 2);
        let tables = |operation: &Operation| matches!(operation.action, Action::Remove(_));
        assert!(found.iter().all(tables), "{found:?}");
        let mut removal = found;
        for operation in &mut removal {
            operation.with = None;
        }
        let removal = Plan {
            topology: topology.clone(),
            operations: removal,
            warnings: Vec::new(),
        };
        kernel.execute(&removal).expect("removed");
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        assert_eq!(
            sh("ip netns exec breezyfrost nft list tables; nft list tables"),
            ""
        );
    });
}

#[test]
fn a_table_of_our_name_without_our_tag_is_foreign() {
    on_a_private_host(|| {
        sh("nft add table inet netform-breezyfrost");
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        let observed = kernel.observe(&topology, &state).expect("observed");
        let table = observed.get(&Id::new(Ns::Host, Key::Table));
        assert_eq!(table.map(|entry| &entry.owner), Some(&Owner::Foreign));
    });
}

#[test]
fn what_a_crash_left_in_the_record_is_forgotten() {
    on_a_private_host(|| {
        let Builder { topology, state } = story();
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        let record = sh("cat /run/netform/breezyfrost.json");
        apply(&mut kernel, &topology, &State::new());
        assert_eq!(sh("ls /run/netform"), "");
        // As if netform had been killed right after it wrote what it was about to make.
        std::fs::write("/run/netform/breezyfrost.json", record).expect("written");
        let plan = apply(&mut kernel, &topology, &State::new());
        assert_eq!(plan.operations, []);
        assert_eq!(sh("ls /run/netform"), "");
    });
}
