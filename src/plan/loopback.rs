//! What was opened of loopback addresses is shut again.
//!
//! A publication at 127.0.0.1 has the gateway link take and lead on packets of 127.0.0.0/8, and the table keeps those
//! out that come by the link. When the table does that no more, the setting must be back before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::decide::Decision;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::loopback_links;
use crate::resource::sysctl::{ROUTE_LOCALNET, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Resource};
use crate::state::State;

/// The value that it has otherwise.
static OFF: LazyLock<Resource> = LazyLock::new(|| Resource::Sysctl(Sysctl::off()));

/// The settings of links that the table of a namespace guards, and will guard no more.
pub(super) fn left_open(desired: &State, observed: &State) -> Vec<Id> {
    let links = |state: &State, id: &Id| match state.get(id).map(|entry| &entry.resource) {
        Some(Resource::Table(table)) => loopback_links(table),
        _ => BTreeSet::new(),
    };
    let tables = desired.entries.keys().filter(|id| id.key == Key::Table);
    let gone = observed.entries.keys();
    let gone = gone.filter(|id| id.key == Key::Table && desired.get(id).is_none());
    let mut open = Vec::new();
    for id in tables.chain(gone) {
        let guarded: BTreeSet<LinkName> = links(observed, id);
        for link in guarded.difference(&links(desired, id)) {
            let key = SysctlKey::conf(Family::Ipv4, link.clone(), ROUTE_LOCALNET);
            let setting = Id::new(id.ns.clone(), Key::Sysctl(key));
            // What the spec says of it is done anyway. What is on loan is given back.
            if desired
                .get(&Id::link(id.ns.clone(), link.clone()))
                .is_some()
                && desired.get(&setting).is_none()
            {
                open.push(setting);
            }
        }
    }
    open
}

/// Has these set back, but for those of links that are made again, which begin without.
pub(super) fn shut<'s>(
    decisions: &mut BTreeMap<&'s Id, Decision<'s>>,
    fallen: impl Fn(&Id) -> bool,
    open: &'s [Id],
) {
    for setting in open {
        let Key::Sysctl(SysctlKey::Conf { link, .. }) = &setting.key else {
            continue;
        };
        let link = Id::link(setting.ns.clone(), link.clone());
        let stays = matches!(
            decisions.get(&link),
            Some(Decision::Keep | Decision::Update(..))
        );
        if stays && !fallen(&link) {
            decisions.insert(setting, Decision::Create(&OFF));
        }
    }
}
