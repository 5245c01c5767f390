//! Egress: with which source a member is seen outside.

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key, Port, Statement};
use super::super::{ChainKind, Hook, Rule, Table};
use super::words::{IN, OUT, base, in_set, name, put_chain, put_set};
use super::{Egress, Gateway, Nat, Origin, publish};
use crate::resource::Family;

/// The priority of the chain that rewrites sources (`NF_IP_PRI_NAT_SRC`).
const SRCNAT: i32 = 100;
/// From which link to which link sources are rewritten.
pub(super) const MASQUERADE: &str = "masquerade";
/// Which member of a link that others made is rewritten on which link.
pub(super) const MASQUERADE_FROM: &str = "masquerade_from";

/// With which address sources are rewritten, from which link to which link.
pub(super) const MASQUERADE_AS: &str = "masquerade_as";
/// With which address which member of a link that others made is rewritten, on which link.
pub(super) const MASQUERADE_AS_FROM: &str = "masquerade_as_from";
/// The keys of `masquerade_as`: the kernel doesn't tell whether a map has a key without what it leads to.
pub(super) const FIXED: &str = "fixed";
/// The keys of `masquerade_as_from`.
pub(super) const FIXED_FROM: &str = "fixed_from";

/// Puts in the sets `masquerade` and `masquerade_from`, the maps `masquerade_as` and `masquerade_as_from` and the
/// sets of their keys, and the chain `outbound`, which only the first packet of a connection comes to.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    let masqueraded = |egress: &Egress| egress.nat == Nat::Masquerade;
    let mut rules = publish::sources(table);
    for family in Family::BOTH {
        let comment = "from which link to which link sources are rewritten";
        let set = Set::of([Field::Ifname, Field::Ifname]);
        let pairs = pairs(gateway, family, masqueraded).map(Element::of);
        put_set(table, &name(MASQUERADE, family), comment, set, pairs);

        let comment = "which member of an existing link is rewritten on which link";
        let set = Set::of([Field::Ifname, Field::address(family), Field::Ifname]);
        let triples = triples(gateway, family, masqueraded).map(Element::of);
        put_set(table, &name(MASQUERADE_FROM, family), comment, set, triples);

        let found = lookups(table, family, MASQUERADE, MASQUERADE_FROM, Towards::There);
        rules
            .extend(found.map(|found| Rule::new(found.into_iter().chain([Statement::Masquerade]))));
        rules.extend(put_sources(gateway, table, family));
    }
    if !rules.is_empty() {
        let base = base(ChainKind::Nat, Hook::Postrouting, SRCNAT);
        put_chain(table, "outbound", Some(base), rules);
    }
}

/// Puts in the maps of a family, and gives the rules that look in them.
fn put_sources(gateway: &Gateway, table: &mut Table, family: Family) -> Vec<Rule> {
    let fixed = |egress: &Egress| matches!(egress.nat, Nat::Source(_));
    let address = |egress: &Egress| match egress.nat {
        Nat::Source(ip) => Some(Value::address(ip)),
        _ => None,
    };
    let comment = "from which link to which link sources are rewritten with an address of the spec";
    let set = Set::of([Field::Ifname, Field::Ifname]);
    let pairs = with_egress(gateway, family, fixed);
    let triples = members_with_egress(gateway, family, fixed);
    let keys = pairs.clone().map(|(pair, _)| Element::of(pair));
    put_set(table, &name(FIXED, family), comment, set, keys);
    let comment =
        "which member of an existing link is rewritten on which link with an address of the spec";
    let set = Set::of([Field::Ifname, Field::address(family), Field::Ifname]);
    let keys = triples.clone().map(|(triple, _)| Element::of(triple));
    put_set(table, &name(FIXED_FROM, family), comment, set, keys);

    let pairs = pairs.filter_map(|(pair, egress)| Some(Element::of(pair).to([address(egress)?])));
    let set = Set::of([Field::Ifname, Field::Ifname]).to([Field::address(family)]);
    let comment = "with which address sources are rewritten, from which link to which link";
    put_set(table, &name(MASQUERADE_AS, family), comment, set, pairs);

    let triples = triples.filter_map(|(of, egress)| Some(Element::of(of).to([address(egress)?])));
    let set = Set::of([Field::Ifname, Field::address(family), Field::Ifname]);
    let set = set.to([Field::address(family)]);
    let comment = "with which address which member of an existing link is rewritten on which link";
    put_set(
        table,
        &name(MASQUERADE_AS_FROM, family),
        comment,
        set,
        triples,
    );

    let translate = |key: Vec<Key>, map: &str| {
        let map = name(map, family);
        let there = table.sets.contains_key(&map);
        let translate = Statement::Translate {
            end: End::Source,
            family,
            key,
            map,
            port: Port::Kept,
        };
        there.then_some(translate)
    };
    let by_links = translate(vec![IN, OUT], MASQUERADE_AS)
        .map(|translate| Rule::new([Statement::Family(family), translate]));
    let source = Key::Address(family, End::Source);
    let by_source = translate(vec![IN, source, OUT], MASQUERADE_AS_FROM)
        .map(|translate| Rule::new([translate]));
    by_links.into_iter().chain(by_source).collect()
}

