//! From resources to requests (`man 7 rtnetlink`).
//!
//! Links are told apart by their numbers, never by names, which may be somebody else's by now.

use std::net::IpAddr;
use std::os::fd::RawFd;

use libc::{
    IFA_F_NODAD, IFF_UP, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, RTM_DELADDR, RTM_DELLINK,
    RTM_DELROUTE, RTM_DELRULE, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_NEWRULE,
    RTM_SETLINK,
};

use super::codec::Request;
use super::error::Error;
use super::read::{ONLINK, SKIP_STATS, fra, ifa, ifla, number, rta};
use super::socket::Requests;
use super::tag::{GROUP, PROTOCOL};
use crate::resource::Family;
use crate::resource::address::{Address, AddressKey};
use crate::resource::link::{Link, MacAddress, Setting, veth};
use crate::resource::name::LinkName;
use crate::resource::route::{NextHop, Route, RouteKey, Target};
use crate::resource::rule::{Action, RuleKey};

/// One end of a pair that is to be made.
pub(super) struct End<'a> {
    /// The number it gets.
    pub(super) index: u32,
    pub(super) name: &'a LinkName,
    pub(super) link: Option<&'a Link>,
}

/// What to change of a link.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) up: Option<bool>,
    pub(super) mtu: Option<u32>,
    pub(super) mac: Option<MacAddress>,
    /// The number of the link it becomes a port of; 0 for none.
    pub(super) master: Option<u32>,
    pub(super) alias: Option<String>,
    pub(super) group: Option<u32>,
}

impl Change {
    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.up.is_none()
            && self.mtu.is_none()
            && self.mac.is_none()
            && self.master.is_none()
            && self.alias.is_none()
            && self.group.is_none()
    }
}

/// Makes a veth pair: one end here, the other in the namespace of a descriptor, or here too.
///
/// Both are down and without an alias, which the kernel doesn't take at creation, but carry our group
/// number. One queue each: the kernel would give one for each processor, which a veth has no use for.
pub(super) fn new_veth(
    requests: &mut Requests,
    here: &End<'_>,
    there: &End<'_>,
    ns: Option<RawFd>,
) {
    let mut request = requests.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    request.fixed(&link_header(here.index, 0, 0));
    born(&mut request, here);
    request.nest(ifla::LINKINFO, |request| {
        request.put(ifla::INFO_KIND, veth::KIND.as_bytes());
        request.nest(ifla::INFO_DATA, |request| {
            request.nest(ifla::VETH_INFO_PEER, |request| {
                request.fixed(&link_header(there.index, 0, 0));
                born(request, there);
                if let Some(ns) = ns {
                    request.put_u32(ifla::NET_NS_FD, ns.cast_unsigned());
                }
            });
        });
    });
}

/// Makes a link with one end. It is down and without an alias, but carries our group number.
///
/// Its MTU is another than it is to have: see [`Link::mtu_at_birth`].
pub(super) fn new_single(requests: &mut Requests, end: &End<'_>, link: &Link) {
    let first = Link {
        mtu: link.mtu_at_birth(),
        ..link.clone()
    };
    let end = End {
        link: Some(&first),
        ..*end
    };
    let mut request = requests.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    request.fixed(&link_header(end.index, 0, 0));
    born(&mut request, &end);
    let mut settings = link.kind.settings();
    settings.retain(|setting| !setting.usual);
    kind(&mut request, link.kind.name(), &settings);
}

/// Changes settings of a link's kind.
pub(super) fn set_kind(requests: &mut Requests, index: u32, name: &str, settings: &[Setting]) {
    // Of what is there already RTM_SETLINK would leave the kind alone.
    let mut request = requests.request(RTM_NEWLINK, 0);
    request.fixed(&link_header(index, 0, 0));
    kind(&mut request, name, settings);
}

