//! The fallback: IPv6 forwarding is a switch of the whole namespace on Linux before 6.17, and what it
//! opens besides is shut here.

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{Direction, Statement};
use super::super::{ChainKind, Hook, Rule, Table};
use super::words::{FILTER, IN, OUT, accept, base, count_and_drop, in_set, put_chain, put_set};
use super::{Fallback, Gateway, links};
use crate::resource::Family;

/// Bridges that others made, each with itself.
const BRIDGES: &str = "bridges";

/// Puts in the set `bridges` and the chain `fallback`.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    let Some(Fallback { group, bridges }) = &gateway.fallback else {
        return;
    };
    // Links that others made aren't of netform's group.
    let existing = links::about_existing_links(table, Family::Ipv6);
    let mut rules: Vec<Rule> = existing
        .into_iter()
        .map(|what| Rule::new([what, accept()]))
        .collect();
    let bridges = bridges
        .iter()
        .map(|name| Element::of([name, name].map(|name| Value::Link(name.clone()))));
    let comment = "bridges of others, between whose ports nothing is filtered";
    put_set(
        table,
        BRIDGES,
        comment,
        Set::of([Field::Ifname, Field::Ifname]),
        bridges,
    );
    if table.sets.contains_key(BRIDGES) {
        rules.push(Rule::new([in_set([IN, OUT], BRIDGES), accept()]));
    }
    let not_ours = [Direction::In, Direction::Out].map(|direction| Statement::NotGroup {
        direction,
        group: *group,
    });
    let statements = [Statement::Family(Family::Ipv6)]
        .into_iter()
        .chain(not_ours);
    rules.push(
        Rule::new(statements.chain(count_and_drop()))
            .because("IPv6 forwarding is on for members only; it was off before"),
    );
    let base = base(ChainKind::Filter, Hook::Forward, FILTER);
    put_chain(table, "fallback", Some(base), rules);
}
