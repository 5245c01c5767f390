//! Gateways: which links are guarded, what may leave by which link, and the forwarding it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Lowering, Routes, called, has_ipv6, listed, publish};
use crate::resource::link::{GROUP, bridge};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{
    Allow, Egress, Fallback, Gateway, GatewayLink, Guard, Inbound, Nat, Origin, Publication,
    Service, Shape,
};
use crate::resource::sysctl::{FORCED, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::check;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{self, End, Ports, Services, Subnet};
use crate::spec::source::Spanned;
use crate::state::PlaceLink;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// The gateway links of each namespace.
pub(super) type Gateways = BTreeMap<Ns, BTreeMap<LinkName, GatewayLink>>;

impl<'s> Lowering<'s> {
    pub(super) fn gateways(&mut self, routes: &Routes<'s>) {
        let mut gateways = Gateways::new();
        for subnet in self.spec.subnets.values() {
            self.subnet(&mut gateways, subnet, routes);
        }
        self.agree();
        self.ignore_advertisements(&gateways);
        let mut publications = self.publications(&gateways);
        for (ns, links) in &gateways {
            let published = publications.remove(ns).unwrap_or_default();
            let fallback = self.forward(ns, links, &published);
            self.published.insert(ns.clone(), published.clone());
            self.firewalls(ns, links, &published);
            let entry = self.spec.entry(ns);
            let said = entry.and_then(|namespace| namespace.forwarding.as_ref());
            let plain_router =
                said.is_some_and(|forwarding| forwarding.value != model::Forwarding::Off);
            let gateway = Gateway {
                topology: self.topology.clone(),
                links: links.clone(),
                guard: if plain_router {
                    Guard::Nothing
                } else {
                    Guard::Links
                },
                fallback,
                published,
            };
            if let Some(table) = gateway.table() {
                self.put(ns, Key::Table, Resource::Table(table));
            }
        }
        self.firewalls_elsewhere(&gateways);
        self.gateways = gateways;
    }

    /// Subnets behind a link that only the host knows agree, as those behind one that the spec has.
    fn agree(&mut self) {
        let mut behind: BTreeMap<(Ns, LinkName), Vec<&Subnet>> = BTreeMap::new();
        for subnet in self.spec.subnets.values() {
            let holder = subnet
                .gateway
                .and_then(|gateway| self.holder(gateway.value));
            if let Some((ns, link, None)) = holder {
                behind.entry((ns, link)).or_default().push(subnet);
            }
        }
        let mut found = Findings::default();
        for ((_, link), held) in &behind {
            check::egress::agree(held, link, self.spec, &mut found);
        }
        self.errors.extend(found.into_sorted());
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
                let help = "give the address to an end of a veth, to a bridge, or to a link of the host \
                            or of an external namespace";
                self.errors
                    .push(Diagnostic::new(message, egress.span, help));
            }
            return;
        };
        let family = Family::of(gateway.value);
        let egress = match &subnet.egress {
            None => None,
            Some(egress) => match self.way_out(&ns, family, egress, subnet, routes) {
                Some(dev) if dev == link => {
                    let at = egress.dev.as_ref().map_or(egress.span, |dev| dev.span);
                    self.errors
                        .push(check::egress::turns_back(subnet, &link, at));
                    return;
                }
                Some(dev) => Some(Egress {
                    dev,
                    nat: self.nat(&ns, egress),
                    inbound: match egress.inbound {
                        model::Inbound::Deny => Inbound::Deny,
                        model::Inbound::Allow => Inbound::Allow,
                    },
                }),
                None => return,
            },
        };
        let allow = self.allow(&ns, family, subnet);
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
                allow: BTreeSet::new(),
            });
        gateway.members.extend(members);
        gateway.routed.extend(routed);
        gateway.prefixes.insert(subnet.cidr.value);
        gateway.egress.extend(egress.map(|egress| (family, egress)));
        gateway.allow.extend(allow);
    }

    /// Which source is seen outside. One that nobody here has is worth a remark: replies to it come back only if
    /// others send them here.
    fn nat(&mut self, ns: &Ns, egress: &model::Egress) -> Nat {
        let ip = match egress.nat {
            model::Nat::Masquerade => return Nat::Masquerade,
            model::Nat::None => return Nat::None,
            model::Nat::Source(ip) => ip.value,
        };
        let links = self.place(ns).links.values();
        let mut found = links.flat_map(|link| &link.addresses);
        let written = self.holders(ip);
        let held = written.iter().any(|end| end.ns.value == *ns)
            || found.any(|address| address.addr() == ip);
        if !held {
            let text = format!(
                "no link of {ns} has {ip}, to which sources are rewritten: replies come back only if the \
                 next router sends them here, so add the address to a link, or a route to it there"
            );
            self.remark(ns, text);
        }
        Nat::Source(ip)
    }

    /// What a subnet's members may open to those of others.
    fn allow(&mut self, ns: &Ns, family: Family, subnet: &'s Subnet) -> BTreeSet<Allow> {
        let mut all = BTreeSet::new();
        for allow in &subnet.allow {
            let other = self.spec.subnets.get(&allow.subnet.value);
            let Some(gateway) = other.and_then(|other| other.gateway) else {
                continue;
            };
            let to = match self.holder(gateway.value) {
                Some((at, link, _)) if at == *ns => link,
                Some((at, ..)) => {
                    let message = format!(
                        "the gateway of `{}` is in `{at}`, and that of `{}` in `{ns}`",
                        allow.subnet.value, subnet.name.value
                    );
                    let help = "`allow` is between subnets whose gateways are in one namespace";
                    let diagnostic = Diagnostic::new(message, allow.subnet.span, help);
                    self.errors.push(diagnostic);
                    continue;
                }
                None => {
                    let message = format!(
                        "nobody here holds {}, the gateway of `{}`, so nothing leads there",
                        gateway.value, allow.subnet.value
                    );
                    let help = format!("give the address to a link of `{ns}`");
                    let diagnostic = Diagnostic::new(message, allow.subnet.span, help);
                    self.errors.push(diagnostic);
                    continue;
                }
            };
            let services = services(family, &allow.services);
            all.extend(services.into_iter().map(|service| Allow {
                family,
                to: to.clone(),
                service,
            }));
        }
        all
    }

    /// What is behind a link.
    fn shape(&self, ns: &Ns, link: &LinkName) -> Shape {
        let made = self.state.get(&Id::link(ns.clone(), link.clone()));
        let joins = if let Some(Resource::Link(link)) = made.map(|entry| &entry.resource) {
            link.kind.joins()
        } else {
            let found = self.place(ns).links.get(link);
            found.is_some_and(|link| link.kind == bridge::NAME)
        };
        if joins {
            Shape::Bridge
        } else {
            Shape::PointToPoint
        }
    }

    /// Who holds a gateway's address: a link of the spec, itself besides if the topology makes it, or a link
    /// that the host has, or an external namespace.
    fn holder(&self, gateway: IpAddr) -> Option<(Ns, LinkName, Option<&'s End>)> {
        if let Some(end) = self.holders(gateway).first().copied() {
            let made = Some(end).filter(|end| end.is_made());
            return Some((end.ns.value.clone(), end.name.value.clone(), made));
        }
        let external = self.facts.external.iter();
        let external = external.map(|(name, place)| (Ns::Named(name.clone()), place));
        let mut places = [(Ns::Host, &self.facts.host)].into_iter().chain(external);
        places.find_map(|(ns, place)| {
            let holds = |link: &PlaceLink| {
                link.owner.as_ref() != Some(self.topology)
                    && link
                        .addresses
                        .iter()
                        .any(|address| address.addr() == gateway)
            };
            let (name, _) = place.links.iter().find(|(_, link)| holds(link))?;
            Some((ns, name.clone(), None))
        })
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
        let namespace = self.spec.entry(ns);
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
        match (&egress.dev, self.spec.is_found(ns)) {
            (Some(dev), true) => Some(self.link_of_others(ns, dev, subnet)),
            (Some(dev), false) => {
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
            (None, _) => {
                let dev = self.default_uplink(ns, family, subnet, routes);
                if dev.is_none() {
                    let message = format!(
                        "{} has no {family} default route, so `{}` has no way out",
                        called(ns),
                        subnet.name.value
                    );
                    let help = "name the link that leads out: `egress: { dev: LINK }`";
                    self.errors
                        .push(Diagnostic::new(message, egress.span, help));
                }
                dev
            }
        }
    }

    /// A link of a namespace of others by its name, or by another name that it goes by.
    fn link_of_others(&mut self, ns: &Ns, dev: &Spanned<LinkName>, subnet: &Subnet) -> LinkName {
        let made = Id::link(ns.clone(), dev.value.clone());
        if self.state.get(&made).is_some() {
            return dev.value.clone();
        }
        self.tell_of_port(ns, dev, subnet);
        let place = self.place(ns);
        if let Some((name, _)) = place.link(&dev.value) {
            return name.clone();
        }
        let foreign = place
            .links
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
        self.remark(ns, text);
        dev.value.clone()
    }

    /// Switches on the forwarding that gateway links need. Says how the rest of a namespace of others is
    /// kept from forwarding, if it must be.
    fn forward(
        &mut self,
        ns: &Ns,
        links: &BTreeMap<LinkName, GatewayLink>,
        published: &BTreeSet<Publication>,
    ) -> Option<Fallback> {
        let mut fallback = None;
        for family in self.families() {
            let out = links
                .iter()
                .filter_map(|(name, link)| Some([name, &link.egress.get(&family)?.dev]));
            let across = links.iter().flat_map(|(name, link)| {
                let allow = link.allow.iter().filter(|allow| allow.family == family);
                allow.map(move |allow| [name, &allow.to])
            });
            let mut ways: BTreeSet<&LinkName> = out.chain(across).flatten().collect();
            ways.extend(publish::ways(family, links, published));
            if ways.is_empty() {
                continue;
            }
            let switch = SysctlKey::forwarding(family);
            let id = Id::new(ns.clone(), Key::Sysctl(switch.clone()));
            let everywhere = !self.spec.is_found(ns) || self.state.get(&id).is_some();
            match family {
                _ if everywhere => self.set(ns, switch, Sysctl::on()),
                Family::Ipv6 if !self.facts.machine.force_forwarding => {
                    self.forward_everywhere(ns, family);
                    fallback = (!self.place(ns).ipv6_forwarding).then(|| self.fallback(ns));
                }
                Family::Ipv4 => self.forward_links(ns, family, "forwarding", ways),
                Family::Ipv6 => self.forward_links(ns, family, FORCED, ways),
            }
        }
        fallback
    }

    /// What keeps the rest of a namespace of others from forwarding IPv6.
    fn fallback(&self, ns: &Ns) -> Fallback {
        let links = self.place(ns).links.iter();
        // One of ours may have lost its tag.
        let made = |name: &LinkName| {
            let id = Id::link(ns.clone(), name.clone());
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

    /// Switches forwarding on for some links of a namespace of others, as far as they are there.
    fn forward_links(&mut self, ns: &Ns, family: Family, sysctl: &str, links: BTreeSet<&LinkName>) {
        for link in links {
            let made = self
                .state
                .get(&Id::link(ns.clone(), link.clone()))
                .is_some();
            if made || self.place(ns).links.contains_key(link) {
                let key = SysctlKey::conf(family, link.clone(), sysctl);
                self.set(ns, key, Sysctl::on());
            }
        }
    }

    /// No member can make itself the router of a gateway by a router advertisement.
    fn ignore_advertisements(&mut self, gateways: &Gateways) {
        if !self.facts.machine.ipv6 {
            return;
        }
        let is_gateway = |end: &&End| {
            let links = gateways.get(&end.ns.value);
            links.is_some_and(|links| links.contains_key(&end.name.value))
        };
        for end in self.made().filter(|end| has_ipv6(end)).filter(is_gateway) {
            let key = SysctlKey::conf(Family::Ipv6, end.name.value.clone(), "accept_ra");
            self.set(&end.ns.value, key, Sysctl::off());
        }
    }
}

/// The connections of a family that some services are.
fn services(family: Family, services: &Services) -> Vec<Service> {
    let Services::Some { tcp, udp, icmp } = services else {
        return vec![Service::All];
    };
    let ports = |protocol, ports: &[Ports]| {
        let ports = ports.iter().map(|ports| Service::Ports {
            protocol,
            from: ports.from,
            to: ports.to,
        });
        ports.collect::<Vec<_>>()
    };
    let mut all = ports(TCP, tcp);
    all.extend(ports(UDP, udp));
    all.extend(icmp.then(|| Service::icmp(family)));
    all
}
