//! Echo requests (RFC 792, RFC 4443).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Patience;
use super::failure::Failure;
use super::reactor;
use super::socket::{Place, Socket};

/// The first pause between two requests; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// What a request carries besides its number: it comes back.
const TOKEN: &[u8; 8] = b"netform\n";

/// Pings an address, again and again until it answers or the time is over. `id` is a number that no other check has.
pub(super) async fn ping(
    place: Place<'_>,
    to: IpAddr,
    id: u16,
    until: Instant,
    patience: Patience,
) -> Result<(), Failure> {
    let socket =
        Socket::echo(place, to, id).map_err(|error| Failure::Untried(super::words(&error)))?;
    let mut last = Failure::TimedOut;
    let mut pause = PAUSE;
    for sequence in 0_u16.. {
        let next = (Instant::now() + pause).min(until);
        match once(&socket, to, id, sequence, next).await {
            Ok(()) => return Ok(()),
            // What was said before is more than that nothing came this time.
            Err(Failure::TimedOut) => {}
            Err(failure) if patience == Patience::FirstVerdict && failure.is_verdict() => {
                return Err(failure);
            }
            Err(failure) => last = failure,
        }
        if next >= until {
            break;
        }
        reactor::sleep(next).await;
        pause = (pause * 2).min(LONGEST);
    }
    Err(last)
}

/// Sends a request and waits for an answer to it, or to one before.
async fn once(
    socket: &Socket,
    to: IpAddr,
    id: u16,
    sequence: u16,
    until: Instant,
) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::of(error, to);
    // The route may be another than the last time.
    socket
        .connect(SocketAddr::new(to, 0))
        .map_err(|error| Failure::of_route(&error, to))?;
    let own = socket.own_address();
    let request = request(to.is_ipv4(), id, sequence);
    let mut buffer = [0; 512];
    let mut sent = false;
    let answered = reactor::attempt(socket.fd(), PollFlags::IN, until, || {
        // The kernel tells of an error twice: whoever sends or receives next fails with its number, and it is in the queue.
        while let Some(told) = socket.error() {
            let mine = told.packet.get(4..6) == Some(&id.to_be_bytes());
            if let Some(failure) = Failure::told(&told, to, own).filter(|_| mine) {
                return Ok(Err(failure));
            }
        }
        if !sent {
            socket.send(&request)?;
            sent = true;
        }
        loop {
            let length = socket.receive(&mut buffer)?;
            if is_answer(to.is_ipv4(), &buffer[..length], id) {
                return Ok(Ok(()));
            }
        }
    });
    match answered.await {
        Ok(answer) => answer,
        Err(error) => {
            // Who it was that said it stands in the queue.
            let told = std::iter::from_fn(|| socket.error());
            let told = told.filter_map(|told| Failure::told(&told, to, own)).last();
            Err(told.unwrap_or_else(|| failed(&error)))
        }
    }
}

/// An echo request. The kernel fills in the checksum of that of IPv6 (`man 7 raw`, RFC 3542, section 3.1).
fn request(ipv4: bool, id: u16, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![if ipv4 { 8 } else { 128 }, 0, 0, 0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(TOKEN);
    if ipv4 {
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// Whether a packet answers an echo request of this number. That of IPv4 begins with its header.
fn is_answer(ipv4: bool, packet: &[u8], id: u16) -> bool {
    let header = match packet.first() {
        Some(first) if ipv4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(header..) else {
        return false;
    };
    let kind = if ipv4 { 0 } else { 129 };
    message.first() == Some(&kind)
        && message.get(4..6) == Some(&id.to_be_bytes())
        && message.get(8..16) == Some(TOKEN)
}

/// The checksum of the internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing() {
        for id in [0, 1, 0xffff, 0x1234] {
            assert_eq!(checksum(&request(true, id, 7)), 0);
        }
    }

    #[test]
    fn only_an_answer_with_the_same_number_is_one() {
        let mut answer = request(false, 5, 0);
        assert!(!is_answer(false, &answer, 5), "that is a request");
        answer[0] = 129;
        assert!(is_answer(false, &answer, 5) && !is_answer(false, &answer, 6));
        assert!(!is_answer(false, &answer[..15], 5));
        answer[0] = 0;
        let packet = [&[0x45; 20][..], &answer].concat();
        assert!(is_answer(true, &packet, 5));
        for length in 0..packet.len() {
            assert!(!is_answer(true, &packet[..length], 5), "{length}");
        }
    }
}
