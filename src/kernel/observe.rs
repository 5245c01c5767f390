//! From the kernel to a [`State`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;

use super::assemble::Assembly;
use super::error::Error;
use super::external::Identity;
use super::read::{self, Reading};
use super::record::{Membership, Record};
use super::socket::Socket;
use super::space::{Doors, Space, door, inode_of};
use super::{
    Account, Kernel, external, facts, file, lost, namespace, peers, record, sysctl, tables, tag,
    witness,
};
use crate::resource::address::PROMOTES;
use crate::resource::file::{File, FileKind};
use crate::resource::link::veth::{self};
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::route::{self};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Loan, Owner, State};

/// What to read of a namespace besides its links, its addresses and its main table.
#[derive(Default)]
struct Wanted {
    /// The numbers of more routing tables.
    tables: BTreeSet<u32>,
    sysctls: BTreeSet<SysctlKey>,
    /// Whose nftables table.
    nftables: Option<TopologyName>,
    /// Whether the accept rules in the chains of others.
    permits: bool,
}

/// One namespace to be read.
struct Task {
    ns: Ns,
    /// What was read of it just before, and of which namespace.
    found: Option<(Reading, u64)>,
    socket: Option<(Socket, u64)>,
    keep: bool,
    wanted: Wanted,
}

/// One namespace that was read.
pub(super) struct Seen {
    pub(super) ns: Ns,
    pub(super) reading: Reading,
    socket: Option<Socket>,
    inode: u64,
    identity: Identity,
}

pub(super) fn observe(
    kernel: &mut Kernel,
    topology: &TopologyName,
    desired: &State,
) -> Result<State, Error> {
    let written = record::all()?;
    let mine = written.iter().find(|record| record.topology == *topology);
    still_made(mine, desired)?;
    external::locate(kernel, &desired.external, mine)?;
    // Files outlive the namespaces that they are for.
    let outlived = mine.iter().flat_map(|record| record.external.keys());
    let outlived: Vec<NamespaceName> = outlived.cloned().collect();
    let doors = &kernel.doors;
    let seen_from = |doors: &Doors| -> Vec<Record> {
        let records = written.iter().cloned();
        records.map(|record| record.seen_from(doors)).collect()
    };
    let records = seen_from(doors);
    let mine = records.iter().find(|record| record.topology == *topology);
    let mut wanted: BTreeMap<Ns, Wanted> = BTreeMap::new();
    // With a record, that says where there is a table. To ask may load a module of the kernel.
    let table = mine.is_none().then(|| topology.clone());
    let external = doors.external.keys().cloned().map(Ns::Named);
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
    let mut seen = see(kernel, wanted)?;
    external::distinct(
        seen.iter().map(|one| (&one.ns, one.inode)),
        &desired.external,
    )?;
    let mut peers = peers::resolve(kernel, &seen)?;
    if leads_out(&seen, topology, &peers) {
        let lost = unnamed(kernel, topology, &names)?;
        names.extend(lost.iter().cloned());
        let wanted = lost.into_iter().map(|name| {
            let nftables = Some(topology.clone());
            let wanted = Wanted {
                nftables,
                ..Wanted::default()
            };
            (Ns::Named(name), wanted)
        });
        seen.extend(see(kernel, wanted.collect())?);
        peers = peers::resolve(kernel, &seen)?;
    }
    // Of namespaces of the topology's own others may say that they have something in them.
    for Seen { ns, identity, .. } in &seen {
        let names = &mut kernel.doors.names;
        ns.name().map(|name| names.insert(*identity, name.clone()));
    }
    let records = seen_from(&kernel.doors);
    let mine = records.iter().find(|record| record.topology == *topology);
    let externals: BTreeSet<Ns> = found
        .iter()
        .filter(|ns| **ns != Ns::Host)
        .cloned()
        .collect();
    let owners = witness::owners(&seen, &externals, topology, &records, &peers);
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
            records: &records,
            peers: &peers,
            state: &mut state,
        };
        assembly.assemble(switches.get(&one.ns));
    }
    // Also of namespaces that don't exist: their files may outlive them.
    for name in names.iter().chain(&outlived) {
        files(name, &mut state)?;
    }
    state.loans = on_loan(&records);
    let external = kernel.doors.external.iter();
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
    kernel.last = Some(Account {
        topology: topology.clone(),
        gone,
        left,
        abroad,
        lost,
    });
    Ok(state)
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
fn still_made(mine: Option<&Record>, desired: &State) -> Result<(), Error> {
    for name in mine.iter().flat_map(|record| &record.namespaces) {
        let elsewhere = desired.external.get(name).and_then(Option::as_ref);
        if let Some(path) = elsewhere
            && namespace::open(name)?.is_some()
        {
            return Err(Error::StillMade {
                name: name.clone(),
                path: path.clone(),
            });
        }
    }
    Ok(())
}

