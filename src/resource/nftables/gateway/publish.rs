//! Publications: what arrives at a port or an address of the gateway's namespace leads to a member.
//!
//! Destinations are rewritten before routing. What members and the gateway's own processes send to a
//! published port is looked up without its link, so that a member more is no element more here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key, Port, Statement, Verdict};
use super::super::{ChainKind, Hook, Rule, Table};
use super::words::{
    IN, OUT, RAW, accept, base, count_and_drop, goto, in_set, name, put_chain, put_set,
};
use super::{Gateway, Guard, Service, links};
use crate::resource::Family;
use crate::resource::name::LinkName;

/// The priority of chains that rewrite destinations (`NF_IP_PRI_NAT_DST`).
const DSTNAT: i32 = -100;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Which addresses are published on which link.
pub(super) const ARRIVALS: &str = "arrivals";
/// Where a port of an address leads.
pub(super) const PUBLISHED_AT: &str = "published_at";
/// Where a port leads on a link from outside.
pub(super) const PUBLISHED_BY: &str = "published_by";
/// Where a port leads for members and the gateway's own processes.
pub(super) const PUBLISHED: &str = "published";
/// Where ports in a row of an address lead, which stay what they are.
pub(super) const RANGES_AT: &str = "ranges_at";
/// Where ports in a row lead on a link from outside.
pub(super) const RANGES_BY: &str = "ranges_by";
/// Where ports in a row lead for members and the gateway's own processes.
pub(super) const RANGES: &str = "ranges";
/// Where all of an address leads.
pub(super) const MAPPED: &str = "mapped";
/// As which address such a member is seen outside.
pub(super) const MAPPED_OUT: &str = "mapped_out";
/// Links that a connection may be turned back to.
const HAIRPIN: &str = "hairpin";
/// Links over which what goes to a loopback address of the gateway is published.
const LOOPBACK: &str = "loopback";
/// The services that publications lead to.
const SERVICES: &str = "services";
/// The same for ports in a row.
const SERVICE_RANGES: &str = "service_ranges";
/// The members that whole addresses lead to.
const SERVERS: &str = "servers";

/// The chain for what goes to one address.
const ADDRESSED: &str = "addressed";
/// The chain for what goes to any address of the gateway's own.
const PORTED: &str = "ported";

/// What leads to a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publication {
    /// Where connections come from.
    pub arrival: Arrival,
    /// The address that they go to; `None`: any of the gateway's own.
    pub address: Option<IpAddr>,
    /// Which.
    pub service: Service,
    /// The member that they lead to.
    pub to: IpAddr,
    /// The port there, if it is another; only of a single one.
    pub port: Option<u16>,
    /// The gateway link that the member is behind.
    pub behind: LinkName,
}

/// Where connections come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// From outside, by this link.
    Outside(LinkName),
    /// From members, and from processes of the gateway's namespace.
    Here,
}

impl Publication {
    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.to)
    }

    /// Whether it is for what goes to a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.address.is_some_and(|ip| ip.is_loopback())
    }

    /// The key of its element in the map of its kind, without the link.
    fn key(&self) -> Vec<Value> {
        let mut key: Vec<Value> = self.address.map(Value::address).into_iter().collect();
        if let Service::Ports { protocol, from, to } = self.service {
            key.extend([Value::Protocol(protocol), Value::ports(from, to)]);
        }
        key
    }

    /// Its element in the map of its kind.
    fn element(&self, kind: Kind) -> Element {
        let link = match (&self.arrival, kind.of) {
            (Arrival::Outside(link), Of::Link) => Some(Value::Link(link.clone())),
            _ => None,
        };
        let port = match self.service {
            Service::Ports { from, .. } if kind.ports == Ports::One => {
                Some(Value::Port(self.port.unwrap_or(from)))
            }
            _ => None,
        };
        let data = [Value::address(self.to)].into_iter().chain(port);
        Element::of(link.into_iter().chain(self.key())).to(data)
    }

    /// The kind of map that its element is in.
    fn kind(&self) -> Kind {
        Kind {
            of: match (&self.address, &self.arrival) {
                (Some(_), _) => Of::Address,
                (None, Arrival::Outside(_)) => Of::Link,
                (None, Arrival::Here) => Of::Nothing,
            },
            ports: match self.service {
                Service::All => Ports::None,
                Service::Ports { from, to, .. } if from == to => Ports::One,
                Service::Ports { .. } => Ports::Row,
            },
        }
    }
}

