//! The ends of veths: names and addresses.

use std::collections::HashMap;
use std::net::IpAddr;

use super::subnets::edge;
use crate::resource::Ns;
use crate::resource::name::LinkName;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::{End, Veth};
use crate::spec::source::Span;

/// Checks every end by itself and beside the others.
pub(super) fn check(veths: &[Veth], found: &mut Findings) {
    let mut names: HashMap<(&Ns, &LinkName), Span> = HashMap::new();
    for veth in veths {
        for end in &veth.ends {
            check_name(end, &mut names, found);
            for address in &end.addresses {
                let ip = address.value.addr();
                let net = address.value.beside().next();
                let peer = address.value.peer();
                let net = net.filter(|_| peer.is_none());
                if let Some(why) = unusable(ip) {
                    let message = format!("{ip} can't be an address of a link: {why}");
                    found.error(message, address.span, "choose a unicast address");
                } else if let Some((peer, why)) =
                    peer.and_then(|peer| Some((peer, unusable(peer)?)))
                {
                    let message = format!("{peer} can't be the peer of an address: {why}");
                    found.error(message, address.span, "name the address of the other end");
                } else if let Some(why) = net.and_then(|net| edge(net, ip)) {
                    let message = format!("{ip} can't be an address of a link: {why}");
                    found.error(message, address.span, "choose an address in between");
                }
            }
        }
        check_addresses(veth, found);
    }
}

/// A name stands for one link of a namespace.
fn check_name<'v>(
    end: &'v End,
    names: &mut HashMap<(&'v Ns, &'v LinkName), Span>,
    found: &mut Findings,
) {
    let (ns, name) = (&end.ns.value, &end.name.value);
    if name.as_str() == "lo" {
        let message = "a veth end can't be called `lo`: every namespace has a link of that name";
        found.error(message, end.name.span, "choose another name");
        return;
    }
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

/// An address belongs to one host of a layer-2 network, and the two ends of a veth are one.
fn check_addresses(veth: &Veth, found: &mut Findings) {
    let mut seen: HashMap<IpAddr, (usize, Span)> = HashMap::new();
    for (index, end) in veth.ends.iter().enumerate() {
        for address in &end.addresses {
            let ip = address.value.addr();
            let Some((other, first)) = seen.get(&ip) else {
                seen.insert(ip, (index, address.span));
                continue;
            };
            let message = if *other == index {
                format!("`{}` has the address {ip} twice", end.name.value)
            } else {
                format!("both ends of a veth have the address {ip}")
            };
            let diagnostic = Diagnostic::new(message, address.span, "remove it, or choose another");
            found.push(diagnostic.also(*first, "here it is first"));
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
