//! Renaming a topology: only tags and the record change, and what carries them goes on as it is.
//!
//! The new record is written first and the old one removed last. In between both name what there is, so that
//! either name finds what a crash leaves, and the same renaming finishes it.

use std::os::fd::AsFd;

use super::encode::{self, Change};
use super::error::Error;
use super::nftables::{NfSocket, PermitChange, TableChange};
use super::outbox::Outbox;
use super::record::Record;
use super::space::door_of;
use super::{Kernel, file, namespace, read, record, tag};
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;
use crate::resource::permit::PermitKey;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Facts, Owner, Place, State};

/// A topology's name, and the one that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renaming {
    pub(super) old: TopologyName,
    pub(super) new: TopologyName,
}

impl Renaming {
    fn of(&self, name: &mut TopologyName) {
        if *name == self.old {
            name.clone_from(&self.new);
        }
    }

    fn of_option(&self, name: &mut Option<TopologyName>) {
        if let Some(name) = name {
            self.of(name);
        }
    }

    /// A table as it is to be.
    fn table(&self, table: &Table) -> Table {
        let fresh = Table::of(&self.new);
        Table {
            name: fresh.name,
            comment: fresh.comment,
            ..table.clone()
        }
    }

    /// An identity as it is to be: rules in the chains of others say whose they are.
    fn id(&self, id: &Id) -> Id {
        let mut id = id.clone();
        if let Key::Permit(key) = &mut id.key {
            self.of(&mut key.topology);
        }
        id
    }

    /// What was observed, as it will be.
    pub(super) fn state(&self, state: &mut State) {
        let entries = std::mem::take(&mut state.entries);
        let entries = entries.into_iter();
        state.entries = entries.map(|(id, entry)| (self.id(&id), entry)).collect();
        for entry in state.entries.values_mut() {
            if let Owner::Topology(owner) | Owner::Disputed(owner) = &mut entry.owner {
                self.of(owner);
            }
            if let Resource::Table(table) = &mut entry.resource
                && table.name == Table::name_of(&self.old)
            {
                *table = self.table(table);
            }
        }
        for loan in state.loans.values_mut() {
            for values in [&mut loan.by, &mut loan.lent] {
                if let Some(value) = values.remove(&self.old) {
                    values.insert(self.new.clone(), value);
                }
            }
        }
    }

    /// What lowering is told, as it will be.
    pub(super) fn facts(&self, facts: &mut Facts) {
        for place in std::iter::once(&mut facts.host).chain(facts.external.values_mut()) {
            self.place(place);
        }
    }

    fn place(&self, place: &mut Place) {
        for link in place.links.values_mut() {
            self.of_option(&mut link.owner);
        }
        for route in place.default.values_mut().flatten() {
            self.of_option(&mut route.owner);
        }
        for route in &mut place.routes {
            self.of_option(&mut route.owner);
        }
        for rule in place.rules.iter_mut().flatten() {
            self.of_option(&mut rule.owner);
        }
        if place.routers.remove(&self.old) {
            place.routers.insert(self.new.clone());
        }
    }
}

/// That a topology can get a new name: it is there, and no other has that.
pub(super) fn check(kernel: &mut Kernel, renaming: &Renaming) -> Result<(), Error> {
    let Renaming { old, new } = renaming;
    let is_begun = Record::read(new)?.renamed.as_ref() == Some(old);
    let mut owned = |topology: &TopologyName| -> Result<bool, Error> {
        let state = kernel.observe_as(topology, &State::new())?;
        let mut entries = state.entries.values();
        let loans = state
            .loans
            .values()
            .any(|loan| loan.by.contains_key(topology));
        Ok(loans || entries.any(|entry| entry.owner.is(topology)))
    };
    if !owned(old)? && !is_begun {
        let others = record::names()?.into_iter().filter(|name| name != old);
        return Err(Error::NoTopology {
            name: old.clone(),
            others: others.collect(),
        });
    }
    if owned(new)? && !is_begun {
        return Err(Error::Taken { name: new.clone() });
    }
    Ok(())
}

