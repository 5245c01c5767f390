//! Connections that publications led to members.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Connection;
use crate::resource::Family;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::words::name;
use crate::resource::nftables::gateway::{Service, publish};
use crate::resource::nftables::{Element, Table, Value};

/// What leads to a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lead {
    /// The member.
    pub to: IpAddr,
    /// Which connections.
    pub service: Service,
    /// The member's port, if it is another.
    pub port: Option<u16>,
    /// The address that they go to. `None`: any.
    pub at: Option<IpAddr>,
    /// From where.
    pub whence: Whence,
}

/// From where connections come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whence {
    /// From members, and from the gateway itself.
    Here,
    /// From outside, by this link.
    Outside(LinkName),
    /// From all of these.
    Anywhere,
}

/// The source of a member that a whole address leads to: its link, its address, the link that it leaves by, and
/// the address that it is seen as.
pub(super) type Mapped<'t> = (&'t LinkName, IpAddr, &'t LinkName, &'t [Value]);

impl Lead {
    /// Whether it led a connection, wherever that came from.
    pub(super) fn led(&self, connection: &Connection) -> bool {
        let port = match self.service {
            Service::All => true,
            Service::Ports { .. } => {
                self.service.has(connection.protocol, connection.at_port)
                    && connection.port == self.port.unwrap_or(connection.at_port)
            }
        };
        port && connection.to == self.to
            && connection.at != self.to
            && self.at.is_none_or(|at| at == connection.at)
    }
}

/// All that a table leads to members.
pub fn leads(table: &Table) -> BTreeSet<Lead> {
    let mut leads = BTreeSet::new();
    for family in Family::BOTH {
        let elements = |set: &str| {
            let set = table.sets.get(&name(set, family));
            set.into_iter().flat_map(|set| &set.elements)
        };
        let arrivals: Vec<(&LinkName, IpAddr)> = elements(publish::ARRIVALS)
            .filter_map(|element| match element.key.as_slice() {
                [Value::Link(link), Value::Ip(ip)] => Some((link, ip.addr())),
                _ => None,
            })
            .collect();
        let maps = [
            publish::PUBLISHED_AT,
            publish::PUBLISHED_BY,
            publish::PUBLISHED,
            publish::RANGES_AT,
            publish::RANGES_BY,
            publish::RANGES,
            publish::MAPPED,
        ];
        for lead in maps.into_iter().flat_map(elements).filter_map(lead) {
            let by = arrivals.iter().filter(|(_, at)| lead.at == Some(*at));
            leads.extend(by.map(|(link, _)| Lead {
                whence: Whence::Outside((*link).clone()),
                ..lead.clone()
            }));
            leads.insert(lead);
        }
    }
    leads
}

/// What an element of a map leads.
fn lead(element: &Element) -> Option<Lead> {
    let (to, port) = match element.data.as_slice() {
        [Value::Ip(to)] => (to.addr(), None),
        [Value::Ip(to), Value::Port(port)] => (to.addr(), Some(*port)),
        _ => return None,
    };
    let (place, ports) = match element.key.as_slice() {
        [Value::Protocol(protocol), ports] => (None, Some((*protocol, ports))),
        [place, Value::Protocol(protocol), ports] => (Some(place), Some((*protocol, ports))),
        [place] => (Some(place), None),
        _ => return None,
    };
    let service = match ports {
        None => Service::All,
        Some((protocol, Value::Port(port))) => Service::Ports {
            protocol,
            from: *port,
            to: *port,
        },
        Some((protocol, Value::Ports(from, to))) => Service::Ports {
            protocol,
            from: *from,
            to: *to,
        },
        Some(_) => return None,
    };
    let (at, whence) = match place {
        None => (None, Whence::Here),
        Some(Value::Link(link)) => (None, Whence::Outside(link.clone())),
        Some(Value::Ip(at)) => (Some(at.addr()), Whence::Here),
        Some(_) => return None,
    };
    Some(Lead {
        to,
        service,
        port,
        at,
        whence,
    })
}

