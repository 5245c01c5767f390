//! Doing a plan's operations in the fake kernel, keeping the record, and reading it all back.

use std::collections::BTreeSet;

use netform::plan::{Action, Operation, Plan};
use netform::resource::address::Standing;
use netform::resource::link::veth::Veth;
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::{LinkName, TopologyName};
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Entry, Owner, State};

use super::external;
use super::kernel::{Refusal, World, switch};
use super::ports;
use super::untag;

/// Writes down what a plan borrows, before it begins.
pub(crate) fn record(world: &mut World, plan: &Plan) {
    ports::forget(world, &plan.topology);
    for operation in &plan.operations {
        let Action::Borrow { original, .. } = &operation.action else {
            continue;
        };
        let links = links_on_by_themselves(world, &operation.id);
        let loan = world.loans.entry(operation.id.clone()).or_default();
        if loan.by.is_empty() {
            loan.links = links;
        }
        let by = plan.topology.clone();
        loan.by.entry(by).or_insert_with(|| original.clone());
    }
}

/// The links whose forwarding is on, and not only because a topology has it on loan.
fn links_on_by_themselves(world: &World, switch_id: &Id) -> BTreeSet<LinkName> {
    let Some(family) = family_of_switch(&switch_id.key) else {
        return BTreeSet::new();
    };
    let links = world.entries.iter().filter_map(|(id, entry)| {
        let Key::Sysctl(SysctlKey::Conf {
            family: of,
            link,
            name,
        }) = &id.key
        else {
            return None;
        };
        let on = matches!(&entry.resource, Resource::Sysctl(sysctl) if sysctl.value == "1");
        let lent = world.loans.get(id).is_some_and(|loan| !loan.by.is_empty());
        (id.ns == switch_id.ns && *of == family && name == "forwarding" && on && !lent)
            .then(|| link.clone())
    });
    links.collect()
}

pub(crate) fn family_of_switch(key: &Key) -> Option<Family> {
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .find(|family| *key == switch(*family))
}

/// Strikes out of the record what was given back, and what was never borrowed after all.
pub(crate) fn close(world: &mut World, plan: &Plan, done: usize) {
    ports::forget(world, &plan.topology);
    for (place, operation) in plan.operations.iter().enumerate() {
        let strike = match operation.action {
            Action::Borrow { .. } => place >= done,
            // Its record says which links it must not leave off.
            Action::GiveBack { .. } => {
                let mut later = plan.operations[done..].iter();
                place < done
                    && !later.any(|later| {
                        matches!(later.id.key, Key::Sysctl(_)) && later.after.contains(&place)
                    })
            }
            _ => false,
        };
        if strike && let Some(loan) = world.loans.get_mut(&operation.id) {
            loan.by.remove(&plan.topology);
            if loan.by.is_empty() {
                world.loans.remove(&operation.id);
            }
        }
    }
}

/// What netform would see: the host, the topology's namespaces and those it wants.
pub(crate) fn observe(world: &World, topology: &TopologyName, desired: &State) -> State {
    let mut spaces: BTreeSet<&Ns> = desired.entries.keys().map(|id| &id.ns).collect();
    spaces.insert(&Ns::Host);
    for (id, entry) in &world.entries {
        if id.key == Key::Namespace && entry.owner == Owner::Topology(topology.clone()) {
            spaces.insert(&id.ns);
        }
    }
    let names = external::known(world, &Owner::Topology(topology.clone()), desired);
    let external = names.into_iter().map(|name| (name, None)).collect();
    let mut state = State {
        external,
        ..State::new()
    };
    let external: Vec<Ns> = state.external.keys().cloned().map(Ns::Named).collect();
    spaces.extend(&external);
    let asked: BTreeSet<&Id> = desired
        .entries
        .keys()
        .chain(world.loans.keys())
        .filter(|id| matches!(id.key, Key::Sysctl(_)))
        .collect();
    let switches: Vec<(&Ns, Family)> = asked
        .iter()
        .filter(|id| state.is_found(&id.ns))
        .filter_map(|id| Some((&id.ns, family_of_switch(&id.key)?)))
        .collect();
    for (id, entry) in &world.entries {
        let files = matches!(id.key, Key::File(_));
        let seen = spaces.contains(&id.ns) || files && entry.owner.is(topology);
        if !seen {
            continue;
        }
        let mut entry = entry.clone();
        if let Key::Sysctl(key) = &id.key {
            let by_switch = matches!(key, SysctlKey::Conf { family, name, .. }
                if matches!(name.as_str(), "forwarding" | "force_forwarding")
                    && switches.contains(&(&id.ns, *family)));
            if !asked.contains(id) && !by_switch {
                continue;
            }
            entry.owner = owner_of_sysctl(world, &id.ns, key);
        }
        if let (Key::Address(key), Resource::Address(address)) = (&id.key, &mut entry.resource) {
            let list = world.lists.get(&(id.ns.clone(), key.link.clone()));
            let mut list = list.into_iter().flatten().enumerate();
            if let Some((place, stand)) = list.find(|(_, stand)| stand.ip == key.ip) {
                address.place = place.try_into().unwrap();
                address.standing = match stand.first {
                    true => Standing::Primary,
                    false if world.promote(&id.ns, &key.link) => Standing::Heir,
                    false => Standing::Secondary,
                };
            }
        }
        if let Resource::Link(Link {
            kind: LinkKind::Veth(Veth { peer }),
            ..
        }) = &mut entry.resource
            && peer.as_ref().is_some_and(|peer| !spaces.contains(&peer.ns))
        {
            *peer = None;
        }
        state.entries.insert(id.clone(), entry);
    }
    for ((ns, of), table) in &world.tables {
        if of == topology && spaces.contains(ns) {
            let id = Id::new(ns.clone(), Key::Table);
            let owner = Owner::Topology(of.clone());
            state.insert(id, Resource::Table(table.clone()), owner);
        }
    }
    state.loans = world.loans.clone();
    ports::observe(world, &mut state);
    state
}