/// A kind of map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    of: Of,
    ports: Ports,
}

/// What besides ports is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The destination.
    Address,
    /// The link that the packet came by.
    Link,
    /// Nothing.
    Nothing,
}

/// What of ports is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// One, which leads to a port.
    One,
    /// Several in a row, which stay.
    Row,
    /// None: all of an address.
    None,
}

impl Kind {
    /// The map's name, and its comment. None: there is no such kind.
    fn words(self) -> Option<(&'static str, &'static str)> {
        Some(match (self.of, self.ports) {
            (Of::Address, Ports::One) => (PUBLISHED_AT, "where a port of an address leads"),
            (Of::Address, Ports::Row) => (RANGES_AT, "where ports of an address lead"),
            (Of::Address, Ports::None) => (MAPPED, "where all of an address leads"),
            (Of::Link, Ports::One) => (PUBLISHED_BY, "where a port leads on a link from outside"),
            (Of::Link, Ports::Row) => (RANGES_BY, "where ports lead on a link from outside"),
            (Of::Nothing, Ports::One) => (
                PUBLISHED,
                "where a port leads for members and own processes",
            ),
            (Of::Nothing, Ports::Row) => (RANGES, "where ports lead for members and own processes"),
            (Of::Link | Of::Nothing, Ports::None) => return None,
        })
    }

    /// An empty map of it.
    fn map(self, family: Family) -> Set {
        let of = match self.of {
            Of::Address => Some(Field::address(family)),
            Of::Link => Some(Field::Ifname),
            Of::Nothing => None,
        };
        let service = [Field::InetProto, Field::InetService];
        let ports = service.into_iter().filter(|_| self.ports != Ports::None);
        let set = Set::of(of.into_iter().chain(ports));
        let port = (self.ports == Ports::One).then_some(Field::InetService);
        let map = set.to([Field::address(family)].into_iter().chain(port));
        match self.ports {
            Ports::Row => map.of_intervals(),
            Ports::One | Ports::None => map,
        }
    }

    /// The rule that looks in it.
    fn rule(self, family: Family, map: String) -> Rule {
        let of = match self.of {
            Of::Address => Some(Key::Address(family, End::Destination)),
            Of::Link => Some(IN),
            Of::Nothing => None,
        };
        let ports = [Key::Protocol, Key::Port(End::Destination)];
        let has_ports = self.ports != Ports::None;
        let ports = ports.into_iter().filter(|_| has_ports);
        let transports = has_ports.then(|| Statement::Transports([TCP, UDP].into()));
        let translate = Statement::Translate {
            end: End::Destination,
            family,
            key: of.into_iter().chain(ports).collect(),
            map,
            port: match self.ports {
                Ports::One => Port::Mapped,
                Ports::Row | Ports::None => Port::Kept,
            },
        };
        // An address says of which family a packet is.
        let family = (self.of != Of::Address).then_some(Statement::Family(family));
        Rule::new(family.into_iter().chain(transports).chain([translate]))
    }
}

/// The links of a table over which 127.0.0.1 is published, and by which it lets nothing come there.
pub fn loopback_links(table: &Table) -> BTreeSet<LinkName> {
    let elements = table
        .sets
        .get(LOOPBACK)
        .into_iter()
        .flat_map(|set| &set.elements);
    elements
        .filter_map(|element| match element.key.as_slice() {
            [Value::Link(link)] => Some(link.clone()),
            _ => None,
        })
        .collect()
}

