//! Subnets by themselves and beside each other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::ends::unusable;
use crate::resource::Family;
use crate::resource::name::SubnetName;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::Subnet;
use crate::spec::source::Span;

/// Checks each subnet.
pub(super) fn check(subnets: &BTreeMap<SubnetName, Subnet>, found: &mut Findings) {
    let mut in_order: Vec<&Subnet> = subnets.values().collect();
    in_order.sort_by_key(|subnet| subnet.name.span);
    let mut seen: HashMap<IpNet, Span> = HashMap::new();
    for subnet in in_order {
        let cidr = &subnet.cidr;
        let net = cidr.value;
        if net.trunc() != net {
            let message = format!("{net} has host bits, so it is no prefix");
            found.error(message, cidr.span, format!("write `{}`", net.trunc()));
        } else if let Some(why) = unusable(net.network()).filter(|_| net.prefix_len() > 0) {
            let message = format!("{net} can't be a subnet: {why}");
            found.error(message, cidr.span, "choose a prefix of unicast addresses");
        }
        match seen.get(&net.trunc()) {
            Some(first) => {
                let message = format!("two subnets have the prefix {}", net.trunc());
                let help = "remove one of them, or give it another prefix";
                found.push(Diagnostic::new(message, cidr.span, help).also(*first, "the other"));
            }
            None => {
                seen.insert(net.trunc(), cidr.span);
            }
        }
        if let Some(gateway) = &subnet.gateway {
            let (ip, at) = (gateway.value, gateway.span);
            if !net.contains(&ip) {
                let message = format!("the gateway {ip} lies outside of {}", net.trunc());
                let diagnostic = Diagnostic::new(message, at, "choose an address of the prefix");
                found.push(diagnostic.also(cidr.span, "the prefix"));
            } else if let Some(why) = edge(net, ip) {
                let message = format!("the gateway can't be {ip}: {why}");
                found.error(message, at, "choose another address of the prefix");
            } else if let Some(why) = unusable(ip) {
                let message = format!("the gateway can't be {ip}: {why}");
                found.error(message, at, "choose a unicast address");
            }
        } else if let Some(egress) = &subnet.egress {
            let message = format!("`{}` has a way out but no gateway", subnet.name.value);
            let help = "add `gateway: IP`, an address that a link of `host` or of a router has";
            found.error(message, egress.span, help);
        }
    }
}

/// Why an IPv4 address can't be a host's in a prefix: because it is the first or the last of it.
///
/// Prefixes of 31 and 32 bits have neither (RFC 3021), nor has IPv6.
pub(super) fn edge(net: IpNet, ip: IpAddr) -> Option<String> {
    if Family::of(ip) == Family::Ipv6 || net.prefix_len() >= 31 {
        None
    } else if ip == net.network() {
        Some(format!(
            "it is the network's own address in {}",
            net.trunc()
        ))
    } else if ip == net.broadcast() {
        Some(format!("it is the broadcast address of {}", net.trunc()))
    } else {
        None
    }
}
