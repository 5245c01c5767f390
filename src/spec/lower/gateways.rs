//! Gateways: which links are guarded, what may leave by which link, and the forwarding it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Lowering, Routes, has_ipv6, listed};
use crate::resource::link::{GROUP, bridge};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{
    Egress, Fallback, Gateway, GatewayLink, Guard, Nat, Origin, Shape,
};
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model::{self, End, Subnet};
use crate::spec::source::Spanned;

/// The gateway links of each namespace.
pub(super) type Gateways = BTreeMap<Ns, BTreeMap<LinkName, GatewayLink>>;

impl<'s> Lowering<'s> {
    pub(super) fn gateways(&mut self, routes: &Routes<'s>) {
        let mut gateways = Gateways::new();
        for subnet in self.spec.subnets.values() {
            self.subnet(&mut gateways, subnet, routes);
        }
        for (ns, links) in &gateways {
            let fallback = self.forward(ns, links);
            self.ignore_advertisements(ns, links);
            let plain_router = match ns {
                Ns::Named(name) => self.spec.namespaces.get(name),
                Ns::Host => self.spec.host.as_ref(),
            }
            .and_then(|namespace| namespace.forwarding.as_ref())
            .is_some_and(|forwarding| forwarding.value != model::Forwarding::Off);
            let gateway = Gateway {
                topology: self.topology.clone(),
                links: links.clone(),
                guard: if plain_router {
                    Guard::Nothing
                } else {
                    Guard::Links
                },
                fallback,
            };
            if let Some(table) = gateway.table() {
                self.put(ns, Key::Table, Resource::Table(table));
            }
        }
    }

    /// Adds a subnet to the link that holds its gateway.
    fn subnet(&mut self, gateways: &mut Gateways, subnet: &'s Subnet, routes: &Routes<'s>) {
        let Some(gateway) = &subnet.gateway else {
            return;
        };
        let Some((ns, link, behind)) = self.holder(gateway.value) else {
            if let Some(egress) = &subnet.egress {
                let message = format!(
                    "nobody here holds {}, the gateway of `{}`, so its egress leads nowhere",
                    gateway.value, subnet.name.value
                );
                let help =
                    "give the address to an end of a veth, to a bridge, or to a link of the host";
                self.errors
                    .push(Diagnostic::new(message, egress.span, help));
            }
            return;
        };
        let family = Family::of(gateway.value);
        let egress = match &subnet.egress {
            None => None,
            Some(egress) => match self.way_out(&ns, family, egress, subnet, routes) {
                Some(dev) => {
                    let nat = if egress.masquerade {
                        Nat::Masquerade
                    } else {
                        Nat::None
                    };
                    Some(Egress { dev, nat })
                }
                None => return,
            },
        };
        let members = self.members(&ns, &link, behind, subnet);
        let routed = match behind {
            Some(_) => self.routed(&ns, &link, &members),
            None => BTreeSet::new(),
        };
        let origin = match behind {
            Some(_) => Origin::Made,
            None => Origin::Existing,
        };
        let shape = self.shape(&ns, &link);
        let gateway = gateways
            .entry(ns)
            .or_default()
            .entry(link)
            .or_insert_with(|| GatewayLink {
                origin,
                shape,
                members: BTreeSet::new(),
                prefixes: BTreeSet::new(),
                routed: BTreeSet::new(),
                egress: BTreeMap::new(),
            });
        gateway.members.extend(members);
        gateway.routed.extend(routed);
        gateway.prefixes.insert(subnet.cidr.value);
        gateway.egress.extend(egress.map(|egress| (family, egress)));
    }

    /// What is behind a link.
    fn shape(&self, ns: &Ns, link: &LinkName) -> Shape {
        let made = self.state.get(&Id::link(ns.clone(), link.clone()));
        let joins = if let Some(Resource::Link(link)) = made.map(|entry| &entry.resource) {
            link.kind.joins()
        } else {
            let found = self.facts.links.get(link).filter(|_| *ns == Ns::Host);
            found.is_some_and(|link| link.kind == bridge::NAME)
        };
        if joins {
            Shape::Bridge
        } else {
            Shape::PointToPoint
        }
    }

