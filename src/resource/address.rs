//! Addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Change;
use super::name::LinkName;

/// What the kernel tells the addresses of a namespace apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressKey {
    /// The link that has it.
    pub link: LinkName,
    /// The address.
    pub ip: IpAddr,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The length of its prefix in bits: up to 32 for IPv4, to 128 for IPv6.
    pub prefix: u8,
    /// The other end's address, of a point-to-point address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Whether the kernel counts it as secondary to another IPv4 address of its network on the link
    /// (`IFA_F_SECONDARY` of `man 7 rtnetlink`): it goes when that one goes. Only ever read, never asked for.
    #[serde(skip)]
    pub secondary: bool,
}

impl Address {
    /// An address with the length of its prefix.
    pub fn new(prefix: u8) -> Address {
        Address {
            prefix,
            peer: None,
            secondary: false,
        }
    }

    /// What it takes to get from `found` to this: the kernel changes neither the length nor the peer.
    pub(super) fn change_from(&self, found: &Address) -> Change {
        if self.prefix != found.prefix {
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
