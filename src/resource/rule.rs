//! Policy routing rules (`man 8 ip-rule`).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Family;
use super::name::LinkName;

/// What a rule is told apart by: its place among the others, and which packets it is for.
///
/// Rules that look at more of a packet, which netform doesn't make, are not in a State.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleKey {
    /// The family that it is of.
    pub family: Family,
    /// Its place: lower ones are asked first. The kernel's own are 0 (`local`), 32766 (`main`) and 32767.
    pub priority: u32,
    /// The prefix that the source is in; none for every source.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<IpNet>,
    /// The prefix that the destination is in; none for every destination.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<IpNet>,
    /// The link that the packet came in by; `lo` for what the namespace itself sends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iif: Option<LinkName>,
    /// The link that the sender is bound to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oif: Option<LinkName>,
    /// The mark that the packet carries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<Mark>,
}

impl RuleKey {
    /// A rule for every packet of a family.
    pub fn new(family: Family, priority: u32) -> RuleKey {
        RuleKey {
            family,
            priority,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
        }
    }
}

/// A mark of packets, and which of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The value of the bits that count.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// What happens to the packets of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// That.
    pub action: Action,
    /// What the same rule does besides where it is there more than once, because one that should have gone when it
    /// was changed didn't. None is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surplus: Vec<Action>,
}

impl Rule {
    /// One that is there once.
    pub fn new(action: Action) -> Rule {
        Rule {
            action,
            surplus: Vec::new(),
        }
    }
}

/// What happens to a packet (`FR_ACT_*` of `linux/fib_rules.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The route is looked up in the table of this number. If that has none, the next rule is asked.
    Lookup(u32),
    /// It is dropped silently.
    Blackhole,
    /// It is dropped, and the sender gets ICMP network unreachable.
    Unreachable,
    /// It is dropped, and the sender gets ICMP administratively prohibited.
    Prohibit,
    /// One that netform doesn't make, by its number.
    Other(u8),
}

impl Action {
    /// The table that it looks into.
    pub fn table(self) -> Option<u32> {
        match self {
            Action::Lookup(table) => Some(table),
            _ => None,
        }
    }
}
