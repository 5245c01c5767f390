//! Sysctls: whether they are about links that there are, and leave to `forwarding` what is its own.

use std::collections::BTreeMap;

use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Forwarding, Namespace, Setting, Spec};

/// Checks the sysctls of each namespace.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    let mut ends: BTreeMap<&Ns, Vec<&End>> = BTreeMap::new();
    for end in spec.veths.iter().flat_map(|veth| &veth.ends) {
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

/// A link with an IPv6 address has IPv6.
fn ipv6(namespace: &Namespace, ends: &[&End], found: &mut Findings) {
    let setting = |key: &SysctlKey| {
        let mut settings = namespace.sysctls.iter();
        settings.find(|setting| setting.key.value == *key)
    };
    let name = "disable_ipv6";
    let of_all = setting(&SysctlKey::of_links(Family::Ipv6, "all", name));
    let of_default = setting(&SysctlKey::of_links(Family::Ipv6, "default", name));
    for end in ends {
        let of_link = setting(&SysctlKey::conf(Family::Ipv6, end.name.value.clone(), name));
        let Some(off) = of_link
            .or(of_default)
            .or(of_all)
            .filter(|off| off.value.value != "0")
        else {
            continue;
        };
        let mut addresses = end.addresses.iter();
        if let Some(address) = addresses.find(|address| address.value.addr().is_ipv6()) {
            let message = format!(
                "`{}: {}` leaves `{}` no IPv6, and it has an address of it",
                off.key.value, off.value.value, end.name.value
            );
            let diagnostic = Diagnostic::new(message, off.key.span, "remove one of the two");
            found.push(diagnostic.also(address.span, "the address"));
        }
    }
}
