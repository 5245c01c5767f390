//! What must hold of every plan and of what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use ipnet::IpNet;
use netform::plan::{Action, Conflict, Plan, Warning, plan};
use netform::render;
use netform::render::document::{self, OfTopology};
use netform::render::plan::View;
use netform::render::style::Colour;
use netform::resource::address::AddressKey;
use netform::resource::link::{Link, LinkKind, veth::Veth};
use netform::resource::name::TopologyName;
use netform::resource::sysctl::SysctlKey;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::{Entry, Owner, State};
use serde_json::Value;

use super::carry::listing;
use super::execute::{family_of_switch, observe};
use super::kernel::{World, switch};
use super::ports;

/// Plans and has a look at the plan itself.
pub(crate) fn planned(
    world: &World,
    topology: &TopologyName,
    desired: &State,
) -> Result<Plan, Vec<Conflict>> {
    let observed = observe(world, topology, desired);
    let result = plan(topology, desired, &observed);
    let plan = match result {
        Ok(plan) => plan,
        Err(conflicts) => {
            for conflict in &conflicts {
                let found = observed
                    .get(&conflict.id)
                    .expect("a conflict is with something");
                assert!(
                    !found.owner.is(topology),
                    "a conflict with its own {conflict:?}"
                );
                assert!(
                    desired.get(&conflict.id).is_some(),
                    "a conflict with what nobody wants"
                );
            }
            return Err(conflicts);
        }
    };
    let mut seen: BTreeMap<&Id, &Action> = BTreeMap::new();
    for operation in &plan.operations {
        let id = &operation.id;
        let found = observed.get(id).map(|entry| &entry.resource);
        match &operation.action {
            Action::Create(_) => {}
            Action::Update {
                before: Resource::Route(before),
                after: Resource::Route(after),
            } if operation.reason.is_some() => {
                // It loses its source address, or follows its link's MTU.
                let stripped = before.src.is_none() && after.src.is_some();
                let resized = before.mtu != after.mtu && after.mtu.is_some();
                assert!(stripped || resized, "{operation:?}");
            }
            Action::Update {
                before: Resource::Link(before),
                after: Resource::Link(after),
            } if operation.reason.is_some() => {
                let again = before.master.is_none() && after.master.is_some();
                assert!(again, "{operation:?}");
            }
            Action::Update { before, .. } | Action::Remove(before) => {
                assert_eq!(Some(before), found, "what {id:?} is before");
            }
            Action::Borrow { before, .. } | Action::GiveBack { before, .. } => {
                let by_switch = plan.operations.iter().any(|other| {
                    family_of_switch(&other.id.key).is_some_and(|family| {
                        matches!(&id.key, Key::Sysctl(SysctlKey::Conf { family: of, name, .. })
                            if *of == family && matches!(name.as_str(), "forwarding" | "force_forwarding"))
                    })
                });
                if let Some(found) = found
                    && !by_switch
                {
                    assert_eq!(
                        &Resource::Sysctl(before.clone()),
                        found,
                        "what {id:?} is before"
                    );
                }
            }
        }
        let earlier = seen.insert(id, &operation.action);
        let replaced = matches!(
            (earlier, &operation.action),
            (Some(Action::Remove(_)), Action::Create(_))
        );
        assert!(earlier.is_none() || replaced, "{id:?} twice in {plan:#?}");
    }
    Ok(plan)
}

/// The same States give the same plan.
pub(crate) fn planned_alike(world: &World, plan_of_it: &Plan, desired: &State) {
    let topology = &plan_of_it.topology;
    let observed = observe(world, topology, desired);
    let again = plan(topology, desired, &observed).expect("it was possible before");
    assert_eq!(again, *plan_of_it, "the same States give the same plan");
}

