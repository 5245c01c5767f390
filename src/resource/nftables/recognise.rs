//! From the kernel's expressions back to statements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::expression::{Expression, SetRef, number};
use super::lower::{self, Known};
use super::set::{Field, Set, Value};
use super::statement::{CtState, Direction, End, Icmpv6Type, Key, Port, Statement, Verdict};
use crate::resource::Family;

/// The statements of a rule that the kernel holds.
///
/// What is returned either lowers to exactly these expressions, or has a [`Statement::Unknown`] in it,
/// which no rule of ours has: a mistake here can't hide a difference.
pub fn recognise(expressions: &[Expression]) -> Vec<Statement> {
    let expressions: Vec<Expression> = expressions
        .iter()
        .filter(|expression| !does_nothing(expression))
        .cloned()
        .collect();
    let expressions = expressions.as_slice();
    let mut statements = Vec::new();
    // Comparisons of the protocol that the statement after them may be the reason for.
    let mut family = None;
    let mut transport = None;
    let mut rest = expressions;
    while let Some(first) = rest.first() {
        if let Some((found, after)) = compared_family(rest) {
            statements.extend(family.replace(found).map(Statement::Family));
            rest = after;
            continue;
        }
        if let Some((found, after)) = compared_transport(rest) {
            statements.extend(transport.replace(found).map(unknown_transport));
            rest = after;
            continue;
        }
        let (statement, after) =
            body(rest).unwrap_or_else(|| (Statement::Unknown(text(first)), &rest[1..]));
        let needs = Known::needed_by(&statement);
        let implied = family.is_some() && needs.family == family;
        statements.extend(family.take().filter(|_| !implied).map(Statement::Family));
        let implied = transport.is_some() && needs.transport == transport;
        statements.extend(transport.take().filter(|_| !implied).map(unknown_transport));
        statements.push(statement);
        rest = after;
    }
    statements.extend(family.map(Statement::Family));
    statements.extend(transport.map(unknown_transport));

    let is_unknown = |statement: &Statement| matches!(statement, Statement::Unknown(_));
    if statements.iter().any(is_unknown) || lower::lower(&statements) == expressions {
        return statements;
    }
    expressions
        .iter()
        .map(|expression| Statement::Unknown(text(expression)))
        .collect()
}

/// Whether an expression turns around a single byte, in place. `nft` (1.0.6) does so with the number of the
/// transport protocol where it is a part of a key.
fn does_nothing(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::ByteOrder { sreg, dreg, len: 1, .. } if sreg == dreg
    )
}

/// A comparison of the family that a rule's rest begins with, and what comes after it.
fn compared_family(rest: &[Expression]) -> Option<(Family, &[Expression])> {
    let (found, after) = rest.split_at_checked(2)?;
    Family::BOTH
        .into_iter()
        .find(|family| lower::compare_family(*family) == found)
        .map(|family| (family, after))
}

/// A comparison of the transport protocol that a rule's rest begins with, and what comes after it.
fn compared_transport(rest: &[Expression]) -> Option<(u8, &[Expression])> {
    let (found, after) = rest.split_at_checked(2)?;
    let [_, Expression::Compare { data, .. }] = found else {
        return None;
    };
    let &[number] = data.as_slice() else {
        return None;
    };
    (lower::compare_transport(number) == found).then_some((number, after))
}

fn unknown_transport(number: u8) -> Statement {
    Statement::Unknown(format!("meta l4proto {number}"))
}

/// The statement that a rule's rest begins with, and what comes after it.
fn body(rest: &[Expression]) -> Option<(Statement, &[Expression])> {
    let statement = guess(rest)?;
    let expressions = lower::body(&statement);
    rest.strip_prefix(expressions.as_slice())
        .map(|after| (statement, after))
}

