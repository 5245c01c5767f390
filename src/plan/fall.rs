//! What the kernel takes down with an operation, though nobody asked for it.
//!
//! The rules are the kernel's: `net/ipv4/devinet.c`, `net/ipv4/fib_frontend.c`, `net/ipv6/addrconf.c`
//! and `net/core/dev.c`, each tried on Linux 6.18.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Action;
use super::decide::Decision;
use crate::resource::address::Address;
use crate::resource::link::{IPV6_MIN_MTU, Link};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Entry, Owner, State};

/// What falls, and with the operation on what.
pub(super) type Fallen<'s> = BTreeMap<&'s Id, &'s Id>;

/// The observed State, by what things stand on.
struct Ground<'s> {
    observed: &'s State,
    /// The addresses and the sysctls of a link.
    of_link: BTreeMap<(&'s Ns, &'s LinkName), Vec<(&'s Id, &'s Entry)>>,
    /// The routes over a link.
    routes: BTreeMap<(&'s Ns, &'s LinkName), Vec<(&'s Id, &'s Entry)>>,
    /// The IPv4 routes that name a source address.
    sources: BTreeMap<(&'s Ns, std::net::IpAddr), Vec<&'s Id>>,
    /// The forwarding of each link, which a switch writes.
    forwarding: BTreeMap<(&'s Ns, Family), Vec<(&'s Id, &'s Entry)>>,
    /// What makes single links forward IPv6, which its switch clears when it goes off.
    forced: BTreeMap<&'s Ns, Vec<(&'s Id, &'s Entry)>>,
}

impl<'s> Ground<'s> {
    fn of(observed: &'s State) -> Ground<'s> {
        let mut ground = Ground {
            observed,
            of_link: BTreeMap::new(),
            routes: BTreeMap::new(),
            sources: BTreeMap::new(),
            forwarding: BTreeMap::new(),
            forced: BTreeMap::new(),
        };
        for (id, entry) in &observed.entries {
            match (&id.key, &entry.resource) {
                (Key::Route(_), Resource::Route(route)) => {
                    let devs = route.hops().iter().filter_map(|hop| hop.dev.as_ref());
                    for dev in devs {
                        ground
                            .routes
                            .entry((&id.ns, dev))
                            .or_default()
                            .push((id, entry));
                    }
                    if let Some(src) = route.src.filter(std::net::IpAddr::is_ipv4) {
                        ground.sources.entry((&id.ns, src)).or_default().push(id);
                    }
                }
                (Key::Address(_) | Key::Sysctl(_), _) => {
                    if let Key::Sysctl(key) = &id.key
                        && let Some(family) = key.forwarding_of_link()
                    {
                        ground
                            .forwarding
                            .entry((&id.ns, family))
                            .or_default()
                            .push((id, entry));
                    }
                    if matches!(&id.key, Key::Sysctl(key) if key.is_forced()) {
                        ground.forced.entry(&id.ns).or_default().push((id, entry));
                    }
                    if let Some(link) = id.key.of_link() {
                        ground
                            .of_link
                            .entry((&id.ns, link))
                            .or_default()
                            .push((id, entry));
                    }
                }
                _ => {}
            }
        }
        ground
    }

    fn on(&self, ns: &'s Ns, link: &'s LinkName) -> &[(&'s Id, &'s Entry)] {
        self.of_link.get(&(ns, link)).map_or(&[], Vec::as_slice)
    }

    fn over(&self, ns: &'s Ns, link: &'s LinkName) -> &[(&'s Id, &'s Entry)] {
        self.routes.get(&(ns, link)).map_or(&[], Vec::as_slice)
    }

    /// The routes that have no next hop left when a link goes.
    fn routes_of_only(&self, ns: &'s Ns, link: &'s LinkName) -> impl Iterator<Item = &'s Id> {
        self.over(ns, link)
            .iter()
            .filter_map(move |(id, entry)| match &entry.resource {
                Resource::Route(route) => {
                    let all = route
                        .hops()
                        .iter()
                        .all(|hop| hop.dev.as_ref() == Some(link));
                    all.then_some(*id)
                }
                _ => None,
            })
    }
}

/// What falls with what is decided.
pub(super) fn fall<'s>(
    topology: &TopologyName,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    observed: &'s State,
) -> Fallen<'s> {
    let ground = Ground::of(observed);
    let mut fallen = Fallen::new();
    // Namespaces first: what is in them goes with them, and not with one another.
    for (id, decision) in decisions {
        if id.key == Key::Namespace && matches!(decision, Decision::Remove(_)) {
            namespace(&mut fallen, &ground, id);
        }
    }
    for (id, decision) in decisions {
        match (&id.key, decision) {
            (
                Key::Link(_),
                Decision::Remove(Resource::Link(link))
                | Decision::Replace(Resource::Link(link), _, _),
            ) if !fallen.contains_key(id) => gone(&mut fallen, &ground, id, link),
            (Key::Link(name), Decision::Update(Resource::Link(before), Resource::Link(after))) => {
                changed(&mut fallen, &ground, id, name, before, after);
            }
            _ => {}
        }
    }
    addresses(&mut fallen, &ground, decisions);
    switches(&mut fallen, &ground, decisions, topology);
    fallen
}

