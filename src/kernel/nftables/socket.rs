//! A netfilter socket: batches out, dumps in.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use super::error::{Error, Object};
use super::write::Message;

/// `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nfnetlink.h`).
pub(super) const SUBSYSTEM: u16 = 10;
/// `NLMSGERR_ATTR_MSG` (`linux/netlink.h`): the attribute of an error that is a text.
const ATTRIBUTE_TEXT: u16 = 1;
/// `NLM_F_CAPPED`: an error has only the header of the message that it is about.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error has attributes.
const HAS_ATTRIBUTES: u16 = 0x200;
/// `NLM_F_DUMP_INTR`: a dump isn't of one piece.
const INTERRUPTED: u16 = 0x10;
/// The header of a message.
const HEADER: usize = 16;
/// The first and last message of a transaction: a header each, and nfnetlink's of 4 bytes.
const FRAME: usize = 2 * (HEADER + 4);
/// The largest datagram that the kernel dumps is half of it.
const RECEIVE: usize = 64 * 1024;

/// A netfilter socket of the network namespace that it was opened in.
pub(super) struct Channel {
    socket: Socket,
    sequence: u32,
    /// The largest datagram that may be sent.
    limit: usize,
    buffer: Vec<u8>,
}

/// An answer of the kernel's.
pub(super) struct Reply<'a> {
    pub(super) kind: i32,
    flags: u16,
    sequence: u32,
    /// The message, its header too.
    pub(super) bytes: &'a [u8],
}

/// What is sent together: messages, and what they are about by their sequence numbers.
struct Datagram<'a> {
    bytes: Vec<u8>,
    first: u32,
    messages: Vec<&'a Message>,
}

