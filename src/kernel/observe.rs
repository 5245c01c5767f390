//! From the kernel to a [`State`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use super::assemble::Assembly;
use super::error::Error;
use super::read::{self, Reading};
use super::record::Record;
use super::socket::Socket;
use super::space::{Space, door, inode_of};
use super::{Kernel, file, namespace, peers, record, sysctl, tables, tag};
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
}

/// One namespace to be read.
struct Task {
    ns: Ns,
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
}

pub(super) fn observe(
    kernel: &mut Kernel,
    topology: &TopologyName,
    desired: &State,
) -> Result<State, Error> {
    let records = record::all()?;
    let mine = records.iter().find(|record| record.topology == *topology);
    let mut wanted: BTreeMap<Ns, Wanted> = BTreeMap::new();
    // With a record, that says where there is a table. To ask may load a module of the kernel.
    wanted.entry(Ns::Host).or_default().nftables = mine.is_none().then(|| topology.clone());
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
            _ => {}
        }
    }
    let switches: BTreeSet<Family> = wanted[&Ns::Host]
        .sysctls
        .iter()
        .filter_map(SysctlKey::switch)
        .collect();
    let mut names: BTreeSet<NamespaceName> = wanted.keys().filter_map(Ns::name).cloned().collect();
    let mut seen = see(kernel, wanted)?;
    let mut peers = peers::resolve(kernel, &seen)?;
    if leads_out(&seen, topology, &peers) {
        let lost = lost(kernel, topology, &names)?;
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
    let mut state = State::new();
    for one in &mut seen {
        if let Some(table) = one.reading.nftables.take() {
            let owner = table.owner().map_or(Owner::Foreign, Owner::Topology);
            let id = Id::new(one.ns.clone(), Key::Table);
            state.insert(id, Resource::Table(table), owner);
        }
        let assembly = Assembly {
            ns: &one.ns,
            reading: &one.reading,
            topology,
            desired,
            records: &records,
            peers: &peers,
            state: &mut state,
        };
        assembly.assemble(&switches);
    }
    // Also of namespaces that don't exist: their files may outlive them.
    for name in &names {
        files(name, &mut state)?;
    }
    state.loans = on_loan(&records);
    let index = mine.iter().flat_map(|record| &record.namespaces);
    let index = index.map(|name| Id::namespace(Ns::Named(name.clone())));
    let claims = mine.iter().flat_map(|record| &record.claims).cloned();
    let gone = index.chain(claims).filter(|id| state.get(id).is_none());
    kernel.gone = Some((topology.clone(), gone.collect()));
    Ok(state)
}

/// Reads namespaces, on several threads, and takes in what must be known to change them.
fn see(kernel: &mut Kernel, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error> {
    let spaces = &mut kernel.spaces;
    let tasks = wanted
        .into_iter()
        .enumerate()
        .map(|(place, (ns, mut wanted))| {
            wanted.tables.insert(route::MAIN);
            let space = spaces.remove(&ns);
            Task {
                socket: space.and_then(|space| space.socket.map(|socket| (socket, space.inode))),
                keep: place < kernel.room,
                ns,
                wanted,
            }
        })
        .collect();
    let host = &kernel.host;
    let results = namespace::spread(tasks, |task| see_one(host, task));
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
fn see_one(host: &std::os::fd::OwnedFd, task: Task) -> Result<Option<Seen>, Error> {
    let Some(door) = door(host, &task.ns)? else {
        return Ok(None);
    };
    let inode = inode_of(door.as_fd())?;
    // One that has the name now may be another than the one that had it.
    let kept = task.socket.filter(|(_, of)| *of == inode);
    let Wanted {
        tables,
        sysctls,
        nftables,
    } = task.wanted;
    let files: Vec<&SysctlKey> = sysctls
        .iter()
        .filter(|key| !read::is_at_hand(key))
        .collect();
    if kept.is_none() || !files.is_empty() || nftables.is_some() {
        namespace::enter(&door)?;
    }
    let mut socket = match kept {
        Some((socket, _)) => socket,
        None => Socket::open()?,
    };
    let mut reading = Reading {
        links: read::links(&mut socket)?,
        addresses: read::addresses(&mut socket)?,
        ..Reading::default()
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
    reading.rules = read::rules(&mut socket)?;
    for key in files {
        if let Some(value) = sysctl::read(&key.path())? {
            reading.sysctls.insert(key.clone(), value);
        }
    }
    if let Some(topology) = nftables {
        reading.nftables = tables::read(&topology)?;
    }
    let asks_for_switch = sysctls.iter().any(|key| key.switch().is_some());
    let switches = if asks_for_switch {
        read::switches(&socket)?
    } else {
        [None; 2]
    };
    for key in &sysctls {
        let value = match key {
            SysctlKey::Conf { family, link, name } => reading
                .links
                .iter()
                .find(|l| l.name == link.as_str())
                .and_then(|link| link.conf(*family, name)),
            SysctlKey::Global(_) => key.switch().and_then(|family| switches[family as usize]),
        };
        if let Some(value) = value {
            reading.sysctls.insert(key.clone(), value.to_string());
        }
    }
    Ok(Some(Seen {
        ns: task.ns,
        reading,
        socket: task.keep.then_some(socket),
        inode,
    }))
}

/// Reads the host alone.
pub(super) fn see_host(kernel: &mut Kernel) -> Result<Reading, Error> {
    let wanted = [(Ns::Host, Wanted::default())].into();
    let seen = see(kernel, wanted)?.pop();
    Ok(seen.expect("the host exists").reading)
}

/// Whether a link of the topology on the host leads into a namespace that was not read: the record
/// that would name it is lost.
fn leads_out(seen: &[Seen], topology: &TopologyName, peers: &peers::Peers) -> bool {
    let host = seen.iter().filter(|one| one.ns == Ns::Host);
    host.flat_map(|one| &one.reading.links).any(|link| {
        link.kind == veth::KIND
            && tag::owner(&link.alias).as_ref() == Some(topology)
            && peers.of(&Ns::Host, link.index).is_none()
    })
}

/// The namespaces that carry a topology's tag, of those that were not read.
fn lost(
    kernel: &Kernel,
    topology: &TopologyName,
    read: &BTreeSet<NamespaceName>,
) -> Result<Vec<NamespaceName>, Error> {
    let mut names = namespace::names()?;
    names.retain(|name| !read.contains(name));
    let host = &kernel.host;
    let owned = namespace::spread(names, |name| {
        let Some(door) = door(host, &Ns::Named(name.clone()))? else {
            return Ok(None);
        };
        namespace::enter(&door)?;
        let links = read::links(&mut Socket::open()?)?;
        let lo = links.iter().find(|link| link.is_loopback());
        let owner = lo.and_then(|lo| tag::owner(&lo.alias));
        Ok((owner.as_ref() == Some(topology)).then_some(name))
    });
    owned.into_iter().filter_map(Result::transpose).collect()
}

fn files(ns: &NamespaceName, state: &mut State) -> Result<(), Error> {
    for kind in FileKind::ALL {
        let id = Id::new(Ns::Named(ns.clone()), Key::File(kind));
        if let Some((content, owner)) = file::read(ns, kind)? {
            let owner = owner.map_or(Owner::Foreign, Owner::Topology);
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
