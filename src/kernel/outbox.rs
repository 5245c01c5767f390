//! Requests of one namespace on their way, as many datagrams as they take.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::codec::Verdict;
use super::encode;
use super::error::Error;
use super::socket::{DATAGRAM, Requests, Socket};
use super::tag;

/// How many links are asked for in one datagram: so many answers fit into the smallest buffer.
const QUESTIONS: usize = 32;

/// How many links are removed together: so many requests fit into a datagram.
const GROUPED: usize = 512;

/// Requests of one namespace, in their order.
#[derive(Default)]
pub(super) struct Outbox {
    letters: VecDeque<Letter>,
    /// The links that are put into another group, to be removed with it.
    grouped: Vec<u32>,
}

/// A datagram.
#[derive(Default)]
struct Letter {
    requests: Requests,
    /// The operation that each request is of.
    places: Vec<usize>,
    /// The namespaces that requests name.
    namespaces: Vec<OwnedFd>,
    questions: usize,
}

impl Outbox {
    /// Appends a request of the operation at a place.
    pub(super) fn put(&mut self, place: usize, write: impl FnOnce(&mut Requests)) {
        let letter = self.letter();
        write(&mut letter.requests);
        letter.places.resize(letter.requests.len(), place);
    }

    /// Keeps a descriptor open until the next request is sent.
    pub(super) fn enclose(&mut self, ns: OwnedFd) -> RawFd {
        let fd = ns.as_raw_fd();
        self.letter().namespaces.push(ns);
        fd
    }

    /// Appends a question for a link, which has the kernel look at its carrier.
    pub(super) fn ask(&mut self, place: usize, index: u32) {
        self.put(place, |requests| encode::get_link(requests, index));
        self.letters
            .back_mut()
            .expect("the question is in it")
            .questions += 1;
    }

    /// Appends the removal of links: in groups, because one removal takes the kernel as long as
    /// hundreds together. Each group goes in a datagram of its own, so that a process that is killed leaves no link
    /// in a group that isn't removed.
    pub(super) fn delete(&mut self, links: &[(usize, u32)]) {
        for links in links.chunks(GROUPED) {
            self.delete_at_once(links);
        }
    }

    fn delete_at_once(&mut self, links: &[(usize, u32)]) {
        match links {
            [] => {}
            [(place, index)] => self.put(*place, |requests| encode::delete_link(requests, *index)),
            [(first, _), ..] => {
                if self
                    .letters
                    .back()
                    .is_some_and(|last| last.requests.len() > 0)
                {
                    self.letters.push_back(Letter::default());
                }
                self.grouped.extend(links.iter().map(|(_, index)| *index));
                // A number that no one else has: these links and no others are in the group.
                let group = fastrand::u32(1 << 24..1 << 31);
                for (place, index) in links {
                    let change = encode::Change {
                        group: Some(group),
                        ..encode::Change::default()
                    };
                    self.put(*place, |requests| {
                        encode::set_link(requests, *index, &change);
                    });
                }
                self.put(*first, |requests| encode::delete_group(requests, group));
            }
        }
    }

    /// Sends all, until a datagram has a request that fails: those behind it stay here. The failures are by
    /// operation, without those that do no harm.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        harmless: impl Fn(usize, &Verdict) -> bool,
    ) -> Result<Vec<(usize, Verdict)>, Error> {
        let failed = self.deliver(socket, harmless);
        if !matches!(&failed, Ok(failed) if failed.is_empty()) {
            regroup(&self.grouped, socket);
        }
        failed
    }

    fn deliver(
        &mut self,
        socket: &Socket,
        harmless: impl Fn(usize, &Verdict) -> bool,
    ) -> Result<Vec<(usize, Verdict)>, Error> {
        while let Some(mut letter) = self.letters.pop_front() {
            let failed = socket.send(&mut letter.requests, |_, _| {})?;
            let failed: Vec<_> = failed
                .into_iter()
                .map(|(request, verdict)| (letter.places[request], verdict))
                .filter(|(place, verdict)| !harmless(*place, verdict))
                .collect();
            if !failed.is_empty() {
                return Ok(failed);
            }
        }
        Ok(Vec::new())
    }

    /// Puts what is left of another behind it.
    pub(super) fn append(&mut self, mut other: Outbox) {
        self.letters.append(&mut other.letters);
        self.grouped.append(&mut other.grouped);
    }

    /// The datagram that has room for one more request.
    fn letter(&mut self) -> &mut Letter {
        let full =
            |letter: &Letter| letter.requests.bytes() > DATAGRAM || letter.questions >= QUESTIONS;
        if self.letters.back().is_none_or(full) {
            self.letters.push_back(Letter::default());
        }
        self.letters.back_mut().expect("there is one now")
    }
}

/// Puts links back into the group that says that they are ours: those of them that are still there.
fn regroup(links: &[u32], socket: &Socket) {
    let change = encode::Change {
        group: Some(tag::GROUP),
        ..encode::Change::default()
    };
    for links in links.chunks(GROUPED) {
        let mut requests = Requests::default();
        for index in links {
            encode::set_link(&mut requests, *index, &change);
        }
        // What goes wrong has been told by what failed before.
        let _ = socket.send(&mut requests, |_, _| {});
    }
}
