//! Reading namespaces of this machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use super::error::Error;
use super::external::{self, Found, Identity, Looked};
use super::observe::{Host, Seen, Wanted};
use super::read::{self, Reading};
use super::record::{self, Record};
use super::socket::Socket;
use super::space::{Doors, Names, Space, door, door_of, inode_of};
use super::{Kernel, Recent, facts, file, namespace, older_than, peers, sysctl, tables, tag};
use crate::resource::address::PROMOTES;
use crate::resource::file::FileKind;
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::route;
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns};
use crate::state::{External, Machine};

/// One namespace to be read.
struct Task {
    ns: Ns,
    /// What was read of it just before, and of which namespace.
    found: Option<(Reading, u64)>,
    socket: Option<(Socket, u64)>,
    keep: bool,
    wanted: Wanted,
}

impl Host for Kernel {
    type Door = OwnedFd;

    fn records(&self) -> Result<Vec<Record>, Error> {
        record::all()
    }

    fn has(&self, name: &NamespaceName) -> Result<bool, Error> {
        Ok(namespace::open(name)?.is_some())
    }

    fn look_for(&self, wanted: &External) -> Looked<OwnedFd> {
        external::look_for(wanted)
    }

    fn hold(&mut self, found: BTreeMap<NamespaceName, Found<OwnedFd>>) {
        for name in self.doors.external.keys() {
            if !found.contains_key(name) {
                self.spaces.remove(&Ns::Named(name.clone()));
            }
        }
        self.doors.hold(found);
    }

    fn names(&mut self) -> &mut Names {
        &mut self.doors.names
    }

    /// Reads them on several threads, and takes in what must be known to change them.
    fn see(&mut self, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error> {
        see(self, wanted)
    }

    fn remember(&mut self, seen: Vec<Seen>) {
        let Some(recent) = &mut self.recent else {
            return;
        };
        for seen in seen {
            if let Some(wanted) = self.asked.remove(&seen.ns) {
                recent.insert(seen.ns.clone(), Recent { seen, wanted });
            }
        }
        self.asked.clear();
    }

    fn number(&mut self, of: &Ns, other: &Ns) -> Result<Option<i32>, Error> {
        peers::number(self, of, other)
    }

    fn tagged(
        &self,
        topology: &TopologyName,
        except: &BTreeSet<NamespaceName>,
    ) -> Result<Vec<NamespaceName>, Error> {
        let mut names = namespace::names()?;
        names.retain(|name| !except.contains(name));
        let doors = &self.doors;
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

    fn machine(&self, links: &[read::Link]) -> Machine {
        facts::machine(links)
    }

    fn forgets_protocols(&self) -> bool {
        static FORGETS: LazyLock<bool> = LazyLock::new(|| older_than(5, 18));
        *FORGETS
    }

    fn file(&self, ns: &NamespaceName, kind: FileKind) -> Result<Option<file::Found>, Error> {
        file::read(ns, kind)
    }
}

fn see(kernel: &mut Kernel, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error> {
    let room = kernel.room();
    let spaces = &mut kernel.spaces;
    let mut found = std::mem::take(&mut kernel.found);
    let mut all = Vec::with_capacity(wanted.len());
    let mut recent = kernel.recent.as_mut().map(std::mem::take);
    let mut asked = std::mem::take(&mut kernel.asked);
    let touched = kernel.touched.as_ref();
    let tasks: Vec<Task> = wanted
        .into_iter()
        .enumerate()
        .filter_map(|(place, (ns, mut wanted))| {
            wanted.tables.insert(route::MAIN);
            asked.remove(&ns);
            if let Some(recent) = &mut recent {
                if wanted.comes_with_links() {
                    asked.insert(ns.clone(), wanted.clone());
                }
                if let Some(one) = recent.remove(&ns)
                    && touched.is_some_and(|touched| !touched.contains(&ns))
                    && one.wanted == wanted
                {
                    all.push(one.seen);
                    return None;
                }
            }
            let space = spaces.remove(&ns);
            Some(Task {
                found: found.remove(&ns),
                socket: space.and_then(|space| space.socket.map(|socket| (socket, space.inode))),
                keep: place < room,
                ns,
                wanted,
            })
        })
        .collect();
    kernel.asked = asked;
    let doors = &kernel.doors;
    let results = namespace::spread(tasks, |task| see_one(doors, task));
    for result in results {
        let Some((seen, socket)) = result? else {
            continue;
        };
        let mut space = Space {
            socket,
            inode: seen.inode,
            ..Space::default()
        };
        space.learn(&seen.reading.links);
        kernel.spaces.insert(seen.ns.clone(), space);
        all.push(seen);
    }
    Ok(all)
}

impl Wanted {
    /// Whether nothing is asked for that others than the operations of a plan change without a trace in the links, the
    /// addresses and the routes.
    fn comes_with_links(&self) -> bool {
        self.nftables.is_none() && !self.permits && self.sysctls.iter().all(read::is_at_hand)
    }
}

/// Reads one namespace, on a thread that ends afterwards. None: it doesn't exist. With it comes its socket, if that is to
/// be kept.
fn see_one(doors: &Doors, task: Task) -> Result<Option<(Seen, Option<Socket>)>, Error> {
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
    let is_found = match &task.ns {
        Ns::Host => true,
        Ns::Named(name) => doors.external.contains_key(name),
    };
    reading.routes = if is_found {
        read::routes_of(&mut socket, &tables)?
    } else {
        // One question takes longer than all the routes of a namespace that nobody else fills.
        let wanted = |table, protocol| tables.contains(&table) || protocol == tag::PROTOCOL;
        read::every_route_that(&mut socket, wanted)?
    };
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
    let seen = Seen {
        identity,
        ns: task.ns,
        reading,
        inode,
    };
    Ok(Some((seen, task.keep.then_some(socket))))
}

/// The values of settings of what was read last. Those that come with links are as they were then; others are read now. One
/// that isn't there is left out.
pub(super) fn settings(
    kernel: &mut Kernel,
    wanted: Vec<Id>,
) -> Result<BTreeMap<Id, Sysctl>, Error> {
    let mut values = BTreeMap::new();
    let mut switches: BTreeMap<Ns, [Option<i32>; 2]> = BTreeMap::new();
    for id in wanted {
        let Key::Sysctl(key) = &id.key else {
            continue;
        };
        let number = match (key, key.switch()) {
            (SysctlKey::Conf { family, link, name }, _) if read::is_at_hand(key) => {
                let known = kernel
                    .spaces
                    .get(&id.ns)
                    .and_then(|space| space.links.get(link));
                known.and_then(|known| known.conf.get(*family, name))
            }
            (_, Some(family)) => {
                if !switches.contains_key(&id.ns) {
                    switches.insert(id.ns.clone(), read::switches(kernel.socket(&id.ns)?)?);
                }
                switches[&id.ns][family as usize]
            }
            _ => {
                let door = door_of(&kernel.doors, &id.ns)?;
                let value = namespace::inside(door.as_fd(), || sysctl::read(&key.path()))?;
                if let Some(value) = value {
                    values.insert(
                        id,
                        Sysctl {
                            value: value.into(),
                        },
                    );
                }
                continue;
            }
        };
        if let Some(number) = number {
            let value = number.to_string().into();
            values.insert(id, Sysctl { value });
        }
    }
    Ok(values)
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
