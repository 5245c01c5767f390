//! Netlink messages, both ways (`man 7 netlink`, `linux/netlink.h`).
//!
//! A request is written straight into the datagram it goes out with, and an answer is read by the
//! attributes that are wanted, so an attribute that nobody here knows costs nothing and breaks nothing.

use std::net::IpAddr;

use libc::{NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};

/// The length of a message's header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// The length of an attribute's header (`struct nlattr`).
const ATTRIBUTE: usize = 4;

/// The bits of an attribute's kind that say how its value is written (`NLA_F_NESTED`,
/// `NLA_F_NET_BYTEORDER`).
const KIND_FLAGS: u16 = 0xc000;

/// `NLM_F_CAPPED` of an error: the request isn't echoed beyond its header.
const CAPPED: u16 = 0x100;

/// `NLM_F_ACK_TLVS` of an error: attributes follow.
const ACK_TLVS: u16 = 0x200;

/// `NLMSGERR_ATTR_MSG`: what the kernel says in words.
const ERROR_TEXT: u16 = 1;

/// Requests, one after the other, as one datagram takes them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// The datagram.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Begins a request of a kind, which ends when the value that is returned is dropped.
    pub(super) fn request(&mut self, kind: u16, flags: i32, sequence: u32) -> Request<'_> {
        let start = self.bytes.len();
        let flags = u16::try_from(flags | NLM_F_REQUEST).expect("the flags are 16 bits");
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        Request {
            bytes: &mut self.bytes,
            start,
        }
    }

    /// Sets flags of the request that begins at `start`.
    pub(super) fn set_flags(&mut self, start: usize, flags: i32) {
        let flags = u16::try_from(flags).expect("the flags are 16 bits");
        let old = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]);
        self.bytes[start + 6..start + 8].copy_from_slice(&(old | flags).to_ne_bytes());
    }
}

/// A request that is being written.
pub(crate) struct Request<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Request<'_> {
    /// Appends a fixed part, a structure of the kernel's.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        pad(self.bytes);
    }

    /// Appends an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("a value is short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// Appends an attribute of 32 bits.
    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Appends a text that ends with a NUL.
    pub(crate) fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Appends an address, in the order of the network.
    pub(crate) fn put_ip(&mut self, kind: u16, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.put(kind, &ip.octets()),
            IpAddr::V6(ip) => self.put(kind, &ip.octets()),
        }
    }

    /// Appends an attribute that holds what `inside` writes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a request is short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends a next hop (`struct rtnexthop`), whose length comes before its attributes.
    pub(super) fn next_hop(&mut self, rest: [u8; 6], inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&rest);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a request is short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).expect("a request is short");
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Its kind: `RTM_NEWLINK`, `NLMSG_ERROR`, …
    pub(super) kind: u16,
    /// Its flags.
    pub(super) flags: u16,
    /// The sequence number of the request it answers.
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
}

/// What the kernel has to say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The number of the error, 0 for none.
    pub(crate) errno: i32,
    /// Its words (extended acknowledgement), if it has any.
    pub(crate) text: Option<String>,
}

impl Message<'_> {
    /// The verdict, if this is one: an acknowledgement, an error, or the end of a dump.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let kind = i32::from(self.kind);
        if kind != NLMSG_ERROR && kind != NLMSG_DONE {
            return None;
        }
        let code = self.payload.get(..4).map_or(0, i32_of);
        let mut rest = self.payload.get(4..).unwrap_or_default();
        if kind == NLMSG_ERROR {
            // The header of the request is echoed, and the request itself if the answer isn't capped.
            let echoed = rest.get(..4).map_or(0, |length| u32_of(length) as usize);
            let skip = if self.flags & CAPPED == 0 {
                echoed.next_multiple_of(4)
            } else {
                HEADER
            };
            rest = rest.get(skip..).unwrap_or_default();
        }
        let text = (self.flags & ACK_TLVS != 0)
            .then(|| {
                attributes(rest)
                    .find(|(kind, _)| *kind == ERROR_TEXT)
                    .map(|(_, value)| text_of(value))
            })
            .flatten();
        Some(Verdict {
            errno: code.saturating_neg().max(0),
            text,
        })
    }
}

/// The messages of a datagram, in its order. Bytes that aren't a whole message end it.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = u32_of(&header[..4]) as usize;
        let message = Message {
            kind: u16_of(&header[4..6]),
            flags: u16_of(&header[6..8]),
            sequence: u32_of(&header[8..12]),
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a row of them: kind without flags, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..ATTRIBUTE)?;
        let length = usize::from(u16_of(&header[..2]));
        let value = bytes.get(ATTRIBUTE..length)?;
        let kind = u16_of(&header[2..4]) & !KIND_FLAGS;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of one attribute in a row of them.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// The next hops of a multipath route: the fixed part after the length, and the attributes.
pub(super) fn next_hops(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..8)?;
        let length = usize::from(u16_of(&header[..2]));
        let hop = (&header[2..], bytes.get(8..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(hop)
    })
}

/// A number of 16 bits; 0 from fewer bytes.
pub(super) fn u16_of(bytes: &[u8]) -> u16 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u16::from_ne_bytes(*chunk))
}

/// A number of 32 bits; 0 from fewer bytes.
pub(super) fn u32_of(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

/// A signed number of 32 bits; 0 from fewer bytes.
pub(super) fn i32_of(bytes: &[u8]) -> i32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| i32::from_ne_bytes(*chunk))
}

/// A text, without the NUL at its end.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// An address, by its length.
pub(super) fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Some(IpAddr::from(octets))
    } else {
        <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let mut batch = Batch::default();
        let mut request = batch.request(16, 0x400, 7);
        request.fixed(&[1, 2, 3, 4]);
        request.put_text(3, "veth1");
        request.nest(18, |r| r.put_u32(1, 99));
        drop(request);
        batch.request(17, 0, 8).fixed(&[9; 4]);

        let all: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (16, 0x401, 7));
        let attrs = &all[0].payload[4..];
        assert_eq!(attribute(attrs, 3).map(text_of).as_deref(), Some("veth1"));
        let nested = attribute(attrs, 18).expect("it was nested");
        assert_eq!(attribute(nested, 1).map(u32_of), Some(99));
        assert_eq!(all[1].payload, [9; 4]);
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let mut batch = Batch::default();
        batch.request(16, 0, 1).put_text(3, "veth1");
        let bytes = batch.bytes();
        for length in 0..bytes.len() {
            assert!(messages(&bytes[..length]).next().is_none());
        }
        assert!(attributes(&[8, 0, 1, 0, 1, 2]).next().is_none());
        assert!(attributes(&[0, 0, 1, 0, 1, 2]).next().is_none());
        assert!(messages(&[0; 64]).next().is_none());
    }

    #[test]
    fn an_error_has_its_number_and_its_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        let mut words = vec![11, 0, 1, 0];
        words.extend_from_slice(b"exists\0");
        payload.extend_from_slice(&words);
        let message = Message {
            kind: 2,
            flags: CAPPED | ACK_TLVS,
            sequence: 1,
            payload: &payload,
        };
        let verdict = Verdict {
            errno: 17,
            text: Some("exists".to_owned()),
        };
        assert_eq!(message.verdict(), Some(verdict));
    }
}
