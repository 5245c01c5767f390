//! Things of a topology that lose their tags: as if a script had made them.

use std::collections::BTreeSet;

use fastrand::Rng;
use netform::plan::{Plan, Transfer};
use netform::resource::link::{Link, LinkKind, veth::Veth};
use netform::resource::name::TopologyName;
use netform::resource::{Id, Key, Resource};
use netform::state::{Owner, State};

use super::kernel::World;

/// Takes the tags from some of a topology's things: from both ends of a pair, and from all in a namespace with
/// it.
pub(crate) fn untag(world: &mut World, topology: &TopologyName, rng: &mut Rng) -> BTreeSet<Id> {
    let all = rng.u8(..3) == 0;
    let ours = world
        .entries
        .iter()
        .filter(|(_, entry)| entry.owner.is(topology));
    let ours: Vec<Id> = ours.map(|(id, _)| id.clone()).collect();
    let mut chosen: BTreeSet<Id> = BTreeSet::new();
    for id in &ours {
        let guarded = world.tables.keys().any(|(ns, _)| *ns == id.ns);
        match id.key {
            _ if !all && rng.bool() => {}
            // One of others that rejects all keeps routes from being made, whoever has the rest.
            Key::Rule(_) if rejects(&world.entries[id].resource) => {}
            // What has a table of the topology is known by that.
            Key::Namespace if guarded => {}
            Key::Namespace => {
                let inside = ours.iter().filter(|other| other.ns == id.ns);
                chosen.extend(inside.cloned());
            }
            _ => {
                chosen.insert(id.clone());
            }
        }
    }
    let peers = chosen
        .iter()
        .filter_map(|id| match &world.entries[id].resource {
            Resource::Link(Link {
                kind: LinkKind::Veth(Veth { peer: Some(peer) }),
                ..
            }) => Some(Id::link(peer.ns.clone(), peer.name.clone())),
            _ => None,
        });
    let peers: Vec<Id> = peers.collect();
    chosen.extend(peers);
    for id in &chosen {
        if let Some(entry) = world.entries.get_mut(id) {
            entry.owner = Owner::Foreign;
        }
    }
    chosen
}

fn rejects(resource: &Resource) -> bool {
    matches!(resource, Resource::Rule(rule) if rule.action.table().is_none())
}

/// What changes hands with an operation that is done.
pub(crate) fn hand_over(world: &mut World, plan: &Plan, id: &Id, transfer: Transfer) {
    let owner = match transfer {
        Transfer::Adopt => Owner::Topology(plan.topology.clone()),
        Transfer::Release => Owner::Foreign,
    };
    match &id.key {
        Key::Port(_) if transfer == Transfer::Release => {
            world.ports.remove(id);
        }
        Key::Port(_) => {}
        _ => {
            if let Some(entry) = world.entries.get_mut(id) {
                entry.owner = owner;
            }
            // It is set again, which gives back the route to its peer (`inet6_addr_modify` of `net/ipv6/addrconf.c`).
            if let Key::Address(key) = &id.key
                && world.link(&id.ns, &key.link).is_some_and(|link| link.up)
            {
                world.cut_off.remove(id);
            }
        }
    }
}

/// What there is to go back to when a plan fails that takes things over.
pub(crate) fn before(topology: &TopologyName, plan: &Plan, observed: &State) -> State {
    let mut state = State {
        external: observed.external.clone(),
        ..State::new()
    };
    for (id, entry) in &observed.entries {
        if entry.owner.is(topology) {
            state.entries.insert(id.clone(), entry.clone());
        }
    }
    for operation in &plan.operations {
        let adopted = operation.transfer == Some(Transfer::Adopt);
        let sysctl = matches!(operation.id.key, Key::Sysctl(_));
        if let Some(entry) = observed.get(&operation.id)
            && (adopted || sysctl)
        {
            state
                .entries
                .entry(operation.id.clone())
                .or_insert_with(|| entry.clone());
        }
    }
    for (id, loan) in &observed.loans {
        if loan.by.contains_key(topology) {
            state.loans.insert(id.clone(), loan.clone());
        }
    }
    state
}
