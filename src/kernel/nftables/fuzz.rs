//! The decoders of rule sets, for arbitrary bytes. See `docs/fuzzing.md`.

use std::collections::BTreeMap;

use super::attribute::Attributes;
use super::foreign::{self, Gathered, Names};
use super::socket::{Reply, errno, text};
use super::{number as attr, read, userdata};
use crate::resource::firewall::{Chain, Set, Table, TableFamily};
use crate::resource::nftables::Element;

/// The name of the one link there is.
const LINK: &str = "ens33";

/// Reads messages as those of a table of others, which is what comes back.
///
/// Those of the topology's own tables are read by libnftnl, which ends the process where the kernel isn't as it thinks
/// (`abi_breakage` of its `common.c`); of these, what it hands over is decoded.
pub(crate) fn nftables(bytes: &[u8]) -> Table {
    let names = Names::from([(2, LINK.to_owned())]);
    let mut table = Table {
        family: TableFamily::Inet,
        name: "filter".to_owned(),
        legacy: false,
        bases: BTreeMap::new(),
        chains: BTreeMap::new(),
        names: Vec::new(),
        sets: BTreeMap::new(),
    };
    let mut sets = BTreeMap::new();
    let mut rest = bytes;
    while let Some(reply) = Reply::first_of(rest) {
        let message = reply.bytes;
        let attributes = Attributes::of(message);
        match reply.kind & 0xff {
            libc::NFT_MSG_NEWCHAIN => {
                if let Some(name) = attributes.text(attr::CHAIN_NAME) {
                    let policy = foreign::policy(attributes);
                    table
                        .bases
                        .extend(policy.map(|policy| (name.clone(), policy)));
                    table.chains.entry(name.clone()).or_default();
                    table.names.push(name);
                }
            }
            libc::NFT_MSG_NEWRULE => {
                let chain = attributes.text(attr::RULE_CHAIN).unwrap_or_default();
                let chain: &mut Chain = table.chains.entry(chain).or_default();
                chain.rules.push(foreign::rule(attributes, &names));
                let kept = attributes.bytes(attr::RULE_USERDATA).unwrap_or_default();
                userdata::find_comment(kept, userdata::SET_COMMENT);
            }
            libc::NFT_MSG_NEWSET => {
                if let (Some(name), Some(shape)) =
                    (attributes.text(attr::SET_NAME), foreign::shape(attributes))
                {
                    sets.insert(name, (shape, Gathered::default()));
                }
            }
            libc::NFT_MSG_NEWSETELEM => {
                let set = attributes.text(attr::ELEMENTS_SET).unwrap_or_default();
                if let Some((_, gathered)) = sets.get_mut(&set) {
                    gathered.take(message);
                }
                elements(attributes);
            }
            _ => {
                errno(&reply);
                text(&reply);
            }
        }
        let length = message.len().next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    let into_set = |(shape, gathered): (_, Gathered)| -> Set { gathered.into_set(shape) };
    let sets = sets.into_iter();
    table.sets = sets.map(|(name, set)| (name, into_set(set))).collect();
    table
}

/// Decodes elements as those of sets with keys of several kinds.
fn elements(message: Attributes<'_>) {
    for element in message.list(attr::ELEMENTS_LIST) {
        let key = |number| {
            let key = element.nested(number)?;
            key.bytes(attr::DATA_VALUE)
        };
        let from = key(attr::ELEMENT_KEY).unwrap_or_default();
        let to = key(attr::ELEMENT_KEY_END).unwrap_or(from);
        let kind = element.u32(attr::ELEMENT_FLAGS).unwrap_or(0);
        Element::decode(&read::fields(kind), from, to);
    }
}
