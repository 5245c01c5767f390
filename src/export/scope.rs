//! What of a host is written down.

use std::collections::BTreeSet;

use crate::resource::link::{Link, LinkKind};
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Owner, Survey};

/// What somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The namespaces.
    pub namespaces: BTreeSet<NamespaceName>,
    /// Whether all namespaces that have a name and that no program made.
    pub all: bool,
    /// Whether the pairs, bridges and dummies of the host, too.
    pub host: bool,
}

/// What is written.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The namespaces of which everything is written.
    pub(super) whole: BTreeSet<NamespaceName>,
    /// Those of which only what links lead to is written.
    pub(super) beside: BTreeSet<NamespaceName>,
    /// The links that the topology is to own.
    pub(super) links: BTreeSet<(Ns, LinkName)>,
    /// The namespaces that are left out because a program made them, and which.
    pub(super) left_out: Vec<(NamespaceName, &'static str)>,
}

impl Scope {
    /// What somebody asks for of what there is.
    ///
    /// # Errors
    ///
    /// The namespaces that there are not.
    pub fn of(wanted: &Wanted, survey: &Survey) -> Result<Scope, Vec<NamespaceName>> {
        let mut scope = Scope::default();
        let missing = wanted.namespaces.iter();
        let missing =
            missing.filter(|name| !survey.places.contains_key(&Ns::Named((*name).clone())));
        let missing: Vec<NamespaceName> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for (ns, place) in &survey.places {
            match (ns, place.program) {
                (Ns::Named(name), Some(program)) if wanted.all => {
                    scope.left_out.push((name.clone(), program));
                }
                // Of one that somebody else makes there is what a topology has in it.
                (Ns::Named(name), _) if wanted.all && survey.state.external.contains_key(name) => {
                    scope.beside.insert(name.clone());
                }
                (Ns::Named(name), _) if wanted.all || wanted.namespaces.contains(name) => {
                    scope.whole.insert(name.clone());
                }
                _ => {}
            }
        }
        for (id, entry) in &survey.state.entries {
            let (Key::Link(name), Resource::Link(link)) = (&id.key, &entry.resource) else {
                continue;
            };
            let whole = scope.is_whole(&id.ns) || id.ns == Ns::Host && wanted.host;
            let by_program = survey
                .places
                .get(&id.ns)
                .is_some_and(|place| place.programs.contains_key(name));
            let is_one = link.kind.is_single() || link.peer().is_some();
            if whole && is_one && (id.ns != Ns::Host || !by_program) {
                scope.take(&id.ns, name, survey);
            }
        }
        Ok(scope)
    }

    /// Takes a link, the other end of a pair, and the bridges that they are ports of.
    fn take(&mut self, ns: &Ns, name: &LinkName, survey: &Survey) {
        if !self.links.insert((ns.clone(), name.clone())) {
            return;
        }
        if let Ns::Named(name) = ns
            && !self.whole.contains(name)
        {
            self.beside.insert(name.clone());
        }
        let Some(link) = link(survey, ns, name) else {
            return;
        };
        if let Some(peer) = link.peer() {
            self.take(&peer.ns, &peer.name, survey);
        }
        if let Some(master) = &link.master
            && let Some(bridge) = self::link(survey, ns, master)
            && bridge.kind.joins()
            && !survey
                .places
                .get(ns)
                .is_some_and(|place| place.programs.contains_key(master))
        {
            self.take(ns, master, survey);
        }
    }

    pub(super) fn is_whole(&self, ns: &Ns) -> bool {
        ns.name().is_some_and(|name| self.whole.contains(name))
    }

    pub(super) fn has_link(&self, ns: &Ns, link: &LinkName) -> bool {
        self.links.contains(&(ns.clone(), link.clone()))
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.links.is_empty()
    }

    /// The namespaces that are left out, and which program seems to have made each.
    pub fn left_out(&self) -> &[(NamespaceName, &'static str)] {
        &self.left_out
    }
}

/// A link.
pub(super) fn link<'s>(survey: &'s Survey, ns: &Ns, name: &LinkName) -> Option<&'s Link> {
    link_of(survey, &Id::link(ns.clone(), name.clone()))
}

/// The link of an identity.
pub(super) fn link_of<'s>(survey: &'s Survey, id: &Id) -> Option<&'s Link> {
    match &survey.state.get(id)?.resource {
        Resource::Link(link) => Some(link),
        _ => None,
    }
}

/// Whether a link is `lo`.
pub(super) fn is_loopback(link: &Link) -> bool {
    link.kind == LinkKind::Loopback
}

/// The topology that owns what is written, if it is one and no other, and nothing of its is left out. All that it has on the
/// host and in external namespaces is in the scope from then on.
pub fn topology(survey: &Survey, scope: &mut Scope) -> Option<TopologyName> {
    let written = |id: &Id| match (&id.ns, &id.key) {
        (Ns::Named(name), Key::Namespace) => scope.whole.contains(name),
        (ns, Key::Link(link)) => scope.has_link(ns, link),
        _ => false,
    };
    let owned = survey.state.entries.iter();
    let owned = owned.filter_map(|(id, entry)| match &entry.owner {
        Owner::Topology(name) if matches!(id.key, Key::Namespace | Key::Link(_)) => {
            Some((id, name))
        }
        _ => None,
    });
    let owned: Vec<(&Id, &TopologyName)> = owned.collect();
    let owners = owned.iter().filter(|(id, _)| written(id));
    let owners: BTreeSet<&TopologyName> = owners.map(|(_, name)| *name).collect();
    let mut owners = owners.into_iter();
    let only = owners.next().filter(|_| owners.next().is_none())?;
    let mut its = owned.iter().filter(|(_, name)| *name == only);
    let whole = its.all(|(id, _)| id.key != Key::Namespace || written(id));
    if !whole {
        return None;
    }
    let only = only.clone();
    for (id, entry) in &survey.state.entries {
        if !entry.owner.is(&only) {
            continue;
        }
        if let Some(name) = id.ns.name()
            && survey.state.external.contains_key(name)
        {
            scope.beside.insert(name.clone());
        }
        if let (Key::Link(name), Resource::Link(link)) = (&id.key, &entry.resource)
            && !is_loopback(link)
        {
            scope.take(&id.ns, name, survey);
        }
    }
    Some(only)
}
