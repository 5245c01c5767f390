//! What whoever carries out an operation must know of it.

use super::{Action, Operation, Plan, Transfer};
use crate::resource::nftables::gateway::withdrawn::Ended;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Change, Key, Ns, Resource};

impl Plan {
    /// The namespaces in which it may change something.
    pub fn concerns(&self) -> impl Iterator<Item = &Ns> {
        self.operations.iter().flat_map(Operation::concerns)
    }
}

impl Operation {
    /// Whether a value is to be borrowed of a link, or a switch of a namespace, that was not there when it was read: nobody
    /// could give it back.
    pub fn is_unseen(&self) -> bool {
        let (Action::Borrow { before, .. }, Key::Sysctl(key)) = (&self.action, &self.id.key) else {
            return false;
        };
        // These are never empty; others may be, as a list of ports.
        let is_number = matches!(key, SysctlKey::Conf { .. })
            || key.switch().is_some()
            || *key == SysctlKey::redirects();
        is_number && before.value.is_empty()
    }

    /// Whether it does nothing but take over what is right already.
    pub fn adopts_as_it_is(&self) -> bool {
        let (Action::Update { before, after }, Some(Transfer::Adopt)) =
            (&self.action, self.transfer)
        else {
            return false;
        };
        after.change_from(before) == Change::None
    }

    /// The connections that end with it.
    pub fn ended(&self) -> impl Iterator<Item = &Ended> + Clone {
        self.ends.iter().flat_map(|ends| &ends.ended)
    }

    /// The namespaces in which it may change something: its own, and those of the other ends of its link.
    fn concerns(&self) -> impl Iterator<Item = &Ns> {
        let (before, after) = match &self.action {
            Action::Create(one) | Action::Remove(one) => (Some(one), None),
            Action::Update { before, after } => (Some(before), Some(after)),
            Action::Borrow { .. } | Action::GiveBack { .. } => (None, None),
        };
        let peers = before
            .into_iter()
            .chain(after)
            .filter_map(|resource| match resource {
                Resource::Link(link) => link.peer().map(|peer| &peer.ns),
                _ => None,
            });
        let with = self.with.iter().map(|id| &id.ns);
        [&self.id.ns].into_iter().chain(with).chain(peers)
    }

    /// The namespaces whose routes wait for it: that of a link that is made or changed, and that of its peer.
    pub fn touches(&self) -> impl Iterator<Item = &Ns> {
        let resource = match &self.action {
            Action::Create(resource)
            | Action::Update {
                after: resource, ..
            } => Some(resource),
            _ => None,
        };
        let (own, peer) = match resource {
            Some(Resource::Link(link)) => {
                let peer = link.peer().map(|peer| &peer.ns);
                (Some(&self.id.ns), peer.filter(|ns| **ns != self.id.ns))
            }
            // The bridge may have its carrier from it.
            Some(Resource::Port(_)) => (Some(&self.id.ns), None),
            _ => (None, None),
        };
        own.into_iter().chain(peer)
    }
}
