//! Publications: whether they lead anywhere, and whether two of them are about the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::ends::unusable;
use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::spec::Spec;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Ports, Publication, Published, Subnet, Transport};
use crate::spec::prefixes::Index;
use crate::spec::source::Span;

/// Checks all publications.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    if spec.publish.is_empty() {
        return;
    }
    let mut links: HashMap<&Ns, Vec<&LinkName>> = HashMap::new();
    let mut holders: HashMap<IpAddr, Vec<&End>> = HashMap::new();
    for end in spec.ends() {
        let of_namespace = links.entry(&end.ns.value).or_default();
        of_namespace.push(&end.name.value);
        for address in &end.addresses {
            holders.entry(address.value.addr()).or_default().push(end);
        }
    }
    let index: Index<&Subnet> = spec
        .subnets
        .values()
        .map(|subnet| (subnet.cidr.value, subnet))
        .collect();
    for publication in &spec.publish {
        check_address(publication, found);
        check_dev(publication, &links, spec, found);
        let known = Known {
            holders: &holders,
            subnets: &index,
        };
        if let Some(diagnostic) = known.unreachable(publication) {
            found.push(diagnostic);
        }
    }
    check_conflicts(&spec.publish, found);
}

/// The address is one that something can be sent to.
fn check_address(publication: &Publication, found: &mut Findings) {
    let Some(address) = publication.address else {
        return;
    };
    if let Some(why) = unusable(address.value) {
        let message = format!("{} can't be published: {why}", address.value);
        let help = if address.value.is_loopback() {
            "write `localhost: true` instead"
        } else {
            "name an address that comes here"
        };
        found.error(message, address.span, help);
    }
}

/// The link is one of the namespace, where the spec knows them all.
fn check_dev(
    publication: &Publication,
    links: &HashMap<&Ns, Vec<&LinkName>>,
    spec: &Spec,
    found: &mut Findings,
) {
    let ns = &publication.ns.value;
    let Some(dev) = publication.dev.as_ref().filter(|_| !spec.is_found(ns)) else {
        return;
    };
    let here = links.get(ns).map_or(&[][..], Vec::as_slice);
    if here.contains(&&dev.value) {
        return;
    }
    let near = if found.is_full() {
        None
    } else {
        nearest(dev.value.as_str(), here.iter().map(|link| link.as_str()))
    };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("name a link of `{ns}`"),
    };
    let message = format!("`{ns}` has no link `{}`", dev.value);
    found.error(message, dev.span, help);
}

/// What the spec knows of addresses.
struct Known<'s, 'i> {
    holders: &'i HashMap<IpAddr, Vec<&'s End>>,
    subnets: &'i Index<&'s Subnet>,
}

