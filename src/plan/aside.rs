//! Routes and rules that can't be changed where they are, because they lead the kernel astray meanwhile.
//!
//! It looks for the next hop of an IPv6 route in the route's own table and then by the rules, and refuses
//! one that it finds behind a router (`ip6_route_check_nh` of `net/ipv6/route.c`, Linux 6.12). In the end
//! nothing leads there, or it would be an error of the spec; but what leads there now may be the very route
//! that is to be changed, another that is, or a rule that is to lead elsewhere. IPv4 passes over such routes.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::decide::Decision;
use crate::resource::address::{Address, AddressKey};
use crate::resource::name::LinkName;
use crate::resource::route::{MAIN, OF_ADDRESSES, Route, RouteKey};
use crate::resource::rule::RuleKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::State;

/// Has those routes and rules removed and made again.
pub(super) fn consider<'s>(
    decisions: &mut BTreeMap<&'s Id, Decision<'s>>,
    desired: &'s State,
    observed: &'s State,
) {
    let is_changed = |(id, decision): (&&Id, &Decision<'_>)| {
        let of_ipv6 = match &id.key {
            Key::Route(key) => key.family() == Family::Ipv6,
            Key::Rule(key) => is_asked(key),
            _ => false,
        };
        of_ipv6 && matches!(decision, Decision::Update(..))
    };
    // One that is out of the way may have hidden the next.
    while decisions.iter().any(is_changed) {
        let sought = sought(decisions);
        let ground = Ground::of(decisions, desired, observed);
        let met: Vec<Met<'s>> = sought.iter().filter_map(|s| ground.meets(s)).collect();
        let mut is_done = true;
        for Met { route, rule } in met {
            // The route itself, or the rule that is to lead elsewhere.
            let is_changed = |id: &&Id| matches!(decisions.get(*id), Some(Decision::Update(..)));
            let Some(id) = [Some(route), rule].into_iter().flatten().find(is_changed) else {
                continue;
            };
            let Some(decision) = decisions.get_mut(id) else {
                continue;
            };
            let Decision::Update(found, wanted) = *decision else {
                continue;
            };
            let why = match id.key {
                Key::Rule(_) => "it leads the kernel away from a next hop of the routes",
                _ => "it leads to a next hop itself, so the kernel doesn't change it in place",
            };
            *decision = Decision::Replace(found, wanted, why.to_owned());
            is_done = false;
        }
        if is_done {
            return;
        }
    }
}

/// A next hop of IPv6 that the kernel is going to look for.
struct Sought<'s> {
    ns: &'s Ns,
    /// The table of the route that leads through it.
    table: u32,
    via: IpAddr,
    dev: &'s LinkName,
}

/// Those of the routes to be made or changed. Link-local ones are not looked for.
fn sought<'s>(decisions: &BTreeMap<&'s Id, Decision<'s>>) -> Vec<Sought<'s>> {
    let mut sought = Vec::new();
    for (id, decision) in decisions {
        let Key::Route(key) = &id.key else { continue };
        let (Decision::Create(Resource::Route(route))
        | Decision::Update(_, Resource::Route(route))
        | Decision::Replace(_, Resource::Route(route), _)) = decision
        else {
            continue;
        };
        for hop in route.hops().iter().filter(|hop| !hop.onlink) {
            if let (Some(IpAddr::V6(via)), Some(dev)) = (hop.via, &hop.dev)
                && !Ipv6Addr::is_unicast_link_local(&via)
            {
                sought.push(Sought {
                    ns: &id.ns,
                    table: key.table,
                    via: via.into(),
                    dev,
                });
            }
        }
    }
    sought
}

/// What leads to a prefix over a link.
struct Way<'s> {
    metric: u32,
    /// The route, if it leads through a router.
    through: Option<&'s Id>,
}

/// A route through a router where a next hop is sought.
struct Met<'s> {
    route: &'s Id,
    /// The rule that leads there, unless it is the kernel's own.
    rule: Option<&'s Id>,
}

/// The ways over a link in a table, by the lengths of their prefixes.
type Ways<'s> = BTreeMap<u8, HashMap<IpNet, Way<'s>>>;

/// What the kernel looks into while routes are made and changed: what goes is gone by then, and what is on a
/// link is there.
struct Ground<'s> {
    ways: HashMap<(&'s Ns, u32, &'s LinkName), Ways<'s>>,
    /// The rules that may be asked, by their priorities, with the tables that they lead to.
    rules: HashMap<&'s Ns, Vec<(&'s Id, &'s RuleKey, u32)>>,
}

