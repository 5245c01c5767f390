//! From what the user wrote, and the facts of the host, to what shall be.
//!
//! Lowering knows what the words of a spec mean: that a subnet with an egress is a table of nftables, a
//! few sysctls and a default route in each member. Below it there are only resources.

mod altnames;
mod files;
mod gateways;
mod links;
mod mac;
mod routes;
mod routing;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use super::diagnostic::Diagnostic;
use super::model::{End, Spec, Subnet};
use super::reach::Reach;
use super::segments::Segments;
use crate::plan::Warning;
use crate::resource::link::{IPV6_MIN_MTU, Link, LinkKind};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::namespace::Namespace;
use crate::resource::sysctl::{FORCED, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Facts, Owner, State};

/// What a spec means on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// What shall be.
    pub state: State,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// What a spec means on a host.
///
/// # Errors
///
/// What is wrong with the spec on this host: a gateway that nobody holds, a way out that isn't there.
pub fn lower(spec: &Spec, facts: &Facts) -> Result<Lowered, Vec<Diagnostic>> {
    let spec = &*altnames::resolved(spec, facts)?;
    let spec = &*links::known(spec, facts)?;
    let facts = apart(spec, facts);
    let mut lowering = Lowering::new(spec, &facts);
    lowering.namespaces();
    lowering.links();
    lowering.static_routes();
    lowering.rules();
    lowering.host_ends();
    let routes = lowering.default_routes();
    lowering.gateways(&routes);
    lowering.settings();
    if lowering.errors.is_empty() {
        Ok(Lowered {
            state: lowering.state,
            warnings: lowering.warnings,
        })
    } else {
        Err(lowering.errors)
    }
}

/// The facts without what the topology itself has on the host from before: of that, what counts is what
/// the spec says now. Links that stay are known to exist.
fn apart(spec: &Spec, facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    let topology = &spec.name.value;
    let on_host = spec.ends().filter(|end| end.ns.value == Ns::Host);
    let stays: BTreeSet<&LinkName> = on_host.map(|end| &end.name.value).collect();
    let links = &facts.links;
    let is_own = |name: &LinkName| {
        let link = links.get(name);
        link.is_some_and(|link| link.owner.as_ref() == Some(topology))
    };
    let own: Vec<LinkName> = links.keys().filter(|name| is_own(name)).cloned().collect();
    facts.default.retain(|_, dev| !own.contains(dev));
    for name in own {
        if !stays.contains(&name) {
            facts.links.remove(&name);
        } else if let Some(link) = facts.links.get_mut(&name) {
            link.addresses.clear();
        }
    }
    facts
}

/// The default routes that the subnets bring, if the host has none of its own.
pub(super) fn gateway_routes(spec: &Spec) -> Routes<'_> {
    static NOTHING: LazyLock<Facts> = LazyLock::new(Facts::default);
    Lowering::new(spec, &NOTHING).choose_routes()
}

/// The links that hold each address.
type Holders<'s> = BTreeMap<IpAddr, Vec<&'s End>>;

/// The subnets by prefix, and the lengths that these have, so that not every subnet is looked at for every
/// address.
struct Prefixes<'s> {
    subnets: BTreeMap<IpNet, &'s Subnet>,
    lengths: BTreeSet<u8>,
}

impl<'s> Prefixes<'s> {
    fn of(spec: &'s Spec) -> Prefixes<'s> {
        let subnets = spec.subnets.values();
        Prefixes {
            subnets: subnets
                .clone()
                .map(|subnet| (subnet.cidr.value, subnet))
                .collect(),
            lengths: subnets
                .map(|subnet| subnet.cidr.value.prefix_len())
                .collect(),
        }
    }

    /// The subnets that an address is in, the smallest first.
    fn around(&self, ip: IpAddr) -> impl Iterator<Item = &'s Subnet> {
        self.lengths.iter().rev().filter_map(move |length| {
            let prefix = IpNet::new(ip, *length).ok()?.trunc();
            self.subnets.get(&prefix).copied()
        })
    }
}

fn holders(spec: &Spec) -> Holders<'_> {
    let mut holders = Holders::new();
    for end in spec.ends() {
        for address in &end.addresses {
            holders.entry(address.value.addr()).or_default().push(end);
        }
    }
    holders
}

/// A spec on its way to a State.
struct Lowering<'s> {
    spec: &'s Spec,
    facts: &'s Facts,
    holders: Holders<'s>,
    prefixes: Prefixes<'s>,
    reach: Reach<'s>,
    segments: Segments<'s>,
    topology: &'s TopologyName,
    state: State,
    warnings: Vec<Warning>,
    errors: Vec<Diagnostic>,
}

impl<'s> Lowering<'s> {
    fn new(spec: &'s Spec, facts: &'s Facts) -> Lowering<'s> {
        Lowering {
            spec,
            facts,
            holders: holders(spec),
            prefixes: Prefixes::of(spec),
            reach: Reach::of(spec, Some(facts)),
            segments: Segments::of(&spec.veths, &spec.links),
            topology: &spec.name.value,
            state: State::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn put(&mut self, ns: &Ns, key: Key, resource: Resource) {
        let owner = Owner::Topology(self.topology.clone());
        self.state.insert(Id::new(ns.clone(), key), resource, owner);
    }

    fn set(&mut self, ns: &Ns, key: SysctlKey, value: Sysctl) {
        self.put(ns, Key::Sysctl(key), Resource::Sysctl(value));
    }

    fn remark(&mut self, ns: &Ns, text: String) {
        self.warnings.push(Warning::Remark {
            ns: ns.clone(),
            text,
        });
    }

    /// The families whose sysctls exist on this host.
    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let ipv6 = self.facts.ipv6;
        Family::BOTH
            .into_iter()
            .filter(move |family| ipv6 || *family == Family::Ipv4)
    }