fn kind(request: &mut Request<'_>, name: &str, settings: &[Setting]) {
    request.nest(ifla::LINKINFO, |request| {
        request.put(ifla::INFO_KIND, name.as_bytes());
        if !settings.is_empty() {
            request.nest(ifla::INFO_DATA, |request| {
                for setting in settings {
                    request.put(setting.attribute, &setting.value);
                }
            });
        }
    });
}

fn born(request: &mut Request<'_>, end: &End<'_>) {
    request.put_text(ifla::IFNAME, end.name.as_str());
    if let Some(mtu) = end.link.and_then(|link| link.mtu) {
        request.put_u32(ifla::MTU, mtu);
    }
    if let Some(MacAddress(mac)) = end.link.and_then(|link| link.mac) {
        request.put(ifla::ADDRESS, &mac);
    }
    request.put_u32(ifla::GROUP, GROUP);
    request.put_u32(ifla::NUM_TX_QUEUES, 1);
    request.put_u32(ifla::NUM_RX_QUEUES, 1);
}

/// Changes a link.
pub(super) fn set_link(requests: &mut Requests, index: u32, change: &Change) {
    let up = IFF_UP.cast_unsigned();
    let (flags, mask) = match change.up {
        Some(true) => (up, up),
        Some(false) => (0, up),
        None => (0, 0),
    };
    let mut request = requests.request(RTM_SETLINK, 0);
    request.fixed(&link_header(index, flags, mask));
    if let Some(alias) = &change.alias {
        request.put(ifla::IFALIAS, alias.as_bytes());
    }
    if let Some(mtu) = change.mtu {
        request.put_u32(ifla::MTU, mtu);
    }
    if let Some(MacAddress(mac)) = change.mac {
        request.put(ifla::ADDRESS, &mac);
    }
    if let Some(master) = change.master {
        request.put_u32(ifla::MASTER, master);
    }
    if let Some(group) = change.group {
        request.put_u32(ifla::GROUP, group);
    }
}

/// Asks for a link, whereupon the kernel takes notice of its carrier (since Linux 6.8; before, of a
/// hundred links a second).
pub(super) fn get_link(requests: &mut Requests, index: u32) {
    let mut request = requests.request(RTM_GETLINK, 0);
    request.fixed(&link_header(index, 0, 0));
    request.put_u32(ifla::EXT_MASK, SKIP_STATS);
}

/// Removes a link.
pub(super) fn delete_link(requests: &mut Requests, index: u32) {
    let mut request = requests.request(RTM_DELLINK, 0);
    request.fixed(&link_header(index, 0, 0));
}

/// Removes all links of a group, which takes hardly longer than removing one.
pub(super) fn delete_group(requests: &mut Requests, group: u32) {
    let mut request = requests.request(RTM_DELLINK, 0);
    request.fixed(&link_header(0, 0, 0));
    request.put_u32(ifla::GROUP, group);
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, mask: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

/// Adds an address. IPv6 doesn't look for duplicates of it first, so it can be used at once.
pub(super) fn new_address(
    requests: &mut Requests,
    index: u32,
    key: &AddressKey,
    address: &Address,
) {
    let request = requests.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    let flags = match Family::of(key.ip) {
        Family::Ipv4 => 0,
        Family::Ipv6 => u8::try_from(IFA_F_NODAD).expect("the flag is one of the first eight"),
    };
    let mut request = address_request(request, index, key, address, flags);
    request.put(ifa::PROTO, &[PROTOCOL]);
}

/// Removes an address.
pub(super) fn delete_address(
    requests: &mut Requests,
    index: u32,
    key: &AddressKey,
    address: &Address,
) {
    let request = requests.request(RTM_DELADDR, 0);
    address_request(request, index, key, address, 0);
}

fn address_request<'a>(
    mut request: Request<'a>,
    index: u32,
    key: &AddressKey,
    address: &Address,
    flags: u8,
) -> Request<'a> {
    let scope = if key.ip.is_loopback() {
        libc::RT_SCOPE_HOST
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    // `struct ifaddrmsg`.
    let mut header = [
        number(Family::of(key.ip)),
        address.prefix,
        flags,
        scope,
        0,
        0,
        0,
        0,
    ];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    request.fixed(&header);
    request.put_ip(ifa::LOCAL, key.ip);
    request.put_ip(ifa::ADDRESS, address.peer.unwrap_or(key.ip));
    request
}

