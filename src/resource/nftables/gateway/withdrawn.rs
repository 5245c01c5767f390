//! Which connections a change of a table leaves without what they depended on.
//!
//! The rules judge only the first packet of a connection; what is established goes on. So that what is
//! withdrawn ends at once, the kernel is told to forget these connections: the next packet of one is a
//! first packet again, and is judged.

mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

pub use self::published::{Lead, Whence, leads};
use super::super::set::{Element, Value};
use super::super::statement::{Statement, Verdict};
use super::super::{Rule, Table};
use super::words::name;
use super::{Service, allow, egress, guard, links, routed, sources};
use crate::resource::Family;
use crate::resource::name::LinkName;

/// The connections that end with a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Withdrawn {
    /// Those, a kind each.
    pub ended: Vec<Ended>,
    /// All members that there were. What is neither one of them nor the gateway's own is outside.
    #[serde(skip)]
    members: Nets,
    /// What is published, then.
    #[serde(skip)]
    published: BTreeSet<Lead>,
}

/// A kind of connections that end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// All of these addresses, which are no members any more.
    Members(Nets),
    /// Those opened from one side to another.
    Pair {
        /// Of this family.
        family: Family,
        /// Where they were opened from.
        from: Side,
        /// Where they lead to.
        to: Side,
        /// Those that could be opened.
        were: BTreeSet<Service>,
        /// But for those, which still can.
        still: BTreeSet<Service>,
    },
    /// Those that a publication led to a member.
    Published(Lead),
    /// Those that a member opened to outside, whose source would be another one now.
    Mapped {
        /// The member.
        member: IpAddr,
        /// The link that they leave by.
        dev: LinkName,
    },
}

/// What is on the other side of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The link.
    pub link: LinkName,
    /// The members there. None: it isn't a gateway link, and leads outside.
    #[serde(skip)]
    members: Option<Nets>,
}

/// Addresses and prefixes, quick to be looked up in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nets {
    /// Single addresses.
    single: BTreeSet<IpAddr>,
    /// Prefixes of more than one.
    wide: BTreeSet<IpNet>,
}

/// A connection, as connection tracking knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The address that opened it.
    pub from: IpAddr,
    /// The address that answers it, after all translation.
    pub to: IpAddr,
    /// The number of its transport protocol.
    pub protocol: u8,
    /// The port that answers it, after all translation; 0 if it has none.
    pub port: u16,
    /// The address that it was opened to, before any translation.
    pub at: IpAddr,
    /// The port that it was opened to, before any translation; 0 if it has none.
    pub at_port: u16,
}

impl Nets {
    /// Whether an address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.single.contains(&ip) || self.wide.iter().any(|net| net.contains(&ip))
    }

    /// All of them, the single ones first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let single = self.single.iter().copied().map(IpNet::from);
        single.chain(self.wide.iter().copied())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.single.len() + self.wide.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether exactly this prefix is one of them.
    fn has(&self, net: &IpNet) -> bool {
        self.wide.contains(net)
            || net.prefix_len() == net.max_prefix_len() && self.single.contains(&net.addr())
    }
}

impl FromIterator<IpNet> for Nets {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Nets {
        let mut all = Nets::default();
        for net in nets {
            if net.prefix_len() == net.max_prefix_len() {
                all.single.insert(net.addr());
            } else {
                all.wide.insert(net);
            }
        }
        all
    }
}

