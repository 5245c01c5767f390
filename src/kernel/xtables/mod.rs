//! iptables: what its matches and targets do, also where nftables carries them, and its older tables.

mod blob;
mod legacy;
mod nat;

pub(super) use self::blob::table;
pub(super) use self::legacy::tables;
pub(super) use self::nat::{asks, translates};

use crate::resource::firewall::Step;
use crate::resource::firewall::conntrack::Conntrack;
use crate::resource::nftables::Verdict;

/// What a match asks. None: it isn't known.
pub(super) fn matches(name: &str, revision: u32, data: &[u8]) -> Option<Step> {
    if name != "conntrack" {
        return None;
    }
    Conntrack::parse(revision, data).map(Step::Conntrack)
}

/// The text of the match `comment` (`struct xt_comment_info`), if it is one.
pub(super) fn comment(name: &str, data: &[u8]) -> Option<String> {
    (name == "comment").then(|| text(data))
}

/// What a target does. None: nothing that matters.
pub(super) fn target(name: &str) -> Option<Step> {
    match name {
        "REJECT" | "DROP" => Some(Step::Verdict(Verdict::Drop)),
        "MARK" => Some(Step::Mark),
        "LOG" | "NFLOG" | "ULOG" | "CONNMARK" | "TCPMSS" | "TOS" | "DSCP" | "TTL" | "HL"
        | "CLASSIFY" | "CHECKSUM" | "AUDIT" | "RATEEST" | "SECMARK" | "CONNSECMARK" | "SET"
        | "TEE" | "TRACE" | "IDLETIMER" | "LED" | "TCPOPTSTRIP" | "NOTRACK" | "CT" | "ECN" => None,
        "NFQUEUE" | "QUEUE" => Some(Step::Queue),
        _ => Some(Step::Undecided),
    }
}

/// Text up to its NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