fn owner_of_sysctl(world: &World, ns: &Ns, key: &SysctlKey) -> Owner {
    let owner = |id: Id| match world.entries.get(&id).map(|entry| &entry.owner) {
        Some(Owner::Topology(owner)) => Some(Owner::Topology(owner.clone())),
        _ => None,
    };
    let by_link = match key {
        SysctlKey::Conf { link, .. } => owner(Id::link(ns.clone(), link.clone())),
        SysctlKey::Global(_) => None,
    };
    by_link
        .or_else(|| owner(Id::namespace(ns.clone())))
        .unwrap_or(Owner::Foreign)
}

fn removes(operation: &Operation) -> bool {
    matches!(operation.action, Action::Remove(_))
}

/// What a plan's creation of a link says of it.
fn creation<'p>(plan: &'p Plan, id: &Id) -> Option<&'p Link> {
    plan.operations
        .iter()
        .find_map(|operation| match &operation.action {
            Action::Create(Resource::Link(link)) if operation.id == *id => Some(link),
            _ => None,
        })
}

/// Does one operation.
pub(crate) fn step(world: &mut World, plan: &Plan, place: usize) -> Result<(), Refusal> {
    let operation = &plan.operations[place];
    if let Some(earlier) = operation.after.iter().find(|earlier| **earlier >= place) {
        return Err(format!("comes after {earlier}, which is later"));
    }
    if let Some(with) = &operation.with {
        return borne(world, plan, operation, with);
    }
    by_itself(world, plan, operation)?;
    if let Some(transfer) = operation.transfer {
        untag::hand_over(world, plan, &operation.id, transfer);
    }
    Ok(())
}

