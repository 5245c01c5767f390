//! The way that a packet would take: the kernel is asked for its routes, one namespace after the other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use libc::{RTM_GETNEIGH, RTM_GETROUTE};

use super::codec::{attribute, attributes, ip_of, u16_of, u32_of};
use super::error::Error;
use super::external::Identity;
use super::observe::Seen;
use super::read::{self, Link, Reading, rta};
use super::socket::{Requests, Socket};
use super::space::inode_of;
use super::{namespace, peers, ports, sysctl, tables};
use crate::resource::Family;
use crate::resource::Ns;
use crate::resource::link::bridge;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{Nat, Service};
use crate::resource::sysctl::SysctlKey;
use crate::state::{Flow, Listener, Step, Transport, Way, WayEnd};

/// Attributes of requests for a route (`linux/rtnetlink.h`).
const SOURCE: u16 = 2;
const CAME_BY: u16 = 3;

/// `NDA_DST` of `linux/neighbour.h`, and the states of who doesn't answer: `NUD_INCOMPLETE`, `NUD_FAILED`.
const NEIGHBOUR: u16 = 1;
const SILENT: u16 = 0x01 | 0x20;

/// `IFF_LOWER_UP` of `linux/if.h`.
const LOWER_UP: u32 = 1 << 16;

/// The most namespaces that a packet goes through.
const MOST: usize = 32;

/// A namespace on the way.
#[derive(Clone, Copy)]
struct Site<'s> {
    seen: &'s Seen,
    door: &'s OwnedFd,
}

/// What the kernel says of a destination.
enum Found {
    Local,
    On {
        link: u32,
        via: Option<IpAddr>,
        source: Option<IpAddr>,
    },
    /// The number of an error.
    Not(i32),
}

/// Reads a namespace, on a thread that ends afterwards.
fn see(ns: &Ns, door: &OwnedFd) -> Result<Seen, Error> {
    namespace::enter(door)?;
    let mut socket = Socket::open()?;
    let reading = Reading {
        links: read::links(&mut socket)?,
        addresses: read::addresses(&mut socket)?,
        ..Reading::default()
    };
    Ok(Seen {
        ns: ns.clone(),
        reading,
        inode: inode_of(door.as_fd())?,
        identity: Identity::of(&socket, door.as_fd())?,
    })
}

/// Namespaces, their links and addresses, and how they are joined: for walks from one to another.
pub struct Map<'d> {
    doors: &'d BTreeMap<Ns, OwnedFd>,
    seen: Vec<Seen>,
    peers: peers::Peers,
}

