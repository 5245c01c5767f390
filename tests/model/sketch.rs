//! What a topology wants, shaped like what a spec can say, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netform::resource::address::{Address, AddressKey};
use netform::resource::file::{File, FileKind};
use netform::resource::link::veth::{Peer, Veth};
use netform::resource::link::{Link, LinkKind, MacAddress};
use netform::resource::name::{LinkName, NamespaceName, TopologyName};
use netform::resource::namespace::Namespace;
use netform::resource::nftables::Table;
use netform::resource::route::{NextHop, Route, RouteKey, Target};
use netform::resource::rule::{Rule, RuleKey};
use netform::resource::sysctl::Sysctl;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Owner, State};

use super::external::Abroad;
use super::kernel::{conf, path4, switch};
use super::nexthop::unhide;
use super::singles::Single;

/// A topology.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    pub(crate) topology: TopologyName,
    /// Tells its addresses from those of others.
    pub(crate) number: u8,
    pub(crate) spaces: BTreeMap<NamespaceName, Space>,
    pub(crate) external: BTreeMap<NamespaceName, Abroad>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) singles: Vec<Single>,
    /// The links of others that are plugged in, and which of the bridges there.
    pub(crate) plugs: BTreeMap<(Ns, LinkName), u8>,
    /// The links of the host that forward for it.
    pub(crate) uplinks: BTreeMap<LinkName, [bool; 2]>,
    /// Whether it throws the host's switches.
    pub(crate) switches: [bool; 2],
    /// The links of the host that take router advertisements.
    pub(crate) takes_ra: Vec<LinkName>,
    pub(crate) table: Option<u8>,
    /// The addresses that it has on a link of the host.
    pub(crate) on_ens33: Vec<u8>,
    /// The prefixes that it routes over a link of the host.
    pub(crate) over_ens33: Vec<u8>,
    /// Its rules on the host.
    pub(crate) rules: Vec<Lead>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    pub(crate) file: Option<String>,
    pub(crate) forwarding: [bool; 2],
    pub(crate) table: Option<u8>,
    pub(crate) somaxconn: Option<u16>,
    /// The table and the kind of a route that ends here.
    pub(crate) end: Option<(u32, u8)>,
    pub(crate) rules: Vec<Lead>,
    pub(crate) spreads: Vec<Spread>,
    pub(crate) on_lo: Option<u8>,
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lead {
    pub(crate) priority: u32,
    pub(crate) family: Family,
    pub(crate) from: bool,
    pub(crate) action: netform::resource::rule::Action,
}

/// A route over several links, or as many of them as there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) family: Family,
    pub(crate) third: u8,
    pub(crate) table: u32,
    /// Which of the next hops that could be used are.
    pub(crate) hops: u8,
    pub(crate) weight: u16,
    pub(crate) src: Option<u8>,
    pub(crate) mtu: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) number: u8,
    pub(crate) ends: [End; 2],
}

#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) ns: Ns,
    pub(crate) name: LinkName,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: u8,
    /// Of which bridge of its namespace it is a port.
    pub(crate) port: Option<u8>,
    /// In the order wanted.
    pub(crate) v4: Vec<Own>,
    pub(crate) v6: Vec<Own>,
    pub(crate) forwarding: [bool; 2],
    /// The routes over it: the third part of the prefix, 0 for the default route; and how.
    pub(crate) routes: BTreeMap<u8, Way>,
}

/// An address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) last: u8,
    pub(crate) length: u8,
    /// The last part of the other end's, of a point-to-point address.
    pub(crate) peer: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) family: Family,
    /// The last part of the router's address; none: on the link.
    pub(crate) via: Option<u8>,
    pub(crate) onlink: bool,
    pub(crate) src: Option<u8>,
    pub(crate) mtu: Option<u32>,
    pub(crate) metric: u32,
    pub(crate) table: u32,
}

pub(crate) fn ip4(topology: u8, pair: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, topology, pair, last).into()
}

pub(crate) fn ip6(topology: u8, pair: u8, last: u8) -> IpAddr {
    Ipv6Addr::new(
        0xfd00,
        topology.into(),
        pair.into(),
        0,
        0,
        0,
        0,
        last.into(),
    )
    .into()
}

/// The table that guards a namespace.
pub(crate) fn table(topology: &TopologyName, variant: u8) -> Table {
    let mut table = Table::of(topology);
    table.chains.insert(
        format!("chain{variant}"),
        netform::resource::nftables::Chain::default(),
    );
    table
}

