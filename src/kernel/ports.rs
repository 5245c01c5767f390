//! Ports that are spoken for: by other topologies' tables, and by processes that listen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;

use super::codec::{Message, attribute};
use super::error::Error;
use super::socket::Socket;
use super::space::door;
use super::{Kernel, namespace, processes, tables};
use crate::resource::Ns;
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;
use crate::resource::nftables::gateway::withdrawn::{self, Lead};
use crate::state::{Facts, Listener, PlacePorts};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// The bits of the states of sockets that wait for others (`enum tcp_state` of `netinet/tcp.h`): those of TCP that
/// listen, and those of UDP that are connected to nobody.
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
/// The length of `struct inet_diag_req_v2` of `linux/inet_diag.h`.
const REQUEST: usize = 56;
/// The length of `struct inet_diag_msg`, and the places in it.
const ANSWER: usize = 72;
const PORT: usize = 4;
const ADDRESS: usize = 8;
const INODE: usize = 68;
/// `INET_DIAG_SKV6ONLY` of `linux/inet_diag.h`.
const ONLY_IPV6: u16 = 11;

impl Kernel {
    /// Adds to the facts what may get in the way of what a topology publishes in some namespaces of others, at
    /// some ports.
    pub fn ports(
        &mut self,
        topology: &TopologyName,
        namespaces: &BTreeMap<&Ns, Vec<RangeInclusive<u16>>>,
        facts: &mut Facts,
    ) -> Result<(), Error> {
        for (ns, ports) in namespaces {
            let (Some(place), Some(door)) = (facts.place_mut(ns), door(&self.doors, ns)?) else {
                continue;
            };
            place.ports = namespace::inside(door.as_fd(), || {
                Ok(PlacePorts {
                    published: published(&tables::of_others(topology)?, topology),
                    listeners: listeners(ports)?,
                })
            })?;
        }
        Ok(())
    }
}

/// What the tables of other topologies than one publish.
pub(super) fn published(
    tables: &[Table],
    topology: &TopologyName,
) -> BTreeMap<TopologyName, BTreeSet<Lead>> {
    let of_others = tables.iter().filter_map(|table| {
        let owner = table.owner().filter(|owner| owner != topology)?;
        Some((owner, withdrawn::leads(table)))
    });
    of_others.filter(|(_, leads)| !leads.is_empty()).collect()
}

/// Which of some ports processes listen at in the namespace of this thread. Without the kernel's interface that is not
/// known.
fn listeners(ports: &[RangeInclusive<u16>]) -> Result<BTreeSet<Listener>, Error> {
    let mut found = listening()?;
    found.retain(|(listener, _)| ports.iter().any(|ports| ports.contains(&listener.port)));
    // To look at every process takes a while where there are many.
    let holders = if found.is_empty() {
        HashMap::new()
    } else {
        holders(&found.iter().map(|(_, inode)| *inode).collect())
    };
    Ok(held(found, &holders))
}

/// Listeners with their processes, as far as these are known.
pub(super) fn held(
    found: Vec<(Listener, u64)>,
    holders: &HashMap<u64, (u32, String)>,
) -> BTreeSet<Listener> {
    let with_process = found.into_iter().map(|(listener, inode)| Listener {
        process: holders.get(&inode).cloned(),
        ..listener
    });
    with_process.collect()
}

/// What listens in the namespace of this thread, each with the number of its file.
pub(super) fn listening() -> Result<Vec<(Listener, u64)>, Error> {
    let mut found: Vec<(Listener, u64)> = Vec::new();
    let Ok(mut socket) = Socket::of_sockets() else {
        return Ok(found);
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (protocol, states) in [
            (libc::IPPROTO_TCP, LISTENING),
            (libc::IPPROTO_UDP, UNCONNECTED),
        ] {
            let [family, protocol] = [family, protocol].map(|number| {
                u8::try_from(number).expect("families and protocols have small numbers")
            });
            let mut request = [0; REQUEST];
            request[..2].copy_from_slice(&[family, protocol]);
            request[4..8].copy_from_slice(&states.to_ne_bytes());
            let listening = socket.dump(
                BY_FAMILY,
                |message| message.fixed(&request),
                |all: &mut Vec<(Listener, u64)>, message| all.extend(listener(protocol, &message)),
            );
            match listening {
                Ok(listening) => found.extend(listening),
                // A kernel without this interface for the protocol (`inet_diag_lock_handler` of
                // `net/ipv4/inet_diag.c`).
                Err(Error::Refused {
                    errno: libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// What a message says of a socket, and the number of its file. None: it is bound to no port.
pub(super) fn listener(protocol: u8, message: &Message<'_>) -> Option<(Listener, u64)> {
    let (fixed, attributes) = message.payload.split_at_checked(ANSWER)?;
    let port = u16::from_be_bytes(fixed[PORT..PORT + 2].try_into().ok()?);
    let bytes: [u8; 16] = fixed[ADDRESS..ADDRESS + 16].try_into().ok()?;
    let address = if i32::from(fixed[0]) == libc::AF_INET {
        let [a, b, c, d, ..] = bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        let ip = Ipv6Addr::from(bytes);
        ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
    };
    let only_ipv6 = attribute(attributes, ONLY_IPV6).is_some_and(|value| value == [1]);
    let listener = Listener {
        protocol,
        port,
        address,
        both: address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !only_ipv6,
        process: None,
    };
    let inode = u32::from_ne_bytes(fixed[INODE..].try_into().ok()?);
    (port != 0).then_some((listener, u64::from(inode)))
}

/// The processes that have some sockets, by the numbers of these. Those of others may not be told.
pub(super) fn holders(sockets: &BTreeSet<u64>) -> HashMap<u64, (u32, String)> {
    let mut found = HashMap::new();
    for (pid, path) in processes::all().into_iter().flatten() {
        let files = fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for file in files {
            let inode = processes::inode(&file.path(), "socket");
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode)) {
                // The first process has a socket from the start, its children from it.
                let holder = || (pid, processes::name(pid));
                found.entry(inode).or_insert_with(holder);
            }
        }
    }
    found
}