impl<'d> Map<'d> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn of(doors: &'d BTreeMap<Ns, OwnedFd>) -> Result<Map<'d>, Error> {
        let seen = namespace::spread(doors.iter().collect(), |(ns, door)| see(ns, door));
        let seen: Vec<Seen> = seen.into_iter().collect::<Result<_, _>>()?;
        let number = |of: &Ns, other: &Ns| match (doors.get(of), doors.get(other)) {
            (Some(of), Some(other)) => {
                let mut socket = namespace::inside(of.as_fd(), Socket::open)?;
                peers::number_in(&mut socket, other.as_fd())
            }
            _ => Ok(None),
        };
        let peers = peers::resolve(&seen, number)?;
        Ok(Map { doors, seen, peers })
    }

    /// Where a packet would get from one of the namespaces. Nothing is sent, and nothing is changed.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn way(&self, from: &Ns, flow: Flow) -> Result<Way, Error> {
        let Flow {
            mut to,
            mut transport,
        } = flow;
        let mut steps = Vec::new();
        let mut here = from.clone();
        // The link that it came in by, and its source as long as that is known.
        let mut came: Option<(u32, Option<IpAddr>)> = None;
        let mut source = None;
        while steps.len() < MOST {
            let Some(site) = self.site(&here) else {
                break;
            };
            if let Some((link, _)) = came
                && !site.has(to)
                && let Some(end) = site.refuses_to_forward(link, Family::of(to))?
            {
                return Ok(Way { steps, end });
            }
            let (link, via) = match site.route(to, came)? {
                Found::Local => {
                    if let Some((member, at)) = site.led(to, transport)? {
                        steps.push(Step::Led {
                            ns: here.clone(),
                            to: member,
                            port: at,
                        });
                        (to, transport) =
                            (member, at.map_or(transport, |port| transport.to_port(port)));
                        continue;
                    }
                    let elsewhere = source.filter(|_| here != *from);
                    let end = site.arrived(transport, elsewhere)?;
                    return Ok(Way { steps, end });
                }
                Found::Not(errno) => {
                    let end = site.why_not(errno, to, came)?;
                    return Ok(Way { steps, end });
                }
                Found::On {
                    link,
                    via,
                    source: given,
                } => {
                    if came.is_none() && steps.is_empty() {
                        source = given;
                    }
                    (link, via)
                }
            };
            let Some((link, by)) = site.link(link) else {
                break;
            };
            let ns = || here.clone();
            if !link.is_up() {
                let end = WayEnd::LinkDown { ns: ns(), link: by };
                return Ok(Way { steps, end });
            }
            let peer = self.peers.of(&here, link.index);
            let peer = peer.map(|(ns, name)| (ns.clone(), name.clone()));
            if link.flags & LOWER_UP == 0 {
                let link = by;
                let end = WayEnd::NoCarrier {
                    ns: ns(),
                    link,
                    peer,
                };
                return Ok(Way { steps, end });
            }
            if let Some((came_by, _)) = came
                && let Some(other) = site.rewritten(came_by, link.index, to)?
            {
                source = Some(other);
            }
            steps.push(Step::Leaves {
                ns: ns(),
                came_by: came.and_then(|(link, _)| Some(site.link(link)?.1)),
                source: source.filter(|_| came.is_none()),
                by: by.clone(),
                via,
            });
            let next = via.unwrap_or(to);
            let holder = self.holder(next, &here);
            let port = peer.as_ref().and_then(|(ns, name)| {
                let bridge = self.bridge_of(ns, name)?;
                Some((ns.clone(), name.clone(), bridge))
            });
            let is_bridged = port.is_some() || link.kind == bridge::NAME;
            steps.extend(port.map(|(ns, came_by, bridge)| Step::Bridged {
                ns,
                came_by,
                bridge,
            }));
            if site.is_silent(link.index, next)? {
                // Who drops what comes from there answers no question from there either (`arp_process` of `net/ipv4/arp.c`).
                if let Some(end) = self.dropped_by(holder.as_ref(), next, source)? {
                    return Ok(Way { steps, end });
                }
                let (link, ip) = (by, next);
                let end = WayEnd::NoNeighbour {
                    ns: ns(),
                    link,
                    ip,
                    holder,
                };
                return Ok(Way { steps, end });
            }
            // Between the ports of a bridge it goes on to who has the address.
            let after = if is_bridged { holder } else { peer };
            let after = after.and_then(|(ns, name)| {
                let index = self.site(&ns)?.index(&name)?;
                Some((ns, index))
            });
            let Some((ns, index)) = after else {
                let end = WayEnd::Outside { ns: ns(), by };
                return Ok(Way { steps, end });
            };
            here = ns;
            came = Some((index, source));
        }
        Ok(Way {
            steps,
            end: WayEnd::Circle,
        })
    }

    /// That who has an address drops what comes from a source.
    fn dropped_by(
        &self,
        holder: Option<&(Ns, LinkName)>,
        ip: IpAddr,
        source: Option<IpAddr>,
    ) -> Result<Option<WayEnd>, Error> {
        let site = holder.and_then(|(ns, name)| {
            let site = self.site(ns)?;
            Some((site, site.index(name)?))
        });
        let (Some((site, link)), Some(source)) = (site, source) else {
            return Ok(None);
        };
        match site.route(ip, Some((link, Some(source))))? {
            Found::Not(_) => site.filtered(link, source),
            _ => Ok(None),
        }
    }

    fn site(&self, ns: &Ns) -> Option<Site<'_>> {
        let mut seen = self.seen.iter();
        let seen = seen.find(|seen| seen.ns == *ns)?;
        let door = self.doors.get(ns)?;
        Some(Site { seen, door })
    }

    /// Who has an address, elsewhere than in a namespace.
    fn holder(&self, ip: IpAddr, but: &Ns) -> Option<(Ns, LinkName)> {
        let others = self.seen.iter().filter(|seen| seen.ns != *but);
        let mut holders = others.filter_map(|seen| {
            let mut addresses = seen.reading.addresses.iter();
            let address = addresses.find(|address| address.ip == ip)?;
            let site = self.site(&seen.ns)?;
            Some((seen.ns.clone(), site.link(address.index)?.1))
        });
        holders.next()
    }

    /// The bridge that a link is a port of.
    fn bridge_of(&self, ns: &Ns, name: &LinkName) -> Option<LinkName> {
        let site = self.site(ns)?;
        let mut links = site.seen.reading.links.iter();
        let port = links.find(|link| link.name == name.as_str())?;
        Some(site.link(port.master?)?.1)
    }
}

