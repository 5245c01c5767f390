//! Random hosts and random topologies.

use fastrand::Rng;
use netform::resource::address::{Address, AddressKey};
use netform::resource::link::bridge::Bridge;
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::{LinkName, NamespaceName, TopologyName};
use netform::resource::route::{Route, RouteKey};
use netform::resource::rule::Action;
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Entry, Owner};

use super::external::{self, CONTAINERS};
use super::kernel::{RA, World};
use super::ports::COMPANY;
use super::sketch::{End, Lead, Own, Pair, Sketch, Space, Spread, Way, ip4};

/// Names that don't sort as things depend on one another.
pub(crate) const LINKS: [&str; 7] = ["zeta", "b0", "eth0", "m", "aa", "q9", "veth1"];
pub(crate) const SPACES: [&str; 6] = ["zoo", "Alpha", "m-x", "0", "gate", "y"];

pub(crate) fn link_name(text: &str) -> LinkName {
    LinkName::try_from(text).unwrap()
}

/// A host with two links of its own, and what takes router advertisements of them.
pub(crate) fn host(rng: &mut Rng) -> (World, Vec<LinkName>) {
    let mut world = World::new();
    let mut takes_ra = Vec::new();
    let lo = link_name("lo");
    world
        .change_link(&Ns::Host, &lo, |lo| lo.up = true)
        .unwrap();
    for (name, ip) in [("ens33", ip4(0, 0, 5)), ("eth1", ip4(0, 1, 5))] {
        let link = link_name(name);
        let device = Link {
            kind: LinkKind::Other(String::new()),
            up: true,
            mtu: Some(1500),
            mac: None,
            master: None,
            tagged: true,
        };
        world.add_link(&Ns::Host, &link, device, Owner::Foreign);
        let key = AddressKey {
            link: link.clone(),
            ip,
        };
        world
            .add_address(&Ns::Host, &key, &Address::new(24), Owner::Foreign)
            .unwrap();
        if rng.bool() {
            foreign_route(&mut world, &Ns::Host, &link, "::/0", "fe80::1", Some(RA));
            takes_ra.push(link);
        }
    }
    let company = Link {
        kind: LinkKind::Bridge(Bridge::default()),
        up: true,
        mtu: Some(1500),
        mac: None,
        master: None,
        tagged: true,
    };
    world.add_link(&Ns::Host, &link_name(COMPANY), company, Owner::Foreign);
    if rng.bool() {
        world.promotes.insert((Ns::Host, None));
    }
    foreign_route(
        &mut world,
        &Ns::Host,
        &link_name("ens33"),
        "0.0.0.0/0",
        "10.0.0.1",
        None,
    );
    if rng.u8(..4) == 0 {
        let key = SysctlKey::Global("net/ipv4/ip_forward".into());
        world.write(&Ns::Host, &key, "1").unwrap();
    } else if rng.bool() {
        let key = SysctlKey::Conf {
            family: Family::Ipv4,
            link: link_name(if rng.bool() { "eth1" } else { "ens33" }),
            name: "forwarding".into(),
        };
        world.write(&Ns::Host, &key, "1").unwrap();
    }
    for name in CONTAINERS {
        if !some(rng, 3) {
            external::appear(&mut world, name, rng);
        }
    }
    (world, takes_ra)
}

pub(crate) fn foreign_route(
    world: &mut World,
    ns: &Ns,
    dev: &LinkName,
    to: &str,
    via: &str,
    mtu: Option<u32>,
) {
    let key = RouteKey {
        table: 254,
        to: to.parse().unwrap(),
        metric: if to.contains(':') { 1024 } else { 100 },
    };
    let mut route = Route::through(via.parse().unwrap(), dev.clone());
    route.mtu = mtu;
    let entry = Entry {
        resource: Resource::Route(route),
        owner: Owner::Foreign,
    };
    world
        .entries
        .insert(Id::new(ns.clone(), Key::Route(key)), entry);
}

pub(crate) fn nothing(name: &str, number: u8, takes_ra: &[LinkName]) -> Sketch {
    Sketch {
        topology: TopologyName::try_from(name).unwrap(),
        number,
        spaces: [].into(),
        external: [].into(),
        pairs: Vec::new(),
        singles: Vec::new(),
        plugs: [].into(),
        uplinks: [].into(),
        switches: [false; 2],
        takes_ra: takes_ra.to_vec(),
        table: None,
        on_ens33: Vec::new(),
        over_ens33: Vec::new(),
        rules: Vec::new(),
    }
}

