//! Making links, and ports of those of others.

use std::os::fd::AsRawFd;

use super::codec::Verdict;
use super::encode::{self, Change, End};
use super::error::Error;
use super::space::Known;
use super::writer::{Draft, Writer, index_of};
use super::{Kernel, tag};
use crate::plan::{Action, Operation};
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::LinkName;
use crate::resource::{Id, Ns, Resource};

/// What the kernel says of a kind of link that it doesn't know (`rtnl_newlink` of `net/core/rtnetlink.c`).
const UNKNOWN_KIND: &str = "Unknown device type";

impl<'p> Writer<'p> {
    /// Makes a pair, or finishes the end that was made with the other one.
    pub(super) fn create(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        link: &Link,
    ) -> Result<(), Error> {
        let mut change = Change {
            alias: Some(tag::text(&self.plan.topology)),
            ..Change::default()
        };
        let index = match &link.kind {
            LinkKind::Loopback => {
                change.alias = None;
                index_of(kernel, draft.ns, name)?
            }
            LinkKind::Veth(_) if self.plan.operations[place].with.is_some() => {
                index_of(kernel, draft.ns, name)?
            }
            LinkKind::Veth(Veth { peer: Some(peer) }) => {
                self.pair(kernel, draft, place, name, link, peer)?
            }
            kind if kind.is_single() => {
                change.mtu = link.mtu;
                self.single(kernel, draft, place, name, link)?
            }
            _ => return Err(Error::Impossible("this kind of link can't be made")),
        };
        if let Some(master) = &link.master {
            let master = index_of(kernel, draft.ns, master)?;
            self.note_master(draft.ns, master);
            change.master = Some(master);
        }
        if !change.is_empty() {
            draft
                .outbox
                .put(place, |requests| encode::set_link(requests, index, &change));
        }
        if link.up {
            draft.rising.push((place, index, name.clone()));
        }
        Ok(())
    }

    /// Has a link of others be a port, or none any more.
    pub(super) fn port(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        action: &Action,
    ) -> Result<(), Error> {
        let master = match action {
            Action::Create(Resource::Port(port))
            | Action::Update {
                after: Resource::Port(port),
                ..
            } => {
                let master = index_of(kernel, draft.ns, &port.master)?;
                self.note_master(draft.ns, master);
                master
            }
            Action::Remove(_) => 0,
            _ => return Err(Error::Impossible("a port is something else")),
        };
        let change = Change {
            master: Some(master),
            ..Change::default()
        };
        let index = index_of(kernel, draft.ns, name)?;
        draft
            .outbox
            .put(place, |requests| encode::set_link(requests, index, &change));
        Ok(())
    }

    /// Makes a link with one end, and says its number.
    fn single(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        link: &Link,
    ) -> Result<u32, Error> {
        let end = End {
            index: self.number(),
            name,
            link: Some(link),
        };
        draft
            .outbox
            .put(place, |requests| encode::new_single(requests, &end, link));
        let known = Known {
            index: end.index,
            owner: Some(self.plan.topology.clone()),
            ..Known::default()
        };
        kernel.space(draft.ns)?.links.insert(name.clone(), known);
        Ok(end.index)
    }

    /// Makes a veth pair, and says the number of the end that is here.
    fn pair(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        link: &Link,
        peer: &Peer,
    ) -> Result<u32, Error> {
        // Without an operation of its own the other end is only what the pair needs.
        let other = Id::link(peer.ns.clone(), peer.name.clone());
        let other = self.creations.get(&other).copied();
        let here = End {
            index: self.number(),
            name,
            link: Some(link),
        };
        let there = End {
            index: self.number(),
            name: &peer.name,
            link: other,
        };
        let ns = if peer.ns == *draft.ns {
            None
        } else if peer.ns == Ns::Host {
            Some(kernel.doors.host.as_raw_fd())
        } else {
            let fd = kernel.descriptor(&peer.ns)?.ok_or_else(|| Error::Missing {
                what: format!("namespace {}", peer.ns),
            })?;
            Some(draft.outbox.enclose(fd))
        };
        draft.outbox.put(place, |requests| {
            encode::new_veth(requests, &here, &there, ns);
        });
        for (ns, end) in [(draft.ns, &here), (&peer.ns, &there)] {
            let known = Known {
                index: end.index,
                owner: Some(self.plan.topology.clone()),
                ..Known::default()
            };
            kernel.space(ns)?.links.insert(end.name.clone(), known);
        }
        Ok(here.index)
    }
}

/// Why the kernel refuses an operation: where it lacks what a kind of link needs, that.
pub(super) fn refused(operation: &Operation, verdict: Verdict) -> Error {
    let lack = match &operation.action {
        Action::Create(Resource::Link(link))
        | Action::Update {
            after: Resource::Link(link),
            ..
        } => lack(&link.kind, &verdict),
        _ => None,
    };
    lack.unwrap_or_else(|| Error::refused(verdict.errno, verdict.text))
}

/// What the kernel lacks, if that is why it refuses a link of a kind with one end.
pub(super) fn lack(kind: &LinkKind, verdict: &Verdict) -> Option<Error> {
    if verdict.errno != libc::EOPNOTSUPP || !kind.is_single() {
        return None;
    }
    let settings = kind.settings();
    let mut needed = settings.iter().filter(|setting| !setting.usual);
    let unknown = verdict.text.as_deref() == Some(UNKNOWN_KIND);
    let kind = kind.name().to_owned();
    Some(
        match needed.find_map(|setting| Some((setting.word, setting.needs?))) {
            Some((word, option)) if !unknown => Error::NoSetting { kind, word, option },
            _ => Error::NoKind { kind },
        },
    )
}