impl Site<'_> {
    /// What becomes of it where its destination is. `source` is where answers go, if that is known and elsewhere.
    fn arrived(&self, transport: Transport, source: Option<IpAddr>) -> Result<WayEnd, Error> {
        let ns = self.seen.ns.clone();
        if let Some(to) = source
            && let Found::Not(_) = self.route(to, None)?
        {
            return Ok(WayEnd::NoReturn { ns, to });
        }
        let Some((protocol, port)) = transport.port() else {
            return Ok(WayEnd::Arrived { ns });
        };
        let listening = namespace::inside(self.door.as_fd(), ports::listening)?;
        let mut listening = listening.iter().map(|(listener, _)| listener);
        let is_it = |listener: &Listener| listener.protocol == protocol && listener.port == port;
        let is_there = listening.any(is_it);
        Ok(if is_there {
            WayEnd::Arrived { ns }
        } else {
            WayEnd::NobodyListens { ns, transport }
        })
    }

    fn has(&self, ip: IpAddr) -> bool {
        let mut addresses = self.seen.reading.addresses.iter();
        addresses.any(|address| address.ip == ip)
    }

    fn link(&self, index: u32) -> Option<(&Link, LinkName)> {
        let mut links = self.seen.reading.links.iter();
        let link = links.find(|link| link.index == index)?;
        Some((link, LinkName::try_from(link.name.as_str()).ok()?))
    }

    fn index(&self, name: &LinkName) -> Option<u32> {
        let mut links = self.seen.reading.links.iter();
        let link = links.find(|link| link.name == name.as_str())?;
        Some(link.index)
    }

    fn socket(&self) -> Result<Socket, Error> {
        namespace::inside(self.door.as_fd(), Socket::open)
    }

    /// Asks for the route of a packet that begins here, or came in by a link.
    fn route(&self, to: IpAddr, came: Option<(u32, Option<IpAddr>)>) -> Result<Found, Error> {
        let family = Family::of(to);
        let length = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let source = came.and_then(|(_, source)| source);
        let mut requests = Requests::default();
        let mut request = requests.request(RTM_GETROUTE, 0);
        let mut fixed = [0; 12];
        fixed[..3].copy_from_slice(&[read::number(family), length(to), source.map_or(0, length)]);
        request.fixed(&fixed);
        request.put_ip(rta::DST, to);
        if let Some((link, source)) = came {
            request.put_u32(CAME_BY, link);
            if let Some(source) = source {
                request.put_ip(SOURCE, source);
            }
        }
        drop(request);
        let mut found = None;
        let failed = self.socket()?.send(&mut requests, |_, message| {
            let Some(fixed) = message.payload.get(..12) else {
                return;
            };
            if fixed[7] == libc::RTN_LOCAL {
                found = Some(Found::Local);
                return;
            }
            let (mut link, mut via, mut source) = (None, None, None);
            for (kind, value) in attributes(&message.payload[12..]) {
                match kind {
                    rta::OIF => link = Some(u32_of(value)),
                    rta::GATEWAY => via = ip_of(value),
                    rta::VIA if value.len() > 2 => via = ip_of(&value[2..]),
                    rta::PREFSRC => source = ip_of(value),
                    _ => {}
                }
            }
            found = link.map(|link| Found::On { link, via, source });
        })?;
        if let Some((_, verdict)) = failed.into_iter().next() {
            return Ok(Found::Not(verdict.errno));
        }
        Ok(found.unwrap_or(Found::Not(libc::ENETUNREACH)))
    }

    /// What an error of a route means.
    fn why_not(
        &self,
        errno: i32,
        to: IpAddr,
        came: Option<(u32, Option<IpAddr>)>,
    ) -> Result<WayEnd, Error> {
        if let Some((link, Some(source))) = came
            && let Some(end) = self.filtered(link, source)?
        {
            return Ok(end);
        }
        let ns = self.seen.ns.clone();
        let barred = |kind| WayEnd::Barred {
            ns: ns.clone(),
            to,
            kind,
        };
        Ok(match errno {
            libc::EHOSTUNREACH => barred("unreachable"),
            libc::EACCES => barred("prohibit"),
            libc::EINVAL => barred("blackhole"),
            _ => WayEnd::NoRoute { ns, to },
        })
    }

    /// That what comes from a source by a link is dropped, because answers would leave by another one. The kernel says so with
    /// EXDEV, or since Linux 6.14 with EINVAL, as of a blackhole (`inet_rtm_getroute` of `net/ipv4/route.c`).
    fn filtered(&self, index: u32, source: IpAddr) -> Result<Option<WayEnd>, Error> {
        let Some((link, name)) = self.link(index).filter(|_| source.is_ipv4()) else {
            return Ok(None);
        };
        let of_all = SysctlKey::of_links(Family::Ipv4, "all", "rp_filter").path();
        let of_all = namespace::inside(self.door.as_fd(), || sysctl::read(&of_all))?;
        let of_all = of_all.and_then(|value| value.parse().ok()).unwrap_or(0);
        let filter = of_all.max(link.conf(Family::Ipv4, "rp_filter").unwrap_or(0));
        let is_astray = match self.route(source, None)? {
            Found::On { link, .. } => filter == 1 && link != index,
            Found::Not(_) => filter > 0,
            Found::Local => false,
        };
        Ok(is_astray.then(|| WayEnd::ReversePath {
            ns: self.seen.ns.clone(),
            link: name,
            source,
        }))
    }

    /// That what comes in by a link isn't forwarded.
    fn refuses_to_forward(&self, index: u32, family: Family) -> Result<Option<WayEnd>, Error> {
        let Some((link, name)) = self.link(index) else {
            return Ok(None);
        };
        let on = |value: Option<i32>| value.is_some_and(|value| value != 0);
        let forwards = match family {
            Family::Ipv4 => on(link.conf(family, "forwarding")),
            // One switch for all links, and `force_forwarding` for one (`ip6_forward` of `net/ipv6/ip6_output.c`).
            Family::Ipv6 => {
                on(read::switches(&self.socket()?)?[1]) || on(link.conf(family, "force_forwarding"))
            }
        };
        Ok((!forwards).then(|| WayEnd::NotForwarding {
            ns: self.seen.ns.clone(),
            link: name,
            family,
        }))
    }

    /// Whether somebody on a link was asked for, and doesn't answer.
    fn is_silent(&self, link: u32, ip: IpAddr) -> Result<bool, Error> {
        let family = read::number(Family::of(ip));
        self.socket()?.dump(
            RTM_GETNEIGH,
            |request| {
                let mut fixed = [0; 12];
                fixed[0] = family;
                request.fixed(&fixed);
            },
            |silent: &mut bool, message| {
                let Some((fixed, rest)) = message.payload.split_at_checked(12) else {
                    return;
                };
                let is_it = u32::from_ne_bytes(fixed[4..8].try_into().unwrap_or_default()) == link
                    && attribute(rest, NEIGHBOUR).and_then(ip_of) == Some(ip);
                *silent |= is_it && u16_of(&fixed[8..10]) & SILENT != 0;
            },
        )
    }

    /// The member that a topology publishes at an address and a port of this namespace, and the port there.
    fn led(
        &self,
        to: IpAddr,
        transport: Transport,
    ) -> Result<Option<(IpAddr, Option<u16>)>, Error> {
        let tables = namespace::inside(self.door.as_fd(), tables::all)?;
        let published = tables.iter().flat_map(|table| table.raised().published);
        let mut fitting = published.filter(|published| {
            let fits = match transport.port() {
                Some((protocol, port)) => published.service.has(protocol, port),
                None => published.service == Service::All,
            };
            fits && published.address.is_none_or(|at| at == to) && published.to != to
        });
        let led = fitting.next();
        let port = transport.port().map(|(_, port)| port);
        Ok(led.map(|published| (published.to, published.port.or(port))))
    }

    /// The source that a topology's table gives to what goes from one link to another, if it rewrites it.
    fn rewritten(&self, from: u32, by: u32, to: IpAddr) -> Result<Option<IpAddr>, Error> {
        let (Some((_, from)), Some((_, out))) = (self.link(from), self.link(by)) else {
            return Ok(None);
        };
        let family = Family::of(to);
        let tables = namespace::inside(self.door.as_fd(), tables::all)?;
        let mut egress = tables.iter().flat_map(|table| table.raised().egress);
        let found =
            egress.find(|((link, of), (by, _))| *link == from && *of == family && *by == out);
        Ok(match found {
            Some((_, (_, Nat::Source(ip)))) => Some(ip),
            Some((_, (_, Nat::Masquerade))) => {
                let mut addresses = self.seen.reading.addresses.iter();
                let fits = |ip: IpAddr| Family::of(ip) == family;
                let found = addresses.find(|address| address.index == by && fits(address.ip));
                found.map(|address| address.ip)
            }
            _ => None,
        })
    }
}
