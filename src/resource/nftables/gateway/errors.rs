//! Errors about published connections, whose services may have no other way out.

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Key, Statement};
use super::super::{Rule, Table};
use super::words::{in_set, name, put_set};
use super::{Gateway, guard};
use crate::resource::Family;

/// The members that publications lead to.
const PUBLISHERS: &str = "publishers";

/// Puts in the set `publishers` of a family, and gives the rules that let errors through to them and from them.
pub(super) fn put(gateway: &Gateway, table: &mut Table, family: Family) -> Vec<Rule> {
    let of_family = gateway.published.iter();
    let of_family = of_family.filter(|publication| publication.family() == family);
    let members = of_family.map(|publication| Element::of([Value::address(publication.to)]));
    let set = name(PUBLISHERS, family);
    let comment = "members that publications lead to";
    let kind = Set::of([Field::address(family)]);
    put_set(table, &set, comment, kind, members);
    if !table.sets.contains_key(&set) {
        return Vec::new();
    }
    let ends = [End::Destination, End::Source].into_iter();
    ends.map(|end| {
        let member = in_set([Key::Address(family, end)], &set);
        Rule::new([Statement::Redirected, member, guard::accept_errors()])
    })
    .collect()
}
