//! Routes and rules beside each other, and whether there is a way to every next hop.

mod barred;
mod beyond;
mod elsewhere;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::ends::unusable;
use super::subnets::edge;
use crate::resource::link::IPV6_MIN_MTU;
use crate::resource::name::LinkName;
use crate::resource::route::RouteKey;
use crate::resource::rule::Mark;
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::{Findings, nearest};
use crate::spec::lower::{self, Routes};
use crate::spec::model::{End, Namespace, NextHop, Route, Rule, Spec};
use crate::spec::reach::{Reach, Way};
use crate::spec::source::{Span, Spanned};

/// Checks the routes and rules of all namespaces. What concerns links of the host and of external ones
/// that no topology speaks of is looked at when they are known.
pub(super) fn check(spec: &Spec, found: &mut Findings) {
    let reach = Reach::of(spec, None);
    let gateways = lower::gateway_routes(spec);
    let mut ends: HashMap<&Ns, Vec<&End>> = HashMap::new();
    for end in spec.ends() {
        ends.entry(&end.ns.value).or_default().push(end);
    }
    for (ns, namespace) in spec.all_namespaces() {
        let ends = ends.get(ns).map_or(&[][..], Vec::as_slice);
        let here = Here {
            ns,
            found: spec.is_found(ns),
            links: ends.iter().map(|end| (&end.name.value, *end)).collect(),
            addresses: ends
                .iter()
                .flat_map(|end| &end.addresses)
                .map(|address| address.value.addr())
                .collect(),
            reach: &reach,
            gateways: &gateways,
        };
        here.routes(namespace, found);
        here.rules(namespace, found);
        here.barred(namespace, found);
        here.beyond(namespace, found);
        here.elsewhere(namespace, found);
    }
}

/// A namespace, its links and its addresses.
struct Here<'s> {
    ns: &'s Ns,
    /// Whether others make it.
    found: bool,
    links: BTreeMap<&'s LinkName, &'s End>,
    addresses: BTreeSet<IpAddr>,
    reach: &'s Reach<'s>,
    gateways: &'s Routes<'s>,
}

impl<'s> Here<'s> {
    fn routes(&self, namespace: &'s Namespace, found: &mut Findings) {
        let mut seen: HashMap<RouteKey, Span> = HashMap::new();
        for route in &namespace.routes {
            let to = route.to.value;
            let key = RouteKey::new(route.table, to, route.metric);
            if let Some(first) = seen.insert(key.clone(), route.to.span) {
                let message = format!("`{}` has two routes to {to} of one metric", self.ns);
                let help = "remove one, or give it another `metric`; several ways are `nexthops`";
                let diagnostic = Diagnostic::new(message, route.to.span, help);
                found.push(diagnostic.also(first, "the other"));
            }
            self.beside_gateway(&key, route, found);
            for hop in route.hops() {
                self.hop(route, hop, found);
            }
            let mut hops = BTreeSet::new();
            for hop in route.hops() {
                let via = hop.via.map(|via| via.value);
                if !hops.insert((via, hop.dev.as_ref().map(|dev| &dev.value))) {
                    let message = "two next hops of a route are the same";
                    let help = "remove one, and give the other a larger `weight`";
                    found.error(message, place(route, hop), help);
                }
            }
            if let Some(src) = &route.src
                && !self.found
                && !self.addresses.contains(&src.value)
            {
                let (ns, ip) = (self.ns, src.value);
                let message = format!("`{ns}` has no address {ip}, so it can't be a source");
                let help = "name one of its addresses, or remove `src`";
                found.error(message, src.span, help);
            }
        }
    }

    /// A default route beside the one that a subnet brings.
    fn beside_gateway(&self, key: &RouteKey, route: &Route, found: &mut Findings) {
        let usual = RouteKey::main(key.to);
        if key.to.prefix_len() > 0 || *key != usual || self.found {
            return;
        }
        if let Some((via, _)) = self.gateways.get(&(self.ns, key.family())) {
            let (ns, family) = (self.ns, key.family());
            let message = format!(
                "`{ns}` gets an {family} default route through {via} already, as a member of a subnet"
            );
            let help =
                format!("say `gateway: none` in the entry of `{ns}`, or give this one a `metric`");
            found.error(message, route.to.span, help);
        }
    }

