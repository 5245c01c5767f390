//! What there is to tell of a host that no plan depends on: for who writes a spec of what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::State;
use crate::resource::name::LinkName;
use crate::resource::route::RouteKey;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};

/// Everything in all namespaces that have a name, and in the host.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What was asked for: which namespaces, and which tables of each.
    pub(crate) concerned: State,
    /// What they hold.
    pub state: State,
    /// What else is known of each.
    pub places: BTreeMap<Ns, Surveyed>,
}

/// What else is known of a namespace.
#[derive(Debug, Clone, Default)]
pub struct Surveyed {
    /// The settings that are other than in a new namespace.
    pub settings: BTreeMap<SysctlKey, String>,
    /// The routes that a program keeps, and which.
    pub kept: BTreeMap<RouteKey, &'static str>,
    /// Whether it has policy routing rules that look at what no [`RuleKey`] says.
    ///
    /// [`RuleKey`]: crate::resource::rule::RuleKey
    pub other_rules: bool,
    /// The rules of others that translate addresses.
    pub translations: Vec<Translation>,
    /// The nftables tables of others, as `nft list table` is told them.
    pub tables: BTreeSet<String>,
    /// The chains of others that may refuse what is forwarded.
    pub judges: BTreeSet<String>,
    /// The links that a program seems to have made, and which.
    pub programs: BTreeMap<LinkName, &'static str>,
    /// The program that seems to have made it.
    pub program: Option<&'static str>,
}

/// A rule that translates addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The family of the packets; none: both.
    pub family: Option<Family>,
    /// Where it stands: `table ip nat, chain POSTROUTING, handle 7`.
    pub place: String,
    /// What it is for.
    pub matches: Matches,
    /// What it does.
    pub meaning: Meaning,
}

/// Which packets a rule is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Where they come from: one of these.
    pub from: Option<Match<Vec<IpNet>>>,
    /// Where they go to.
    pub to: Option<Match<IpNet>>,
    /// The link that they came by.
    pub iif: Option<Match<LinkName>>,
    /// The link that they leave by.
    pub oif: Option<Match<LinkName>>,
    /// The number of the transport protocol.
    pub protocol: Option<u8>,
    /// The ports that they go to, from one to another.
    pub ports: Option<(u16, u16)>,
    /// Whether they must go to an address of the namespace itself.
    pub local: bool,
    /// Whether there is more to it, which isn't understood.
    pub more: bool,
}

/// What something must be, or must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<T> {
    /// What.
    pub value: T,
    /// Whether it must be something else.
    pub negated: bool,
}

/// What a translation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The source becomes an address of the link that the packet leaves by.
    Masquerade,
    /// The source becomes this address.
    Source(IpAddr),
    /// The destination becomes this address, and the port one from here on, if it is another.
    Destination(IpAddr, Option<u16>),
    /// Something else.
    Other,
}

impl<T: PartialEq> Match<T> {
    /// Whether it takes this.
    pub fn takes(&self, value: &T) -> bool {
        (self.value == *value) != self.negated
    }
}

impl Matches {
    /// Whether packets that leave by a link may be meant.
    pub fn leaves_by(&self, link: &LinkName) -> bool {
        self.oif.as_ref().is_none_or(|oif| oif.takes(link))
    }
}
