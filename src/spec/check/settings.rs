//! Sysctls: whether they are about links that there are, and leave to `forwarding` what is its own.

use std::collections::BTreeMap;

use crate::resource::link::IPV6_MIN_MTU;
use crate::resource::name::LinkName;
use crate::resource::sysctl::{FORCED, SysctlKey};
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Forwarding, Namespace, NextHop, Setting, Spec};
use crate::spec::source::Span;

/// Checks the sysctls of each namespace.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    let mut ends: BTreeMap<&Ns, Vec<&End>> = BTreeMap::new();
    for end in spec.ends() {
        ends.entry(&end.ns.value).or_default().push(end);
    }
    let named = spec.namespaces.iter();
    let named = named.map(|(name, namespace)| (Ns::Named(name.clone()), namespace));
    let host = spec.host.iter().map(|namespace| (Ns::Host, namespace));
    for (ns, namespace) in named.chain(host) {
        let ends = ends.get(&ns).map_or(&[][..], Vec::as_slice);
        for setting in &namespace.sysctls {
            if spec.is_found(&ns) {
                borrowed(setting, &ns, found);
            } else {
                link(setting, &ns, ends, found);
            }
            without_ipv6(setting, ends, found);
            if let Some(family) = forwards(&setting.key.value) {
                forwarding(setting, family, spec.is_found(&ns), namespace, found);
            }
        }
        ipv6(namespace, ends, found);
    }
}

/// The family whose forwarding a sysctl is about.
fn forwards(key: &SysctlKey) -> Option<Family> {
    let of_default = key.of_default().filter(|(_, name)| *name == "forwarding");
    key.switch()
        .or(key.forwarding_of_link())
        .or(of_default.map(|(family, _)| family))
        .or(forces(key).then_some(Family::Ipv6))
}

/// Whether a sysctl makes links forward IPv6 though the namespace doesn't.
fn forces(key: &SysctlKey) -> bool {
    let of_many = key.of_all().or(key.of_default());
    key.is_forced() || of_many == Some((Family::Ipv6, FORCED))
}

/// A sysctl of a link is of one that the namespace has.
fn link(setting: &Setting, ns: &Ns, ends: &[&End], found: &mut Findings) {
    let SysctlKey::Conf { link, .. } = &setting.key.value else {
        return;
    };
    let names = ends.iter().map(|end| end.name.value.as_str()).chain(["lo"]);
    if names.clone().any(|name| name == link.as_str()) {
        return;
    }
    let help = match nearest(link.as_str(), names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its links are: {}", names.collect::<Vec<_>>().join(", ")),
    };
    let message = format!("namespace {ns} has no link `{link}`");
    found.error(message, setting.key.span, help);
}

/// A sysctl of IPv6 is of a link that has it.
fn without_ipv6(setting: &Setting, ends: &[&End], found: &mut Findings) {
    let SysctlKey::Conf {
        family: Family::Ipv6,
        link,
        name,
    } = &setting.key.value
    else {
        return;
    };
    let Some(end) = ends.iter().find(|end| end.name.value == *link) else {
        return;
    };
    if end.mtu < IPV6_MIN_MTU {
        let message = format!("`{link}` has an MTU of {}, so it has no IPv6", end.mtu);
        let help = format!("IPv6 needs at least {IPV6_MIN_MTU}");
        let diagnostic = Diagnostic::new(message, setting.key.span, help);
        found.push(diagnostic.also(end.name.span, "the link"));
    } else if name == "mtu" {
        // `addrconf_notify` of `net/ipv6/addrconf.c`.
        let message = format!(
            "`{}` doesn't last: it is the link's MTU again each time that `{link}` gets a carrier",
            setting.key.value
        );
        let help = "say `mtu` of the link, or of a route";
        let diagnostic = Diagnostic::new(message, setting.key.span, help);
        found.push(diagnostic.also(end.name.span, "the link"));
    }
}

