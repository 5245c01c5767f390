//! From what the user wrote, and the facts of the host, to what shall be.
//!
//! Lowering knows what the words of a spec mean: that a subnet with an egress is a table of nftables, a
//! few sysctls and a default route in each member. Below it there are only resources.

mod altnames;
pub mod assumed;
mod files;
mod foreign;
mod gateways;
mod links;
mod mac;
mod nsswitch;
mod occupied;
mod publish;
mod remarks;
mod routes;
mod routing;
mod settings;
mod uplinks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use super::diagnostic::Diagnostic;
use super::model::{self, End, Spec, Subnet};
use super::reach::Reach;
use super::segments::Segments;
use crate::plan::Warning;
use crate::resource::link::{IPV6_MIN_MTU, Link, LinkKind};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::namespace::Namespace;
use crate::resource::nftables::gateway::publish::Publication;
use crate::resource::sysctl::{FORCED, ROUTE_LOCALNET, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Facts, Owner, Place, State};

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
    without_ipv6(spec, facts)?;
    let facts = apart(spec, facts);
    let mut lowering = Lowering::new(spec, &facts);
    lowering.namespaces();
    lowering.links();
    lowering.static_routes();
    lowering.rules();
    lowering.ends_of_others();
    let routes = lowering.default_routes();
    lowering.gateways(&routes);
    lowering.settings();
    lowering.remarks();
    if lowering.errors.is_empty() {
        Ok(Lowered {
            state: lowering.state,
            warnings: lowering.warnings,
        })
    } else {
        Err(lowering.errors)
    }
}

/// That a kernel without IPv6 is asked for none: half of what the spec says would be none of what it means.
fn without_ipv6(spec: &Spec, facts: &Facts) -> Result<(), Vec<Diagnostic>> {
    let held = spec.ends().flat_map(|end| &end.addresses);
    let held = held.map(|held| (held.value.addr(), held.span));
    let routes = spec.all_namespaces().flat_map(|(_, ns)| &ns.routes);
    let routes = routes.map(|route| (route.to.value.addr(), route.to.span));
    let mut found = held.chain(routes).filter(|(ip, _)| ip.is_ipv6());
    match found.next() {
        Some((ip, span)) if !facts.machine.ipv6 => {
            let message = format!("this kernel has no IPv6, and the spec has {ip}");
            let help = "remove all IPv6 from the spec, or boot without `ipv6.disable=1`";
            Err(vec![Diagnostic::new(message, span, help)])
        }
        _ => Ok(()),
    }
}

/// The facts without what the topology itself has from before in the namespaces of others: of that, what
/// counts is what the spec says now. Links that stay are known to exist.
fn apart(spec: &Spec, facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    let host = (Ns::Host, &mut facts.host);
    let external = facts.external.iter_mut();
    let external = external.map(|(name, place)| (Ns::Named(name.clone()), place));
    for (ns, place) in external.chain([host]) {
        let here = spec.ends().filter(|end| end.ns.value == ns);
        let stays: BTreeSet<&LinkName> = here.map(|end| &end.name.value).collect();
        let topology = &spec.name.value;
        let links = place.links.iter();
        let own = links.filter(|(_, link)| link.owner.as_ref() == Some(topology));
        let own: BTreeSet<LinkName> = own.map(|(name, _)| name.clone()).collect();
        place.routes.retain(|route| {
            route.owner.as_ref() != Some(topology)
                && !route.links.iter().any(|link| own.contains(link))
        });
        let rules = place.rules.iter_mut();
        rules.for_each(|rules| rules.retain(|rule| rule.owner.as_ref() != Some(topology)));
        for routes in place.default.values_mut() {
            routes.retain(|route| {
                route.owner.as_ref() != Some(topology) && !own.contains(&route.link)
            });
        }
        for name in own {
            if !stays.contains(&name) {
                place.links.remove(&name);
            } else if let Some(link) = place.links.get_mut(&name) {
                link.addresses.clear();
            }
        }
    }
    facts
}

