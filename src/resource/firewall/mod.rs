//! The rules of others at the hook `forward`, and whether they let a gateway's traffic through.
//!
//! A packet must be accepted by every base chain of a hook, and one drop anywhere is final (`man 8 nft`), so a rule
//! set of somebody else may stop what netform's own lets pass. What such a rule set says is held here as far as it is
//! understood: the kernel's instructions, as [`Step`]s over a few registers. A [`Judge`] walks through them with a
//! class of packets of which only some bits are known, so an answer may also be that nobody knows.

pub mod bits;
pub mod conntrack;
mod judge;
mod packet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use self::conntrack::Conntrack;
use super::Family;
use super::nftables::Verdict;

pub use self::judge::{Finding, Judge, Place};
pub use self::packet::{Destination, Flow, Side, Stage, addresses};

/// What others have at the hook `forward` of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// The tables that have a base chain there, netform's own left out.
    pub tables: Vec<Table>,
    /// Why it couldn't be read, if it couldn't.
    pub unread: Option<String>,
    /// The families whose frames come by these rules on their way from one port of a bridge to another
    /// (`br_netfilter`).
    pub bridged: BTreeSet<Family>,
}

/// A table with a base chain at `forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Which packets it sees.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// Whether it is one of `iptables-legacy`, and no part of nftables.
    pub legacy: bool,
    /// Its base chains at `forward`, by name.
    pub bases: BTreeMap<String, Policy>,
    /// These chains and those that they lead to.
    pub chains: BTreeMap<String, Chain>,
    /// The names of all its chains: they tell who manages it.
    pub names: Vec<String>,
    /// The sets that its rules look things up in.
    pub sets: BTreeMap<String, Set>,
}

/// Which packets a table sees (`enum` of `linux/netfilter.h`, `NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl TableFamily {
    /// Whether packets of a family go through it.
    pub fn sees(self, family: Family) -> bool {
        match self {
            TableFamily::Ip => family == Family::Ipv4,
            TableFamily::Ip6 => family == Family::Ipv6,
            TableFamily::Inet => true,
        }
    }
}

/// As `nft` calls it.
impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableFamily::Ip => "ip",
            TableFamily::Ip6 => "ip6",
            TableFamily::Inet => "inet",
        })
    }
}

/// What becomes of a packet that no rule of a base chain decides on.
pub use super::nftables::Policy;

/// A chain and its rules, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether there are more, which were not read because there are too many.
    pub truncated: bool,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What the kernel calls it within its table (`nft -a list ruleset`); in one of `iptables-legacy` its number within
    /// the chain (`iptables-legacy -L --line-numbers`).
    pub handle: u64,
    /// What it does, until a match of it fails.
    pub steps: Vec<Step>,
    /// Its comment, as `nft` or as `iptables` writes one.
    pub comment: Option<String>,
    /// Whether it does something besides that decides nothing, but for counting: it logs, for example.
    pub asides: bool,
}

/// Where the kernel's registers begin, counted in bytes.
pub type Register = usize;

/// How many bytes all registers have (`NFT_REG32_15` of `linux/netfilter/nf_tables.h`).
pub const REGISTERS: usize = 64;

/// An instruction of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Loads something known about the packet.
    Load {
        /// What.
        field: Field,
        /// Into which register.
        to: Register,
    },
    /// Loads bytes of the packet's network header.
    Header {
        /// How far into it.
        offset: usize,
        /// How many.
        len: usize,
        /// Into which register.
        to: Register,
    },
    /// Loads bytes that stand in the rule.
    Value {
        /// Which.
        data: Vec<u8>,
        /// Into which register.
        to: Register,
    },
    /// Goes on only if a link is the one of a number, or only if it isn't (`iif`, `oif`).
    Link {
        /// Which link: [`Field::In`] or [`Field::Out`].
        field: Field,
        /// The name of the one that has the number. None: nobody has it.
        name: Option<String>,
        /// Whether it must be another.
        negated: bool,
    },
    /// Goes on only if a register is in an order with some bytes.
    Compare {
        /// Which register.
        at: Register,
        /// In which order.
        op: Op,
        /// With what.
        data: Vec<u8>,
    },
    /// Goes on only if a register is in a range, or only if it isn't.
    Range {
        /// Which register.
        at: Register,
        /// Whether it must be outside.
        negated: bool,
        /// The first of the range.
        from: Vec<u8>,
        /// The last of the range.
        to: Vec<u8>,
    },
    /// Keeps some bits of a register, and flips others.
    Bitwise {
        /// From which register.
        from: Register,
        /// Into which register.
        to: Register,
        /// Those to keep.
        mask: Vec<u8>,
        /// Those to flip.
        xor: Vec<u8>,
    },
    /// Turns the bytes of numbers around.
    Swap {
        /// From which register.
        from: Register,
        /// Into which register.
        to: Register,
        /// How many bytes.
        len: usize,
        /// How many bytes a number has.
        size: usize,
    },
    /// Goes on only if a register is in a set, or only if it isn't.
    Lookup {
        /// Which register.
        at: Register,
        /// The set's name.
        set: String,
        /// Whether it must not be in it.
        negated: bool,
    },
    /// Takes the verdict that a map has for a register; goes on if it has none.
    Map {
        /// Which register.
        at: Register,
        /// The map's name.
        set: String,
    },
    /// The match `conntrack` of iptables.
    Conntrack(Conntrack),
    /// Sets the packet's mark.
    Mark,
    /// Something that isn't understood: it may let the rule go on or not, and write to any register.
    Maybe,
    /// Decides.
    Verdict(Verdict),
    /// Something that isn't understood and may decide in any way.
    Undecided,
    /// Leaves the decision to a program (`queue`).
    Queue,
}

/// Something known about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// The name of the link that it came by.
    In,
    /// The name of the link that it leaves by.
    Out,
    /// The group of the link that it came by.
    InGroup,
    /// The group of the link that it leaves by.
    OutGroup,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    Family,
    /// The Ethernet type.
    Protocol,
    /// The packet's mark.
    Mark,
    /// The state of its connection, a bit.
    State,
    /// The direction of it within its connection.
    Direction,
    /// The status of its connection, as bits.
    Status,
    /// Another one, of which nothing is known.
    Other,
}

/// An order of two numbers, the first byte being the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// They are the same.
    Equal,
    /// They aren't.
    NotEqual,
    /// The register's is smaller.
    Less,
    /// It is smaller or the same.
    LessOrEqual,
    /// It is larger.
    Greater,
    /// It is larger or the same.
    GreaterOrEqual,
}

/// A set or a map to verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// How many bytes each field of a key has, and each begins at a multiple of four.
    pub fields: Vec<usize>,
    /// The elements. None: they come and go, or are too many, or have more to them.
    pub elements: Option<Vec<Element>>,
    /// What a map does with what is in no element.
    pub otherwise: Option<Verdict>,
}

/// An element of a set: a range in each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// The first of each range, all fields together.
    pub from: Vec<u8>,
    /// The last of each range.
    pub to: Vec<u8>,
    /// What a map does with it.
    pub verdict: Option<Verdict>,
}
