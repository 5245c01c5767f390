//! Reading one namespace: its links, addresses and routes, as the kernel tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use libc::{
    AF_INET, AF_INET6, IFA_F_PERMANENT, IFA_F_SECONDARY, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE,
    RTM_GETRULE,
};
use serde::{Deserialize, Serialize};

use super::codec::{
    Message, attribute, attributes, i32_of, ip_of, next_hops, text_of, u16_of, u32_of,
};
use super::error::Error;
use super::socket::{Requests, Socket};
use super::tag::PROTOCOL;
use crate::resource::Family;
use crate::resource::address::PROMOTES;
use crate::resource::link::{Attributes, MacAddress};
use crate::resource::name::LinkName;
use crate::resource::nftables::Table;
use crate::resource::permit::{Permit, PermitKey};
use crate::resource::rule::{Action, Mark, RuleKey};
use crate::resource::sysctl::SysctlKey;

/// `RTEXT_FILTER_SKIP_STATS` of `linux/rtnetlink.h`: leave the counters out.
pub(super) const SKIP_STATS: u32 = 1 << 3;

/// `RTNH_F_ONLINK` of `linux/rtnetlink.h`.
pub(super) const ONLINK: u32 = 4;

/// Attributes of links (`linux/if_link.h`).
pub(crate) mod ifla {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const IFNAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const LINK: u16 = 5;
    pub(crate) const MASTER: u16 = 10;
    pub(crate) const LINKINFO: u16 = 18;
    pub(crate) const IFALIAS: u16 = 20;
    pub(crate) const AF_SPEC: u16 = 26;
    pub(crate) const GROUP: u16 = 27;
    pub(crate) const NET_NS_FD: u16 = 28;
    pub(crate) const EXT_MASK: u16 = 29;
    pub(crate) const NUM_TX_QUEUES: u16 = 31;
    pub(crate) const NUM_RX_QUEUES: u16 = 32;
    pub(crate) const LINK_NETNSID: u16 = 37;
    pub(crate) const PROP_LIST: u16 = 52;
    pub(crate) const ALT_IFNAME: u16 = 53;
    pub(crate) const INFO_KIND: u16 = 1;
    pub(crate) const INFO_DATA: u16 = 2;
    pub(crate) const VETH_INFO_PEER: u16 = 1;
    pub(crate) const INET_CONF: u16 = 1;
    pub(crate) const INET6_CONF: u16 = 2;
}

/// Attributes of addresses (`linux/if_addr.h`).
pub(crate) mod ifa {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const LOCAL: u16 = 2;
    pub(crate) const FLAGS: u16 = 8;
    /// Since Linux 5.18.
    pub(crate) const PROTO: u16 = 11;
}

/// Attributes of routes (`linux/rtnetlink.h`).
pub(crate) mod rta {
    pub(crate) const DST: u16 = 1;
    pub(crate) const OIF: u16 = 4;
    pub(crate) const GATEWAY: u16 = 5;
    pub(crate) const PRIORITY: u16 = 6;
    pub(crate) const PREFSRC: u16 = 7;
    pub(crate) const METRICS: u16 = 8;
    pub(crate) const MULTIPATH: u16 = 9;
    pub(crate) const TABLE: u16 = 15;
    pub(crate) const VIA: u16 = 18;
    pub(crate) const NH_ID: u16 = 30;
    pub(crate) const RTAX_MTU: u16 = 2;
}

