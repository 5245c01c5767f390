//! Which IPv4 addresses don't stand where they should.
//!
//! The kernel has the addresses of a link in a list: those that are the first of their networks, and then
//! the others, each in the order in which they came (`__inet_insert_ifa` of `net/ipv4/devinet.c`). The
//! first of all, or of the network of a destination, is the source of what is sent. So of those that are
//! wanted the first of each network must be primary, these stand in the order wanted, and so do the others
//! of each network. How the others of different networks stand to each other makes no difference.
//!
//! What is added goes to the end, so in its right place stays only what all that is wanted before it
//! stays before. Addresses of others aren't touched: where one is the first of a network, ours are not.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::plan::decide::Decision;
use crate::plan::fall::goes;
use crate::resource::address::{Address, AddressKey, Standing};
use crate::resource::{Id, Key, Resource};
use crate::state::{Entry, State};

/// An address that is wanted.
struct Wanted<'s> {
    id: &'s Id,
    key: &'s AddressKey,
    place: u32,
    network: IpNet,
}

/// An address that is there.
#[derive(Clone)]
struct Found<'s> {
    id: &'s Id,
    place: u32,
    network: IpNet,
    standing: Standing,
}

/// The addresses that must be made again because of where they stand, and why.
pub(super) fn out_of_place<'s>(
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    desired: &'s State,
    observed: &'s State,
) -> Vec<(&'s Id, String)> {
    let mut all = Vec::new();
    let mut wanted: Vec<Wanted<'s>> = Vec::new();
    for one in desired.entries.iter().filter_map(wanted_one) {
        let link = |one: &Wanted<'s>| (&one.id.ns, &one.key.link);
        if wanted.last().is_some_and(|last| link(last) != link(&one)) {
            of_link(std::mem::take(&mut wanted), decisions, observed, &mut all);
        }
        wanted.push(one);
    }
    of_link(wanted, decisions, observed, &mut all);
    all
}

/// An IPv4 address whose place is to be looked at. A loopback address stands behind all others.
fn wanted_one<'s>((id, entry): (&'s Id, &'s Entry)) -> Option<Wanted<'s>> {
    let (Key::Address(key), Resource::Address(address)) = (&id.key, &entry.resource) else {
        return None;
    };
    if key.ip.is_ipv6() || key.ip.is_loopback() {
        return None;
    }
    Some(Wanted {
        id,
        key,
        place: address.place,
        network: address.network(key.ip)?,
    })
}

/// What must be made again on a link.
fn of_link<'s>(
    mut wanted: Vec<Wanted<'s>>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
    all: &mut Vec<(&'s Id, String)>,
) {
    // One alone is always in its place.
    let [first, _, ..] = wanted.as_slice() else {
        return;
    };
    let list = list(first, observed);
    wanted.sort_by_key(|one| one.place);
    let mut going: BTreeSet<&Id> = list
        .iter()
        .map(|found| found.id)
        .filter(|id| goes(decisions, id))
        .collect();
    let decided = going.len();
    let lines = loop {
        let left = after(&list, &going);
        let lines = lines(&wanted, &left);
        match lines.iter().find_map(|line| misplaced(line, &left)) {
            Some(misplaced) => going.extend(misplaced),
            None => break lines,
        }
    };
    if going.len() == decided {
        return;
    }
    for line in &lines {
        let mut before: Option<&Wanted<'_>> = None;
        for one in &line.wanted {
            let kept = matches!(
                decisions.get(one.id),
                Some(Decision::Keep | Decision::Update(..))
            );
            if kept && going.contains(one.id) {
                let why = match before {
                    Some(before) => format!("it is to stand after {}", before.key.ip),
                    None => "it is to be the first".to_owned(),
                };
                all.push((one.id, why));
            }
            before = Some(*one);
        }
    }
}

/// The IPv4 addresses of a link in the order in which they stand.
fn list<'s>(one: &Wanted<'s>, observed: &'s State) -> Vec<Found<'s>> {
    let lowest = AddressKey {
        link: one.key.link.clone(),
        ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    let from = Id::new(one.id.ns.clone(), Key::Address(lowest));
    let mut list = Vec::new();
    for (id, entry) in observed.entries.range(from..) {
        match (&id.key, &entry.resource) {
            (Key::Address(key), Resource::Address(address))
                if id.ns == one.id.ns && key.link == one.key.link && key.ip.is_ipv4() =>
            {
                list.extend(found_one(id, key, address));
            }
            _ => break,
        }
    }
    list.sort_by_key(|found| found.place);
    list
}

fn found_one<'s>(id: &'s Id, key: &AddressKey, address: &Address) -> Option<Found<'s>> {
    Some(Found {
        id,
        place: address.place,
        network: address.network(key.ip)?,
        standing: address.standing,
    })
}

