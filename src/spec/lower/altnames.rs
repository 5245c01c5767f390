//! The other names that links of the host and of external namespaces go by (`altname` of `man 8 ip-link`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{called, listed};
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::nearest;
use crate::spec::model::{Namespace, NextHop, Route, Rule, Setting, Spec, Subnet, Target};
use crate::spec::source::Span;
use crate::state::{Facts, Place};

/// A spec whose routes, rules, sysctls and ways out call the links that others made by their own names.
///
/// # Errors
///
/// The links to be made whose names others go by, and references too long for a name that no link goes by.
pub(super) fn resolved<'s>(
    spec: &'s Spec,
    facts: &Facts,
) -> Result<Cow<'s, Spec>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut renames: BTreeMap<(&Ns, LinkName), LinkName> = BTreeMap::new();
    let external = spec.namespaces.values().map(|namespace| &namespace.ns);
    let external = external.filter(|ns| spec.is_found(ns));
    let holders = holders(spec);
    for ns in std::iter::once(&Ns::Host).chain(external) {
        let Some(place) = facts.place(ns) else {
            continue;
        };
        errors.extend(taken(spec, ns, place));
        let made: BTreeSet<&LinkName> = made(spec, ns).map(|(name, _)| name).collect();
        for (name, at) in references(spec, ns, &holders) {
            if made.contains(name) || place.links.contains_key(name) {
                continue;
            }
            if let Some((own, _)) = place.link(name) {
                renames.insert((ns, name.clone()), own.clone());
            } else if name.is_altname() {
                errors.push(unknown(ns, name, at, place));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if renames.is_empty() {
        return Ok(Cow::Borrowed(spec));
    }
    let mut resolved = spec.clone();
    rename(&mut resolved, &renames, &holders);
    Ok(Cow::Owned(resolved))
}

/// The links that the topology makes in a namespace.
fn made<'s>(spec: &'s Spec, ns: &Ns) -> impl Iterator<Item = (&'s LinkName, Span)> {
    spec.ends()
        .filter(move |end| end.ns.value == *ns && end.is_made())
        .map(|end| (&end.name.value, end.name.span))
}

/// The kernel has no link of a name that another one goes by (`netdev_name_in_use` of `net/core/dev.c`).
fn taken(spec: &Spec, ns: &Ns, place: &Place) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for (name, at) in made(spec, ns).filter(|(name, _)| !place.links.contains_key(*name)) {
        if let Some((own, _)) = place.link(name) {
            let message = format!("`{own}` of {} goes by the name `{name}` too", called(ns));
            let help = format!(
                "choose another name, or take it away: `ip link property del dev {own} altname {name}`"
            );
            errors.push(Diagnostic::new(message, at, help));
        }
    }
    errors
}

fn unknown(ns: &Ns, name: &LinkName, at: Span, place: &Place) -> Diagnostic {
    let links = place.links.values();
    let altnames = links.flat_map(|link| link.altnames.iter().map(String::as_str));
    let help = if let Some(near) = nearest(name.as_str(), altnames) {
        format!("did you mean `{near}`?")
    } else {
        let foreign = place.links.iter().filter(|(_, link)| link.owner.is_none());
        format!("its links are: {}", listed(foreign.map(|(name, _)| name)))
    };
    let message = format!("no link of {} goes by the name `{name}`", called(ns));
    Diagnostic::new(message, at, help)
}

/// Where the spec refers to links of a namespace, but for the entries of `links` and what is a port of them.
pub(super) fn references<'s>(
    spec: &'s Spec,
    ns: &Ns,
    holders: &BTreeMap<IpAddr, Ns>,
) -> Vec<(&'s LinkName, Span)> {
    let mut all = Vec::new();
    if let Some(namespace) = spec.entry(ns) {
        let hops = namespace.routes.iter().flat_map(Route::hops);
        let rules = namespace.rules.iter();
        let named = hops
            .filter_map(|hop| hop.dev.as_ref())
            .chain(rules.flat_map(|rule| rule.iif.iter().chain(&rule.oif)));
        all.extend(named.map(|name| (&name.value, name.span)));
        for Setting { key, .. } in &namespace.sysctls {
            if let SysctlKey::Conf { link, .. } = &key.value {
                all.push((link, key.span));
            }
        }
    }
    let subnets = spec.subnets.values();
    for subnet in subnets.filter(|subnet| holder(subnet, holders) == ns) {
        let dev = subnet.egress.iter().find_map(|egress| egress.dev.as_ref());
        all.extend(dev.map(|dev| (&dev.value, dev.span)));
    }
    let published = spec.publish.iter();
    let published = published.filter(|publication| publication.ns.value == *ns);
    let devs = published.filter_map(|publication| publication.dev.as_ref());
    all.extend(devs.map(|dev| (&dev.value, dev.span)));
    all
}

/// Gives links that others made their own names, in the places of [`references`].
fn rename(
    spec: &mut Spec,
    renames: &BTreeMap<(&Ns, LinkName), LinkName>,
    holders: &BTreeMap<IpAddr, Ns>,
) {
    let own = |ns: &Ns, name: &mut LinkName| {
        if let Some(own) = renames.get(&(ns, name.clone())) {
            name.clone_from(own);
        }
    };
    for Namespace {
        ns,
        routes,
        rules,
        sysctls,
        ..
    } in spec.namespaces.values_mut().chain(&mut spec.host)
    {
        for route in routes {
            if let Target::Unicast(hops) = &mut route.target {
                for dev in hops
                    .iter_mut()
                    .filter_map(|NextHop { dev, .. }| dev.as_mut())
                {
                    own(ns, &mut dev.value);
                }
            }
        }
        for Rule { iif, oif, .. } in rules {
            for link in iif.iter_mut().chain(oif) {
                own(ns, &mut link.value);
            }
        }
        for Setting { key, .. } in sysctls {
            if let SysctlKey::Conf { link, .. } = &mut key.value {
                own(ns, link);
            }
        }
    }
    for subnet in spec.subnets.values_mut() {
        let ns = holder(subnet, holders);
        let egress = subnet.egress.as_mut();
        if let Some(dev) = egress.and_then(|egress| egress.dev.as_mut()) {
            own(ns, &mut dev.value);
        }
    }
    for publication in &mut spec.publish {
        if let Some(dev) = &mut publication.dev {
            own(&publication.ns.value, &mut dev.value);
        }
    }
}

/// The namespaces of the addresses that links of the spec have.
pub(super) fn holders(spec: &Spec) -> BTreeMap<IpAddr, Ns> {
    let addresses = |end: &crate::spec::model::End| {
        let ns = end.ns.value.clone();
        let ips = end.addresses.iter().map(|address| address.value.addr());
        ips.map(|ip| (ip, ns.clone())).collect::<Vec<_>>()
    };
    spec.ends().flat_map(addresses).collect()
}

/// The namespace that holds a subnet's gateway; the host, if the spec doesn't say.
pub(super) fn holder<'h>(subnet: &Subnet, holders: &'h BTreeMap<IpAddr, Ns>) -> &'h Ns {
    let gateway = subnet.gateway.as_ref();
    gateway
        .and_then(|gateway| holders.get(&gateway.value))
        .unwrap_or(&Ns::Host)
}
