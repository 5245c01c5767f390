//! Which default routes the namespaces get, and whether they can have them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::resource::address::Held;
use crate::resource::{Family, Ns};
use crate::spec::Spec;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{End, Gateway, Gateways, Namespace, Subnet};
use crate::spec::prefixes::Index;
use crate::spec::source::{Span, Spanned};

/// The addresses of a namespace, each with its link.
type Addresses<'s> = Vec<(&'s Spanned<Held>, &'s End)>;

/// Checks the gateways of all namespaces.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    let mut addresses: BTreeMap<&Ns, Addresses> = BTreeMap::new();
    let mut holders: HashMap<IpAddr, Vec<(&End, Span)>> = HashMap::new();
    for end in spec.ends() {
        for address in &end.addresses {
            addresses
                .entry(&end.ns.value)
                .or_default()
                .push((address, end));
            holders
                .entry(address.value.addr())
                .or_default()
                .push((end, address.span));
        }
    }
    for subnet in spec.subnets.values() {
        check_holder(subnet, &holders, found);
    }
    let index: Index<&Subnet> = spec
        .subnets
        .values()
        .map(|subnet| (subnet.cidr.value, subnet))
        .collect();
    let named = spec
        .namespaces
        .iter()
        .map(|(name, said)| (Ns::Named(name.clone()), Some(said)));
    for (ns, said) in named.chain([(Ns::Host, spec.host.as_ref())]) {
        let addresses = addresses.get(&ns).map_or(&[][..], Vec::as_slice);
        let here = Here { ns: &ns, addresses };
        match said.and_then(|said| said.gateway.as_ref()) {
            Some(Gateways::None) => {}
            Some(Gateways::Through(gateways)) => here.check_said(gateways, spec, found),
            // Whether the host takes an offer, or an external one, depends on the default route it has.
            None if spec.is_found(&ns) => {}
            None => here.check_offered(said, &index, found),
        }
    }
}

/// A gateway is one link of one namespace.
fn check_holder(
    subnet: &Subnet,
    holders: &HashMap<IpAddr, Vec<(&End, Span)>>,
    found: &mut Findings,
) {
    let Some(gateway) = &subnet.gateway else {
        return;
    };
    let Some([(first, at), rest @ ..]) = holders.get(&gateway.value).map(Vec::as_slice) else {
        return;
    };
    let (name, ip) = (&subnet.name.value, gateway.value);
    let ns = &first.ns.value;
    if let Some((other, second)) = rest.iter().find(|(end, _)| end.ns.value != *ns) {
        let other = &other.ns.value;
        let message = format!("`{ns}` and `{other}` both have {ip}, the gateway of `{name}`");
        let help = "a gateway is in one namespace: choose another address here, or there";
        found.push(Diagnostic::new(message, *second, help).also(*at, "the other"));
    } else if let Some((other, second)) = rest
        .iter()
        .find(|(end, _)| end.name.value != first.name.value)
    {
        let links = (&first.name.value, &other.name.value);
        let message = format!(
            "`{}` and `{}` of `{ns}` both have {ip}, the gateway of `{name}`",
            links.0, links.1
        );
        let help = "a gateway is one link: give each pair a subnet of its own, or plug them into a bridge that has the gateway";
        found.push(Diagnostic::new(message, *second, help).also(*at, "the other"));
    }
}

/// A namespace and its addresses.
struct Here<'s> {
    ns: &'s Ns,
    addresses: &'s [(&'s Spanned<Held>, &'s End)],
}

