//! Reading all that goes into a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::shot::{Shot, unusual};
use super::{Held, Snapshot};
use crate::kernel::error::Error;
use crate::kernel::external::{self, Identity, There};
use crate::kernel::observe::Host;
use crate::kernel::read::{self, Link};
use crate::kernel::record::{self, Record};
use crate::kernel::socket::Socket;
use crate::kernel::space::inode_of;
use crate::kernel::{Kernel, file, firewall, namespace, peers, ports, processes, settings, tables};
use crate::resource::file::FileKind;
use crate::resource::firewall::Firewall;
use crate::resource::link::veth;
use crate::resource::name::NamespaceName;
use crate::state::{External, Listener};

/// A namespace that is to be read.
struct Subject {
    door: OwnedFd,
    names: BTreeSet<NamespaceName>,
    paths: BTreeSet<PathBuf>,
}

/// What was read of it.
struct Taken {
    shot: Shot,
    door: OwnedFd,
    listening: Vec<(Listener, u64)>,
}

impl Kernel {
    /// Reads the host, and all namespaces that have a name or a place in a record, into a snapshot.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let records = record::all()?;
        let usual = settings::usual(is_told)?;
        let subjects = self.subjects(&records)?;
        let taken = namespace::spread(subjects, |subject| take(subject, &usual));
        let mut taken: Vec<Taken> = taken.into_iter().collect::<Result<_, _>>()?;
        number(&mut taken)?;
        let sockets = taken.iter().flat_map(|one| &one.listening);
        let sockets: BTreeSet<u64> = sockets.map(|(_, inode)| *inode).collect();
        let holders = if sockets.is_empty() {
            HashMap::new()
        } else {
            ports::holders(&sockets)
        };
        let made = records.iter().flat_map(|record| &record.namespaces);
        let made: BTreeSet<&NamespaceName> = made.collect();
        let mut inmates = inmates(&taken, &made)?;
        let mut shots = taken.into_iter().map(|one| Shot {
            listeners: ports::held(one.listening, &holders),
            inmates: inmates.remove(&one.shot.inode).unwrap_or_default(),
            ..one.shot
        });
        let host = shots.next().ok_or(Error::Impossible("no host was read"))?;
        let others: Vec<Shot> = shots.collect();
        let mut named = file::namespaces()?;
        named.extend(others.iter().flat_map(|shot| &shot.names).cloned());
        Ok(Snapshot::new(Held {
            forgets_protocols: self.forgets_protocols(),
            machine: self.machine(&host.links),
            records,
            usual,
            files: files(named)?,
            host,
            others,
        }))
    }

    /// The namespaces to be read, the host's first, the others by their names.
    fn subjects(&self, records: &[Record]) -> Result<Vec<Subject>, Error> {
        let door = self.doors.host.try_clone();
        let host = Subject {
            door: door.map_err(|e| Error::call("copy a descriptor", e))?,
            names: BTreeSet::new(),
            paths: BTreeSet::new(),
        };
        let mut places = BTreeMap::from([(inode_of(host.door.as_fd())?, 0)]);
        let mut subjects = vec![host];
        let mut names = namespace::names()?;
        names.sort();
        for name in names {
            if let Some(door) = namespace::open(&name)? {
                let subject = subject(&mut places, &mut subjects, door)?;
                subject.names.insert(name);
            }
        }
        let known = records.iter().flat_map(|record| &record.external);
        let known = known.filter(|(_, known)| known.path.is_some());
        let known: External = known
            .map(|(name, known)| (name.clone(), known.path.clone()))
            .collect();
        for (_, path, there) in external::look_for(&known) {
            // A path that can't be opened any more is as good as none.
            if let (Ok(There::Namespace(door, _)), Some(path)) = (there, path) {
                let subject = subject(&mut places, &mut subjects, door)?;
                subject.paths.insert(path);
            }
        }
        Ok(subjects)
    }
}

/// The subject that a descriptor is of, a new one if it is of none yet.
fn subject<'s>(
    places: &mut BTreeMap<u64, usize>,
    subjects: &'s mut Vec<Subject>,
    door: OwnedFd,
) -> Result<&'s mut Subject, Error> {
    let next = subjects.len();
    let place = *places.entry(inode_of(door.as_fd())?).or_insert(next);
    if place == next {
        subjects.push(Subject {
            door,
            names: BTreeSet::new(),
            paths: BTreeSet::new(),
        });
    }
    Ok(&mut subjects[place])
}