impl Sketch {
    pub(crate) fn desired(&self) -> State {
        let names = self.external.keys();
        let mut state = State {
            external: names.map(|name| (name.clone(), None)).collect(),
            ..State::new()
        };
        let mut put = |ns: &Ns, key: Key, resource: Resource| {
            let owner = Owner::Topology(self.topology.clone());
            state.insert(Id::new(ns.clone(), key), resource, owner);
        };
        for (name, space) in &self.spaces {
            self.space(&Ns::Named(name.clone()), space, &mut put);
        }
        for (name, abroad) in &self.external {
            self.abroad(&Ns::Named(name.clone()), abroad, &mut put);
        }
        for pair in &self.pairs {
            for i in [0, 1] {
                let other = &pair.ends[1 - i];
                let peer = Peer {
                    ns: other.ns.clone(),
                    name: other.name.clone(),
                };
                let kind = LinkKind::Veth(Veth { peer: Some(peer) });
                self.end(pair.number, &pair.ends[i], kind, &mut put);
            }
        }
        for single in &self.singles {
            let kind = single.kind.clone();
            self.end(single.number, &single.end, kind, &mut put);
        }
        self.host(&mut put);
        self.ports(&mut put);
        unbar(&mut state);
        unhide(&mut state);
        state
    }

    fn space(&self, ns: &Ns, space: &Space, put: &mut impl FnMut(&Ns, Key, Resource)) {
        put(
            ns,
            Key::Namespace,
            Resource::Namespace(Namespace::default()),
        );
        let lo = LinkName::try_from("lo").unwrap();
        let link = Link {
            kind: LinkKind::Loopback,
            up: true,
            mtu: None,
            mac: None,
            master: None,
            tagged: true,
        };
        put(ns, Key::Link(lo.clone()), Resource::Link(link));
        if let Some(last) = space.on_lo {
            let ip = ip4(self.number, 1, last);
            let key = AddressKey { link: lo, ip };
            put(ns, Key::Address(key), Resource::Address(Address::new(32)));
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            put(
                ns,
                switch(family),
                sysctl(space.forwarding[family as usize]),
            );
        }
        if let Some(value) = space.somaxconn {
            let value = value.to_string();
            let key = path4("net/core/somaxconn");
            put(
                ns,
                key,
                Resource::Sysctl(Sysctl {
                    value: value.into(),
                }),
            );
        }
        if let Some(content) = &space.file {
            let content = content.clone();
            let key = Key::File(FileKind::ResolvConf);
            put(ns, key, Resource::File(File { content }));
        }
        if let Some(variant) = space.table {
            put(
                ns,
                Key::Table,
                Resource::Table(table(&self.topology, variant)),
            );
        }
        for spread in &space.spreads {
            self.spread(ns, spread, put);
        }
        for lead in &space.rules {
            self.lead(ns, lead, put);
        }
        if let Some((table, kind)) = space.end {
            let key = RouteKey {
                table,
                to: "172.16.0.0/12".parse().unwrap(),
                metric: 0,
            };
            let route = Route {
                target: match kind {
                    0 => Target::Blackhole,
                    1 => Target::Unreachable,
                    _ => Target::Prohibit,
                },
                src: None,
                mtu: None,
            };
            put(ns, Key::Route(key), Resource::Route(route));
        }
    }

    fn end(&self, number: u8, end: &End, kind: LinkKind, put: &mut impl FnMut(&Ns, Key, Resource)) {
        let ns = &end.ns;
        let ipv6 = end.mtu >= 1280;
        let master = self.bridge_of(end).filter(|_| !kind.joins());
        let link = Link {
            kind,
            up: end.up,
            mtu: Some(end.mtu),
            mac: Some(MacAddress([2, 0, self.number, number, 0, end.mac])),
            master,
            tagged: true,
        };
        put(ns, Key::Link(end.name.clone()), Resource::Link(link));
        let families = [
            (ip4 as fn(u8, u8, u8) -> IpAddr, &end.v4),
            (ip6, if ipv6 { &end.v6 } else { &Vec::new() }),
        ];
        for (ip, owned) in families {
            for (place, own) in owned.iter().enumerate() {
                let ip = |last| ip(self.number, number, last);
                let link = end.name.clone();
                let key = AddressKey {
                    link,
                    ip: ip(own.last),
                };
                let address = Address {
                    peer: own.peer.map(ip),
                    place: if key.ip.is_ipv4() {
                        place.try_into().unwrap()
                    } else {
                        0
                    },
                    ..Address::new(own.length)
                };
                put(ns, Key::Address(key), Resource::Address(address));
            }
        }
        for (third, way) in end.routes.iter().filter(|_| end.up) {
            self.route(number, end, *third, way, put);
        }
        if let Some(switches) = self.switches_of(ns) {
            let on = |family: Family| switches[family as usize] || end.forwarding[family as usize];
            put(
                ns,
                conf(Family::Ipv4, &end.name, "forwarding"),
                sysctl(on(Family::Ipv4)),
            );
            if ipv6 {
                let value = |name: &str| conf(Family::Ipv6, &end.name, name);
                put(ns, value("accept_ra"), sysctl(false));
                put(ns, value("force_forwarding"), sysctl(end.forwarding[1]));
                if end.forwarding[1] {
                    put(ns, value("forwarding"), sysctl(on(Family::Ipv6)));
                }
            }
        }
    }

