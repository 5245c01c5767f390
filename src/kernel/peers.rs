//! Which end of a veth belongs to which: across the namespaces that were read.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::RTM_GETNSID;

use super::codec::{attribute, i32_of};
use super::error::Error;
use super::observe::Seen;
use super::read::Link;
use super::socket::{Requests, Socket};
use super::{Kernel, tag};
use crate::resource::Ns;
use crate::resource::link::veth;
use crate::resource::name::{LinkName, TopologyName};

/// From here upward netform chooses the numbers of links, at random. The kernel and other programs give
/// small ones.
pub(super) const CHOSEN: u32 = 1 << 24;

/// `NETNSA_NSID` of `linux/net_namespace.h`.
const NSID: u16 = 1;

/// `NETNSA_FD` of `linux/net_namespace.h`.
const FD: u16 = 3;

/// The veth ends that were read, each with its peer.
#[derive(Debug, Default)]
pub(super) struct Peers {
    ends: HashMap<(Ns, u32), End>,
}

#[derive(Debug)]
struct End {
    ns: Ns,
    name: LinkName,
    owner: Option<TopologyName>,
}

impl Peers {
    /// The peer of a link: its namespace and its name.
    pub(super) fn of(&self, ns: &Ns, index: u32) -> Option<(&Ns, &LinkName)> {
        let end = self.ends.get(&(ns.clone(), index))?;
        Some((&end.ns, &end.name))
    }

    /// Whose the peer of a link is, by its tag, if it carries our number too. Without a tag it is its namespace's.
    pub(super) fn owner(&self, ns: &Ns, index: u32) -> Option<&TopologyName> {
        self.ends.get(&(ns.clone(), index))?.owner.as_ref()
    }
}

/// Finds the peers. A link says the number of its peer, and which namespace that is in, in its own
/// namespace's numbering. Two links that say each other's numbers are a pair if netform chose these,
/// because they are random; otherwise `number` is asked, which knows what one namespace calls another.
pub(super) fn resolve(
    seen: &[Seen],
    mut number: impl FnMut(&Ns, &Ns) -> Result<Option<i32>, Error>,
) -> Result<Peers, Error> {
    // By own number and the peer's: where.
    let mut ends: HashMap<(u32, u32), Vec<(usize, usize)>> = HashMap::new();
    for (space, one) in seen.iter().enumerate() {
        for (place, link) in one.reading.links.iter().enumerate() {
            if link.kind == veth::KIND
                && let Some(peer) = link.peer
            {
                ends.entry((link.index, peer))
                    .or_default()
                    .push((space, place));
            }
        }
    }
    let mut peers = Peers::default();
    for (&(index, peer), places) in &ends {
        let Some(others) = ends.get(&(peer, index)) else {
            continue;
        };
        for &(space, place) in places {
            let link = &seen[space].reading.links[place];
            let found = match link.netnsid {
                None => others.iter().find(|(other, _)| *other == space),
                Some(id) => {
                    let mut abroad = others.iter().filter(|(other, _)| *other != space);
                    match (abroad.next(), abroad.next()) {
                        (only, None) if index >= CHOSEN && peer >= CHOSEN => only,
                        _ => confirmed(&mut number, &seen[space].ns, id, others, seen)?,
                    }
                }
            };
            let Some(&(space_of_peer, place_of_peer)) = found else {
                continue;
            };
            let other = &seen[space_of_peer].reading.links[place_of_peer];
            if let Ok(name) = LinkName::try_from(other.name.as_str()) {
                let end = End {
                    ns: seen[space_of_peer].ns.clone(),
                    name,
                    owner: tag::of_link(other).or_else(|| half_made(other, &seen[space_of_peer])),
                };
                peers.ends.insert((seen[space].ns.clone(), index), end);
            }
        }
    }
    Ok(peers)
}

/// Whose an end with our number is that nobody tagged: that of its namespace, of which both ends then are.
fn half_made(link: &Link, seen: &Seen) -> Option<TopologyName> {
    if link.group != tag::GROUP || !link.alias.is_empty() {
        return None;
    }
    let lo = seen.reading.links.iter().find(|link| link.is_loopback())?;
    tag::of_link(lo)
}

/// The one of several places that is in the namespace which `ns` calls `id`.
fn confirmed<'a>(
    number: &mut impl FnMut(&Ns, &Ns) -> Result<Option<i32>, Error>,
    ns: &Ns,
    id: i32,
    places: &'a [(usize, usize)],
    seen: &[Seen],
) -> Result<Option<&'a (usize, usize)>, Error> {
    for place in places {
        let other = &seen[place.0].ns;
        if other == ns {
            continue;
        }
        if number(ns, other)? == Some(id) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// What one namespace calls another. None: it has no number for it.
pub(super) fn number(kernel: &mut Kernel, of: &Ns, other: &Ns) -> Result<Option<i32>, Error> {
    match kernel.descriptor(other)? {
        Some(other) => number_in(kernel.socket(of)?, other.as_fd()),
        None => Ok(None),
    }
}

/// The same, of the namespace of a socket.
pub(super) fn number_in(socket: &mut Socket, other: BorrowedFd<'_>) -> Result<Option<i32>, Error> {
    let mut requests = Requests::default();
    let mut request = requests.request(RTM_GETNSID, 0);
    request.fixed(&[0; 4]);
    request.put_u32(FD, other.as_raw_fd().cast_unsigned());
    drop(request);
    let mut number = None;
    let failed = socket.send(&mut requests, |_, message| {
        let attributes = message.payload.get(4..).unwrap_or_default();
        number = attribute(attributes, NSID).map(i32_of);
    })?;
    match failed.into_iter().next() {
        Some((_, verdict)) => Err(Error::refused(verdict.errno, verdict.text)),
        None => Ok(number.filter(|number| *number >= 0)),
    }
}
