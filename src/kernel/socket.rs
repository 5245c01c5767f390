//! A netlink socket of one namespace (`man 7 rtnetlink`).

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{
    MSG_DONTWAIT, NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG, NLM_F_ACK, NLM_F_DUMP,
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
};

use super::codec::{Batch, Message, Request, Verdict, messages};
use super::error::Error;

/// How many times a dump that changes interrupted is begun anew.
const RETRIES: usize = 20;

/// How many bytes of requests go out in one datagram: well below the smallest send buffer.
pub(super) const DATAGRAM: usize = 32 * 1024;

/// A netlink socket. It belongs to the namespace that the thread was in that opened it, and works from
/// any thread.
#[expect(
    clippy::struct_field_names,
    reason = "it is a socket, and what is said of it"
)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    /// Whether answers may lie in it that nobody waits for any more, because sending or hearing failed.
    stale: AtomicBool,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Socket {
    /// Opens one in the namespace of this thread.
    pub(crate) fn open() -> Result<Socket, Error> {
        Socket::of(NETLINK_ROUTE)
    }

    /// Opens one that speaks with netfilter, in the namespace of this thread.
    pub(super) fn of_netfilter() -> Result<Socket, Error> {
        Socket::of(NETLINK_NETFILTER)
    }

    /// Opens one that tells of sockets, in the namespace of this thread (`man 7 sock_diag`).
    pub(super) fn of_sockets() -> Result<Socket, Error> {
        Socket::of(NETLINK_SOCK_DIAG)
    }

    fn of(protocol: libc::c_int) -> Result<Socket, Error> {
        let open = || -> io::Result<netlink_sys::Socket> {
            let mut socket = netlink_sys::Socket::new(protocol as isize)?;
            socket.bind_auto()?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|e| Error::call("open a netlink socket", e))?;
        Ok(Socket {
            socket,
            sequence: 0,
            stale: AtomicBool::new(false),
        })
    }

    /// Sends requests in one datagram, and gives each answer but acknowledgements to `answer`. The
    /// verdicts are those of the requests that failed, by the place of the request among them.
    ///
    /// The kernel works through a datagram while it is being sent, also beyond a request that fails.
    pub(crate) fn send(
        &self,
        requests: &mut Requests,
        answer: impl FnMut(usize, Message<'_>),
    ) -> Result<Vec<(usize, Verdict)>, Error> {
        self.clear();
        let sent = self.exchange(requests, answer);
        self.stale.store(sent.is_err(), Ordering::Relaxed);
        sent
    }

    /// Throws away the answers to what failed: they would be taken for those to what comes next.
    fn clear(&self) {
        while self.stale.load(Ordering::Relaxed) {
            let heard = with_buffer(|buffer| {
                buffer.clear();
                self.socket.recv(buffer, MSG_DONTWAIT)
            });
            match heard {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // More got lost than was kept.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => self.stale.store(false, Ordering::Relaxed),
            }
        }
    }

    fn exchange(
        &self,
        requests: &mut Requests,
        mut answer: impl FnMut(usize, Message<'_>),
    ) -> Result<Vec<(usize, Verdict)>, Error> {
        let mut failed = Vec::new();
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(failed);
        };
        requests.acknowledge();
        let sent = self.socket.send(requests.batch.bytes(), 0);
        sent.map_err(|e| Error::call("send to the kernel", e))?;
        let heard = with_buffer(|buffer| self.hear(buffer, last, &mut failed, &mut answer))?;
        if heard {
            Ok(failed)
        } else {
            Err(Error::Impossible(
                "the kernel did not answer a request at once",
            ))
        }
    }

    /// Hears all that is there, and says whether the last request was answered.
    fn hear(
        &self,
        buffer: &mut Vec<u8>,
        last: usize,
        failed: &mut Vec<(usize, Verdict)>,
        mut answer: impl FnMut(usize, Message<'_>),
    ) -> Result<bool, Error> {
        let mut heard = false;
        loop {
            buffer.clear();
            match self.socket.recv(buffer, MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // More errors than the kernel keeps for us. The first of them, which matter, are there.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    heard = true;
                    continue;
                }
                Err(e) => return Err(Error::call("hear from the kernel", e)),
            }
            for message in messages(buffer) {
                let place = message.sequence as usize;
                let Some(verdict) = message.verdict() else {
                    answer(place, message);
                    continue;
                };
                heard |= place == last;
                if verdict.errno != 0 {
                    failed.push((place, verdict));
                }
            }
        }
    }

    /// Asks for all of a kind, as `fill` narrows it down, and gives each to `each`. A dump that changes
    /// interrupt is begun anew, after `again`.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        fill: impl Fn(&mut Request<'_>),
        each: impl Fn(&mut T, Message<'_>),
    ) -> Result<T, Error>
    where
        T: Default,
    {
        for _ in 0..RETRIES {
            let mut all = T::default();
            self.clear();
            let dumped = self.dump_once(kind, &fill, |message| each(&mut all, message));
            self.stale.store(dumped.is_err(), Ordering::Relaxed);
            if dumped? {
                return Ok(all);
            }
        }
        Err(Error::Restless)
    }

    /// One try of a dump. False: it was interrupted, and may be inconsistent.
    fn dump_once(
        &mut self,
        kind: u16,
        fill: impl Fn(&mut Request<'_>),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut batch = Batch::default();
        fill(&mut batch.request(kind, NLM_F_DUMP, self.sequence));
        let sent = self.socket.send(batch.bytes(), 0);
        sent.map_err(|e| Error::call("send to the kernel", e))?;
        // The kernel fits a dump into the largest buffer it was read with, up to 32 KiB.
        with_buffer(|buffer| self.hear_dump(buffer, &mut each))
    }

    fn hear_dump(
        &self,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<bool, Error> {
        let mut whole = true;
        loop {
            buffer.clear();
            match self.socket.recv(buffer, 0) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::call("hear from the kernel", e)),
            }
            for message in messages(buffer) {
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= i32::from(message.flags) & NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.verdict() {
                            Some(Verdict { errno, text }) if errno != 0 => {
                                Err(Error::Refused { errno, text })
                            }
                            _ => Ok(whole),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }
}

/// Lends what answers are read into: one for each thread, since there are far more sockets. What `hear` calls must not ask for
/// it again, or gets another.
fn with_buffer<T>(hear: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.reserve(DATAGRAM);
    let heard = hear(&mut buffer);
    BUFFER.set(buffer);
    heard
}

/// Requests that go out together, numbered from 0. Only the last needs an acknowledgement; the kernel
/// reports the errors of the others unasked.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    batch: Batch,
    starts: Vec<usize>,
}

impl Requests {
    /// Begins one.
    pub(crate) fn request(&mut self, kind: u16, flags: i32) -> Request<'_> {
        let place = u32::try_from(self.starts.len()).expect("a datagram holds few requests");
        self.starts.push(self.batch.len());
        self.batch.request(kind, flags, place)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Their length in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.batch.len()
    }

    /// Has the last one acknowledged.
    fn acknowledge(&mut self) {
        if let Some(start) = self.starts.last() {
            self.batch.set_flags(*start, NLM_F_ACK);
        }
    }
}