/// From which link to which link the egress of links that this topology made leads.
pub(super) fn pairs(
    gateway: &Gateway,
    family: Family,
    wanted: fn(&Egress) -> bool,
) -> impl Iterator<Item = [Value; 2]> {
    with_egress(gateway, family, wanted).map(|(pair, _)| pair)
}

/// The same, with the egress of each.
fn with_egress(
    gateway: &Gateway,
    family: Family,
    wanted: fn(&Egress) -> bool,
) -> impl Iterator<Item = ([Value; 2], &Egress)> + Clone {
    gateway.links(Origin::Made).filter_map(move |(name, link)| {
        let egress = link.egress.get(&family).filter(|egress| wanted(egress))?;
        let pair = [Value::Link(name.clone()), Value::Link(egress.dev.clone())];
        Some((pair, egress))
    })
}

/// From which link, of which member, to which link the egress of links that others made leads.
pub(super) fn triples(
    gateway: &Gateway,
    family: Family,
    wanted: fn(&Egress) -> bool,
) -> impl Iterator<Item = [Value; 3]> {
    members_with_egress(gateway, family, wanted).map(|(triple, _)| triple)
}

/// The same, with the egress of each.
fn members_with_egress(
    gateway: &Gateway,
    family: Family,
    wanted: fn(&Egress) -> bool,
) -> impl Iterator<Item = ([Value; 3], &Egress)> + Clone {
    let links = gateway.links(Origin::Existing);
    links.flat_map(move |(name, link)| {
        let egress = link.egress.get(&family).filter(|egress| wanted(egress));
        let members = link.members.iter();
        let members = members.filter(move |ip| Family::of(**ip) == family);
        egress.into_iter().flat_map(move |egress| {
            members.clone().map(move |ip| {
                let dev = Value::Link(egress.dev.clone());
                let triple = [Value::Link(name.clone()), Value::address(*ip), dev];
                (triple, egress)
            })
        })
    })
}

/// Which way a packet goes: as the connection was opened, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// As it was opened.
    There,
    /// The other way.
    Back,
}

/// The lookups that say whether a packet's source is rewritten.
pub(super) fn translated(table: &Table, family: Family) -> impl Iterator<Item = Vec<Statement>> {
    let sets = [(MASQUERADE, MASQUERADE_FROM), (FIXED, FIXED_FROM)];
    let sets = sets.into_iter();
    sets.flat_map(move |(pairs, triples)| lookups(table, family, pairs, triples, Towards::There))
}

/// The lookups in two sets of a family, as far as the table has them: in `pairs` by links alone, and in
/// `triples` by links and the member's address.
pub(super) fn lookups(
    table: &Table,
    family: Family,
    pairs: &str,
    triples: &str,
    towards: Towards,
) -> impl Iterator<Item = Vec<Statement>> + use<> {
    let (pairs, triples) = (name(pairs, family), name(triples, family));
    let [from, member, to] = match towards {
        Towards::There => [IN, Key::Address(family, End::Source), OUT],
        Towards::Back => [OUT, Key::Address(family, End::Destination), IN],
    };
    let by_links = vec![Statement::Family(family), in_set([from, to], &pairs)];
    let by_source = vec![in_set([from, member, to], &triples)];
    let has = |set: &str| table.sets.contains_key(set);
    let by_links = has(&pairs).then_some(by_links);
    let by_source = has(&triples).then_some(by_source);
    by_links.into_iter().chain(by_source)
}
