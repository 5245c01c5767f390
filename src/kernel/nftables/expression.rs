//! Expressions to libnftnl and back.

use nftnl_sys as sys;

use super::object::{ExpressionObject, ExpressionRef};
use crate::resource::nftables::Verdict;
use crate::resource::nftables::expression::{Expression, SetRef};

/// `NFT_EXTHDR_OP_TCPOPT` of `linux/netfilter/nf_tables.h`.
const TCP_OPTION: u32 = 1;

/// `NF_NAT_RANGE_MAP_IPS` of `linux/netfilter/nf_nat.h`.
const NAT_ADDRESS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`.
const NAT_PORT: u32 = 2;

/// An expression for the kernel. `anonymous` is the number of the anonymous set it looks up, if it does;
/// none for an expression that isn't known well enough to write.
pub(super) fn encode(expression: &Expression, anonymous: u32) -> Option<ExpressionObject> {
    let new = ExpressionObject::new;
    Some(match expression {
        Expression::Meta { key, dreg } => new("meta")
            .u32(sys::NFTNL_EXPR_META_KEY, *key)
            .u32(sys::NFTNL_EXPR_META_DREG, *dreg),
        Expression::Payload {
            base,
            offset,
            len,
            dreg,
        } => new("payload")
            .u32(sys::NFTNL_EXPR_PAYLOAD_DREG, *dreg)
            .u32(sys::NFTNL_EXPR_PAYLOAD_BASE, *base)
            .u32(sys::NFTNL_EXPR_PAYLOAD_OFFSET, *offset)
            .u32(sys::NFTNL_EXPR_PAYLOAD_LEN, *len),
        Expression::Compare { sreg, op, data } => new("cmp")
            .u32(sys::NFTNL_EXPR_CMP_SREG, *sreg)
            .u32(sys::NFTNL_EXPR_CMP_OP, *op)
            .data(sys::NFTNL_EXPR_CMP_DATA, data),
        Expression::Bitwise {
            sreg,
            dreg,
            mask,
            xor,
        } => new("bitwise")
            .u32(sys::NFTNL_EXPR_BITWISE_SREG, *sreg)
            .u32(sys::NFTNL_EXPR_BITWISE_DREG, *dreg)
            .u32(sys::NFTNL_EXPR_BITWISE_LEN, u32::try_from(mask.len()).ok()?)
            .data(sys::NFTNL_EXPR_BITWISE_MASK, mask)
            .data(sys::NFTNL_EXPR_BITWISE_XOR, xor),
        Expression::Lookup { sreg, dreg, set } => {
            let mut lookup = new("lookup").u32(sys::NFTNL_EXPR_LOOKUP_SREG, *sreg);
            if let Some(dreg) = dreg {
                lookup = lookup.u32(sys::NFTNL_EXPR_LOOKUP_DREG, *dreg);
            }
            match set {
                SetRef::Named(name) => lookup.str(sys::NFTNL_EXPR_LOOKUP_SET, name),
                SetRef::Anonymous(set) => lookup
                    .str(
                        sys::NFTNL_EXPR_LOOKUP_SET,
                        super::write::anonymous_name(set),
                    )
                    .u32(sys::NFTNL_EXPR_LOOKUP_SET_ID, anonymous),
            }
        }
        Expression::Ct { key, dreg } => new("ct")
            .u32(sys::NFTNL_EXPR_CT_KEY, *key)
            .u32(sys::NFTNL_EXPR_CT_DREG, *dreg),
        Expression::Rt { key, dreg } => new("rt")
            .u32(sys::NFTNL_EXPR_RT_KEY, *key)
            .u32(sys::NFTNL_EXPR_RT_DREG, *dreg),
        Expression::ByteOrder {
            sreg,
            dreg,
            op,
            len,
            size,
        } => new("byteorder")
            .u32(sys::NFTNL_EXPR_BYTEORDER_SREG, *sreg)
            .u32(sys::NFTNL_EXPR_BYTEORDER_DREG, *dreg)
            .u32(sys::NFTNL_EXPR_BYTEORDER_OP, *op)
            .u32(sys::NFTNL_EXPR_BYTEORDER_LEN, *len)
            .u32(sys::NFTNL_EXPR_BYTEORDER_SIZE, *size),
        Expression::WriteTcpOption {
            sreg,
            kind,
            offset,
            len,
        } => new("exthdr")
            .u32(sys::NFTNL_EXPR_EXTHDR_OP, TCP_OPTION)
            .u32(sys::NFTNL_EXPR_EXTHDR_SREG, *sreg)
            .u8(sys::NFTNL_EXPR_EXTHDR_TYPE, *kind)
            .u32(sys::NFTNL_EXPR_EXTHDR_OFFSET, *offset)
            .u32(sys::NFTNL_EXPR_EXTHDR_LEN, *len),
        Expression::Counter => new("counter"),
        Expression::Reject { kind, code } => new("reject")
            .u32(sys::NFTNL_EXPR_REJECT_TYPE, *kind)
            .u8(sys::NFTNL_EXPR_REJECT_CODE, *code),
        Expression::Masquerade => new("masq"),
        Expression::Fib {
            flags,
            result,
            dreg,
        } => new("fib")
            .u32(sys::NFTNL_EXPR_FIB_FLAGS, *flags)
            .u32(sys::NFTNL_EXPR_FIB_RESULT, *result)
            .u32(sys::NFTNL_EXPR_FIB_DREG, *dreg),
        Expression::Nat {
            kind,
            family,
            address,
            port,
        } => {
            let nat = new("nat")
                .u32(sys::NFTNL_EXPR_NAT_TYPE, *kind)
                .u32(sys::NFTNL_EXPR_NAT_FAMILY, *family)
                .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, *address);
            match port {
                Some(port) => nat.u32(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, *port),
                None => nat,
            }
        }
        Expression::Verdict(verdict) => {
            let (code, chain) = verdict_code(verdict);
            let immediate = new("immediate")
                .u32(sys::NFTNL_EXPR_IMM_DREG, 0)
                .u32(sys::NFTNL_EXPR_IMM_VERDICT, code);
            match chain {
                Some(chain) => immediate.str(sys::NFTNL_EXPR_IMM_CHAIN, chain),
                None => immediate,
            }
        }
        Expression::Other(_) => return None,
    })
}

/// An expression of the kernel's. `set` says what an anonymous set holds, by its name.
pub(super) fn decode(
    expression: &ExpressionRef,
    set: impl FnOnce(&str) -> Option<SetRef>,
) -> Expression {
    known(expression, set).unwrap_or_else(|| Expression::Other(expression.describe()))
}

/// An expression of the kernel's, if it is a known one, with nothing more to it.
fn known(
    expression: &ExpressionRef,
    set: impl FnOnce(&str) -> Option<SetRef>,
) -> Option<Expression> {
    let number = |attribute| expression.number(attribute);
    let data = |attribute| expression.data(attribute);
    let absent = |attributes: &[u32]| {
        attributes
            .iter()
            .all(|attribute| !expression.is_set(*attribute))
            .then_some(())
    };
    // The kernel dumps some attributes only to say that there is nothing to them.
    let zero = |attribute| (number(attribute).unwrap_or(0) == 0).then_some(());
    Some(match expression.kind().as_str() {
        "meta" => {
            absent(&[sys::NFTNL_EXPR_META_SREG])?;
            Expression::Meta {
                key: number(sys::NFTNL_EXPR_META_KEY)?,
                dreg: number(sys::NFTNL_EXPR_META_DREG)?,
            }
        }
        "payload" => {
            absent(&[sys::NFTNL_EXPR_PAYLOAD_SREG])?;
            Expression::Payload {
                base: number(sys::NFTNL_EXPR_PAYLOAD_BASE)?,
                offset: number(sys::NFTNL_EXPR_PAYLOAD_OFFSET)?,
                len: number(sys::NFTNL_EXPR_PAYLOAD_LEN)?,
                dreg: number(sys::NFTNL_EXPR_PAYLOAD_DREG)?,
            }
        }
        "cmp" => Expression::Compare {
            sreg: number(sys::NFTNL_EXPR_CMP_SREG)?,
            op: number(sys::NFTNL_EXPR_CMP_OP)?,
            data: data(sys::NFTNL_EXPR_CMP_DATA)?,
        },
        "bitwise" => {
            zero(sys::NFTNL_EXPR_BITWISE_OP)?;
            absent(&[sys::NFTNL_EXPR_BITWISE_DATA])?;
            Expression::Bitwise {
                sreg: number(sys::NFTNL_EXPR_BITWISE_SREG)?,
                dreg: number(sys::NFTNL_EXPR_BITWISE_DREG)?,
                mask: data(sys::NFTNL_EXPR_BITWISE_MASK)?,
                xor: data(sys::NFTNL_EXPR_BITWISE_XOR)?,
            }
        }
        "lookup" => {
            zero(sys::NFTNL_EXPR_LOOKUP_FLAGS)?;
            Expression::Lookup {
                sreg: number(sys::NFTNL_EXPR_LOOKUP_SREG)?,
                dreg: number(sys::NFTNL_EXPR_LOOKUP_DREG),
                set: set(&expression.text(sys::NFTNL_EXPR_LOOKUP_SET)?)?,
            }
        }
        "ct" => {
            absent(&[sys::NFTNL_EXPR_CT_SREG, sys::NFTNL_EXPR_CT_DIR])?;
            Expression::Ct {
                key: number(sys::NFTNL_EXPR_CT_KEY)?,
                dreg: number(sys::NFTNL_EXPR_CT_DREG)?,
            }
        }
        "rt" => Expression::Rt {
            key: number(sys::NFTNL_EXPR_RT_KEY)?,
            dreg: number(sys::NFTNL_EXPR_RT_DREG)?,
        },
        "byteorder" => Expression::ByteOrder {
            sreg: number(sys::NFTNL_EXPR_BYTEORDER_SREG)?,
            dreg: number(sys::NFTNL_EXPR_BYTEORDER_DREG)?,
            op: number(sys::NFTNL_EXPR_BYTEORDER_OP)?,
            len: number(sys::NFTNL_EXPR_BYTEORDER_LEN)?,
            size: number(sys::NFTNL_EXPR_BYTEORDER_SIZE)?,
        },
        "exthdr" => {
            absent(&[sys::NFTNL_EXPR_EXTHDR_DREG])?;
            zero(sys::NFTNL_EXPR_EXTHDR_FLAGS)?;
            (number(sys::NFTNL_EXPR_EXTHDR_OP)? == TCP_OPTION).then_some(())?;
            Expression::WriteTcpOption {
                sreg: number(sys::NFTNL_EXPR_EXTHDR_SREG)?,
                kind: u8::try_from(number(sys::NFTNL_EXPR_EXTHDR_TYPE)?).ok()?,
                offset: number(sys::NFTNL_EXPR_EXTHDR_OFFSET)?,
                len: number(sys::NFTNL_EXPR_EXTHDR_LEN)?,
            }
        }
        "counter" => Expression::Counter,
        "reject" => Expression::Reject {
            kind: number(sys::NFTNL_EXPR_REJECT_TYPE)?,
            code: u8::try_from(number(sys::NFTNL_EXPR_REJECT_CODE)?).ok()?,
        },
        "masq" => {
            zero(sys::NFTNL_EXPR_MASQ_FLAGS)?;
            absent(&[
                sys::NFTNL_EXPR_MASQ_REG_PROTO_MIN,
                sys::NFTNL_EXPR_MASQ_REG_PROTO_MAX,
            ])?;
            Expression::Masquerade
        }
        "fib" => Expression::Fib {
            flags: number(sys::NFTNL_EXPR_FIB_FLAGS)?,
            result: number(sys::NFTNL_EXPR_FIB_RESULT)?,
            dreg: number(sys::NFTNL_EXPR_FIB_DREG)?,
        },
        "nat" => {
            // The kernel sets the flags for what there is, and the ends of ranges to their beginnings.
            let flags = number(sys::NFTNL_EXPR_NAT_FLAGS).unwrap_or(0);
            (flags & !(NAT_ADDRESS | NAT_PORT) == 0).then_some(())?;
            let range = |from, to| {
                let (from, to) = (number(from), number(to));
                (to.is_none() || to == from).then_some(from)
            };
            Expression::Nat {
                kind: number(sys::NFTNL_EXPR_NAT_TYPE)?,
                family: number(sys::NFTNL_EXPR_NAT_FAMILY)?,
                address: range(
                    sys::NFTNL_EXPR_NAT_REG_ADDR_MIN,
                    sys::NFTNL_EXPR_NAT_REG_ADDR_MAX,
                )??,
                port: range(
                    sys::NFTNL_EXPR_NAT_REG_PROTO_MIN,
                    sys::NFTNL_EXPR_NAT_REG_PROTO_MAX,
                )?,
            }
        }
        "immediate" => {
            zero(sys::NFTNL_EXPR_IMM_DREG)?;
            let code = number(sys::NFTNL_EXPR_IMM_VERDICT)?;
            Expression::Verdict(verdict(code, expression.text(sys::NFTNL_EXPR_IMM_CHAIN))?)
        }
        _ => return None,
    })
}

/// A verdict as the kernel's number, and its chain.
pub(super) fn verdict_code(verdict: &Verdict) -> (u32, Option<&str>) {
    let (code, chain) = match verdict {
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Continue => (libc::NFT_CONTINUE, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain.as_str())),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain.as_str())),
        Verdict::Return => (libc::NFT_RETURN, None),
    };
    (code.cast_unsigned(), chain)
}

/// The verdict of a number of the kernel's.
pub(super) fn verdict(code: u32, chain: Option<String>) -> Option<Verdict> {
    Some(match code.cast_signed() {
        libc::NF_DROP => Verdict::Drop,
        libc::NF_ACCEPT => Verdict::Accept,
        libc::NFT_CONTINUE => Verdict::Continue,
        libc::NFT_JUMP => Verdict::Jump(chain?),
        libc::NFT_GOTO => Verdict::Goto(chain?),
        libc::NFT_RETURN => Verdict::Return,
        _ => return None,
    })
}