/// Puts in the maps, and the chains `arriving`, `from_here`, `addressed`, `ported` and `shut_loopback`.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    if gateway.published.is_empty() {
        return;
    }
    put_places(gateway, table);
    let lookups = |table: &mut Table, of: Of| {
        let mut rules = Vec::new();
        for family in Family::BOTH {
            for ports in [Ports::One, Ports::Row, Ports::None] {
                rules.extend(put_map(gateway, table, family, Kind { of, ports }));
            }
        }
        rules
    };
    let addressed = lookups(table, Of::Address);
    let ported = lookups(table, Of::Nothing);
    let by_link = lookups(table, Of::Link);

    let [has_addressed, has_ported] = [&addressed, &ported].map(|rules| !rules.is_empty());
    let (mut arriving, mut from_here) = (Vec::new(), Vec::new());
    if has_addressed {
        for family in Family::BOTH {
            let arrivals = name(ARRIVALS, family);
            if table.sets.contains_key(&arrivals) {
                let address = Key::Address(family, End::Destination);
                arriving.push(Rule::new([
                    in_set([IN, address], &arrivals),
                    jump(ADDRESSED),
                ]));
            }
        }
        let members = links::from_links(table).into_iter();
        arriving.extend(members.map(|from| Rule::new([from, jump(ADDRESSED)])));
        from_here.push(Rule::new([jump(ADDRESSED)]));
    }
    if has_ported || !by_link.is_empty() {
        arriving.push(not_local());
        arriving.extend(by_link);
    }
    if has_ported {
        let members = links::from_links(table).into_iter();
        arriving.extend(members.map(|from| Rule::new([from, goto(PORTED)])));
        from_here.push(not_local());
        from_here.extend(["127.0.0.0/8", "::1/128"].map(|net| {
            Rule::new([destination_within(net), accept()])
                .because("loopback addresses are published by themselves only")
        }));
        from_here.push(Rule::new([goto(PORTED)]));
    }
    let nat = |hook| Some(base(ChainKind::Nat, hook, DSTNAT));
    for (name, base, rules) in [
        ("arriving", nat(Hook::Prerouting), arriving),
        ("from_here", nat(Hook::Output), from_here),
        (ADDRESSED, None, addressed),
        (PORTED, None, ported),
    ] {
        if !rules.is_empty() {
            put_chain(table, name, base, rules);
        }
    }
    if table.sets.contains_key(LOOPBACK) {
        let shut = [in_set([IN], LOOPBACK), destination_within("127.0.0.0/8")];
        let shut = Rule::new(shut.into_iter().chain(count_and_drop()))
            .because("route_localnet would open it to members");
        let base = base(ChainKind::Filter, Hook::Prerouting, RAW);
        put_chain(table, "shut_loopback", Some(base), vec![shut]);
    }
}

/// The sets that say where publications are, and what is turned back.
fn put_places(gateway: &Gateway, table: &mut Table) {
    let published = || gateway.published.iter();
    for family in Family::BOTH {
        let arrivals = published().filter_map(|publication| {
            let Arrival::Outside(link) = &publication.arrival else {
                return None;
            };
            let ip = publication.address.filter(|ip| Family::of(*ip) == family)?;
            Some(Element::of([Value::Link(link.clone()), Value::address(ip)]))
        });
        let set = Set::of([Field::Ifname, Field::address(family)]);
        let comment = "which addresses are published on which link";
        put_set(table, &name(ARRIVALS, family), comment, set, arrivals);

        let out = published().filter_map(|publication| {
            let Arrival::Outside(link) = &publication.arrival else {
                return None;
            };
            let is_whole = publication.service == Service::All && publication.family() == family;
            let ip = publication.address.filter(|_| is_whole)?;
            let key = [
                Value::Link(publication.behind.clone()),
                Value::address(publication.to),
                Value::Link(link.clone()),
            ];
            Some(Element::of(key).to([Value::address(ip)]))
        });
        let set = Set::of([Field::Ifname, Field::address(family), Field::Ifname]);
        let set = set.to([Field::address(family)]);
        let comment = "as which address a member is seen that all of it leads to";
        put_set(table, &name(MAPPED_OUT, family), comment, set, out);
    }
    let behind: BTreeSet<&LinkName> = published().map(|publication| &publication.behind).collect();
    let pairs = behind
        .into_iter()
        .map(|name| [name, name].map(|name| Value::Link(name.clone())));
    let comment = "links that a published connection may be turned back to";
    let set = Set::of([Field::Ifname, Field::Ifname]);
    put_set(table, HAIRPIN, comment, set, pairs.map(Element::of));

    let loopback = published().filter(|publication| publication.is_loopback());
    let loopback = loopback.map(|publication| Value::Link(publication.behind.clone()));
    let comment = "links that 127.0.0.1 is published over";
    let set = Set::of([Field::Ifname]);
    put_set(
        table,
        LOOPBACK,
        comment,
        set,
        loopback.map(|link| Element::of([link])),
    );
}

/// Puts in the map of a kind, if there is anything for it, and gives the rule that looks in it.
fn put_map(gateway: &Gateway, table: &mut Table, family: Family, kind: Kind) -> Option<Rule> {
    let (map, comment) = kind.words()?;
    let map = name(map, family);
    let elements = gateway
        .published
        .iter()
        .filter(|publication| publication.family() == family && publication.kind() == kind)
        .map(|publication| publication.element(kind));
    put_set(table, &map, comment, kind.map(family), elements);
    table
        .sets
        .contains_key(&map)
        .then(|| kind.rule(family, map))
}

