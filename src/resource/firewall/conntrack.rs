//! The match `conntrack` of iptables, which is no expression of nftables but a structure of its own.

use serde::{Deserialize, Serialize};

use super::bits::{Bits, Truth};
use super::packet::{DST_NAT, Packet, SRC_NAT};

/// What `-m conntrack` asks (`struct xt_conntrack_mtinfo3` of `linux/netfilter/xt_conntrack.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    /// What it asks for (`XT_CONNTRACK_*`).
    flags: u16,
    /// What of this it wants the other way round.
    inverted: u16,
    /// The states, as bits of its own.
    states: u16,
    /// The status, as bits of the connection's.
    status: u16,
}

/// `XT_CONNTRACK_STATE`.
const STATE: u16 = 1;
/// `XT_CONNTRACK_STATUS`.
const STATUS: u16 = 0x40;
/// `XT_CONNTRACK_DIRECTION`.
const DIRECTION: u16 = 0x1000;
/// `XT_CONNTRACK_STATE_SNAT`.
const SNAT: u16 = 0x40;
/// `XT_CONNTRACK_STATE_DNAT`.
const DNAT: u16 = 0x80;

impl Conntrack {
    /// What a match of a revision asks. None: it is none that is known.
    pub fn parse(revision: u32, data: &[u8]) -> Option<Conntrack> {
        let half = |at: usize| Some(u16::from_ne_bytes([*data.get(at)?, *data.get(at + 1)?]));
        // Four addresses and masks of 16 bytes, two times, a protocol, four ports.
        let flags = half(146)?;
        let inverted = half(148)?;
        let (states, status) = match revision {
            1 => (u16::from(*data.get(150)?), u16::from(*data.get(151)?)),
            2 | 3 => (half(150)?, half(152)?),
            _ => return None,
        };
        Some(Conntrack {
            flags,
            inverted,
            states,
            status,
        })
    }

    /// Whether packets match (`conntrack_mt` of `net/netfilter/xt_conntrack.c`).
    pub(super) fn matches(self, packet: &Packet) -> Truth {
        let asks = |what: u16| self.flags & what != 0;
        let wants = |truth: Truth, what: u16| truth.negated(self.inverted & what != 0);
        let mut truth = Truth::Yes;
        if asks(STATE) {
            let nat = |bit: u16, status: u32| {
                if self.states & bit == 0 {
                    Truth::No
                } else {
                    any(&packet.status, status)
                }
            };
            let of_nat = [nat(SNAT, SRC_NAT), nat(DNAT, DST_NAT)];
            let state = Truth::of(self.states & packet.stage.bit_of_xtables() != 0);
            let any = |a: Truth, b: Truth| a.negated(true).and(b.negated(true)).negated(true);
            let state = of_nat.into_iter().fold(state, any);
            truth = truth.and(wants(state, STATE));
        }
        if asks(STATUS) {
            truth = truth.and(wants(any(&packet.status, self.status.into()), STATUS));
        }
        if asks(DIRECTION) {
            truth = truth.and(wants(Truth::of(packet.stage.is_original()), DIRECTION));
        }
        if self.flags & !(STATE | STATUS | DIRECTION) != 0 {
            truth = truth.and(Truth::Maybe);
        }
        truth
    }
}

/// Whether a connection's status has any of some bits.
fn any(status: &Bits, bits: u32) -> Truth {
    let masked = status.masked(&bits.to_ne_bytes(), &[0; 4]);
    masked.equal(&[0; 4]).negated(true)
}
