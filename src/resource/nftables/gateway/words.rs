//! Words that the files of this folder share.

use super::super::set::{Element, Set};
use super::super::statement::{Direction, Key, Statement, Verdict};
use super::super::{Base, Chain, ChainKind, Hook, Policy, Rule, Table};
use crate::resource::Family;

/// The priority of chains that judge (`NF_IP_PRI_FILTER`).
pub(super) const FILTER: i32 = 0;

/// A set's name for a family.
pub(super) fn name(set: &str, family: Family) -> String {
    match family {
        Family::Ipv4 => format!("{set}4"),
        Family::Ipv6 => format!("{set}6"),
    }
}

/// Puts a set in with these elements, unless there are none.
pub(super) fn put_set(
    table: &mut Table,
    name: &str,
    comment: &str,
    set: Set,
    elements: impl Iterator<Item = Element>,
) {
    let elements: std::collections::BTreeSet<Element> = elements.collect();
    if !elements.is_empty() {
        let set = Set {
            comment: Some(comment.to_owned()),
            elements,
            ..set
        };
        table.sets.insert(name.to_owned(), set);
    }
}

/// Puts a chain in.
pub(super) fn put_chain(table: &mut Table, name: &str, base: Option<Base>, rules: Vec<Rule>) {
    let chain = Chain {
        base,
        rules,
        unknown: Vec::new(),
    };
    table.chains.insert(name.to_owned(), chain);
}

/// Where packets enter a chain. What no rule decides on goes on: a drop would be final for the traffic
/// of everybody else too.
pub(super) fn base(kind: ChainKind, hook: Hook, priority: i32) -> Base {
    Base {
        kind,
        hook,
        priority,
        policy: Policy::Accept,
    }
}

/// The priority of chains that are before connection tracking (`NF_IP_PRI_RAW`).
pub(super) const RAW: i32 = -300;

/// The link that a packet came by.
pub(super) const IN: Key = Key::Link(Direction::In);
/// The link that a packet leaves by.
pub(super) const OUT: Key = Key::Link(Direction::Out);

/// Parts of the packet are in a set.
pub(super) fn in_set<const N: usize>(key: [Key; N], set: &str) -> Statement {
    Statement::In {
        key: key.into(),
        set: set.to_owned(),
    }
}

/// Another chain decides.
pub(super) fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.to_owned()))
}

/// The packet goes on.
pub(super) fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

/// The packet is gone, and counted.
pub(super) fn count_and_drop() -> [Statement; 2] {
    [Statement::Counter, Statement::Verdict(Verdict::Drop)]
}