/// A namespace takes all that is in it, and the other ends of its veths. Its files lie outside.
fn namespace<'s>(fallen: &mut Fallen<'s>, ground: &Ground<'s>, cause: &'s Id) {
    let inside = ground
        .observed
        .entries
        .range(cause..)
        .take_while(|(id, _)| id.ns == cause.ns)
        .filter(|(id, _)| !matches!(id.key, Key::Namespace | Key::File(_)));
    for (id, entry) in inside {
        fallen.entry(id).or_insert(cause);
        let Resource::Link(link) = &entry.resource else {
            continue;
        };
        if let Some((peer, _)) = peer_of(ground, link)
            && peer.ns != cause.ns
        {
            fallen.entry(peer).or_insert(cause);
            what_stands_on(fallen, ground, peer);
        }
    }
}

fn peer_of<'s>(ground: &Ground<'s>, link: &Link) -> Option<(&'s Id, &'s Entry)> {
    let peer = link.peer()?;
    let id = Id::link(peer.ns.clone(), peer.name.clone());
    ground.observed.entries.get_key_value(&id)
}

/// A link takes what stands on it, and a veth its other end.
fn gone<'s>(fallen: &mut Fallen<'s>, ground: &Ground<'s>, cause: &'s Id, link: &Link) {
    what_stands_on(fallen, ground, cause);
    if let Some((peer, _)) = peer_of(ground, link)
        && !fallen.contains_key(peer)
    {
        fallen.insert(peer, cause);
        what_stands_on(fallen, ground, peer);
    }
}

fn what_stands_on<'s>(fallen: &mut Fallen<'s>, ground: &Ground<'s>, link: &'s Id) {
    let Key::Link(name) = &link.key else { return };
    for (id, _) in ground.on(&link.ns, name) {
        fallen.entry(id).or_insert(link);
    }
    for id in ground.routes_of_only(&link.ns, name) {
        fallen.entry(id).or_insert(link);
    }
}

/// A link that goes down loses its routes and its IPv6 addresses; one whose MTU goes below 1280 loses
/// all IPv6.
fn changed<'s>(
    fallen: &mut Fallen<'s>,
    ground: &Ground<'s>,
    cause: &'s Id,
    name: &'s LinkName,
    before: &Link,
    after: &Link,
) {
    let goes_down = before.up && !after.up;
    let small = |mtu: Option<u32>| mtu.is_some_and(|mtu| mtu < IPV6_MIN_MTU);
    let loses_ipv6 = small(after.mtu) && !small(before.mtu);
    for (id, _) in ground.on(&cause.ns, name) {
        let falls = match &id.key {
            Key::Address(key) => key.ip.is_ipv6() && (goes_down || loses_ipv6),
            Key::Sysctl(SysctlKey::Conf { family, .. }) => *family == Family::Ipv6 && loses_ipv6,
            _ => false,
        };
        if falls {
            fallen.entry(id).or_insert(cause);
        }
    }
    for id in ground.routes_of_only(&cause.ns, name) {
        let Key::Route(key) = &id.key else { continue };
        if goes_down || loses_ipv6 && key.family() == Family::Ipv6 {
            fallen.entry(id).or_insert(cause);
        }
    }
}