    fn hop(&self, route: &Route, hop: &'s NextHop, found: &mut Findings) {
        if let Some(dev) = &hop.dev
            && !self.dev(route, dev, found)
        {
            return;
        }
        let Some(via) = &hop.via else { return };
        let (ns, ip) = (self.ns, via.value);
        if let Some(dev) = hop.dev.as_ref().filter(|dev| dev.value.as_str() == "lo") {
            let message = format!("`lo` leads to no other router, so not to {ip}");
            let help = "name the link that the router is behind";
            found.push(Diagnostic::new(message, dev.span, help).also(via.span, "the next hop"));
        } else if let Some(why) = unusable(ip) {
            let message = format!("the next hop can't be {ip}: {why}");
            found.error(message, via.span, "choose a unicast address");
        } else if let Some(why) = self.edge(ip) {
            let message = format!("the next hop can't be {ip}: {why}");
            found.error(message, via.span, "name the address of another router");
        } else if self.addresses.contains(&ip) {
            let message = format!("`{ns}` has the address {ip} itself");
            found.error(message, via.span, "name the address of another router");
        } else if is_link_local(ip) {
            if hop.dev.is_none() {
                let message = format!("{ip} is on every link, so the next hop needs `dev`");
                found.error(message, via.span, "add `dev: LINK`");
            }
        } else {
            self.way(hop, via, found);
        }
    }

    /// Why an address can't be a router's: because it is the first or the last of a network that is here.
    fn edge(&self, ip: IpAddr) -> Option<String> {
        let addresses = self.links.values().filter(|end| end.up);
        addresses
            .flat_map(|end| &end.addresses)
            .flat_map(|address| address.value.beside())
            .filter(|net| net.contains(&ip))
            .find_map(|net| edge(net, ip))
    }

    /// The kernel believes `onlink` only where it knows of no other way to an IPv6 router
    /// (`ip6_route_check_nh_onlink` of `net/ipv6/route.c`).
    fn beside_another(&self, dev: &Spanned<LinkName>, via: &Spanned<IpAddr>, found: &mut Findings) {
        let (Way::Link(link), IpAddr::V6(_)) = (self.reach.toward(self.ns, via.value), via.value)
        else {
            return;
        };
        if *link != dev.value {
            let message = format!(
                "the next hop {} is beside `{link}`, so it can't be behind `{}`",
                via.value, dev.value
            );
            let help = format!("write `dev: {link}`, or give `{link}` a longer prefix");
            found.push(Diagnostic::new(message, via.span, help).also(dev.span, "the link"));
        }
    }

    /// Says so when nothing leads to a router.
    fn way(&self, hop: &'s NextHop, via: &Spanned<IpAddr>, found: &mut Findings) {
        let (ns, ip) = (self.ns, via.value);
        if let Some(dev) = &hop.dev {
            let known = !self.found || self.links.contains_key(&dev.value);
            let nears = self.reach.beside(ns, ip);
            if known && !hop.onlink && !nears.iter().any(|near| *near.link == dev.value) {
                let message = format!("no address of `{}` is beside the next hop {ip}", dev.value);
                let help = format!(
                    "give `{}` an address beside {ip}, or say `onlink: true`",
                    dev.value
                );
                found.push(Diagnostic::new(message, via.span, help).also(dev.span, "the link"));
            } else if hop.onlink {
                self.beside_another(dev, via, found);
            }
            return;
        }
        match self.reach.toward(ns, ip) {
            Way::Link(_) => {}
            // What others made has links that no topology speaks of.
            Way::Nowhere if self.found => {}
            Way::Nowhere => {
                let message = format!("no address of `{ns}` reaches the next hop {ip}");
                let help = format!(
                    "give a link of `{ns}` an address beside {ip}, or name its link and say `onlink: true`"
                );
                found.error(message, via.span, help);
            }
            Way::Unusable(link) => {
                let message = format!("`{ns}` reaches the next hop {ip} by a link that is down");
                let mut diagnostic =
                    Diagnostic::new(message, via.span, "remove the route, or `up: false` there");
                if let Some(end) = self.links.get(link) {
                    diagnostic = diagnostic.also(end.name.span, "the link");
                }
                found.push(diagnostic);
            }
            Way::Several(links) => {
                let names: Vec<String> = links.iter().map(|link| format!("`{link}`")).collect();
                let message = format!("{} are all beside the next hop {ip}", names.join(" and "));
                found.error(message, via.span, "name the link: `dev: LINK`");
            }
        }
    }

