//! Links beside each other: bridges and their ports, links that exist, and layer-2 networks.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::resource::Ns;
use crate::resource::link::LinkKind;
use crate::resource::name::LinkName;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Link, Spec, Veth};
use crate::spec::segments::Segments;
use crate::spec::source::{Span, Spanned};

/// The links that a topology makes, by place: whether each joins its ports, and where it is named.
type Made<'s> = HashMap<(&'s Ns, &'s LinkName), (bool, &'s End)>;

/// Checks links with one end, ports, and the addresses of each layer-2 network.
///
/// `others` are the namespaces that others make, which have links that no topology speaks of.
pub(super) fn check(veths: &[Veth], links: &[Link], others: &HashSet<Ns>, found: &mut Findings) {
    let ends = veths.iter().flat_map(|veth| &veth.ends);
    let single = links.iter().map(|link| {
        let joins = link.kind.as_ref().is_some_and(LinkKind::joins);
        (joins, &link.end)
    });
    let all: Vec<(bool, &End)> = ends.map(|end| (false, end)).chain(single).collect();
    let made: Made<'_> = all
        .iter()
        .filter(|(_, end)| end.is_made())
        .map(|(joins, end)| ((&end.ns.value, &end.name.value), (*joins, *end)))
        .collect();
    let made_here = |link: &&Link| !others.contains(&link.end.ns.value);
    for link in links.iter().filter(made_here) {
        existing(link, &made, found);
    }
    for (_, end) in &all {
        if let Some(bridge) = &end.bridge {
            let found_there = others.contains(&end.ns.value);
            port(end, bridge, &made, found_there, found);
        }
    }
    addresses(veths, links, found);
}

/// In a namespace that the topology makes only `lo` exists already.
fn existing(link: &Link, made: &Made<'_>, found: &mut Findings) {
    let end = &link.end;
    let (Ns::Named(ns), name, false) = (&end.ns.value, &end.name.value, end.is_made()) else {
        return;
    };
    if name.as_str() == "lo" {
        return;
    }
    if let Some((_, other)) = made.get(&(&end.ns.value, name)) {
        let message =
            format!("`{name}` of `{ns}` is an end of a veth, so it has no entry in `links`");
        let help = "say it there";
        let diagnostic = Diagnostic::new(message, end.name.span, help);
        found.push(diagnostic.also(other.name.span, "the end"));
        return;
    }
    let message =
        format!("only `lo` exists in `{ns}` before the topology makes more, and no `{name}`");
    let help = format!("say of which kind it is: `{name}: {{ bridge: {{}} }}` for example");
    found.error(message, end.name.span, help);
}

/// What a link is a port of is a bridge beside it.
fn port(
    end: &End,
    bridge: &Spanned<LinkName>,
    made: &Made<'_>,
    found_there: bool,
    found: &mut Findings,
) {
    let (ns, name) = (&end.ns.value, &bridge.value);
    if *name == end.name.value {
        let message = format!("`{name}` can't be a port of itself");
        let help = "name a bridge; `bridge: {}` makes the link one";
        found.error(message, bridge.span, help);
        return;
    }
    if end.is_loopback() {
        let message = "`lo` has no Ethernet frames, so it can't be a port of a bridge";
        found.error(message, bridge.span, "remove it");
        return;
    }
    // That there is no such link is said already.
    if !end.is_made() && !found_there {
        return;
    }
    match made.get(&(ns, name)) {
        Some((true, _)) => return,
        Some((false, other)) => {
            let message = format!("`{name}` is no bridge, so nothing can be a port of it");
            let diagnostic = Diagnostic::new(message, bridge.span, "name a bridge");
            found.push(diagnostic.also(other.name.span, "the link"));
            return;
        }
        None => {}
    }
    if found_there {
        return;
    }
    let near = if found.is_full() {
        None
    } else {
        let here = made
            .iter()
            .filter(|((of, _), (joins, _))| *of == ns && *joins);
        nearest(name.as_str(), here.map(|((_, bridge), _)| bridge.as_str()))
    };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            format!("make it: `links: {{ {name}: {{ bridge: {{}} }} }}` in the entry of `{ns}`")
        }
    };
    found.error(format!("`{ns}` has no bridge `{name}`"), bridge.span, help);
}

/// An address belongs to one link of a layer-2 network.
fn addresses(veths: &[Veth], links: &[Link], found: &mut Findings) {
    let segments = Segments::of(veths, links);
    for segment in segments.all() {
        let mut seen: HashMap<IpAddr, (&End, Span)> = HashMap::new();
        for end in segment {
            for address in &end.addresses {
                let ip = address.value.addr();
                let Some((other, first)) = seen.get(&ip) else {
                    seen.insert(ip, (end, address.span));
                    continue;
                };
                let message = if std::ptr::eq(*other, *end) {
                    format!("`{}` has the address {ip} twice", end.name.value)
                } else if segment.len() == 2 && segment.iter().all(|end| end.bridge.is_none()) {
                    format!("both ends of a veth have the address {ip}")
                } else {
                    format!("two links of a layer-2 network have the address {ip}")
                };
                let help = "remove it, or choose another";
                let diagnostic = Diagnostic::new(message, address.span, help);
                found.push(diagnostic.also(*first, "here it is first"));
            }
        }
    }
}

/// The holder of a gateway is what its members' packets come in by.
pub(super) fn gateways(spec: &Spec, found: &mut Findings) {
    let gateways = spec.subnets.values().filter_map(|subnet| subnet.gateway);
    let gateways: HashMap<IpAddr, Span> = gateways.map(|ip| (ip.value, ip.span)).collect();
    for end in spec.ends() {
        let name = &end.name.value;
        for address in &end.addresses {
            let ip = address.value.addr();
            let Some(gateway) = gateways.get(&ip) else {
                continue;
            };
            let (message, help) = if let Some(bridge) = &end.bridge {
                let bridge = &bridge.value;
                (
                    format!(
                        "`{name}` is a port, so what comes for the gateway {ip} comes in by `{bridge}`"
                    ),
                    format!("give the address to `{bridge}`"),
                )
            } else if end.is_loopback() {
                (
                    format!("nobody is behind `lo`, so it can't hold the gateway {ip}"),
                    "give the address to the link that leads to the members".to_owned(),
                )
            } else {
                continue;
            };
            let diagnostic = Diagnostic::new(message, end.name.span, help);
            found.push(diagnostic.also(*gateway, "the gateway"));
        }
    }
}
