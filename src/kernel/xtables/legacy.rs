//! The tables of `iptables-legacy` and `ip6tables-legacy` in the network namespace of this thread.
//!
//! The kernel hands a table out as one block of bytes (`do_ipt_get_ctl` of `net/ipv4/netfilter/ip_tables.c`). Only what
//! `/proc` lists is asked for: to ask for a table makes it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::blob;
use crate::kernel::error::Error;
use crate::resource::Family;
use crate::resource::firewall::Table;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;
/// The length of a table's name (`XT_TABLE_MAXNAMELEN`).
const NAME: usize = 32;
/// The length of `struct ipt_getinfo`, and where in it the length of the entries stands.
const INFO: usize = 84;
const SIZE: usize = 80;
/// The length of `struct ipt_get_entries`, before the entries.
const ENTRIES: usize = 40;
/// How often a table is read again that changes meanwhile.
const ATTEMPTS: usize = 20;

/// Those that packets on their way through come by.
pub(in crate::kernel) fn tables() -> Result<Vec<Table>, Error> {
    let mut all = Vec::new();
    for (family, names) in [
        (Family::Ipv4, "/proc/thread-self/net/ip_tables_names"),
        (Family::Ipv6, "/proc/thread-self/net/ip6_tables_names"),
    ] {
        let listed = match fs::read_to_string(names) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.map_err(|e| Error::io("read", names, e))?,
        };
        for name in listed.lines() {
            let table = read(family, name).map_err(|e| Error::io("read", names, e))?;
            all.extend(table);
        }
    }
    Ok(all)
}

/// Reads a table. None: it has no chain that packets on their way through come by, or is gone.
fn read(family: Family, name: &str) -> io::Result<Option<Table>> {
    let socket = match family {
        Family::Ipv4 => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        Family::Ipv6 => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    let level = match family {
        Family::Ipv4 => libc::IPPROTO_IP,
        Family::Ipv6 => libc::IPPROTO_IPV6,
    };
    for _ in 0..ATTEMPTS {
        let mut info = named(name, INFO);
        match get(socket.as_fd(), level, GET_INFO, &mut info) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            result => result?,
        }
        let size: [u8; 4] = info[SIZE..].try_into().expect("a number");
        let length = usize::try_from(u32::from_ne_bytes(size)).expect("32 bits fit");
        let mut entries = named(name, ENTRIES + length);
        entries[NAME..NAME + 4].copy_from_slice(&size);
        match get(socket.as_fd(), level, GET_ENTRIES, &mut entries) {
            // It changed in between.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            result => {
                result?;
                return Ok(blob::table(family, name, &info, &entries[ENTRIES..]));
            }
        }
    }
    Err(io::Error::other(format!(
        "table {name} changes faster than it can be read"
    )))
}

/// So many bytes, which begin with a table's name.
fn named(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let name = &name.as_bytes()[..name.len().min(NAME - 1)];
    bytes[..name.len()].copy_from_slice(name);
    bytes
}

/// Asks for something that has just the length of a buffer, which says what.
fn get(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    what: libc::c_int,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "rustix knows no such option")]
    // SAFETY: the kernel writes no more than `length` bytes, which the buffer has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            what,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
