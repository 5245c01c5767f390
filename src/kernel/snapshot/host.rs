//! A snapshot as a host that is looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::Snapshot;
use super::shot::Shot;
use crate::kernel::error::Error;
use crate::kernel::external::{Found, Looked, There};
use crate::kernel::observe::{Host, Seen, Wanted};
use crate::kernel::read::{self, Link, Reading, Route, is_at_hand};
use crate::kernel::record::Record;
use crate::kernel::space::Names;
use crate::kernel::{file, namespace, tag};
use crate::resource::address::PROMOTES;
use crate::resource::file::FileKind;
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::nftables::Table;
use crate::resource::route::MAIN;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};
use crate::state::{External, Machine};

impl Host for Snapshot {
    type Door = usize;

    fn records(&self) -> Result<Vec<Record>, Error> {
        Ok(self.held.records.clone())
    }

    fn has(&self, name: &NamespaceName) -> Result<bool, Error> {
        Ok(self.shots().any(|shot| shot.names.contains(name)))
    }

    fn look_for(&self, wanted: &External) -> Looked<usize> {
        let look = |(name, path): (&NamespaceName, &Option<std::path::PathBuf>)| {
            let named = match path {
                None => Some(name.clone()),
                Some(path) => name_at(path),
            };
            let is_there = |shot: &Shot| match (&named, path) {
                (Some(name), _) => shot.names.contains(name),
                (None, Some(path)) => shot.paths.contains(path),
                (None, None) => false,
            };
            let there = self.shots().enumerate().find(|(_, shot)| is_there(shot));
            let there = there.map_or(There::Nothing, |(place, shot)| {
                There::Namespace(place, shot.identity)
            });
            (name.clone(), path.clone(), Ok(there))
        };
        wanted.iter().map(look).collect()
    }

    fn hold(&mut self, found: BTreeMap<NamespaceName, Found<usize>>) {
        self.names = Names::of(&found);
        let places = found.into_iter().map(|(name, one)| (name, one.door));
        self.external = places.collect();
    }

    fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    fn see(&mut self, wanted: BTreeMap<Ns, Wanted>) -> Result<Vec<Seen>, Error> {
        let seen = wanted.into_iter().filter_map(|(ns, wanted)| {
            let shot = self.shot(&ns)?;
            Some(Seen {
                reading: reading(shot, &self.held.usual, wanted),
                inode: shot.inode,
                identity: shot.identity,
                ns,
            })
        });
        Ok(seen.collect())
    }

    fn number(&mut self, of: &Ns, other: &Ns) -> Result<Option<i32>, Error> {
        let (Some(of), Some(other)) = (self.shot(of), self.shot(other)) else {
            return Ok(None);
        };
        Ok(of.numbers.get(&other.identity).copied())
    }

    fn tagged(
        &self,
        topology: &TopologyName,
        except: &BTreeSet<NamespaceName>,
    ) -> Result<Vec<NamespaceName>, Error> {
        let owned = self.shots().filter(|shot| {
            let mut owners = shot.links.iter().filter_map(tag::of_link);
            owners.any(|owner| owner == *topology)
        });
        let names = owned.flat_map(|shot| &shot.names);
        Ok(names
            .filter(|name| !except.contains(*name))
            .cloned()
            .collect())
    }

    fn machine(&self, _: &[Link]) -> Machine {
        self.held.machine.clone()
    }

    fn forgets_protocols(&self) -> bool {
        self.held.forgets_protocols
    }

    fn file(&self, ns: &NamespaceName, kind: FileKind) -> Result<Option<file::Found>, Error> {
        let files = self.held.files.get(ns);
        Ok(files.and_then(|files| files.get(&kind)).cloned())
    }
}

/// The name that a namespace has whose file is at a path.
fn name_at(path: &Path) -> Option<NamespaceName> {
    let directory = path.parent()?;
    // `/var/run` is a link to `/run` (Filesystem Hierarchy Standard 3.0).
    let is_theirs =
        directory == Path::new(namespace::DIRECTORY) || directory == Path::new("/var/run/netns");
    let name = path.file_name()?.to_str().filter(|_| is_theirs)?;
    NamespaceName::try_from(name).ok()
}

/// What is told of a namespace when some of it is asked for.
fn reading(shot: &Shot, usual: &BTreeMap<String, String>, mut wanted: Wanted) -> Reading {
    wanted.tables.insert(MAIN);
    let in_table = |table: &u32| -> Vec<Route> {
        let routes = shot.routes.iter().filter(|route| route.table == *table);
        routes.cloned().collect()
    };
    let marked = shot
        .routes
        .iter()
        .filter(|route| route.protocol == tag::PROTOCOL && !wanted.tables.contains(&route.table));
    let routes = wanted.tables.iter().flat_map(in_table);
    let promotes = || {
        let all = SysctlKey::of_links(Family::Ipv4, "all", PROMOTES).path();
        shot.setting(usual, &all).is_some_and(|value| value != "0")
    };
    let links = shot.links.iter().map(|link| (link.name.as_str(), link));
    let links: HashMap<&str, &read::Link> = links.collect();
    let value = |key: &SysctlKey| match key {
        _ if !is_at_hand(key) => shot.setting(usual, &key.path()).map(str::to_owned),
        SysctlKey::Conf { family, link, name } => {
            let link = links.get(link.as_str())?;
            Some(link.conf(*family, name)?.to_string())
        }
        SysctlKey::Global(_) => {
            let value = shot.switches[key.switch()? as usize];
            Some(value?.to_string())
        }
    };
    let sysctls = wanted.sysctls.iter();
    Reading {
        links: shot.links.clone(),
        addresses: shot.addresses.clone(),
        promotes: shot.addresses.iter().any(|address| address.secondary) && promotes(),
        routes: routes.chain(marked.cloned()).collect(),
        rules: shot.rules.clone(),
        other_rules: shot.other_rules,
        sysctls: sysctls
            .filter_map(|key| Some((key.clone(), value(key)?)))
            .collect(),
        nftables: wanted.nftables.and_then(|topology| {
            let name = Table::name_of(&topology);
            shot.tables.iter().find(|table| table.name == name).cloned()
        }),
        permits: if wanted.permits {
            shot.permits.clone()
        } else {
            Vec::new()
        },
    }
}