/// Whether what is there is what is wanted.
fn meets(wanted: &Resource, found: &Resource) -> bool {
    match (wanted, found) {
        (Resource::Link(wanted), Resource::Link(found)) => {
            wanted.kind == found.kind
                && wanted.up == found.up
                && wanted.mtu.is_none_or(|mtu| found.mtu == Some(mtu))
                && wanted.mac.is_none_or(|mac| found.mac == Some(mac))
                && wanted.master == found.master
        }
        (Resource::Address(wanted), Resource::Address(found)) => {
            wanted.prefix == found.prefix && wanted.peer == found.peer
        }
        _ => wanted == found,
    }
}

/// The IPv4 addresses of each link stand as they are wanted: those that are primary, and those of each
/// network.
fn in_order(world: &World, desired: &State) {
    for ((ns, link), list) in &world.lists {
        let mut firsts = Vec::new();
        let mut networks: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for stand in list {
            let (link, ip) = (link.clone(), stand.ip);
            let id = Id::new(ns.clone(), Key::Address(AddressKey { link, ip }));
            let Some(Resource::Address(address)) = desired.get(&id).map(|entry| &entry.resource)
            else {
                continue;
            };
            if stand.first {
                firsts.push(address.place);
            }
            let of = IpNet::new(address.peer.unwrap_or(ip), address.prefix);
            let network = networks.entry(of.unwrap().trunc()).or_default();
            network.push(address.place);
        }
        for places in networks.values().chain([&firsts]) {
            assert!(
                places.is_sorted(),
                "{link} in {ns} has {list:?}: {places:?}"
            );
        }
    }
}

/// The topology has what it wants, and nothing else.
pub(crate) fn as_desired(world: &World, topology: &TopologyName, desired: &State) {
    in_order(world, desired);
    ports::as_desired(world, topology, desired);
    for (id, entry) in &desired.entries {
        if let Key::Port(_) = id.key {
            continue;
        }
        if id.key == Key::Table {
            let found = world.tables.get(&(id.ns.clone(), topology.clone()));
            let found = found.cloned().map(Resource::Table);
            assert_eq!(found.as_ref(), Some(&entry.resource), "{id:?}");
            continue;
        }
        let found = world.entries.get(id);
        let found = found.unwrap_or_else(|| panic!("{id:?} is missing"));
        assert!(
            meets(&entry.resource, &found.resource),
            "{id:?} is {found:?}, not {entry:?}"
        );
        let free = matches!(
            entry.resource,
            Resource::Sysctl(_)
                | Resource::Link(Link {
                    kind: LinkKind::Loopback,
                    ..
                })
        );
        assert!(free || found.owner.is(topology), "{id:?} is {found:?}");
        if let Key::Address(key) = &id.key
            && world.link(&id.ns, &key.link).is_some_and(|link| link.up)
        {
            assert!(
                !world.cut_off.contains(id),
                "the peer of {id:?} has no route"
            );
        }
    }
    for (id, entry) in &world.entries {
        let wanted = desired.entries.contains_key(id);
        assert!(
            wanted || !entry.owner.is(topology),
            "{id:?} is left: {entry:?}"
        );
    }
    for (ns, of) in world.tables.keys() {
        let id = Id::new(ns.clone(), Key::Table);
        assert!(
            of != topology || desired.entries.contains_key(&id),
            "{id:?} is left"
        );
    }
    for (id, loan) in &world.loans {
        let lent = loan.by.contains_key(topology);
        // A link forwards for as long as its topology has the whole host forward.
        let switch = match &id.key {
            Key::Sysctl(key) => key.forwarding_of_link().map(SysctlKey::forwarding),
            _ => None,
        };
        let switch = switch.map(|key| Id::new(id.ns.clone(), Key::Sysctl(key)));
        let relied = switch.is_some_and(|switch| desired.entries.contains_key(&switch));
        assert!(
            !lent || relied || desired.entries.contains_key(id),
            "{id:?} is still on loan"
        );
    }
}

