//! Sets and their elements.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::statement::{CtState, Icmpv6Type, Verdict};
use crate::resource::Family;
use crate::resource::name::LinkName;

/// A set, or a map to verdicts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Set {
    /// A remark for people, at most 127 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What its elements consist of, in order; several are a concatenation.
    pub key: Vec<Field>,
    /// How elements are compared with a packet.
    pub lookup: Lookup,
    /// In a map, what its elements lead to, in order; several are a concatenation. Empty: it is a set, or a
    /// map to verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Field>,
    /// Its elements.
    pub elements: BTreeSet<Element>,
    /// What else the kernel says it has, such as `size 5`. None of ours has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// How the elements of a set are compared with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookup {
    /// By value, in a hash table.
    Exact,
    /// By range. Such a set has at least two fields: the kernel keeps those of one field as pairs of
    /// a beginning and an end, which nothing here needs.
    Interval,
}

impl Set {
    /// An empty set that is looked up by value.
    pub fn of(key: impl IntoIterator<Item = Field>) -> Set {
        Set {
            comment: None,
            key: key.into_iter().collect(),
            lookup: Lookup::Exact,
            data: Vec::new(),
            elements: BTreeSet::new(),
            unknown: Vec::new(),
        }
    }

    /// The set with elements that are compared by range.
    #[must_use]
    pub fn of_intervals(self) -> Set {
        Set {
            lookup: Lookup::Interval,
            ..self
        }
    }

    /// The set as a map, whose elements lead to such data.
    #[must_use]
    pub fn to(self, data: impl IntoIterator<Item = Field>) -> Set {
        Set {
            data: data.into_iter().collect(),
            ..self
        }
    }

    /// Whether its elements lead to verdicts.
    pub fn is_verdict_map(&self) -> bool {
        self.elements
            .iter()
            .any(|element| element.verdict.is_some())
    }

    /// Whether the two differ in nothing but their elements, all of which can be added and removed one by
    /// one: those of a set of intervals can't, because the kernel refuses one that overlaps another that is
    /// still there.
    pub fn differs_in_elements_only(&self, other: &Set) -> bool {
        let plain =
            |set: &Set| set.lookup == Lookup::Exact && set.elements.iter().all(Element::is_plain);
        self.comment == other.comment
            && self.key == other.key
            && self.lookup == other.lookup
            && self.data == other.data
            && self.unknown == other.unknown
            && plain(self)
            && plain(other)
    }
}

/// A part of a set's key: a data type of `nft` (`man 8 nft`, data types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    /// A link's name, 16 bytes, filled up with NUL.
    Ifname,
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// The number of a transport protocol.
    InetProto,
    /// A port.
    InetService,
    /// A type of `ICMPv6` message.
    Icmpv6Type,
    /// States of connection tracking, as bits.
    CtState,
    /// Another one, by the number that `nft` gave it.
    Other(u32),
}

impl Field {
    /// All that are known.
    const KNOWN: [Field; 7] = [
        Field::Ifname,
        Field::Ipv4Addr,
        Field::Ipv6Addr,
        Field::InetProto,
        Field::InetService,
        Field::Icmpv6Type,
        Field::CtState,
    ];

    /// The field for an address of a family.
    pub fn address(family: Family) -> Field {
        match family {
            Family::Ipv4 => Field::Ipv4Addr,
            Family::Ipv6 => Field::Ipv6Addr,
        }
    }

    /// Its number (`enum datatypes` of nftables' `include/datatype.h`; part of the ABI between
    /// versions of `nft`, and nothing to the kernel).
    pub fn code(self) -> u32 {
        match self {
            Field::Ipv4Addr => 7,
            Field::Ipv6Addr => 8,
            Field::InetProto => 12,
            Field::InetService => 13,
            Field::CtState => 26,
            Field::Icmpv6Type => 29,
            Field::Ifname => 41,
            Field::Other(code) => code,
        }
    }

    /// The field of a number.
    pub fn from_code(code: u32) -> Field {
        Field::KNOWN
            .into_iter()
            .find(|field| field.code() == code)
            .unwrap_or(Field::Other(code))
    }

