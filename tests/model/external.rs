//! Namespaces that others make: containers, which come and go.

use fastrand::Rng;
use netform::resource::address::{Address, AddressKey};
use netform::resource::file::{File, FileKind};
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::NamespaceName;
use netform::resource::route::{Route, RouteKey};
use netform::resource::sysctl::{Sysctl, SysctlKey};
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Owner, State};

use super::generate::{foreign_route, leads, link_name, some, variant};
use super::kernel::{RA, World, conf, path4, switch};
use super::ports;
use super::sketch::{Lead, Sketch, ip4, sysctl, table};

/// The names of containers. They stand before, between and after those of other namespaces.
pub(crate) const CONTAINERS: [&str; 2] = ["box", "zz"];

pub(crate) fn name(text: &str) -> NamespaceName {
    NamespaceName::try_from(text).unwrap()
}

/// What a topology has in a container besides the ends of pairs.
#[derive(Debug, Clone)]
pub(crate) struct Abroad {
    pub(crate) file: bool,
    /// Whether the container's own link forwards for it.
    pub(crate) uplink: [bool; 2],
    /// Whether it throws the switches.
    pub(crate) switches: [bool; 2],
    pub(crate) somaxconn: bool,
    pub(crate) table: Option<u8>,
    pub(crate) rules: Vec<Lead>,
    /// The prefixes that it routes over the container's own link.
    pub(crate) over_eth0: Vec<u8>,
}

pub(crate) fn abroad(rng: &mut Rng) -> Abroad {
    Abroad {
        file: some(rng, 4),
        uplink: [rng.bool(), rng.bool()],
        switches: [some(rng, 4), some(rng, 4)],
        somaxconn: rng.bool(),
        table: variant(rng),
        rules: leads(rng),
        over_eth0: (1..4).filter(|_| some(rng, 3)).collect(),
    }
}

/// A container starts, with a network of its own.
pub(crate) fn appear(world: &mut World, text: &str, rng: &mut Rng) {
    let ns = Ns::Named(name(text));
    world.add_ns(&ns, Owner::Foreign).unwrap();
    let eth0 = link_name("eth0");
    let device = Link {
        kind: LinkKind::Other(String::new()),
        up: true,
        mtu: Some(1500),
        mac: None,
        master: None,
        tagged: true,
    };
    world.add_link(&ns, &eth0, device, Owner::Foreign);
    let key = AddressKey {
        link: eth0.clone(),
        ip: ip4(0, 9, 5),
    };
    world
        .add_address(&ns, &key, &Address::new(24), Owner::Foreign)
        .unwrap();
    foreign_route(world, &ns, &eth0, "0.0.0.0/0", "10.0.9.1", None);
    if rng.bool() {
        foreign_route(world, &ns, &eth0, "::/0", "fe80::1", Some(RA));
    }
    for key in ["net/ipv4/ip_forward", "net/core/somaxconn"] {
        if some(rng, 3) {
            let key = SysctlKey::Global(key.into());
            world.write(&ns, &key, "1").unwrap();
        }
    }
    if some(rng, 3) {
        let key = SysctlKey::conf(Family::Ipv4, eth0, "forwarding");
        world.write(&ns, &key, "1").unwrap();
    }
}

/// A container stops, or starts, or both.
pub(crate) fn come_or_go(world: &mut World, rng: &mut Rng) {
    let text = *rng.choice(&CONTAINERS).unwrap();
    let gone = world.remove_ns(&Ns::Named(name(text))).is_ok();
    if !gone || rng.bool() {
        appear(world, text, rng);
    }
}

/// Whether all containers run that a topology wants something in.
pub(crate) fn all_run(world: &World, desired: &State) -> bool {
    let mut names = desired.external.keys();
    names.all(|name| world.has_ns(&Ns::Named(name.clone())))
}

impl Sketch {
    /// Whether a namespace's switches are thrown, if others make it.
    pub(crate) fn switches_of(&self, ns: &Ns) -> Option<[bool; 2]> {
        match ns {
            Ns::Host => Some(self.switches),
            Ns::Named(name) => self.external.get(name).map(|abroad| abroad.switches),
        }
    }

    pub(crate) fn abroad(
        &self,
        ns: &Ns,
        abroad: &Abroad,
        put: &mut impl FnMut(&Ns, Key, Resource),
    ) {
        let eth0 = link_name("eth0");
        for (on, key) in [
            (abroad.uplink[0], conf(Family::Ipv4, &eth0, "forwarding")),
            (
                abroad.uplink[1],
                conf(Family::Ipv6, &eth0, "force_forwarding"),
            ),
            (abroad.switches[0], switch(Family::Ipv4)),
            (abroad.switches[1], switch(Family::Ipv6)),
        ] {
            if on {
                put(ns, key, sysctl(true));
            }
        }
        if abroad.switches[1] {
            let value = "2".to_owned();
            let key = conf(Family::Ipv6, &eth0, "accept_ra");
            put(
                ns,
                key,
                Resource::Sysctl(Sysctl {
                    value: value.into(),
                }),
            );
        }
        if abroad.somaxconn {
            put(ns, path4("net/core/somaxconn"), sysctl(true));
        }
        if abroad.file {
            let content = format!("nameserver 10.0.0.{}\n", self.number);
            let key = Key::File(FileKind::ResolvConf);
            put(ns, key, Resource::File(File { content }));
        }
        if let Some(variant) = abroad.table {
            let table = table(&self.topology, variant);
            put(ns, Key::Table, Resource::Table(table));
        }
        for lead in &abroad.rules {
            self.lead(ns, lead, put);
        }
        for third in &abroad.over_eth0 {
            let key = RouteKey {
                table: if *third == 1 { 100 } else { 254 },
                to: format!("10.3{}.{third}.0/24", self.number).parse().unwrap(),
                metric: 0,
            };
            let route = Route::through(ip4(0, 9, 1), eth0.clone());
            put(ns, Key::Route(key), Resource::Route(route));
        }
    }
}

/// The namespaces that others make and that a topology has something in, or wants to.
pub(crate) fn known(world: &World, of: &Owner, desired: &State) -> Vec<NamespaceName> {
    let inhabited = world.entries.iter();
    let inhabited = inhabited.filter(|(_, entry)| entry.owner == *of);
    let inhabited = inhabited.map(|(id, _)| id);
    let lent = world.loans.iter().filter(|(_, loan)| match of {
        Owner::Topology(topology) => loan.by.contains_key(topology),
        _ => false,
    });
    let tables = world.tables.keys().filter(|(_, topology)| match of {
        Owner::Topology(of) => topology == of,
        _ => false,
    });
    let spaces = inhabited
        .map(|id: &Id| &id.ns)
        .chain(lent.map(|(id, _)| &id.ns))
        .chain(tables.map(|(ns, _)| ns));
    let ports = match of {
        Owner::Topology(topology) => Some(ports::places(world, topology)),
        _ => None,
    };
    let spaces = spaces.chain(ports.into_iter().flatten());
    let spaces = spaces.filter(|ns| world.is_found(ns)).filter_map(Ns::name);
    let wanted = desired.external.keys();
    let wanted = wanted.filter(|name| world.has_ns(&Ns::Named((*name).clone())));
    spaces.chain(wanted).cloned().collect()
}
