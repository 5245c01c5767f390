//! What iptables says of address translation.

use std::net::IpAddr;

use super::super::codec::ip_of;
use super::blob::{u16_at, u32_at};
use crate::resource::Family;
use crate::state::{Matches, Meaning};

/// `RTN_LOCAL` as a bit of the match `addrtype` (`linux/netfilter/xt_addrtype.h`).
const LOCAL: u16 = 1 << libc::RTN_LOCAL;

/// `NF_NAT_RANGE_MAP_IPS` and `NF_NAT_RANGE_PROTO_SPECIFIED` of `linux/netfilter/nf_nat.h`.
const ADDRESS: u32 = 1;
const PORT: u32 = 2;
/// `NF_NAT_RANGE_PROTO_OFFSET` and `NF_NAT_RANGE_NETMAP`: the port, or the address, depends on the packet's.
const SHIFTS: u32 = 1 << 5 | 1 << 6;

/// Takes in what a match asks. None: it isn't understood.
pub(in crate::kernel) fn asks(
    name: &str,
    revision: u32,
    data: &[u8],
    matches: &mut Matches,
) -> Option<()> {
    let number = |at| u16_at(data, at);
    match (name, revision) {
        // `struct xt_tcp`, `struct xt_udp`: ports from and to, of the source and of the destination.
        ("tcp" | "udp", 0) => {
            let rest = if name == "tcp" { 8..12 } else { 8..9 };
            let nothing_else = data.get(rest)?.iter().all(|byte| *byte == 0);
            let any_source = (number(0)?, number(2)?) == (0, u16::MAX);
            (nothing_else && any_source).then_some(())?;
            let ports = (number(4)?, number(6)?);
            if ports != (0, u16::MAX) {
                matches.ports = Some(ports);
            }
        }
        // `struct xt_addrtype_info_v1`: of the source, of the destination, flags.
        ("addrtype", 1) => {
            let local = (number(0)?, number(2)?) == (0, LOCAL);
            (local && data.get(4..8)? == [0; 4]).then_some(())?;
            matches.local = true;
        }
        _ => return None,
    }
    Some(())
}

/// What a target translates. None: it doesn't.
pub(in crate::kernel) fn translates(
    name: &str,
    family: Option<Family>,
    data: &[u8],
) -> Option<Meaning> {
    match name {
        "MASQUERADE" => Some(Meaning::Masquerade),
        "SNAT" | "DNAT" => {
            let range = family.and_then(|family| range(family, data));
            Some(match (name, range) {
                ("SNAT", Some((ip, None))) => Meaning::Source(ip),
                ("DNAT", Some((ip, port))) => Meaning::Destination(ip, port),
                _ => Meaning::Other,
            })
        }
        "REDIRECT" | "NETMAP" => Some(Meaning::Other),
        _ => None,
    }
}

/// The address and the port of a range that has one of each: `struct nf_nat_ipv4_multi_range_compat`, or, which is
/// larger, `struct nf_nat_range` and `struct nf_nat_range2`.
fn range(family: Family, data: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let compact = data.len() < 40;
    let (start, size) = if compact { (4, 4) } else { (0, 16) };
    let flags = u32_at(data, start)?;
    let ip = |at: usize| {
        let bytes = data.get(at..at + size)?;
        ip_of(match family {
            Family::Ipv4 => &bytes[..4],
            Family::Ipv6 => bytes,
        })
    };
    let port = |at| u16_at(data, at).map(u16::from_be);
    let first = start + 4;
    let ports = first + 2 * size;
    let one = ip(first)? == ip(first + size)? && flags & ADDRESS != 0 && flags & SHIFTS == 0;
    let to_port = (flags & PORT != 0).then(|| (port(ports), port(ports + 2)));
    match to_port {
        _ if !one => None,
        None => Some((ip(first)?, None)),
        Some((first_port, last_port)) if first_port == last_port => {
            Some((ip(first)?, Some(first_port?)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_one_address_is_that_address() {
        let mut compact = 1_u32.to_ne_bytes().to_vec();
        compact.extend(3_u32.to_ne_bytes());
        compact.extend([10, 0, 0, 2, 10, 0, 0, 2]);
        compact.extend([0, 80, 0, 80, 0, 0, 0, 0]);
        let web = IpAddr::from([10, 0, 0, 2]);
        let found = translates("DNAT", Some(Family::Ipv4), &compact);
        assert_eq!(found, Some(Meaning::Destination(web, Some(80))));
        let mut several = compact.clone();
        several[15] = 3;
        let found = translates("DNAT", Some(Family::Ipv4), &several);
        assert_eq!(found, Some(Meaning::Other));

        let mut range = 1_u32.to_ne_bytes().to_vec();
        for _ in 0..2 {
            range.extend([10, 0, 0, 2]);
            range.extend([0; 12]);
        }
        range.extend([0; 8]);
        let found = translates("SNAT", Some(Family::Ipv4), &range);
        assert_eq!(found, Some(Meaning::Source(web)));
        for length in 0..range.len() {
            translates("DNAT", Some(Family::Ipv6), &range[..length]);
        }
    }

    #[test]
    fn ports_are_taken_in_and_what_else_is_asked_is_not_passed_over() {
        let mut data = Vec::new();
        for port in [0_u16, u16::MAX, 80, 90] {
            data.extend(port.to_ne_bytes());
        }
        data.extend([0; 4]);
        let mut matches = Matches::default();
        assert_eq!(asks("tcp", 0, &data, &mut matches), Some(()));
        assert_eq!(matches.ports, Some((80, 90)));
        data[11] = 1;
        assert_eq!(asks("tcp", 0, &data, &mut matches), None);
        assert_eq!(asks("tcp", 0, &data[..8], &mut matches), None);
    }
}