    fn route(
        &self,
        number: u8,
        end: &End,
        third: u8,
        way: &Way,
        put: &mut impl FnMut(&Ns, Key, Resource),
    ) {
        let held = match way.family {
            Family::Ipv4 => &end.v4,
            Family::Ipv6 => &end.v6,
        };
        if way.family == Family::Ipv6 && end.mtu < 1280 {
            return;
        }
        let ip = match way.family {
            Family::Ipv4 => ip4,
            Family::Ipv6 => ip6,
        };
        let covers = |len: u8| len <= if way.family == Family::Ipv4 { 24 } else { 64 };
        if way.via.is_some() && !way.onlink && !held.iter().any(|own| covers(own.length)) {
            return;
        }
        let to = match (way.family, third) {
            (Family::Ipv4, 0) => "0.0.0.0/0".to_owned(),
            (Family::Ipv4, third) => format!("10.2{}.{third}.0/24", self.number),
            (Family::Ipv6, 0) => "::/0".to_owned(),
            // Around its own routers.
            (Family::Ipv6, 3) => format!("fd00:{}:{number}::/96", self.number),
            (Family::Ipv6, third) => format!("fd02:{}:{third}::/48", self.number),
        };
        let hop = NextHop {
            via: way.via.map(|last| ip(self.number, number, last)),
            dev: Some(end.name.clone()),
            onlink: way.onlink && way.via.is_some(),
            weight: 1,
        };
        let sources = self.sources(&end.ns, way.family);
        let src = way
            .src
            .and_then(|place| sources.get(usize::from(place)).copied());
        let route = Route {
            target: Target::Unicast(vec![hop]),
            src,
            mtu: way.mtu,
        };
        let key = RouteKey {
            table: way.table,
            to: to.parse().unwrap(),
            metric: if way.family == Family::Ipv6 { 1024 } else { 0 } + way.metric,
        };
        // Nothing wants a default route of the host's own metric.
        if !(self.switches_of(&end.ns).is_some() && third == 0) {
            put(&end.ns, Key::Route(key), Resource::Route(route));
        }
    }

    fn spread(&self, ns: &Ns, spread: &Spread, put: &mut impl FnMut(&Ns, Key, Resource)) {
        let ipv4 = spread.family == Family::Ipv4;
        let mut hops = Vec::new();
        for (number, end) in self.ends().filter(|(_, end)| end.ns == *ns && end.up) {
            let (held, most) = if ipv4 { (&end.v4, 24) } else { (&end.v6, 64) };
            let capable = ipv4 || end.mtu >= 1280;
            if !capable || !held.iter().any(|own| own.length <= most) {
                continue;
            }
            let ip = if ipv4 { ip4 } else { ip6 };
            hops.extend([100, 101].map(|last| NextHop {
                via: Some(ip(self.number, number, last)),
                dev: Some(end.name.clone()),
                onlink: false,
                weight: spread.weight,
            }));
        }
        let mut place = 0;
        hops.retain(|_| {
            place += 1;
            spread.hops >> (place % 8) & 1 == 1
        });
        if let [hop] = hops.as_mut_slice() {
            hop.weight = 1;
        }
        if hops.is_empty() {
            return;
        }
        let sources = self.sources(ns, spread.family);
        let route = Route {
            target: Target::over(spread.family, hops),
            src: spread
                .src
                .and_then(|place| sources.get(usize::from(place)).copied()),
            mtu: spread.mtu,
        };
        let to = if ipv4 {
            format!("10.4{}.{}.0/24", self.number, spread.third)
        } else {
            format!("fd04:{}:{}::/48", self.number, spread.third)
        };
        let key = RouteKey {
            table: spread.table,
            to: to.parse().unwrap(),
            metric: if ipv4 { 0 } else { 1024 },
        };
        put(ns, Key::Route(key), Resource::Route(route));
    }

