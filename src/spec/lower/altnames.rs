//! The other names that links of the host go by (`altname` of `man 8 ip-link`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::listed;
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::nearest;
use crate::spec::model::{NextHop, Route, Rule, Setting, Spec, Subnet, Target};
use crate::spec::source::Span;
use crate::state::{Facts, HostLink};

/// A spec whose routes, rules, sysctls and ways out call the links of the host by their own names.
///
/// # Errors
///
/// The links to be made whose names others go by, and references too long for a name that no link goes by.
pub(super) fn resolved<'s>(
    spec: &'s Spec,
    facts: &Facts,
) -> Result<Cow<'s, Spec>, Vec<Diagnostic>> {
    let mut errors = taken(spec, facts);
    let made: BTreeSet<&LinkName> = made(spec).map(|(name, _)| name).collect();
    let mut renames: BTreeMap<LinkName, LinkName> = BTreeMap::new();
    for (name, at) in references(spec) {
        if made.contains(name) || facts.links.contains_key(name) {
            continue;
        }
        if let Some((own, _)) = find(name, facts) {
            renames.insert(name.clone(), own.clone());
        } else if name.is_altname() {
            errors.push(unknown(name, at, facts));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if renames.is_empty() {
        return Ok(Cow::Borrowed(spec));
    }
    let mut resolved = spec.clone();
    rename(&mut resolved, &renames);
    Ok(Cow::Owned(resolved))
}

/// A link of the host by its name, or by another name that it goes by.
pub(super) fn find<'f>(name: &LinkName, facts: &'f Facts) -> Option<(&'f LinkName, &'f HostLink)> {
    facts.links.get_key_value(name).or_else(|| {
        let mut links = facts.links.iter();
        links.find(|(_, link)| link.altnames.contains(name.as_str()))
    })
}

/// The links that the topology makes on the host.
fn made(spec: &Spec) -> impl Iterator<Item = (&LinkName, Span)> {
    spec.ends()
        .filter(|end| end.ns.value == Ns::Host && end.is_made())
        .map(|end| (&end.name.value, end.name.span))
}

/// The kernel has no link of a name that another one goes by (`netdev_name_in_use` of `net/core/dev.c`).
fn taken(spec: &Spec, facts: &Facts) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for (name, at) in made(spec).filter(|(name, _)| !facts.links.contains_key(*name)) {
        if let Some((own, _)) = find(name, facts) {
            let message = format!("`{own}` of the host goes by the name `{name}` too");
            let help = format!(
                "choose another name, or take it away: `ip link property del dev {own} altname {name}`"
            );
            errors.push(Diagnostic::new(message, at, help));
        }
    }
    errors
}

fn unknown(name: &LinkName, at: Span, facts: &Facts) -> Diagnostic {
    let links = facts.links.values();
    let altnames = links.flat_map(|link| link.altnames.iter().map(String::as_str));
    let foreign = facts.links.iter().filter(|(_, link)| link.owner.is_none());
    let help = match nearest(name.as_str(), altnames) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its links are: {}", listed(foreign.map(|(name, _)| name))),
    };
    let message = format!("no link of the host goes by the name `{name}`");
    Diagnostic::new(message, at, help)
}

/// Where the spec refers to links of the host, but for the entries of `links` and what is a port of them.
fn references(spec: &Spec) -> Vec<(&LinkName, Span)> {
    let mut all = Vec::new();
    if let Some(host) = &spec.host {
        let hops = host.routes.iter().flat_map(Route::hops);
        let rules = host.rules.iter();
        let named = hops
            .filter_map(|hop| hop.dev.as_ref())
            .chain(rules.flat_map(|rule| rule.iif.iter().chain(&rule.oif)));
        all.extend(named.map(|name| (&name.value, name.span)));
        for Setting { key, .. } in &host.sysctls {
            if let SysctlKey::Conf { link, .. } = &key.value {
                all.push((link, key.span));
            }
        }
    }
    let elsewhere = held_elsewhere(spec);
    let subnets = spec.subnets.values();
    for subnet in subnets.filter(|subnet| !is_held(subnet, &elsewhere)) {
        let dev = subnet.egress.iter().find_map(|egress| egress.dev.as_ref());
        all.extend(dev.map(|dev| (&dev.value, dev.span)));
    }
    all
}

/// Gives links of the host their own names, in the places of [`references`].
fn rename(spec: &mut Spec, renames: &BTreeMap<LinkName, LinkName>) {
    let own = |name: &mut LinkName| {
        if let Some(own) = renames.get(name) {
            name.clone_from(own);
        }
    };
    if let Some(host) = &mut spec.host {
        for route in &mut host.routes {
            if let Target::Unicast(hops) = &mut route.target {
                for dev in hops
                    .iter_mut()
                    .filter_map(|NextHop { dev, .. }| dev.as_mut())
                {
                    own(&mut dev.value);
                }
            }
        }
        for Rule { iif, oif, .. } in &mut host.rules {
            for link in iif.iter_mut().chain(oif) {
                own(&mut link.value);
            }
        }
        for Setting { key, .. } in &mut host.sysctls {
            if let SysctlKey::Conf { link, .. } = &mut key.value {
                own(link);
            }
        }
    }
    let elsewhere = held_elsewhere(spec);
    let subnets = spec.subnets.values_mut();
    for subnet in subnets.filter(|subnet| !is_held(subnet, &elsewhere)) {
        let egress = subnet.egress.as_mut();
        if let Some(dev) = egress.and_then(|egress| egress.dev.as_mut()) {
            own(&mut dev.value);
        }
    }
}

/// The addresses that links of the spec have in other namespaces than the host.
fn held_elsewhere(spec: &Spec) -> BTreeSet<IpAddr> {
    spec.ends()
        .filter(|end| end.ns.value != Ns::Host)
        .flat_map(|end| &end.addresses)
        .map(|address| address.value.addr())
        .collect()
}

/// Whether a subnet's gateway is one of these addresses.
fn is_held(subnet: &Subnet, held: &BTreeSet<IpAddr>) -> bool {
    subnet
        .gateway
        .is_some_and(|gateway| held.contains(&gateway.value))
}