    /// What `nft` calls it.
    pub fn name(self) -> String {
        match self {
            Field::Ifname => "ifname".to_owned(),
            Field::Ipv4Addr => "ipv4_addr".to_owned(),
            Field::Ipv6Addr => "ipv6_addr".to_owned(),
            Field::InetProto => "inet_proto".to_owned(),
            Field::InetService => "inet_service".to_owned(),
            Field::Icmpv6Type => "icmpv6_type".to_owned(),
            Field::CtState => "ct_state".to_owned(),
            Field::Other(code) => format!("type{code}"),
        }
    }

    /// How many bytes of it the kernel compares; none for an unknown one.
    pub fn length(self) -> Option<usize> {
        match self {
            Field::Ifname | Field::Ipv6Addr => Some(16),
            Field::Ipv4Addr | Field::CtState => Some(4),
            Field::InetService => Some(2),
            Field::InetProto | Field::Icmpv6Type => Some(1),
            Field::Other(_) => None,
        }
    }

    /// A value of it from the bytes that the kernel compares, from the first to the last that match.
    fn decode(self, from: &[u8], to: &[u8]) -> Value {
        let known = match self {
            Field::Ifname if from == to => link(from).map(Value::Link),
            Field::Ipv4Addr => prefix4(from, to).map(|net| Value::Ip(net.into())),
            Field::Ipv6Addr => prefix6(from, to).map(|net| Value::Ip(net.into())),
            Field::InetProto if from == to => Some(Value::Protocol(from[0])),
            Field::InetService => ports(from, to),
            Field::Icmpv6Type if from == to => Some(Value::Icmpv6Type(Icmpv6Type(from[0]))),
            Field::CtState if from == to => from
                .try_into()
                .ok()
                .and_then(|bytes| CtState::from_bit(u32::from_ne_bytes(bytes)))
                .map(Value::CtState),
            _ => None,
        };
        known.unwrap_or_else(|| Value::raw(from, to))
    }
}

/// An element of a set: one value a field, and where it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Element {
    /// One value a field.
    pub key: Vec<Value>,
    /// What it leads to in a map, one value a field.
    pub data: Vec<Value>,
    /// The verdict that it leads to, in a map to verdicts.
    pub verdict: Option<Verdict>,
    /// What else the kernel says it has, such as a timeout. None of ours has any.
    pub unknown: Option<String>,
}

impl Element {
    /// A plain element.
    pub fn of(key: impl IntoIterator<Item = Value>) -> Element {
        Element {
            key: key.into_iter().collect(),
            data: Vec::new(),
            verdict: None,
            unknown: None,
        }
    }

    /// The element, leading to some data.
    #[must_use]
    pub fn to(self, data: impl IntoIterator<Item = Value>) -> Element {
        Element {
            data: data.into_iter().collect(),
            ..self
        }
    }

    /// Whether it consists of values that are understood, and nothing else.
    pub fn is_plain(&self) -> bool {
        self.unknown.is_none()
            && !self
                .key
                .iter()
                .chain(&self.data)
                .any(|value| matches!(value, Value::Raw { .. }))
    }

    /// The bytes that the kernel compares, each field filled up to a multiple of four: the first that
    /// match, and the last.
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        concatenation(&self.key)
    }

    /// The bytes that it leads to in a map.
    pub fn encode_data(&self) -> Vec<u8> {
        concatenation(&self.data).0
    }

    /// The values of a key from the bytes that the kernel compares. `to` is as `from` in sets that are
    /// looked up by value.
    pub fn decode(fields: &[Field], from: &[u8], to: &[u8]) -> Vec<Value> {
        let mut at = 0;
        let mut values = Vec::new();
        for field in fields {
            let parts = field.length().and_then(|length| {
                let range = at..at + length;
                Some((length, from.get(range.clone())?, to.get(range)?))
            });
            let Some((length, first, last)) = parts else {
                return vec![Value::raw(from, to)];
            };
            values.push(field.decode(first, last));
            at += length.next_multiple_of(4);
        }
        values
    }
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// A link's name.
    Link(LinkName),
    /// An address, or a prefix in a set of intervals.
    Ip(IpNet),
    /// A transport protocol.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// Ports from one to another, in a set of intervals.
    Ports(u16, u16),
    /// A type of `ICMPv6` message.
    Icmpv6Type(Icmpv6Type),
    /// A state of connection tracking.
    CtState(CtState),
    /// Bytes that aren't understood.
    Raw {
        /// The first that match.
        from: Vec<u8>,
        /// The last that match; as `from` unless the set is one of intervals.
        to: Vec<u8>,
    },
}

