//! Connections that publications led to members.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Connection;
use crate::resource::Family;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::words::name;
use crate::resource::nftables::gateway::{Service, publish};
use crate::resource::nftables::{Element, Table, Value};

/// What leads to a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
pub(super) fn leads(table: &Table) -> BTreeSet<Lead> {
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
