//! Where a spec names what it comes to.

use super::model::Spec;
use super::source::Span;
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Ns};

impl Spec {
    /// Where it names a resource that is its doing: a namespace, a link, an address, a route, a rule, or that a
    /// link is a port. None: it follows from several things.
    pub fn place_of(&self, id: &Id) -> Option<Span> {
        let end = |name: &LinkName| {
            let mut ends = self.ends();
            ends.find(|end| end.ns.value == id.ns && end.name.value == *name)
        };
        match &id.key {
            Key::Namespace => self.entry(&id.ns).map(|namespace| namespace.span),
            Key::Link(name) => end(name).map(|end| end.name.span),
            Key::Port(name) => end(name)?.bridge.as_ref().map(|bridge| bridge.span),
            Key::Address(key) => {
                let mut addresses = end(&key.link)?.addresses.iter();
                let found = addresses.find(|address| address.value.addr() == key.ip);
                found.map(|address| address.span)
            }
            Key::Route(key) => {
                let mut routes = self.entry(&id.ns)?.routes.iter();
                let found = routes
                    .find(|route| route.to.value.trunc() == key.to && route.table == key.table);
                found.map(|route| route.to.span)
            }
            Key::Rule(key) => {
                let mut rules = self.entry(&id.ns)?.rules.iter();
                let found = rules.find(|rule| rule.priority.value == key.priority);
                found.map(|rule| rule.priority.span)
            }
            Key::File(_) if id.ns != Ns::Host => {
                self.entry(&id.ns)?.dns.as_ref().map(|dns| dns.span)
            }
            Key::File(_) | Key::Sysctl(_) | Key::Table | Key::Permit(_) => None,
        }
    }
}