pub(crate) fn some(rng: &mut Rng, one_in: u8) -> bool {
    rng.u8(..one_in) == 0
}

pub(crate) fn variant(rng: &mut Rng) -> Option<u8> {
    rng.bool().then(|| rng.u8(..2))
}

impl Sketch {
    /// Changes it at random, much or little.
    pub(crate) fn change(&mut self, rng: &mut Rng) {
        for _ in 0..=rng.u8(..8) {
            self.change_once(rng);
        }
    }

    fn change_once(&mut self, rng: &mut Rng) {
        match rng.u8(..22) {
            0 | 1 if self.spaces.len() < 4 => {
                let name = format!("{}-{}", rng.choice(SPACES).unwrap(), self.topology);
                let name = NamespaceName::try_from(name.as_str()).unwrap();
                self.spaces.entry(name).or_insert_with(|| space(rng));
            }
            2 if some(rng, 2) => {
                let name = rng.choice(self.spaces.keys()).cloned();
                if let Some(name) = name {
                    self.spaces.remove(&name);
                    self.leave();
                }
            }
            3 => {
                if let Some(space_of) = rng.choice(self.spaces.values_mut()) {
                    let new = space(rng);
                    // Sometimes only a part is another.
                    match rng.u8(..3) {
                        0 => *space_of = new,
                        1 => space_of.rules = new.rules,
                        _ => space_of.spreads = new.spreads,
                    }
                }
            }
            4..=6 if self.pairs.len() < 5 => self.new_pair(rng),
            7 if !self.pairs.is_empty() => {
                let place = rng.usize(..self.pairs.len());
                self.pairs.swap_remove(place);
            }
            8 | 9 if !self.pairs.is_empty() => {
                let place = rng.usize(..self.pairs.len());
                let end = &mut self.pairs[place].ends[rng.usize(..2)];
                let new = End {
                    ns: end.ns.clone(),
                    name: end.name.clone(),
                    ..end_of(rng, end.ns.clone(), end.name.clone())
                };
                // Sometimes only a part is another.
                match rng.u8(..7) {
                    6 => end.port = new.port,
                    0 => *end = new,
                    1 => end.v4 = new.v4,
                    5 => rng.shuffle(&mut end.v4),
                    2 => end.routes = new.routes,
                    3 => (end.up, end.mtu) = (new.up, new.mtu),
                    _ => (end.v6, end.forwarding) = (new.v6, new.forwarding),
                }
            }
            10 if self.pairs.len() > 1 => {
                // Two ends change places.
                let (i, j) = (rng.usize(..self.pairs.len()), rng.usize(..self.pairs.len()));
                let (k, l) = (rng.usize(..2), rng.usize(..2));
                let one = (
                    self.pairs[i].ends[k].ns.clone(),
                    self.pairs[i].ends[k].name.clone(),
                );
                let other = (
                    self.pairs[j].ends[l].ns.clone(),
                    self.pairs[j].ends[l].name.clone(),
                );
                (self.pairs[i].ends[k].ns, self.pairs[i].ends[k].name) = other;
                (self.pairs[j].ends[l].ns, self.pairs[j].ends[l].name) = one;
            }
            11 => {
                let name = link_name(if rng.bool() { "ens33" } else { "eth1" });
                if some(rng, 3) {
                    self.uplinks.remove(&name);
                } else {
                    self.uplinks.insert(name, [rng.bool(), rng.bool()]);
                }
            }
            12 => self.switches = [some(rng, 3), some(rng, 3)],
            13 => {
                self.table = variant(rng);
                self.on_ens33 = (1..4).filter(|_| some(rng, 3)).collect();
                rng.shuffle(&mut self.on_ens33);
                self.over_ens33 = (1..4).filter(|_| some(rng, 3)).collect();
                self.rules = leads(rng);
            }
            14 | 15 if self.singles.len() < 4 => self.new_single(rng),
            16 if !self.singles.is_empty() => self.change_single(rng),
            17 if !self.singles.is_empty() && !self.pairs.is_empty() => self.trade(rng),
            18 => {
                let name = external::name(rng.choice(CONTAINERS).unwrap());
                self.external.insert(name, external::abroad(rng));
            }
            19 if some(rng, 3) => {
                let name = external::name(rng.choice(CONTAINERS).unwrap());
                self.external.remove(&name);
                self.leave();
            }
            20 | 21 => self.plug(rng),
            _ => {}
        }
    }