impl Known<'_, '_> {
    fn holders(&self, ip: IpAddr) -> &[&End] {
        self.holders.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// Why nothing leads to the target of a publication from its namespace.
    fn unreachable(&self, publication: &Publication) -> Option<Diagnostic> {
        let (ns, to) = (&publication.ns.value, publication.to);
        let holders = self.holders(to.value);
        if holders.is_empty() {
            let message = format!("nobody here has {}", to.value);
            let help = "name an address of a member, or give it to one";
            return Some(Diagnostic::new(message, to.span, help));
        }
        if let Some(own) = holders.iter().find(|end| end.ns.value == *ns) {
            let message = format!("{} is an address of `{ns}` itself", to.value);
            let help =
                "a publication leads from one namespace to another: name an address of a member";
            let diagnostic = Diagnostic::new(message, to.span, help);
            return Some(diagnostic.also(own.name.span, "the link that has it"));
        }
        let mut subnets = self.subnets.around(to.value);
        subnets.retain(|subnet| subnet.gateway.is_some());
        let Some(first) = subnets.first() else {
            let message = format!("{} is in no subnet with a gateway", to.value);
            let help = format!(
                "publications go through gateways: declare its subnet with `gateway: IP`, an address that a link of \
                 `{ns}` has"
            );
            return Some(Diagnostic::new(message, to.span, help));
        };
        let mut elsewhere = None;
        for subnet in &subnets {
            let gateway = subnet.gateway.map_or(to.value, |gateway| gateway.value);
            let holder = self.holders(gateway).first()?;
            if holder.ns.value == *ns {
                return None;
            }
            elsewhere = elsewhere.or(Some(holder));
        }
        let holder = elsewhere?;
        let (name, at) = (&first.name.value, &holder.ns.value);
        let message = format!(
            "the gateway of `{name}` is in `{at}`, so `{ns}` can't publish {}",
            to.value
        );
        let help = format!("write `namespace: {at}`: what is published is where the gateway is");
        let diagnostic = Diagnostic::new(message, to.span, help);
        Some(diagnostic.also(holder.name.span, "the gateway"))
    }
}

/// Where connections arrive, as far as the spec says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'s> {
    /// At an address.
    At(IpAddr),
    /// At any address, by a link.
    By(&'s LinkName),
    /// At any address, by the link that the subnet leaves by.
    Usual,
}

/// Ports of a publication.
type Claim = (Ports, Span);

/// Says so where two publications are about the same.
fn check_conflicts(publications: &[Publication], found: &mut Findings) {
    let mut ports: BTreeMap<(&Ns, Family, Transport, Place), Vec<Claim>> = BTreeMap::new();
    let mut whole: BTreeMap<(&Ns, IpAddr), Span> = BTreeMap::new();
    for publication in publications {
        let (ns, family) = (&publication.ns.value, publication.family());
        match (publication.what, &publication.address, &publication.dev) {
            (Published::Everything, Some(address), _) => {
                if let Some(first) = whole.insert((ns, address.value), address.span) {
                    let message = format!("{} of `{ns}` is mapped twice", address.value);
                    let help = "an address leads to one member: choose another here, or there";
                    let diagnostic = Diagnostic::new(message, address.span, help);
                    found.push(diagnostic.also(first, "the other"));
                }
            }
            (Published::Everything, None, _) => {}
            (
                Published::Ports {
                    protocol,
                    ports: at,
                    ..
                },
                address,
                dev,
            ) => {
                let place = match (address, dev) {
                    (Some(address), _) => Place::At(address.value),
                    (None, Some(dev)) => Place::By(&dev.value),
                    (None, None) => Place::Usual,
                };
                let claims = ports.entry((ns, family, protocol, place)).or_default();
                claims.push((at.value, at.span));
                if let Some(localhost) = publication.localhost {
                    let place = Place::At(Ipv4Addr::LOCALHOST.into());
                    let claims = ports.entry((ns, family, protocol, place)).or_default();
                    claims.push((at.value, localhost));
                }
            }
        }
    }
    let mut told: HashSet<(Span, Span)> = HashSet::new();
    for ((ns, _, protocol, place), mut claims) in ports {
        claims.sort_by_key(|(ports, span)| (*ports, span.source, span.start));
        let mut furthest: Option<Claim> = None;
        for (ports, span) in claims {
            if let Some((other, first)) = furthest.filter(|(other, _)| other.to >= ports.from) {
                let (later, earlier) = if (span.source, span.start) < (first.source, first.start) {
                    ((other, first), (ports, span))
                } else {
                    ((ports, span), (other, first))
                };
                if told.insert((later.1, earlier.1)) {
                    found.push(published_twice(ns, protocol, place, later, earlier));
                }
            }
            if furthest.is_none_or(|(other, _)| ports.to >= other.to) {
                furthest = Some((ports, span));
            }
        }
    }
}

fn published_twice(
    ns: &Ns,
    protocol: Transport,
    place: Place,
    (ports, span): Claim,
    (other, first): Claim,
) -> Diagnostic {
    let common = Ports {
        from: ports.from.max(other.from),
        to: ports.to.min(other.to),
    };
    let what = format!("{} {common}", protocol.name());
    let (message, help) = match place {
        Place::At(ip) => (
            format!("{what} of {ip} is published twice in `{ns}`"),
            "choose another port here, or there",
        ),
        Place::By(dev) => (
            format!("{what} is published twice on `{dev}` of `{ns}`"),
            "choose another port, or tell the two apart by `address`",
        ),
        Place::Usual => (
            format!("{what} is published twice in `{ns}`"),
            "choose another port, or tell the two apart by `address` or `dev`",
        ),
    };
    Diagnostic::new(message, span, help).also(first, "the other")
}