/// What to do with a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// It is made, also where there is one already.
    Create,
    /// It is made, in the place of what is there.
    Replace,
    /// It is removed.
    Delete,
}

/// Adds, replaces or removes a route. `index_of` gives the numbers of links.
pub(super) fn route(
    requests: &mut Requests,
    verb: Verb,
    key: &RouteKey,
    route: &Route,
    index_of: &mut dyn FnMut(&LinkName) -> Result<u32, Error>,
) -> Result<(), Error> {
    let mut hops = Vec::new();
    for hop in route.hops() {
        let dev = hop.dev.as_ref().map(&mut *index_of).transpose()?;
        hops.push((hop, dev));
    }
    let (kind, flags) = match verb {
        Verb::Create => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
        Verb::Replace => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
        Verb::Delete => (RTM_DELROUTE, 0),
    };
    let kind_of_route = match route.target {
        Target::Unicast(_) => libc::RTN_UNICAST,
        Target::Blackhole => libc::RTN_BLACKHOLE,
        Target::Unreachable => libc::RTN_UNREACHABLE,
        Target::Prohibit => libc::RTN_PROHIBIT,
        Target::Other(kind) => kind,
    };
    // What is on the link itself has the scope of the link, as `ip route` gives it.
    let direct = !hops.is_empty() && hops.iter().all(|(hop, _)| hop.via.is_none());
    let scope = match (verb, key.family()) {
        (Verb::Delete, _) => libc::RT_SCOPE_NOWHERE,
        (_, Family::Ipv4) if direct => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let mut request = requests.request(kind, flags);
    // `struct rtmsg`, with the table as an attribute because its number may need more than a byte.
    let mut header = [0; 12];
    header[0] = number(key.family());
    header[1] = key.to.prefix_len();
    header[4] = u8::try_from(key.table).unwrap_or_default();
    header[5] = PROTOCOL;
    header[6] = scope;
    header[7] = kind_of_route;
    if let [(hop, _)] = hops.as_slice() {
        header[8..12].copy_from_slice(&flags_of(hop).to_ne_bytes());
    }
    request.fixed(&header);
    request.put_ip(rta::DST, key.to.network());
    request.put_u32(rta::TABLE, key.table);
    request.put_u32(rta::PRIORITY, key.metric);
    if let Some(src) = route.src {
        request.put_ip(rta::PREFSRC, src);
    }
    if let Some(mtu) = route.mtu.filter(|_| verb != Verb::Delete) {
        request.nest(rta::METRICS, |request| request.put_u32(rta::RTAX_MTU, mtu));
    }
    match hops.as_slice() {
        [] => {}
        [(hop, dev)] => {
            gateway(&mut request, key.family(), hop.via);
            if let Some(dev) = dev {
                request.put_u32(rta::OIF, *dev);
            }
        }
        hops => request.nest(rta::MULTIPATH, |request| {
            for (hop, dev) in hops {
                let weight = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                let flags = u8::try_from(flags_of(hop)).unwrap_or_default();
                let mut rest = [flags, weight, 0, 0, 0, 0];
                rest[2..].copy_from_slice(&dev.unwrap_or_default().to_ne_bytes());
                request.next_hop(rest, |request| gateway(request, key.family(), hop.via));
            }
        }),
    }
    Ok(())
}

/// Adds or removes a rule with a protocol number.
pub(super) fn rule(
    requests: &mut Requests,
    kind: RuleVerb,
    key: &RuleKey,
    action: Action,
    protocol: u8,
) {
    let (kind, flags) = match kind {
        // Without `NLM_F_EXCL`, which takes one for narrower packets for the same.
        RuleVerb::Create => (RTM_NEWRULE, NLM_F_CREATE),
        RuleVerb::Delete => (RTM_DELRULE, 0),
    };
    let length = |net: Option<ipnet::IpNet>| net.map_or(0, |net| net.prefix_len());
    // `struct fib_rule_hdr`.
    let mut header = [0; 12];
    header[0] = number(key.family);
    header[1] = length(key.to);
    header[2] = length(key.from);
    header[4] = action
        .table()
        .map_or(0, |table| u8::try_from(table).unwrap_or_default());
    header[7] = match action {
        Action::Lookup(_) => fra::TO_TABLE,
        Action::Blackhole => fra::BLACKHOLE,
        Action::Unreachable => fra::UNREACHABLE,
        Action::Prohibit => fra::PROHIBIT,
        Action::Other(action) => action,
    };
    let mut request = requests.request(kind, flags);
    request.fixed(&header);
    request.put_u32(fra::PRIORITY, key.priority);
    request.put(fra::PROTOCOL, &[protocol]);
    if let Some(table) = action.table() {
        request.put_u32(fra::TABLE, table);
    }
    if let Some(net) = key.to {
        request.put_ip(fra::DST, net.network());
    }
    if let Some(net) = key.from {
        request.put_ip(fra::SRC, net.network());
    }
    if let Some(link) = &key.iif {
        request.put_text(fra::IIFNAME, link.as_str());
    }
    if let Some(link) = &key.oif {
        request.put_text(fra::OIFNAME, link.as_str());
    }
    if let Some(mark) = key.mark {
        request.put_u32(fra::FWMARK, mark.value);
        request.put_u32(fra::FWMASK, mark.mask);
    }
}

/// What to do with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleVerb {
    /// It is made, also where there is one already.
    Create,
    /// It is removed.
    Delete,
}

