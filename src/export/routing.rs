//! Routes and rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Exporter;
use super::tree::Entry;
use crate::resource::name::LinkName;
use crate::resource::route::{self, NextHop, Route, RouteKey, Target};
use crate::resource::rule::{Action, Mark, RuleKey};
use crate::resource::{Family, Key, Ns, Resource};
use crate::state::Owner;

impl<'s> Exporter<'s> {
    /// What is said of default routes, and the static ones.
    pub(super) fn routes(&mut self, ns: &Ns, whole: bool) -> (Option<Entry>, Vec<Entry>) {
        let mut gateways: BTreeMap<Family, IpAddr> = BTreeMap::new();
        let mut left: Vec<(&RouteKey, &Route)> = Vec::new();
        for (key, entry) in self.resources(ns) {
            let (Key::Route(key), Resource::Route(route)) = (key, &entry.resource) else {
                continue;
            };
            if entry.owner == Owner::Kernel
                || !(entry.owner.is(self.name) || self.concerns(ns, whole, route))
            {
                continue;
            }
            let place = self.place(ns);
            if let Some(program) = place.and_then(|place| place.kept.get(key)) {
                self.remark(
                    ns,
                    format!("{} is left out: {program} keeps it", called(key)),
                );
                continue;
            }
            match self.subnets.brought(ns, key, route) {
                Some(gateway) => {
                    gateways.insert(key.family(), gateway);
                }
                None => left.push((key, route)),
            }
        }
        let gateway = whole.then(|| self.gateway(ns, &gateways)).flatten();
        let mut entries = Vec::new();
        for (key, route) in left {
            match self.route(ns, key, route) {
                Ok(fields) => entries.push(Entry::flow_item(fields).optional()),
                Err(why) => self.remark(ns, format!("{} is left out: {why}", called(key))),
            }
        }
        (gateway, entries)
    }

    /// Whether a route is to be written: in a whole namespace any, elsewhere one over links that are written.
    fn concerns(&self, ns: &Ns, whole: bool, route: &Route) -> bool {
        let hops = route.hops();
        let over = |hop: &NextHop| {
            let dev = hop.dev.as_ref();
            dev.is_some_and(|dev| self.scope.has_link(ns, dev))
        };
        whole || !hops.is_empty() && hops.iter().all(over)
    }

    /// Which of the default routes that subnets offer a namespace takes, if that isn't all of them.
    fn gateway(&self, ns: &Ns, taken: &BTreeMap<Family, IpAddr>) -> Option<Entry> {
        let offered = self.subnets.offered(ns);
        let plain = Family::BOTH.iter().all(|family| {
            let mut of_family = offered.iter().filter(|ip| Family::of(**ip) == *family);
            match (of_family.next(), of_family.next(), taken.get(family)) {
                (None, ..) => true,
                (Some(only), None, Some(taken)) => only == taken,
                _ => false,
            }
        });
        if plain {
            return None;
        }
        let items: Vec<Entry> = taken.values().map(Entry::item).collect();
        Some(match items.len() {
            0 => Entry::text("gateway", "none"),
            _ => Entry::flow("gateway", items),
        })
    }

    /// What is said of a route, or why it can't be said.
    fn route(&self, ns: &Ns, key: &RouteKey, route: &Route) -> Result<Vec<Entry>, String> {
        if key.table == route::LOCAL {
            return Err("it is in the table of local addresses".to_owned());
        }
        let mut fields = vec![Entry::text("to", destination(key, route))];
        let kind = match &route.target {
            Target::Unicast(hops) => {
                fields.extend(self.hops(ns, hops)?);
                None
            }
            Target::Blackhole => Some("blackhole"),
            Target::Unreachable => Some("unreachable"),
            Target::Prohibit => Some("prohibit"),
            Target::Other(number) => {
                return Err(format!(
                    "this version has no word for its type, number {number}"
                ));
            }
        };
        fields.extend(kind.map(|kind| Entry::text("type", kind)));
        let usual = RouteKey::new(key.table, key.to, 0).metric;
        if key.metric != usual {
            if key.metric == 0 {
                return Err("it has the metric 0, which a spec can't give it".to_owned());
            }
            fields.push(Entry::word("metric", key.metric));
        }
        match key.table {
            route::MAIN => {}
            route::DEFAULT => fields.push(Entry::text("table", "default")),
            number => fields.push(Entry::word("table", number)),
        }
        fields.extend(route.src.map(|src| Entry::text("src", src).optional()));
        fields.extend(route.mtu.map(|mtu| Entry::word("mtu", mtu).optional()));
        Ok(fields)
    }

