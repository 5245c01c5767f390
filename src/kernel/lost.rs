//! A topology whose record is lost, though it is here.

use std::collections::BTreeSet;

use super::observe::Seen;
use super::peers::Peers;
use super::record::Record;
use super::tag;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::sysctl::{FORCED, SysctlKey};
use crate::resource::{Family, Id, Key, Ns};
use crate::state::State;

/// What of a topology tells that it must have had a record, by which it is known again: its tables, and the namespaces
/// that a link of it leads into from the host. The tag inside of a namespace alone doesn't count: who is in
/// there can write it.
#[derive(Debug, Default)]
pub(super) struct Left {
    namespaces: BTreeSet<NamespaceName>,
    tables: BTreeSet<Id>,
}

impl Left {
    /// What there is.
    pub(super) fn of(topology: &TopologyName, seen: &[Seen], peers: &Peers, state: &State) -> Left {
        let owned = |id: &Id| state.get(id).is_some_and(|entry| entry.owner.is(topology));
        let host = seen.iter().filter(|one| one.ns == Ns::Host);
        let links = host.flat_map(|one| &one.reading.links);
        let ours = links.filter(|link| tag::of_link(link).as_ref() == Some(topology));
        let behind = ours.filter_map(|link| peers.of(&Ns::Host, link.index)?.0.name());
        let behind = behind.filter(|name| {
            let ns = Ns::Named((*name).clone());
            !state.is_found(&ns) && owned(&Id::namespace(ns))
        });
        let tables = state.entries.keys().filter(|id| id.key == Key::Table);
        Left {
            namespaces: behind.cloned().collect(),
            tables: tables.filter(|id| owned(id)).cloned().collect(),
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.tables.is_empty()
    }

    /// Notes it.
    pub(super) fn note(self, record: &mut Record) {
        record.namespaces.extend(self.namespaces);
        record.claims.extend(self.tables);
    }
}

/// The settings that a topology is likely to have on loan, of which its lost record would tell: the forwarding
/// of links that others made, where others don't forward.
pub(super) fn likely(seen: &[Seen], state: &State) -> BTreeSet<Id> {
    let mut likely = BTreeSet::new();
    for one in seen.iter().filter(|one| state.is_found(&one.ns)) {
        let links = &one.reading.links;
        // The switch writes every link's value, that of `lo` too.
        let lo = links.iter().find(|link| link.is_loopback());
        let forwards_all = |family| {
            lo.and_then(|lo| lo.conf(family, "forwarding"))
                .is_none_or(|value| value != 0)
        };
        let foreign = links
            .iter()
            .filter(|link| !link.is_loopback() && tag::of_link(link).is_none());
        for link in foreign {
            let Ok(name) = LinkName::try_from(link.name.as_str()) else {
                continue;
            };
            for (family, last) in [(Family::Ipv4, "forwarding"), (Family::Ipv6, FORCED)] {
                let id = Id::new(
                    one.ns.clone(),
                    Key::Sysctl(SysctlKey::conf(family, name.clone(), last)),
                );
                let on = link.conf(family, last).is_some_and(|value| value != 0);
                if on && !forwards_all(family) && !state.loans.contains_key(&id) {
                    likely.insert(id);
                }
            }
        }
    }
    likely
}
