//! What else may be opened: from members to those behind other gateway links, and from outside.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key, Statement};
use super::super::{Rule, Table};
use super::words::{IN, OUT, accept, in_set, name, put_set};
use super::{Gateway, Inbound, Origin, Service, guard};
use crate::resource::Family;
use crate::resource::name::LinkName;

/// From which link to which link some connections may be opened.
pub(super) const PORTS: &str = "ports";
/// As `pass`, where one of the links is one that others made.
pub(super) const PASS_WITHIN: &str = "pass_within";
/// As `ports`, where one of the links is one that others made.
pub(super) const PORTS_WITHIN: &str = "ports_within";
/// The addresses behind links of the two.
const WITHIN: &str = "within";
/// The pairs of links of `ports`, each both ways: an error has no port.
const ERRORS: &str = "errors";
/// Those of `ports_within`.
const ERRORS_WITHIN: &str = "errors_within";

/// A permission: from one link to another.
type Permission<'g> = (&'g LinkName, &'g LinkName, Service);

/// All that is permitted in a family, and between which origins.
fn permissions(
    gateway: &Gateway,
    family: Family,
) -> impl Iterator<Item = (Permission<'_>, Origin)> {
    let allowed = gateway.links.iter().flat_map(move |(name, link)| {
        let allow = link
            .allow
            .iter()
            .filter(move |allow| allow.family == family);
        allow.map(move |allow| (name, &allow.to, allow.service))
    });
    let inbound = gateway.links.iter().filter_map(move |(name, link)| {
        let egress = link.egress.get(&family)?;
        (egress.inbound == Inbound::Allow).then_some((&egress.dev, name, Service::All))
    });
    // Of a link that others made, only what is within its prefixes is anybody's to permit.
    let existing = move |name: &LinkName| {
        let link = gateway.links.get(name);
        link.filter(|link| link.origin == Origin::Existing)
    };
    let is_somewhere = move |name: &LinkName| {
        let nets = existing(name).map(|link| link.prefixes.iter());
        nets.is_none_or(|mut nets| nets.any(|net| Family::of(net.addr()) == family))
    };
    let all = allowed.chain(inbound);
    let all = all.filter(move |(from, to, _)| is_somewhere(from) && is_somewhere(to));
    all.map(move |(from, to, service)| {
        let existing = existing(from).or(existing(to)).is_some();
        let origin = if existing {
            Origin::Existing
        } else {
            Origin::Made
        };
        ((from, to, service), origin)
    })
}

/// From which link to which link, of those that this topology made and of those beyond, every connection may
/// be opened.
pub(super) fn pairs(gateway: &Gateway, family: Family) -> impl Iterator<Item = Element> {
    permissions(gateway, family).filter_map(|((from, to, service), origin)| {
        let pair = [from, to].map(|link| Value::Link(link.clone()));
        (service == Service::All && origin == Origin::Made).then(|| Element::of(pair))
    })
}

/// Puts in the sets `ports`, `pass_within`, `ports_within` and `within` of a family, and those for errors about the
/// connections, and gives the rules that look in them.
pub(super) fn put(gateway: &Gateway, table: &mut Table, family: Family) -> Vec<Rule> {
    let comment = "from which link to which link connections to which ports may be opened";
    put_set(
        table,
        &name(PORTS, family),
        comment,
        ports_set(),
        ports(gateway, family, Origin::Made).into_iter(),
    );

    let all = permissions(gateway, family).filter(|((_, _, service), origin)| {
        *service == Service::All && *origin == Origin::Existing
    });
    let pairs =
        all.map(|((from, to, _), _)| Element::of([from, to].map(|link| Value::Link(link.clone()))));
    let comment =
        "from which link to which link a connection may be opened within the prefixes there";
    let set = Set::of([Field::Ifname, Field::Ifname]);
    put_set(table, &name(PASS_WITHIN, family), comment, set, pairs);

    let comment = "as `ports`, within the prefixes behind both links";
    put_set(
        table,
        &name(PORTS_WITHIN, family),
        comment,
        ports_set(),
        ports(gateway, family, Origin::Existing).into_iter(),
    );

    for (set, of, origin) in [
        (ERRORS, PORTS, Origin::Made),
        (ERRORS_WITHIN, PORTS_WITHIN, Origin::Existing),
    ] {
        let comment = format!("between which links errors about connections of `{of}` may go");
        let pairs = errors(gateway, family, origin).into_iter();
        let kind = Set::of([Field::Ifname, Field::Ifname]);
        put_set(table, &name(set, family), &comment, kind, pairs);
    }

    let set = Set::of([Field::Ifname, Field::address(family)]).of_intervals();
    let comment = "what is behind the links of `pass_within` and `ports_within`";
    put_set(
        table,
        &name(WITHIN, family),
        comment,
        set,
        within(gateway, family),
    );

    // Addresses say of which family a packet is; where none is looked at, that is to be said.
    let set = name(WITHIN, family);
    let within = [
        in_set([IN, Key::Address(family, End::Source)], &set),
        in_set([OUT, Key::Address(family, End::Destination)], &set),
    ];
    let of_family = [Statement::Family(family)];
    let service = [IN, OUT, Key::Protocol, Key::Port(End::Destination)];
    let rules = [
        (PORTS, &of_family[..], &service[..], accept()),
        (ERRORS, &of_family, &[IN, OUT], guard::accept_errors()),
        (PASS_WITHIN, &within, &[IN, OUT], accept()),
        (PASS_WITHIN, &within, &[OUT, IN], guard::accept_errors()),
        (PORTS_WITHIN, &within, &service, accept()),
        (ERRORS_WITHIN, &within, &[IN, OUT], guard::accept_errors()),
    ];
    let rules = rules.into_iter().filter_map(|(set, before, key, then)| {
        let set = name(set, family);
        table.sets.contains_key(&set).then(|| {
            let key = key.to_vec();
            let found = [Statement::In { key, set }, then];
            Rule::new(before.iter().cloned().chain(found))
        })
    });
    rules.collect()
}