/// Attributes and actions of rules (`linux/fib_rules.h`).
pub(crate) mod fra {
    pub(crate) const DST: u16 = 1;
    pub(crate) const SRC: u16 = 2;
    pub(crate) const IIFNAME: u16 = 3;
    pub(crate) const PRIORITY: u16 = 6;
    pub(crate) const FWMARK: u16 = 10;
    pub(crate) const SUPPRESS_IFGROUP: u16 = 13;
    pub(crate) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(crate) const TABLE: u16 = 15;
    pub(crate) const FWMASK: u16 = 16;
    pub(crate) const OIFNAME: u16 = 17;
    pub(crate) const PROTOCOL: u16 = 21;
    pub(crate) const TO_TABLE: u8 = 1;
    pub(crate) const BLACKHOLE: u8 = 6;
    pub(crate) const UNREACHABLE: u8 = 7;
    pub(crate) const PROHIBIT: u8 = 8;
    /// `FIB_RULE_INVERT`: it is for all packets but these.
    pub(crate) const INVERT: u32 = 2;
    /// What the kernel says of `SUPPRESS_*` where nothing is suppressed.
    pub(crate) const NOTHING: u32 = u32::MAX;
}

/// Attributes of settings (`linux/netconf.h`).
mod netconfa {
    pub(crate) const IFINDEX: u16 = 1;
    pub(crate) const FORWARDING: u16 = 2;
    /// `NETCONFA_IFINDEX_ALL`: the settings of the whole namespace.
    pub(crate) const ALL: i32 = -1;
}

/// `RTM_GETNETCONF` of `linux/rtnetlink.h`.
const RTM_GETNETCONF: u16 = 82;

/// Settings of a link that come with it: family, name, and the place in the kernel's array
/// (`linux/ip.h` counted from 0, `linux/ipv6.h`). To read the file of one takes longer than all of this.
const CONF: [(Family, &str, usize); 9] = [
    (Family::Ipv4, "forwarding", 0),
    (Family::Ipv4, "rp_filter", 7),
    (Family::Ipv4, PROMOTES, 19),
    (Family::Ipv4, "src_valid_mark", 23),
    (Family::Ipv4, "route_localnet", 25),
    (Family::Ipv6, "forwarding", 0),
    (Family::Ipv6, "accept_ra", 3),
    (Family::Ipv6, "accept_redirects", 4),
    (Family::Ipv6, "force_forwarding", 59),
];

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `IFLA_INFO_KIND`, empty for a device.
    pub(super) kind: String,
    /// What the kernel tells of its kind.
    #[serde(with = "hexadecimal")]
    pub(super) settings: Attributes,
    pub(super) flags: u32,
    /// Whether its frames are those of Ethernet.
    pub(super) ethernet: bool,
    pub(super) mtu: u32,
    pub(super) mac: Option<MacAddress>,
    /// The index of the link that it is a port of.
    pub(super) master: Option<u32>,
    pub(super) group: u32,
    pub(super) alias: String,
    /// The index of the peer, in the namespace that `netnsid` says.
    pub(super) peer: Option<u32>,
    /// The peer's namespace, in the numbering of this one. None: this one.
    pub(super) netnsid: Option<i32>,
    pub(super) altnames: BTreeSet<String>,
    pub(super) conf: Conf,
}

/// The values of what [`CONF`] lists, in its order. A kernel that lacks a family or a setting says none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, i32>", into = "BTreeMap<String, i32>")]
pub(super) struct Conf([Option<i32>; CONF.len()]);

/// An address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    pub(super) peer: Option<IpAddr>,
    /// `IFA_PROTO`; 0 from before Linux 5.18.
    pub(super) protocol: u8,
    /// Whether it stays until somebody removes it.
    pub(super) permanent: bool,
    /// Whether it goes with another IPv4 address of its network.
    pub(super) secondary: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) table: u32,
    pub(super) to: IpNet,
    pub(super) metric: u32,
    pub(super) protocol: u8,
    pub(super) kind: u8,
    pub(super) hops: Vec<Hop>,
    pub(super) src: Option<IpAddr>,
    pub(super) mtu: Option<u32>,
    /// Whether its next hops are an object of their own (`man 8 ip-nexthop`).
    pub(super) by_object: bool,
}

/// A next hop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hop {
    pub(super) via: Option<IpAddr>,
    pub(super) index: Option<u32>,
    pub(super) onlink: bool,
    pub(super) weight: u16,
}

/// A policy routing rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) key: RuleKey,
    pub(super) action: Action,
    /// `FRA_PROTOCOL`; 0 from before Linux 4.17.
    pub(super) protocol: u8,
}