    /// Who holds a gateway's address: a link of the spec, itself besides if the topology makes it, or a link
    /// that the host has.
    fn holder(&self, gateway: IpAddr) -> Option<(Ns, LinkName, Option<&'s End>)> {
        if let Some(end) = self.holders(gateway).first().copied() {
            let made = Some(end).filter(|end| end.is_made());
            return Some((end.ns.value.clone(), end.name.value.clone(), made));
        }
        let (name, _) = self.facts.links.iter().find(|(_, link)| {
            link.owner.as_ref() != Some(self.topology)
                && link
                    .addresses
                    .iter()
                    .any(|address| address.addr() == gateway)
        })?;
        Some((Ns::Host, name.clone(), None))
    }

    /// The addresses that may come in by a gateway link: those of its layer-2 network; on a link that exists
    /// already, those of the spec in the subnet.
    fn members(
        &self,
        ns: &Ns,
        link: &LinkName,
        made: Option<&'s End>,
        subnet: &Subnet,
    ) -> BTreeSet<IpAddr> {
        let of = |end: &'s End| end.addresses.iter().map(|address| address.value.addr());
        match made {
            Some(end) => self.segments.around(end).flat_map(of).collect(),
            None => self
                .spec
                .ends()
                .filter(|end| end.ns.value != *ns || end.name.value != *link)
                .flat_map(of)
                .filter(|ip| subnet.cidr.value.contains(ip))
                .collect(),
        }
    }

