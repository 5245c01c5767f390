//! Addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
}