/// Does an operation that no other does too.
fn by_itself(world: &mut World, plan: &Plan, operation: &Operation) -> Result<(), Refusal> {
    let Id { ns, key } = &operation.id;
    let owner = Owner::Topology(plan.topology.clone());
    let table = (ns.clone(), plan.topology.clone());
    let there = world.entries.contains_key(&operation.id);
    match (&operation.action, key) {
        (Action::Create(_), Key::Namespace) => {
            world.add_ns(ns, owner)?;
            let lo = LinkName::try_from("lo").unwrap();
            if let Some(link) = creation(plan, &Id::link(ns.clone(), lo.clone())) {
                world.change_link(ns, &lo, |lo| lo.up = link.up)?;
            }
            Ok(())
        }
        (Action::Remove(_), Key::Namespace) => world.remove_ns(ns),
        (Action::Update { .. }, Key::Namespace | Key::Address(_))
            if there && operation.transfer.is_some() =>
        {
            Ok(())
        }
        (Action::Create(Resource::Link(link)), Key::Link(name)) => {
            let LinkKind::Veth(Veth { peer: Some(peer) }) = &link.kind else {
                return world.add_single(ns, name, link, owner);
            };
            let other = creation(plan, &Id::link(peer.ns.clone(), peer.name.clone()));
            let other = other.cloned().unwrap_or(Link {
                up: false,
                mtu: None,
                mac: None,
                ..link.clone()
            });
            let ends = [(ns, name, link.clone()), (&peer.ns, &peer.name, other)];
            world.add_pair(ends, &owner)?;
            world.enslave(ns, name, link.master.as_ref())
        }
        (
            Action::Update {
                before: Resource::Link(before),
                after: Resource::Link(after),
            },
            Key::Link(name),
        ) => {
            if before.master != after.master {
                world.enslave(ns, name, after.master.as_ref())?;
            }
            world.change_link(ns, name, |link| {
                // A pair stays as it was born.
                if after.kind.is_single() {
                    link.kind = after.kind.clone();
                }
                link.up = after.up;
                link.mtu = after.mtu.or(link.mtu);
                link.mac = after.mac.or(link.mac);
            })
        }
        (Action::Remove(_), Key::Link(name)) => world.remove_link(ns, name),
        (action, Key::Port(_)) => ports::step(world, &plan.topology, &operation.id, action),
        (Action::Create(Resource::Address(address)), Key::Address(key)) => {
            world.add_address(ns, key, address, owner)
        }
        (Action::Remove(_), Key::Address(key)) => world.remove_address(ns, key),
        (Action::Create(resource @ Resource::Route(route)), Key::Route(key)) => {
            // Of one over several links something may be left.
            if there && route.hops().len() < 2 {
                return Err(format!("EEXIST: route {} in {ns}", key.to));
            }
            world.check_route(ns, key, route)?;
            put(world, &operation.id, resource, owner);
            Ok(())
        }
        (
            Action::Update {
                before: Resource::Route(before),
                after: resource @ Resource::Route(route),
            },
            Key::Route(key),
        ) => {
            // One over several links may have gone with one of them.
            if !there && before.hops().len() < 2 {
                return Err(format!("ENOENT: route {} in {ns}", key.to));
            }
            world.check_route(ns, key, route)?;
            put(world, &operation.id, resource, owner);
            Ok(())
        }
        (Action::Create(resource), Key::File(_) | Key::Rule(_)) if !there => {
            put(world, &operation.id, resource, owner);
            Ok(())
        }
        (
            Action::Update {
                after: resource, ..
            },
            Key::File(_) | Key::Rule(_),
        ) if there => {
            put(world, &operation.id, resource, owner);
            Ok(())
        }
        (Action::Remove(_), Key::Route(_) | Key::Rule(_) | Key::File(_)) => {
            match world.entries.remove(&operation.id) {
                Some(_) => Ok(()),
                None => Err("ESRCH: nothing to remove".to_owned()),
            }
        }
        (Action::Create(Resource::Table(new)), Key::Table)
            if world.has_ns(ns) && !world.tables.contains_key(&table) =>
        {
            world.tables.insert(table, new.clone());
            Ok(())
        }
        (
            Action::Update {
                after: Resource::Table(new),
                ..
            },
            Key::Table,
        ) if world.tables.contains_key(&table) => {
            world.tables.insert(table, new.clone());
            Ok(())
        }
        (Action::Remove(_), Key::Table) => match world.tables.remove(&table) {
            Some(_) => Ok(()),
            None => Err("ENOENT: table".to_owned()),
        },
        (
            Action::Create(Resource::Sysctl(after))
            | Action::Update {
                after: Resource::Sysctl(after),
                ..
            },
            Key::Sysctl(key),
        ) => world.write(ns, key, &after.value),
        (
            Action::Borrow { before, after, .. } | Action::GiveBack { before, after, .. },
            Key::Sysctl(key),
        ) => {
            if before == after {
                return Ok(());
            }
            if !world
                .loans
                .get(&operation.id)
                .is_some_and(|loan| loan.by.contains_key(&plan.topology))
            {
                return Err("it is not on loan".to_owned());
            }
            world.write(ns, key, &after.value)
        }
        (action, _) => Err(format!("can't be done: {action:?}")),
    }
}

fn put(world: &mut World, id: &Id, resource: &Resource, owner: Owner) {
    let resource = resource.clone();
    world.entries.insert(id.clone(), Entry { resource, owner });
}

/// What another operation does too must be so after it: done by nobody a second time.
fn borne(world: &mut World, plan: &Plan, operation: &Operation, with: &Id) -> Result<(), Refusal> {
    let id = &operation.id;
    let there = match id.key {
        Key::Table => world
            .tables
            .contains_key(&(id.ns.clone(), plan.topology.clone())),
        Key::Port(_) => ports::owner(world, id) == Some(&plan.topology),
        _ => world.entries.contains_key(id),
    };
    if removes(operation) {
        return if there {
            Err(format!("is still there after {with:?}"))
        } else {
            Ok(())
        };
    }
    let (Action::Create(Resource::Link(wanted)), Key::Link(name)) = (&operation.action, &id.key)
    else {
        return Err("only links are born with others".to_owned());
    };
    match world.link(&id.ns, name) {
        Some(found)
            if found.up == wanted.up
                && (wanted.mtu.is_none() || wanted.mtu == found.mtu)
                && (wanted.mac.is_none() || wanted.mac == found.mac) =>
        {
            world.enslave(&id.ns, name, wanted.master.as_ref())
        }
        found => Err(format!("is {found:?} after {with:?}")),
    }
}
