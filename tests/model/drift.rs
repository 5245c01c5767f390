//! What others may do to a host at any time.

use fastrand::Rng;
use netform::resource::address::{Address, AddressKey};
use netform::resource::file::{File, FileKind};
use netform::resource::link::{Link, LinkKind, MacAddress};
use netform::resource::name::{LinkName, NamespaceName};
use netform::resource::route::{Route, RouteKey, Target};
use netform::resource::rule::{Action, Rule};
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::{Entry, Owner};

use super::external;
use super::generate::{LINKS, SPACES, link_name};
use super::kernel::World;
use super::sketch::table;

/// Links that netform must find as they are.
fn is_ours(owner: &Owner) -> bool {
    matches!(owner, Owner::Topology(_))
}

/// Does something at random.
pub(crate) fn drift(world: &mut World, rng: &mut Rng) {
    let ours: Vec<Id> = world
        .entries
        .iter()
        .filter(|(id, entry)| {
            is_ours(&entry.owner)
                || matches!(id.key, Key::Sysctl(_) | Key::Link(_)) && !world.is_found(&id.ns)
        })
        .map(|(id, _)| id.clone())
        .collect();
    match rng.u8(..13) {
        0 => {
            if let Some((ns, of)) = rng.choice(world.tables.keys().cloned().collect::<Vec<_>>()) {
                if rng.bool() {
                    world.tables.remove(&(ns, of));
                } else {
                    let changed = table(&of, 9);
                    world.tables.insert((ns, of), changed);
                }
            }
        }
        1 => foreign(world, rng),
        2 => external::come_or_go(world, rng),
        3 => world.unplug(rng),
        4 => {
            let links = ours.iter().filter(|id| matches!(id.key, Key::Link(_)));
            if let Some(Id {
                ns,
                key: Key::Link(link),
            }) = rng.choice(links.collect::<Vec<_>>())
            {
                let of_all = rng.bool();
                let promotes = (ns.clone(), (!of_all).then(|| link.clone()));
                if !world.promotes.remove(&promotes) {
                    world.promotes.insert(promotes);
                }
            }
        }
        _ => {
            if let Some(id) = rng.choice(ours) {
                spoil(world, &id, rng);
            }
        }
    }
}

/// Changes or removes one thing of ours.
fn spoil(world: &mut World, id: &Id, rng: &mut Rng) {
    let ns = &id.ns;
    let entry = world.entries[id].clone();
    match (&id.key, &entry.resource) {
        (Key::Namespace, _) => world.remove_ns(ns).unwrap(),
        (Key::Link(name), Resource::Link(link)) => {
            // Raised by hand it would have addresses with a peer and without the route to it, which nobody sees.
            let cut_off = |(id, ..): (&Id, _, _)| world.cut_off.contains(id);
            let choice = match rng.u8(..6) {
                1 | 2 | 5 if !link.up && world.addresses(ns, Some(name)).any(cut_off) => return,
                choice => choice,
            };
            let changed = match choice {
                0 if link.kind != LinkKind::Loopback => world.remove_link(ns, name),
                1 | 2 => world.change_link(ns, name, |link| link.up = !link.up),
                3 if link.kind != LinkKind::Loopback => {
                    let mtu = *rng.choice(&[1000, 1300, 1500]).unwrap();
                    world.change_link(ns, name, |link| link.mtu = Some(mtu))
                }
                4 if link.kind != LinkKind::Loopback => world.change_link(ns, name, |link| {
                    link.mac = Some(MacAddress([2, 2, 2, 2, 2, 2]));
                }),
                _ => world
                    .change_link(ns, name, |link| link.up = false)
                    .and_then(|()| world.change_link(ns, name, |link| link.up = true)),
            };
            changed.unwrap();
        }
        (Key::Address(key), Resource::Address(address)) => {
            world.remove_address(ns, key).unwrap();
            let full = if key.ip.is_ipv4() { 32 } else { 128 };
            let mut again = address.clone();
            match rng.u8(..4) {
                0 => return,
                1 => again.prefix = full,
                2 => again.peer = None,
                _ => {}
            }
            world.add_address(ns, key, &again, entry.owner).unwrap();
        }
        (Key::Route(_), Resource::Route(route)) => {
            if rng.bool() {
                world.entries.remove(id);
            } else {
                let mut route = route.clone();
                if rng.bool() {
                    route.target = Target::Blackhole;
                    route.src = None;
                }
                route.mtu = Some(1234);
                let resource = Resource::Route(route);
                let owner = entry.owner;
                world.entries.insert(id.clone(), Entry { resource, owner });
            }
        }
        (Key::Rule(_), Resource::Rule(_)) => {
            world.entries.remove(id);
            if rng.bool() {
                let action = Action::Lookup(rng.u32(7..9));
                let resource = Resource::Rule(Rule::new(action));
                let owner = entry.owner;
                world.entries.insert(id.clone(), Entry { resource, owner });
            }
        }
        (Key::File(_), _) => {
            world.entries.remove(id);
            if rng.bool() {
                let content = "nameserver 192.0.2.1\n".to_owned();
                let resource = Resource::File(File { content });
                let owner = entry.owner;
                world.entries.insert(id.clone(), Entry { resource, owner });
            }
        }
        (Key::Sysctl(key), Resource::Sysctl(sysctl)) => {
            let value = if sysctl.value == "0" { "1" } else { "0" };
            world.write(ns, key, value).unwrap();
        }
        other => unreachable!("{other:?}"),
    }
}

