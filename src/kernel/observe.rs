//! From what a host's namespaces hold to a [`State`].

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::Assembly;
use super::error::Error;
use super::external::{self, Found, Identity, Looked};
use super::read::{self, Reading};
use super::record::{Membership, Record};
use super::space::Names;
use super::{Account, facts, file, lost, peers, tag, witness};
use crate::resource::file::{File, FileKind};
use crate::resource::link::veth::{self};
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{External, Loan, Machine, Owner, State};

/// A host that is looked at: this machine, or what was seen of one.
pub(super) trait Host {
    /// How to get into a namespace.
    type Door;

    /// The records of its topologies.
    fn records(&self) -> Result<Vec<Record>, Error>;

    /// Whether a namespace has a name.
    fn has(&self, name: &NamespaceName) -> Result<bool, Error>;

    /// What is where namespaces are said to be.
    fn look_for(&self, wanted: &External) -> Looked<Self::Door>;

    /// Takes these for the external namespaces from now on, and no others.
    fn hold(&mut self, found: BTreeMap<NamespaceName, Found<Self::Door>>);

    /// What namespaces are called.
    fn names(&mut self) -> &mut Names;

    /// Reads namespaces. One that doesn't exist is left out.
    fn see(&mut self, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error>;

    /// What an observation read, once it is assembled.
    fn remember(&mut self, _seen: Vec<Seen>) {}

    /// The number that one namespace has for another.
    fn number(&mut self, of: &Ns, other: &Ns) -> Result<Option<i32>, Error>;

    /// The namespaces that carry a topology's tag, or have a link that does, but for some.
    fn tagged(
        &self,
        topology: &TopologyName,
        except: &BTreeSet<NamespaceName>,
    ) -> Result<Vec<NamespaceName>, Error>;

    /// What is to be known of the machine, whose host has some links.
    fn machine(&self, links: &[read::Link]) -> Machine;

    /// Whether addresses don't keep their protocol number, so that those on our own links are taken for ours.
    fn forgets_protocols(&self) -> bool;

    /// A file that a namespace may have, also one that doesn't exist.
    fn file(&self, ns: &NamespaceName, kind: FileKind) -> Result<Option<file::Found>, Error>;
}

/// What to read of a namespace besides its links, its addresses and its main table.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Wanted {
    /// The numbers of more routing tables.
    pub(super) tables: BTreeSet<u32>,
    pub(super) sysctls: BTreeSet<SysctlKey>,
    /// Whose nftables table.
    pub(super) nftables: Option<TopologyName>,
    /// Whether the accept rules in the chains of others.
    pub(super) permits: bool,
}

/// One namespace that was read.
pub(super) struct Seen {
    pub(super) ns: Ns,
    pub(super) reading: Reading,
    pub(super) inode: u64,
    pub(super) identity: Identity,
}