    fn hops(&self, ns: &Ns, hops: &[NextHop]) -> Result<Vec<Entry>, String> {
        let mut all = Vec::new();
        for hop in hops {
            let dev = hop
                .dev
                .as_ref()
                .ok_or("it leads to no link of the namespace")?;
            let is_known =
                self.scope.has_link(ns, dev) || dev.as_str() == "lo" || !self.scope.is_whole(ns);
            if !is_known {
                return Err(format!("link {dev} is left out"));
            }
            let mut fields = Vec::new();
            fields.extend(hop.via.map(|via| Entry::text("via", via)));
            let found = hop.via.and_then(|via| self.beside(ns, via));
            // Where others have links too, these may lead there as well.
            let alone = found == Some(dev) && self.scope.is_whole(ns);
            if !alone || hop.onlink {
                fields.push(Entry::text("dev", dev));
            }
            if hop.onlink {
                fields.push(Entry::word("onlink", true));
            }
            if hop.weight != 1 {
                fields.push(Entry::word("weight", hop.weight));
            }
            all.push(fields);
        }
        Ok(match all.len() {
            1 if hops.iter().all(|hop| hop.weight == 1) => all.remove(0),
            _ => {
                let nexthops = all.into_iter().map(Entry::flow_item).collect();
                vec![Entry::flow("nexthops", nexthops)]
            }
        })
    }

    /// The only link with the longest prefix around an address.
    fn beside(&self, ns: &Ns, via: IpAddr) -> Option<&'s LinkName> {
        let mut best: Option<(u8, &LinkName, bool)> = None;
        for (at, link) in self.ends().filter(|(at, _)| *at == ns) {
            for held in self.held(at, link) {
                for near in held.beside().filter(|near| near.contains(&via)) {
                    let length = near.prefix_len();
                    best = match best {
                        Some((longest, of, alone)) if longest == length => {
                            Some((longest, of, alone && of == link))
                        }
                        Some((longest, ..)) if longest > length => best,
                        _ => Some((length, link, true)),
                    };
                }
            }
        }
        best.and_then(|(_, link, alone)| alone.then_some(link))
    }

    /// Whether routes of the namespaces that are written lead through the host.
    pub(super) fn is_router(&self, ns: &Ns, family: Family) -> bool {
        let held = self.ends().filter(|(at, _)| *at == ns);
        let held: Vec<IpAddr> = held
            .flat_map(|(at, link)| self.held(at, link))
            .map(|held| held.addr())
            .collect();
        let routes = self.survey.state.entries.iter();
        let mut routes = routes.filter_map(|(id, entry)| match (&id.key, &entry.resource) {
            (Key::Route(key), Resource::Route(route)) if id.ns != *ns && key.family() == family => {
                Some(route)
            }
            _ => None,
        });
        routes.any(|route| {
            let mut hops = route.hops().iter().filter_map(|hop| hop.via);
            hops.any(|via| held.contains(&via))
        })
    }

    /// The items of `rules`: one that there is in both families once.
    pub(super) fn rules(&mut self, ns: &Ns, whole: bool) -> Vec<Entry> {
        let mut all: Vec<(RuleKey, Action)> = Vec::new();
        for (key, entry) in self.resources(ns) {
            if let (Key::Rule(key), Resource::Rule(rule)) = (key, &entry.resource)
                && (whole || entry.owner.is(self.name) || self.is_about_written(ns, key))
            {
                all.push(((**key).clone(), rule.action));
            }
        }
        let mut entries = Vec::new();
        for (key, action) in &all {
            let twin = RuleKey {
                family: match key.family {
                    Family::Ipv4 => Family::Ipv6,
                    Family::Ipv6 => Family::Ipv4,
                },
                ..key.clone()
            };
            let twice = key.from.is_none() && key.to.is_none() && all.contains(&(twin, *action));
            if twice && key.family == Family::Ipv6 {
                continue;
            }
            match rule(key, *action, twice) {
                Ok(fields) => entries.push(Entry::flow_item(fields).optional()),
                Err(why) => {
                    self.remark(
                        ns,
                        format!("{} rule {} is left out: {why}", key.family, key.priority),
                    );
                }
            }
        }
        entries
    }

    /// Whether a rule is about links that are written.
    fn is_about_written(&self, ns: &Ns, key: &RuleKey) -> bool {
        let mut links = key.iif.iter().chain(&key.oif);
        links.any(|link| self.scope.has_link(ns, link))
    }
}

