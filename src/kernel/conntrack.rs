//! Connection tracking: having the kernel forget connections (`linux/netfilter/nfnetlink_conntrack.h`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::codec::{Message, attribute, ip_of};
use super::error::Error;
use super::read;
use super::socket::{DATAGRAM, Requests, Socket};
use crate::resource::nftables::gateway::withdrawn::{Connection, Withdrawn};
use crate::state::Connections;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 0x101;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 0x102;
/// The fixed part of a message (`struct nfgenmsg`): the family, the version, and the resource's number.
const FIXED: usize = 4;

/// Attributes (`enum ctattr_type`).
mod cta {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    /// Within a tuple (`enum ctattr_tuple`).
    pub(super) const TUPLE_IP: u16 = 1;
    /// Within that, the source and the destination of IPv4, then those of IPv6 (`enum ctattr_ip`).
    pub(super) const SOURCE: [u16; 2] = [1, 3];
    pub(super) const DESTINATION: [u16; 2] = [2, 4];
    /// Within a tuple.
    pub(super) const TUPLE_PROTO: u16 = 2;
    /// Within that, the protocol's number, and the source's port (`enum ctattr_l4proto`).
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_SRC_PORT: u16 = 2;
    /// The port of the destination.
    pub(super) const PROTO_DST_PORT: u16 = 3;
}

/// Has the kernel forget the connections of this thread's namespace that end. A kernel without this
/// interface (`CONFIG_NF_CT_NETLINK`) keeps them: they go on until they are over.
pub(super) fn end(withdrawn: &Withdrawn) -> Result<(), Error> {
    let mut socket = Socket::of_netfilter()?;
    let keep = |all: &mut Vec<Vec<u8>>, message: &Message<'_>, _: &Connection| {
        all.push(message.payload.to_vec());
    };
    let Some(entries) = covered(&mut socket, withdrawn, keep)? else {
        return Ok(());
    };
    let mut entries = entries.iter().peekable();
    while entries.peek().is_some() {
        let mut requests = Requests::default();
        while requests.bytes() < DATAGRAM
            && let Some(entry) = entries.next()
        {
            forget(&mut requests, entry);
        }
        for (_, verdict) in socket.send(&mut requests, |_, _| {})? {
            // It was over meanwhile.
            if verdict.errno != libc::ENOENT {
                let (errno, text) = (verdict.errno, verdict.text);
                return Err(Error::Refused { errno, text });
            }
        }
    }
    Ok(())
}

/// How many connections of this thread's namespace would end. None: the kernel has no such interface.
pub(super) fn count(withdrawn: &Withdrawn) -> Result<Option<Connections>, Error> {
    if withdrawn.is_empty() {
        return Ok(Some(Connections::default()));
    }
    let mut socket = Socket::of_netfilter()?;
    covered(
        &mut socket,
        withdrawn,
        |count: &mut Connections, message, found| {
            let attributes = message.payload.get(FIXED..).unwrap_or_default();
            let answered_to = address(attributes, cta::TUPLE_REPLY, cta::DESTINATION);
            count.all += 1;
            count.source_rewritten += u64::from(answered_to.is_some_and(|to| to != found.from));
            count.destination_rewritten +=
                u64::from((found.to, found.port) != (found.at, found.at_port));
        },
    )
}

/// Takes in each of those connections of this thread's namespace that end. None: the kernel has no such interface.
fn covered<T: Default>(
    socket: &mut Socket,
    withdrawn: &Withdrawn,
    take: impl Fn(&mut T, &Message<'_>, &Connection),
) -> Result<Option<T>, Error> {
    let local = read::addresses(&mut Socket::open()?)?;
    let local: BTreeSet<IpAddr> = local.into_iter().map(|address| address.ip).collect();
    let taken = socket.dump(
        GET,
        |request| request.fixed(&[0; FIXED]),
        |all: &mut T, message| {
            if let Some(found) = connection(&message)
                && withdrawn.covers(&found, &local)
            {
                take(all, &message, &found);
            }
        },
    );
    match taken {
        // What `nfnetlink_rcv_msg` of `net/netfilter/nfnetlink.c` says of a subsystem that it hasn't.
        Err(Error::Refused {
            errno: libc::EINVAL | libc::EOPNOTSUPP,
            ..
        }) => Ok(None),
        taken => taken.map(Some),
    }
}

/// An address of a connection, in one of its directions.
fn address(attributes: &[u8], tuple: u16, end: [u16; 2]) -> Option<IpAddr> {
    let addresses = attribute(attribute(attributes, tuple)?, cta::TUPLE_IP)?;
    let mut ends = end.into_iter();
    ends.find_map(|kind| attribute(addresses, kind).and_then(ip_of))
}

/// What of a connection matters. None: it is of another family.
pub(super) fn connection(message: &Message<'_>) -> Option<Connection> {
    let attributes = message.payload.get(FIXED..)?;
    let address = |tuple, end| address(attributes, tuple, end);
    let transport = |tuple: u16| attribute(attribute(attributes, tuple)?, cta::TUPLE_PROTO);
    let port = |tuple: u16, end: u16| {
        let port = attribute(transport(tuple)?, end)?;
        port.try_into().ok().map(u16::from_be_bytes)
    };
    // Replies come from where it leads to.
    let protocol = attribute(transport(cta::TUPLE_REPLY)?, cta::PROTO_NUM)?;
    Some(Connection {
        from: address(cta::TUPLE_ORIG, cta::SOURCE)?,
        to: address(cta::TUPLE_REPLY, cta::SOURCE)?,
        protocol: *protocol.first()?,
        port: port(cta::TUPLE_REPLY, cta::PROTO_SRC_PORT).unwrap_or(0),
        at: address(cta::TUPLE_ORIG, cta::DESTINATION)?,
        at_port: port(cta::TUPLE_ORIG, cta::PROTO_DST_PORT).unwrap_or(0),
    })
}

/// Appends the request that deletes an entry: by its first direction and, lest it be one that has begun
/// with the same since, by its number.
fn forget(requests: &mut Requests, entry: &[u8]) {
    let mut request = requests.request(DELETE, 0);
    let (fixed, attributes) = entry.split_at(FIXED);
    request.fixed(fixed);
    for kind in [cta::TUPLE_ORIG, cta::ZONE, cta::ID] {
        if let Some(value) = attribute(attributes, kind) {
            let nested = if kind == cta::TUPLE_ORIG { NESTED } else { 0 };
            request.put(kind | nested, value);
        }
    }
}

/// `NLA_F_NESTED`: the value consists of attributes.
const NESTED: u16 = 0x8000;
