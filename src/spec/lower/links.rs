//! Links and what is on them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Lowering, called, listed, mac};
use crate::resource::address::{Address, AddressKey};
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{IPV6_MIN_MTU, Link, LinkKind, bridge};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::port::Port;
use crate::resource::{Key, Ns, Resource};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model::{End, Spec};
use crate::spec::source::{Span, Spanned};
use crate::state::{Facts, Place, PlaceLink};

impl Lowering<'_> {
    pub(super) fn links(&mut self) {
        let spec = self.spec;
        for veth in &spec.veths {
            let [first, second] = &veth.ends;
            for (end, other) in [(first, second), (second, first)] {
                let peer = Peer {
                    ns: other.ns.value.clone(),
                    name: other.name.value.clone(),
                };
                self.link(end, LinkKind::Veth(Veth { peer: Some(peer) }));
            }
        }
        for link in &spec.links {
            if let Some(kind) = &link.kind {
                self.link(&link.end, kind.clone());
            } else {
                self.port(&link.end);
                self.addresses(&link.end);
            }
        }
    }

    fn link(&mut self, end: &End, kind: LinkKind) {
        let ns = &end.ns.value;
        let name = &end.name.value;
        let mac = end.mac.as_ref().map_or_else(
            || mac::derived(&self.facts.machine.id, self.topology, ns, name),
            |mac| mac.value,
        );
        let link = Link {
            kind,
            up: end.up,
            mtu: Some(end.mtu),
            mac: Some(mac),
            master: end.bridge.as_ref().map(|bridge| bridge.value.clone()),
            tagged: true,
        };
        self.put(ns, Key::Link(name.clone()), Resource::Link(link));
        self.addresses(end);
    }

    /// That a link which exists already is a port.
    fn port(&mut self, end: &End) {
        if let Some(bridge) = &end.bridge {
            let port = Port {
                master: bridge.value.clone(),
            };
            let key = Key::Port(end.name.value.clone());
            self.put(&end.ns.value, key, Resource::Port(port));
        }
    }

    /// The addresses of a link. Those of IPv4 stand in the order written.
    fn addresses(&mut self, end: &End) {
        let mut place = 0;
        for address in &end.addresses {
            let link = end.name.value.clone();
            let ip = address.value.addr();
            let mut resource = Address::of(&address.value);
            if ip.is_ipv4() {
                resource.place = place;
                place += 1;
            }
            let key = Key::Address(AddressKey { link, ip });
            self.put(&end.ns.value, key, Resource::Address(resource));
        }
    }
}

/// A spec whose existing links are called by their own names, with the MTU that they have.
///
/// # Errors
///
/// The links that there are not, and bridges that are none.
pub(super) fn known<'s>(spec: &'s Spec, facts: &Facts) -> Result<Cow<'s, Spec>, Vec<Diagnostic>> {
    let concerned =
        |end: &End| spec.is_found(&end.ns.value) && (!end.is_made() || end.bridge.is_some());
    if !spec.ends().any(concerned) {
        return Ok(Cow::Borrowed(spec));
    }
    let mut errors = Vec::new();
    let mut resolved = spec.clone();
    for link in resolved
        .links
        .iter_mut()
        .filter(|link| concerned(&link.end))
    {
        if let Some(place) = facts.place(&link.end.ns.value) {
            existing(&mut link.end, place, &spec.name.value, &mut errors);
        }
    }
    errors.extend(twice(&resolved));
    let made = spec
        .ends()
        .filter(|end| spec.is_found(&end.ns.value) && end.is_made());
    let made: BTreeSet<(&Ns, &LinkName)> =
        made.map(|end| (&end.ns.value, &end.name.value)).collect();
    let of_pairs = resolved.veths.iter_mut().flat_map(|veth| &mut veth.ends);
    let ends = of_pairs.chain(resolved.links.iter_mut().map(|link| &mut link.end));
    for end in ends.filter(|end| spec.is_found(&end.ns.value)) {
        let ns = &end.ns.value;
        if let Some(bridge) = &mut end.bridge
            && let Some(place) = facts.place(ns)
            && !made.contains(&(ns, &bridge.value))
        {
            existing_bridge(ns, bridge, place, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(Cow::Owned(resolved))
    } else {
        Err(errors)
    }
}

/// The links of others that are written once by one name, and once by another.
fn twice(resolved: &Spec) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<(&Ns, &LinkName), Span> = BTreeMap::new();
    let mut errors = Vec::new();
    let ends = resolved.links.iter().map(|link| &link.end);
    for end in ends.filter(|end| resolved.is_found(&end.ns.value)) {
        let link = (&end.ns.value, &end.name.value);
        if let Some(first) = seen.insert(link, end.name.span) {
            let message = format!("two entries are of the link `{}`", end.name.value);
            let diagnostic = Diagnostic::new(message, end.name.span, "make one entry of them");
            errors.push(diagnostic.also(first, "the other"));
        }
    }
    errors
}