/// The rules that let published connections through to their services: only those whose destination was rewritten,
/// by whomever. What members open to each other directly is not among them.
pub(super) fn accepted(gateway: &Gateway, table: &mut Table, family: Family) -> Vec<Rule> {
    if gateway.guard == Guard::Nothing {
        return Vec::new();
    }
    let mut single = BTreeSet::new();
    let mut rows: BTreeMap<(IpAddr, u8), BTreeSet<(u16, u16)>> = BTreeMap::new();
    let mut servers = BTreeSet::new();
    let of_family = gateway.published.iter();
    for publication in of_family.filter(|publication| publication.family() == family) {
        let to = publication.to;
        match publication.service {
            Service::All => {
                servers.insert(Element::of([Value::address(to)]));
            }
            Service::Ports {
                protocol,
                from,
                to: last,
            } if from == last => {
                let port = publication.port.unwrap_or(from);
                let key = [
                    Value::address(to),
                    Value::Protocol(protocol),
                    Value::Port(port),
                ];
                single.insert(Element::of(key));
            }
            Service::Ports {
                protocol,
                from,
                to: last,
            } => {
                rows.entry((to, protocol)).or_default().insert((from, last));
            }
        }
    }
    let rows = rows.into_iter().flat_map(|((to, protocol), ranges)| {
        super::allow::disjoint(&ranges)
            .into_iter()
            .map(move |(from, last)| {
                let ports = Value::ports(from, last);
                Element::of([Value::address(to), Value::Protocol(protocol), ports])
            })
    });
    let service = || Set::of([Field::address(family), Field::InetProto, Field::InetService]);
    let address = Set::of([Field::address(family)]);
    let comment = "what publications lead to";
    put_set(
        table,
        &name(SERVICES, family),
        comment,
        service(),
        single.into_iter(),
    );
    let set = service().of_intervals();
    put_set(table, &name(SERVICE_RANGES, family), comment, set, rows);
    let comment = "members that whole addresses lead to";
    put_set(
        table,
        &name(SERVERS, family),
        comment,
        address,
        servers.into_iter(),
    );

    let to = Key::Address(family, End::Destination);
    let service = vec![to, Key::Protocol, Key::Port(End::Destination)];
    let lookups = [
        (SERVICES, service.clone()),
        (SERVICE_RANGES, service),
        (SERVERS, vec![to]),
    ];
    let rules = lookups.into_iter().filter_map(|(set, key)| {
        let set = name(set, family);
        let known = table.sets.contains_key(&set);
        known.then(|| Rule::new([Statement::Redirected, Statement::In { key, set }, accept()]))
    });
    rules.collect()
}

/// The rules that rewrite sources, before those of egress.
pub(super) fn sources(table: &Table) -> Vec<Rule> {
    let mut rules = Vec::new();
    if table.sets.contains_key(HAIRPIN) {
        let turned_back = [
            Statement::Redirected,
            in_set([IN, OUT], HAIRPIN),
            Statement::Masquerade,
        ];
        rules
            .push(Rule::new(turned_back).because("or the answer would not come back through here"));
    }
    if table.sets.contains_key(LOOPBACK) {
        let from_loopback = Statement::Within {
            end: End::Source,
            net: "127.0.0.0/8"
                .parse()
                .expect("a prefix of this file is well-formed"),
        };
        let masquerade = [
            from_loopback,
            in_set([OUT], LOOPBACK),
            Statement::Masquerade,
        ];
        rules.push(Rule::new(masquerade).because("127.0.0.1 means something else to the member"));
    }
    for family in Family::BOTH {
        let map = name(MAPPED_OUT, family);
        if table.sets.contains_key(&map) {
            rules.push(Rule::new([Statement::Translate {
                end: End::Source,
                family,
                key: vec![IN, Key::Address(family, End::Source), OUT],
                map,
                port: Port::Kept,
            }]));
        }
    }
    rules
}

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.to_owned()))
}

/// What isn't for the gateway's namespace itself goes on.
fn not_local() -> Rule {
    Rule::new([Statement::NotLocal, accept()])
}

fn destination_within(net: &str) -> Statement {
    Statement::Within {
        end: End::Destination,
        net: net.parse().expect("a prefix of this file is well-formed"),
    }
}