/// Puts a link or a file where a topology may want its own.
fn in_the_way(world: &mut World, ns: &Ns, rng: &mut Rng) {
    if *ns != Ns::Host && rng.bool() {
        let content = "nameserver 192.0.2.9\n".to_owned();
        let resource = Resource::File(File { content });
        let owner = Owner::Foreign;
        let id = Id::new(ns.clone(), Key::File(FileKind::ResolvConf));
        let entry = Entry { resource, owner };
        world.entries.entry(id).or_insert(entry);
        return;
    }
    let name = rng.choice(LINKS).unwrap();
    let (name, other) = match ns {
        Ns::Host => (format!("{name}-b"), "other-b"),
        Ns::Named(_) => ((*name).to_owned(), "other"),
    };
    let link = Link {
        up: true,
        mtu: Some(1500),
        mac: None,
        master: None,
        tagged: true,
        kind: LinkKind::Other(String::new()),
    };
    let (name, other) = (link_name(&name), link_name(other));
    let ends = [(ns, &name, link.clone()), (ns, &other, link)];
    // The names may be taken.
    drop(world.add_pair(ends, &Owner::Foreign));
}

/// Puts something foreign in.
fn foreign(world: &mut World, rng: &mut Rng) {
    let links: Vec<(Id, Link)> = world
        .entries
        .iter()
        .filter_map(|(id, entry)| match &entry.resource {
            Resource::Link(link) => Some((id.clone(), link.clone())),
            _ => None,
        })
        .collect();
    let (id, link) = rng.choice(links).unwrap();
    let Key::Link(name) = &id.key else { return };
    let ns = &id.ns;
    match rng.u8(..6) {
        // In the subnet of an address that is there, or in another.
        0 => {
            let found = world
                .addresses(ns, Some(name))
                .map(|(_, key, address)| (key.ip, address.prefix));
            let found = found.collect::<Vec<_>>();
            let ip = match rng.choice(found) {
                Some((std::net::IpAddr::V4(ip), 24)) => {
                    let [a, b, c, _] = ip.octets();
                    format!("{a}.{b}.{c}.{}", rng.u8(200..203))
                }
                _ => format!("172.31.0.{}", rng.u8(1..9)),
            };
            let key = AddressKey {
                link: name.clone(),
                ip: ip.parse().unwrap(),
            };
            // It may be there already.
            drop(world.add_address(ns, &key, &Address::new(24), Owner::Foreign));
        }
        1 if link.up => {
            let key = RouteKey {
                table: 254,
                to: format!("172.30.{}.0/24", rng.u8(..5)).parse().unwrap(),
                metric: 0,
            };
            let mut route = Route::through("10.0.0.1".parse().unwrap(), name.clone());
            if let Target::Unicast(hops) = &mut route.target {
                hops[0].via = None;
            }
            let id = Id::new(ns.clone(), Key::Route(key));
            let entry = Entry {
                resource: Resource::Route(route),
                owner: Owner::Foreign,
            };
            world.entries.entry(id).or_insert(entry);
        }
        2 => {
            // A pair between two namespaces, or in one.
            let spaces: Vec<Ns> = world
                .entries
                .keys()
                .filter(|id| id.key == Key::Namespace)
                .map(|id| id.ns.clone())
                .chain([Ns::Host])
                .collect();
            let mut end = |letter: &str| -> (Ns, LinkName) {
                let name = link_name(&format!("{letter}{}", rng.u8(..20)));
                (rng.choice(&spaces).unwrap().clone(), name)
            };
            let ((a, x), (b, y)) = (end("foreign"), end("stranger"));
            let link = Link {
                up: true,
                mtu: Some(1500),
                mac: None,
                master: None,
                tagged: true,
                kind: LinkKind::Other(String::new()),
            };
            let ends = [(&a, &x, link.clone()), (&b, &y, link)];
            // The names may be taken.
            drop(world.add_pair(ends, &Owner::Foreign));
        }
        3 => in_the_way(world, ns, rng),
        4 => {
            // A namespace that a topology may want.
            let name = format!("{}-a", rng.choice(SPACES).unwrap());
            let name = NamespaceName::try_from(name).unwrap();
            // It may be there.
            drop(world.add_ns(&Ns::Named(name), Owner::Foreign));
        }
        _ => {
            // On a link that isn't lent to anybody, or the values to give back aren't known.
            if !world.is_found(ns) {
                let key = SysctlKey::Global("net/core/somaxconn".into());
                world.write(ns, &key, "77").unwrap();
            }
        }
    }
}
