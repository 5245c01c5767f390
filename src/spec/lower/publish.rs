//! Publications: by which links they are served, and which gateway link leads to their targets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::gateways::Gateways;
use super::{Lowering, called, listed};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{Arrival, GatewayLink, Publication, Service};
use crate::resource::sysctl::{ROUTE_LOCALNET, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Ns, Resource};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model::{self, Ports, Published};
use crate::spec::source::{Span, Spanned};

/// What leads to members of each namespace's gateways.
pub(super) type Publications = BTreeMap<Ns, BTreeSet<Publication>>;

/// The kernel's name of the kind of links that nothing arrives by (`drivers/net/dummy.c`).
const DUMMY: &str = "dummy";

/// A link from outside, a family, a transport protocol.
type Door = (Ns, LinkName, Family, u8);

impl Lowering<'_> {
    /// What is published.
    pub(super) fn publications(&mut self, gateways: &Gateways) -> Publications {
        let spec = self.spec;
        let mut all = Publications::new();
        let mut doors: BTreeMap<Door, Vec<(Ports, Span)>> = BTreeMap::new();
        // A gateway that something is wrong with is none, and that has been said.
        let sound = self.errors.is_empty();
        for publication in &spec.publish {
            let ns = &publication.ns.value;
            let Some((behind, link)) = target(gateways, publication) else {
                if sound {
                    self.errors.push(no_gateway(publication));
                }
                continue;
            };
            let Some(served) = self.served(gateways, publication, link) else {
                continue;
            };
            if let (
                Published::Ports {
                    protocol, ports, ..
                },
                None,
            ) = (publication.what, publication.address)
            {
                for arrival in &served {
                    if let Arrival::Outside(dev) = arrival {
                        let number = protocol.number();
                        let door = (ns.clone(), dev.clone(), publication.family(), number);
                        let others = doors.entry(door).or_default();
                        self.check_door(publication, dev, ports, others);
                        others.push((ports.value, ports.span));
                    }
                }
            }
            let lowered = lowered(publication, behind, served);
            self.check_occupied(ns, publication, &lowered);
            all.entry(ns.clone()).or_default().extend(lowered);
            if publication.localhost.is_some() {
                let key = SysctlKey::conf(Family::Ipv4, behind.clone(), ROUTE_LOCALNET);
                self.set(ns, key, Sysctl::on());
            }
        }
        all
    }

    /// Two publications of the same port may turn out to be served by the same link.
    fn check_door(
        &mut self,
        publication: &model::Publication,
        dev: &LinkName,
        ports: Spanned<Ports>,
        others: &[(Ports, Span)],
    ) {
        let overlap = |other: &Ports| other.from <= ports.value.to && ports.value.from <= other.to;
        if let Some((_, first)) = others.iter().find(|(other, _)| overlap(other)) {
            let Published::Ports { protocol, .. } = publication.what else {
                return;
            };
            let message = format!(
                "{} {} is published twice on `{dev}`, by which the subnet of the one leaves and which the other names",
                protocol.name(),
                ports.value
            );
            let help = "choose another port, or tell the two apart by `address`";
            let diagnostic = Diagnostic::new(message, ports.span, help);
            self.errors.push(diagnostic.also(*first, "the other"));
        }
    }

    /// From where a publication is served. What is wrong with it is an error, or a remark.
    fn served(
        &mut self,
        gateways: &Gateways,
        publication: &model::Publication,
        link: &GatewayLink,
    ) -> Option<Vec<Arrival>> {
        let ns = &publication.ns.value;
        let here = || [Arrival::Here];
        if let Some(dev) = &publication.dev {
            let outside = [Arrival::Outside(self.door(ns, dev, publication))];
            return Some(match publication.address {
                Some(_) => outside.into_iter().chain(here()).collect(),
                None => outside.into(),
            });
        }
        let holders = publication
            .address
            .map_or_else(BTreeSet::new, |address| self.doors_of(ns, address.value));
        if publication.what == Published::Everything {
            self.tell_of_own_address(ns, publication);
        }
        let egress = link.egress.get(&publication.family());
        let doors: BTreeSet<LinkName> = if holders.is_empty() {
            egress
                .map(|egress| egress.dev.clone())
                .into_iter()
                .collect()
        } else {
            holders
        };
        if doors.is_empty() && publication.localhost.is_none() {
            let to = publication.to;
            let message = format!(
                "the subnet of {} has no egress, so nothing says by which link connections arrive",
                to.value
            );
            let help = "add `dev: LINK`, or `egress` to the subnet";
            self.errors
                .push(Diagnostic::new(message, publication.place(), help));
            return None;
        }
        // What members send is served from here.
        let gateways = gateways.get(ns);
        let is_gateway = |door: &LinkName| gateways.is_some_and(|links| links.contains_key(door));
        let doors = doors.into_iter().filter(|door| !is_gateway(door));
        Some(doors.map(Arrival::Outside).chain(here()).collect())
    }

    /// The links that have an address and that something can arrive by.
    fn doors_of(&self, ns: &Ns, ip: IpAddr) -> BTreeSet<LinkName> {
        let written = self.holders(ip).iter().filter(|end| end.ns.value == *ns);
        let written = written.map(|end| &end.name.value);
        let found = self.place(ns).links.iter().filter(|(_, link)| {
            let mut addresses = link.addresses.iter();
            addresses.any(|address| address.addr() == ip)
        });
        let found = found.map(|(name, _)| name);
        let leads_here = |name: &&LinkName| {
            let made = self.state.get(&Id::link(ns.clone(), (*name).clone()));
            let kind = match made.map(|entry| &entry.resource) {
                Some(Resource::Link(link)) => link.kind.name(),
                _ => self
                    .place(ns)
                    .links
                    .get(*name)
                    .map_or("", |link| &link.kind),
            };
            name.as_str() != "lo" && kind != DUMMY
        };
        written.chain(found).filter(leads_here).cloned().collect()
    }

    /// A link that connections arrive by, by its name, or by another name that it goes by.
    fn door(
        &mut self,
        ns: &Ns,
        dev: &Spanned<LinkName>,
        publication: &model::Publication,
    ) -> LinkName {
        let made = Id::link(ns.clone(), dev.value.clone());
        if self.state.get(&made).is_some() {
            return dev.value.clone();
        }
        let place = self.place(ns);
        if let Some((name, _)) = place.link(&dev.value) {
            return name.clone();
        }
        let foreign = place.links.iter().filter(|(_, link)| link.owner.is_none());
        let text = format!(
            "link {}, by which connections to {} are to arrive, does not exist yet: apply again once it does \
             (there are: {})",
            dev.value,
            publication.to.value,
            listed(foreign.map(|(name, _)| name))
        );
        self.remark(ns, text);
        dev.value.clone()
    }

    /// An address that all of it is mapped of is not the namespace's own any more.
    fn tell_of_own_address(&mut self, ns: &Ns, publication: &model::Publication) {
        let Some(address) = publication.address else {
            return;
        };
        let place = self.place(ns);
        let own = place.links.iter().find(|(_, link)| {
            let mut addresses = link.addresses.iter();
            link.owner.is_none() && addresses.any(|own| own.addr() == address.value)
        });
        if let Some((link, _)) = own {
            let (ip, to) = (address.value, publication.to.value);
            let text = format!(
                "{ip}, an address of {link}, leads to {to} from now on: {} is not reached by it any more, only by its \
                 other addresses",
                called(ns)
            );
            self.remark(ns, text);
        }
    }
}