/// What a topology concerns, and what that means for its record.
pub(super) fn observe<H: Host>(
    host: &mut H,
    topology: &TopologyName,
    desired: &State,
) -> Result<(State, Account), Error> {
    let written = host.records()?;
    let mine = written.iter().find(|record| record.topology == *topology);
    still_made(host, mine, desired)?;
    let located = external::locate(&desired.external, mine, |wanted| host.look_for(wanted))?;
    host.hold(located);
    // Files outlive the namespaces that they are for.
    let outlived = mine.iter().flat_map(|record| record.external.keys());
    let outlived: Vec<NamespaceName> = outlived.cloned().collect();
    let seen_from = |names: &Names| -> Vec<Record> {
        let records = written.iter().cloned();
        records.map(|record| record.seen_from(names)).collect()
    };
    let records = seen_from(host.names());
    let mine = records.iter().find(|record| record.topology == *topology);
    let mut wanted: BTreeMap<Ns, Wanted> = BTreeMap::new();
    // With a record, that says where there is a table. To ask may load a module of the kernel.
    let table = mine.is_none().then(|| topology.clone());
    let external = host.names().external.keys().cloned().map(Ns::Named);
    let found: Vec<Ns> = external.chain([Ns::Host]).collect();
    for ns in &found {
        let wanted = wanted.entry(ns.clone()).or_default();
        wanted.nftables.clone_from(&table);
        wanted.permits = mine.is_none();
    }
    for name in mine.iter().flat_map(|record| &record.namespaces) {
        wanted.entry(Ns::Named(name.clone())).or_default();
    }
    let loans = records.iter().flat_map(|record| &record.loans);
    let claims = mine.iter().flat_map(|record| &record.claims);
    let named = desired.entries.keys().chain(loans.map(|loan| &loan.id));
    for id in named.chain(claims) {
        let wanted = wanted.entry(id.ns.clone()).or_default();
        match &id.key {
            Key::Route(key) => {
                wanted.tables.insert(key.table);
            }
            Key::Sysctl(key) => {
                wanted.sysctls.insert(key.clone());
            }
            Key::Table => wanted.nftables = Some(topology.clone()),
            Key::Permit(_) => wanted.permits = true,
            _ => {}
        }
    }
    let switches = found.iter().map(|ns| {
        let keys = wanted[ns].sysctls.iter();
        (ns.clone(), keys.filter_map(SysctlKey::switch).collect())
    });
    let switches: BTreeMap<Ns, BTreeSet<Family>> = switches.collect();
    // Whether a link's forwarding can be given back depends on the switch over it.
    for wanted in wanted.values_mut() {
        let over = wanted
            .sysctls
            .iter()
            .filter_map(SysctlKey::forwarding_of_link);
        let over: Vec<SysctlKey> = over.map(SysctlKey::forwarding).collect();
        wanted.sysctls.extend(over);
    }
    let mut names: BTreeSet<NamespaceName> = wanted.keys().filter_map(Ns::name).cloned().collect();
    let mut seen = host.see(wanted)?;
    external::distinct(&seen, &desired.external)?;
    let mut peers = peers::resolve(&seen, |of, other| host.number(of, other))?;
    if leads_out(&seen, topology, &peers) {
        let lost = host.tagged(topology, &names)?;
        names.extend(lost.iter().cloned());
        let wanted = lost.into_iter().map(|name| {
            let nftables = Some(topology.clone());
            let wanted = Wanted {
                nftables,
                ..Wanted::default()
            };
            (Ns::Named(name), wanted)
        });
        seen.extend(host.see(wanted.collect())?);
        peers = peers::resolve(&seen, |of, other| host.number(of, other))?;
    }
    // Of namespaces of the topology's own others may say that they have something in them.
    for Seen { ns, identity, .. } in &seen {
        let all = &mut host.names().all;
        ns.name().map(|name| all.insert(*identity, name.clone()));
    }
    let records = seen_from(host.names());
    let mine = records.iter().find(|record| record.topology == *topology);
    let externals: BTreeSet<Ns> = found
        .iter()
        .filter(|ns| **ns != Ns::Host)
        .cloned()
        .collect();
    let owners = witness::owners(&seen, &externals, topology, &records, &peers);
    let forgets_protocols = host.forgets_protocols();
    let mut state = State::new();
    for one in &mut seen {
        if let Some(table) = one.reading.nftables.take() {
            let owner = table.owner().map_or(Owner::Foreign, Owner::Topology);
            let id = Id::new(one.ns.clone(), Key::Table);
            state.insert(id, Resource::Table(table), owner);
        }
        for (key, permit) in std::mem::take(&mut one.reading.permits) {
            let owner = Owner::Topology(key.topology.clone());
            let id = Id::new(one.ns.clone(), Key::Permit(Box::new(key)));
            state.insert(id, Resource::Permit(permit), owner);
        }
        let assembly = Assembly {
            ns: &one.ns,
            owner: owners.get(&one.ns).unwrap_or(&Owner::Kernel),
            reading: &one.reading,
            topology,
            desired,
            forgets_protocols,
            records: &records,
            peers: &peers,
            state: &mut state,
        };
        assembly.assemble(switches.get(&one.ns));
    }
    // Also of namespaces that don't exist: their files may outlive them.
    for name in names.iter().chain(&outlived) {
        files(host, name, &mut state)?;
    }
    state.loans = on_loan(&records);
    let external = host.names().external.iter();
    state.external = external
        .map(|(name, one)| (name.clone(), one.path.clone()))
        .collect();
    let index = mine.iter().flat_map(|record| &record.namespaces);
    let index = index.map(|name| Id::namespace(Ns::Named(name.clone())));
    let claims = mine.iter().flat_map(|record| &record.claims).cloned();
    let gone = index.chain(claims).filter(|id| state.get(id).is_none());
    let ports = mine.iter().flat_map(|record| &record.ports);
    // One that is a port of something else now is so by somebody else's will.
    let is_left = |port: &&Membership| match state.get(&port.id).map(|entry| &entry.resource) {
        Some(Resource::Port(found)) => found.master != port.master,
        _ => true,
    };
    let left = ports.filter(is_left).cloned().collect();
    let (gone, abroad) = (gone.collect(), abroad(topology, &state));
    let lost = match mine {
        Some(_) => lost::Left::default(),
        None => lost::Left::of(topology, &seen, &peers, &state),
    };
    state.lost = (!lost.is_empty()).then(|| lost::likely(&seen, &state));
    host.remember(seen);
    let account = Account {
        topology: topology.clone(),
        gone,
        left,
        abroad,
        lost,
    };
    Ok((state, account))
}

