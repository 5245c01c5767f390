//! Each kind of object, both ways.

use netform::kernel::Kernel;
use netform::resource::address::{Address, AddressKey};
use netform::resource::route::{NextHop, Route, RouteKey, Target};
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{External, State};

use crate::lab::{Builder, apply, difference, name, on_a_private_host, sh, story};

fn hop(via: Option<&str>, dev: &str, weight: u16) -> NextHop {
    NextHop {
        via: via.map(|via| via.parse().expect("an address")),
        dev: Some(name(dev)),
        onlink: false,
        weight,
    }
}

fn route(target: Target) -> Route {
    Route {
        target,
        src: None,
        mtu: None,
    }
}

fn key(to: &str, table: u32, metric: u32) -> RouteKey {
    RouteKey {
        table,
        to: to.parse().expect("a prefix"),
        metric,
    }
}

#[test]
fn routes_of_each_sort_read_back_as_they_were_made() {
    on_a_private_host(|| {
        let mut b = story();
        let ns = Ns::Named(name("breezyfrost"));
        let unicast = |hops: &[NextHop]| route(Target::Unicast(hops.to_vec()));
        let onlink = NextHop {
            onlink: true,
            ..hop(Some("203.0.113.1"), "veth1", 1)
        };
        for (key, route) in [
            (
                key("10.1.0.0/16", 254, 0),
                unicast(&[hop(None, "veth1", 1)]),
            ),
            (key("10.2.0.0/16", 254, 50), unicast(&[onlink])),
            (key("10.3.0.0/16", 100, 7), route(Target::Blackhole)),
            (key("10.4.0.0/16", 1000, 0), route(Target::Unreachable)),
            (key("10.5.0.0/16", 254, 0), route(Target::Prohibit)),
            (
                key("10.6.0.0/16", 254, 0),
                unicast(&[
                    hop(Some("192.168.50.3"), "veth1", 1),
                    hop(Some("192.168.50.4"), "veth1", 7),
                ]),
            ),
            (
                key("10.7.0.0/16", 254, 0),
                unicast(&[hop(Some("fd50::3"), "veth1", 1)]),
            ),
            (
                key("10.8.0.0/16", 254, 0),
                Route {
                    src: Some("192.168.50.2".parse().expect("an address")),
                    mtu: Some(1300),
                    ..unicast(&[hop(Some("192.168.50.3"), "veth1", 1)])
                },
            ),
            (
                key("fd71::/64", 254, 1024),
                unicast(&[hop(None, "veth1", 1)]),
            ),
            (key("fd72::/64", 254, 9), route(Target::Blackhole)),
            (key("fd73::/64", 100, 9), route(Target::Unreachable)),
            (key("fd74::/64", 1000, 9), route(Target::Prohibit)),
            (
                key("fd76::/64", 254, 1024),
                unicast(&[
                    hop(Some("fd50::3"), "veth1", 1),
                    hop(Some("fd50::4"), "veth1", 7),
                ]),
            ),
            (
                key("fd78::/64", 254, 1024),
                Route {
                    src: Some("fd50::2".parse().expect("an address")),
                    mtu: Some(1300),
                    ..unicast(&[hop(Some("fd50::3"), "veth1", 1)])
                },
            ),
        ] {
            b.put(&ns, Key::Route(key), Resource::Route(route));
        }
        let Builder {
            topology,
            mut state,
        } = b;
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);

        // Each is replaced in place, and each removed by itself.
        for entry in state.entries.values_mut() {
            if let Resource::Route(route) = &mut entry.resource
                && !route.hops().is_empty()
            {
                route.mtu = Some(1400);
            }
        }
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        let mut fewer = state.clone();
        fewer
            .entries
            .retain(|id, _| !matches!(id.key, Key::Route(_)));
        let observed = kernel.observe(&topology, &state).expect("observed");
        let mut removals = crate::lab::plan(&topology, &fewer, &observed);
        assert_eq!(removals.operations.len(), 16);
        for operation in &mut removals.operations {
            operation.with = None;
        }
        kernel.execute(&removals).expect("removed");
        assert_eq!(difference(&mut kernel, &topology, &fewer), []);
        let left = sh("ip -n breezyfrost route show table all proto 110
            ip -n breezyfrost -6 route show table all proto 110");
        assert_eq!(left, "");
    });
}

