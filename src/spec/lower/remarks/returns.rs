//! Replies that come in by a link over which no route leads back (`rp_filter`, RFC 3704).
//!
//! The kernel looks up the way to the sender of a reply as it looked up that of the request, from the member and
//! from its gateway link (`__mkroute_input` of `net/ipv4/route.c`, `__fib_validate_source` of
//! `net/ipv4/fib_frontend.c`; tried on Linux 6.18), but without the mark that the request had, unless
//! `src_valid_mark` says that replies have it too. So it is only a rule with a mark whose replies a strict
//! filter drops; and connections that somebody beyond a link opens, where the way back leads over another.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::super::{Lowering, called};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::Inbound;
use crate::resource::nftables::gateway::publish::Arrival;
use crate::resource::route::{MAIN, Target};
use crate::resource::rule::{Action, RuleKey};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};

/// The tables that the kernel's own rules look into besides the main one: `default`, which is empty, and
/// `local` (`man 8 ip-route`).
const DEFAULT: u32 = 253;
const LOCAL: u32 = 255;

/// The value of `rp_filter` that drops what has another way back; 0 lets everything in, and 2 what has any way.
const STRICT: u32 = 1;

/// What a strict filter drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dropped {
    /// Replies to marked packets.
    Replies,
    /// What opens a connection.
    Connections,
}

/// Whether a rule is for a packet.
enum Applies {
    Yes,
    No,
    /// That depends on more than is known.
    Perhaps,
}

/// A default route, or one of the two halves that some write in its place.
struct Wide {
    metric: u32,
    to: IpNet,
    links: BTreeSet<LinkName>,
}