impl Here<'_> {
    /// Whether an address is one of its own.
    fn holds(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|(address, _)| address.value.addr() == ip)
    }

    /// The default routes that the namespace says it gets.
    fn check_said(&self, gateways: &[Spanned<Gateway>], spec: &Spec, found: &mut Findings) {
        let ns = self.ns;
        let mut seen: BTreeMap<Family, Span> = BTreeMap::new();
        for gateway in gateways {
            let at = gateway.span;
            let Some(ip) = address(gateway, spec, found) else {
                continue;
            };
            let family = Family::of(ip);
            if let Some(first) = seen.insert(family, at) {
                let message = format!("`{ns}` gets two default routes of {family}");
                let help = format!("keep one for {family}");
                found.push(Diagnostic::new(message, at, help).also(first, "the other"));
            } else if self.holds(ip) {
                let message = format!("`{ns}` has the address {ip} itself");
                found.error(message, at, "name the gateway of another subnet, or `none`");
            } else if let Some(why) = super::ends::unusable(ip) {
                let message = format!("the gateway can't be {ip}: {why}");
                found.error(message, at, "choose a unicast address");
            } else {
                self.check_reach(gateway, ip, spec, found);
            }
        }
    }

    /// Says so when a gateway that the namespace names isn't reached by a link that is up.
    fn check_reach(
        &self,
        gateway: &Spanned<Gateway>,
        ip: IpAddr,
        spec: &Spec,
        found: &mut Findings,
    ) {
        let (ns, at) = (self.ns, gateway.span);
        let cidr = match &gateway.value {
            Gateway::Subnet(name) => spec.subnets.get(name).map(|subnet| subnet.cidr.value),
            Gateway::Address(_) => None,
        };
        let leading = self.addresses.iter().filter(|(_, end)| !end.is_loopback());
        let reaching = leading.filter(|(address, end)| match cidr {
            Some(cidr) => cidr.contains(&address.value.addr()) && reaches(end, ip),
            None => address.value.contains(&ip),
        });
        let ends: Vec<&End> = reaching.map(|(_, end)| *end).collect();
        match ends.first() {
            None => {
                let message = format!("no address of `{ns}` reaches the gateway {ip}");
                let help = format!("give a link of `{ns}` an address beside {ip}");
                found.error(message, at, help);
            }
            Some(first) if ends.iter().all(|end| !end.up) => {
                let message = format!("`{ns}` reaches the gateway {ip} by a link that is down");
                let help = "name another gateway, or `none`";
                let diagnostic = Diagnostic::new(message, at, help);
                found.push(diagnostic.also(first.name.span, "the link"));
            }
            Some(_) => {}
        }
    }

    /// The default routes that its subnets bring.
    fn check_offered(
        &self,
        said: Option<&Namespace>,
        index: &Index<&Subnet>,
        found: &mut Findings,
    ) {
        let mut offers: BTreeMap<Family, Vec<(&Subnet, IpAddr, Span, &End)>> = BTreeMap::new();
        let leading = self.addresses.iter();
        for (address, end) in leading.filter(|(_, end)| end.up && !end.is_loopback()) {
            for subnet in index.around(address.value.addr()) {
                let Some(gateway) = &subnet.gateway else {
                    continue;
                };
                let offers = offers.entry(Family::of(gateway.value)).or_default();
                let known = offers.iter().any(|(other, ..)| other.name == subnet.name);
                if !known && !self.holds(gateway.value) {
                    offers.push((subnet, gateway.value, address.span, end));
                }
            }
        }
        for (family, offers) in &offers {
            match offers.as_slice() {
                [] => {}
                [(_, gateway, _, end)] if reaches(end, *gateway) => {}
                [(subnet, gateway, at, _)] => {
                    let length = subnet.cidr.value.prefix_len();
                    let message = format!("this address doesn't reach the gateway {gateway}");
                    let here = self.addresses.iter().map(|(address, _)| *address);
                    let mut here = here.filter(|address| address.span == *at);
                    let help = if here.any(|address| address.value.peer().is_some()) {
                        format!("give it the peer {gateway}, or its namespace `gateway: none`")
                    } else {
                        format!("give it the length {length}, or its namespace `gateway: none`")
                    };
                    let diagnostic = Diagnostic::new(message, *at, help);
                    found.push(diagnostic.also(subnet.name.span, "the subnet"));
                }
                [(subnet, _, at, _), ..] => {
                    let ns = self.ns;
                    let message = format!(
                        "`{ns}` is offered {} default routes of {family}",
                        offers.len()
                    );
                    let at = said.map_or(*at, |said| said.span);
                    let name = &subnet.name.value;
                    let help = format!("choose: `gateway: {name}` in its entry, or `none`");
                    let mut diagnostic = Diagnostic::new(message, at, help);
                    for (subnet, gateway, at, _) in offers.iter().take(4) {
                        let text = format!("by `{}`, through {gateway}", subnet.name.value);
                        diagnostic = diagnostic.also(*at, text);
                    }
                    found.push(diagnostic);
                }
            }
        }
    }
}

/// Whether a link has an address beside a gateway.
fn reaches(end: &End, gateway: IpAddr) -> bool {
    end.addresses
        .iter()
        .any(|address| address.value.contains(&gateway))
}

/// The address that a gateway means.
fn address(gateway: &Spanned<Gateway>, spec: &Spec, found: &mut Findings) -> Option<IpAddr> {
    let at = gateway.span;
    let name = match &gateway.value {
        Gateway::Address(ip) => return Some(*ip),
        Gateway::Subnet(name) => name,
    };
    let Some(subnet) = spec.subnets.get(name) else {
        let known = spec.subnets.keys().map(AsRef::as_ref);
        let near = if found.is_full() {
            None
        } else {
            nearest(name.as_str(), known.chain(["none"]))
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name one of `subnets`, an address, or `none`".to_owned(),
        };
        found.error(format!("there is no subnet `{name}`"), at, help);
        return None;
    };
    if subnet.gateway.is_none() {
        let message = format!("the subnet `{name}` has no gateway");
        let help = "name its gateway's address here, or add `gateway: IP` there";
        found.push(Diagnostic::new(message, at, help).also(subnet.name.span, "the subnet"));
    }
    subnet.gateway.as_ref().map(|gateway| gateway.value)
}
