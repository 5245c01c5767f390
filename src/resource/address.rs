//! Addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Change;
use super::name::LinkName;

/// The setting by which a link makes a secondary IPv4 address primary when the primary one goes
/// (`ip-sysctl.rst`).
pub const PROMOTES: &str = "promote_secondaries";

/// What the kernel tells the addresses of a namespace apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressKey {
    /// The link that has it.
    pub link: LinkName,
    /// The address.
    pub ip: IpAddr,
}

/// An address that a link has, and what is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    ip: IpAddr,
    /// The address itself with its length, or that of the other end.
    near: IpNet,
}

impl Held {
    /// A point-to-point address, as `ip address add IP peer PEER` makes one (`man 8 ip-address`).
    pub fn point_to_point(ip: IpAddr, peer: IpNet) -> Held {
        Held { ip, near: peer }
    }

    /// The address.
    pub fn addr(&self) -> IpAddr {
        self.ip
    }

    /// The length of its prefix in bits.
    pub fn prefix_len(&self) -> u8 {
        self.near.prefix_len()
    }

    /// The address of the other end, of a point-to-point address.
    pub fn peer(&self) -> Option<IpAddr> {
        Some(self.near.addr()).filter(|near| *near != self.ip)
    }

    /// The prefixes that the kernel makes routes to with it. Those of an IPv4 address are the other end's
    /// (`fib_add_ifaddr` of `net/ipv4/fib_frontend.c`); an IPv6 address keeps its own, and has the other
    /// end alone besides (`__ipv6_ifa_notify` of `net/ipv6/addrconf.c`).
    pub fn beside(&self) -> impl Iterator<Item = IpNet> + use<> {
        let (own, other) = match (self.ip, self.peer()) {
            (IpAddr::V6(_), Some(peer)) => {
                let own = IpNet::new(self.ip, self.prefix_len());
                (own.unwrap_or(self.near), Some(IpNet::from(peer)))
            }
            _ => (self.near, None),
        };
        [Some(own), other].into_iter().flatten()
    }

    /// Whether an address is beside it.
    pub fn contains(&self, ip: &IpAddr) -> bool {
        self.beside().any(|net| net.contains(ip))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer() {
            Some(_) => write!(f, "{} peer {}", self.ip, self.near),
            None => self.near.fmt(f),
        }
    }
}

impl From<IpNet> for Held {
    fn from(net: IpNet) -> Held {
        Held {
            ip: net.addr(),
            near: net,
        }
    }
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The length of its prefix in bits: up to 32 for IPv4, to 128 for IPv6.
    pub prefix: u8,
    /// The other end's address, of a point-to-point address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Where it stands among the IPv4 addresses of its link: what is wanted among its like, what is there
    /// among all. Always 0 for IPv6, whose addresses the kernel sorts by itself.
    #[serde(skip)]
    pub place: u32,
    /// How it stands to others of its network. Only ever read, never asked for.
    #[serde(skip)]
    pub standing: Standing,
    /// Whether the link has it another time, by somebody else's doing: with another length, or peer. Only
    /// ever read.
    #[serde(skip)]
    pub twice: bool,
}

/// How an IPv4 address stands to others of its network on its link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// It was there first, or is the only one. The kernel takes it as the source toward its network.
    #[default]
    Primary,
    /// It came later (`IFA_F_SECONDARY` of `man 7 rtnetlink`), and goes when the first one goes.
    Secondary,
    /// It came later, and takes the place of the first one when that goes: the link promotes secondaries
    /// (`promote_secondaries` of `ip-sysctl.rst`).
    Heir,
}

impl Address {
    /// An address with the length of its prefix.
    pub fn new(prefix: u8) -> Address {
        Address {
            prefix,
            peer: None,
            place: 0,
            standing: Standing::Primary,
            twice: false,
        }
    }

    /// An address as a link is to have it.
    pub fn of(held: &Held) -> Address {
        Address {
            peer: held.peer(),
            ..Address::new(held.prefix_len())
        }
    }

    /// The network that an IPv4 address is of, by which the kernel tells primary ones and secondary ones:
    /// with a peer, that of the peer.
    pub fn network(&self, ip: IpAddr) -> Option<IpNet> {
        let near = IpNet::new(self.peer.unwrap_or(ip), self.prefix);
        near.ok().map(|near| near.trunc())
    }

    /// What it takes to get from `found` to this: the kernel changes neither the length nor the peer.
    pub(super) fn change_from(&self, found: &Address) -> Change {
        if self.peer == found.peer && self.prefix != found.prefix {
            Change::Replace(format!(
                "its length is {}, not {}",
                found.prefix, self.prefix
            ))
        } else if self.peer != found.peer {
            let peer = |peer: Option<IpAddr>| match peer {
                Some(ip) => ip.to_string(),
                None => "none".to_owned(),
            };
            let (found, wanted) = (peer(found.peer), peer(self.peer));
            Change::Replace(format!("its peer is {found}, not {wanted}"))
        } else {
            Change::None
        }
    }
}