/// Reads namespaces, on several threads, and takes in what must be known to change them.
fn see(kernel: &mut Kernel, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error> {
    let room = kernel.room();
    let spaces = &mut kernel.spaces;
    let mut found = std::mem::take(&mut kernel.found);
    let tasks = wanted
        .into_iter()
        .enumerate()
        .map(|(place, (ns, mut wanted))| {
            wanted.tables.insert(route::MAIN);
            let space = spaces.remove(&ns);
            Task {
                found: found.remove(&ns),
                socket: space.and_then(|space| space.socket.map(|socket| (socket, space.inode))),
                keep: place < room,
                ns,
                wanted,
            }
        })
        .collect();
    let doors = &kernel.doors;
    let results = namespace::spread(tasks, |task| see_one(doors, task));
    let mut all = Vec::with_capacity(results.len());
    for result in results {
        let Some(mut seen) = result? else { continue };
        let mut space = Space {
            socket: seen.socket.take(),
            inode: seen.inode,
            ..Space::default()
        };
        space.learn(&seen.reading.links);
        kernel.spaces.insert(seen.ns.clone(), space);
        all.push(seen);
    }
    Ok(all)
}

/// Reads one namespace, on a thread that ends afterwards. None: it doesn't exist.
fn see_one(doors: &Doors, task: Task) -> Result<Option<Seen>, Error> {
    let Some(door) = door(doors, &task.ns)? else {
        return Ok(None);
    };
    let inode = inode_of(door.as_fd())?;
    // One that has the name now may be another than the one that had it.
    let kept = task.socket.filter(|(_, of)| *of == inode);
    let Wanted {
        tables,
        sysctls,
        nftables,
        permits,
    } = task.wanted;
    let files: Vec<&SysctlKey> = sysctls
        .iter()
        .filter(|key| !read::is_at_hand(key))
        .collect();
    if kept.is_none() || !files.is_empty() || nftables.is_some() || permits {
        namespace::enter(&door)?;
    }
    let mut socket = match kept {
        Some((socket, _)) => socket,
        None => Socket::open()?,
    };
    let mut reading = match task.found {
        Some((found, of)) if of == inode => Reading {
            links: found.links,
            addresses: found.addresses,
            ..Reading::default()
        },
        _ => Reading {
            links: read::links(&mut socket)?,
            addresses: read::addresses(&mut socket)?,
            ..Reading::default()
        },
    };
    if reading.addresses.iter().any(|address| address.secondary) {
        namespace::enter(&door)?;
        let all = SysctlKey::of_links(Family::Ipv4, "all", PROMOTES);
        let value = sysctl::read(&all.path())?;
        reading.promotes = value.is_some_and(|value| value != "0");
    }
    for table in &tables {
        reading.routes.extend(read::routes(&mut socket, *table)?);
    }
    // What the spec had in other tables, and doesn't have any more.
    let marked = read::marked_routes(&mut socket)?;
    let elsewhere = marked
        .into_iter()
        .filter(|route| !tables.contains(&route.table));
    reading.routes.extend(elsewhere);
    (reading.rules, reading.other_rules) = read::rules(&mut socket)?;
    for key in files {
        if let Some(value) = sysctl::read(&key.path())? {
            reading.sysctls.insert(key.clone(), value);
        }
    }
    if let Some(topology) = nftables {
        reading.nftables = tables::read(&topology)?;
    }
    if permits {
        reading.permits = tables::permits()?;
    }
    let asks_for_switch = sysctls.iter().any(|key| key.switch().is_some());
    let switches = if asks_for_switch {
        read::switches(&socket)?
    } else {
        [None; 2]
    };
    let by_name: HashMap<&str, &read::Link> = reading
        .links
        .iter()
        .map(|link| (link.name.as_str(), link))
        .collect();
    for key in &sysctls {
        let value = match key {
            SysctlKey::Conf { family, link, name } => by_name
                .get(link.as_str())
                .and_then(|link| link.conf(*family, name)),
            SysctlKey::Global(_) => key.switch().and_then(|family| switches[family as usize]),
        };
        if let Some(value) = value {
            reading.sysctls.insert(key.clone(), value.to_string());
        }
    }
    let identity = Identity::of(&socket, door.as_fd())?;
    Ok(Some(Seen {
        identity,
        ns: task.ns,
        reading,
        socket: task.keep.then_some(socket),
        inode,
    }))
}

/// Has the next observation take the links and addresses of the host and of external namespaces from
/// what lowering was told, instead of reading them again: with many links that takes a while, and a plan
/// from one look at them is better than from two.
pub(super) fn remember(kernel: &mut Kernel, seen: Vec<Seen>) {
    kernel.found = seen
        .into_iter()
        .map(|one| (one.ns, (one.reading, one.inode)))
        .collect();
}

/// Reads the host and the external namespaces, with their switches of forwarding, and what else lowering must
/// know of all their links together.
pub(super) fn see_found(kernel: &mut Kernel) -> Result<Vec<Seen>, Error> {
    let external = kernel.doors.external.keys().cloned().map(Ns::Named);
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
    see(kernel, wanted.collect())
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

/// The namespaces that carry a topology's tag, or have a link that does, of those that were not read.
fn unnamed(
    kernel: &Kernel,
    topology: &TopologyName,
    read: &BTreeSet<NamespaceName>,
) -> Result<Vec<NamespaceName>, Error> {
    let mut names = namespace::names()?;
    names.retain(|name| !read.contains(name));
    let doors = &kernel.doors;
    let owned = namespace::spread(names, |name| {
        let Some(door) = door(doors, &Ns::Named(name.clone()))? else {
            return Ok(None);
        };
        namespace::enter(&door)?;
        let links = read::links(&mut Socket::open()?)?;
        let mut owners = links.iter().filter_map(tag::of_link);
        Ok(owners.any(|owner| owner == *topology).then_some(name))
    });
    owned.into_iter().filter_map(Result::transpose).collect()
}

fn files(ns: &NamespaceName, state: &mut State) -> Result<(), Error> {
    for kind in FileKind::ALL {
        let id = Id::new(Ns::Named(ns.clone()), Key::File(kind));
        if let Some((content, owner)) = file::read(ns, kind)? {
            let owner = owner.map_or(Owner::Foreign, Owner::Topology);
            if !file::is_plain(ns, kind) {
                state.unfit.insert(
                    id.clone(),
                    "it is no file of its own, but leads to something else",
                );
            }
            state.insert(id, Resource::File(File { content }), owner);
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
