//! Which traffic is a gateway's business: that of its links, and nothing else.

use ipnet::IpNet;

use super::super::Table;
use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key, Statement};
use super::words::{IN, OUT, in_set, name, put_set};
use super::{Gateway, Origin};
use crate::resource::Family;

/// Links that this topology made.
pub(super) const LINKS: &str = "links";
/// Prefixes behind links that others made.
pub(super) const BEHIND: &str = "behind";

/// Puts in the sets `links` and `behind`.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    let links = gateway
        .links(Origin::Made)
        .map(|(name, _)| Element::of([Value::Link(name.clone())]));
    let comment = "gateway links that this topology made";
    put_set(table, LINKS, comment, Set::of([Field::Ifname]), links);

    for family in Family::BOTH {
        let behind = gateway.links(Origin::Existing).flat_map(|(name, link)| {
            let nets = link
                .prefixes
                .iter()
                .filter(|net| Family::of(net.addr()) == family);
            // The kernel refuses intervals that overlap.
            let nets = IpNet::aggregate(&nets.map(IpNet::trunc).collect());
            nets.into_iter()
                .map(|net| Element::of([Value::Link(name.clone()), Value::Ip(net)]))
        });
        let set = Set::of([Field::Ifname, Field::address(family)]).of_intervals();
        let comment = "prefixes behind gateway links that others made";
        put_set(table, &name(BEHIND, family), comment, set, behind);
    }
}

/// What comes from a gateway link: one of ours, or one of the prefixes behind others'. Each is a match
/// of its own.
pub(super) fn from_links(table: &Table) -> Vec<Statement> {
    let behind = Family::BOTH
        .into_iter()
        .filter_map(|family| behind(table, family, IN, End::Source));
    from_made_links(table).into_iter().chain(behind).collect()
}

/// What goes to a gateway link.
pub(super) fn to_links(table: &Table) -> Vec<Statement> {
    let to_made_links = table.sets.contains_key(LINKS).then(|| in_set([OUT], LINKS));
    let behind = Family::BOTH
        .into_iter()
        .filter_map(|family| behind(table, family, OUT, End::Destination));
    to_made_links.into_iter().chain(behind).collect()
}

/// What comes from a link that this topology made, if there is one.
pub(super) fn from_made_links(table: &Table) -> Option<Statement> {
    table.sets.contains_key(LINKS).then(|| in_set([IN], LINKS))
}

/// What comes from or goes to the prefixes of a family behind links that others made.
pub(super) fn about_existing_links(table: &Table, family: Family) -> Vec<Statement> {
    let ends = [(IN, End::Source), (OUT, End::Destination)];
    ends.into_iter()
        .filter_map(|(link, end)| behind(table, family, link, end))
        .collect()
}

/// What a packet's link and address at one end say of the prefixes behind links that others made.
fn behind(table: &Table, family: Family, link: Key, end: End) -> Option<Statement> {
    let set = name(BEHIND, family);
    table
        .sets
        .contains_key(&set)
        .then(|| in_set([link, Key::Address(family, end)], &set))
}
