//! Ports: of a link that goes, which stay and are ports no longer; and what others have on a link that
//! becomes one.
//!
//! `br_dev_delete` of `net/bridge/br_if.c`. One that is a port of the link that takes its place is made its
//! port again.

use std::collections::BTreeMap;

use super::Warning;
use super::decide::Decision;
use super::fall::{Effects, goes};
use crate::resource::link::Link;
use crate::resource::{Id, Key, Resource};
use crate::state::{Owner, State};

/// Puts in the ports that stay when what they are ports of goes.
pub(super) fn release<'s>(
    effects: &mut Effects<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
) {
    for (id, entry) in &observed.entries {
        let master = match &entry.resource {
            Resource::Link(link) => link.master.as_ref(),
            Resource::Port(port) => Some(&port.master),
            _ => None,
        };
        let Some(master) = master else { continue };
        let master = Id::link(id.ns.clone(), master.clone());
        let Some((master, _)) = decisions.get_key_value(&master) else {
            continue;
        };
        if !goes(decisions, master) || effects.fallen.contains_key(id) {
            continue;
        }
        if let Key::Port(_) = id.key {
            effects.fallen.insert(id, master);
        } else if !goes(decisions, id) {
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
        .filter(|(id, _)| !decisions.contains_key(*id) && !is_decided(decisions, id))
        .map(|(id, from)| Warning::Released {
            id: (*id).clone(),
            from: (*from).clone(),
        })
        .collect()
}

/// Whether it is for the topology to say what a link of others is a port of.
fn is_decided(decisions: &BTreeMap<&Id, Decision<'_>>, link: &Id) -> bool {
    let Key::Link(name) = &link.key else {
        return false;
    };
    decisions.contains_key(&Id::new(link.ns.clone(), Key::Port(name.clone())))
}

/// What to say of the links of others that become ports: what they have of IP is out of reach then, because
/// all that comes in by a port is the bridge's (`br_handle_frame` of `net/bridge/br_input.c`).
pub(super) fn out_of_reach(
    decisions: &BTreeMap<&Id, Decision<'_>>,
    observed: &State,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (id, decision) in decisions {
        let (Key::Port(link), Decision::Create(Resource::Port(port))) = (&id.key, decision) else {
            continue;
        };
        let others = observed.entries.iter().filter(|(other, entry)| {
            other.ns == id.ns && entry.owner == Owner::Foreign && !goes(decisions, other)
        });
        let mut addresses = Vec::new();
        let mut default = false;
        for (other, entry) in others {
            match (&other.key, &entry.resource) {
                (Key::Address(key), _) if key.link == *link => addresses.push(key.ip),
                (Key::Route(key), Resource::Route(route)) => {
                    let mut hops = route.hops().iter();
                    let over = hops.any(|hop| hop.dev.as_ref() == Some(link));
                    default |= over && key.to.prefix_len() == 0;
                }
                _ => {}
            }
        }
        if !addresses.is_empty() || default {
            warnings.push(Warning::OutOfReach {
                id: (*id).clone(),
                master: port.master.clone(),
                addresses,
                default,
            });
        }
    }
    warnings
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