fn ports_set() -> Set {
    let key = [
        Field::Ifname,
        Field::Ifname,
        Field::InetProto,
        Field::InetService,
    ];
    Set::of(key).of_intervals()
}

/// The elements for what is permitted of some ports, between links of an origin.
fn ports(gateway: &Gateway, family: Family, wanted: Origin) -> Vec<Element> {
    let mut ports: BTreeMap<_, BTreeSet<(u16, u16)>> = BTreeMap::new();
    for ((from, to, service), origin) in permissions(gateway, family) {
        if let Service::Ports {
            protocol,
            from: first,
            to: last,
        } = service
            && origin == wanted
        {
            let ranges = ports.entry((from, to, protocol)).or_default();
            ranges.insert((first, last));
        }
    }
    let elements = ports
        .into_iter()
        .flat_map(|((from, to, protocol), ranges)| {
            disjoint(&ranges).into_iter().map(move |(first, last)| {
                Element::of([
                    Value::Link(from.clone()),
                    Value::Link(to.clone()),
                    Value::Protocol(protocol),
                    Value::ports(first, last),
                ])
            })
        });
    elements.collect()
}

/// The pairs of links between which some ports are permitted, both ways.
fn errors(gateway: &Gateway, family: Family, wanted: Origin) -> BTreeSet<Element> {
    let some = permissions(gateway, family).filter(|((_, _, service), origin)| {
        matches!(service, Service::Ports { .. }) && *origin == wanted
    });
    let pairs = some.flat_map(|((from, to, _), _)| [[from, to], [to, from]]);
    let pairs = pairs.map(|pair| Element::of(pair.map(|link| Value::Link(link.clone()))));
    pairs.collect()
}

/// Ranges of the same ports, none of which overlaps another: the kernel refuses those that do.
pub(super) fn disjoint(ranges: &BTreeSet<(u16, u16)>) -> Vec<(u16, u16)> {
    let mut disjoint: Vec<(u16, u16)> = Vec::new();
    for (from, to) in ranges {
        match disjoint.last_mut() {
            Some((_, last)) if u32::from(*from) <= u32::from(*last) + 1 => *last = (*last).max(*to),
            _ => disjoint.push((*from, *to)),
        }
    }
    disjoint
}

/// What is behind links, of which one is one that others made: the prefixes there, and behind others anything.
fn within(gateway: &Gateway, family: Family) -> impl Iterator<Item = Element> {
    let all = permissions(gateway, family).filter(|(_, origin)| *origin == Origin::Existing);
    let links: BTreeSet<&LinkName> = all.flat_map(|((from, to, _), _)| [from, to]).collect();
    links.into_iter().flat_map(move |name| {
        let existing = gateway.links.get(name);
        let existing = existing.filter(|link| link.origin == Origin::Existing);
        let nets = match existing {
            Some(link) => {
                let nets = link.prefixes.iter();
                let nets = nets.filter(|net| Family::of(net.addr()) == family);
                IpNet::aggregate(&nets.map(IpNet::trunc).collect())
            }
            None => vec![match family {
                Family::Ipv4 => Ipv4Net::default().into(),
                Family::Ipv6 => Ipv6Net::default().into(),
            }],
        };
        nets.into_iter()
            .map(|net| Element::of([Value::Link(name.clone()), Value::Ip(net)]))
    })
}