#[test]
fn addresses_of_each_sort_read_back_as_they_were_made() {
    on_a_private_host(|| {
        let mut b = story();
        let ns = Ns::Named(name("breezyfrost"));
        for (link, ip, prefix, peer) in [
            ("lo", "192.0.2.7", 32, None),
            ("lo", "127.0.0.5", 8, None),
            ("lo", "fd07::7", 128, None),
            ("veth1", "192.168.50.77", 24, None),
            ("veth1", "192.0.2.9", 32, Some("198.51.100.9")),
            ("veth1", "fd09::9", 128, Some("fd09::8")),
            ("veth1", "fe80::77", 64, None),
        ] {
            let ip = ip.parse().expect("an address");
            let peer = peer.map(|peer| peer.parse().expect("an address"));
            let key = AddressKey {
                link: name(link),
                ip,
            };
            b.put(
                &ns,
                Key::Address(key),
                Resource::Address(Address {
                    peer,
                    ..Address::new(prefix)
                }),
            );
        }
        let Builder { topology, state } = b;
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        let tentative =
            sh("ip -n breezyfrost address show tentative | grep -c 'fd0\\|fe80::77' || true");
        assert_eq!(tentative, "0\n", "they are usable at once");

        let mut shorter = state.clone();
        for (id, entry) in &mut shorter.entries {
            if let (Key::Address(key), Resource::Address(address)) = (&id.key, &mut entry.resource)
                && key.link.as_str() == "lo"
            {
                address.prefix -= 1;
            }
        }
        apply(&mut kernel, &topology, &shorter);
        assert_eq!(difference(&mut kernel, &topology, &shorter), []);
    });
}

#[test]
fn settings_that_come_with_links_are_those_of_their_files() {
    on_a_private_host(|| {
        sh("ip link add name a type veth peer name b");
        let mut desired = State::new();
        let mut b = Builder::new();
        for (family, name_of_family, setting, value) in [
            (Family::Ipv4, "ipv4", "forwarding", "1"),
            (Family::Ipv4, "ipv4", "rp_filter", "2"),
            (Family::Ipv4, "ipv4", "src_valid_mark", "1"),
            (Family::Ipv4, "ipv4", "route_localnet", "1"),
            (Family::Ipv4, "ipv4", "arp_ignore", "3"),
            (Family::Ipv6, "ipv6", "forwarding", "1"),
            (Family::Ipv6, "ipv6", "accept_ra", "2"),
            (Family::Ipv6, "ipv6", "accept_redirects", "0"),
            (Family::Ipv6, "ipv6", "force_forwarding", "1"),
            (Family::Ipv6, "ipv6", "hop_limit", "77"),
        ] {
            let file = format!("/proc/sys/net/{name_of_family}/conf/a/{setting}");
            // Older kernels have no force_forwarding.
            if std::path::Path::new(&file).exists() {
                sh(&format!("echo {value} > {file}"));
                for link in ["a", "b"] {
                    let key = SysctlKey::conf(family, name(link), setting);
                    let value = if link == "a" {
                        value.to_owned()
                    } else {
                        sh(&format!(
                            "cat /proc/sys/net/{name_of_family}/conf/b/{setting}"
                        ))
                        .trim()
                        .to_owned()
                    };
                    b.sysctl(&Ns::Host, key, &value);
                }
            }
        }
        b.sysctl(&Ns::Host, SysctlKey::forwarding(Family::Ipv4), "0");
        b.sysctl(&Ns::Host, SysctlKey::forwarding(Family::Ipv6), "0");
        desired.entries.append(&mut b.state.entries);
        let mut kernel = Kernel::open().expect("open");
        for switch in ["0", "1"] {
            if switch == "1" {
                sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
                for entry in desired.entries.iter_mut().filter(|(id, _)| {
                    matches!(&id.key, Key::Sysctl(key) if key.path().ends_with("forward") || key.path().ends_with("/forwarding"))
                }) {
                    let Resource::Sysctl(sysctl) = &mut entry.1.resource else { continue };
                    sysctl.value = "1".into();
                }
            }
            let observed = kernel.observe(&b.topology, &desired).expect("observed");
            for (id, entry) in &desired.entries {
                let seen = observed.get(id).map(|seen| &seen.resource);
                assert_eq!(seen, Some(&entry.resource), "{id:?}");
            }
        }
    });
}

#[test]
fn facts_are_those_of_the_host() {
    on_a_private_host(|| {
        sh(
            "ip link add wan type veth peer name wanx; ip link property add dev wan altname enp0s1
            ip address add 192.168.95.191/24 dev wan; ip address add fd95::191/64 dev wan nodad
            ip link set wanx up; ip link set wan mtu 1400 up
            ip link add low type veth peer name lowx; ip link set low up; ip link set lowx up; ip address add 10.9.9.9/24 dev low
            ip route add default via 192.168.95.2 dev wan metric 10
            ip route add default via 10.9.9.1 dev low metric 20
            ip route add default via fd95::2 dev wan",
        );
        let facts = Kernel::open()
            .expect("open")
            .facts(&External::new())
            .expect("facts");
        let wan = &facts.host.links["wan"];
        assert_eq!(wan.mtu, 1400);
        assert!(wan.altnames.contains("enp0s1"));
        assert!(
            wan.addresses.contains(
                &"192.168.95.191/24"
                    .parse::<ipnet::IpNet>()
                    .expect("a prefix")
                    .into()
            )
        );
        assert!(
            wan.addresses.contains(
                &"fd95::191/64"
                    .parse::<ipnet::IpNet>()
                    .expect("a prefix")
                    .into()
            )
        );
        assert_eq!((wan.accept_ra, wan.takes_ra), (Some(1), true));
        assert!(!facts.host.links["lo"].takes_ra);
        assert_eq!(facts.host.default[&Family::Ipv4][0].link.as_str(), "wan");
        assert_eq!(facts.host.default[&Family::Ipv6][0].link.as_str(), "wan");
        assert!(facts.machine.ipv6 && !facts.host.ipv6_forwarding);
        sh("sysctl -qw net.ipv6.conf.all.forwarding=1");
        let facts = Kernel::open()
            .expect("open")
            .facts(&External::new())
            .expect("facts");
        assert!(facts.host.ipv6_forwarding && !facts.host.links["wan"].takes_ra);
    });
}