impl Value {
    /// A single address.
    pub fn address(ip: IpAddr) -> Value {
        Value::Ip(ip.into())
    }

    /// Ports from one to another.
    pub fn ports(from: u16, to: u16) -> Value {
        if from == to {
            Value::Port(from)
        } else {
            Value::Ports(from, to)
        }
    }

    fn raw(from: &[u8], to: &[u8]) -> Value {
        Value::Raw {
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    /// The bytes that the kernel compares: the first that match, and the last.
    fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let both = |bytes: Vec<u8>| (bytes.clone(), bytes);
        match self {
            Value::Link(name) => {
                let mut bytes = name.as_str().as_bytes().to_vec();
                bytes.resize(16, 0);
                both(bytes)
            }
            Value::Ip(IpNet::V4(net)) => (
                net.network().octets().to_vec(),
                net.broadcast().octets().to_vec(),
            ),
            Value::Ip(IpNet::V6(net)) => (
                net.network().octets().to_vec(),
                net.broadcast().octets().to_vec(),
            ),
            Value::Port(port) => both(port.to_be_bytes().to_vec()),
            Value::Ports(from, to) => (from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec()),
            Value::Protocol(number) | Value::Icmpv6Type(Icmpv6Type(number)) => both(vec![*number]),
            Value::CtState(state) => both(state.bit().to_ne_bytes().to_vec()),
            Value::Raw { from, to } => (from.clone(), to.clone()),
        }
    }
}

/// The bytes of values, each filled up to a multiple of four if there are several: the first that match, and
/// the last.
fn concatenation(values: &[Value]) -> (Vec<u8>, Vec<u8>) {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for value in values {
        let (first, last) = value.encode();
        for (bytes, part) in [(&mut from, first), (&mut to, last)] {
            bytes.extend_from_slice(&part);
            if values.len() > 1 {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
    }
    (from, to)
}

/// A link's name from its 16 bytes, if it is one that a topology could give.
fn link(bytes: &[u8]) -> Option<LinkName> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (name, rest) = bytes.split_at(end);
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    LinkName::try_from(std::str::from_utf8(name).ok()?).ok()
}

/// One port, or several in a row.
fn ports(from: &[u8], to: &[u8]) -> Option<Value> {
    let [from, to] = [from, to].map(|bytes| bytes.try_into().ok().map(u16::from_be_bytes));
    Some(Value::ports(from?, to?))
}

/// The prefix that covers exactly the addresses between two.
fn prefix4(from: &[u8], to: &[u8]) -> Option<Ipv4Net> {
    let from = Ipv4Addr::from(<[u8; 4]>::try_from(from).ok()?);
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(to).ok()?);
    let same = (from.to_bits() ^ to.to_bits()).leading_zeros();
    let net = Ipv4Net::new(from, u8::try_from(same).ok()?).ok()?;
    (net.network() == from && net.broadcast() == to).then_some(net)
}

/// The prefix that covers exactly the addresses between two.
fn prefix6(from: &[u8], to: &[u8]) -> Option<Ipv6Net> {
    let from = Ipv6Addr::from(<[u8; 16]>::try_from(from).ok()?);
    let to = Ipv6Addr::from(<[u8; 16]>::try_from(to).ok()?);
    let same = (from.to_bits() ^ to.to_bits()).leading_zeros();
    let net = Ipv6Net::new(from, u8::try_from(same).ok()?).ok()?;
    (net.network() == from && net.broadcast() == to).then_some(net)
}
