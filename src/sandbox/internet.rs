//! The internet behind the uplink of a private host: a router, a server that tells callers their
//! address, and a resolver that knows one name.
//!
//! It has no route back to what is behind the host, so it answers only what is masqueraded.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use std::{fs, thread};

use rustix::thread::UnshareFlags;

use super::error::Error;
use super::uplink;
use crate::kernel::{Socket, namespace};

/// The server, which listens on TCP port 80 of every address.
const SERVER: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(198, 51, 100, 10),
    Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10),
);

/// The resolver.
const NAMESERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

/// The `resolv.conf` of a host that uses it.
pub(super) const RESOLVER: &str = "nameserver 198.51.100.53\n";

/// The name it knows, as queries hold it: `www.example.test`, which is the server's.
const NAME: &[u8] = b"\x03www\x07example\x04test\x00";

/// How long an answered name may be remembered, in seconds.
const TTL: u32 = 60;

/// How long the servers wait for a request.
const PATIENCE: Duration = Duration::from_secs(1);

/// The internet, once it is connected to the host.
pub(super) struct Internet {
    namespace: OwnedFd,
    server: TcpListener,
    resolver: UdpSocket,
    /// The same for those who ask over TCP (RFC 7766).
    resolver_over_tcp: TcpListener,
}

impl Internet {
    /// Makes it, and connects it to the namespace of this process. Whoever calls afterwards is answered
    /// as soon as it is served.
    pub(super) fn connect() -> Result<Internet, Error> {
        let failed = |e| Error::host("make the internet", e);
        let host = namespace::open_own().map_err(failed)?;
        let host_socket = Socket::open().map_err(failed)?;
        // SAFETY: only the network namespace changes.
        #[expect(unsafe_code, reason = "unshare is unsafe for other flags than this")]
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|e| Error::host("make the internet", e))?;
        let namespace = namespace::open_own().map_err(failed)?;
        let socket = Socket::open().map_err(failed)?;
        uplink::make(&host_socket, namespace.as_fd())?;
        keep_from_own_addresses(uplink::WAN)?;
        let (ipv4, ipv6) = SERVER;
        uplink::raise_internet(&socket, &[ipv4.into(), ipv6.into(), NAMESERVER.into()])?;
        let listen = |e| Error::host("serve the internet", e);
        let server = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)).map_err(listen)?;
        let resolver = UdpSocket::bind((NAMESERVER, 53)).map_err(listen)?;
        let resolver_over_tcp = TcpListener::bind((NAMESERVER, 53)).map_err(listen)?;
        namespace::enter(&host).map_err(failed)?;
        keep_from_own_addresses(uplink::UPLINK)?;
        uplink::raise_host(&host_socket)?;
        uplink::notice_carriers(&host_socket, &socket)?;
        Ok(Internet {
            namespace,
            server,
            resolver,
            resolver_over_tcp,
        })
    }

    /// Serves it for as long as the process lives.
    pub(super) fn serve(&self) -> u8 {
        // From any namespace the sockets serve theirs; but so it can be entered from outside.
        let _ = namespace::enter(&self.namespace);
        thread::scope(|scope| {
            scope.spawn(|| {
                for caller in self.server.incoming().flatten() {
                    scope.spawn(move || tell_address(caller));
                }
            });
            scope.spawn(|| {
                for caller in self.resolver_over_tcp.incoming().flatten() {
                    // A caller who goes away needs no answers.
                    scope.spawn(move || resolve_over_tcp(caller));
                }
            });
            let mut query = [0; 512];
            loop {
                if let Ok((length, caller)) = self.resolver.recv_from(&mut query)
                    && let Some(answer) = resolve(&query[..length])
                {
                    // A caller who is gone needs no answer.
                    let _ = self.resolver.send_to(&answer, caller);
                }
            }
        })
    }
}

/// Has the kernel give no link-local address to a link, which would come some time after it is up. The
/// link must be in the namespace of this process.
fn keep_from_own_addresses(link: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/addr_gen_mode");
    fs::write(&path, "1").map_err(|e| Error::host(&format!("write {path}"), e))
}

/// The bytes of a request that are waited for.
const LONGEST_REQUEST: usize = 64 << 10;

