//! What the kernel takes down with an operation, though nobody asked for it.
//!
//! The rules are the kernel's: `net/ipv4/devinet.c`, `net/ipv4/fib_frontend.c`, `net/ipv6/addrconf.c`
//! and `net/core/dev.c`, each tried on Linux 6.18.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::decide::Decision;
use super::{Action, Stays};
use crate::resource::address::{Address, Standing};
use crate::resource::link::{IPV6_MIN_MTU, Link};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::route::MAIN;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Entry, Owner, State};

/// What falls, and with the operation on what.
pub(super) type Fallen<'s> = BTreeMap<&'s Id, &'s Id>;

/// What the kernel does by itself while a plan is carried out.
#[derive(Default)]
pub(super) struct Effects<'s> {
    pub(super) fallen: Fallen<'s>,
    /// The routes over several links that lose a next hop. What is left of one counts as much as one that
    /// fell: it is made again.
    pub(super) frayed: Fallen<'s>,
    /// The IPv6 routes that lose their source address, and stay (`fib6_remove_prefsrc` of
    /// `net/ipv6/route.c`).
    pub(super) stripped: Fallen<'s>,
    /// The IPv6 routes that get another MTU with their link's: the operation, and which.
    pub(super) resized: BTreeMap<&'s Id, (&'s Id, u32)>,
    /// The ports that stay though what they are ports of goes ([`release`](super::release)).
    pub(super) released: Fallen<'s>,
    /// The links' forwarding that was left off, because giving a switch back was cut off before it came
    /// to them.
    pub(super) left_off: Fallen<'s>,
    /// What must be gone before a route is made again that falls with its source address: all that
    /// hold the address.
    pub(super) waits: BTreeMap<&'s Id, Vec<&'s Id>>,
}

/// The observed State, by what things stand on.
struct Ground<'s> {
    observed: &'s State,
    /// The addresses and the sysctls of a link, and that it is a port.
    of_link: BTreeMap<(&'s Ns, &'s LinkName), Vec<(&'s Id, &'s Entry)>>,
    /// The routes over a link.
    routes: BTreeMap<(&'s Ns, &'s LinkName), Vec<(&'s Id, &'s Entry)>>,
    /// The routes that name a source address.
    sources: BTreeMap<(&'s Ns, IpAddr), Vec<&'s Id>>,
    /// The same address on several links.
    holders: BTreeMap<(&'s Ns, IpAddr), Vec<&'s Id>>,
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
            holders: BTreeMap::new(),
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
                    if let Some(src) = route.src {
                        ground.sources.entry((&id.ns, src)).or_default().push(id);
                    }
                }
                (Key::Address(_) | Key::Sysctl(_) | Key::Port(_), _) => {
                    if let Key::Address(key) = &id.key {
                        let holders = ground.holders.entry((&id.ns, key.ip)).or_default();
                        holders.push(id);
                    }
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

    /// The routes that have no next hop left when a link goes. Those over several links are another
    /// matter ([`fray`](super::fray)).
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
) -> Effects<'s> {
    let ground = Ground::of(observed);
    let mut effects = Effects::default();
    let fallen = &mut effects.fallen;
    // Namespaces first: what is in them goes with them, and not with one another.
    for (id, decision) in decisions {
        if id.key == Key::Namespace && matches!(decision, Decision::Remove(_)) {
            namespace(fallen, &ground, id);
        }
    }
    for (id, decision) in decisions {
        match (&id.key, decision) {
            (
                Key::Link(_),
                Decision::Remove(Resource::Link(link))
                | Decision::Replace(Resource::Link(link), _, _),
            ) if !fallen.contains_key(id) => gone(fallen, &ground, id, link),
            (Key::Link(name), Decision::Update(Resource::Link(before), Resource::Link(after))) => {
                changed(fallen, &ground, id, name, before, after);
                resized(&mut effects.resized, &ground, (id, name), before, after);
            }
            _ => {}
        }
    }
    addresses(fallen, &ground, decisions);
    super::fray::fray(&mut effects, decisions, observed);
    super::release::release(&mut effects, decisions, observed);
    sources(&mut effects, &ground, decisions);
    switches(&mut effects, &ground, decisions, topology);
    settings(&mut effects.fallen, decisions);
    effects
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

/// An IPv6 route whose MTU is that of its link, or larger than the new one, gets the new one (`fib6_nh_mtu_change` of
/// `net/ipv6/route.c`). Of one over several links each next hop has an MTU of its own, and only this link's follows; the
/// kernel tells that of the first, so the route is set again whichever it is.
fn resized<'s>(
    resized: &mut BTreeMap<&'s Id, (&'s Id, u32)>,
    ground: &Ground<'s>,
    (cause, name): (&'s Id, &'s LinkName),
    before: &Link,
    after: &Link,
) {
    let (Some(old), Some(new)) = (before.mtu, after.mtu) else {
        return;
    };
    if old == new {
        return;
    }
    for (id, entry) in ground.over(&cause.ns, name) {
        if let (Key::Route(key), Resource::Route(route)) = (&id.key, &entry.resource)
            && key.family() == Family::Ipv6
            && route.mtu.is_some_and(|mtu| mtu == old || mtu > new)
        {
            resized.insert(id, (cause, new));
        }
    }
}