impl Lowering<'_> {
    /// Links whose strict filter drops replies, or what somebody beyond them opens.
    pub(super) fn returns(&mut self) {
        let mut found: BTreeSet<(Ns, LinkName, Dropped, String)> = BTreeSet::new();
        for (ns, links) in self
            .gateways
            .iter()
            .filter(|(ns, _)| self.spec.is_found(ns))
        {
            for (link, gateway) in links {
                // All the rest takes long to find out, and most filters aren't strict.
                let way = gateway.egress.get(&Family::Ipv4);
                let Some(way) = way.filter(|way| self.is_strict(ns, &way.dev)) else {
                    continue;
                };
                let subnets = gateway
                    .prefixes
                    .iter()
                    .filter_map(|net| self.prefixes.subnets.get(net));
                for subnet in subnets.filter(|subnet| subnet.cidr.value.addr().is_ipv4()) {
                    let cidr = subnet.cidr.value;
                    let dropped = if way.inbound == Inbound::Allow {
                        Dropped::Connections
                    } else if self.marked(ns, link, cidr, &way.dev) {
                        Dropped::Replies
                    } else {
                        continue;
                    };
                    if self.is_one_way(ns, &way.dev, (link, cidr)) {
                        let name = subnet.name.value.to_string();
                        found.insert((ns.clone(), way.dev.clone(), dropped, name));
                    }
                }
            }
            for publication in self.published.get(ns).into_iter().flatten() {
                let behind = (&publication.behind, IpNet::from(publication.to));
                if let Arrival::Outside(dev) = &publication.arrival
                    && publication.family() == Family::Ipv4
                    && self.is_one_way(ns, dev, behind)
                {
                    let to = publication.to.to_string();
                    found.insert((ns.clone(), dev.clone(), Dropped::Connections, to));
                }
            }
        }
        for (ns, dev, dropped, what) in found {
            let key = SysctlKey::conf(Family::Ipv4, dev.clone(), "rp_filter");
            let filters = format!(
                "{} takes in by {dev} only what it would answer",
                called(&ns)
            );
            let text = match dropped {
                Dropped::Replies => format!(
                    "{filters} that way without a mark (rp_filter is strict), so replies to what `{what}` sends that \
                     way with one are dropped: write `{key}: 2` in `sysctls` of `{ns}`"
                ),
                Dropped::Connections => format!(
                    "{filters} that way (rp_filter is strict), and what answers for `{what}` goes another, so \
                     connections from beyond its neighbours are dropped: give `{ns}` a rule `from` that to a table \
                     whose default route leads over {dev}"
                ),
            };
            self.remark(&ns, text);
        }
    }

    /// Whether a strict filter of a link drops what it isn't the way back of, which is from a prefix behind a
    /// gateway link.
    fn is_one_way(&self, ns: &Ns, dev: &LinkName, (link, from): (&LinkName, IpNet)) -> bool {
        let back = || self.way_back(ns, link, from);
        self.is_strict(ns, dev) && back().is_some_and(|links| !links.contains(dev))
    }

    /// Whether what comes in by a link is checked strictly, and without a mark: of the filter the greater of its
    /// own value and that for all links holds, of the mark either.
    fn is_strict(&self, ns: &Ns, dev: &LinkName) -> bool {
        let place = self.place(ns);
        let Some(link) = place.links.get(dev) else {
            return false;
        };
        let values = |name, own: u8, all: u8| {
            let of_link = SysctlKey::conf(Family::Ipv4, dev.clone(), name);
            let of_all = SysctlKey::of_links(Family::Ipv4, "all", name);
            let own = self.set_to(ns, of_link).unwrap_or(own.into());
            own.max(self.set_to(ns, of_all).unwrap_or(all.into()))
        };
        values("rp_filter", link.rp_filter, place.rp_filter) == STRICT
            && values("src_valid_mark", link.src_valid_mark, place.src_valid_mark) == 0
    }

    /// Whether a rule with a mark leads from a gateway link to a way out.
    fn marked(&self, ns: &Ns, link: &LinkName, from: IpNet, dev: &LinkName) -> bool {
        let mut rules = self.rules_of(ns).into_iter();
        rules.any(|(key, action)| {
            let unmarked = RuleKey {
                mark: None,
                ..key.clone()
            };
            let wide = action.table().map(|table| self.wide_routes(ns, table));
            key.mark.is_some_and(|mark| mark.value & mark.mask != 0)
                && !matches!(applies(&unmarked, link, from), Applies::No)
                && chosen(&wide.unwrap_or_default()).contains(dev)
        })
    }

    /// The number that the spec sets a sysctl to.
    fn set_to(&self, ns: &Ns, key: SysctlKey) -> Option<u32> {
        match &self
            .state
            .get(&Id::new(ns.clone(), Key::Sysctl(key)))?
            .resource
        {
            Resource::Sysctl(sysctl) => sysctl.value.parse().ok(),
            _ => None,
        }
    }

    /// The links over which an answer from a prefix leads to just anywhere. None: that can't be told.
    fn way_back(&self, ns: &Ns, link: &LinkName, from: IpNet) -> Option<BTreeSet<LinkName>> {
        self.place(ns).rules.as_ref()?;
        for (key, action) in self.rules_of(ns) {
            match (applies(key, link, from), action) {
                (Applies::No, _) | (_, Action::Lookup(LOCAL | DEFAULT)) => {}
                (Applies::Perhaps, _) | (Applies::Yes, Action::Other(_)) => return None,
                (Applies::Yes, Action::Lookup(table)) => {
                    let wide = self.wide_routes(ns, table);
                    if !wide.is_empty() {
                        return Some(chosen(&wide));
                    }
                    // Of others' tables only the main one was read.
                    if table != MAIN {
                        return None;
                    }
                }
                (Applies::Yes, _) => return Some(BTreeSet::new()),
            }
        }
        Some(BTreeSet::new())
    }

    /// The IPv4 rules of a namespace as they will be, in the order in which they are asked.
    fn rules_of<'a>(&'a self, ns: &'a Ns) -> Vec<(&'a RuleKey, Action)> {
        let own = self.state.entries.iter().filter(|(id, _)| id.ns == *ns);
        let own = own.filter_map(|(id, entry)| match (&id.key, &entry.resource) {
            (Key::Rule(key), Resource::Rule(rule)) => Some((&**key, rule.action)),
            _ => None,
        });
        let foreign = self.place(ns).rules.iter().flatten();
        let foreign = foreign.map(|rule| (&rule.key, rule.action));
        let mut rules: Vec<(&RuleKey, Action)> = own
            .chain(foreign)
            .filter(|(key, _)| key.family == Family::Ipv4)
            .collect();
        rules.sort_by_key(|(key, _)| key.priority);
        rules
    }

    /// The routes of a table to just anywhere: the spec's, and of the main table also those of others.
    fn wide_routes(&self, ns: &Ns, table: u32) -> Vec<Wide> {
        let own = self.state.entries.iter().filter(|(id, _)| id.ns == *ns);
        let own = own.filter_map(|(id, entry)| match (&id.key, &entry.resource) {
            (Key::Route(key), Resource::Route(route)) if key.table == table => Some(Wide {
                metric: key.metric,
                to: key.to,
                links: match &route.target {
                    Target::Unicast(_) => {
                        let hops = route.hops().iter();
                        hops.filter_map(|hop| hop.dev.clone()).collect()
                    }
                    _ => BTreeSet::new(),
                },
            }),
            _ => None,
        });
        let place = self.place(ns);
        let foreign = place.routes.iter().filter(|_| table == MAIN);
        let foreign = foreign.map(|route| Wide {
            metric: route.metric,
            to: route.to,
            links: route.links.iter().cloned().collect(),
        });
        own.chain(foreign)
            .filter(|route| route.to.prefix_len() <= 1 && route.to.addr().is_ipv4())
            .collect()
    }
}

/// Whether a rule is for what comes from a prefix by a link, goes to just anywhere, and has no mark.
fn applies(key: &RuleKey, link: &LinkName, from: IpNet) -> Applies {
    let never = key.oif.is_some()
        || key.iif.as_ref().is_some_and(|iif| iif != link)
        || key.mark.is_some_and(|mark| mark.value & mark.mask != 0)
        || key.to.is_some_and(|to| to.prefix_len() > 1)
        || key
            .from
            .is_some_and(|net| !net.contains(&from) && !from.contains(&net));
    if never {
        Applies::No
    } else if key.to.is_some_and(|to| to.prefix_len() == 1)
        || key.from.is_some_and(|net| !net.contains(&from))
    {
        Applies::Perhaps
    } else {
        Applies::Yes
    }
}

/// The links that the best routes lead over, of the two halves of all addresses.
fn chosen(routes: &[Wide]) -> BTreeSet<LinkName> {
    let halves =
        ["0.0.0.1", "128.0.0.1"].map(|ip| ip.parse::<std::net::IpAddr>().expect("an address"));
    let best = |ip| {
        let around = routes.iter().filter(|route| route.to.contains(&ip));
        around.min_by_key(|route| (std::cmp::Reverse(route.to.prefix_len()), route.metric))
    };
    let best = halves.into_iter().filter_map(best);
    best.flat_map(|route| route.links.iter().cloned()).collect()
}
