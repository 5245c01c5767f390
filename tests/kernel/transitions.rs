//! From any topology to any other.

use fastrand::Rng;
use netform::kernel::Kernel;
use netform::resource::file::{File, FileKind};
use netform::resource::link::LinkKind;
use netform::resource::link::bridge::Bridge;
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Entry, State};

use crate::lab::{Builder, apply, changed, difference, name, on_a_private_host, plan, sh, world};

/// How many transitions are tried.
const TRANSITIONS: usize = 40;

/// A topology of up to three namespaces, four pairs and three bridges, whose names are always the same ones.
fn any(random: &mut Rng) -> Builder {
    let mut b = Builder::new();
    let mut places = vec![Ns::Host];
    for ns in ["c", "a", "b"] {
        if random.bool() {
            let ns = b.namespace(ns);
            for family in Family::BOTH {
                let forwarding = if random.bool() { "1" } else { "0" };
                b.sysctl(&ns, SysctlKey::forwarding(family), forwarding);
            }
            if random.bool() {
                let content = format!("nameserver 192.0.2.{}\n", random.u8(1..3));
                let file = Resource::File(File { content });
                b.put(&ns, Key::File(FileKind::ResolvConf), file);
            }
            places.push(ns);
        }
    }
    let mut bridges: Vec<(Ns, String)> = Vec::new();
    for (number, own) in ["z0", "bridge", "y3"].into_iter().enumerate() {
        if random.bool() {
            continue;
        }
        let ns = places[random.usize(..places.len())].clone();
        let bridge = Bridge {
            stp: random.bool(),
            ..Bridge::default()
        };
        let number = u8::try_from(number).expect("small");
        b.single(
            &ns,
            own,
            LinkKind::Bridge(bridge),
            number + 8 * random.u8(..2),
        );
        let link = b.link(&ns, own);
        link.mtu = Some([1500, 1400, 1270][random.usize(..3)]);
        link.up = random.u8(..5) > 0;
        b.address(&ns, own, &format!("10.9.{number}.1/24"));
        bridges.push((ns, own.to_owned()));
    }
    for pair in 0..4 {
        if random.u8(..4) == 0 {
            continue;
        }
        let ends = [("z", "y"), ("y", "z")].map(|(own, other)| {
            let ns = places[random.usize(..places.len())].clone();
            (ns, format!("{own}{pair}"), format!("{other}{pair}"))
        });
        // A bridge may have the name there.
        let taken = |ns: &Ns, own: &str| bridges.iter().any(|(of, name)| of == ns && name == own);
        if ends.iter().any(|(ns, own, _)| taken(ns, own)) {
            continue;
        }
        let mtu = [1500, 1400, 1270][random.usize(..3)];
        let up = [random.u8(..5) > 0, random.u8(..5) > 0];
        for (place, (ns, own, other)) in ends.iter().enumerate() {
            let peer_ns = &ends[1 - place].0;
            let mac = u8::try_from(pair * 2 + place).expect("small") + 8 * random.u8(..2);
            b.end((ns, own), (peer_ns, other), mac);
            let link = b.link(ns, own);
            link.mtu = Some(mtu);
            link.up = up[place];
            let here: Vec<_> = bridges.iter().filter(|(of, _)| of == ns).collect();
            if !here.is_empty() && random.bool() {
                link.master = Some(name(&here[random.usize(..here.len())].1));
            }
            for extra in 0..random.u8(1..4) {
                let host = place + 1 + 2 * usize::from(extra);
                b.address(ns, own, &format!("10.{pair}.0.{host}/24"));
                if mtu >= 1280 {
                    b.address(ns, own, &format!("fd0{pair}::{host}/64"));
                }
            }
            if *ns == Ns::Host && random.bool() && mtu >= 1280 {
                let key = SysctlKey::conf(Family::Ipv6, name(own), "accept_ra");
                b.sysctl(ns, key, "0");
            }
        }
        let (ns, own, _) = &ends[0];
        if up == [true, true] && random.bool() && ends[1].0 != *ns {
            b.route(
                ns,
                &format!("10.10{pair}.0.0/16"),
                &format!("10.{pair}.0.2"),
                own,
            );
            if mtu >= 1280 {
                b.route(
                    ns,
                    &format!("fd10:{pair}::/32"),
                    &format!("fd0{pair}::2"),
                    own,
                );
            }
        }
    }
    if random.bool() {
        b.table(&places[random.usize(..places.len())], "z0");
    }
    b
}

/// The resources by value, but settings, which are there whether somebody wants them or not.
fn values(state: &State, which: impl Fn(&Entry) -> bool) -> Vec<(Id, Resource)> {
    let entries = state.entries.iter();
    entries
        .filter(|(id, entry)| !matches!(id.key, Key::Sysctl(_)) && which(entry))
        .map(|(id, entry)| {
            let mut resource = entry.resource.clone();
            if let Resource::Address(address) = &mut resource {
                address.secondary = false;
            }
            (id.clone(), resource)
        })
        .collect()
}

#[test]
fn any_topology_becomes_any_other() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    on_a_private_host(|| {
        sh(
            "mount --bind /run/netns /run/netns; mount --make-shared /run/netns
            ip netns add foreign; ip link add name f0 type veth peer name f1 netns foreign
            ip link set f0 up; ip address add 10.99.0.1/24 dev f0
            ip route add 10.98.0.0/16 via 10.99.0.2; nft add table inet theirs",
        );
        let before = world();
        let mut kernel = Kernel::open().expect("open");
        let lock = kernel.lock().expect("lock");
        let topology = Builder::new().topology;
        for step in 0..TRANSITIONS {
            let wanted = any(&mut random).state;
            if random.bool() {
                // Stopped somewhere, on the way.
                let observed = kernel.observe(&topology, &wanted).expect("observed");
                let mut part = plan(&topology, &wanted, &observed);
                part.operations
                    .truncate(random.usize(..=part.operations.len()));
                kernel.execute(&part).expect("executed");
            }
            apply(&mut kernel, &topology, &wanted);
            let left = difference(&mut kernel, &topology, &wanted);
            assert_eq!(left, [], "seed {seed}, transition {step}");
            let observed = kernel.observe(&topology, &wanted).expect("observed");
            let ours = |entry: &Entry| entry.owner.is(&topology);
            assert_eq!(
                values(&observed, ours),
                values(&wanted, |_| true),
                "seed {seed}, transition {step}"
            );
        }
        apply(&mut kernel, &topology, &State::new());
        drop(lock);
        assert_eq!(changed(&before, &world()), [""; 0], "seed {seed}");
    });
}