fn flags_of(hop: &NextHop) -> u32 {
    if hop.onlink { ONLINK } else { 0 }
}

/// The router of a next hop, with its family where that isn't the route's.
fn gateway(request: &mut Request<'_>, family: Family, via: Option<IpAddr>) {
    match via {
        Some(via) if Family::of(via) == family => request.put_ip(rta::GATEWAY, via),
        Some(IpAddr::V6(via)) => {
            let mut bytes = u16::from(number(Family::Ipv6)).to_ne_bytes().to_vec();
            bytes.extend_from_slice(&via.octets());
            request.put(rta::VIA, &bytes);
        }
        // There is no IPv6 route through an IPv4 router.
        Some(IpAddr::V4(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::codec::{Batch, messages};
    use crate::kernel::read;
    use crate::resource::link::LinkKind;
    use crate::resource::link::bridge::Bridge;
    use crate::resource::link::dummy::Dummy;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        let bridges = [(false, false), (true, false), (false, true), (true, true)];
        let bridges = bridges.map(|(stp, vlan_filtering)| {
            LinkKind::Bridge(Bridge {
                stp,
                vlan_filtering,
            })
        });
        for kind_of_link in bridges.into_iter().chain([LinkKind::Dummy(Dummy {})]) {
            let mut batch = Batch::default();
            let mut request = batch.request(RTM_NEWLINK, 0, 1);
            request.fixed(&link_header(7, 0, 0));
            kind(&mut request, kind_of_link.name(), &kind_of_link.settings());
            drop(request);
            let message = messages(batch.bytes()).next().expect("a message");
            let found = read::link(&message).expect("a link");
            assert_eq!(found.index, 7);
            let found = LinkKind::read(&found.kind, &found.settings);
            assert_eq!(found.as_ref(), Some(&kind_of_link));
            assert_eq!(kind_of_link.changes_from(&kind_of_link), []);
        }
    }
}