    /// The prefixes that a gateway's namespace routes through a member, or onto the link itself.
    fn routed(&self, ns: &Ns, link: &LinkName, members: &BTreeSet<IpAddr>) -> BTreeSet<IpNet> {
        let namespace = match ns {
            Ns::Named(name) => self.spec.namespaces.get(name),
            Ns::Host => self.spec.host.as_ref(),
        };
        let routes = namespace.iter().flat_map(|namespace| &namespace.routes);
        let leads_here = |hop: &'s model::NextHop| {
            hop.via.is_none_or(|via| members.contains(&via.value))
                && self.reach.link_of(ns, hop) == Some(link)
        };
        routes
            .filter(|route| route.hops().iter().any(leads_here))
            .map(|route| route.to.value)
            .collect()
    }

    /// The link that a subnet leaves by. What is wrong with it is an error, or a remark.
    fn way_out(
        &mut self,
        ns: &Ns,
        family: Family,
        egress: &model::Egress,
        subnet: &Subnet,
        routes: &Routes<'s>,
    ) -> Option<LinkName> {
        match (&egress.dev, ns) {
            (Some(dev), Ns::Host) => Some(self.link_of_host(dev, subnet)),
            (Some(dev), Ns::Named(_)) => {
                let id = Id::link(ns.clone(), dev.value.clone());
                if self.state.get(&id).is_some() {
                    return Some(dev.value.clone());
                }
                let links = self
                    .state
                    .entries
                    .keys()
                    .filter(|id| id.ns == *ns)
                    .filter_map(|id| match &id.key {
                        Key::Link(name) if name.as_str() != "lo" => Some(name),
                        _ => None,
                    });
                let help = format!("its links are: {}", listed(links));
                let message = format!("namespace {ns} has no link `{}`", dev.value);
                self.errors.push(Diagnostic::new(message, dev.span, help));
                None
            }
            // It is the host's once it is applied.
            (None, Ns::Host) if self.static_default(ns, family).is_some() => {
                self.static_default(ns, family).cloned()
            }
            (None, Ns::Host) => {
                let dev = self.facts.default.get(&family).filter(|dev| {
                    let owner = self
                        .facts
                        .links
                        .get(*dev)
                        .and_then(|link| link.owner.as_ref());
                    owner != Some(self.topology)
                });
                if dev.is_none() {
                    let message = format!(
                        "the host has no {family} default route, so `{}` has no way out",
                        subnet.name.value
                    );
                    let help = "name the link that leads out: `egress: { dev: LINK }`";
                    self.errors
                        .push(Diagnostic::new(message, egress.span, help));
                }
                dev.cloned()
            }
            (None, Ns::Named(_)) => {
                let route = routes.iter().find(|((of, f), _)| *of == ns && *f == family);
                if let Some((_, (_, dev))) = route {
                    return Some((*dev).clone());
                }
                if let Some(dev) = self.static_default(ns, family) {
                    return Some(dev.clone());
                }
                let message = format!(
                    "namespace {ns} has no {family} default route, so `{}` has no way out",
                    subnet.name.value
                );
                let help = "name the link that leads out: `egress: { dev: LINK }`";
                self.errors
                    .push(Diagnostic::new(message, egress.span, help));
                None
            }
        }
    }

    /// A link of the host, also one that is yet to come.
    fn link_of_host(&mut self, dev: &Spanned<LinkName>, subnet: &Subnet) -> LinkName {
        let made = Id::link(Ns::Host, dev.value.clone());
        if self.facts.links.contains_key(&dev.value) || self.state.get(&made).is_some() {
            return dev.value.clone();
        }
        let links = &self.facts.links;
        let foreign = links
            .iter()
            .filter(|(_, link)| link.owner.is_none())
            .map(|(name, _)| name);
        let text = format!(
            "link {}, by which `{}` is to leave, does not exist yet: apply again once it does \
             (there are: {})",
            dev.value,
            subnet.name.value,
            listed(foreign)
        );
        self.remark(&Ns::Host, text);
        dev.value.clone()
    }

    /// Switches on the forwarding that gateway links need. Says how the rest of the
    /// host is kept from forwarding, if it must be.
    fn forward(&mut self, ns: &Ns, links: &BTreeMap<LinkName, GatewayLink>) -> Option<Fallback> {
        let mut fallback = None;
        for family in self.families() {
            let ways: BTreeSet<&LinkName> = links
                .iter()
                .filter_map(|(name, link)| Some([name, &link.egress.get(&family)?.dev]))
                .flatten()
                .collect();
            if ways.is_empty() {
                continue;
            }
            let switch = SysctlKey::forwarding(family);
            let everywhere = *ns != Ns::Host
                || self
                    .state
                    .get(&Id::new(Ns::Host, Key::Sysctl(switch.clone())))
                    .is_some();
            match family {
                _ if everywhere => self.set(ns, switch, Sysctl::on()),
                Family::Ipv6 if !self.facts.force_forwarding => {
                    self.forward_everywhere(family);
                    fallback = (!self.facts.ipv6_forwarding).then(|| self.fallback());
                }
                Family::Ipv4 => self.forward_links(family, "forwarding", ways),
                Family::Ipv6 => self.forward_links(family, "force_forwarding", ways),
            }
        }
        fallback
    }

    /// What keeps the rest of the host from forwarding IPv6.
    fn fallback(&self) -> Fallback {
        let links = self.facts.links.iter();
        // One of ours may have lost its tag.
        let made = |name: &LinkName| {
            let id = Id::link(Ns::Host, name.clone());
            self.state.get(&id).is_some()
        };
        let bridges = links.filter(|(name, link)| {
            link.kind == bridge::NAME && link.owner.is_none() && !made(name)
        });
        Fallback {
            group: GROUP,
            bridges: bridges.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Switches forwarding on for some links of the host, as far as they are there.
    fn forward_links(&mut self, family: Family, sysctl: &str, links: BTreeSet<&LinkName>) {
        for link in links {
            let made = self.state.get(&Id::link(Ns::Host, link.clone())).is_some();
            if made || self.facts.links.contains_key(link) {
                let key = SysctlKey::conf(family, link.clone(), sysctl);
                self.set(&Ns::Host, key, Sysctl::on());
            }
        }
    }

    /// No member can make itself the router of a gateway by a router advertisement.
    fn ignore_advertisements(&mut self, ns: &Ns, links: &BTreeMap<LinkName, GatewayLink>) {
        if !self.facts.ipv6 {
            return;
        }
        let deaf: Vec<LinkName> = self
            .made()
            .filter(|end| {
                end.ns.value == *ns && has_ipv6(end) && links.contains_key(&end.name.value)
            })
            .map(|end| end.name.value.clone())
            .collect();
        for link in deaf {
            self.set(
                ns,
                SysctlKey::conf(Family::Ipv6, link, "accept_ra"),
                Sysctl::off(),
            );
        }
    }
}
