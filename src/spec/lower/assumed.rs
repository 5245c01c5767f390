//! A host of which nothing is known but what specs say of it, for plans from one spec to another.
//!
//! What they take for given is there: links that they name, routers that they send packets to, addresses that they send from.
//! Whatever else a host may have isn't.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{altnames, mac};
use crate::resource::address::Held;
use crate::resource::link::{Link, LinkKind, MacAddress, bridge};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::namespace::Namespace;
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::model::{Nat, Route, Spec};
use crate::state::{DefaultRoute, Facts, Machine, Owner, Place, PlaceLink, State};

/// The link of the default route of a host that isn't known.
pub const UPLINK: &str = "uplink";

/// The value of a setting that isn't known.
pub const UNKNOWN: &str = "?";

/// The MTU of a link that isn't known, that of Ethernet.
const MTU: u32 = 1500;

/// What must be so for specs to be applied one by one.
pub fn facts<'s>(specs: impl IntoIterator<Item = &'s Spec>) -> Facts {
    let uplink = LinkName::try_from(UPLINK).expect("it is a name");
    let route = || DefaultRoute {
        link: uplink.clone(),
        more: BTreeSet::new(),
        metric: 0,
        owner: None,
    };
    let mut facts = Facts {
        machine: Machine {
            ipv6: true,
            ..Machine::default()
        },
        host: Place {
            links: [(uplink.clone(), link())].into(),
            default: Family::BOTH.map(|family| (family, vec![route()])).into(),
            ..Place::default()
        },
        ..Facts::default()
    };
    for spec in specs {
        for name in spec.external().into_keys() {
            facts.external.entry(name).or_default();
        }
        let holders = altnames::holders(spec);
        let found: Vec<Ns> = facts.external.keys().cloned().map(Ns::Named).collect();
        for ns in found.iter().chain([&Ns::Host]) {
            if let Some(place) = facts.place_mut(ns) {
                assume(place, spec, ns, &holders, &uplink);
            }
        }
    }
    facts
}

fn link() -> PlaceLink {
    PlaceLink {
        ethernet: true,
        mtu: MTU,
        up: true,
        ..PlaceLink::default()
    }
}

/// Adds to a namespace what a spec takes for given in it.
fn assume(
    place: &mut Place,
    spec: &Spec,
    ns: &Ns,
    holders: &BTreeMap<IpAddr, Ns>,
    uplink: &LinkName,
) {
    let ends = || spec.ends().filter(|end| end.ns.value == *ns);
    let made: BTreeSet<&LinkName> = ends()
        .filter(|end| end.is_made())
        .map(|end| &end.name.value)
        .collect();
    let named = altnames::references(spec, ns, holders).into_iter();
    let existing = ends().filter(|end| !end.is_made());
    let existing = existing.map(|end| &end.name.value);
    for name in named.map(|(name, _)| name).chain(existing) {
        if !made.contains(name) {
            place.links.entry(name.clone()).or_insert_with(link);
        }
    }
    let bridges = ends().filter_map(|end| end.bridge.as_ref());
    for name in bridges.filter(|name| !made.contains(&name.value)) {
        let found = place.links.entry(name.value.clone());
        bridge::NAME.clone_into(&mut found.or_insert_with(link).kind);
    }
    let single = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpNet::from(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => IpNet::from(Ipv6Net::from(ip)),
    };
    let is_held = |ip: IpAddr| holders.get(&ip) == Some(ns);
    let routes = spec.entry(ns).map_or(&[][..], |entry| &entry.routes);
    for hop in routes.iter().flat_map(Route::hops) {
        let dev = hop.dev.as_ref().map(|dev| &dev.value);
        let is_beside = || {
            let mut held = ends().flat_map(|end| &end.addresses);
            held.any(|held| hop.via.is_some_and(|via| held.value.contains(&via.value)))
        };
        if let Some(via) = hop.via
            && dev.map_or_else(|| !is_beside(), |dev| !made.contains(dev))
        {
            let dev = place.links.entry(dev.unwrap_or(uplink).clone());
            dev.or_insert_with(link).beside.push(single(via.value));
        }
    }
    let sources = routes.iter().filter_map(|route| route.src);
    let subnets = spec.subnets.values();
    let rewritten = subnets.filter(|subnet| altnames::holder(subnet, holders) == ns);
    let rewritten = rewritten.filter_map(|subnet| match subnet.egress.as_ref()?.nat {
        Nat::Source(ip) => Some(ip),
        _ => None,
    });
    for ip in sources.chain(rewritten).filter(|ip| !is_held(ip.value)) {
        let held = Held::from(single(ip.value));
        let link = place.links.entry(uplink.clone()).or_insert_with(link);
        if !link.addresses.contains(&held) {
            link.addresses.push(held);
        }
    }
}