    pub(crate) fn lead(&self, ns: &Ns, lead: &Lead, put: &mut impl FnMut(&Ns, Key, Resource)) {
        let mut key = RuleKey::new(lead.family, lead.priority + u32::from(self.number));
        if lead.from {
            let from = match lead.family {
                Family::Ipv4 => "10.0.0.0/8",
                Family::Ipv6 => "fd00::/16",
            };
            key.from = Some(from.parse().unwrap());
        }
        let action = lead.action;
        put(
            ns,
            Key::Rule(Box::new(key)),
            Resource::Rule(Rule::new(action)),
        );
    }

    /// The addresses that routes of a namespace may have as their source.
    fn sources(&self, ns: &Ns, family: Family) -> Vec<IpAddr> {
        let mut sources = Vec::new();
        for (number, end) in self.ends().filter(|(_, end)| end.ns == *ns) {
            if family == Family::Ipv4 {
                sources.extend(end.v4.iter().map(|own| ip4(self.number, number, own.last)));
            } else if end.up && end.mtu >= 1280 {
                sources.extend(end.v6.iter().map(|own| ip6(self.number, number, own.last)));
            }
        }
        let space = ns.name().and_then(|name| self.spaces.get(name));
        let on_lo = space
            .and_then(|space| space.on_lo)
            .filter(|_| family == Family::Ipv4);
        sources.extend(on_lo.map(|last| ip4(self.number, 1, last)));
        sources
    }

    fn host(&self, put: &mut impl FnMut(&Ns, Key, Resource)) {
        for (link, families) in &self.uplinks {
            if families[0] {
                put(
                    &Ns::Host,
                    conf(Family::Ipv4, link, "forwarding"),
                    sysctl(true),
                );
            }
            if families[1] {
                put(
                    &Ns::Host,
                    conf(Family::Ipv6, link, "force_forwarding"),
                    sysctl(true),
                );
            }
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            if self.switches[family as usize] {
                put(&Ns::Host, switch(family), sysctl(true));
            }
        }
        if self.switches[1] {
            for link in &self.takes_ra {
                let value = "2".to_owned();
                let key = conf(Family::Ipv6, link, "accept_ra");
                put(
                    &Ns::Host,
                    key,
                    Resource::Sysctl(Sysctl {
                        value: value.into(),
                    }),
                );
            }
        }
        if let Some(variant) = self.table {
            let table = table(&self.topology, variant);
            put(&Ns::Host, Key::Table, Resource::Table(table));
        }
        let link = LinkName::try_from("ens33").unwrap();
        for (place, last) in self.on_ens33.iter().enumerate() {
            let ip = ip4(0, 0, 10 * self.number + last);
            let link = link.clone();
            let key = AddressKey { link, ip };
            let address = Address {
                place: place.try_into().unwrap(),
                ..Address::new(24)
            };
            put(&Ns::Host, Key::Address(key), Resource::Address(address));
        }
        for lead in &self.rules {
            self.lead(&Ns::Host, lead, put);
        }
        for third in &self.over_ens33 {
            let to = format!("10.3{}.{third}.0/24", self.number).parse().unwrap();
            let key = RouteKey {
                table: if *third == 1 { 100 } else { 254 },
                to,
                metric: 0,
            };
            let route = Route::through(ip4(0, 0, 1), link.clone());
            put(&Ns::Host, Key::Route(key), Resource::Route(route));
        }
    }
}

/// No rule may reject what the kernel looks next hops up by; where others make
/// the namespace also those of the other topology.
fn unbar(state: &mut State) {
    let seeking: BTreeSet<Ns> = state
        .entries
        .iter()
        .filter(|(_, entry)| match &entry.resource {
            Resource::Route(route) => route.hops().iter().any(|hop| hop.via.is_some()),
            _ => false,
        })
        .map(|(id, _)| id.ns.clone())
        .collect();
    // They come in the order in which the kernel asks them; the first that decides does.
    let mut decided = BTreeSet::new();
    let external = &state.external;
    for (id, entry) in &mut state.entries {
        let (Key::Rule(key), Resource::Rule(rule)) = (&id.key, &mut entry.resource) else {
            continue;
        };
        let rejects = rule.action.table().is_none();
        if key.from.is_some() || !rejects && rule.action.table() != Some(254) {
            continue;
        }
        let first = decided.insert((id.ns.clone(), key.family));
        let shared = id.ns.name().is_none_or(|name| external.contains_key(name));
        if rejects && (shared || first && seeking.contains(&id.ns)) {
            rule.action = netform::resource::rule::Action::Lookup(254);
        }
    }
}

pub(crate) fn sysctl(on: bool) -> Resource {
    let value = if on { "1" } else { "0" }.to_owned();
    Resource::Sysctl(Sysctl {
        value: value.into(),
    })
}