/// Whether somebody is told of a setting.
fn is_told(path: &str) -> bool {
    !settings::SECRET.contains(&settings::last(path))
}

/// Reads a namespace, on a thread that ends afterwards.
fn take(subject: Subject, usual: &BTreeMap<String, String>) -> Result<Taken, Error> {
    let Subject { door, names, paths } = subject;
    namespace::enter(&door)?;
    let mut socket = Socket::open()?;
    let links = read::links(&mut socket)?;
    let (rules, other_rules) = read::rules(&mut socket)?;
    let called = links.iter().map(|link| (link.index, link.name.clone()));
    let firewall = firewall::here(&called.collect()).unwrap_or_else(|error| Firewall {
        unread: Some(error.to_string()),
        ..Firewall::default()
    });
    let shot = Shot {
        names,
        paths,
        identity: Identity::of(&socket, door.as_fd())?,
        inode: inode_of(door.as_fd())?,
        addresses: read::addresses(&mut socket)?,
        routes: read::every_route(&mut socket)?,
        rules,
        other_rules,
        switches: read::switches(&socket)?,
        settings: unusual(&settings::here(is_told)?, usual, &links),
        tables: tables::all()?,
        permits: tables::permits()?,
        firewall,
        listeners: BTreeSet::new(),
        numbers: BTreeMap::new(),
        inmates: BTreeMap::new(),
        links,
    };
    Ok(Taken {
        shot,
        door,
        listening: ports::listening()?,
    })
}

/// Asks each namespace what it calls the others to which its veths may lead.
fn number(taken: &mut [Taken]) -> Result<(), Error> {
    let veths = |one: &Taken| {
        let veths = one.shot.links.iter().filter(|link| link.kind == veth::KIND);
        let ends = veths.filter_map(|link: &Link| Some((link.index, link.peer?, link.netnsid)));
        ends.collect::<Vec<_>>()
    };
    let mut ends: HashMap<(u32, u32), Vec<usize>> = HashMap::new();
    for (place, one) in taken.iter().enumerate() {
        for (index, peer, _) in veths(one) {
            ends.entry((index, peer)).or_default().push(place);
        }
    }
    for place in 0..taken.len() {
        let abroad = veths(&taken[place]).into_iter();
        let abroad = abroad.filter(|(_, _, number)| number.is_some());
        let candidates = abroad.filter_map(|(index, peer, _)| ends.get(&(peer, index)));
        let candidates: BTreeSet<usize> = candidates.flatten().copied().collect();
        if candidates.is_empty() {
            continue;
        }
        let mut socket = namespace::inside(taken[place].door.as_fd(), Socket::open)?;
        for other in candidates.into_iter().filter(|other| *other != place) {
            if let Some(number) = peers::number_in(&mut socket, taken[other].door.as_fd())? {
                let identity = taken[other].shot.identity;
                taken[place].shot.numbers.insert(identity, number);
            }
        }
    }
    Ok(())
}

/// The processes inside of the namespaces that topologies made, by inode and number.
fn inmates(
    taken: &[Taken],
    made: &BTreeSet<&NamespaceName>,
) -> Result<BTreeMap<u64, BTreeMap<u32, String>>, Error> {
    let of_topologies = taken.iter().filter(|one| {
        let mut names = one.shot.names.iter();
        names.any(|name| made.contains(name))
    });
    let inodes: BTreeSet<u64> = of_topologies.map(|one| one.shot.inode).collect();
    let mut found: BTreeMap<u64, BTreeMap<u32, String>> = BTreeMap::new();
    if inodes.is_empty() {
        return Ok(found);
    }
    for (pid, path) in processes::all().map_err(|e| Error::io("read", "/proc", e))? {
        let inode = processes::inode(&path.join("ns/net"), "net");
        if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
            let inside = found.entry(inode).or_default();
            inside.insert(pid, processes::name(pid));
        }
    }
    Ok(found)
}

/// The files of namespaces.
fn files(
    named: BTreeSet<NamespaceName>,
) -> Result<BTreeMap<NamespaceName, BTreeMap<FileKind, file::Found>>, Error> {
    let mut all = BTreeMap::new();
    for ns in named {
        let mut files = BTreeMap::new();
        for kind in FileKind::ALL {
            files.extend(file::read(&ns, kind)?.map(|found| (kind, found)));
        }
        if !files.is_empty() {
            all.insert(ns, files);
        }
    }
    Ok(all)
}
