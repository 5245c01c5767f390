//! Static routes and policy routing rules.

use std::net::IpAddr;

use super::{Lowering, called, listed};
use crate::resource::name::LinkName;
use crate::resource::route::{NextHop, Route, RouteKey, Target};
use crate::resource::rule::{Rule, RuleKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model;
use crate::spec::reach::Way;
use crate::spec::source::Spanned;

impl<'s> Lowering<'s> {
    pub(super) fn static_routes(&mut self) {
        let spec = self.spec;
        for (ns, namespace) in spec.all_namespaces() {
            for route in &namespace.routes {
                if let Some(lowered) = self.static_route(ns, route) {
                    let key = RouteKey::new(route.table, route.to.value, route.metric);
                    self.put(ns, Key::Route(key), Resource::Route(lowered));
                }
            }
        }
    }

    fn static_route(&mut self, ns: &'s Ns, route: &'s model::Route) -> Option<Route> {
        let target = match &route.target {
            model::Target::Unicast(hops) => {
                let mut lowered = Vec::new();
                for hop in hops {
                    lowered.push(NextHop {
                        via: hop.via.map(|via| via.value),
                        dev: Some(self.dev_of(ns, hop)?),
                        onlink: hop.onlink,
                        weight: if hops.len() > 1 { hop.weight } else { 1 },
                    });
                }
                Target::over(Family::of(route.to.value.addr()), lowered)
            }
            model::Target::Blackhole => Target::Blackhole,
            model::Target::Unreachable => Target::Unreachable,
            model::Target::Prohibit => Target::Prohibit,
        };
        if let Some(src) = route.src.filter(|_| self.spec.is_found(ns)) {
            self.check_source(ns, &src);
        }
        Some(Route {
            target,
            src: route.src.map(|src| src.value),
            mtu: route.mtu,
        })
    }

    /// The link of a next hop. That there is none in a namespace of others is only known now.
    fn dev_of(&mut self, ns: &'s Ns, hop: &'s model::NextHop) -> Option<LinkName> {
        match (&hop.dev, hop.via) {
            (Some(dev), via) if self.spec.is_found(ns) => self.dev_of_others(ns, dev, hop, via),
            (Some(dev), _) => Some(dev.value.clone()),
            (None, Some(via)) => match self.reach.toward(ns, via.value) {
                Way::Link(link) => Some(link.clone()),
                Way::Several(links) => {
                    let message = format!(
                        "several links of {} are beside the next hop {}",
                        called(ns),
                        via.value
                    );
                    let help = format!("name one: `dev: LINK`; they are: {}", listed(links));
                    self.errors.push(Diagnostic::new(message, via.span, help));
                    None
                }
                Way::Nowhere | Way::Unusable(_) => {
                    let message = format!(
                        "no link of {} reaches the next hop {}",
                        called(ns),
                        via.value
                    );
                    let help =
                        "name its link and say `onlink: true`, or give a link an address beside it";
                    self.errors.push(Diagnostic::new(message, via.span, help));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// A link of a namespace of others by its name, or by another name that it goes by.
    fn dev_of_others(
        &mut self,
        ns: &Ns,
        dev: &Spanned<LinkName>,
        hop: &model::NextHop,
        via: Option<Spanned<IpAddr>>,
    ) -> Option<LinkName> {
        let made = Id::link(ns.clone(), dev.value.clone());
        if self.state.get(&made).is_some() {
            return Some(dev.value.clone());
        }
        let place = self.place(ns);
        let Some((name, link)) = place.link(&dev.value) else {
            let foreign = place.links.iter().filter(|(_, link)| link.owner.is_none());
            let help = format!("its links are: {}", listed(foreign.map(|(name, _)| name)));
            let message = format!("{} has no link `{}`", called(ns), dev.value);
            self.errors.push(Diagnostic::new(message, dev.span, help));
            return None;
        };
        let name = name.clone();
        if !link.up {
            let message = format!(
                "link `{name}` of {} is down, and a route needs one that is up",
                called(ns)
            );
            let help = "set it up first, or remove the route";
            self.errors.push(Diagnostic::new(message, dev.span, help));
            return None;
        }
        if let Some(via) = via.filter(|_| !hop.onlink) {
            let nears = self.reach.beside(ns, via.value);
            let beside = nears.iter().any(|near| *near.link == name);
            let local = matches!(via.value, IpAddr::V6(ip) if ip.is_unicast_link_local());
            if !beside && !local {
                let message = format!(
                    "no address of link `{name}` of {} is beside the next hop {}",
                    called(ns),
                    via.value
                );
                let help = "give the link an address beside it, or say `onlink: true`";
                self.errors.push(Diagnostic::new(message, via.span, help));
            }
        }
        Some(name)
    }

    /// Says so when a source is no address of a namespace of others.
    fn check_source(&mut self, ns: &Ns, src: &Spanned<IpAddr>) {
        let of_spec = self.holders(src.value).iter();
        let of_spec = of_spec.map(|end| &end.ns.value).any(|of| of == ns);
        let links = self.place(ns).links.values();
        let mut others = links.flat_map(|link| &link.addresses);
        if !of_spec && !others.any(|net| net.addr() == src.value) {
            let message = format!(
                "{} has no address {}, so it can't be a source",
                called(ns),
                src.value
            );
            let help = "name one of its addresses, or remove `src`";
            self.errors.push(Diagnostic::new(message, src.span, help));
        }
    }

    pub(super) fn rules(&mut self) {
        let spec = self.spec;
        let known: Vec<Family> = self.families().collect();
        for (ns, namespace) in spec.all_namespaces() {
            for rule in &namespace.rules {
                let families = rule.families();
                for family in families.into_iter().filter(|family| known.contains(family)) {
                    let net = |net: Option<Spanned<ipnet::IpNet>>| {
                        net.map(|net| net.value).filter(|net| net.prefix_len() > 0)
                    };
                    let link = |link: &Option<Spanned<LinkName>>| {
                        link.as_ref().map(|link| link.value.clone())
                    };
                    let key = RuleKey {
                        family,
                        priority: rule.priority.value,
                        from: net(rule.from),
                        to: net(rule.to),
                        iif: link(&rule.iif),
                        oif: link(&rule.oif),
                        mark: rule.mark,
                    };
                    let action = rule.action;
                    self.put(
                        ns,
                        Key::Rule(Box::new(key)),
                        Resource::Rule(Rule::new(action)),
                    );
                }
            }
        }
    }
}
