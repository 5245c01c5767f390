//! Ports of a link that goes: they stay, and are ports no longer.
//!
//! `br_dev_delete` of `net/bridge/br_if.c`. One that is a port of the link that takes its place is made its
//! port again.

use std::collections::BTreeMap;

use super::Warning;
use super::decide::Decision;
use super::fall::{Effects, goes};
use crate::resource::link::Link;
use crate::resource::{Id, Key, Resource};
use crate::state::State;

/// Puts in the ports that stay when what they are ports of goes.
pub(super) fn release<'s>(
    effects: &mut Effects<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
) {
    for (id, entry) in &observed.entries {
        let (Key::Link(_), Resource::Link(link)) = (&id.key, &entry.resource) else {
            continue;
        };
        let Some(master) = &link.master else { continue };
        let master = Id::link(id.ns.clone(), master.clone());
        let stays = !effects.fallen.contains_key(id) && !goes(decisions, id);
        if let Some((master, _)) = decisions.get_key_value(&master)
            && goes(decisions, master)
            && stays
        {
            effects.released.insert(id, master);
        }
    }
}

/// Whether a link that changes is to be a port of what it is a port of.
pub(super) fn is_again(before: &Resource, after: &Resource) -> bool {
    match (before, after) {
        (Resource::Link(before), Resource::Link(after)) => before.master == after.master,
        _ => false,
    }
}

/// What to say of the ports that aren't the topology's.
pub(super) fn of_others(
    decisions: &BTreeMap<&Id, Decision<'_>>,
    effects: &Effects<'_>,
) -> Vec<Warning> {
    let others = effects.released.iter();
    others
        .filter(|(id, _)| !decisions.contains_key(*id))
        .map(|(id, from)| Warning::Released {
            id: (*id).clone(),
            from: (*from).clone(),
        })
        .collect()
}

/// What a link is once it is released.
pub(super) fn released(link: &Resource) -> Resource {
    match link {
        Resource::Link(link) => Resource::Link(Link {
            master: None,
            ..link.clone()
        }),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Action, plan};
    use crate::resource::link::bridge::Bridge;
    use crate::resource::link::veth::Veth;
    use crate::resource::link::{Link, LinkKind};
    use crate::resource::name::{LinkName, TopologyName};
    use crate::resource::{Id, Ns, Resource};
    use crate::state::{Owner, State};

    fn state(kind: LinkKind) -> State {
        let name = |text: &str| LinkName::try_from(text).expect("a name");
        let topology = TopologyName::try_from("t").expect("a name");
        let mut state = State::new();
        let port = LinkKind::Veth(Veth { peer: None });
        for (link, kind, master) in [("z", kind, None), ("a", port, Some(name("z")))] {
            let link_of_it = Link {
                kind,
                up: true,
                mtu: Some(1500),
                mac: None,
                master,
                tagged: true,
            };
            state.insert(
                Id::link(Ns::Host, name(link)),
                Resource::Link(link_of_it),
                Owner::Topology(topology.clone()),
            );
        }
        state
    }

    #[test]
    fn a_port_of_what_is_replaced_is_made_a_port_again() {
        let topology = TopologyName::try_from("t").expect("a name");
        let found = state(LinkKind::Other("bond".to_owned()));
        let wanted = state(LinkKind::Bridge(Bridge::default()));
        let plan = plan(&topology, &wanted, &found).expect("nothing is in the way");
        let [
            Action::Remove(_),
            Action::Create(_),
            Action::Update {
                before: Resource::Link(before),
                after: Resource::Link(after),
            },
        ] = plan
            .operations
            .iter()
            .map(|o| &o.action)
            .collect::<Vec<_>>()[..]
        else {
            panic!("{:#?}", plan.operations);
        };
        assert_eq!(before.master, None);
        assert!(after.master.is_some());
        assert!(plan.operations[2].after.contains(&1));
    }
}
