//! From the kernel's instructions to what is understood of them.

use super::super::attribute::Attributes;
use super::super::{expression, number as attr, userdata};
use super::Names;
use crate::kernel::xtables;
use crate::resource::firewall::{Field, Op, REGISTERS, Register, Rule, Step};
use crate::resource::nftables::Verdict;

/// A rule of the kernel's.
pub(in crate::kernel::nftables) fn rule(rule: Attributes<'_>, names: &Names) -> Rule {
    let mut reading = Reading {
        names,
        steps: Vec::new(),
        comment: None,
        asides: false,
        numbered: Vec::new(),
    };
    for expression in rule.list(attr::RULE_EXPRESSIONS) {
        let kind = expression.text(attr::EXPR_NAME).unwrap_or_default();
        let inside = expression.nested(attr::EXPR_DATA);
        let inside = inside.unwrap_or(Attributes::of(&[]));
        let has_comment = reading.comment.is_some();
        let step = reading.step(&kind, inside);
        let counts = kind == "counter" || !has_comment && reading.comment.is_some();
        reading.asides |= step.is_none() && !counts;
        reading.steps.extend(step);
    }
    let userdata = rule.bytes(attr::RULE_USERDATA).unwrap_or_default();
    Rule {
        handle: rule.u64(attr::RULE_HANDLE).unwrap_or(0),
        comment: userdata::find_comment(userdata, userdata::COMMENT).or(reading.comment),
        steps: reading.steps,
        asides: reading.asides,
    }
}

/// A rule on its way.
struct Reading<'n> {
    names: &'n Names,
    steps: Vec<Step>,
    /// The comment of iptables.
    comment: Option<String>,
    asides: bool,
    /// The registers that hold the number of a link, and of which.
    numbered: Vec<(Register, Field)>,
}

