//! The ways out, where they begin.

use std::collections::HashMap;
use std::net::IpAddr;

use super::allow;
use super::ends::unusable;
use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::spec::Spec;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Nat, Subnet};
use crate::spec::source::{Span, Spanned};

/// Checks the ways out of all subnets.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    let mut gateways: HashMap<IpAddr, Vec<&Subnet>> = HashMap::new();
    for subnet in spec.subnets.values() {
        check_source(subnet, found);
        check_loopback(subnet, found);
        if let Some(gateway) = &subnet.gateway {
            gateways.entry(gateway.value).or_default().push(subnet);
        }
    }
    let mut links: HashMap<&Ns, Vec<&LinkName>> = HashMap::new();
    for end in spec.ends() {
        links
            .entry(&end.ns.value)
            .or_default()
            .push(&end.name.value);
    }
    for end in spec.ends() {
        let held = end
            .addresses
            .iter()
            .filter_map(|address| gateways.get(&address.value.addr()));
        let held: Vec<&Subnet> = held.flatten().copied().collect();
        for subnet in &held {
            let dev = subnet
                .egress
                .as_ref()
                .and_then(|egress| egress.dev.as_ref());
            if let Some(dev) = dev.filter(|dev| !is_loopback(dev)) {
                check_dev(dev, end, subnet, &links, spec, found);
            }
        }
        agree(&held, &end.name.value, spec, found);
    }
}

/// Checks whether the subnets behind a link agree, each family for itself.
pub(in crate::spec) fn agree(held: &[&Subnet], link: &LinkName, spec: &Spec, found: &mut Findings) {
    for family in Family::BOTH {
        let of_family = |subnet: &&&Subnet| Family::of(subnet.cidr.value.addr()) == family;
        let held: Vec<&Subnet> = held.iter().filter(of_family).copied().collect();
        check_agreement(&held, link, found);
        allow::check_neighbours(&held, link, spec, found);
    }
}

/// What is wrong with a subnet that leaves by the link it comes in by.
pub(in crate::spec) fn turns_back(subnet: &Subnet, link: &LinkName, at: Span) -> Diagnostic {
    let subnet = &subnet.name.value;
    let message = format!("`{link}` is where `{subnet}` comes in, so it can't leave there");
    Diagnostic::new(message, at, "name the link that leads out")
}

/// Whether a link is a namespace's `lo`.
fn is_loopback(dev: &Spanned<LinkName>) -> bool {
    dev.value.as_str() == "lo"
}

/// Nothing leaves by `lo`, which every namespace has.
fn check_loopback(subnet: &Subnet, found: &mut Findings) {
    let egress = subnet.egress.as_ref();
    let dev = egress.and_then(|egress| egress.dev.as_ref());
    if let Some(dev) = dev.filter(|dev| is_loopback(dev)) {
        let message = format!(
            "`lo` leads nowhere, so `{}` can't leave by it",
            subnet.name.value
        );
        found.error(message, dev.span, "name the link that leads out");
    }
}

/// The address that sources are rewritten to is of the subnet's family, and one that can be a source.
fn check_source(subnet: &Subnet, found: &mut Findings) {
    let Some(Nat::Source(ip)) = subnet.egress.as_ref().map(|egress| egress.nat) else {
        return;
    };
    let [own, other] = [subnet.cidr.value.addr(), ip.value].map(Family::of);
    if own != other {
        let name = &subnet.name.value;
        let message = format!("`{name}` is {own}, and {} is {other}", ip.value);
        let help = format!("name an {own} address, or write `masquerade: true` instead");
        let diagnostic = Diagnostic::new(message, ip.span, help);
        found.push(diagnostic.also(subnet.cidr.span, "its prefix"));
    } else if let Some(why) = unusable(ip.value) {
        let message = format!("nothing can be sent from {}: {why}", ip.value);
        found.error(message, ip.span, "name an address that comes back to here");
    }
}

/// The way out of a gateway leads over another link of its namespace.
fn check_dev(
    dev: &Spanned<LinkName>,
    holder: &End,
    subnet: &Subnet,
    links: &HashMap<&Ns, Vec<&LinkName>>,
    spec: &Spec,
    found: &mut Findings,
) {
    let (ns, name) = (&holder.ns.value, &dev.value);
    if *name == holder.name.value {
        let diagnostic = turns_back(subnet, name, dev.span);
        found.push(diagnostic.also(holder.name.span, "the link that has the gateway"));
        return;
    }
    let port = spec
        .ends()
        .find(|end| end.ns.value == *ns && end.name.value == *name);
    if let Some(bridge) = port.and_then(|end| end.bridge.as_ref()) {
        let message = format!(
            "`{name}` is a port, so what leaves by it leaves by `{}`",
            bridge.value
        );
        let diagnostic = Diagnostic::new(message, dev.span, format!("name `{}`", bridge.value));
        found.push(diagnostic.also(bridge.span, "its bridge"));
        return;
    }
    // What others made has links that no topology speaks of.
    let here = links.get(ns).map_or(&[][..], Vec::as_slice);
    if spec.is_found(ns) || here.contains(&name) {
        return;
    }
    let others = here.iter().filter(|link| ***link != holder.name.value);
    let help = match nearest(name.as_str(), others.map(|link| link.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("name a link of `{ns}`, where the gateway is"),
    };
    let diagnostic = Diagnostic::new(format!("`{ns}` has no link `{name}`"), dev.span, help);
    found.push(diagnostic.also(holder.name.span, "the link that has the gateway"));
}

/// What comes in by one link is told apart by its family only.
fn check_agreement(held: &[&Subnet], link: &LinkName, found: &mut Findings) {
    let Some((first, rest)) = held.split_first() else {
        return;
    };
    let way = |subnet: &Subnet| {
        let egress = subnet.egress.as_ref();
        egress.map(|egress| {
            (
                egress.dev.as_ref().map(|dev| dev.value.clone()),
                match egress.nat {
                    Nat::Masquerade => Some(None),
                    Nat::Source(ip) => Some(Some(ip.value)),
                    Nat::None => None,
                },
                egress.inbound,
            )
        })
    };
    let allowed = allow::by_subnet(first);
    for other in rest
        .iter()
        .filter(|other| allow::by_subnet(other) != allowed)
    {
        let message = format!(
            "`{}` and `{}` are behind one link, `{link}`, but what they allow differs",
            first.name.value, other.name.value
        );
        let help = "give both the same `allow`, or each a link of its own";
        let diagnostic = Diagnostic::new(message, other.name.span, help);
        found.push(diagnostic.also(first.name.span, "the other"));
    }
    for other in rest.iter().filter(|other| way(other) != way(first)) {
        let message = format!(
            "`{}` and `{}` are behind one link, `{link}`, but their ways out differ",
            first.name.value, other.name.value
        );
        let place = |subnet: &Subnet| {
            subnet
                .egress
                .as_ref()
                .map_or(subnet.name.span, |egress| egress.span)
        };
        let help = "give both the same `egress`, or each a link of its own";
        let diagnostic = Diagnostic::new(message, place(other), help);
        found.push(diagnostic.also(place(first), "the other"));
    }
}