/// What isn't the topology's is as it was, unless the plan said otherwise.
pub(crate) fn others_untouched(before: &World, after: &World, plan: &Plan) {
    let announced: BTreeSet<&Id> = plan
        .warnings
        .iter()
        .filter_map(|warning| match warning {
            Warning::Collateral { id, .. } | Warning::Released { id, .. } => Some(id),
            Warning::Remark { .. } | Warning::OutOfReach { .. } | Warning::Inmate { .. } => None,
        })
        .collect();
    for id in &announced {
        let was = before.entries.get(id);
        assert!(
            was.is_some_and(|was| !was.owner.is(&plan.topology)),
            "{id:?} is announced"
        );
        assert!(
            before.entries.get(id) != after.entries.get(id),
            "{id:?} is announced, and stays"
        );
    }
    let changed: BTreeSet<&Id> = plan
        .operations
        .iter()
        .map(|operation| &operation.id)
        .collect();
    for (id, entry) in &before.entries {
        if entry.owner.is(&plan.topology) || entry.owner == Owner::Kernel {
            continue;
        }
        if let Key::Sysctl(key) = &id.key {
            let by_switch = matches!(key, SysctlKey::Conf { family, name, .. } if name == "forwarding"
                && changed.iter().any(|other| other.ns == id.ns && family_of_switch(&other.key) == Some(*family)));
            if !before.is_found(&id.ns) || by_switch || changed.contains(id) {
                continue;
            }
            // It may have gone with a link, or have come again with one.
            if key_of_own_link(before, &plan.topology, &id.ns, key)
                || gone(before, after, id, &announced)
            {
                continue;
            }
        }
        let same = after.entries.get(id) == Some(&plugged(entry, id, after, &changed));
        assert!(
            same || announced.contains(id) || gone(before, after, id, &announced),
            "{id:?} was {entry:?} and is {:?}, with {}",
            after.entries.get(id),
            listing(plan)
        );
    }
    still_forwards(before, after);
    for ((ns, of), table) in &before.tables {
        let same = after.tables.get(&(ns.clone(), of.clone())) == Some(table);
        assert!(same || *of == plan.topology, "the table of {of} in {ns}");
    }
    for (id, loan) in &before.loans {
        let after = after.loans.get(id);
        for (by, original) in &loan.by {
            let same = after.and_then(|loan| loan.by.get(by)) == Some(original);
            assert!(
                same || *by == plan.topology,
                "what {by} has on loan: {id:?}"
            );
        }
    }
}

/// A link of others, as it is once a plan said what it is a port of.
fn plugged(entry: &Entry, id: &Id, after: &World, changed: &BTreeSet<&Id>) -> Entry {
    let mut entry = entry.clone();
    if let (Key::Link(name), Resource::Link(link)) = (&id.key, &mut entry.resource) {
        let port = Id::new(id.ns.clone(), Key::Port(name.clone()));
        if changed.contains(&port) {
            link.master = ports::master_of(after, &port).cloned();
        }
    }
    entry
}

/// While the whole host forwards, or a container, its links do.
fn still_forwards(before: &World, after: &World) {
    for (id, entry) in &before.entries {
        let Key::Sysctl(SysctlKey::Conf { family, link, name }) = &id.key else {
            continue;
        };
        let on = |world: &World, key: Key| world.value(&id.ns, key) == Some("1");
        let all = |world| on(world, switch(*family));
        let link = before
            .entries
            .get(&Id::link(id.ns.clone(), link.clone()))
            .is_some_and(|link| link.owner == Owner::Foreign);
        let link = link && before.is_found(&id.ns);
        if link && name == "forwarding" && all(before) && all(after) && on(before, id.key.clone()) {
            let gone = !after.entries.contains_key(id);
            assert!(gone || on(after, id.key.clone()), "{id:?}, was {entry:?}");
        }
    }
}

