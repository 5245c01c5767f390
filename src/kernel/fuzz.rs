//! The decoders of what the kernel says, for arbitrary bytes. See `docs/fuzzing.md`.

use super::codec::{Message, messages};
use super::{conntrack, ports, read, xtables};
use crate::resource::Family;
use crate::resource::firewall::Table;

pub(crate) use super::nftables::fuzz::nftables;

/// The length of `struct ipt_getinfo`.
const INFO: usize = 84;

/// Decodes datagrams of rtnetlink, sockets and connection tracking: each message as whatever it could be.
pub(crate) fn netlink(bytes: &[u8]) {
    for message in messages(bytes) {
        let Message { kind, .. } = message;
        message.verdict();
        match kind {
            libc::RTM_NEWLINK => drop(read::link(&message)),
            libc::RTM_NEWADDR => drop(read::address(&message)),
            libc::RTM_NEWROUTE => drop(read::route(&message)),
            libc::RTM_NEWRULE => drop(read::rule(&message)),
            _ => {
                ports::listener(6, &message);
                conntrack::connection(&message);
            }
        }
    }
}

/// Decodes an older table of iptables: a byte whose lowest bit is the family, `struct ipt_getinfo`, and the entries.
pub(crate) fn xtables(bytes: &[u8]) -> Option<Table> {
    let (family, rest) = bytes.split_first()?;
    let (info, entries) = rest.split_at_checked(INFO)?;
    let family = Family::BOTH[usize::from(family & 1)];
    xtables::table(family, "filter", info, entries)
}