/// What a namespace holds.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    /// Whether every link has [`PROMOTES`]. Only looked at where there are secondary addresses.
    pub(super) promotes: bool,
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<Rule>,
    /// Whether there are IPv4 rules that look at what is not in a State.
    pub(super) other_rules: bool,
    /// The values that were asked for and don't come with the links.
    pub(super) sysctls: BTreeMap<SysctlKey, String>,
    /// The topology's nftables table, if it was asked for and exists.
    pub(super) nftables: Option<Table>,
    /// The accept rules that topologies have in the chains of others, if they were asked for.
    pub(super) permits: Vec<(PermitKey, Permit)>,
}

impl Link {
    /// Whether it is `lo`.
    pub(super) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK.cast_unsigned() != 0
    }

    /// Whether it is up.
    pub(super) fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP.cast_unsigned() != 0
    }

    /// The value of a setting that came with it.
    pub(super) fn conf(&self, family: Family, name: &str) -> Option<i32> {
        self.conf.get(family, name)
    }
}

impl Conf {
    /// One of them.
    pub(super) fn get(&self, family: Family, name: &str) -> Option<i32> {
        let mut all = CONF.iter().zip(&self.0);
        let (_, value) = all.find(|((f, n, _), _)| *f == family && *n == name)?;
        *value
    }
}

/// What a setting that comes with a link is called where it is written down.
fn name_of(family: Family, name: &str) -> String {
    format!("{family}.{name}").to_lowercase()
}

impl From<Conf> for BTreeMap<String, i32> {
    fn from(conf: Conf) -> BTreeMap<String, i32> {
        let all = CONF.iter().zip(conf.0);
        all.filter_map(|((family, name, _), value)| Some((name_of(*family, name), value?)))
            .collect()
    }
}

impl TryFrom<BTreeMap<String, i32>> for Conf {
    type Error = String;

    fn try_from(mut values: BTreeMap<String, i32>) -> Result<Conf, String> {
        let conf = CONF.map(|(family, name, _)| values.remove(&name_of(family, name)));
        match values.pop_first() {
            Some((name, _)) => Err(format!("no setting of links is called `{name}`")),
            None => Ok(Conf(conf)),
        }
    }
}

/// Bytes of the kernel's as text.
mod hexadecimal {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::resource::link::Attributes;

