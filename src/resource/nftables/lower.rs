//! From statements to the kernel's expressions.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::expression::{Expression, SetRef, number};
use super::set::{Element, Field, Set, Value};
use super::statement::{Direction, End, Icmpv6Type, Key, Port, Statement};
use crate::resource::Family;

/// The first register: most statements need no other.
pub(super) const FIRST: u32 = 1;

/// The expressions of a rule.
///
/// Parts of a header mean something only in packets of their protocol, so a statement is preceded by a
/// comparison of the protocol, unless an earlier one has made it. This is what `nft` does too, and `nft`
/// leaves these comparisons out when it lists a rule.
pub fn lower(statements: &[Statement]) -> Vec<Expression> {
    let mut known = Known::default();
    let mut expressions = Vec::new();
    for statement in statements {
        let needs = Known::needed_by(statement);
        expressions.extend(known.learn(needs));
        expressions.extend(body(statement));
    }
    expressions
}

/// What the comparisons of a rule so far say about the packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) family: Option<Family>,
    pub(super) transport: Option<u8>,
}

impl Known {
    /// What must be known for a statement to mean anything.
    pub(super) fn needed_by(statement: &Statement) -> Known {
        let of_family = |family| Known {
            family: Some(family),
            transport: None,
        };
        match statement {
            Statement::Family(family) => of_family(*family),
            Statement::In { key, .. } | Statement::Translate { key, .. } => Known {
                family: key.iter().find_map(|key| match key {
                    Key::Address(family, _) => Some(*family),
                    Key::Link(_) | Key::Protocol | Key::Port(_) => None,
                }),
                transport: None,
            },
            Statement::Within { net, .. } => of_family(Family::of(net.addr())),
            Statement::Icmpv6(_) => Known {
                family: Some(Family::Ipv6),
                transport: Some(number::ICMPV6),
            },
            Statement::TcpSyn | Statement::ClampMss => Known {
                family: None,
                transport: Some(number::TCP),
            },
            _ => Known::default(),
        }
    }

    /// Learns what is needed, by the comparisons for what isn't known yet.
    fn learn(&mut self, needs: Known) -> Vec<Expression> {
        let mut expressions = Vec::new();
        if let Some(family) = needs.family.filter(|family| self.family != Some(*family)) {
            expressions.extend(compare_family(family));
            self.family = Some(family);
        }
        if let Some(transport) = needs
            .transport
            .filter(|number| self.transport != Some(*number))
        {
            expressions.extend(compare_transport(transport));
            self.transport = Some(transport);
        }
        expressions
    }
}