/// What would change more of a namespace of others than can be given back.
fn borrowed(setting: &Setting, ns: &Ns, found: &mut Findings) {
    let key = &setting.key.value;
    if key.is_for_every_link() && key.switch().is_none() {
        let whose = match ns {
            Ns::Host => "the host".to_owned(),
            Ns::Named(name) => format!("`{name}`"),
        };
        let message = format!("`{key}` changes every link of {whose}, and can't be given back");
        let help = "set it for the links that need it";
        found.error(message, setting.key.span, help);
    }
}

/// Whether packets are forwarded is said with `forwarding`.
fn forwarding(
    setting: &Setting,
    family: Family,
    borrowed: bool,
    namespace: &Namespace,
    found: &mut Findings,
) {
    let key = &setting.key.value;
    let said = namespace.forwarding;
    let on = said.is_some_and(|said| said.value.covers(family));
    let agrees = match key {
        // Switched off it leaves all to the switch.
        _ if forces(key) && setting.value.value == "0" => true,
        // Links that are made later would forward, though nothing says so.
        _ if borrowed && key.of_default() == Some((Family::Ipv6, FORCED)) => false,
        // The host's links may forward without the host, but be kept from it only by the host.
        SysctlKey::Conf { .. } if borrowed => setting.value.value == "1",
        _ if borrowed => on && setting.value.value == "1",
        _ => setting.value.value == if on { "1" } else { "0" },
    };
    if agrees {
        return;
    }
    let written = format!("`{key}: {}`", setting.value.value);
    let message = match said {
        Some(_) => format!("{written} contradicts `forwarding`"),
        None => format!("{written} is for `forwarding` to say, and that isn't there"),
    };
    let wish = match (family, said.map(|said| said.value)) {
        (Family::Ipv4, None | Some(Forwarding::Off)) => "ipv4",
        (Family::Ipv6, None | Some(Forwarding::Off)) => "ipv6",
        _ => "true",
    };
    let help = if setting.value.value == "1" {
        format!("write `forwarding: {wish}` instead")
    } else {
        "remove it".to_owned()
    };
    let mut diagnostic = Diagnostic::new(message, setting.key.span, help);
    if let Some(said) = said {
        diagnostic = diagnostic.also(said.span, "`forwarding`");
    }
    found.push(diagnostic);
}

/// A link with an IPv6 address, or in the way of an IPv6 route, has IPv6.
fn ipv6(namespace: &Namespace, ends: &[&End], found: &mut Findings) {
    let setting = |key: &SysctlKey| {
        let mut settings = namespace.sysctls.iter();
        settings.find(|setting| setting.key.value == *key)
    };
    let name = "disable_ipv6";
    let of_all = setting(&SysctlKey::of_links(Family::Ipv6, "all", name));
    let of_default = setting(&SysctlKey::of_links(Family::Ipv6, "default", name));
    let off = |link: &LinkName| {
        let of_link = setting(&SysctlKey::conf(Family::Ipv6, link.clone(), name));
        // `lo` is there before any setting.
        let of_default = of_default.filter(|_| link.as_str() != "lo");
        let of_any = of_link.or(of_default).or(of_all);
        of_any.filter(|off| off.value.value != "0")
    };
    let mut tell = |off: &Setting, link: &LinkName, what: &str, at: Span| {
        let message = format!(
            "`{}: {}` leaves `{link}` no IPv6, and it {what} of it",
            off.key.value, off.value.value
        );
        let diagnostic = Diagnostic::new(message, off.key.span, "remove one of the two");
        let label = what.replace("has an", "the").replace("has a", "the");
        found.push(diagnostic.also(at, label));
    };
    for end in ends {
        let mut addresses = end.addresses.iter();
        let address = addresses.find(|address| address.value.addr().is_ipv6());
        let link = &end.name.value;
        if let (Some(off), Some(address)) = (off(link), address) {
            tell(off, link, "has an address", address.span);
        }
    }
    for route in &namespace.routes {
        let dev = |hop: &NextHop| {
            let needs_ipv6 = hop
                .via
                .map_or(route.to.value.addr(), |via| via.value)
                .is_ipv6();
            hop.dev.clone().filter(|_| needs_ipv6)
        };
        for dev in route.hops().iter().filter_map(dev) {
            if let Some(off) = off(&dev.value) {
                tell(off, &dev.value, "has a route", dev.span);
            }
        }
    }
}