impl Serialize for Nets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Withdrawn {
    /// What ends when a table becomes another, or goes.
    pub fn between(before: &Table, after: Option<&Table>) -> Withdrawn {
        let (old, new) = (
            Grants::of(before),
            after.map(Grants::of).unwrap_or_default(),
        );
        let gone: Nets = old
            .members
            .iter()
            .filter(|(net, links)| {
                let still = |link| new.behind.get(link).is_some_and(|nets| nets.contains(*net));
                !links.iter().all(still)
            })
            .map(|(net, _)| **net)
            .collect();
        let mut ended = Vec::new();
        for (family, pairs) in Family::BOTH.into_iter().zip(&old.pairs) {
            let now = &new.pairs[usize::from(family == Family::Ipv6)];
            for (pair, granted) in pairs {
                let still = match now.get(pair) {
                    Some(now) if now.source == granted.source => now.services.clone(),
                    None if new.judges_nothing && granted.source == Source::Kept => continue,
                    _ => BTreeSet::new(),
                };
                let [from, to] = [pair.from, pair.to].map(|link| Side {
                    link: link.clone(),
                    members: old.behind(link, family, pair, &gone),
                });
                // Those of members that go are ended all together.
                let nobody = |side: &Side| side.members.as_ref().is_some_and(Nets::is_empty);
                let granted = granted.services.iter();
                let were: BTreeSet<Service> = granted
                    .filter(|were| !still.iter().any(|still| still.covers(**were)))
                    .copied()
                    .collect();
                if !were.is_empty() && !nobody(&from) && !nobody(&to) {
                    ended.push(Ended::Pair {
                        family,
                        from,
                        to,
                        were,
                        still,
                    });
                }
            }
        }
        let published = after.map(published::leads).unwrap_or_default();
        let is_gone = |ip| gone.contains(ip);
        let lost = published::lost(&published::leads(before), &published, is_gone);
        ended.extend(lost.into_iter().map(Ended::Published));
        let [mapped, mapped_now] = [Some(before), after].map(|table| {
            let mapped = table.map(published::mapped);
            mapped.unwrap_or_default()
        });
        let differ = mapped.symmetric_difference(&mapped_now);
        let stays = |member: IpAddr| {
            let net = IpNet::from(member);
            old.members.contains_key(&&net) && !is_gone(member)
        };
        let members = differ.filter(|(_, member, ..)| stays(*member));
        let differ: BTreeSet<(IpAddr, &LinkName)> =
            members.map(|(_, member, dev, _)| (*member, *dev)).collect();
        ended.extend(differ.into_iter().map(|(member, dev)| Ended::Mapped {
            member,
            dev: dev.clone(),
        }));
        if !gone.is_empty() {
            ended.insert(0, Ended::Members(gone));
        }
        let members = if ended.is_empty() {
            Nets::default()
        } else {
            old.members.keys().map(|net| **net).collect()
        };
        Withdrawn {
            ended,
            members,
            published,
        }
    }

    /// Whether nothing ends.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    /// Whether a connection ends, where `local` are the gateway's own addresses.
    pub fn covers(&self, connection: &Connection, local: &BTreeSet<IpAddr>) -> bool {
        let Connection { from, to, .. } = *connection;
        let is_outside = |ip: IpAddr| !self.members.contains(ip) && !local.contains(&ip);
        let on = |side: &Side, ip: IpAddr| match &side.members {
            Some(members) => members.contains(ip),
            None => is_outside(ip),
        };
        let is_whence = |lead: &Lead| match lead.whence {
            Whence::Here => !is_outside(from),
            Whence::Outside(_) => is_outside(from),
            Whence::Anywhere => true,
        };
        // What a publication leads depends on that, and on nothing else.
        let is_published = || {
            let mut published = self.published.iter();
            published.any(|lead| lead.led(connection) && is_whence(lead))
        };
        let is_of = |services: &BTreeSet<Service>| {
            let mut services = services.iter();
            services.any(|service| service.has(connection.protocol, connection.port))
        };
        self.ended.iter().any(|ended| match ended {
            Ended::Members(gone) => gone.contains(from) || gone.contains(to),
            Ended::Pair {
                family,
                from: a,
                to: b,
                were,
                still,
            } => {
                Family::of(from) == *family
                    && on(a, from)
                    && on(b, to)
                    && is_of(were)
                    && !is_of(still)
                    && !is_published()
            }
            Ended::Published(lead) => lead.led(connection) && is_whence(lead),
            Ended::Mapped { member, .. } => from == *member && is_outside(to),
        })
    }
}