/// The expressions of a statement, without the comparisons that it needs before it.
pub(super) fn body(statement: &Statement) -> Vec<Expression> {
    match statement {
        // The comparison that it needs is all there is to it.
        Statement::Family(_) => Vec::new(),
        Statement::In { key, set } => lookup(key, set, None),
        Statement::Transports(numbers) => {
            let mut set = Set::of([Field::InetProto]);
            let numbers = numbers.iter().map(|number| Value::Protocol(*number));
            set.elements = numbers.map(|number| Element::of([number])).collect();
            vec![
                load(Key::Protocol, FIRST),
                Expression::Lookup {
                    sreg: FIRST,
                    dreg: None,
                    set: SetRef::Anonymous(set),
                },
            ]
        }
        Statement::NotLocal => vec![
            Expression::Fib {
                flags: number::FIB_DADDR,
                result: number::FIB_ADDRTYPE,
                dreg: FIRST,
            },
            differs(number::LOCAL.to_ne_bytes().to_vec()),
        ],
        Statement::Redirected => vec![
            Expression::Ct {
                key: number::CT_STATUS,
                dreg: FIRST,
            },
            Expression::Bitwise {
                sreg: FIRST,
                dreg: FIRST,
                mask: number::DST_NAT.to_ne_bytes().to_vec(),
                xor: vec![0; 4],
            },
            differs(vec![0; 4]),
        ],
        Statement::Translate {
            end,
            family,
            key,
            map,
            port,
        } => {
            let mut expressions = lookup(key, map, Some(FIRST));
            expressions.push(Expression::Nat {
                kind: match end {
                    End::Source => number::SNAT,
                    End::Destination => number::DNAT,
                },
                family: u32::from(protocol(*family)),
                address: FIRST,
                port: match port {
                    Port::Kept => None,
                    Port::Mapped => Some(register(length(Key::Address(*family, End::Source)) / 4)),
                },
            });
            expressions
        }
        Statement::NotGroup { direction, group } => vec![
            Expression::Meta {
                key: match direction {
                    Direction::In => number::META_IIFGROUP,
                    Direction::Out => number::META_OIFGROUP,
                },
                dreg: FIRST,
            },
            differs(group.to_ne_bytes().to_vec()),
        ],
        Statement::Within { end, net } => within(*end, *net),
        Statement::Icmpv6(types) => icmpv6(types),
        Statement::TcpSyn => vec![
            Expression::Payload {
                base: number::TRANSPORT_HEADER,
                offset: 13,
                len: 1,
                dreg: FIRST,
            },
            Expression::Bitwise {
                sreg: FIRST,
                dreg: FIRST,
                mask: vec![number::SYN_RST],
                xor: vec![0],
            },
            equals(vec![number::SYN]),
        ],
        Statement::ClampMss => vec![
            Expression::Rt {
                key: number::RT_TCPMSS,
                dreg: FIRST,
            },
            Expression::ByteOrder {
                sreg: FIRST,
                dreg: FIRST,
                op: number::HTON,
                len: 2,
                size: 2,
            },
            Expression::WriteTcpOption {
                sreg: FIRST,
                kind: number::MAXSEG,
                offset: 2,
                len: 2,
            },
        ],
        Statement::CtState(verdicts) => {
            let mut set = Set::of([Field::CtState]);
            set.elements = verdicts
                .iter()
                .map(|(state, verdict)| Element {
                    verdict: Some(verdict.clone()),
                    ..Element::of([Value::CtState(*state)])
                })
                .collect();
            vec![
                Expression::Ct {
                    key: number::CT_STATE,
                    dreg: FIRST,
                },
                Expression::Lookup {
                    sreg: FIRST,
                    dreg: Some(0),
                    set: SetRef::Anonymous(set),
                },
            ]
        }
        Statement::Counter => vec![Expression::Counter],
        Statement::Verdict(verdict) => vec![Expression::Verdict(verdict.clone())],
        Statement::RejectAdminProhibited => vec![Expression::Reject {
            kind: number::REJECT_ICMPX,
            code: number::ADMIN_PROHIBITED,
        }],
        Statement::Masquerade => vec![Expression::Masquerade],
        Statement::Unknown(text) => vec![Expression::Other(text.clone())],
    }
}

