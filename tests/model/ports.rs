//! Links of others as ports: what topologies want, and what the record says of them.

use fastrand::Rng;
use netform::plan::Action;
use netform::resource::link::LinkKind;
use netform::resource::name::{LinkName, TopologyName};
use netform::resource::port::Port;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::{Owner, State};

use super::generate::{link_name, some};
use super::kernel::{Refusal, World};
use super::sketch::Sketch;

/// A bridge of the host that others made.
pub(crate) const COMPANY: &str = "company";

impl Sketch {
    /// Plugs a link of others in, or elsewhere, or out.
    pub(crate) fn plug(&mut self, rng: &mut Rng) {
        let container = rng.choice(self.external.keys()).cloned();
        let (ns, link) = match container.filter(|_| rng.bool()) {
            Some(name) => (Ns::Named(name), "eth0"),
            None if rng.bool() => (Ns::Host, "eth1"),
            None => (Ns::Host, "ens33"),
        };
        let place = (ns, link_name(link));
        if some(rng, 3) {
            self.plugs.remove(&place);
        } else {
            self.plugs.insert(place, rng.u8(..4));
        }
    }

    pub(crate) fn ports(&self, put: &mut impl FnMut(&Ns, Key, Resource)) {
        for ((ns, link), which) in &self.plugs {
            let bridges = self.singles.iter().filter(|single| {
                single.end.ns == *ns && matches!(single.kind, LinkKind::Bridge(_))
            });
            let mut bridges: Vec<LinkName> =
                bridges.map(|single| single.end.name.clone()).collect();
            if *ns == Ns::Host {
                bridges.push(link_name(COMPANY));
            }
            let which = usize::from(*which) % bridges.len().max(1);
            if let Some(master) = bridges.get(which).cloned() {
                put(ns, Key::Port(link.clone()), Resource::Port(Port { master }));
            }
        }
    }
}

/// What somebody's link is a port of.
pub(crate) fn master_of<'w>(world: &'w World, id: &Id) -> Option<&'w LinkName> {
    let Key::Port(name) = &id.key else {
        return None;
    };
    world.link(&id.ns, name)?.master.as_ref()
}

/// Does an operation on a port.
pub(crate) fn step(
    world: &mut World,
    topology: &TopologyName,
    id: &Id,
    action: &Action,
) -> Result<(), Refusal> {
    let Key::Port(name) = &id.key else {
        unreachable!("{id:?}")
    };
    let found = master_of(world, id).cloned();
    let (before, after) = match action {
        Action::Create(Resource::Port(after)) => (None, Some(after)),
        Action::Update {
            before: Resource::Port(before),
            after: Resource::Port(after),
        } => (Some(before), Some(after)),
        Action::Remove(Resource::Port(before)) => (Some(before), None),
        action => return Err(format!("can't be done to a port: {action:?}")),
    };
    // The kernel would take any, and so take a link from somebody else's bridge.
    if found.as_ref() != before.map(|port| &port.master) {
        return Err(format!("{id:?} is a port of {found:?} before {action:?}"));
    }
    let master = after.map(|port| port.master.clone());
    world.enslave(&id.ns, name, master.as_ref())?;
    match master {
        Some(master) => {
            let claim = (topology.clone(), master);
            world.ports.insert(id.clone(), claim);
        }
        None => {
            world.ports.remove(id);
        }
    }
    Ok(())
}

/// Puts the ports of others' links into what netform sees.
pub(crate) fn observe(world: &World, state: &mut State) {
    let mut found = Vec::new();
    for (id, entry) in &state.entries {
        if let (Key::Link(name), Resource::Link(link)) = (&id.key, &entry.resource)
            && let Some(master) = &link.master
            && !matches!(entry.owner, Owner::Topology(_))
        {
            let id = Id::new(id.ns.clone(), Key::Port(name.clone()));
            let owner = owner(world, &id).cloned();
            let owner = owner.map_or(Owner::Foreign, Owner::Topology);
            found.push((id, master.clone(), owner));
        }
    }
    for (id, master, owner) in found {
        state.insert(id, Resource::Port(Port { master }), owner);
    }
}

/// Which topology made a link a port, if it still is one of that bridge.
pub(crate) fn owner<'w>(world: &'w World, id: &Id) -> Option<&'w TopologyName> {
    let (topology, master) = world.ports.get(id)?;
    (master_of(world, id) == Some(master)).then_some(topology)
}

/// Strikes out of a topology's record the ports that are none any more.
pub(crate) fn forget(world: &mut World, topology: &TopologyName) {
    let ids = world.ports.iter();
    let gone = ids.filter(|(id, (of, _))| of == topology && owner(world, id).is_none());
    let gone: Vec<Id> = gone.map(|(id, _)| id.clone()).collect();
    for id in gone {
        world.ports.remove(&id);
    }
}

/// A topology has the ports that it wants, and no others.
pub(crate) fn as_desired(world: &World, topology: &TopologyName, desired: &State) {
    for (id, entry) in &desired.entries {
        if let Resource::Port(port) = &entry.resource {
            assert_eq!(master_of(world, id), Some(&port.master), "{id:?}");
            assert_eq!(owner(world, id), Some(topology), "{id:?}");
        }
    }
    for id in world.ports.keys() {
        let ours = owner(world, id) == Some(topology);
        assert!(!ours || desired.get(id).is_some(), "{id:?} is left");
    }
}

/// The containers in which a topology has ports.
pub(crate) fn places<'w>(
    world: &'w World,
    topology: &'w TopologyName,
) -> impl Iterator<Item = &'w Ns> {
    let ports = world.ports.keys();
    let ours = ports.filter(|id| owner(world, id) == Some(topology));
    ours.map(|id| &id.ns).filter(|ns| world.is_found(ns))
}