/// Has a link that others made be called by its own name.
fn existing(end: &mut End, place: &Place, topology: &TopologyName, errors: &mut Vec<Diagnostic>) {
    if end.is_made() {
        return;
    }
    let Some((name, link)) = place.link(&end.name.value) else {
        let message = format!("{} has no link `{}`", called(&end.ns.value), end.name.value);
        let names = place.links.iter().filter(|(_, link)| link.owner.is_none());
        let help = format!(
            "its links are: {}; with `bridge: {{}}`, for example, it is made",
            listed(names.map(|(name, _)| name))
        );
        errors.push(Diagnostic::new(message, end.name.span, help));
        return;
    };
    end.name.value = name.clone();
    end.mtu = link.mtu;
    let mut addresses = end.addresses.iter();
    let ipv6 = addresses.find(|address| address.value.addr().is_ipv6());
    if let Some(address) = ipv6.filter(|_| link.mtu < IPV6_MIN_MTU) {
        let message = format!("`{name}` has an MTU of {}, so it has no IPv6", link.mtu);
        let help = format!("IPv6 needs at least {IPV6_MIN_MTU}: remove the address");
        errors.push(Diagnostic::new(message, address.span, help));
    }
    if let Some(bridge) = &end.bridge
        && let Some((message, help)) = unfit(name, link, topology)
    {
        errors.push(Diagnostic::new(message, bridge.span, help));
    }
}

/// Why a link that exists already can't become a port, and what to do: what the kernel would refuse
/// (`br_add_if` of `net/bridge/br_if.c`), and what would be undone by somebody else.
fn unfit(name: &LinkName, link: &PlaceLink, topology: &TopologyName) -> Option<(String, String)> {
    if link.owner.as_ref() == Some(topology) {
        let message = format!("this topology made `{name}`, and without its kind it goes");
        let help = "say its kind too, or name a link that others made".to_owned();
        Some((message, help))
    } else if let Some(owner) = &link.owner {
        let message = format!("topology {owner} made `{name}`, and says what it is a port of");
        let help = format!("write `bridge` in the spec of {owner}");
        Some((message, help))
    } else if link.kind == bridge::NAME {
        let message = format!("`{name}` is a bridge itself, and a bridge can't be a port");
        let help =
            "join them with a veth: one end is a port of the one, the other end of the other";
        Some((message, help.to_owned()))
    } else if !link.ethernet {
        let message = format!("`{name}` has no Ethernet frames, so it can't be a port of a bridge");
        Some((message, "remove it, and route what comes by it".to_owned()))
    } else {
        None
    }
}

/// Has a bridge that others made be called by its own name.
fn existing_bridge(
    ns: &Ns,
    bridge: &mut Spanned<LinkName>,
    place: &Place,
    errors: &mut Vec<Diagnostic>,
) {
    let is_bridge = |link: &PlaceLink| link.kind == bridge::NAME;
    let names = place.links.iter().filter(|(_, link)| is_bridge(link));
    let mut names = names.map(|(name, _)| name).peekable();
    let help = if names.peek().is_some() {
        format!("its bridges are: {}", listed(names))
    } else {
        let name = &bridge.value;
        format!("make it: `links: {{ {name}: {{ bridge: {{}} }} }}` in the entry of `{ns}`")
    };
    let message = match place.link(&bridge.value) {
        Some((name, link)) if is_bridge(link) => {
            bridge.value = name.clone();
            return;
        }
        Some(_) => format!(
            "`{}` is no bridge, so nothing can be a port of it",
            bridge.value
        ),
        None => format!("{} has no bridge `{}`", called(ns), bridge.value),
    };
    errors.push(Diagnostic::new(message, bridge.span, help));
}