impl Reading<'_> {
    /// What an expression does. None: nothing that matters.
    fn step(&mut self, kind: &str, inside: Attributes<'_>) -> Option<Step> {
        let known = match kind {
            "counter" | "log" | "last" | "notrack" | "flow_offload" | "dup" => return None,
            "match" => {
                let name = inside.text(attr::XT_NAME)?;
                let data = inside.bytes(attr::XT_INFO)?;
                if let Some(text) = xtables::comment(&name, data) {
                    self.comment = Some(text);
                    return None;
                }
                let revision = inside.u32(attr::XT_REVISION).unwrap_or(0);
                xtables::matches(&name, revision, data)
            }
            "target" => {
                return xtables::target(&inside.text(attr::XT_NAME).unwrap_or_default());
            }
            "meta" if inside.u32(attr::META_SREG).is_some() => {
                let mark = inside.u32(attr::META_KEY) == Some(attr::META_MARK);
                return mark.then_some(Step::Mark);
            }
            "ct" if inside.u32(attr::CT_SREG).is_some() => return None,
            "payload" if inside.u32(attr::PAYLOAD_SREG).is_some() => return None,
            "meta" | "ct" | "payload" => self.load(kind, inside),
            "immediate" => self.immediate(inside),
            "reject" => Some(Step::Verdict(Verdict::Drop)),
            "queue" => Some(Step::Queue),
            "cmp" => self.compare(inside),
            "range" => Reading::range(inside),
            "bitwise" => Reading::bitwise(inside),
            "byteorder" => Reading::swap(inside),
            "lookup" => Reading::lookup(inside),
            "objref" => match inside.u32(attr::OBJREF_TYPE) {
                Some(attr::OBJECT_COUNTER | attr::OBJECT_CT_HELPER) => return None,
                _ => Some(Step::Maybe),
            },
            // They load something or compare something, and go on or not.
            "limit" | "quota" | "connlimit" | "numgen" | "hash" | "socket" | "osf" | "fib"
            | "rt" | "exthdr" | "tunnel" | "xfrm" | "dynset" | "inner" => Some(Step::Maybe),
            _ => Some(Step::Undecided),
        };
        let step = known.unwrap_or(Step::Maybe);
        if step == Step::Maybe {
            self.numbered.clear();
        }
        Some(step)
    }

    fn load(&mut self, kind: &str, inside: Attributes<'_>) -> Option<Step> {
        let number = match kind {
            "meta" => attr::META_DREG,
            "ct" => attr::CT_DREG,
            _ => attr::PAYLOAD_DREG,
        };
        let to = register(inside.u32(number)?)?;
        self.numbered.retain(|(register, _)| *register != to);
        let field = match kind {
            "meta" => match inside.u32(attr::META_KEY)? {
                attr::META_IIFNAME => Field::In,
                attr::META_OIFNAME => Field::Out,
                attr::META_IIFGROUP => Field::InGroup,
                attr::META_OIFGROUP => Field::OutGroup,
                attr::META_NFPROTO => Field::Family,
                attr::META_PROTOCOL => Field::Protocol,
                attr::META_MARK => Field::Mark,
                attr::META_IIF => {
                    self.numbered.push((to, Field::In));
                    Field::Other
                }
                attr::META_OIF => {
                    self.numbered.push((to, Field::Out));
                    Field::Other
                }
                _ => Field::Other,
            },
            "ct" => match inside.u32(attr::CT_KEY)? {
                attr::CT_STATE => Field::State,
                attr::CT_DIRECTION => Field::Direction,
                attr::CT_STATUS => Field::Status,
                _ => Field::Other,
            },
            _ => {
                let len = size(inside.u32(attr::PAYLOAD_LEN)?)?;
                let offset = usize::try_from(inside.u32(attr::PAYLOAD_OFFSET)?).ok()?;
                let network = inside.u32(attr::PAYLOAD_BASE)? == attr::NETWORK_HEADER;
                // Whether there is another header with so many bytes nobody knows.
                return network.then_some(Step::Header { offset, len, to });
            }
        };
        Some(Step::Load { field, to })
    }

    fn compare(&self, inside: Attributes<'_>) -> Option<Step> {
        let at = register(inside.u32(attr::CMP_SREG)?)?;
        let op = op(inside.u32(attr::CMP_OP)?)?;
        let data = value(inside, attr::CMP_DATA)?;
        let numbered = self.numbered.iter().find(|(register, _)| *register == at);
        let Some((_, field)) = numbered else {
            return Some(Step::Compare { at, op, data });
        };
        let number = data.as_slice().try_into().ok().map(u32::from_ne_bytes)?;
        let negated = match op {
            Op::Equal => false,
            Op::NotEqual => true,
            _ => return None,
        };
        Some(Step::Link {
            field: *field,
            // None: it is gone, and nobody gets its number.
            name: self.names.get(&number).cloned(),
            negated,
        })
    }

    fn range(inside: Attributes<'_>) -> Option<Step> {
        let at = register(inside.u32(attr::RANGE_SREG)?)?;
        let (from, to) = (
            value(inside, attr::RANGE_FROM)?,
            value(inside, attr::RANGE_TO)?,
        );
        let negated = inside.u32(attr::RANGE_OP)? != 0;
        Some(Step::Range {
            at,
            negated,
            from,
            to,
        })
    }

    fn bitwise(inside: Attributes<'_>) -> Option<Step> {
        let from = register(inside.u32(attr::BITWISE_SREG)?)?;
        (inside.u32(attr::BITWISE_OP).unwrap_or(0) == 0).then_some(())?;
        Some(Step::Bitwise {
            from,
            to: register(inside.u32(attr::BITWISE_DREG)?)?,
            mask: value(inside, attr::BITWISE_MASK)?,
            xor: value(inside, attr::BITWISE_XOR)?,
        })
    }

    fn swap(inside: Attributes<'_>) -> Option<Step> {
        let from = register(inside.u32(attr::SWAP_SREG)?)?;
        // On a machine that begins numbers with the largest byte, there is nothing to turn.
        cfg!(target_endian = "little").then_some(())?;
        Some(Step::Swap {
            from,
            to: register(inside.u32(attr::SWAP_DREG)?)?,
            len: size(inside.u32(attr::SWAP_LEN)?)?,
            size: size(inside.u32(attr::SWAP_SIZE)?)?,
        })
    }

    fn lookup(inside: Attributes<'_>) -> Option<Step> {
        let at = register(inside.u32(attr::LOOKUP_SREG)?)?;
        let set = inside.text(attr::LOOKUP_SET)?;
        let negated = inside.u32(attr::LOOKUP_FLAGS).unwrap_or(0) & 1 != 0;
        let into = inside.u32(attr::LOOKUP_DREG);
        match into {
            None => Some(Step::Lookup { at, set, negated }),
            Some(0) => Some(Step::Map { at, set }),
            Some(_) => None,
        }
    }

    fn immediate(&mut self, inside: Attributes<'_>) -> Option<Step> {
        let data = inside.nested(attr::IMMEDIATE_DATA)?;
        if let Some(verdict) = data.nested(attr::DATA_VERDICT) {
            let known = self::verdict(verdict);
            return Some(known.map_or(Step::Undecided, Step::Verdict));
        }
        let to = register(inside.u32(attr::IMMEDIATE_DREG)?)?;
        self.numbered.retain(|(register, _)| *register != to);
        let data = data.bytes(attr::DATA_VALUE)?.to_vec();
        Some(Step::Value { data, to })
    }
}

/// A verdict, if it is a known one.
pub(super) fn verdict(verdict: Attributes<'_>) -> Option<Verdict> {
    let code = verdict.u32(attr::VERDICT_CODE)?;
    expression::verdict(code, verdict.text(attr::VERDICT_CHAIN))
}

/// The bytes of a value.
pub(in crate::kernel::nftables) fn value(
    attributes: Attributes<'_>,
    number: u16,
) -> Option<Vec<u8>> {
    let data = attributes.nested(number)?;
    data.bytes(attr::DATA_VALUE).map(<[u8]>::to_vec)
}

/// Where a register begins: 1 to 4 of 16 bytes, or 8 to 23 of 4 (`enum nft_registers`).
pub(in crate::kernel::nftables) fn register(number: u32) -> Option<Register> {
    let number = usize::try_from(number).ok()?;
    let at = match number {
        1..=4 => (number - 1) * 16,
        8.. => (number - 8) * 4,
        _ => return None,
    };
    (at < REGISTERS).then_some(at)
}

/// A number of bytes that registers have room for.
pub(super) fn size(number: u32) -> Option<usize> {
    let number = usize::try_from(number).ok()?;
    (1..=REGISTERS).contains(&number).then_some(number)
}

/// An order by the kernel's number (`enum nft_cmp_ops`).
pub(in crate::kernel::nftables) fn op(number: u32) -> Option<Op> {
    Some(match number {
        0 => Op::Equal,
        1 => Op::NotEqual,
        2 => Op::Less,
        3 => Op::LessOrEqual,
        4 => Op::Greater,
        5 => Op::GreaterOrEqual,
        _ => return None,
    })
}