/// The default routes that the subnets bring, if the host and the external namespaces have none of their own.
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
    /// The gateway links, once they are known.
    gateways: gateways::Gateways,
    /// What is published in each namespace, once it is known.
    published: BTreeMap<Ns, BTreeSet<Publication>>,
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
            state: State {
                external: spec.external(),
                ..State::new()
            },
            gateways: gateways::Gateways::new(),
            published: BTreeMap::new(),
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
        let ipv6 = self.facts.machine.ipv6;
        Family::BOTH
            .into_iter()
            .filter(move |family| ipv6 || *family == Family::Ipv4)
    }

    fn namespaces(&mut self) {
        let spec = self.spec;
        for (name, namespace) in &spec.namespaces {
            let ns = Ns::Named(name.clone());
            if namespace.external.is_none() {
                self.namespace(&ns, namespace);
            }
            if let Some(dns) = &namespace.dns {
                let names = nsswitch::nsswitch(&self.facts.machine.nsswitch);
                for (kind, file) in [files::resolv_conf(dns)].into_iter().chain(names) {
                    self.put(&ns, Key::File(kind), Resource::File(file));
                }
            }
            if !namespace.hosts.is_empty() {
                let (kind, file) = files::hosts(&namespace.hosts);
                self.put(&ns, Key::File(kind), Resource::File(file));
            }
        }
        for (ns, namespace) in spec.all_namespaces() {
            let said = namespace.forwarding.filter(|_| spec.is_found(ns));
            for family in self.families() {
                if said.is_some_and(|forwarding| forwarding.value.covers(family)) {
                    self.forward_everywhere(ns, family);
                }
            }
        }
    }

    /// A namespace that the topology makes.
    fn namespace(&mut self, ns: &Ns, namespace: &model::Namespace) {
        self.put(
            ns,
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
        self.put(ns, Key::Link(lo), Resource::Link(up));
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
            self.set(ns, SysctlKey::forwarding(family), value);
        }
    }

    /// What is known of a namespace that others make: nothing until it is looked at.
    fn place(&self, ns: &Ns) -> &'s Place {
        static UNKNOWN: LazyLock<Place> = LazyLock::new(Place::default);
        self.facts.place(ns).unwrap_or(&UNKNOWN)
    }

    /// Switches forwarding on for all of a namespace of others. With IPv6 the links that take router
    /// advertisements must go on taking them, or it loses its default route.
    fn forward_everywhere(&mut self, ns: &Ns, family: Family) {
        if family == Family::Ipv6 {
            let takers: Vec<LinkName> = self
                .place(ns)
                .links
                .iter()
                .filter(|(_, link)| link.takes_ra && link.owner.is_none())
                .map(|(name, _)| name.clone())
                .collect();
            for link in takers {
                let key = SysctlKey::conf(Family::Ipv6, link, "accept_ra");
                let value = Sysctl {
                    value: key.lent().into(),
                };
                self.set(ns, key, value);
            }
        }
        // The switch has redirects refused, and accepted once it is off, whatever was said before. So it is
        // borrowed like the switch.
        let redirects = SysctlKey::redirects();
        let said = self.spec.entry(ns).is_some_and(|entry| {
            let mut settings = entry.sysctls.iter();
            settings.any(|setting| setting.key.value == redirects)
        });
        if family == Family::Ipv4 && !self.place(ns).ipv4_router && !said {
            self.set(ns, redirects, Sysctl::off());
        }
        self.set(ns, SysctlKey::forwarding(family), Sysctl::on());
    }

    /// What our own links of the host and of external namespaces are as long as they are no gateways, and
    /// what they become again: they don't forward, unless all of the namespace does by its own right, and believe
    /// no router advertisements from the other end. A new link doesn't forward by itself.
    fn ends_of_others(&mut self) {
        let spec = self.spec;
        let ends: Vec<&End> = self.made().collect();
        for end in ends.into_iter().filter(|end| spec.is_found(&end.ns.value)) {
            let (ns, name) = (&end.ns.value, &end.name.value);
            let place = self.place(ns);
            let said = spec.entry(ns).and_then(|entry| entry.forwarding);
            let router = said.is_some_and(|forwarding| forwarding.value.covers(Family::Ipv4));
            let conf = |family, last: &str| SysctlKey::conf(family, name.clone(), last);
            let exists = place.links.contains_key(name);
            // One that is new takes over the switch that another topology has thrown meanwhile.
            let takes_over = exists || place.ipv4_forwarding;
            if takes_over && !place.ipv4_router && !router {
                self.set(ns, conf(Family::Ipv4, "forwarding"), Sysctl::off());
            }
            // A switch that another topology has thrown already is not thrown again, so one that was kept from
            // forwarding until now is switched on by itself.
            if exists && place.ipv4_forwarding && router {
                self.set(ns, conf(Family::Ipv4, "forwarding"), Sysctl::on());
            }
            let said = |key: &SysctlKey| {
                spec.entry(ns).is_some_and(|entry| {
                    let mut settings = entry.sysctls.iter();
                    settings.any(|setting| setting.key.value == *key)
                })
            };
            let localnet = conf(Family::Ipv4, ROUTE_LOCALNET);
            if exists && !said(&localnet) {
                self.set(ns, localnet, Sysctl::off());
            }
            if self.facts.machine.ipv6 && has_ipv6(end) {
                let accept_ra = conf(Family::Ipv6, "accept_ra");
                if !said(&accept_ra) {
                    self.set(ns, accept_ra, Sysctl::off());
                }
                if exists && self.facts.machine.force_forwarding {
                    self.set(ns, conf(Family::Ipv6, FORCED), Sysctl::off());
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

/// What a message calls a namespace.
fn called(ns: &Ns) -> String {
    match ns {
        Ns::Host => "the host".to_owned(),
        Ns::Named(name) => format!("namespace {name}"),
    }
}

/// Names, in order, for a message.
fn listed<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: BTreeSet<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