    /// Takes away the pairs with an end in a namespace that isn't its own any more.
    fn leave(&mut self) {
        let (spaces, external) = (&self.spaces, &self.external);
        let stays = |end: &End| match &end.ns {
            Ns::Host => true,
            Ns::Named(name) => spaces.contains_key(name) || external.contains_key(name),
        };
        self.pairs.retain(|pair| pair.ends.iter().all(stays));
        self.singles.retain(|single| stays(&single.end));
        self.plugs
            .retain(|(ns, _), _| ns.name().is_none_or(|name| external.contains_key(name)));
    }

    fn new_pair(&mut self, rng: &mut Rng) {
        let number = self.new_number();
        let mut ends: Vec<End> = Vec::new();
        for _ in 0..2 {
            let Some((ns, name)) = self.place(rng) else {
                return;
            };
            if ends.iter().any(|end| end.ns == ns && end.name == name) {
                return;
            }
            ends.push(end_of(rng, ns, name));
        }
        if let Ok(ends) = ends.try_into() {
            self.pairs.push(Pair { number, ends });
        }
    }
}

fn space(rng: &mut Rng) -> Space {
    Space {
        file: rng
            .bool()
            .then(|| format!("nameserver 10.0.0.{}\n", rng.u8(..3))),
        forwarding: [rng.bool(), rng.bool()],
        table: variant(rng),
        somaxconn: rng.bool().then(|| rng.u16(1..4)),
        end: some(rng, 3).then(|| (table_of(rng), rng.u8(..3))),
        rules: leads(rng),
        spreads: spreads(rng),
        on_lo: some(rng, 3).then(|| rng.u8(1..4)),
    }
}

pub(crate) fn end_of(rng: &mut Rng, ns: Ns, name: LinkName) -> End {
    let routes = (0..4).filter(|_| some(rng, 3)).collect::<Vec<u8>>();
    End {
        ns,
        name,
        up: !some(rng, 5),
        mtu: *rng.choice(&[1500, 1500, 1400, 1280, 1000]).unwrap(),
        mac: rng.u8(1..3),
        port: rng.bool().then(|| rng.u8(..3)),
        v4: owned(rng, 1..6, [24, 32]),
        v6: owned(rng, 1..4, [64, 128]),
        forwarding: [rng.bool(), rng.bool()],
        routes: routes
            .into_iter()
            .map(|third| (third, way(third, rng)))
            .collect(),
    }
}

fn owned(rng: &mut Rng, lasts: std::ops::Range<u8>, [usual, full]: [u8; 2]) -> Vec<Own> {
    let mut lasts: Vec<u8> = lasts.filter(|_| some(rng, 3)).collect();
    rng.shuffle(&mut lasts);
    let own = |last| Own {
        last,
        length: if some(rng, 5) { full } else { usual },
        peer: some(rng, 5).then(|| rng.u8(100..102)),
    };
    lasts.into_iter().map(own).collect()
}

fn way(third: u8, rng: &mut Rng) -> Way {
    Way {
        family: family(rng),
        via: (third == 0 || rng.bool()).then(|| rng.u8(100..103)),
        onlink: some(rng, 5),
        src: rng.bool().then(|| rng.u8(..6)),
        mtu: some(rng, 4).then_some(1300),
        metric: if some(rng, 4) { 5 } else { 0 },
        table: table_of(rng),
    }
}

fn table_of(rng: &mut Rng) -> u32 {
    *rng.choice(&[254, 100, 100, 4_000_000_000]).unwrap()
}

pub(crate) fn leads(rng: &mut Rng) -> Vec<Lead> {
    let priorities: Vec<u32> = [10, 20, 30].into_iter().filter(|_| some(rng, 3)).collect();
    priorities
        .into_iter()
        .map(|priority| Lead {
            priority,
            family: family(rng),
            from: rng.bool(),
            action: match rng.u8(..6) {
                0 => Action::Blackhole,
                1 => Action::Unreachable,
                2 => Action::Prohibit,
                _ => Action::Lookup(table_of(rng)),
            },
        })
        .collect()
}

fn spreads(rng: &mut Rng) -> Vec<Spread> {
    let thirds: Vec<u8> = (0..3).filter(|_| some(rng, 2)).collect();
    thirds
        .into_iter()
        .map(|third| Spread {
            family: family(rng),
            third,
            table: table_of(rng),
            hops: rng.u8(..),
            weight: rng.u16(1..3),
            src: some(rng, 3).then(|| rng.u8(..6)),
            mtu: some(rng, 3).then_some(1300),
        })
        .collect()
}

fn family(rng: &mut Rng) -> Family {
    if rng.bool() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}