/// Whether something is removed because it was decided so.
pub(super) fn goes(decisions: &BTreeMap<&Id, Decision<'_>>, id: &Id) -> bool {
    let decision = decisions.get(id);
    matches!(decision, Some(Decision::Remove(_) | Decision::Replace(..)))
}

/// An IPv4 address takes those that are secondary to it, unless they are promoted; the last IPv4 address
/// of a link takes the link's IPv4 routes.
fn addresses<'s>(
    fallen: &mut Fallen<'s>,
    ground: &Ground<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
) {
    let goes = |id: &Id| goes(decisions, id);
    for ((ns, link), on_it) in &ground.of_link {
        let ipv4: Vec<(&'s Id, IpNet, &'s Address)> = on_it
            .iter()
            .filter_map(|(id, entry)| match (&id.key, &entry.resource) {
                (Key::Address(key), Resource::Address(address)) if key.ip.is_ipv4() => {
                    Some((*id, address.network(key.ip)?, address))
                }
                _ => None,
            })
            .collect();
        let mut causes: BTreeMap<IpNet, &'s Id> = BTreeMap::new();
        for (id, network, address) in &ipv4 {
            if goes(id) && address.standing == Standing::Primary && !fallen.contains_key(id) {
                causes.insert(*network, id);
            }
        }
        // The one that goes last, as they are removed from the last to the first.
        let mut last: Option<(u32, &'s Id)> = None;
        let mut left = false;
        for (id, network, address) in &ipv4 {
            let falls = address.standing == Standing::Secondary;
            let cause = causes.get(network).filter(|_| falls).copied();
            if let Some(cause) = cause {
                fallen.entry(id).or_insert(cause);
            }
            if goes(id) && !fallen.contains_key(id) {
                let place = (address.place, *id);
                last = Some(last.map_or(place, |last| last.min(place)));
            } else if !fallen.contains_key(id) {
                left = true;
            }
            left |= address.twice;
        }
        if let (Some((_, last)), false) = (last, left) {
            for id in ground.routes_of_only(ns, link) {
                if matches!(&id.key, Key::Route(key) if key.family() == Family::Ipv4) {
                    fallen.entry(id).or_insert(last);
                }
            }
        }
    }
}

/// Whether a link has an address another time.
fn is_twice(observed: &State, id: &Id) -> bool {
    let entry = observed.get(id);
    matches!(entry.map(|entry| &entry.resource), Some(Resource::Address(address)) if address.twice)
}

/// The last address of its kind in a namespace takes the IPv4 routes of the main table that have it as
/// their source (`fib_sync_down_addr` of `net/ipv4/fib_semantics.c` leaves other tables alone since Linux
/// 4.9), and from the IPv6 ones only that. IPv6 ones keep it where the address goes with its link.
fn sources<'s>(
    effects: &mut Effects<'s>,
    ground: &Ground<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
) {
    for (held, routes) in &ground.sources {
        let ipv4 = held.1.is_ipv4();
        let fallen = &mut effects.fallen;
        let holders = ground.holders.get(held).map_or(&[][..], Vec::as_slice);
        let all = holders
            .iter()
            .all(|id| fallen.contains_key(id) || goes(decisions, id));
        let twice = holders.iter().any(|id| is_twice(ground.observed, id));
        let causes: Vec<&'s Id> = holders
            .iter()
            .filter(|id| ipv4 || !fallen.contains_key(*id))
            .map(|id| fallen.get(id).copied().unwrap_or(id))
            .collect();
        let Some(cause) = causes.last().filter(|_| all && !twice) else {
            continue;
        };
        // One that is to go is removed before.
        for route in routes.iter().filter(|route| !goes(decisions, route)) {
            let main = matches!(&route.key, Key::Route(key) if key.table == MAIN);
            if ipv4 && main && !fallen.contains_key(route) {
                fallen.insert(route, cause);
                effects.waits.insert(route, causes.clone());
            } else if !ipv4 {
                effects.stripped.entry(route).or_insert(cause);
            }
        }
    }
}

