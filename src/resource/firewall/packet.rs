//! What is known of the packets of a class.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Field;
use super::bits::Bits;
use crate::resource::Family;
use crate::resource::name::LinkName;

/// `IPS_EXPECTED` of `linux/netfilter/nf_conntrack_common.h`.
const EXPECTED: u32 = 1;
/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 2;
/// `IPS_CONFIRMED`.
const CONFIRMED: u32 = 8;
/// `IPS_SRC_NAT`.
pub(super) const SRC_NAT: u32 = 0x10;
/// `IPS_DST_NAT`.
pub(super) const DST_NAT: u32 = 0x20;

/// The longest name of a link, with the NUL behind it (`IFNAMSIZ`).
const IFNAMSIZ: usize = 16;

/// Packets of one direction between two links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Their family.
    pub family: Family,
    /// Where they come from.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// Where in a connection they stand.
    pub stage: Stage,
    /// Where their connection goes.
    pub destination: Destination,
}

/// Where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Where it was opened to.
    Own,
    /// Elsewhere: its destination is translated.
    Translated,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The link.
    pub link: LinkName,
    /// Its group, if it is known.
    pub group: Option<u32>,
    /// What the addresses there have in common, in the bytes of the family. None: they may be any.
    pub addresses: Option<Bits>,
}

/// Where in a connection a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is the first.
    Opening,
    /// It follows a reply, in the direction of the first.
    Following,
    /// It is a reply.
    Reply,
}

impl Stage {
    /// Whether it goes in the direction of the first packet.
    pub(super) fn is_original(self) -> bool {
        self != Stage::Reply
    }

    /// The bit of its state for nftables (`NF_CT_STATE_BIT`).
    fn bit(self) -> u32 {
        match self {
            Stage::Opening => 8,
            Stage::Following | Stage::Reply => 2,
        }
    }

    /// The bit of its state for `xt_conntrack` (`XT_CONNTRACK_STATE_BIT`).
    pub(super) fn bit_of_xtables(self) -> u16 {
        match self {
            Stage::Opening => 8,
            Stage::Following | Stage::Reply => 2,
        }
    }
}

/// What some addresses and prefixes of a family have in common. None: there is none.
pub fn addresses(family: Family, nets: impl IntoIterator<Item = IpNet>) -> Option<Bits> {
    let nets = nets.into_iter();
    let nets = nets.filter(|net| Family::of(net.addr()) == family);
    let bits = nets.map(|net| match net {
        IpNet::V4(net) => Bits::partly(&net.addr().octets(), &net.netmask().octets()),
        IpNet::V6(net) => Bits::partly(&net.addr().octets(), &net.netmask().octets()),
    });
    bits.reduce(|all, one| all.or(&one))
}

/// What is known of the packets of a flow, in the kernel's own bytes.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    flow: Flow,
    pub(super) stage: Stage,
    /// Of their connection's status.
    pub(super) status: Bits,
    /// The network header.
    pub(super) header: Bits,
    /// Whether somebody may have given them a mark.
    pub(super) marked: bool,
}

impl Packet {
    pub(super) fn of(flow: &Flow, marked: bool) -> Packet {
        let (set, clear) = match flow.stage {
            // One that is sent again is confirmed already.
            Stage::Opening => (0, SEEN_REPLY),
            Stage::Following | Stage::Reply => (SEEN_REPLY | CONFIRMED, 0),
        };
        let (set, clear) = match flow.destination {
            Destination::Own => (set, clear | DST_NAT),
            Destination::Translated => (set | DST_NAT, clear),
        };
        let clear = clear | EXPECTED;
        let status = Bits::partly(&u32::to_ne_bytes(set), &u32::to_ne_bytes(set | clear));
        // `struct iphdr` and `struct ipv6hdr`.
        let (mut header, source, destination) = match flow.family {
            Family::Ipv4 => (Bits::unknown(20), 12, 16),
            Family::Ipv6 => (Bits::unknown(40), 8, 24),
        };
        for (at, side) in [(source, &flow.from), (destination, &flow.to)] {
            if let Some(addresses) = &side.addresses {
                header.put(at, addresses);
            }
        }
        Packet {
            flow: flow.clone(),
            stage: flow.stage,
            status,
            header,
            marked,
        }
    }

    /// What a field of them is, in the width that the kernel loads.
    pub(super) fn field(&self, field: Field) -> Bits {
        let number = |number: u32| Bits::known(&number.to_ne_bytes());
        let group = |side: &Side| side.group.map_or_else(|| Bits::unknown(4), number);
        let ipv4 = self.flow.family == Family::Ipv4;
        match field {
            Field::In => name(&self.flow.from.link),
            Field::Out => name(&self.flow.to.link),
            Field::InGroup => group(&self.flow.from),
            Field::OutGroup => group(&self.flow.to),
            // `NFPROTO_IPV4` and `NFPROTO_IPV6`; `ETH_P_IP` and `ETH_P_IPV6`.
            Field::Family => Bits::known(&[if ipv4 { 2 } else { 10 }]),
            Field::Protocol => Bits::known(if ipv4 { &[0x08, 0x00] } else { &[0x86, 0xdd] }),
            Field::Mark if self.marked => Bits::unknown(4),
            Field::Mark => number(0),
            Field::State => number(self.stage.bit()),
            Field::Direction => Bits::known(&[u8::from(!self.stage.is_original())]),
            Field::Status => self.status.clone(),
            Field::Other => Bits::unknown(16),
        }
    }
}

/// A link's name as the kernel loads it.
fn name(link: &LinkName) -> Bits {
    let mut bytes = link.as_str().as_bytes().to_vec();
    bytes.resize(IFNAMSIZ, 0);
    Bits::known(&bytes)
}

impl Flow {
    /// The families, links and addresses of the packets that come back.
    #[must_use]
    pub fn replies(&self) -> Flow {
        Flow {
            family: self.family,
            from: self.to.clone(),
            to: self.from.clone(),
            stage: Stage::Reply,
            destination: self.destination,
        }
    }

    /// What follows the first packet, in its direction.
    #[must_use]
    pub fn following(&self) -> Flow {
        Flow {
            stage: Stage::Following,
            ..self.clone()
        }
    }
}

impl Side {
    /// A link that leads to the world.
    pub fn outside(link: LinkName) -> Side {
        Side {
            link,
            group: None,
            addresses: None,
        }
    }

    /// A link with some addresses behind it.
    pub fn inside(
        link: LinkName,
        group: Option<u32>,
        family: Family,
        members: impl IntoIterator<Item = IpAddr>,
        prefixes: impl IntoIterator<Item = IpNet>,
    ) -> Side {
        let members = members.into_iter().map(IpNet::from);
        Side {
            link,
            group,
            addresses: addresses(family, members.chain(prefixes)),
        }
    }
}
