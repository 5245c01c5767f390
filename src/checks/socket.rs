//! Sockets of namespaces that never have their thread wait, and what the kernel tells of errors.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, ipproto,
};

use super::reactor;
use crate::kernel::namespace;

/// A namespace that sockets are opened in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The namespace.
    pub(super) ns: BorrowedFd<'a>,
    /// A number that no other namespace has; not 0.
    pub(super) number: usize,
}

thread_local! {
    /// The number of the namespace that this thread is in; 0: it hasn't entered one.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

impl Place<'_> {
    /// Moves this thread inside. It must be one that ends afterwards.
    pub(super) fn enter(self) -> io::Result<()> {
        if INSIDE.get() != self.number {
            namespace::enter(self.ns).map_err(io::Error::other)?;
            INSIDE.set(self.number);
        }
        Ok(())
    }
}

/// A socket. It stays in the namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Socket {
    fd: Rc<OwnedFd>,
}

impl Socket {
    fn open(
        place: Place<'_>,
        to: IpAddr,
        kind: SocketType,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        place.enter()?;
        let family = if to.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, kind, flags, protocol)?;
        let socket = Socket { fd: Rc::new(fd) };
        socket.have_errors_explained(to)?;
        Ok(socket)
    }

    /// One that datagrams go to a server by, and come from it alone.
    pub(super) fn udp(place: Place<'_>, to: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::open(place, to.ip(), SocketType::DGRAM, None)?;
        socket.connect(to)?;
        Ok(socket)
    }

    /// One that begins to connect. [`Socket::connected`] waits for it.
    pub(super) fn tcp(place: Place<'_>, to: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::open(place, to.ip(), SocketType::STREAM, None)?;
        match socket.connect(to) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
            other => other.map(|()| socket),
        }
    }

    /// One that speaks ICMP with an address, and hears only answers to echo requests with this number.
    pub(super) fn echo(place: Place<'_>, to: IpAddr, id: u16) -> io::Result<Socket> {
        let protocol = if to.is_ipv4() {
            ipproto::ICMP
        } else {
            ipproto::ICMPV6
        };
        let socket = Socket::open(place, to, SocketType::RAW, Some(protocol))?;
        socket.hear_only(to, id)?;
        Ok(socket)
    }

    /// For the reactor to wait for.
    pub(super) fn fd(&self) -> &Rc<OwnedFd> {
        &self.fd
    }

    /// Finds the way to an address anew.
    pub(super) fn connect(&self, to: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(&self.fd, &to)?)
    }

    /// Waits until a connection is there, or has failed.
    pub(super) async fn connected(&self, until: Instant) -> io::Result<()> {
        reactor::attempt(&self.fd, PollFlags::OUT, until, || {
            rustix::net::sockopt::socket_error(&self.fd)?.map_err(io::Error::from)?;
            match rustix::net::getpeername(&self.fd) {
                Ok(_) => Ok(()),
                Err(rustix::io::Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
                Err(e) => Err(e.into()),
            }
        })
        .await
    }

    /// The address that it sends from.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        ip(rustix::net::getsockname(&self.fd).ok()?)
    }

    /// Sends once there is room, and says how many bytes. After `until` it fails with [`io::ErrorKind::TimedOut`].
    pub(super) async fn sent(&self, bytes: &[u8], until: Instant) -> io::Result<usize> {
        reactor::attempt(&self.fd, PollFlags::OUT, until, || self.send(bytes)).await
    }

    /// Receives once there is something, and says how many bytes. After `until` it fails with [`io::ErrorKind::TimedOut`].
    pub(super) async fn received(&self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        reactor::attempt(&self.fd, PollFlags::IN, until, || self.receive(buffer)).await
    }

    /// Sends, and says how many bytes.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Receives, and says how many bytes.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = rustix::net::recv(&self.fd, buffer, RecvFlags::empty())?;
        Ok(length)
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
        let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
        // SAFETY: the kernel reads `length` bytes from `value`, which has as many.
        #[expect(unsafe_code, reason = "rustix doesn't know these options")]
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                value.as_ptr().cast(),
                length,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Has the kernel keep the errors of ICMP with who sent them (`IP_RECVERR`, `man 7 ip`; for TCP that connects too,
    /// `tcp_v4_err` of `net/ipv4/tcp_ipv4.c`).
    fn have_errors_explained(&self, to: IpAddr) -> io::Result<()> {
        let (level, name) = if to.is_ipv4() {
            (libc::SOL_IP, libc::IP_RECVERR)
        } else {
            (libc::SOL_IPV6, libc::IPV6_RECVERR)
        };
        self.set(level, name, &1_i32.to_ne_bytes())
    }

    /// Has the kernel throw away what isn't an answer to an echo request of a number: a raw socket gets a copy of all ICMP from
    /// its peer (`SO_ATTACH_FILTER`, `man 7 socket`; the packet begins with the IP header for IPv4 alone, `man 7 raw`).
    fn hear_only(&self, to: IpAddr, id: u16) -> io::Result<()> {
        // The number of an answer's type, and whether an IP header comes before it.
        let (kind, header): (u32, bool) = if to.is_ipv4() {
            (0, true)
        } else {
            (129, false)
        };
        let load = |code: u32, at| (code, 0, 0, at);
        let unless = |value, skip| (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
        let first = if header {
            load(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0)
        } else {
            load(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, 0)
        };
        let code = [
            first,
            load(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0),
            unless(kind, 3),
            load(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 4),
            unless(u32::from(id), 1),
            (libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            (libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let mut code = code.map(|(code, jt, jf, k)| libc::sock_filter {
            // All of them fit.
            code: u16::try_from(code).unwrap_or_default(),
            jt,
            jf,
            k,
        });
        let program = libc::sock_fprog {
            len: u16::try_from(code.len()).map_err(io::Error::other)?,
            filter: code.as_mut_ptr(),
        };
        let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
        // SAFETY: the program and its instructions live until the call ends, and are as many as it says.
        #[expect(unsafe_code, reason = "rustix doesn't know this option")]
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                length,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The next of the errors that the kernel keeps for this socket (`MSG_ERRQUEUE`, `man 2 recvmsg`). None: there is none.
    pub(super) fn error(&self) -> Option<Told> {
        let mut payload = [0_u8; 64];
        let mut control = [MaybeUninit::<u64>::zeroed(); 32];
        let mut part = libc::iovec {
            iov_base: payload.as_mut_ptr().cast(),
            iov_len: payload.len(),
        };
        // SAFETY: all zeroes are a header without anything in it.
        #[expect(unsafe_code, reason = "rustix doesn't read these messages")]
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the header points to a buffer and to room for control messages, both as long as it says.
        #[expect(unsafe_code, reason = "rustix doesn't read these messages")]
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
        let length = usize::try_from(length).ok()?;
        let mut told = None;
        // SAFETY: the kernel filled the header in, and its messages lie in `control`, aligned; what is read of one is within its
        // length.
        #[expect(unsafe_code, reason = "rustix doesn't read these messages")]
        unsafe {
            let mut at = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(message) = at.as_ref() {
                let of_errors = matches!(
                    (message.cmsg_level, message.cmsg_type),
                    (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
                );
                if of_errors {
                    let room = message.cmsg_len - libc::CMSG_LEN(0) as usize;
                    let data = std::slice::from_raw_parts(libc::CMSG_DATA(at), room);
                    told = Told::parse(data);
                }
                at = libc::CMSG_NXTHDR(&raw const header, at);
            }
        }
        told.map(|told| Told {
            packet: payload[..length.min(payload.len())].to_vec(),
            ..told
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An error that was told of a packet (`struct sock_extended_err`, `man 7 ip`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The number of the error.
    pub(super) errno: i32,
    /// The type and code of the ICMP message; none: the kernel of this namespace says it.
    pub(super) icmp: Option<(u8, u8)>,
    /// Who says it.
    pub(super) by: Option<IpAddr>,
    /// The beginning of the packet that it is about, behind its IP header.
    pub(super) packet: Vec<u8>,
}

impl Told {
    /// Reads what the kernel tells, and the address of who says it behind that.
    fn parse(data: &[u8]) -> Option<Told> {
        /// Who found the error: ICMP, that of IPv4 and that of IPv6 (`linux/errqueue.h`).
        const ORIGINS: [u8; 2] = [2, 3];
        let (fixed, offender) = data.split_first_chunk::<16>()?;
        let errno = u32::from_ne_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]);
        let family = offender
            .first_chunk()
            .map(|bytes| u16::from_ne_bytes(*bytes));
        let by = match family.map(i32::from) {
            Some(libc::AF_INET) => {
                let ip: [u8; 4] = offender.get(4..8)?.try_into().ok()?;
                Some(Ipv4Addr::from(ip).into())
            }
            Some(libc::AF_INET6) => {
                let ip: [u8; 16] = offender.get(8..24)?.try_into().ok()?;
                Some(Ipv6Addr::from(ip).into())
            }
            _ => None,
        };
        Some(Told {
            errno: i32::try_from(errno).ok()?,
            icmp: ORIGINS.contains(&fixed[4]).then_some((fixed[5], fixed[6])),
            by,
            packet: Vec::new(),
        })
    }
}

/// The address in an address of a socket.
fn ip(address: SocketAddrAny) -> Option<IpAddr> {
    SocketAddr::try_from(address)
        .ok()
        .map(|address| address.ip())
}