/// A switch of forwarding writes the value of every link. Those that are on by their own right must be
/// on again after it is given back.
fn switches<'s>(
    effects: &mut Effects<'s>,
    ground: &Ground<'s>,
    decisions: &BTreeMap<&'s Id, Decision<'s>>,
    topology: &TopologyName,
) {
    for (switch, decision) in decisions {
        let Key::Sysctl(key) = &switch.key else {
            continue;
        };
        let Some(family) = key.switch() else { continue };
        let loans = &ground.observed.loans;
        let loan = loans.get(*switch);
        let written = written(decision);
        // It has the value already that is given back: that was cut off, and the rest is still to be done.
        let cut_off = matches!(
            decision.loan(),
            Some(Action::GiveBack { before, stays: Some(Stays::Changed), .. })
                if loan.and_then(|loan| loan.by.get(topology)) .is_some_and(|value| *value == before.value)
        );
        if family == Family::Ipv6 && written == Some("0") {
            forced(&mut effects.fallen, ground, switch, decisions, topology);
        }
        if family == Family::Ipv6 && cut_off {
            let forced = ground.forced.get(&switch.ns).into_iter().flatten();
            let off = forced.filter(|(id, entry)| {
                let lent = loans.get(*id).into_iter().flat_map(|loan| loan.by.keys());
                matches!(&entry.resource, Resource::Sysctl(value) if value.value == "0")
                    && lent.into_iter().any(|by| by != topology)
                    && !decisions.contains_key(*id)
            });
            effects.left_off.extend(off.map(|(id, _)| (*id, *switch)));
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
            if right && written.is_some_and(|written| value.value != written) {
                effects.fallen.entry(id).or_insert(switch);
            }
            // What is our own is set by itself, if it is to stay at all.
            let stays = !entry.owner.is(topology) && !effects.fallen.contains_key(id);
            if cut_off && (by_itself || lent_to_others) && stays && value.value == "0" {
                effects.left_off.insert(id, switch);
            }
        }
    }
}

/// A sysctl for all links, or for those to come, writes those of links: what is wanted of them besides must
/// be set again.
fn settings<'s>(fallen: &mut Fallen<'s>, decisions: &BTreeMap<&'s Id, Decision<'s>>) {
    let mut kept: BTreeMap<&Ns, Vec<(&'s Id, &SysctlKey)>> = BTreeMap::new();
    for (id, decision) in decisions {
        if let (Key::Sysctl(key), Decision::Keep) = (&id.key, decision) {
            kept.entry(&id.ns).or_default().push((id, key));
        }
    }
    for (cause, decision) in decisions {
        let (Key::Sysctl(key @ SysctlKey::Global(_)), Some(value)) =
            (&cause.key, written(decision))
        else {
            continue;
        };
        for (id, other) in kept.get(&cause.ns).into_iter().flatten() {
            if key.writes(value, other).is_some() {
                fallen.entry(id).or_insert(cause);
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
pub(super) fn written<'d>(decision: &'d Decision<'_>) -> Option<&'d str> {
    let (before, after) = match decision {
        Decision::Create(Resource::Sysctl(after)) => return Some(&after.value),
        Decision::Update(Resource::Sysctl(before), Resource::Sysctl(after)) => (before, after),
        Decision::Loan(action) => match &**action {
            Action::Borrow { before, after, .. }
            | Action::GiveBack { before, after, .. }
            | Action::Update {
                before: Resource::Sysctl(before),
                after: Resource::Sysctl(after),
            } => (before, after),
            _ => return None,
        },
        _ => return None,
    };
    (before != after).then_some(&after.value)
}
