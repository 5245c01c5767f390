//! What lowering must know of routing in a namespace that others make, to say what will not pass there.

use ipnet::IpNet;
use serde::Serialize;

use crate::resource::name::{LinkName, TopologyName};
use crate::resource::rule::{Action, RuleKey};

/// A unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceRoute {
    /// The destination.
    pub to: IpNet,
    /// Of several routes to one destination the lowest wins.
    pub metric: u32,
    /// The links that it leads over, one for each next hop.
    pub links: Vec<LinkName>,
    /// The topology that made it, or the link that it leads over.
    pub owner: Option<TopologyName>,
}

/// A policy routing rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceRule {
    /// Its place, and which packets it is for.
    pub key: RuleKey,
    /// What happens to them.
    pub action: Action,
    /// The topology that made it.
    pub owner: Option<TopologyName>,
}
