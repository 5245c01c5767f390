//! What a plan of very many namespaces costs. By hand: `cargo test --release --test scale -- --ignored --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, told to whoever asks for it"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netform::plan::plan;
use netform::resource::address::{Address, AddressKey};
use netform::resource::file::{File, FileKind};
use netform::resource::link::veth::{Peer, Veth};
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::{LinkName, NamespaceName, TopologyName};
use netform::resource::namespace::Namespace;
use netform::resource::route::{Route, RouteKey};
use netform::resource::sysctl::{Sysctl, SysctlKey};
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Owner, State};

/// Namespaces that are each joined to the host, of 12 resources or more.
fn star(topology: &TopologyName, count: u32) -> State {
    let mut state = State::new();
    for number in 0..count {
        let ns = Ns::Named(NamespaceName::try_from(format!("n{number}")).unwrap());
        let mut put = |ns: &Ns, key, resource| {
            let owner = Owner::Topology(topology.clone());
            state.insert(Id::new(ns.clone(), key), resource, owner);
        };
        put(&ns, Key::Namespace, Resource::Namespace(Namespace {}));
        for family in Family::BOTH {
            let key = Key::Sysctl(SysctlKey::forwarding(family));
            put(&ns, key, Resource::Sysctl(Sysctl::off()));
        }
        let content = "nameserver 192.0.2.1\n".to_owned();
        let file = Resource::File(File { content });
        put(&ns, Key::File(FileKind::ResolvConf), file);
        let link = |kind| {
            Resource::Link(Link {
                kind,
                up: true,
                mtu: None,
                mac: None,
                master: None,
                tagged: true,
            })
        };
        let lo = LinkName::try_from("lo").unwrap();
        put(&ns, Key::Link(lo), link(LinkKind::Loopback));
        let inner = LinkName::try_from("eth0").unwrap();
        let outer = LinkName::try_from(format!("v{number}")).unwrap();
        let net = 0x0a00_0000 + number * 4;
        for (last, here, name, there, peer) in [
            (1, &ns, &inner, &Ns::Host, &outer),
            (2, &Ns::Host, &outer, &ns, &inner),
        ] {
            let peer = Some(Peer {
                ns: there.clone(),
                name: peer.clone(),
            });
            let veth = LinkKind::Veth(Veth { peer });
            put(here, Key::Link(name.clone()), link(veth));
            let link = name.clone();
            let ip = Ipv4Addr::from_bits(net + last).into();
            let address = Resource::Address(Address::new(30));
            put(here, Key::Address(AddressKey { link, ip }), address);
        }
        let key = SysctlKey::conf(Family::Ipv4, outer, "forwarding");
        put(&Ns::Host, Key::Sysctl(key), Resource::Sysctl(Sysctl::on()));
        let via = Ipv4Addr::from_bits(net + 2).into();
        let key = RouteKey::main("0.0.0.0/0".parse().unwrap());
        put(
            &ns,
            Key::Route(key),
            Resource::Route(Route::through(via, inner)),
        );
    }
    state
}

fn time(topology: &TopologyName, desired: &State, observed: &State) -> (usize, Duration) {
    let start = Instant::now();
    let plan = plan(topology, desired, observed).expect("nothing is in the way");
    (plan.operations.len(), start.elapsed())
}

#[test]
#[ignore = "it measures"]
fn the_time_of_a_plan_grows_with_its_size() {
    let topology = TopologyName::try_from("star").unwrap();
    let nothing = State::new();
    for count in [100, 1_000, 10_000] {
        let all = star(&topology, count);
        let mut found = all.clone();
        let loopback = |key: &Key| matches!(key, Key::Link(name) if name.as_str() == "lo");
        for (id, entry) in &mut found.entries {
            if loopback(&id.key) {
                entry.owner = Owner::Kernel;
            }
        }
        let made = time(&topology, &all, &nothing);
        let same = time(&topology, &all, &found);
        let gone = time(&topology, &nothing, &found);
        assert_eq!(same.0, 0, "nothing is to be done");
        println!("{count} namespaces: make {made:?}, no change {same:?}, destroy {gone:?}");
    }
}