    pub(super) fn serialize<S: Serializer>(
        attributes: &Attributes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digits = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        serializer.collect_map(attributes.iter().map(|(kind, value)| (kind, digits(value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Attributes, D::Error> {
        let texts = BTreeMap::<u16, String>::deserialize(deserializer)?;
        let bytes = |text: &str| -> Option<Vec<u8>> {
            let digits = text.chars().map(|c| c.to_digit(16)?.try_into().ok());
            let digits: Vec<u8> = digits.collect::<Option<_>>()?;
            let pairs = digits.chunks(2).map(|pair| match pair {
                [high, low] => Some(high << 4 | low),
                _ => None,
            });
            pairs.collect()
        };
        let all = texts.into_iter().map(|(kind, text)| {
            let value = bytes(&text);
            let value = value.ok_or_else(|| D::Error::custom("an odd number in base 16"))?;
            Ok((kind, value))
        });
        all.collect()
    }
}

/// Whether a setting is read along with the links, or asked for, so that its file needn't be read. The
/// kernel finds the file of a setting the slower the more namespaces there are.
pub(super) fn is_at_hand(key: &SysctlKey) -> bool {
    match key {
        SysctlKey::Conf { family, name, .. } => {
            CONF.iter().any(|(f, n, _)| f == family && n == name)
        }
        SysctlKey::Global(_) => key.switch().is_some(),
    }
}

/// Whether a namespace forwards, by family ([`SysctlKey::switch`]). None: the kernel lacks the family.
pub(super) fn switches(socket: &Socket) -> Result<[Option<i32>; 2], Error> {
    let mut requests = Requests::default();
    for family in Family::BOTH {
        let mut request = requests.request(RTM_GETNETCONF, 0);
        request.fixed(&[number(family)]);
        request.put(netconfa::IFINDEX, &netconfa::ALL.to_ne_bytes());
    }
    let mut switches = [None; 2];
    // An error says that there is nothing of the kind.
    socket.send(&mut requests, |place, message| {
        let attributes = message.payload.get(4..).unwrap_or_default();
        switches[place] = attribute(attributes, netconfa::FORWARDING).map(i32_of);
    })?;
    Ok(switches)
}

/// All links.
pub(super) fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    socket.dump(
        RTM_GETLINK,
        |request| {
            request.fixed(&[0; 16]);
            request.put_u32(ifla::EXT_MASK, SKIP_STATS);
        },
        |all: &mut Vec<Link>, message| all.extend(link(&message)),
    )
}

/// All addresses of both families.
pub(super) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    socket.dump(
        RTM_GETADDR,
        |request| request.fixed(&[0; 8]),
        |all: &mut Vec<Address>, message| all.extend(address(&message)),
    )
}

/// The routes of both families in some tables, and what has our protocol number in others: what a spec had there, and
/// doesn't have any more.
pub(super) fn routes_of(socket: &mut Socket, tables: &BTreeSet<u32>) -> Result<Vec<Route>, Error> {
    let mut all = Vec::new();
    for table in tables {
        all.extend(routes(socket, *table)?);
    }
    let elsewhere = marked_routes(socket)?.into_iter();
    all.extend(elsewhere.filter(|route| !tables.contains(&route.table)));
    Ok(all)
}

/// The routes of both families in a table.
pub(super) fn routes(socket: &mut Socket, table: u32) -> Result<Vec<Route>, Error> {
    socket.dump(
        RTM_GETROUTE,
        |request| {
            request.fixed(&[0; 12]);
            request.put_u32(rta::TABLE, table);
        },
        |all: &mut Vec<Route>, message| all.extend(route(&message)),
    )
}

/// The routes of both families in all tables.
pub(super) fn every_route(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    every_route_that(socket, |_, _| true)
}

/// The routes of both families whose table and protocol are right.
pub(super) fn every_route_that(
    socket: &mut Socket,
    is_right: impl Fn(u32, u8) -> bool,
) -> Result<Vec<Route>, Error> {
    socket.dump(
        RTM_GETROUTE,
        |request| request.fixed(&[0; 12]),
        |all: &mut Vec<Route>, message| {
            let route = route(&message);
            all.extend(route.filter(|route| is_right(route.table, route.protocol)));
        },
    )
}

/// The routes of both families that have our protocol number, in whatever table.
fn marked_routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    socket.dump(
        RTM_GETROUTE,
        |request| {
            let mut header = [0; 12];
            header[5] = PROTOCOL;
            request.fixed(&header);
        },
        |all: &mut Vec<Route>, message| all.extend(route(&message)),
    )
}

/// The rules of both families, and whether there are IPv4 ones besides that look at what is not in a State.
pub(super) fn rules(socket: &mut Socket) -> Result<(Vec<Rule>, bool), Error> {
    socket.dump(
        RTM_GETRULE,
        |request| request.fixed(&[0; 12]),
        |(all, others): &mut (Vec<Rule>, bool), message| match rule(&message) {
            Some(rule) => all.push(rule),
            None => *others |= message.payload.first() == Some(&number(Family::Ipv4)),
        },
    )
}

/// A link, from `struct ifinfomsg` and attributes.
pub(super) fn link(message: &Message<'_>) -> Option<Link> {
    let fixed = message.payload.get(..16)?;
    let mut link = Link {
        index: u32_of(&fixed[4..8]),
        ethernet: u16_of(&fixed[2..4]) == libc::ARPHRD_ETHER,
        flags: u32_of(&fixed[8..12]),
        ..Link::default()
    };
    for (kind, value) in attributes(&message.payload[16..]) {
        match kind {
            ifla::IFNAME => link.name = text_of(value),
            ifla::IFALIAS => link.alias = text_of(value),
            ifla::MTU => link.mtu = u32_of(value),
            ifla::GROUP => link.group = u32_of(value),
            ifla::MASTER => link.master = Some(u32_of(value)),
            ifla::LINK => link.peer = Some(u32_of(value)),
            ifla::LINK_NETNSID => link.netnsid = Some(i32_of(value)),
            ifla::ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            ifla::LINKINFO => {
                link.kind = attribute(value, ifla::INFO_KIND).map_or_else(String::new, text_of);
                let settings = attribute(value, ifla::INFO_DATA).unwrap_or_default();
                link.settings = attributes(settings)
                    .map(|(kind, value)| (kind, value.to_vec()))
                    .collect();
            }
            ifla::PROP_LIST => link.altnames.extend(
                attributes(value)
                    .filter(|(kind, _)| *kind == ifla::ALT_IFNAME)
                    .map(|(_, name)| text_of(name)),
            ),
            ifla::AF_SPEC => link.conf = conf(value),
            _ => {}
        }
    }
    Some(link)
}

/// The settings of a link (`IFLA_AF_SPEC`): an array of numbers a family.
fn conf(bytes: &[u8]) -> Conf {
    let array = |(family, attribute_of_array)| {
        attribute(bytes, u16::from(number(family)))
            .and_then(|inside| attribute(inside, attribute_of_array))
            .unwrap_or_default()
    };
    let arrays = [
        (Family::Ipv4, ifla::INET_CONF),
        (Family::Ipv6, ifla::INET6_CONF),
    ];
    let arrays = arrays.map(array);
    Conf(CONF.map(|(family, _, place)| {
        let value = arrays[family as usize].get(place * 4..place * 4 + 4);
        value.map(i32_of)
    }))
}

/// The kernel's number of a family.
pub(super) fn number(family: Family) -> u8 {
    let number = match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    };
    u8::try_from(number).expect("the numbers of families are small")
}

/// An address, from `struct ifaddrmsg` and attributes.
pub(super) fn address(message: &Message<'_>) -> Option<Address> {
    let fixed = message.payload.get(..8)?;
    let (mut local, mut other, mut protocol) = (None, None, 0);
    let mut flags = u32::from(fixed[2]);
    for (kind, value) in attributes(&message.payload[8..]) {
        match kind {
            ifa::LOCAL => local = ip_of(value),
            ifa::ADDRESS => other = ip_of(value),
            ifa::FLAGS => flags = u32_of(value),
            ifa::PROTO => protocol = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    let ip = local.or(other)?;
    Some(Address {
        index: u32_of(&fixed[4..8]),
        ip,
        prefix: fixed[1],
        peer: other.filter(|other| *other != ip),
        protocol,
        permanent: flags & IFA_F_PERMANENT != 0,
        // For IPv6 the same bit means a temporary address.
        secondary: ip.is_ipv4() && flags & IFA_F_SECONDARY != 0,
    })
}

/// A route, from `struct rtmsg` and attributes. None: a kind of route that is not in a State.
pub(super) fn route(message: &Message<'_>) -> Option<Route> {
    let fixed = message.payload.get(..12)?;
    let family = i32::from(fixed[0]);
    let (source_length, tos) = (fixed[2], fixed[3]);
    if (family != AF_INET && family != AF_INET6) || source_length != 0 || tos != 0 {
        return None;
    }
    let everywhere: IpAddr = if family == AF_INET {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let mut to = everywhere;
    let mut hop = Hop {
        onlink: is_onlink(u32_of(&fixed[8..12])),
        weight: 1,
        ..Hop::default()
    };
    let mut hops = Vec::new();
    let mut table = u32::from(fixed[4]);
    let (mut metric, mut src, mut mtu) = (0, None, None);
    let mut by_object = false;
    for (kind, value) in attributes(&message.payload[12..]) {
        match kind {
            rta::DST => to = ip_of(value)?,
            rta::TABLE => table = u32_of(value),
            rta::PRIORITY => metric = u32_of(value),
            rta::NH_ID => by_object = true,
            rta::PREFSRC => src = ip_of(value),
            rta::METRICS => mtu = attribute(value, rta::RTAX_MTU).map(u32_of),
            rta::MULTIPATH => hops.extend(next_hops(value).map(|(fixed, inside)| {
                let mut hop = Hop {
                    onlink: is_onlink(u32::from(fixed[0])),
                    weight: u16::from(fixed[1]) + 1,
                    index: Some(u32_of(&fixed[2..6])),
                    via: None,
                };
                for (kind, value) in attributes(inside) {
                    gateway(kind, value, &mut hop);
                }
                hop
            })),
            rta::OIF => hop.index = Some(u32_of(value)),
            _ => gateway(kind, value, &mut hop),
        }
    }
    if hops.is_empty() {
        hops.push(hop);
    }
    Some(Route {
        table,
        to: IpNet::new(to, fixed[1]).ok()?,
        metric,
        protocol: fixed[5],
        kind: fixed[7],
        hops,
        src,
        mtu,
        by_object,
    })
}

/// A rule, from `struct fib_rule_hdr` and attributes. None: one that looks at what is not in a State.
pub(super) fn rule(message: &Message<'_>) -> Option<Rule> {
    let fixed = message.payload.get(..12)?;
    let family = match i32::from(fixed[0]) {
        AF_INET => Family::Ipv4,
        AF_INET6 => Family::Ipv6,
        _ => return None,
    };
    let (to_length, from_length, tos) = (fixed[1], fixed[2], fixed[3]);
    if tos != 0 || u32_of(&fixed[8..12]) & fra::INVERT != 0 {
        return None;
    }
    let mut key = RuleKey::new(family, 0);
    let mut table = u32::from(fixed[4]);
    let mut protocol = 0;
    let (mut mark, mut mask) = (None, None);
    for (kind, value) in attributes(&message.payload[12..]) {
        match kind {
            fra::DST => key.to = IpNet::new(ip_of(value)?, to_length).ok(),
            fra::SRC => key.from = IpNet::new(ip_of(value)?, from_length).ok(),
            fra::IIFNAME => key.iif = Some(LinkName::try_from(text_of(value).as_str()).ok()?),
            fra::OIFNAME => key.oif = Some(LinkName::try_from(text_of(value).as_str()).ok()?),
            fra::PRIORITY => key.priority = u32_of(value),
            fra::FWMARK => mark = Some(u32_of(value)),
            fra::FWMASK => mask = Some(u32_of(value)),
            fra::TABLE => table = u32_of(value),
            fra::PROTOCOL => protocol = value.first().copied().unwrap_or_default(),
            fra::SUPPRESS_IFGROUP | fra::SUPPRESS_PREFIXLEN if u32_of(value) == fra::NOTHING => {}
            _ => return None,
        }
    }
    // The kernel leaves out a mark of 0.
    key.mark = mark.or(mask.map(|_| 0)).map(|value| Mark {
        value,
        mask: mask.unwrap_or(u32::MAX),
    });
    let action = match fixed[7] {
        fra::TO_TABLE => Action::Lookup(table),
        fra::BLACKHOLE => Action::Blackhole,
        fra::UNREACHABLE => Action::Unreachable,
        fra::PROHIBIT => Action::Prohibit,
        other => Action::Other(other),
    };
    Some(Rule {
        key,
        action,
        protocol,
    })
}

/// Takes in a gateway, which `RTA_VIA` gives with its family when it isn't the route's.
fn gateway(kind: u16, value: &[u8], hop: &mut Hop) {
    match kind {
        rta::GATEWAY => hop.via = ip_of(value),
        rta::VIA if value.len() > 2 => {
            let family = i32::from(u16_of(&value[..2]));
            hop.via = ip_of(&value[2..]).filter(|_| family == AF_INET || family == AF_INET6);
        }
        _ => {}
    }
}

fn is_onlink(flags: u32) -> bool {
    flags & ONLINK != 0
}