impl Channel {
    /// Opens one in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Channel, Error> {
        let open = || {
            let protocol = isize::try_from(libc::NETLINK_NETFILTER).map_err(io::Error::other)?;
            let mut socket = Socket::new(protocol)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            // Else an error echoes its message, and errors of elements have no room in the queue.
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Open { source })?;
        let mut channel = Channel {
            socket,
            sequence: 0,
            limit: 0,
            buffer: vec![0; RECEIVE],
        };
        channel.limit = channel.send_limit();
        Ok(channel)
    }

    /// The largest datagram that may be sent (`netlink_sendmsg` of `net/netlink/af_netlink.c`).
    fn send_limit(&self) -> usize {
        sockopt::socket_send_buffer_size(self.socket.as_fd())
            .unwrap_or(0)
            .saturating_sub(32)
    }

    /// Makes room for a datagram as far as this process may: any size with the privilege over the whole
    /// machine, else twice `net.core.wmem_max`.
    fn make_room(&mut self, size: usize) {
        if size <= self.limit {
            return;
        }
        let fd = self.socket.as_fd();
        let wanted = size + 4096;
        if sockopt::set_socket_send_buffer_size_force(fd, wanted).is_err() {
            // What it comes to is read back.
            let _ = sockopt::set_socket_send_buffer_size(fd, wanted);
        }
        self.limit = self.send_limit();
    }

    /// Applies messages as one transaction: all of them or none.
    ///
    /// Where the kernel takes no datagram large enough, `parts` follow in further transactions.
    pub(super) fn apply(&mut self, whole: &[Message], parts: &[Message]) -> Result<(), Error> {
        self.make_room(size(whole) + size(parts) + FRAME);
        for messages in transactions(whole, parts, self.limit)? {
            self.transact(messages)?;
        }
        Ok(())
    }

    /// Applies messages as one transaction.
    fn transact(&mut self, messages: Vec<&Message>) -> Result<(), Error> {
        let datagram = self.datagram(messages);
        let failed = |source| Error::Socket {
            action: "change",
            source,
        };
        self.socket.send(&datagram.bytes, 0).map_err(failed)?;
        // The kernel works in `send`, so its answers are all there; on success it is the one that was asked
        // for, on failure there may be one for each message.
        let last = datagram.first + u32::try_from(datagram.messages.len()).unwrap_or(0);
        let mut done = false;
        let mut refused: Option<(u32, Error)> = None;
        loop {
            let received = self.receive(libc::MSG_DONTWAIT, |reply| {
                let is_ours = (datagram.first..=last + 1).contains(&reply.sequence);
                if reply.kind == libc::NLMSG_ERROR && is_ours {
                    match errno(reply) {
                        0 => done |= reply.sequence == last,
                        errno => {
                            let error = datagram.refusal(reply, errno);
                            if refused.as_ref().is_none_or(|(at, _)| reply.sequence < *at) {
                                refused = Some((reply.sequence, error));
                            }
                        }
                    }
                }
                ControlFlow::Continue(())
            });
            match received {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Answers were lost; those that came before say enough.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        match refused {
            Some((_, error)) => Err(error),
            None if done => Ok(()),
            None => Err(failed(io::Error::other("the kernel gave no answer"))),
        }
    }

    /// Messages between the marks of a transaction. The first mark has the first sequence number.
    fn datagram<'a>(&mut self, messages: Vec<&'a Message>) -> Datagram<'a> {
        let first = self.number();
        let mut bytes = mark(libc::NFNL_MSG_BATCH_BEGIN, first);
        let count = messages.len();
        for (at, message) in messages.iter().enumerate() {
            let start = bytes.len();
            bytes.extend_from_slice(&message.bytes);
            let sequence = self.number();
            bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            if at + 1 == count {
                let [low, high] = [bytes[start + 6], bytes[start + 7]];
                let flags = u16::from_ne_bytes([low, high]) | flag(libc::NLM_F_ACK);
                bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
            }
        }
        let end = self.number();
        bytes.extend(mark(libc::NFNL_MSG_BATCH_END, end));
        Datagram {
            bytes,
            first,
            messages,
        }
    }

    /// Asks for something, and calls `visit` with each message that it is answered with. Returns whether
    /// the answer is of one piece.
    pub(super) fn dump(
        &mut self,
        mut request: Vec<u8>,
        object: &Object,
        mut visit: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<bool, Error> {
        let sequence = self.number();
        request[8..12].copy_from_slice(&sequence.to_ne_bytes());
        let failed = |source| Error::Socket {
            action: "read",
            source,
        };
        self.socket.send(&request, 0).map_err(failed)?;
        let mut whole = true;
        let mut outcome = Ok(());
        loop {
            let received = self.receive(0, |reply| {
                // What is left of an earlier dump that was given up isn't looked at.
                if reply.sequence != sequence {
                    return ControlFlow::Continue(());
                }
                whole &= reply.flags & INTERRUPTED == 0;
                match reply.kind {
                    libc::NLMSG_DONE => return ControlFlow::Break(()),
                    libc::NLMSG_ERROR => {
                        let errno = errno(reply);
                        if errno != 0 {
                            outcome = Err(Error::Refused {
                                action: "read",
                                object: object.clone(),
                                errno,
                                text: text(reply),
                            });
                        }
                        return ControlFlow::Break(());
                    }
                    _ => {}
                }
                if outcome.is_ok() && visit(reply.bytes).is_none() {
                    outcome = Err(Error::Malformed {
                        object: object.clone(),
                    });
                }
                ControlFlow::Continue(())
            });
            match received {
                Ok(ControlFlow::Break(())) => return outcome.map(|()| whole),
                Ok(ControlFlow::Continue(())) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Has what the kernel tells a group be kept for [`Channel::overheard`] (`enum nfnetlink_groups`).
    pub(super) fn join(&mut self, group: u32) -> Result<(), Error> {
        let joined = self.socket.add_membership(group);
        joined.map_err(|source| Error::Open { source })
    }

    /// Calls `visit` with each message that was told a group since the last time. What didn't fit in the socket's buffer is lost.
    pub(super) fn overheard(&mut self, mut visit: impl FnMut(&[u8])) -> Result<(), Error> {
        loop {
            let received = self.receive(libc::MSG_DONTWAIT, |reply| {
                visit(reply.bytes);
                ControlFlow::Continue(())
            });
            match received {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(source) => {
                    return Err(Error::Socket {
                        action: "read",
                        source,
                    });
                }
            }
        }
    }

    /// Receives a datagram and calls `visit` with each message in it, until that breaks off.
    fn receive(
        &mut self,
        flags: libc::c_int,
        mut visit: impl FnMut(&Reply<'_>) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let size = self
            .socket
            .recv(&mut self.buffer.as_mut_slice(), flags | libc::MSG_TRUNC)?;
        let mut rest = self.buffer.get(..size).ok_or_else(|| {
            io::Error::other(format!(
                "a datagram of {size} bytes is larger than any of the kernel's"
            ))
        })?;
        while let Some(reply) = Reply::first_of(rest) {
            if visit(&reply).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let length = reply.bytes.len().next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn number(&mut self) -> u32 {
        // Far from running over: there is one for each message of a process that doesn't live long.
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

/// Messages by transaction: one, or where that would be larger than `limit`, `whole` in the first of
/// several, and `parts` in order.
fn transactions<'a>(
    whole: &'a [Message],
    parts: &'a [Message],
    limit: usize,
) -> Result<Vec<Vec<&'a Message>>, Error> {
    let mut used = FRAME + size(whole);
    if used > limit {
        return Err(Error::TooLarge { bytes: used, limit });
    }
    let mut transactions = Vec::new();
    let mut together: Vec<&Message> = whole.iter().collect();
    for part in parts {
        if used + part.bytes.len() > limit && !together.is_empty() {
            transactions.push(std::mem::take(&mut together));
            used = FRAME;
        }
        together.push(part);
        used += part.bytes.len();
    }
    if !together.is_empty() {
        transactions.push(together);
    }
    Ok(transactions)
}

/// How large messages are.
fn size(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.bytes.len()).sum()
}

impl Datagram<'_> {
    /// The error that a reply to one of the messages means.
    fn refusal(&self, reply: &Reply<'_>, errno: i32) -> Error {
        let at = reply.sequence.wrapping_sub(self.first);
        // The marks aren't about anything; an error on them is about the transaction.
        let message = usize::try_from(at)
            .ok()
            .and_then(|at| self.messages.get(at.checked_sub(1)?));
        Error::Refused {
            action: message.map_or("change", |message| message.action),
            object: message.map_or(Object::Ruleset, |message| message.object.clone()),
            errno,
            text: text(reply),
        }
    }
}

impl<'a> Reply<'a> {
    /// The message that a datagram's rest begins with.
    pub(super) fn first_of(rest: &'a [u8]) -> Option<Reply<'a>> {
        let length = usize::try_from(number_at(rest, 0)?).ok()?;
        let bytes = rest.get(..length).filter(|bytes| bytes.len() >= HEADER)?;
        let half = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(Reply {
            kind: i32::from(half(4)?),
            flags: half(6)?,
            sequence: number_at(bytes, 8)?,
            bytes,
        })
    }
}

/// The number of an error, positive; 0 is an acknowledgement.
pub(super) fn errno(reply: &Reply<'_>) -> i32 {
    number_at(reply.bytes, HEADER)
        .map_or(libc::EPROTO, |number| number.cast_signed().saturating_neg())
}

/// What the kernel says of an error in words, if anything.
pub(super) fn text(reply: &Reply<'_>) -> Option<String> {
    if reply.flags & HAS_ATTRIBUTES == 0 {
        return None;
    }
    // The error's number, and the message that it is about, or only its header.
    let start = HEADER + 4;
    let echoed = if reply.flags & CAPPED == 0 {
        usize::try_from(number_at(reply.bytes, start)?)
            .ok()?
            .next_multiple_of(4)
    } else {
        HEADER
    };
    let mut rest = reply.bytes.get(start + echoed..)?;
    while let [a, b, c, d, ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([*c, *d]) == ATTRIBUTE_TEXT {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// The first or last message of a transaction.
fn mark(kind: libc::c_int, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(20_u32.to_ne_bytes());
    bytes.extend(flag(kind).to_ne_bytes());
    bytes.extend(flag(libc::NLM_F_REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    // Any family, version 0, and the subsystem in network order.
    bytes.extend([0, 0]);
    bytes.extend(SUBSYSTEM.to_be_bytes());
    bytes
}

fn flag(number: libc::c_int) -> u16 {
    u16::try_from(number).expect("flags and kinds have 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, size: usize) -> Message {
        Message {
            action: "create",
            object: Object::Table(name.to_owned()),
            bytes: vec![0; size],
        }
    }

    fn names(transactions: &[Vec<&Message>]) -> Vec<String> {
        let name = |message: &&Message| match &message.object {
            Object::Table(name) => name.clone(),
            other => other.to_string(),
        };
        transactions
            .iter()
            .map(|together| together.iter().map(name).collect())
            .collect()
    }

    #[test]
    fn what_fits_is_one_transaction() {
        let (whole, parts) = ([message("a", 100), message("b", 100)], [message("c", 60)]);
        let limit = FRAME + 260;
        let found = transactions(&whole, &parts, limit).expect("it fits");
        assert_eq!(names(&found), ["abc"]);
        assert_eq!(
            names(&transactions(&[], &[], limit).expect("it fits")),
            [""; 0]
        );
    }

    #[test]
    fn what_does_not_fit_follows_in_order() {
        let whole = [message("a", 100), message("b", 100)];
        let parts = [
            message("c", 60),
            message("d", 200),
            message("e", 50),
            message("f", 1),
        ];
        let limit = FRAME + 250;
        let found = transactions(&whole, &parts, limit).expect("it fits");
        assert_eq!(names(&found), ["ab", "c", "de", "f"]);
        assert_eq!(
            names(&transactions(&[], &parts, limit).expect("it fits")),
            ["c", "de", "f"]
        );
    }

    #[test]
    fn what_must_go_together_is_never_split() {
        let whole = [message("a", 100), message("b", 100)];
        let refused = transactions(&whole, &[], FRAME + 199).map(|found| names(&found));
        let text = refused.expect_err("it is too large").to_string();
        assert_eq!(
            text,
            "the rules are 240 bytes, and the kernel takes 239 at once: raise net.core.wmem_max"
        );
    }

    #[test]
    fn an_error_says_what_the_kernel_says() {
        let mut bytes = vec![0; HEADER];
        bytes.extend((-libc::EEXIST).to_ne_bytes());
        bytes.extend([0; HEADER]);
        bytes.extend([12, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend([8, 0, 1, 0, b'n', b'o', b'!', 0]);
        let mut reply = Reply {
            kind: libc::NLMSG_ERROR,
            flags: CAPPED | HAS_ATTRIBUTES,
            sequence: 0,
            bytes: &bytes,
        };
        assert_eq!(errno(&reply), libc::EEXIST);
        assert_eq!(text(&reply).as_deref(), Some("no!"));
        reply.bytes = &bytes[..bytes.len() - 3];
        assert_eq!(text(&reply), None);
        reply.flags = CAPPED;
        reply.bytes = &bytes;
        assert_eq!(text(&reply), None);
    }

    #[test]
    fn no_number_of_an_error_overflows() {
        let mut bytes = vec![0; HEADER];
        bytes.extend(i32::MIN.to_ne_bytes());
        let reply = Reply {
            kind: libc::NLMSG_ERROR,
            flags: 0,
            sequence: 0,
            bytes: &bytes,
        };
        assert_eq!(errno(&reply), i32::MAX);
    }
}
