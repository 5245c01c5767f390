//! A topology's nftables table, by value.
//!
//! A [`Table`] holds sets, chains and rules at the level at which `nft` speaks of them. Each
//! [`Statement`] knows how it reads as text ([`render`](mod@render)), and which kernel expressions it
//! is ([`lower`](mod@lower)); what the kernel holds is recognised back ([`recognise`](mod@recognise)).
//! Whatever isn't recognised stays in the value as text, so that it is seen as a difference.
//!
//! Counters, handles and the numbers of sets are no part of the value.

pub mod diff;
pub mod expression;
pub mod gateway;
pub mod lower;
pub mod recognise;
pub mod render;
pub mod set;
pub mod statement;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::set::{Element, Field, Lookup, Set, Value};
pub use self::statement::{CtState, Direction, End, Icmpv6Type, Key, Statement, Verdict};

use crate::resource::name::TopologyName;

/// What the name of a table begins with, before its topology's name.
pub const PREFIX: &str = "netform-";

/// What the comment of a table begins with, before its topology's name.
const TAG: &str = "netform:";

/// A table of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name: `netform-TOPOLOGY`.
    pub name: String,
    /// Its comment: `netform:TOPOLOGY`, the tag of its owner, then a space and any text a person likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its named sets.
    pub sets: BTreeMap<String, Set>,
    /// Its chains.
    pub chains: BTreeMap<String, Chain>,
    /// What else the kernel says it has, such as `flags dormant`. None of ours has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A change of one set's elements.
#[derive(Debug)]
pub struct ElementChange<'t> {
    /// What the set is called.
    pub name: &'t str,
    /// The set as it is afterwards.
    pub set: &'t Set,
    /// Whether they are added, and not removed.
    pub adds: bool,
    /// The elements, at least one.
    pub elements: Vec<&'t Element>,
}

impl Table {
    /// The table of a topology, tagged, with nothing in it.
    pub fn of(topology: &TopologyName) -> Table {
        Table {
            name: Table::name_of(topology),
            comment: Some(tag(topology)),
            sets: BTreeMap::new(),
            chains: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    /// What a topology's table is called.
    pub fn name_of(topology: &TopologyName) -> String {
        format!("{PREFIX}{topology}")
    }

    /// Whether another becomes of it by adding and removing elements of its sets.
    pub fn differs_in_elements_only(&self, after: &Table) -> bool {
        self.name == after.name
            && self.comment == after.comment
            && self.unknown == after.unknown
            && self.chains == after.chains
            && self.sets.keys().eq(after.sets.keys())
            && self
                .sets
                .values()
                .zip(after.sets.values())
                .all(|(before, after)| before == after || before.differs_in_elements_only(after))
    }

    /// What becomes another of it, which differs in elements only: three steps, in each the changes by set. What is added
    /// comes before what is removed, so that nothing that may pass before and after is refused in between; but for elements of maps
    /// that lead to something else now, which go first, because there is only one of each at a time.
    pub fn element_changes<'t>(&'t self, after: &'t Table) -> [Vec<ElementChange<'t>>; 3] {
        let mut steps: [Vec<ElementChange<'t>>; 3] = Default::default();
        for (name, set) in &after.sets {
            let old = &self.sets[name].elements;
            let added: Vec<&Element> = set.elements.difference(old).collect();
            let keys: BTreeSet<&[Value]> = match set.data.as_slice() {
                [] => BTreeSet::new(),
                _ => added.iter().map(|element| element.key.as_slice()).collect(),
            };
            let removed = old.difference(&set.elements);
            let (led_elsewhere, removed): (Vec<&Element>, Vec<&Element>) =
                removed.partition(|element| keys.contains(element.key.as_slice()));
            let changes = [(false, led_elsewhere), (true, added), (false, removed)];
            for (step, (adds, elements)) in steps.iter_mut().zip(changes) {
                if !elements.is_empty() {
                    step.push(ElementChange {
                        name,
                        set,
                        adds,
                        elements,
                    });
                }
            }
        }
        steps
    }

    /// The topology whose tag it carries.
    pub fn owner(&self) -> Option<TopologyName> {
        owner(self.comment.as_deref()?)
    }
}

/// The comment of what is a topology's.
pub fn tag(topology: &TopologyName) -> String {
    format!("{TAG}{topology}")
}

/// The topology that a table's comment names as its owner.
pub fn owner(comment: &str) -> Option<TopologyName> {
    let name = comment.strip_prefix(TAG)?.split(' ').next()?;
    TopologyName::try_from(name).ok()
}

/// A chain and its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Where packets enter it; none: only by `goto` and `jump`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// What else the kernel says it has, such as a device. None of ours has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// Where packets enter a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// What it is for.
    pub kind: ChainKind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Its place among the chains of that hook; a lower one is earlier.
    pub priority: i32,
    /// What becomes of a packet that no rule decides on.
    pub policy: Policy,
}

/// What a base chain is for (`man 8 nft`, chain types).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Judging packets.
    Filter,
    /// Address translation: sees the first packet of a connection.
    Nat,
    /// Another one, by the kernel's name.
    Other(String),
}

/// A point of a packet's way (`enum nf_inet_hooks` of `linux/netfilter.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// On the way to a local process.
    Input,
    /// Between two links.
    Forward,
    /// On the way from a local process.
    Output,
    /// After routing.
    Postrouting,
    /// Another one, by the kernel's number.
    Other(u32),
}

/// What becomes of a packet that no rule of a base chain decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// A rule: statements from left to right, until one doesn't match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The statements.
    pub statements: Vec<Statement>,
    /// A remark for people, at most 127 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Rule {
        Rule {
            statements: statements.into_iter().collect(),
            comment: None,
        }
    }

    /// The rule with a comment.
    #[must_use]
    pub fn because(mut self, comment: &str) -> Rule {
        self.comment = Some(comment.to_owned());
        self
    }
}