/// The gateway link that leads to a publication's target.
fn target<'g>(
    gateways: &'g Gateways,
    publication: &model::Publication,
) -> Option<(&'g LinkName, &'g GatewayLink)> {
    let to = publication.to.value;
    let mut links = gateways.get(&publication.ns.value)?.iter();
    links.find(|(_, link)| {
        let mut prefixes = link.prefixes.iter();
        link.members.contains(&to) && prefixes.any(|prefix| prefix.contains(&to))
    })
}

fn no_gateway(publication: &model::Publication) -> Diagnostic {
    let (ns, to) = (&publication.ns.value, publication.to);
    let message = format!(
        "no link of {} is a gateway that leads to {}",
        called(ns),
        to.value
    );
    let help = format!(
        "give the gateway's address of its subnet to a link of `{ns}`, or publish it where that is"
    );
    Diagnostic::new(message, to.span, help)
}

/// What a publication is in the gateway's table, a place each that it is served from.
fn lowered(
    publication: &model::Publication,
    behind: &LinkName,
    served: Vec<Arrival>,
) -> Vec<Publication> {
    let (service, port) = match publication.what {
        Published::Everything => (Service::All, None),
        Published::Ports {
            protocol,
            ports,
            to,
        } => {
            let Ports { from, to: last } = ports.value;
            let service = Service::Ports {
                protocol: protocol.number(),
                from,
                to: last,
            };
            (service, to)
        }
    };
    let one = |arrival, address| Publication {
        arrival,
        address,
        service,
        to: publication.to.value,
        port,
        behind: behind.clone(),
    };
    let address = publication.address.map(|address| address.value);
    let localhost = publication.localhost.map(|_| {
        let address = Some(Ipv4Addr::LOCALHOST.into());
        one(Arrival::Here, address)
    });
    let all = served.into_iter().map(|arrival| one(arrival, address));
    all.chain(localhost).collect()
}

/// The links that must forward for what is published in a family: those that it arrives by, and those that it
/// leads to. It arrives by all gateway links, because members reach it too.
pub(super) fn ways<'g>(
    family: Family,
    links: &'g BTreeMap<LinkName, GatewayLink>,
    published: &'g BTreeSet<Publication>,
) -> BTreeSet<&'g LinkName> {
    let mut ways = BTreeSet::new();
    let of_family = published
        .iter()
        .filter(|publication| publication.family() == family);
    for publication in of_family {
        ways.insert(&publication.behind);
        match &publication.arrival {
            Arrival::Outside(link) => {
                ways.insert(link);
            }
            // Packets to 127.0.0.1 come by no link.
            Arrival::Here if publication.is_loopback() => {}
            Arrival::Here => {
                let of_family = links.iter().filter(|(_, link)| {
                    let mut prefixes = link.prefixes.iter();
                    prefixes.any(|prefix| Family::of(prefix.addr()) == family)
                });
                ways.extend(of_family.map(|(name, _)| name));
            }
        }
    }
    ways
}