/// What of the leads of a table is no more, without those to members that go. Those that are the same but for where
/// they come from are one.
pub(super) fn lost(
    before: &BTreeSet<Lead>,
    after: &BTreeSet<Lead>,
    gone: impl Fn(IpAddr) -> bool,
) -> Vec<Lead> {
    let mut lost: Vec<Lead> = Vec::new();
    for lead in before.difference(after).filter(|lead| !gone(lead.to)) {
        let same = |last: &&mut Lead| {
            let whence = lead.whence.clone();
            Lead {
                whence,
                ..(**last).clone()
            } == *lead
        };
        match lost.last_mut().filter(same) {
            Some(last) if last.whence == Whence::Here => last.whence = Whence::Anywhere,
            Some(last) if last.whence == Whence::Anywhere => {}
            _ => lost.push(lead.clone()),
        }
    }
    lost
}

/// The sources of members that whole addresses lead to.
pub(super) fn mapped(table: &Table) -> BTreeSet<Mapped<'_>> {
    let sets = Family::BOTH.map(|family| table.sets.get(&name(publish::MAPPED_OUT, family)));
    let elements = sets.into_iter().flatten().flat_map(|set| &set.elements);
    elements
        .filter_map(|element| match element.key.as_slice() {
            [Value::Link(link), Value::Ip(ip), Value::Link(dev)] => {
                Some((link, IpNet::addr(ip), dev, element.data.as_slice()))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::resource::name::TopologyName;
    use crate::resource::nftables::gateway::withdrawn::{Ended, Withdrawn};
    use crate::resource::nftables::gateway::{
        Arrival, Egress, Gateway, GatewayLink, Guard, Inbound, Nat, Origin, Publication, Shape,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn link(name: &str) -> LinkName {
        LinkName::try_from(name).expect("a name")
    }

    fn tcp(from: u16, to: u16) -> Service {
        Service::Ports {
            protocol: 6,
            from,
            to,
        }
    }

    /// A publication to port 80 of the member, and wherever it arrives.
    fn publication(address: Option<&str>, service: Service) -> [Publication; 2] {
        [Arrival::Here, Arrival::Outside(link("up"))].map(|arrival| Publication {
            arrival,
            address: address.map(ip),
            service,
            to: ip("10.0.0.2"),
            port: (service == tcp(8080, 8080)).then_some(80),
            behind: link("to-a"),
        })
    }

    fn table(published: impl IntoIterator<Item = Publication>) -> Table {
        table_with(published, Inbound::Deny)
    }

    /// The same, where connections from outside may be let through besides.
    fn table_with(published: impl IntoIterator<Item = Publication>, inbound: Inbound) -> Table {
        let egress = Egress {
            dev: link("up"),
            nat: Nat::None,
            inbound,
        };
        let of_link = GatewayLink {
            origin: Origin::Made,
            shape: Shape::PointToPoint,
            members: [ip("10.0.0.2"), ip("10.0.0.3")].into(),
            prefixes: ["10.0.0.0/24".parse().expect("a prefix")].into(),
            routed: BTreeSet::new(),
            egress: BTreeMap::from([(Family::Ipv4, egress)]),
            allow: BTreeSet::new(),
        };
        let gateway = Gateway {
            topology: TopologyName::try_from("x").expect("a name"),
            links: BTreeMap::from([(link("to-a"), of_link)]),
            guard: Guard::Links,
            fallback: None,
            published: published.into_iter().collect(),
        };
        gateway.table().expect("a link")
    }

    /// A connection to a port of an address that is answered by a port of the member.
    fn connection(from: &str, at: &str, at_port: u16, port: u16) -> Connection {
        Connection {
            from: ip(from),
            to: ip("10.0.0.2"),
            protocol: 6,
            port,
            at: ip(at),
            at_port,
        }
    }

    fn ends(before: &Table, after: &Table, connection: &Connection) -> bool {
        let local = [ip("10.0.0.1"), ip("192.0.2.1")].into();
        Withdrawn::between(before, Some(after)).covers(connection, &local)
    }

    const OUTSIDE: &str = "198.51.100.10";

    #[test]
    fn what_a_publication_led_ends_with_it_and_nothing_else() {
        let [port, row, at, whole] = [
            publication(None, tcp(8080, 8080)),
            publication(None, tcp(9000, 9010)),
            publication(Some("203.0.113.9"), tcp(8080, 8080)),
            publication(Some("203.0.113.9"), Service::All),
        ];
        let all = || [&port, &row, &at, &whole].into_iter().flatten().cloned();
        let before = table(all());
        for (gone, led, others) in [
            (
                &port,
                ("192.0.2.1", 8080, 80),
                [("192.0.2.1", 9005, 9005), ("203.0.113.9", 7, 7)],
            ),
            (
                &row,
                ("192.0.2.1", 9005, 9005),
                [("192.0.2.1", 8080, 80), ("203.0.113.9", 8080, 80)],
            ),
            (
                &at,
                ("203.0.113.9", 8080, 80),
                [("203.0.113.9", 7, 7), ("192.0.2.1", 9005, 9005)],
            ),
            (
                &whole,
                ("203.0.113.9", 7, 7),
                [("192.0.2.1", 8080, 80), ("192.0.2.1", 9005, 9005)],
            ),
        ] {
            let after = table(all().filter(|publication| !gone.contains(publication)));
            for from in [OUTSIDE, "192.0.2.1", "10.0.0.3"] {
                let (ip, at, to) = led;
                let it = connection(from, ip, at, to);
                assert!(ends(&before, &after, &it), "{from}: {led:?}");
                for (ip, at, to) in others {
                    let other = connection(from, ip, at, to);
                    assert!(!ends(&before, &after, &other), "{from}: {ip}:{at}");
                }
                // What was opened to the member itself was never led there.
                let direct = connection(from, "10.0.0.2", at, at);
                assert!(!ends(&before, &after, &direct));
            }
        }
        assert!(Withdrawn::between(&before, Some(&before)).is_empty());
    }

    #[test]
    fn it_ends_where_it_is_not_served_any_more() {
        let [here, outside] = publication(None, tcp(8080, 8080));
        let both = table([here.clone(), outside.clone()]);
        let from = |from| connection(from, "192.0.2.1", 8080, 80);
        let only_here = table([here]);
        assert!(ends(&both, &only_here, &from(OUTSIDE)));
        assert!(!ends(&both, &only_here, &from("10.0.0.3")));
        let only_outside = table([outside]);
        assert!(!ends(&both, &only_outside, &from(OUTSIDE)));
        assert!(ends(&both, &only_outside, &from("192.0.2.1")));
    }

    #[test]
    fn it_ends_when_it_leads_elsewhere() {
        let before = publication(None, tcp(8080, 8080));
        let mut after = before.clone();
        for publication in &mut after {
            publication.to = ip("10.0.0.3");
        }
        let led = connection(OUTSIDE, "192.0.2.1", 8080, 80);
        let (before, after) = (table(before), table(after));
        assert!(ends(&before, &after, &led));
        let withdrawn = Withdrawn::between(&before, Some(&after));
        let [Ended::Published(lead)] = withdrawn.ended.as_slice() else {
            panic!("{withdrawn:?}");
        };
        assert_eq!(lead.whence, Whence::Anywhere);
    }

    #[test]
    fn the_member_is_seen_as_another_once_its_address_is_not_mapped() {
        let whole = publication(Some("203.0.113.9"), Service::All);
        let (with, without) = (table(whole), table([]));
        let out = Connection {
            from: ip("10.0.0.2"),
            to: ip(OUTSIDE),
            protocol: 17,
            port: 53,
            at: ip(OUTSIDE),
            at_port: 53,
        };
        assert!(ends(&with, &without, &out));
        assert!(ends(&without, &with, &out));
        let other = Connection {
            from: ip("10.0.0.3"),
            ..out
        };
        assert!(!ends(&with, &without, &other));
    }

    #[test]
    fn it_does_not_depend_on_what_else_was_let_through() {
        let published = || publication(None, tcp(8080, 8080));
        let before = table_with(published(), Inbound::Allow);
        let after = table_with(published(), Inbound::Deny);
        let led = connection(OUTSIDE, "192.0.2.1", 8080, 80);
        let direct = connection(OUTSIDE, "10.0.0.2", 80, 80);
        assert!(!ends(&before, &after, &led));
        assert!(ends(&before, &after, &direct));
    }
}