#[test]
fn the_peer_of_a_veth_is_found_whatever_its_number() {
    on_a_private_host(|| {
        // Numbers that repeat: in each namespace the same, and the host's are each other's.
        sh("for n in a b c; do ip netns add $n; done
            ip link add ha index 100 type veth peer name e index 200 netns a
            ip link add hb index 101 type veth peer name e index 201 netns b
            ip -n c link add fake index 200 type veth peer name other index 100 netns b
            ip link add x type veth peer name y");
        let mut b = Builder::new();
        for ns in ["a", "b", "c"] {
            b.namespace(ns);
        }
        let mut kernel = Kernel::open().expect("open");
        let observed = kernel.observe(&b.topology, &b.state).expect("observed");
        let named = |ns: &str| Ns::Named(name(ns));
        for (ns, link, peer_ns, peer) in [
            (Ns::Host, "ha", named("a"), "e"),
            (Ns::Host, "hb", named("b"), "e"),
            (named("a"), "e", Ns::Host, "ha"),
            (named("b"), "e", Ns::Host, "hb"),
            (named("c"), "fake", named("b"), "other"),
            (named("b"), "other", named("c"), "fake"),
            (Ns::Host, "x", Ns::Host, "y"),
        ] {
            let seen = observed.get(&Id::link(ns, name(link))).expect("a link");
            let Resource::Link(seen) = &seen.resource else {
                panic!("a link")
            };
            let Some(found) = crate::lab::peer(seen) else {
                panic!("{link} has a peer")
            };
            assert_eq!((&found.ns, found.name.as_str()), (&peer_ns, peer), "{link}");
        }
    });
}

#[test]
fn a_pair_lies_in_one_namespace_or_between_two() {
    on_a_private_host(|| {
        let mut b = Builder::new();
        let (x, y) = (b.namespace("x"), b.namespace("y"));
        b.end((&x, "in1"), (&x, "in2"), 1);
        b.end((&x, "in2"), (&x, "in1"), 2);
        b.end((&x, "out"), (&y, "out"), 3);
        b.end((&y, "out"), (&x, "out"), 4);
        b.end((&Ns::Host, "h1"), (&Ns::Host, "h2"), 5);
        b.end((&Ns::Host, "h2"), (&Ns::Host, "h1"), 6);
        b.address(&x, "out", "fd01::1/64");
        b.address(&y, "out", "fd01::2/64");
        b.route(&x, "::/0", "fd01::2", "out");
        b.route(&y, "::/0", "fd01::1", "out");
        let Builder { topology, state } = b;
        let mut kernel = Kernel::open().expect("open");
        apply(&mut kernel, &topology, &state);
        assert_eq!(difference(&mut kernel, &topology, &state), []);
        sh("ip netns exec x ping -c1 -W5 fd01::2");
        for end in ["h1", "h2"] {
            assert!(sh(&format!("ip link show {end}")).contains("alias netform:breezyfrost"));
        }
    });
}

#[test]
fn a_link_becomes_a_port_of_one_bridge_and_then_of_another() {
    on_a_private_host(|| {
        sh("for b in br0 br1; do ip link add $b type bridge; ip link set $b up; done");
        let Builder {
            topology,
            mut state,
        } = story();
        let mut kernel = Kernel::open().expect("open");
        let id = Id::link(Ns::Host, name("veth1_p"));
        for master in ["br0", "br1"] {
            let entry = state.entries.get_mut(&id).expect("a link");
            let Resource::Link(link) = &mut entry.resource else {
                panic!("a link")
            };
            link.master = Some(name(master));
            apply(&mut kernel, &topology, &state);
            assert_eq!(difference(&mut kernel, &topology, &state), []);
            let shown = sh("ip link show veth1_p");
            assert!(shown.contains(&format!("master {master} ")), "{shown}");
        }
        apply(&mut kernel, &topology, &State::new());
        assert_eq!(sh("ip -o link | wc -l"), "3\n");
    });
}
