//! The way back from a table: which links it guards, and what leaves by which link, and as whom.
//!
//! For who writes a spec of what exists. Of what a person added to the table it says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::Table;
use super::super::set::{Element, Value};
use super::words::name;
use super::{Nat, Service, allow, egress, guard, links, publish};
use crate::resource::Family;
use crate::resource::name::LinkName;

/// What a table of netform's says of gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raised {
    /// The gateway links that the topology made.
    pub links: BTreeSet<LinkName>,
    /// By which link what comes from one leaves, and with which source.
    pub egress: BTreeMap<(LinkName, Family), (LinkName, Nat)>,
    /// What connections may be opened from one link to another, besides to a way out.
    pub allow: BTreeSet<(LinkName, LinkName, Family, Service)>,
    /// What leads to members.
    pub published: BTreeSet<Published>,
    /// Whether connections are judged.
    pub judges: bool,
}

/// What leads to a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The link that connections come by; none: any.
    pub dev: Option<LinkName>,
    /// The address that they go to; none: any of the namespace's own.
    pub address: Option<IpAddr>,
    /// Which.
    pub service: Service,
    /// The member.
    pub to: IpAddr,
    /// The port there.
    pub port: Option<u16>,
}

impl Table {
    /// What it says of gateways.
    pub fn raised(&self) -> Raised {
        let mut raised = Raised {
            // Of a plain router it only clamps.
            judges: self
                .chains
                .get(guard::JUDGE)
                .is_some_and(|judge| judge.rules.len() > 1),
            ..Raised::default()
        };
        let linked = self.elements(links::LINKS).filter_map(|element| {
            let [Value::Link(link)] = element.key.as_slice() else {
                return None;
            };
            Some(link.clone())
        });
        raised.links.extend(linked);
        for family in Family::BOTH {
            let passing = self.pairs(&name(guard::PASS, family));
            for [from, to] in passing.filter(|[from, to]| from != to) {
                if raised.links.contains(from) && !raised.links.contains(to) {
                    let way = (from.clone(), family);
                    raised.egress.insert(way, (to.clone(), Nat::None));
                } else {
                    let allowed = (from.clone(), to.clone(), family, Service::All);
                    raised.allow.insert(allowed);
                }
            }
            for [from, to] in self.pairs(&name(egress::MASQUERADE, family)) {
                let way = (from.clone(), family);
                raised.egress.insert(way, (to.clone(), Nat::Masquerade));
            }
            for element in self.elements(&name(egress::MASQUERADE_AS, family)) {
                if let ([Value::Link(from), Value::Link(to)], Some(ip)) =
                    (element.key.as_slice(), element.data.first().and_then(ip_of))
                {
                    let way = (from.clone(), family);
                    raised.egress.insert(way, (to.clone(), Nat::Source(ip)));
                }
            }
            for element in self.elements(&name(allow::PORTS, family)) {
                if let [Value::Link(from), Value::Link(to), rest @ ..] = element.key.as_slice()
                    && let Some(service) = service(rest)
                {
                    let allowed = (from.clone(), to.clone(), family, service);
                    raised.allow.insert(allowed);
                }
            }
            raised.published.extend(self.published(family));
        }
        raised
    }

    fn elements<'t>(&'t self, set: &str) -> impl Iterator<Item = &'t Element> + use<'t> {
        self.sets.get(set).into_iter().flat_map(|set| &set.elements)
    }

    fn pairs<'t>(&'t self, set: &str) -> impl Iterator<Item = [&'t LinkName; 2]> + use<'t> {
        self.elements(set)
            .filter_map(|element| match element.key.as_slice() {
                [Value::Link(from), Value::Link(to)] => Some([from, to]),
                _ => None,
            })
    }

    /// What is published: of what comes from outside, because what members and own processes send follows from that.
    fn published(&self, family: Family) -> BTreeSet<Published> {
        let maps = [
            publish::PUBLISHED_AT,
            publish::PUBLISHED_BY,
            publish::RANGES_AT,
            publish::RANGES_BY,
            publish::MAPPED,
        ];
        let elements = maps
            .into_iter()
            .flat_map(|map| self.elements(&name(map, family)));
        let published = elements.filter_map(|element| {
            let to = element.data.first().and_then(ip_of)?;
            let (dev, address, rest) = match element.key.as_slice() {
                [Value::Link(link), rest @ ..] => (Some(link.clone()), None, rest),
                [first, rest @ ..] => (None, Some(ip_of(first)?), rest),
                [] => return None,
            };
            let service = if rest.is_empty() {
                Service::All
            } else {
                service(rest)?
            };
            let port = match element.data.get(1) {
                Some(Value::Port(port)) => Some(*port),
                _ => None,
            };
            Some(Published {
                dev,
                address,
                service,
                to,
                port,
            })
        });
        published.collect()
    }
}

/// The address that a value is.
fn ip_of(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Ip(net) => Some(net.addr()),
        _ => None,
    }
}

/// The service that a protocol and a port, or several, are.
fn service(values: &[Value]) -> Option<Service> {
    let [Value::Protocol(protocol), ports] = values else {
        return None;
    };
    let (from, to) = match ports {
        Value::Port(port) => (*port, *port),
        Value::Ports(from, to) => (*from, *to),
        _ => return None,
    };
    Some(Service::Ports {
        protocol: *protocol,
        from,
        to,
    })
}