    /// Whether a route can lead over a link.
    fn dev(&self, route: &Route, dev: &Spanned<LinkName>, found: &mut Findings) -> bool {
        if !self.link(dev, found) {
            return false;
        }
        let Some(end) = self.links.get(&dev.value) else {
            return true;
        };
        let name = &dev.value;
        let (message, help) = if !end.up {
            (
                format!("`{name}` is down, and a route needs a link that is up"),
                "remove the route, or `up: false` there".to_owned(),
            )
        } else if Family::of(route.to.value.addr()) == Family::Ipv6 && end.mtu < IPV6_MIN_MTU {
            (
                format!("`{name}` has an MTU of {}, so it has no IPv6", end.mtu),
                format!("IPv6 needs at least {IPV6_MIN_MTU}"),
            )
        } else {
            return true;
        };
        found.push(Diagnostic::new(message, dev.span, help).also(end.name.span, "the link"));
        false
    }

    /// Whether there is such a link here; where others made the namespace there may be.
    fn link(&self, name: &Spanned<LinkName>, found: &mut Findings) -> bool {
        let known = self.links.contains_key(&name.value) || name.value.as_str() == "lo";
        if known || self.found {
            return true;
        }
        let near = if found.is_full() {
            None
        } else {
            nearest(
                name.value.as_str(),
                self.links.keys().map(|link| link.as_str()),
            )
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("name a link of `{}`", self.ns),
        };
        let message = format!("`{}` has no link `{}`", self.ns, name.value);
        found.error(message, name.span, help);
        false
    }

    fn rules(&self, namespace: &'s Namespace, found: &mut Findings) {
        let mut seen: HashMap<(Family, Selector<'_>), Span> = HashMap::new();
        for rule in &namespace.rules {
            for link in rule.iif.iter().chain(&rule.oif) {
                self.link(link, found);
            }
            let mut twice = None;
            for family in rule.families() {
                twice = twice.or(seen.insert((family, selector(rule)), rule.span));
            }
            if let Some(first) = twice {
                let message = format!(
                    "`{}` has two rules of priority {} for the same packets",
                    self.ns, rule.priority.value
                );
                let help = "remove one, or give it another `priority`";
                let diagnostic = Diagnostic::new(message, rule.span, help);
                found.push(diagnostic.also(first, "the other"));
            }
        }
    }
}

/// Where an error about a next hop points.
fn place(route: &Route, hop: &NextHop) -> Span {
    let via = hop.via.map(|via| via.span);
    via.or(hop.dev.as_ref().map(|dev| dev.span))
        .unwrap_or(route.span)
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Which packets a rule is for, and its place.
type Selector<'r> = (
    u32,
    [Option<ipnet::IpNet>; 2],
    [Option<&'r LinkName>; 2],
    Option<Mark>,
);

fn selector(rule: &Rule) -> Selector<'_> {
    let net = |net: Option<Spanned<ipnet::IpNet>>| {
        net.map(|net| net.value).filter(|net| net.prefix_len() > 0)
    };
    (
        rule.priority.value,
        [net(rule.from), net(rule.to)],
        [
            rule.iif.as_ref().map(|link| &link.value),
            rule.oif.as_ref().map(|link| &link.value),
        ],
        rule.mark,
    )
}