fn key_of_own_link(world: &World, topology: &TopologyName, ns: &Ns, key: &SysctlKey) -> bool {
    let SysctlKey::Conf { link, .. } = key else {
        return false;
    };
    let id = Id::link(ns.clone(), link.clone());
    world
        .entries
        .get(&id)
        .is_some_and(|entry| entry.owner.is(topology))
}

/// Whether something went with a link whose other end is announced, or that is announced itself.
fn gone(before: &World, after: &World, id: &Id, announced: &BTreeSet<&Id>) -> bool {
    let dev = match before.entries.get(id) {
        Some(Entry {
            resource: Resource::Route(route),
            ..
        }) => route.hops().iter().find_map(|hop| hop.dev.clone()),
        _ => id.key.of_link().cloned(),
    };
    let Some(dev) = dev else { return false };
    let link = Id::link(id.ns.clone(), dev);
    if after.entries.contains_key(&link) {
        return false;
    }
    let peer = match before.entries.get(&link).map(|entry| &entry.resource) {
        Some(Resource::Link(Link {
            kind: LinkKind::Veth(Veth { peer: Some(peer) }),
            ..
        })) => Id::link(peer.ns.clone(), peer.name.clone()),
        _ => return false,
    };
    // What nobody sees, in a namespace that the plan doesn't know, can't be announced.
    announced.contains(&peer) && id.ns != Ns::Host
        || announced.contains(&link) && matches!(id.key, Key::Sysctl(_))
}

/// The sysctls that another topology wants are as it wants them, if they were.
pub(crate) fn others_served(before: &World, after: &World, desired: &State) {
    for (id, entry) in &desired.entries {
        let Resource::Sysctl(wanted) = &entry.resource else {
            continue;
        };
        let value = |world: &World| world.value(&id.ns, id.key.clone()).map(str::to_owned);
        if value(before).is_some_and(|value| value == wanted.value) {
            assert_eq!(
                value(after).as_ref(),
                Some(&wanted.value.to_string()),
                "{id:?} of another topology"
            );
        }
    }
}

/// Nothing at all differs.
pub(crate) fn same_world(found: &World, wanted: &World) {
    for id in found.entries.keys().chain(wanted.entries.keys()) {
        assert_eq!(found.entries.get(id), wanted.entries.get(id), "{id:?}");
    }
    for (place, list) in &wanted.lists {
        assert_eq!(found.lists.get(place), Some(list), "{place:?}");
    }
    assert_eq!(found.tables, wanted.tables);
    assert_eq!(found.loans, wanted.loans);
    assert_eq!(found.ports, wanted.ports);
}

/// That a plan can be read: its text has a line for each change that its summary counts, and as data it is as its schema
/// says.
pub(crate) fn told(plan: &Plan) {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(&document::schema()).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    });
    let text = render::plan::plan(plan, &View::full(Colour::Off));
    let is_change = |line: &&str| {
        let signs = ["  +  ", "  ~  ", "  -  ", "  ±  ", "  =  "];
        signs.iter().any(|sign| line.starts_with(sign))
    };
    let lines = text.lines().filter(is_change).count();
    let of_plan = OfTopology::of(plan, None, None, &BTreeSet::new());
    let document: Value = serde_json::from_str(&document::text(vec![of_plan])).expect("JSON");
    let wrong: Vec<String> = SCHEMA
        .iter_errors(&document)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(wrong, [""; 0], "{document}");
    let of_plan = &document["plans"][0];
    let summary = of_plan["summary"].as_object().expect("a summary");
    let counted: u64 = summary.values().filter_map(Value::as_u64).sum();
    assert_eq!(usize::try_from(counted), Ok(lines), "{text}");
    let ids: BTreeSet<&Id> = plan
        .operations
        .iter()
        .map(|operation| &operation.id)
        .collect();
    let operations = of_plan["operations"].as_array().map(Vec::len);
    assert_eq!(operations, Some(ids.len()), "{text}");
}