/// Renames a topology.
pub(super) fn rename(kernel: &mut Kernel, renaming: &Renaming) -> Result<(), Error> {
    let Renaming { old, new } = renaming;
    let state = kernel.observe_as(old, &State::new())?;
    let written = Record::read(old)?;
    let begun = Record::read(new)?;
    if !written.is_empty() || begun.renamed.is_none() {
        let mut record = written;
        record.topology.clone_from(new);
        record.renamed = Some(old.clone());
        record.claims = record.claims.iter().map(|id| renaming.id(id)).collect();
        // Where it was lost, the tags say which they are.
        let own = state.entries.iter();
        let own = own.filter(|(id, entry)| id.key == Key::Namespace && entry.owner.is(old));
        record
            .namespaces
            .extend(own.filter_map(|(id, _)| id.ns.name().cloned()));
        record.write()?;
    }
    for ns in spaces(&state) {
        links(kernel, &ns, renaming)?;
        let table = state.get(&Id::new(ns.clone(), Key::Table));
        if let Some(Resource::Table(table)) = table
            .filter(|entry| entry.owner.is(old))
            .map(|entry| &entry.resource)
        {
            let door = door_of(&kernel.doors, &ns)?;
            // Both in one transaction: there is always one.
            let changes = [
                TableChange::Remove(table.name.clone()),
                TableChange::Create(renaming.table(table)),
            ];
            namespace::inside(door.as_fd(), || Ok(NfSocket::open()?.apply(&changes)?))?;
        }
        permits(kernel, &state, &ns, renaming)?;
    }
    for (id, entry) in &state.entries {
        if let (Key::File(kind), Some(name), Resource::File(found)) =
            (&id.key, id.ns.name(), &entry.resource)
            && entry.owner.is(old)
        {
            file::update(name, *kind, new, &found.content)?;
        }
    }
    Record::new(old.clone()).write()?;
    let mut finished = Record::read(new)?;
    finished.renamed = None;
    finished.write()?;
    kernel.last = None;
    Ok(())
}

/// Renames the accept rules in the chains of others, all at once.
fn permits(kernel: &Kernel, state: &State, ns: &Ns, renaming: &Renaming) -> Result<(), Error> {
    let of_ns = state.entries.iter().filter(|(id, _)| id.ns == *ns);
    let own = of_ns.filter(|(_, entry)| entry.owner.is(&renaming.old));
    let renamed: Vec<(&PermitKey, Key)> = own
        .filter_map(|(id, _)| match &id.key {
            Key::Permit(key) => Some((&**key, renaming.id(id).key)),
            _ => None,
        })
        .collect();
    let changes = renamed.iter().flat_map(|(before, after)| match after {
        Key::Permit(after) => vec![PermitChange::Create(after), PermitChange::Remove(before)],
        _ => Vec::new(),
    });
    let changes: Vec<PermitChange<'_>> = changes.collect();
    if changes.is_empty() {
        return Ok(());
    }
    let door = door_of(&kernel.doors, ns)?;
    namespace::inside(door.as_fd(), || Ok(NfSocket::open()?.permit(&changes)?))
}

/// The namespaces in which a topology may have tags, the host last. One may have its new name already.
fn spaces(state: &State) -> Vec<Ns> {
    let ids = state.entries.keys();
    let named = ids.filter(|id| id.key == Key::Namespace);
    let named = named.map(|id| id.ns.clone());
    named.chain([Ns::Host]).collect()
}

/// Renames the tags of the links in a namespace, and of the namespace itself.
fn links(kernel: &mut Kernel, ns: &Ns, renaming: &Renaming) -> Result<(), Error> {
    let external = kernel.doors.external.keys();
    let found = *ns == Ns::Host || external.into_iter().any(|name| Some(name) == ns.name());
    let socket = kernel.socket(ns)?;
    let mut outbox = Outbox::default();
    for link in read::links(socket)? {
        // Whose an external namespace is isn't for this topology to say.
        let other = found && link.is_loopback();
        if tag::of_link(&link).as_ref() != Some(&renaming.old) || other {
            continue;
        }
        let words = link.alias.split_once(' ').map_or("", |(_, words)| words);
        let change = Change {
            alias: Some(tag::with_words(&renaming.new, words)),
            ..Change::default()
        };
        outbox.put(0, |requests| {
            encode::set_link(requests, link.index, &change);
        });
    }
    // One that is gone meanwhile needs no tag.
    let gone = |_, verdict: &super::codec::Verdict| verdict.errno == libc::ENODEV;
    let failed = outbox.send(socket, gone)?;
    match failed.into_iter().next() {
        Some((_, verdict)) => Err(Error::refused(verdict.errno, verdict.text)),
        None => Ok(()),
    }
}