/// The comparison of an address with a prefix; whole bytes are loaded alone, as `nft` does it.
fn within(end: End, net: IpNet) -> Vec<Expression> {
    let (mut network, mask) = match net {
        IpNet::V4(net) => (
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
        IpNet::V6(net) => (
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
    };
    let bits = usize::from(net.prefix_len());
    let load = load(Key::Address(Family::of(net.addr()), end), FIRST);
    if bits == 0 || !bits.is_multiple_of(8) {
        let bitwise = Expression::Bitwise {
            sreg: FIRST,
            dreg: FIRST,
            xor: vec![0; mask.len()],
            mask,
        };
        return vec![load, bitwise, equals(network)];
    }
    network.truncate(bits / 8);
    vec![part_of(load, network.len()), equals(network)]
}

/// The expression that loads only the first bytes of what another one loads.
pub(super) fn part_of(load: Expression, bytes: usize) -> Expression {
    match load {
        Expression::Payload {
            base, offset, dreg, ..
        } => Expression::Payload {
            base,
            offset,
            len: u32::try_from(bytes).expect("an address is short"),
            dreg,
        },
        other => other,
    }
}

fn icmpv6(types: &BTreeSet<Icmpv6Type>) -> Vec<Expression> {
    let load = Expression::Payload {
        base: number::TRANSPORT_HEADER,
        offset: 0,
        len: 1,
        dreg: FIRST,
    };
    let mut only = types.iter();
    if let (Some(Icmpv6Type(number)), None) = (only.next(), only.next()) {
        return vec![load, equals(vec![*number])];
    }
    let mut set = Set::of([Field::Icmpv6Type]);
    set.elements = types
        .iter()
        .map(|kind| Element::of([Value::Icmpv6Type(*kind)]))
        .collect();
    vec![
        load,
        Expression::Lookup {
            sreg: FIRST,
            dreg: None,
            set: SetRef::Anonymous(set),
        },
    ]
}

/// The comparison that lets only packets of a family go on.
pub(super) fn compare_family(family: Family) -> [Expression; 2] {
    [
        Expression::Meta {
            key: number::META_NFPROTO,
            dreg: FIRST,
        },
        equals(vec![protocol(family)]),
    ]
}

/// The number of a family.
fn protocol(family: Family) -> u8 {
    let protocol = match family {
        Family::Ipv4 => libc::NFPROTO_IPV4,
        Family::Ipv6 => libc::NFPROTO_IPV6,
    };
    u8::try_from(protocol).expect("a family's number is small")
}

/// The lookup of parts of the packet in a set, or in a map whose values go into registers.
fn lookup(key: &[Key], set: &str, dreg: Option<u32>) -> Vec<Expression> {
    let mut unit = 0;
    let mut expressions = Vec::new();
    for part in key {
        expressions.push(load(*part, register(unit)));
        unit += length(*part) / 4;
    }
    expressions.push(Expression::Lookup {
        sreg: FIRST,
        dreg,
        set: SetRef::Named(set.to_owned()),
    });
    expressions
}

/// The comparison that lets only packets of a transport protocol go on.
pub(super) fn compare_transport(transport: u8) -> [Expression; 2] {
    [
        Expression::Meta {
            key: number::META_L4PROTO,
            dreg: FIRST,
        },
        equals(vec![transport]),
    ]
}

fn equals(data: Vec<u8>) -> Expression {
    Expression::Compare {
        sreg: FIRST,
        op: number::EQUAL,
        data,
    }
}

fn differs(data: Vec<u8>) -> Expression {
    Expression::Compare {
        sreg: FIRST,
        op: number::NOT_EQUAL,
        data,
    }
}

/// The expression that loads a part of the packet.
pub(super) fn load(key: Key, dreg: u32) -> Expression {
    let port = |offset| Expression::Payload {
        base: number::TRANSPORT_HEADER,
        offset,
        len: 2,
        dreg,
    };
    let (offset, len) = match key {
        Key::Protocol => {
            return Expression::Meta {
                key: number::META_L4PROTO,
                dreg,
            };
        }
        Key::Port(End::Source) => return port(0),
        Key::Port(End::Destination) => return port(2),
        Key::Link(direction) => {
            let key = match direction {
                Direction::In => number::META_IIFNAME,
                Direction::Out => number::META_OIFNAME,
            };
            return Expression::Meta { key, dreg };
        }
        Key::Address(Family::Ipv4, End::Source) => (12, 4),
        Key::Address(Family::Ipv4, End::Destination) => (16, 4),
        Key::Address(Family::Ipv6, End::Source) => (8, 16),
        Key::Address(Family::Ipv6, End::Destination) => (24, 16),
    };
    Expression::Payload {
        base: number::NETWORK_HEADER,
        offset,
        len,
        dreg,
    }
}

/// How many bytes of registers a part takes.
fn length(key: Key) -> u32 {
    match key {
        Key::Address(Family::Ipv4, _) | Key::Protocol | Key::Port(_) => 4,
        Key::Link(_) | Key::Address(Family::Ipv6, _) => 16,
    }
}

/// The number by which the kernel dumps the register that begins so many units of 4 bytes into the
/// first one (`nft_dump_register` of `net/netfilter/nf_tables_api.c`).
fn register(unit: u32) -> u32 {
    if unit.is_multiple_of(4) {
        FIRST + unit / 4
    } else {
        8 + unit
    }
}