/// An IPv4 address takes those that are secondary to it, and the routes with it as their source; the
/// last IPv4 address of a link takes the link's IPv4 routes.
fn addresses<'s>(
    fallen: &mut Fallen<'s>,
    ground: &Ground<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
) {
    let goes = |id: &Id| {
        matches!(
            decisions.get(id),
            Some(Decision::Remove(_) | Decision::Replace(..))
        )
    };
    for ((ns, link), on_it) in &ground.of_link {
        let ipv4: Vec<(&'s Id, IpNet, &'s Address)> = on_it
            .iter()
            .filter_map(|(id, entry)| match (&id.key, &entry.resource) {
                (Key::Address(key), Resource::Address(address)) if key.ip.is_ipv4() => {
                    let of = address.peer.unwrap_or(key.ip);
                    Some((*id, IpNet::new(of, address.prefix).ok()?.trunc(), address))
                }
                _ => None,
            })
            .collect();
        let mut causes: BTreeMap<IpNet, &'s Id> = BTreeMap::new();
        for (id, network, address) in &ipv4 {
            if goes(id) && !address.secondary && !fallen.contains_key(id) {
                causes.insert(*network, id);
            }
        }
        let mut last = None;
        let mut left = false;
        for (id, network, address) in &ipv4 {
            let cause = causes.get(network).filter(|_| address.secondary).copied();
            if let Some(cause) = cause {
                fallen.entry(id).or_insert(cause);
            }
            if goes(id) || fallen.contains_key(id) {
                last = Some(cause.unwrap_or(id));
                if let Key::Address(key) = &id.key {
                    for route in ground.sources.get(&(*ns, key.ip)).into_iter().flatten() {
                        fallen.entry(route).or_insert(cause.unwrap_or(id));
                    }
                }
            } else {
                left = true;
            }
        }
        if let (Some(last), false) = (last, left) {
            for id in ground.routes_of_only(ns, link) {
                if matches!(&id.key, Key::Route(key) if key.family() == Family::Ipv4) {
                    fallen.entry(id).or_insert(last);
                }
            }
        }
    }
}

/// A switch of forwarding writes the value of every link. Those that are on by their own right must be
/// on again after it is given back.
fn switches<'s>(
    fallen: &mut Fallen<'s>,
    ground: &Ground<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    topology: &TopologyName,
) {
    for (switch, decision) in decisions {
        let Key::Sysctl(key) = &switch.key else {
            continue;
        };
        let Some(family) = key.switch() else { continue };
        let Some(written) = written(decision) else {
            continue;
        };
        let loans = &ground.observed.loans;
        let loan = loans.get(*switch);
        if family == Family::Ipv6 && written == "0" {
            forced(fallen, ground, switch, decisions, topology);
        }
        let links = ground.forwarding.get(&(&switch.ns, family));
        for (id, entry) in links.into_iter().flatten().copied() {
            let Resource::Sysctl(value) = &entry.resource else {
                continue;
            };
            let by_itself = loan.is_some_and(|loan| {
                id.key
                    .of_link()
                    .is_some_and(|link| loan.links.contains(link))
            });
            let lent_to_others = loans
                .get(id)
                .is_some_and(|loan| loan.by.keys().any(|by| by != topology));
            let of_another = matches!(&entry.owner, Owner::Topology(owner) if owner != topology);
            let wanted = decisions
                .get(id)
                .is_some_and(|decision| *decision == Decision::Keep);
            let right = wanted || by_itself || lent_to_others || of_another;
            if right && value.value != written {
                fallen.entry(id).or_insert(switch);
            }
        }
    }
}

/// The switch of IPv6 forwarding clears `force_forwarding` on every link when it goes off. All that has
/// it on has it by its own right, but for what this topology gives back.
fn forced<'s>(
    fallen: &mut Fallen<'s>,
    ground: &Ground<'s>,
    switch: &'s Id,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    topology: &TopologyName,
) {
    for (id, entry) in ground.forced.get(&switch.ns).into_iter().flatten().copied() {
        let on = matches!(&entry.resource, Resource::Sysctl(value) if value.value != "0");
        let right = match decisions.get(id) {
            Some(decision) => *decision == Decision::Keep,
            None => !entry.owner.is(topology),
        };
        if on && right {
            fallen.entry(id).or_insert(switch);
        }
    }
}

/// The value that an operation on a sysctl writes, if it writes one.
fn written<'d>(decision: &'d Decision<'_>) -> Option<&'d str> {
    let (before, after) = match decision {
        Decision::Create(Resource::Sysctl(after)) => return Some(&after.value),
        Decision::Update(Resource::Sysctl(before), Resource::Sysctl(after))
        | Decision::Loan(
            Action::Borrow { before, after, .. }
            | Action::GiveBack { before, after, .. }
            | Action::Update {
                before: Resource::Sysctl(before),
                after: Resource::Sysctl(after),
            },
        ) => (before, after),
        _ => return None,
    };
    (before != after).then_some(&after.value)
}
