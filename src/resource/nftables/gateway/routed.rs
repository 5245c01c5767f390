//! Prefixes behind members that are routers: what comes from one may come from there too.

use ipnet::IpNet;

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key};
use super::super::{Rule, Table};
use super::words::{IN, accept, in_set, name, put_set};
use super::{Gateway, Origin};
use crate::resource::Family;

/// Which prefix may come from which link.
pub(super) const ROUTED: &str = "routed";

/// Puts in the set `routed` of a family, and gives the rule that lets it in.
pub(super) fn put(gateway: &Gateway, table: &mut Table, family: Family) -> Option<Rule> {
    let routed = gateway.links(Origin::Made).flat_map(|(link, of_link)| {
        let nets = of_link
            .routed
            .iter()
            .filter(|net| Family::of(net.addr()) == family);
        // The kernel refuses intervals that overlap.
        let nets = IpNet::aggregate(&nets.copied().collect());
        nets.into_iter()
            .map(|net| Element::of([Value::Link(link.clone()), Value::Ip(net)]))
    });
    let set = Set::of([Field::Ifname, Field::address(family)]).of_intervals();
    let name = name(ROUTED, family);
    let comment = "prefixes that are routed to a member";
    put_set(table, &name, comment, set, routed);
    let known = in_set([IN, Key::Address(family, End::Source)], &name);
    table
        .sets
        .contains_key(&name)
        .then(|| Rule::new([known, accept()]))
}