impl<'s> Ground<'s> {
    fn of(
        decisions: &BTreeMap<&'s Id, Decision<'s>>,
        desired: &'s State,
        observed: &'s State,
    ) -> Ground<'s> {
        let mut ground = Ground {
            ways: HashMap::new(),
            rules: HashMap::new(),
        };
        for (id, entry) in &observed.entries {
            let goes = matches!(
                decisions.get(id),
                Some(Decision::Remove(_) | Decision::Replace(..))
            );
            match (&id.key, &entry.resource) {
                _ if goes => {}
                (Key::Route(key), Resource::Route(route)) => ground.route(id, key, route),
                (Key::Rule(key), Resource::Rule(rule)) if is_asked(key) => {
                    if let Some(table) = rule.action.table() {
                        let of_ns = ground.rules.entry(&id.ns).or_default();
                        of_ns.push((id, key, table));
                    }
                }
                (Key::Address(key), Resource::Address(address)) => {
                    ground.address(&id.ns, key, address);
                }
                _ => {}
            }
        }
        for (id, entry) in &desired.entries {
            match (&id.key, &entry.resource) {
                (Key::Route(key), Resource::Route(route)) if is_direct(route) => {
                    ground.route(id, key, route);
                }
                (Key::Address(key), Resource::Address(address)) => {
                    ground.address(&id.ns, key, address);
                }
                _ => {}
            }
        }
        for rules in ground.rules.values_mut() {
            rules.sort_by_key(|(_, key, _)| key.priority);
        }
        ground
    }

    /// An address leads to its network, and to the other end.
    fn address(&mut self, ns: &'s Ns, key: &'s AddressKey, address: &Address) {
        if key.ip.is_ipv6() {
            let own = IpNet::new(key.ip, address.prefix).ok();
            let peer = address.peer.map(IpNet::from);
            for net in own.into_iter().chain(peer) {
                let way = Way {
                    metric: OF_ADDRESSES,
                    through: None,
                };
                self.way((ns, MAIN, &key.link), net.trunc(), way);
            }
        }
    }

    fn route(&mut self, id: &'s Id, key: &RouteKey, route: &'s Route) {
        if key.family() != Family::Ipv6 {
            return;
        }
        for hop in route.hops() {
            if let Some(dev) = &hop.dev {
                let way = Way {
                    metric: key.metric,
                    through: hop.via.map(|_| id),
                };
                self.way((&id.ns, key.table, dev), key.to, way);
            }
        }
    }

    fn way(&mut self, place: (&'s Ns, u32, &'s LinkName), to: IpNet, way: Way<'s>) {
        let of_place = self.ways.entry(place).or_default();
        let of_length = of_place.entry(to.prefix_len()).or_default();
        let first = of_length.get(&to);
        // Of one route that was through a router and is on the link the latter counts.
        if first.is_none_or(|first| way.metric <= first.metric) {
            of_length.insert(to, way);
        }
    }

    fn look_up(&self, table: u32, sought: &Sought<'s>) -> Option<&Way<'s>> {
        let ways = self.ways.get(&(sought.ns, table, sought.dev))?;
        ways.iter().rev().find_map(|(length, of_length)| {
            let net = IpNet::new(sought.via, *length).ok()?;
            of_length.get(&net.trunc())
        })
    }

    /// What keeps the kernel from finding a next hop, if something does.
    fn meets(&self, sought: &Sought<'s>) -> Option<Met<'s>> {
        let own = self.look_up(sought.table, sought);
        if own.is_some_and(|way| way.through.is_none()) {
            return None;
        }
        let rules = self.rules.get(sought.ns).map_or(&[][..], Vec::as_slice);
        let asked = rules.iter().filter(|(_, rule, _)| {
            let to = rule.to.is_none_or(|to| to.contains(&sought.via));
            to && rule.oif.as_ref().is_none_or(|oif| oif == sought.dev)
        });
        let asked = asked.map(|(id, _, table)| (Some(*id), *table));
        let found = asked.chain([(None, MAIN)]).find_map(|(rule, table)| {
            let way = self.look_up(table, sought)?;
            Some((rule, way))
        });
        let (rule, way) = found?;
        way.through.map(|route| Met { route, rule })
    }
}

/// Whether a route leads to what is on its links.
fn is_direct(route: &Route) -> bool {
    !route.hops().is_empty() && route.hops().iter().all(|hop| hop.via.is_none())
}

/// Whether a rule may be asked about a next hop: the search is from nowhere, comes in by no link and carries
/// no mark.
fn is_asked(rule: &RuleKey) -> bool {
    let from_anywhere = rule.from.is_none() && rule.iif.is_none() && rule.mark.is_none();
    from_anywhere && rule.family == Family::Ipv6
}