impl Service {
    /// Whether connections of a protocol to a port are among these.
    pub(crate) fn has(self, protocol: u8, port: u16) -> bool {
        match self {
            Service::All => true,
            Service::Ports {
                protocol: number,
                from,
                to,
            } => number == protocol && (from..=to).contains(&port),
        }
    }

    /// Whether all of some others are among these.
    fn covers(self, other: Service) -> bool {
        match other {
            Service::All => self == Service::All,
            Service::Ports { protocol, from, to } => {
                self.has(protocol, from) && self.has(protocol, to)
            }
        }
    }
}

/// From where to where connections may be opened.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair<'t> {
    from: &'t LinkName,
    /// The one member that it is about, on a link that others made.
    member: Option<&'t IpNet>,
    to: &'t LinkName,
}

/// What may be opened there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Granted<'t> {
    services: BTreeSet<Service>,
    source: Source<'t>,
}

/// Which source is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Source<'t> {
    /// The member's own.
    #[default]
    Kept,
    /// That of the link.
    OfLink,
    /// This one.
    Fixed(&'t [Value]),
}

/// What a table lets through.
#[derive(Debug, Default)]
struct Grants<'t> {
    /// The members, and behind which links they are.
    members: BTreeMap<&'t IpNet, BTreeSet<&'t LinkName>>,
    /// The same, by gateway link.
    behind: BTreeMap<&'t LinkName, BTreeSet<&'t IpNet>>,
    /// The prefixes behind gateway links that others made, where not all are members.
    prefixes: BTreeMap<&'t LinkName, BTreeSet<&'t IpNet>>,
    /// The pairs of IPv4 and of IPv6.
    pairs: [BTreeMap<Pair<'t>, Granted<'t>>; 2],
    /// Whether everything may pass, because the gateway is a plain router.
    judges_nothing: bool,
}