/// What of a topology's is in external namespaces, and on loan there.
fn abroad(topology: &TopologyName, state: &State) -> BTreeSet<Id> {
    let owned = state.entries.iter();
    let owned = owned.filter(|(id, entry)| {
        entry.owner.is(topology) && !matches!(id.key, Key::Sysctl(_) | Key::Namespace)
    });
    let lent = state.loans.iter();
    let lent = lent.filter(|(_, loan)| loan.by.contains_key(topology));
    let ids = owned.map(|(id, _)| id).chain(lent.map(|(id, _)| id));
    ids.filter(|id| id.ns != Ns::Host && state.is_found(&id.ns))
        .cloned()
        .collect()
}

/// That no external namespace has the name of one that the topology made, and that is another.
fn still_made(host: &impl Host, mine: Option<&Record>, desired: &State) -> Result<(), Error> {
    for name in mine.iter().flat_map(|record| &record.namespaces) {
        let elsewhere = desired.external.get(name).and_then(Option::as_ref);
        if let Some(path) = elsewhere
            && host.has(name)?
        {
            return Err(Error::StillMade {
                name: name.clone(),
                path: path.clone(),
            });
        }
    }
    Ok(())
}

/// Reads the host and the external namespaces, with their switches of forwarding, and what else lowering must
/// know of all their links together.
pub(super) fn see_found(host: &mut impl Host) -> Result<Vec<Seen>, Error> {
    let names = host.names();
    let external: Vec<NamespaceName> = names.external.keys().cloned().collect();
    let external = external.into_iter().map(Ns::Named);
    let wanted = external.chain([Ns::Host]).map(|ns| {
        let wanted = Wanted {
            sysctls: Family::BOTH
                .map(SysctlKey::forwarding)
                .into_iter()
                .chain(facts::OF_SOURCES.map(facts::of_all))
                .chain(Family::BOTH.map(SysctlKey::frames))
                .collect(),
            ..Wanted::default()
        };
        (ns, wanted)
    });
    host.see(wanted.collect())
}

/// Whether a link of the topology on the host leads into a namespace that was not read: the record
/// that would name it is lost.
fn leads_out(seen: &[Seen], topology: &TopologyName, peers: &peers::Peers) -> bool {
    let host = seen.iter().filter(|one| one.ns == Ns::Host);
    host.flat_map(|one| &one.reading.links).any(|link| {
        link.kind == veth::KIND
            && tag::of_link(link).as_ref() == Some(topology)
            && peers.of(&Ns::Host, link.index).is_none()
    })
}

fn files(host: &impl Host, ns: &NamespaceName, state: &mut State) -> Result<(), Error> {
    for kind in FileKind::ALL {
        let id = Id::new(Ns::Named(ns.clone()), Key::File(kind));
        if let Some(found) = host.file(ns, kind)? {
            let owner = found.owner.map_or(Owner::Foreign, Owner::Topology);
            if !found.plain {
                state.unfit.insert(
                    id.clone(),
                    "it is no file of its own, but leads to something else",
                );
            }
            state.insert(
                id,
                Resource::File(File {
                    content: found.content,
                }),
                owner,
            );
        }
    }
    Ok(())
}

/// What is on loan, to whom.
pub(super) fn on_loan(records: &[Record]) -> BTreeMap<Id, Loan> {
    let mut loans: BTreeMap<Id, Loan> = BTreeMap::new();
    for record in records {
        for borrowed in &record.loans {
            let loan = loans.entry(borrowed.id.clone()).or_default();
            loan.by
                .insert(record.topology.clone(), borrowed.original.clone());
            if let Some(lent) = &borrowed.lent {
                loan.lent.insert(record.topology.clone(), lent.clone());
            }
            loan.links.extend(borrowed.links.iter().cloned());
        }
    }
    loans
}
