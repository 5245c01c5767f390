//! Whose a namespace is: what its tag says, if something else says it too.
//!
//! The tag is the alias of the `lo` inside, and who is inside can rewrite it. So either the record of the
//! topology must name the namespace, or, where that is lost, a link with the topology's tag must lead into it:
//! from the host, or from a namespace that is witnessed itself.

use std::collections::{BTreeMap, BTreeSet};

use super::observe::Seen;
use super::peers::Peers;
use super::record::Record;
use super::tag;
use crate::resource::Ns;
use crate::resource::name::{NamespaceName, TopologyName};
use crate::state::Owner;

/// Whose each of the namespaces is that were read, the host left out. Of external ones the record of
/// `topology` alone says that they are its own.
pub(super) fn owners(
    seen: &[Seen],
    external: &BTreeSet<Ns>,
    topology: &TopologyName,
    records: &[Record],
    peers: &Peers,
) -> BTreeMap<Ns, Owner> {
    let mut owners = BTreeMap::new();
    let mut claimed: BTreeMap<&Ns, TopologyName> = BTreeMap::new();
    for one in seen {
        let Ns::Named(name) = &one.ns else { continue };
        let lo = one.reading.links.iter().find(|link| link.is_loopback());
        let tag = lo.and_then(tag::of_link);
        let makers = makers(records, name);
        let owner = match (tag, makers.first()) {
            (Some(tag), _) if makers.contains(&&tag) => Owner::Topology(tag),
            (_, Some(maker)) if !external.contains(&one.ns) => Owner::Disputed((*maker).clone()),
            (Some(tag), None) if tag != *topology || !external.contains(&one.ns) => {
                claimed.insert(&one.ns, tag);
                Owner::Foreign
            }
            _ => Owner::Foreign,
        };
        owners.insert(one.ns.clone(), owner);
    }
    // One that is witnessed can witness for others.
    while !claimed.is_empty() {
        let trusted = |one: &&Seen, tag: &TopologyName| {
            one.ns == Ns::Host || owners.get(&one.ns).is_some_and(|owner| owner.is(tag))
        };
        let leads_into = |ns: &Ns, tag: &TopologyName| {
            let mut inside = seen.iter().filter(|one| trusted(one, tag));
            inside.any(|one| {
                one.reading.links.iter().any(|link| {
                    let peer = peers.of(&one.ns, link.index);
                    peer.is_some_and(|(there, _)| there == ns)
                        && one.ns != *ns
                        && tag::of_link(link).as_ref() == Some(tag)
                })
            })
        };
        let led = claimed.iter().filter(|(ns, tag)| leads_into(ns, tag));
        let led: Vec<Ns> = led.map(|(ns, _)| (*ns).clone()).collect();
        if led.is_empty() {
            break;
        }
        for ns in led {
            if let Some(tag) = claimed.remove(&ns) {
                owners.insert(ns, Owner::Topology(tag));
            }
        }
    }
    owners
}

/// The topologies whose records say that they made a namespace: two while one is renamed, or after a crash.
fn makers<'r>(records: &'r [Record], name: &NamespaceName) -> Vec<&'r TopologyName> {
    let records = records.iter();
    records
        .filter(|record| record.namespaces.contains(name))
        .map(|record| &record.topology)
        .collect()
}