/// The statement that a rule's rest can only begin with, if it begins with a known one.
fn guess(rest: &[Expression]) -> Option<Statement> {
    Some(match rest {
        [Expression::Counter, ..] => Statement::Counter,
        [Expression::Masquerade, ..] => Statement::Masquerade,
        [Expression::Verdict(verdict), ..] => Statement::Verdict(verdict.clone()),
        [Expression::Reject { .. }, ..] => Statement::RejectAdminProhibited,
        [Expression::Rt { .. }, ..] => Statement::ClampMss,
        [
            Expression::Ct { .. },
            Expression::Lookup {
                set: SetRef::Anonymous(set),
                ..
            },
            ..,
        ] => Statement::CtState(states(set)?),
        [Expression::Fib { .. }, ..] => Statement::NotLocal,
        [Expression::Ct { .. }, Expression::Bitwise { .. }, ..] => Statement::Redirected,
        [
            Expression::Meta { .. },
            Expression::Lookup {
                set: SetRef::Anonymous(set),
                ..
            },
            ..,
        ] => Statement::Transports(transports(set)?),
        [
            Expression::Meta { key, .. },
            Expression::Compare { data, .. },
            ..,
        ] => Statement::NotGroup {
            direction: match *key {
                number::META_IIFGROUP => Direction::In,
                number::META_OIFGROUP => Direction::Out,
                _ => return None,
            },
            group: u32::from_ne_bytes(data.as_slice().try_into().ok()?),
        },
        [
            Expression::Payload {
                base: number::TRANSPORT_HEADER,
                ..
            },
            then,
            ..,
        ] => match then {
            Expression::Bitwise { .. } => Statement::TcpSyn,
            Expression::Compare { data, .. } => {
                Statement::Icmpv6(data.iter().map(|number| Icmpv6Type(*number)).collect())
            }
            Expression::Lookup {
                set: SetRef::Anonymous(set),
                ..
            } => Statement::Icmpv6(types(set)?),
            _ => return lookup(rest),
        },
        [
            load,
            Expression::Bitwise { mask, .. },
            Expression::Compare { data, .. },
            ..,
        ] => within(load, mask, data)?,
        [load, Expression::Compare { data, .. }, ..] => within(load, &vec![255; data.len()], data)?,
        _ => return lookup(rest),
    })
}

/// Parts of the packet, and the set that they are looked up in, or the map and what is done with its value.
fn lookup(rest: &[Expression]) -> Option<Statement> {
    let mut keys = Vec::new();
    for (at, expression) in rest.iter().enumerate() {
        match expression {
            Expression::Lookup {
                set: SetRef::Named(set),
                dreg,
                ..
            } if !keys.is_empty() => {
                let set = set.clone();
                return Some(match (dreg, rest.get(at + 1)) {
                    (Some(_), Some(nat)) => translation(nat, keys, set)?,
                    _ => Statement::In { key: keys, set },
                });
            }
            _ => keys.push(loaded(expression)?),
        }
    }
    None
}

/// The translation that is made of a map's value.
fn translation(nat: &Expression, key: Vec<Key>, map: String) -> Option<Statement> {
    let Expression::Nat {
        kind, family, port, ..
    } = nat
    else {
        return None;
    };
    Some(Statement::Translate {
        end: match *kind {
            number::SNAT => End::Source,
            _ => End::Destination,
        },
        family: match i32::try_from(*family).ok()? {
            libc::NFPROTO_IPV4 => Family::Ipv4,
            _ => Family::Ipv6,
        },
        key,
        map,
        port: match port {
            None => Port::Kept,
            Some(_) => Port::Mapped,
        },
    })
}

/// The part of the packet that an expression loads.
fn loaded(expression: &Expression) -> Option<Key> {
    let (Expression::Meta { dreg, .. } | Expression::Payload { dreg, .. }) = expression else {
        return None;
    };
    Key::ALL
        .into_iter()
        .find(|key| lower::load(*key, *dreg) == *expression)
}