/// What a remark calls a route.
fn called(key: &RouteKey) -> String {
    let to = match (key.to.prefix_len(), key.family()) {
        (0, family) => format!("the {family} default route"),
        _ => format!("the route to {}", key.to),
    };
    match key.table {
        route::MAIN => to,
        number => format!("{to} in table {number}"),
    }
}

/// A route's destination as a spec says it.
fn destination(key: &RouteKey, route: &Route) -> String {
    if key.to.prefix_len() > 0 {
        return short(key.to);
    }
    let mut hops = route.hops().iter();
    let family = key.family();
    let said = hops.next().and_then(|hop| hop.via).map(Family::of);
    let word = match family {
        _ if said == Some(family) => "default",
        Family::Ipv4 => "default4",
        Family::Ipv6 => "default6",
    };
    word.to_owned()
}

/// A prefix, or the one address that it is.
fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// What is said of a rule, or why it can't be said.
fn rule(key: &RuleKey, action: Action, of_both: bool) -> Result<Vec<Entry>, String> {
    if !(1..=32765).contains(&key.priority) {
        return Err("a spec gives priorities from 1 to 32765".to_owned());
    }
    let mut fields = vec![Entry::word("priority", key.priority)];
    let everything = match key.family {
        Family::Ipv4 => IpNet::from(Ipv4Net::default()),
        Family::Ipv6 => IpNet::from(Ipv6Net::default()),
    };
    let alone = key.from.is_none() && key.to.is_none() && !of_both;
    let from = key.from.or(alone.then_some(everything));
    fields.extend(from.map(|from| Entry::text("from", short(from))));
    fields.extend(key.to.map(|to| Entry::text("to", short(to))));
    fields.extend(key.iif.as_ref().map(|iif| Entry::text("iif", iif)));
    fields.extend(key.oif.as_ref().map(|oif| Entry::text("oif", oif)));
    fields.extend(key.mark.map(|Mark { value, mask }| {
        let value = format!("{value:#x}");
        Entry::text(
            "fwmark",
            match mask {
                u32::MAX => value,
                mask => format!("{value}/{mask:#x}"),
            },
        )
    }));
    fields.push(match action {
        Action::Lookup(route::MAIN) => Entry::text("table", "main"),
        Action::Lookup(route::DEFAULT) => Entry::text("table", "default"),
        Action::Lookup(route::LOCAL) => {
            return Err("it looks into the table of local addresses".to_owned());
        }
        Action::Lookup(number) => Entry::word("table", number),
        Action::Blackhole => Entry::text("action", "blackhole"),
        Action::Unreachable => Entry::text("action", "unreachable"),
        Action::Prohibit => Entry::text("action", "prohibit"),
        Action::Other(number) => {
            return Err(format!(
                "this version has no word for its action, number {number}"
            ));
        }
    });
    Ok(fields)
}