/// The host once some topologies are as their specs say, as far as that and what others want of it tells. Values that
/// nobody has said are `?`.
pub fn world(there: &[(&TopologyName, &State)], wanted: &[&State], facts: &Facts) -> State {
    let mut world = State::new();
    for (_, state) in there {
        world.entries.extend(state.entries.clone());
    }
    for state in there
        .iter()
        .map(|(_, state)| *state)
        .chain(wanted.iter().copied())
    {
        world.external.extend(state.external.clone());
    }
    for name in world.external.keys() {
        let id = Id::namespace(Ns::Named(name.clone()));
        let there = Resource::Namespace(Namespace::default());
        world.entries.insert(id, entry(there));
    }
    let external = facts.external.iter();
    let external = external.map(|(name, place)| (Ns::Named(name.clone()), place));
    for (ns, place) in external.chain([(Ns::Host, &facts.host)]) {
        for (name, found) in &place.links {
            let link = Link {
                kind: LinkKind::Other(found.kind.clone()),
                up: true,
                mtu: Some(found.mtu),
                mac: None,
                master: None,
                tagged: true,
            };
            let id = Id::link(ns.clone(), name.clone());
            world
                .entries
                .entry(id)
                .or_insert(entry(Resource::Link(link)));
        }
    }
    lend(&mut world, there);
    for state in wanted {
        for id in state.entries.keys() {
            if let Key::Sysctl(key) = &id.key
                && is_settled(&world, id, key)
            {
                let value = Sysctl {
                    value: UNKNOWN.into(),
                };
                let unknown = entry(Resource::Sysctl(value));
                world.entries.entry(id.clone()).or_insert(unknown);
            }
        }
    }
    world
}

fn entry(resource: Resource) -> crate::state::Entry {
    crate::state::Entry {
        resource,
        owner: Owner::Foreign,
    }
}

/// Notes what topologies have on loan.
fn lend(world: &mut State, there: &[(&TopologyName, &State)]) {
    for (topology, state) in there {
        for (id, entry) in &state.entries {
            if let (Key::Sysctl(key), Resource::Sysctl(sysctl)) = (&id.key, &entry.resource)
                && state.is_found(&id.ns)
                && !is_of_own_link(state, id, key)
            {
                let loan = world.loans.entry(id.clone()).or_default();
                loan.by.insert((*topology).clone(), UNKNOWN.to_owned());
                if sysctl.value != key.lent() {
                    loan.lent
                        .insert((*topology).clone(), sysctl.value.to_string());
                }
            }
        }
    }
}

fn is_of_own_link(state: &State, id: &Id, key: &SysctlKey) -> bool {
    let SysctlKey::Conf { link, .. } = key else {
        return false;
    };
    let link = state.get(&Id::link(id.ns.clone(), link.clone()));
    link.is_some_and(|entry| entry.owner != Owner::Foreign)
}

/// Whether what a setting belongs to is there already, so that it has some value.
fn is_settled(world: &State, id: &Id, key: &SysctlKey) -> bool {
    match key {
        SysctlKey::Global(_) => {
            id.ns == Ns::Host || world.get(&Id::namespace(id.ns.clone())).is_some()
        }
        SysctlKey::Conf { link, .. } => world.get(&Id::link(id.ns.clone(), link.clone())).is_some(),
    }
}

/// The link-layer addresses of a State that follow from which host it is, made for one that isn't known.
pub fn derived(topology: &TopologyName, state: &State, facts: &Facts) -> BTreeSet<MacAddress> {
    let links = state.entries.iter().filter_map(|(id, entry)| {
        let (Key::Link(name), Resource::Link(link)) = (&id.key, &entry.resource) else {
            return None;
        };
        let derived = mac::derived(&facts.machine.id, topology, &id.ns, name);
        (link.mac == Some(derived)).then_some(derived)
    });
    links.collect()
}