/// The prefix that some first bytes of an address are compared with, under a mask.
fn within(load: &Expression, mask: &[u8], network: &[u8]) -> Option<Statement> {
    let whole = |key: &Key| {
        let bytes = network.len();
        lower::part_of(lower::load(*key, lower::FIRST), bytes) == *load
    };
    let Key::Address(family, end) = Key::ALL.into_iter().find(whole)? else {
        return None;
    };
    let net = match family {
        Family::Ipv4 => {
            let [network, mask] = [network, mask].map(filled_up);
            let [network, mask] = [Ipv4Addr::from(network?), Ipv4Addr::from(mask?)];
            IpNet::V4(Ipv4Net::with_netmask(network, mask).ok()?)
        }
        Family::Ipv6 => {
            let [network, mask] = [network, mask].map(filled_up);
            let [network, mask] = [Ipv6Addr::from(network?), Ipv6Addr::from(mask?)];
            IpNet::V6(Ipv6Net::with_netmask(network, mask).ok()?)
        }
    };
    Some(Statement::Within { end, net })
}

/// Bytes with zeros behind them.
fn filled_up<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut filled = [0; N];
    filled.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(filled)
}

fn states(set: &Set) -> Option<BTreeMap<CtState, Verdict>> {
    let is_states = set.key == [Field::CtState];
    let elements = set.elements.iter().filter(|_| is_states);
    elements
        .map(|element| match (element.key.as_slice(), &element.verdict) {
            ([Value::CtState(state)], Some(verdict)) => Some((*state, verdict.clone())),
            _ => None,
        })
        .collect()
}

fn transports(set: &Set) -> Option<BTreeSet<u8>> {
    set.elements
        .iter()
        .map(|element| match element.key.as_slice() {
            [Value::Protocol(number)] => Some(*number),
            _ => None,
        })
        .collect()
}

fn types(set: &Set) -> Option<BTreeSet<Icmpv6Type>> {
    set.elements
        .iter()
        .map(|element| match element.key.as_slice() {
            [Value::Icmpv6Type(kind)] => Some(*kind),
            _ => None,
        })
        .collect()
}

/// An expression for people to read.
fn text(expression: &Expression) -> String {
    match expression {
        Expression::Other(text) => text.clone(),
        Expression::Verdict(verdict) => verdict.to_string(),
        Expression::Counter => "counter".to_owned(),
        Expression::Masquerade => "masquerade".to_owned(),
        Expression::Meta { key, dreg } => match loaded(expression) {
            Some(part) => part.to_string(),
            None => format!("[ meta {key} => reg {dreg} ]"),
        },
        Expression::Payload {
            base,
            offset,
            len,
            dreg,
        } => match loaded(expression) {
            Some(part) => part.to_string(),
            None => format!("[ payload {len}b @ header {base} + {offset} => reg {dreg} ]"),
        },
        Expression::Compare { sreg, op, data } => {
            format!("[ cmp reg {sreg} op {op} {} ]", hex(data))
        }
        Expression::Bitwise {
            sreg, mask, xor, ..
        } => {
            format!("[ bitwise reg {sreg} & {} ^ {} ]", hex(mask), hex(xor))
        }
        Expression::Lookup { set, dreg, .. } => {
            let map = if dreg.is_some() { "map" } else { "in" };
            match set {
                SetRef::Named(name) => format!("{map} @{name}"),
                SetRef::Anonymous(set) => format!("{map} {}", super::render::inline(set)),
            }
        }
        Expression::Ct { key, dreg } => format!("[ ct {key} => reg {dreg} ]"),
        Expression::Rt { key, dreg } => format!("[ rt {key} => reg {dreg} ]"),
        Expression::ByteOrder { sreg, op, len, .. } => {
            format!("[ byteorder reg {sreg} op {op} {len}b ]")
        }
        Expression::WriteTcpOption {
            sreg,
            kind,
            offset,
            len,
        } => format!("[ reg {sreg} => tcp option {kind} {len}b @ {offset} ]"),
        Expression::Reject { kind, code } => format!("reject type {kind} code {code}"),
        Expression::Fib { flags, result, .. } => format!("[ fib {flags} result {result} ]"),
        Expression::Nat {
            kind,
            family,
            address,
            port,
        } => {
            let port = port
                .map(|reg| format!(" port reg {reg}"))
                .unwrap_or_default();
            format!("[ nat type {kind} family {family} address reg {address}{port} ]")
        }
    }
}

/// Bytes as a number in base 16.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
