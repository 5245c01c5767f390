//! The links of a private host: its uplink, and what is on the other side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{
    AF_INET, AF_INET6, IFA_F_NODAD, IFF_UP, NLM_F_CREATE, NLM_F_EXCL, RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_SETLINK, RTN_UNICAST,
    RTPROT_STATIC,
};

use super::error::Error;
use crate::kernel::{Requests, Socket, ifa, ifla, rta};

/// The uplink of the host, and its addresses.
pub(super) const UPLINK: &str = "ens33";
const HOST: [(IpAddr, u8); 3] = [
    ipv4([192, 168, 95, 191]),
    ipv6(0xfd95, 0x191),
    ipv6(0xfe80, 0x191),
];

/// The other end of the uplink, and the addresses of the router that it is of.
pub(super) const WAN: &str = "wan";
const ROUTER: [(IpAddr, u8); 3] = [ipv4([192, 168, 95, 2]), ipv6(0xfd95, 2), ipv6(0xfe80, 2)];

/// Where the default routes of the host lead.
const GATEWAYS: [IpAddr; 2] = [ROUTER[0].0, ROUTER[1].0];

const fn ipv4([a, b, c, d]: [u8; 4]) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), 24)
}

const fn ipv6(network: u128, host: u128) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::from_bits(network << 112 | host)), 64)
}

/// The number of `lo`, as every namespace has it.
const LO: u32 = 1;

/// The numbers of the two ends: beyond those of tunnels that a new namespace may hold. They differ,
/// because the kernel takes its time with the carrier of a link whose peer has the same number.
const UPLINK_INDEX: u32 = 33;
const WAN_INDEX: u32 = 34;

/// Makes the uplink, from this namespace to another. Both ends are down.
pub(super) fn make(host: &Socket, internet: BorrowedFd<'_>) -> Result<(), Error> {
    let mut requests = Requests::default();
    {
        let mut request = requests.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        request.fixed(&link_header(UPLINK_INDEX, 0));
        request.put_text(ifla::IFNAME, UPLINK);
        request.nest(ifla::LINKINFO, |request| {
            request.put(ifla::INFO_KIND, b"veth");
            request.nest(ifla::INFO_DATA, |request| {
                request.nest(ifla::VETH_INFO_PEER, |request| {
                    request.fixed(&link_header(WAN_INDEX, 0));
                    request.put_text(ifla::IFNAME, WAN);
                    let ns = internet.as_raw_fd().cast_unsigned();
                    request.put_u32(ifla::NET_NS_FD, ns);
                });
            });
        });
    }
    send(host, requests, "make the uplink")
}

/// Raises `lo` and the far end of the uplink, with the addresses of the router and of `servers`.
pub(super) fn raise_internet(internet: &Socket, servers: &[IpAddr]) -> Result<(), Error> {
    let mut requests = Requests::default();
    raise(&mut requests, LO);
    for server in servers {
        let all = if server.is_ipv4() { 32 } else { 128 };
        add_address(&mut requests, LO, (*server, all));
    }
    for address in ROUTER {
        add_address(&mut requests, WAN_INDEX, address);
    }
    raise(&mut requests, WAN_INDEX);
    send(internet, requests, "raise the internet")
}

/// Raises `lo` and the uplink, with addresses and default routes.
pub(super) fn raise_host(host: &Socket) -> Result<(), Error> {
    let mut requests = Requests::default();
    raise(&mut requests, LO);
    for address in HOST {
        add_address(&mut requests, UPLINK_INDEX, address);
    }
    raise(&mut requests, UPLINK_INDEX);
    for gateway in GATEWAYS {
        add_default_route(&mut requests, gateway);
    }
    send(host, requests, "raise the uplink")
}

/// Has the kernel take notice of the carrier of an end, which it may put off otherwise.
pub(super) fn notice_carriers(host: &Socket, internet: &Socket) -> Result<(), Error> {
    for (socket, index) in [(host, UPLINK_INDEX), (internet, WAN_INDEX)] {
        let mut requests = Requests::default();
        requests
            .request(RTM_GETLINK, 0)
            .fixed(&link_header(index, 0));
        send(socket, requests, "look at the uplink")?;
    }
    Ok(())
}

fn raise(requests: &mut Requests, index: u32) {
    let mut request = requests.request(RTM_SETLINK, 0);
    request.fixed(&link_header(index, IFF_UP.cast_unsigned()));
}

/// Adds an address, which can be used at once: nobody else has it.
fn add_address(requests: &mut Requests, index: u32, (ip, prefix): (IpAddr, u8)) {
    let mut request = requests.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    // `struct ifaddrmsg`.
    let mut header = [family(ip), prefix, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    request.fixed(&header);
    request.put_ip(ifa::LOCAL, ip);
    request.put_ip(ifa::ADDRESS, ip);
    request.put_u32(ifa::FLAGS, if ip.is_ipv6() { IFA_F_NODAD } else { 0 });
}

fn add_default_route(requests: &mut Requests, gateway: IpAddr) {
    let mut request = requests.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    // `struct rtmsg`.
    request.fixed(&[
        family(gateway),
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        RT_SCOPE_UNIVERSE,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ]);
    request.put_ip(rta::GATEWAY, gateway);
    request.put_u32(rta::OIF, UPLINK_INDEX);
}

fn send(socket: &Socket, mut requests: Requests, step: &str) -> Result<(), Error> {
    let failed = socket
        .send(&mut requests, |_, _| {})
        .map_err(|e| Error::host(step, e))?;
    match failed.into_iter().next() {
        None => Ok(()),
        Some((_, verdict)) => {
            let why = std::io::Error::from_raw_os_error(verdict.errno);
            Err(match verdict.text {
                None => Error::host(step, why),
                Some(text) => Error::host(step, format!("{why}: {text}")),
            })
        }
    }
}

/// `struct ifinfomsg`, with flags to set.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { AF_INET } else { AF_INET6 };
    u8::try_from(family).expect("address families have small numbers")
}
