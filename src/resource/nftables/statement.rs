//! What a rule consists of, as `nft` would say it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::resource::Family;

/// A match or an action of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// The packet is of a family: `meta nfproto ipv4`.
    Family(Family),
    /// Parts of the packet are an element of a set: `iifname . oifname @pass4`.
    In {
        /// The parts.
        key: Vec<Key>,
        /// The set's name.
        set: String,
    },
    /// The packet is of one of some transport protocols: `meta l4proto { tcp, udp }`.
    Transports(BTreeSet<u8>),
    /// The packet isn't for an address of this namespace: `fib daddr type != local`.
    NotLocal,
    /// The connection's destination was rewritten: `ct status dnat`.
    Redirected,
    /// A link isn't of a group: `iifgroup != 4660`.
    NotGroup {
        /// Which of the packet's links.
        direction: Direction,
        /// The group's number (`ip link set group`).
        group: u32,
    },
    /// An address lies in a prefix: `ip6 saddr fe80::/10`.
    Within {
        /// Which address, of the prefix's family.
        end: End,
        /// The prefix.
        net: IpNet,
    },
    /// The packet is one of some `ICMPv6` messages: `icmpv6 type nd-redirect`.
    Icmpv6(BTreeSet<Icmpv6Type>),
    /// The packet begins a TCP connection, in either direction: `tcp flags syn / syn,rst`.
    TcpSyn,
    /// Lowers the packet's maximum segment size to what the path takes, and never raises it:
    /// `tcp option maxseg size set rt mtu` (the kernel takes the smaller of the routes of both
    /// directions, `nft_rt.c`).
    ClampMss,
    /// Decides by the state of the connection: `ct state vmap { invalid : drop }`.
    CtState(BTreeMap<CtState, Verdict>),
    /// Counts packets and bytes.
    Counter,
    /// Decides.
    Verdict(Verdict),
    /// Refuses, and lets the sender know, in the packet's family: `reject with icmpx admin-prohibited`.
    RejectAdminProhibited,
    /// Gives the packet the address of the link that it leaves by.
    Masquerade,
    /// Gives the packet another address, and another port, as a map has it for parts of the packet:
    /// `snat ip to iifname . oifname map @snat4`. A packet that the map doesn't have goes on.
    Translate {
        /// Which of its addresses.
        end: End,
        /// Of which family.
        family: Family,
        /// The parts.
        key: Vec<Key>,
        /// The map's name.
        map: String,
        /// Whether the map has a port too.
        port: Port,
    },
    /// Kernel expressions that aren't recognised, as text.
    Unknown(String),
}

/// Whether a translation is one of ports too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// The port stays.
    Kept,
    /// The map has one for it.
    Mapped,
}

/// A part of a packet that is looked up in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// The name of the link that it came by or leaves by.
    Link(Direction),
    /// An address of it.
    Address(Family, End),
    /// The number of its transport protocol.
    Protocol,
    /// A port of it, whatever its transport protocol is: the bytes where TCP and UDP have theirs.
    Port(End),
}

impl Key {
    /// All of them.
    pub(super) const ALL: [Key; 9] = [
        Key::Link(Direction::In),
        Key::Link(Direction::Out),
        Key::Address(Family::Ipv4, End::Source),
        Key::Address(Family::Ipv4, End::Destination),
        Key::Address(Family::Ipv6, End::Source),
        Key::Address(Family::Ipv6, End::Destination),
        Key::Protocol,
        Key::Port(End::Source),
        Key::Port(End::Destination),
    ];
}

/// One of the two links of a packet on its way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// That it came by.
    In,
    /// That it leaves by.
    Out,
}

/// One of the two addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// What is decided on a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It leaves this base chain; those of others still see it.
    Accept,
    /// It is gone.
    Drop,
    /// The next rule sees it.
    Continue,
    /// It goes back to where the chain was called from.
    Return,
    /// Another chain sees it, and this one afterwards.
    Jump(String),
    /// Another chain sees it instead of this one.
    Goto(String),
}

/// A type of `ICMPv6` message (RFC 4443 and the registry "`ICMPv6` Parameters" of IANA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Icmpv6Type(pub u8);

impl Icmpv6Type {
    /// A member of multicast groups (RFC 2710).
    pub const MLD_REPORT: Icmpv6Type = Icmpv6Type(131);
    /// A question for routers (RFC 4861).
    pub const ROUTER_SOLICIT: Icmpv6Type = Icmpv6Type(133);
    /// A router's announcement (RFC 4861).
    pub const ROUTER_ADVERT: Icmpv6Type = Icmpv6Type(134);
    /// A question for a neighbour, or whether there is one (RFC 4861, 4862).
    pub const NEIGHBOR_SOLICIT: Icmpv6Type = Icmpv6Type(135);
    /// A router's hint to a better next hop (RFC 4861).
    pub const REDIRECT: Icmpv6Type = Icmpv6Type(137);
    /// A member of multicast groups and their sources (RFC 3810).
    pub const MLD2_REPORT: Icmpv6Type = Icmpv6Type(143);

    /// What `nft` calls it, if it has a name.
    pub(super) fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "destination-unreachable",
            2 => "packet-too-big",
            3 => "time-exceeded",
            4 => "parameter-problem",
            128 => "echo-request",
            129 => "echo-reply",
            130 => "mld-listener-query",
            131 => "mld-listener-report",
            132 => "mld-listener-done",
            133 => "nd-router-solicit",
            134 => "nd-router-advert",
            135 => "nd-neighbor-solicit",
            136 => "nd-neighbor-advert",
            137 => "nd-redirect",
            143 => "mld2-listener-report",
            _ => return None,
        })
    }
}

/// A state of connection tracking, as a bit (`NF_CT_STATE_BIT` of `nf_conntrack_common.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CtState {
    /// It belongs to no connection and can't begin one.
    Invalid,
    /// It belongs to a connection that has seen packets in both directions.
    Established,
    /// It belongs to a connection that another one announced, or is an error about one.
    Related,
    /// It begins a connection.
    New,
    /// Connection tracking was told to leave it alone.
    Untracked,
}

impl CtState {
    const ALL: [CtState; 5] = [
        CtState::Invalid,
        CtState::Established,
        CtState::Related,
        CtState::New,
        CtState::Untracked,
    ];

    /// Its bit.
    pub fn bit(self) -> u32 {
        match self {
            CtState::Invalid => 1,
            CtState::Established => 2,
            CtState::Related => 4,
            CtState::New => 8,
            CtState::Untracked => 64,
        }
    }

    /// The state of a bit.
    pub fn from_bit(bit: u32) -> Option<CtState> {
        CtState::ALL.into_iter().find(|state| state.bit() == bit)
    }

    /// What `nft` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            CtState::Invalid => "invalid",
            CtState::Established => "established",
            CtState::Related => "related",
            CtState::New => "new",
            CtState::Untracked => "untracked",
        }
    }
}