/// What is left of a list when some go, the last first, as the kernel does it (`__inet_del_ifa` of
/// `net/ipv4/devinet.c`): with the first of a network the others go, or the next of them is promoted and
/// comes after the first ones of the other networks.
fn after<'s>(list: &[Found<'s>], going: &BTreeSet<&Id>) -> Vec<Found<'s>> {
    let mut left = list.to_vec();
    for gone in list.iter().rev().filter(|found| going.contains(found.id)) {
        let Some(at) = left.iter().position(|found| found.id == gone.id) else {
            continue;
        };
        let gone = left.remove(at);
        if gone.standing != Standing::Primary {
            continue;
        }
        left.retain(|found| found.network != gone.network || found.standing != Standing::Secondary);
        let heir = left.iter().position(|found| found.network == gone.network);
        if let Some(heir) = heir {
            let mut heir = left.remove(heir);
            heir.standing = Standing::Primary;
            let firsts = left
                .iter()
                .rposition(|found| found.standing == Standing::Primary);
            left.insert(firsts.map_or(0, |last| last + 1), heir);
        }
    }
    left
}

/// Addresses that are to stand in a row.
struct Line<'w, 's> {
    wanted: Vec<&'w Wanted<'s>>,
    /// Whether they are the first of their networks.
    standing: Standing,
}

/// The rows in which the wanted addresses are to stand beside what is left: the first of the networks, but
/// for those whose first is somebody else's; and then, for each network, the others.
fn lines<'w, 's>(wanted: &'w [Wanted<'s>], left: &[Found<'s>]) -> Vec<Line<'w, 's>> {
    let ours: BTreeSet<&Id> = wanted.iter().map(|one| one.id).collect();
    let mut of_others: BTreeSet<IpNet> = BTreeSet::new();
    let mut firsts: BTreeSet<IpNet> = BTreeSet::new();
    for found in left {
        let first = found.standing == Standing::Primary;
        // The first of it may be one that is hidden by another length of the same address.
        if first && !ours.contains(found.id) || !first && !firsts.contains(&found.network) {
            of_others.insert(found.network);
        }
        if first {
            firsts.insert(found.network);
        }
    }
    let mut primary = Vec::new();
    let mut others: BTreeMap<IpNet, Vec<&Wanted<'_>>> = BTreeMap::new();
    for one in wanted {
        if of_others.contains(&one.network) {
            others.entry(one.network).or_default().push(one);
        } else if let Some(others) = others.get_mut(&one.network) {
            others.push(one);
        } else {
            others.insert(one.network, Vec::new());
            primary.push(one);
        }
    }
    let secondary = others.into_values().map(|wanted| Line {
        wanted,
        standing: Standing::Secondary,
    });
    let primary = Line {
        wanted: primary,
        standing: Standing::Primary,
    };
    [primary].into_iter().chain(secondary).collect()
}

/// Those of a row that are there and must go, so that they can be made again where they belong. Not all
/// at once: with one that goes others may go, or come to stand right.
fn misplaced<'s>(line: &Line<'_, 's>, left: &[Found<'s>]) -> Option<Vec<&'s Id>> {
    let place = |one: &Wanted<'_>| left.iter().position(|found| found.id == one.id);
    let is_first = |at: usize| left[at].standing == Standing::Primary;
    if line.standing == Standing::Primary {
        // What is the first of a network in the place of another one.
        let usurpers: Vec<&Id> = line
            .wanted
            .iter()
            .filter_map(|one| {
                let first = left.iter().enumerate().find(|(at, found)| {
                    is_first(*at) && found.network == one.network && found.id != one.id
                });
                first.map(|(_, found)| found.id)
            })
            .collect();
        if !usurpers.is_empty() {
            return Some(usurpers);
        }
    }
    let mut last = None;
    let mut in_place = line.wanted.iter().peekable();
    while let Some(at) = in_place.peek().and_then(|one| place(one)) {
        if last.is_some_and(|last| at < last) {
            break;
        }
        last = Some(at);
        in_place.next();
    }
    let misplaced: Vec<&Id> = in_place
        .filter_map(|one| place(one))
        .map(|at| left[at].id)
        .collect();
    Some(misplaced).filter(|misplaced| !misplaced.is_empty())
}