    fn namespaces(&mut self) {
        let spec = self.spec;
        for (name, namespace) in &spec.namespaces {
            let ns = Ns::Named(name.clone());
            self.put(
                &ns,
                Key::Namespace,
                Resource::Namespace(Namespace::default()),
            );
            let lo = LinkName::try_from("lo").expect("`lo` is a link's name");
            let up = Link {
                kind: LinkKind::Loopback,
                up: true,
                mtu: None,
                mac: None,
                master: None,
                tagged: true,
            };
            self.put(&ns, Key::Link(lo), Resource::Link(up));
            for family in self.families() {
                let forwards = namespace
                    .forwarding
                    .as_ref()
                    .is_some_and(|forwarding| forwarding.value.covers(family));
                let value = if forwards {
                    Sysctl::on()
                } else {
                    Sysctl::off()
                };
                self.set(&ns, SysctlKey::forwarding(family), value);
            }
            if let Some(dns) = &namespace.dns {
                let (kind, file) = files::resolv_conf(dns);
                self.put(&ns, Key::File(kind), Resource::File(file));
            }
            if !namespace.hosts.is_empty() {
                let (kind, file) = files::hosts(&namespace.hosts);
                self.put(&ns, Key::File(kind), Resource::File(file));
            }
        }
        let host = spec.host.as_ref().and_then(|host| host.forwarding.as_ref());
        for family in self.families() {
            if host.is_some_and(|forwarding| forwarding.value.covers(family)) {
                self.forward_everywhere(family);
            }
        }
    }

    /// Switches forwarding on for the whole host. With IPv6 the links that take router advertisements
    /// must go on taking them, or the host loses its default route.
    fn forward_everywhere(&mut self, family: Family) {
        if family == Family::Ipv6 {
            let takers: Vec<LinkName> = self
                .facts
                .links
                .iter()
                .filter(|(_, link)| link.takes_ra && link.owner.is_none())
                .map(|(name, _)| name.clone())
                .collect();
            for link in takers {
                let key = SysctlKey::conf(Family::Ipv6, link, "accept_ra");
                let value = Sysctl {
                    value: key.lent().to_owned(),
                };
                self.set(&Ns::Host, key, value);
            }
        }
        // The switch has redirects refused, and accepted once it is off, whatever was said before. So it is
        // borrowed like the switch.
        let redirects = SysctlKey::redirects();
        let said = self.spec.host.as_ref().is_some_and(|host| {
            let mut settings = host.sysctls.iter();
            settings.any(|setting| setting.key.value == redirects)
        });
        if family == Family::Ipv4 && !self.facts.ipv4_router && !said {
            self.set(&Ns::Host, redirects, Sysctl::off());
        }
        self.set(&Ns::Host, SysctlKey::forwarding(family), Sysctl::on());
    }

    /// What our own links of the host are as long as they are no gateways, and what they become again: they
    /// don't forward, unless the whole host does, and believe no router advertisements from a namespace.
    /// A new link doesn't forward by itself.
    fn host_ends(&mut self) {
        let host = self
            .spec
            .host
            .as_ref()
            .and_then(|host| host.forwarding.as_ref());
        let router = |family| host.is_some_and(|forwarding| forwarding.value.covers(family));
        let ends: Vec<&End> = self.made().collect();
        for end in ends.into_iter().filter(|end| end.ns.value == Ns::Host) {
            let name = &end.name.value;
            let conf = |family, last: &str| SysctlKey::conf(family, name.clone(), last);
            let exists = self.facts.links.contains_key(name);
            if exists && !self.facts.ipv4_forwarding && !router(Family::Ipv4) {
                self.set(&Ns::Host, conf(Family::Ipv4, "forwarding"), Sysctl::off());
            }
            if self.facts.ipv6 && has_ipv6(end) {
                self.set(&Ns::Host, conf(Family::Ipv6, "accept_ra"), Sysctl::off());
                if exists && self.facts.force_forwarding {
                    self.set(&Ns::Host, conf(Family::Ipv6, FORCED), Sysctl::off());
                }
            }
        }
    }

    /// The links that the topology makes.
    fn made(&self) -> impl Iterator<Item = &'s End> + use<'s> {
        self.spec.ends().filter(|end| end.is_made())
    }

    /// The links that hold an address.
    fn holders(&self, ip: IpAddr) -> &[&'s End] {
        self.holders.get(&ip).map_or(&[], Vec::as_slice)
    }
}

/// Whether a link has IPv6 at all.
fn has_ipv6(end: &End) -> bool {
    end.mtu >= IPV6_MIN_MTU
}

/// The default route that each namespace gets of each family: through which router, over which link.
pub(super) type Routes<'s> = BTreeMap<(&'s Ns, Family), (IpAddr, &'s LinkName)>;

/// Names, in order, for a message.
fn listed<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: BTreeSet<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
