//! What subnets allow each other.

use std::collections::BTreeMap;

use crate::resource::Family;
use crate::resource::name::{LinkName, SubnetName};
use crate::spec::Spec;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{Allow, End, Ports, Services, Subnet};

/// Checks what each subnet allows.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    for subnet in spec.subnets.values() {
        let mut seen: BTreeMap<&SubnetName, &Allow> = BTreeMap::new();
        for allow in &subnet.allow {
            if let Some(first) = seen.insert(&allow.subnet.value, allow) {
                let message = format!("`{}` is allowed twice", allow.subnet.value);
                let help = "write all that is allowed to it in one item";
                let diagnostic = Diagnostic::new(message, allow.subnet.span, help);
                found.push(diagnostic.also(first.subnet.span, "the first"));
            } else if let Some(diagnostic) = wrong(spec, subnet, allow) {
                found.push(diagnostic);
            }
        }
    }
}

/// What is wrong with an item.
fn wrong(spec: &Spec, subnet: &Subnet, allow: &Allow) -> Option<Diagnostic> {
    let (name, at) = (&allow.subnet.value, allow.subnet.span);
    let Some(other) = spec.subnets.get(name) else {
        let known = spec.subnets.keys().map(SubnetName::as_str);
        let help = match nearest(name.as_str(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it below `subnets`".to_owned(),
        };
        let message = format!("there is no subnet `{name}`");
        return Some(Diagnostic::new(message, at, help));
    };
    if *name == subnet.name.value {
        let message = format!("`{name}` can't be allowed to itself");
        let help = "its members reach each other without their gateway; remove this item";
        return Some(Diagnostic::new(message, at, help));
    }
    let [own, others] = [subnet, other].map(|subnet| Family::of(subnet.cidr.value.addr()));
    if own != others {
        let message = format!(
            "`{}` is {own} and `{name}` is {others}, so no connection leads from one to the other",
            subnet.name.value
        );
        let help = format!("name the {own} subnet of that network, or remove this item");
        let diagnostic = Diagnostic::new(message, at, help);
        return Some(diagnostic.also(other.cidr.span, "its prefix"));
    }
    let missing = |of: &Subnet| {
        let message = format!(
            "`{}` has no gateway, and it is gateways that let connections from one subnet to another",
            of.name.value
        );
        let help = "add `gateway: IP` to it, an address that a link of `host` or of a router has";
        Diagnostic::new(message, at, help).also(of.name.span, "the subnet")
    };
    let (Some(from), Some(to)) = (&subnet.gateway, &other.gateway) else {
        let of = if subnet.gateway.is_none() {
            subnet
        } else {
            other
        };
        return Some(missing(of));
    };
    let holders = [from, to].map(|gateway| {
        let holds = |end: &&End| {
            let mut addresses = end.addresses.iter();
            addresses.any(|address| address.value.addr() == gateway.value)
        };
        spec.ends().find(holds)
    });
    let [Some(a), Some(b)] = holders else {
        return None;
    };
    (a.ns.value != b.ns.value).then(|| {
        let message = format!(
            "the gateway of `{}` is in `{}` and that of `{name}` in `{}`, so neither lets \
             connections all the way through",
            subnet.name.value, a.ns.value, b.ns.value
        );
        let help = "`allow` is between subnets whose gateways are in one namespace; from router to router \
                    there are `routes`";
        let diagnostic = Diagnostic::new(message, at, help);
        let diagnostic = diagnostic.also(a.name.span, "the one gateway");
        diagnostic.also(b.name.span, "the other gateway")
    })
}

/// What a subnet allows, in an order that says nothing.
pub(super) fn by_subnet(subnet: &Subnet) -> BTreeMap<&SubnetName, Services> {
    let allow = subnet.allow.iter();
    allow
        .map(|allow| (&allow.subnet.value, sorted(&allow.services)))
        .collect()
}

fn sorted(services: &Services) -> Services {
    match services {
        Services::All => Services::All,
        Services::Some { tcp, udp, icmp } => {
            let [tcp, udp] = [tcp, udp].map(|ports| {
                let mut ports: Vec<Ports> = ports.clone();
                ports.sort_unstable();
                ports
            });
            Services::Some {
                tcp,
                udp,
                icmp: *icmp,
            }
        }
    }
}

/// What is allowed to one of several subnets behind a link is allowed to all: connections are told apart by
/// links.
pub(super) fn check_neighbours(
    held: &[&Subnet],
    link: &LinkName,
    spec: &Spec,
    found: &mut Findings,
) {
    if held.len() < 2 {
        return;
    }
    for subnet in spec.subnets.values() {
        let allowed = by_subnet(subnet);
        let Some(item) = subnet.allow.iter().find(|allow| {
            held.iter()
                .any(|held| held.name.value == allow.subnet.value)
        }) else {
            continue;
        };
        let first = allowed.get(&item.subnet.value);
        let others = held
            .iter()
            .filter(|held| held.name.value != subnet.name.value);
        for other in others.filter(|other| allowed.get(&other.name.value) != first) {
            let message = format!(
                "`{}` and `{}` are behind one link, `{link}`, so what is allowed to one is allowed to both",
                item.subnet.value, other.name.value
            );
            let help = format!(
                "allow the same to `{}`, or give each a link of its own",
                other.name.value
            );
            let diagnostic = Diagnostic::new(message, item.subnet.span, help);
            found.push(diagnostic.also(other.name.span, "the other"));
        }
    }
}
