//! Ports of a namespace of others that are spoken for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::resource::name::TopologyName;
use crate::resource::nftables::gateway::withdrawn::Lead;

/// What may get in the way of what a topology publishes there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacePorts {
    /// What other topologies lead to their members there.
    pub published: BTreeMap<TopologyName, BTreeSet<Lead>>,
    /// What processes listen at.
    pub listeners: BTreeSet<Listener>,
}

/// A port that a process listens at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// The port.
    pub port: u16,
    /// The address; unspecified: any of its family.
    pub address: IpAddr,
    /// Whether one at any IPv6 address listens at any IPv4 address too.
    pub both: bool,
    /// The process, as far as it is known: its number, and its name.
    pub process: Option<(u32, String)>,
}
