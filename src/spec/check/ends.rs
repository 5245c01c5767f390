//! Links: names and addresses, each by itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::subnets::edge;
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{End, Link, Veth};
use crate::spec::source::Span;

/// Checks every link by itself, and whether names are taken.
pub(super) fn check(veths: &[Veth], links: &[Link], found: &mut Findings) {
    let mut names: HashMap<(&Ns, &LinkName), Span> = HashMap::new();
    for end in veths.iter().flat_map(|veth| &veth.ends) {
        if end.is_loopback() {
            let message =
                "a veth end can't be called `lo`: every namespace has a link of that name";
            found.error(message, end.name.span, "choose another name");
        } else {
            check_name(end, &mut names, found);
        }
        check_addresses(end, found);
    }
    for Link { kind, end } in links {
        match kind {
            Some(_) if end.is_loopback() => {
                let message = "every namespace has a `lo`, so it can't be made";
                found.error(message, end.name.span, "choose another name");
            }
            Some(_) => check_name(end, &mut names, found),
            // On the host it may be looked for by another name, which is known later.
            None if end.ns.value == Ns::Host => check_name(end, &mut names, found),
            None => {}
        }
        check_addresses(end, found);
    }
}

/// Each address is one that a link can have.
fn check_addresses(end: &End, found: &mut Findings) {
    for address in &end.addresses {
        let (net, ip) = (address.value, address.value.addr());
        let unusable = unusable(ip).filter(|_| !(end.is_loopback() && ip.is_loopback()));
        if end.is_loopback() && (ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST) {
            let message = format!("every `lo` has {ip} already");
            found.error(message, address.span, "remove it");
        } else if let Some(why) = unusable {
            let message = format!("{ip} can't be an address of a link: {why}");
            found.error(message, address.span, "choose a unicast address");
        } else if let Some(why) = edge(net, ip) {
            let message = format!("{ip} can't be an address of a link: {why}");
            found.error(message, address.span, "choose an address in between");
        }
    }
}

/// A name stands for one link of a namespace.
fn check_name<'v>(
    end: &'v End,
    names: &mut HashMap<(&'v Ns, &'v LinkName), Span>,
    found: &mut Findings,
) {
    let (ns, name) = (&end.ns.value, &end.name.value);
    match names.get(&(ns, name)) {
        Some(first) => {
            let message = format!("two links of `{ns}` are called `{name}`");
            let help = "choose another name for one of them";
            let diagnostic = Diagnostic::new(message, end.name.span, help);
            found.push(diagnostic.also(*first, "the other"));
        }
        None => {
            names.insert((ns, name), end.name.span);
        }
    }
}

/// Why an address can't be a link's.
pub(super) fn unusable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("it means no address")
    } else if ip.is_multicast() {
        Some("it is a multicast address")
    } else if ip.is_loopback() {
        Some("it is a loopback address")
    } else if ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        Some("it is the broadcast address of every network")
    } else {
        None
    }
}