impl<'t> Grants<'t> {
    fn of(table: &'t Table) -> Grants<'t> {
        let mut grants = Grants {
            judges_nothing: !judges(table),
            ..Grants::default()
        };
        let links = table.sets.get(links::LINKS);
        for element in links.into_iter().flat_map(|set| &set.elements) {
            if let [Value::Link(link)] = element.key.as_slice() {
                grants.behind.entry(link).or_default();
            }
        }
        for (place, family) in Family::BOTH.into_iter().enumerate() {
            let elements = |set: &str| {
                let set = table.sets.get(&name(set, family));
                set.into_iter().flat_map(|set| &set.elements)
            };
            for element in elements(sources::SOURCES).chain(elements(routed::ROUTED)) {
                if let [Value::Link(link), Value::Ip(net)] = element.key.as_slice() {
                    grants.add(link, net);
                }
            }
            for element in elements(links::BEHIND) {
                if let [Value::Link(link), Value::Ip(net)] = element.key.as_slice() {
                    grants.prefixes.entry(link).or_default().insert(net);
                }
            }
            let pairs = &mut grants.pairs[place];
            let sets = [guard::PASS, guard::PASS_FROM, allow::PASS_WITHIN];
            let ports = [allow::PORTS, allow::PORTS_WITHIN];
            for element in sets.into_iter().chain(ports).flat_map(elements) {
                if let Some((pair, service)) = granted(element) {
                    pairs.entry(pair).or_default().services.insert(service);
                }
            }
            let mut translate = |set: &str, source: fn(&'t Element) -> Source<'t>| {
                for element in elements(set) {
                    if let Some((pair, _)) = granted(element) {
                        let granted = pairs.entry(pair).or_default();
                        granted.services.insert(Service::All);
                        granted.source = source(element);
                    }
                }
            };
            for set in [egress::MASQUERADE, egress::MASQUERADE_FROM] {
                translate(set, |_| Source::OfLink);
            }
            for map in [egress::MASQUERADE_AS, egress::MASQUERADE_AS_FROM] {
                translate(map, |element| Source::Fixed(&element.data));
            }
        }
        let single = grants.pairs.iter().flat_map(BTreeMap::keys);
        let single = single.filter_map(|pair| Some((pair.from, pair.member?)));
        for (link, net) in single.collect::<Vec<_>>() {
            grants.add(link, net);
        }
        grants
    }

    fn add(&mut self, link: &'t LinkName, net: &'t IpNet) {
        self.members.entry(net).or_default().insert(link);
        self.behind.entry(link).or_default().insert(net);
    }

    /// What of a family is behind a link of a pair, without the members that go. None: it is no gateway link.
    fn behind(&self, link: &LinkName, family: Family, pair: &Pair, gone: &Nets) -> Option<Nets> {
        let is_of = |net: &&IpNet| Family::of(net.addr()) == family;
        if let Some(member) = pair.member.filter(|_| link == pair.from) {
            return Some([*member].into_iter().filter(|net| !gone.has(net)).collect());
        }
        if let Some(prefixes) = self.prefixes.get(link) {
            return Some(prefixes.iter().copied().filter(is_of).copied().collect());
        }
        let behind = self.behind.get(link)?.iter().copied().filter(is_of);
        Some(behind.filter(|net| !gone.has(net)).copied().collect())
    }
}

/// What an element of a set of permissions says.
fn granted(element: &Element) -> Option<(Pair<'_>, Service)> {
    let pair = |from, member, to| Pair { from, member, to };
    Some(match element.key.as_slice() {
        [Value::Link(from), Value::Link(to)] => (pair(from, None, to), Service::All),
        [Value::Link(from), Value::Ip(net), Value::Link(to)] => {
            (pair(from, Some(net), to), Service::All)
        }
        [
            Value::Link(from),
            Value::Link(to),
            Value::Protocol(protocol),
            ports,
        ] => {
            let (first, last) = match ports {
                Value::Port(port) => (*port, *port),
                Value::Ports(first, last) => (*first, *last),
                _ => return None,
            };
            let service = Service::Ports {
                protocol: *protocol,
                from: first,
                to: last,
            };
            (pair(from, None, to), service)
        }
        _ => return None,
    })
}

/// Whether a table refuses what nothing lets through.
fn judges(table: &Table) -> bool {
    let rules = table.chains.get(guard::JUDGE).map(|chain| &chain.rules);
    let drops = |rule: &Rule| {
        let last = rule.statements.last();
        last == Some(&Statement::Verdict(Verdict::Drop))
    };
    rules.is_some_and(|rules| rules.last().is_some_and(drops))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::name::TopologyName;
    use crate::resource::nftables::gateway::{
        Egress, Gateway, GatewayLink, Guard, Inbound, Nat, Origin, Shape,
    };

    /// What a gateway says of a member: its link, and the way out with its translation.
    type Said<'g> = (&'g LinkName, Option<&'g Egress>);

    fn link(name: &str) -> LinkName {
        LinkName::try_from(name).expect("a name")
    }

    fn connection(from: IpAddr, to: IpAddr) -> Connection {
        Connection {
            from,
            to,
            protocol: 6,
            port: 80,
            at: to,
            at_port: 80,
        }
    }

    fn gateway(rng: &mut fastrand::Rng) -> Gateway {
        let mut links = BTreeMap::new();
        // A member is behind one link at most.
        let mut members: Vec<IpAddr> = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::2", "fd00::3"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec();
        for name in ["one", "two", "three"] {
            rng.shuffle(&mut members);
            let behind = members.split_off(members.len() - rng.usize(0..=members.len()));
            let mut egress = BTreeMap::new();
            for family in Family::BOTH {
                if rng.bool() {
                    let dev = link(rng.choice(["up", "tun"]).expect("one"));
                    let nat = *rng.choice(&[Nat::Masquerade, Nat::None]).expect("one");
                    egress.insert(
                        family,
                        Egress {
                            dev,
                            nat,
                            inbound: Inbound::Deny,
                        },
                    );
                }
            }
            let origin = if name == "one" {
                Origin::Existing
            } else {
                Origin::Made
            };
            let nets = ["10.0.0.0/24", "fd00::/64"];
            let of_link = GatewayLink {
                origin,
                shape: Shape::PointToPoint,
                members: behind.into_iter().collect(),
                prefixes: nets.map(|net| net.parse().expect("a prefix")).into(),
                routed: BTreeSet::new(),
                allow: BTreeSet::new(),
                egress,
            };
            links.insert(link(name), of_link);
        }
        Gateway {
            topology: TopologyName::try_from("x").expect("a name"),
            links,
            guard: Guard::Links,
            fallback: None,
            published: BTreeSet::new(),
        }
    }

    fn said(gateway: &Gateway, ip: IpAddr) -> Option<Said<'_>> {
        let mut links = gateway.links.iter();
        let (name, link) = links.find(|(_, link)| link.members.contains(&ip))?;
        let egress = link.egress.get(&Family::of(ip));
        // A member of a link that others made is known by what it may do only.
        let known = link.origin == Origin::Made || egress.is_some();
        known.then_some((name, egress))
    }

    #[test]
    fn what_ends_is_what_was_granted_and_is_no_more() {
        let local: BTreeSet<IpAddr> = ["10.0.0.1", "fd00::1"]
            .map(|ip| ip.parse().expect("an address"))
            .into();
        let mut ended = 0;
        for seed in 0..3000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (before, after) = (gateway(&mut rng), gateway(&mut rng));
            let tables = [&before, &after].map(|gateway| gateway.table().expect("links"));
            let withdrawn = Withdrawn::between(&tables[0], Some(&tables[1]));
            for from in ["10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::2", "fd00::3"] {
                let from: IpAddr = from.parse().expect("an address");
                let [outside, own] = if from.is_ipv4() {
                    ["198.51.100.10", "10.0.0.1"]
                } else {
                    ["2001:db8::10", "fd00::1"]
                };
                let (old, new) = (said(&before, from), said(&after, from));
                let moved = old.is_some_and(|(link, _)| new.is_none_or(|(now, _)| now != link));
                let granted = old.and_then(|(_, egress)| egress);
                let kept = new.and_then(|(_, egress)| egress) == granted;
                for (to, ends) in [(outside, moved || granted.is_some() && !kept), (own, moved)] {
                    let to = to.parse().expect("an address");
                    let covers = |from, to| withdrawn.covers(&connection(from, to), &local);
                    assert_eq!(
                        covers(from, to),
                        ends,
                        "seed {seed}: {from} to {to}\n{before:#?}\n{after:#?}"
                    );
                    // What was opened to a member ends with it only, whoever did.
                    assert_eq!(covers(to, from), moved, "seed {seed}: {to} to {from}");
                    ended += usize::from(ends);
                }
                // Between members no egress leads.
                let to: IpAddr = if from.is_ipv4() {
                    "10.0.0.3"
                } else {
                    "fd00::3"
                }
                .parse()
                .expect("an address");
                let other = said(&before, to);
                let gone = other
                    .is_some_and(|(link, _)| said(&after, to).is_none_or(|(now, _)| now != link));
                if other.is_some() {
                    let ends = withdrawn.covers(&connection(from, to), &local);
                    assert_eq!(ends, moved || gone, "seed {seed}: {from} to {to}");
                }
            }
            let [from, to] = ["192.0.2.1", "198.51.100.10"];
            let [from, to] = [from, to].map(|ip| ip.parse().expect("an address"));
            let others = connection(from, to);
            assert!(!withdrawn.covers(&others, &local), "seed {seed}");
            assert!(Withdrawn::between(&tables[0], Some(&tables[0])).is_empty());
        }
        assert!(ended > 1000, "{ended}");
    }
}