/// Answers with the address that a caller has here.
fn tell_address(mut caller: TcpStream) {
    let Ok(peer) = caller.peer_addr() else { return };
    let _ = caller.set_read_timeout(Some(PATIENCE));
    // To close while something is unread would reset the connection, and the answer be lost. A request may
    // come in pieces; an answer without one is still one.
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let ended = |request: &[u8]| request.ends_with(b"\r\n\r\n") || request.ends_with(b"\n\n");
    while !ended(&request) && request.len() < LONGEST_REQUEST {
        match caller.read(&mut piece) {
            Ok(length @ 1..) => request.extend_from_slice(&piece[..length]),
            _ => break,
        }
    }
    let body = format!("{}\n", peer.ip().to_canonical());
    let length = body.len();
    let _ = write!(
        caller,
        "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// Answers queries, each with its length before it, until the caller ends or is silent for a while.
fn resolve_over_tcp(mut caller: TcpStream) -> io::Result<()> {
    caller.set_read_timeout(Some(PATIENCE))?;
    loop {
        let mut length = [0; 2];
        caller.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        caller.read_exact(&mut query)?;
        let Some(answer) = resolve(&query) else {
            return Ok(());
        };
        // No answer is longer than its question and one address.
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        caller.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}

/// The answer to a query (RFC 1035, section 4). None: it is none.
fn resolve(query: &[u8]) -> Option<Vec<u8>> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    /// A response, recursion desired and available.
    const FOUND: u16 = 0x8180;
    /// The same, and there is no such name.
    const NO_NAME: u16 = 0x8183;
    /// Where the name of the question begins, as names point to each other.
    const NAME_OF_QUESTION: u16 = 0xc00c;

    let (header, question) = query.split_at_checked(12)?;
    let end = question.iter().position(|byte| *byte == 0)? + 1;
    let (name, rest) = question.split_at(end);
    let kind = u16::from_be_bytes(*rest.first_chunk()?);
    let question = question.get(..end + 4)?;
    let known = name.eq_ignore_ascii_case(NAME);
    let found: Option<IpAddr> = match kind {
        A if known => Some(SERVER.0.into()),
        AAAA if known => Some(SERVER.1.into()),
        _ => None,
    };
    let mut answer = header[..2].to_vec();
    for field in [
        if known { FOUND } else { NO_NAME },
        1,
        u16::from(found.is_some()),
        0,
        0,
    ] {
        answer.extend_from_slice(&field.to_be_bytes());
    }
    answer.extend_from_slice(question);
    let octets = match found {
        None => return Some(answer),
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
    };
    answer.extend_from_slice(&NAME_OF_QUESTION.to_be_bytes());
    answer.extend_from_slice(&kind.to_be_bytes());
    answer.extend_from_slice(&1_u16.to_be_bytes());
    answer.extend_from_slice(&TTL.to_be_bytes());
    answer.extend_from_slice(&u16::try_from(octets.len()).ok()?.to_be_bytes());
    answer.extend_from_slice(&octets);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &[u8], kind: u8) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(name);
        query.extend_from_slice(&[0, kind, 0, 1]);
        query
    }

    #[test]
    fn the_resolver_knows_one_name_in_any_case() {
        let answer = resolve(&query(b"\x03WWW\x07example\x04test\x00", 1)).expect("an answer");
        assert_eq!(&answer[..8], &[0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(answer.ends_with(&[0, 4, 198, 51, 100, 10]));
        let answer = resolve(&query(NAME, 28)).expect("an answer");
        assert!(answer.ends_with(&SERVER.1.octets()));
    }

    #[test]
    fn the_resolver_has_no_other_name_and_no_other_kind() {
        let answer = resolve(&query(b"\x05other\x04test\x00", 1)).expect("an answer");
        assert_eq!(&answer[2..8], &[0x81, 0x83, 0, 1, 0, 0]);
        let answer = resolve(&query(NAME, 15)).expect("an answer");
        assert_eq!(&answer[2..8], &[0x81, 0x80, 0, 1, 0, 0]);
    }

    #[test]
    fn the_resolver_survives_what_is_no_query() {
        let whole = query(NAME, 1);
        for length in 0..whole.len() {
            assert_eq!(resolve(&whole[..length]), None, "{length} bytes");
        }
    }
}
