//! What the kernel can't say of a topology: `/run/netform/TOPOLOGY.json`.
//!
//! It is written before the change that it describes, and may so name what never came to be, but never
//! lacks what is there. It lies in `/run` because it shall live as long as the kernel's own state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::external::Identity;
use super::space::Names;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::{Id, Ns};

/// Where the records lie.
pub(super) const DIRECTORY: &str = "/run/netform";

/// How a record's name ends while it is written.
const DRAFT: &str = "json.new";

/// The version of the format that this release reads and writes.
const FORMAT: u32 = 1;

/// What the kernel can't say of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format_version: u32,
    /// Whose it is.
    pub(super) topology: TopologyName,
    /// The name that it had, while it is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renamed: Option<TopologyName>,
    /// The namespaces it made, or was about to make.
    pub(super) namespaces: BTreeSet<NamespaceName>,
    /// The external namespaces that it has something in, or was about to. Loans and claims in them are
    /// of these very ones, and not of others that have their names later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) external: BTreeMap<NamespaceName, Known>,
    /// The sysctls it has on loan.
    pub(super) loans: Vec<Borrowed>,
    /// Its addresses and routes on links that aren't its own; and its tables, which say themselves whose
    /// they are, so that only the namespaces that have one are asked for it.
    pub(super) claims: BTreeSet<Id>,
    /// The links of others that it made ports, or was about to, and of what. While it changes that there are two of
    /// one link.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) ports: BTreeSet<Membership>,
    /// The directories it made for its files.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// An external namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// Where it was found. None: by its name in `/run/netns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    /// Which it is.
    pub(super) identity: Identity,
}

/// That a link of others is a port, as a topology made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    /// Which link: its identity as a port.
    pub(super) id: Id,
    /// What it is a port of.
    pub(super) master: LinkName,
}

/// A sysctl on loan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Borrowed {
    /// Which.
    pub(super) id: Id,
    /// What is to be given back.
    pub(super) original: String,
    /// What it was set to, unless that is what [`SysctlKey::lent`] says.
    ///
    /// [`SysctlKey::lent`]: crate::resource::sysctl::SysctlKey::lent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lent: Option<String>,
    /// Of a switch that writes every link's value: the links that had it on before.
    pub(super) links: BTreeSet<LinkName>,
}

/// Only the version, which is looked at before the rest.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl Record {
    /// One that says nothing.
    pub(super) fn new(topology: TopologyName) -> Record {
        Record {
            format_version: FORMAT,
            topology,
            renamed: None,
            namespaces: BTreeSet::new(),
            external: BTreeMap::new(),
            loans: Vec::new(),
            claims: BTreeSet::new(),
            ports: BTreeSet::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.external.is_empty()
            && self.loans.is_empty()
            && self.claims.is_empty()
            && self.ports.is_empty()
            && self.directories.is_empty()
    }

    /// Reads a topology's. One that doesn't exist says nothing.
    pub(super) fn read(topology: &TopologyName) -> Result<Record, Error> {
        let path = path(topology);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Record::new(topology.clone())),
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                let reason = "it is no text".to_owned();
                return Err(Error::Record { path, reason });
            }
            Err(e) => return Err(Error::io("read", path, e)),
        };
        parse(&text).map_err(|reason| Error::Record { path, reason })
    }

    /// Writes it, or removes it if it says nothing.
    pub(super) fn write(&self) -> Result<(), Error> {
        let path = path(&self.topology);
        if self.is_empty() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, e)),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(DIRECTORY).map_err(|e| Error::io("create", DIRECTORY, e))?;
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        let draft = path.with_extension(DRAFT);
        let written = fs::write(&draft, text + "\n").map_err(|e| Error::io("write", &draft, e));
        let named = written
            .and_then(|()| fs::rename(&draft, &path).map_err(|e| Error::io("write", path, e)));
        if named.is_err() {
            let _ = fs::remove_file(&draft);
        }
        named
    }

    /// The same, with the names that external namespaces have here, and without what is said of those that
    /// are gone, or not of concern.
    pub(super) fn seen_from(mut self, names: &Names) -> Record {
        let loans = self.loans.iter().filter_map(|loan| {
            let id = self.seen_as(&loan.id, names)?;
            Some(Borrowed { id, ..loan.clone() })
        });
        let loans = loans.collect();
        let claims = self.claims.iter();
        let claims = claims.filter_map(|id| self.seen_as(id, names)).collect();
        let ports = self.ports.iter().filter_map(|port| {
            let id = self.seen_as(&port.id, names)?;
            Some(Membership { id, ..port.clone() })
        });
        let ports = ports.collect();
        (self.loans, self.claims, self.ports) = (loans, claims, ports);
        for known in std::mem::take(&mut self.external).into_values() {
            if let Some(name) = names.all.get(&known.identity) {
                self.enter(name.clone(), names);
            }
        }
        self
    }

    /// What one of its identities is from here. None: it is in an external namespace that is gone, or not
    /// of concern.
    pub(super) fn seen_as(&self, id: &Id, names: &Names) -> Option<Id> {
        let known = id.ns.name().and_then(|name| self.external.get(name));
        let ns = match known {
            Some(known) => Ns::Named(names.all.get(&known.identity)?.clone()),
            None => id.ns.clone(),
        };
        Some(Id::new(ns, id.key.clone()))
    }

    /// Whether it has something in namespaces other than the host.
    pub(super) fn has_namespaces(&self) -> bool {
        !self.namespaces.is_empty() || !self.external.is_empty()
    }

    /// Notes an external namespace that is open here.
    pub(super) fn enter(&mut self, name: NamespaceName, names: &Names) {
        if let Some(known) = names.external.get(&name) {
            self.external.insert(name, known.clone());
        }
    }

    /// Whether the topology made a link a port of `master`.
    pub(super) fn has_port(&self, id: &Id, master: &LinkName) -> bool {
        let mut ports = self.ports.iter();
        ports.any(|port| port.id == *id && port.master == *master)
    }

    /// The loan of a sysctl.
    pub(super) fn loan(&self, id: &Id) -> Option<&Borrowed> {
        self.loans.iter().find(|loan| loan.id == *id)
    }

    /// The same, to be changed.
    pub(super) fn loan_mut(&mut self, id: &Id) -> Option<&mut Borrowed> {
        self.loans.iter_mut().find(|loan| loan.id == *id)
    }
}

fn parse(text: &str) -> Result<Record, String> {
    let version: Version = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if version.format_version != FORMAT {
        return Err(format!(
            "another release of netform wrote it, in format {} and not {FORMAT}",
            version.format_version
        ));
    }
    serde_json::from_str(text).map_err(|e| e.to_string())
}

fn path(topology: &TopologyName) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{topology}.json"))
}

/// The topologies that have a record.
pub(super) fn names() -> Result<BTreeSet<TopologyName>, Error> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(e) => return Err(Error::io("read", DIRECTORY, e)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", DIRECTORY, e))?;
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(name.and_then(|name| TopologyName::try_from(name).ok()));
    }
    Ok(names)
}

/// Removes the drafts of those who were killed while they wrote. Only who holds the lock may: nobody else writes.
pub(super) fn remove_drafts() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.ends_with(DRAFT)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// All records, as they are seen from here.
pub(super) fn all_seen_from(names: &Names) -> Result<Vec<Record>, Error> {
    let records = all()?.into_iter();
    Ok(records.map(|record| record.seen_from(names)).collect())
}

/// All records.
pub(super) fn all() -> Result<Vec<Record>, Error> {
    names()?.iter().map(Record::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::address::AddressKey;
    use crate::resource::route::RouteKey;
    use crate::resource::sysctl::SysctlKey;
    use crate::resource::{Family, Key, Ns};

    fn full() -> Record {
        let topology = TopologyName::try_from("lab").expect("a name");
        let link = LinkName::try_from("ens33").expect("a name");
        let ip = "192.168.95.7".parse().expect("an address");
        let host = |key| Id::new(Ns::Host, key);
        Record {
            namespaces: [NamespaceName::try_from("a").expect("a name")].into(),
            external: [(
                NamespaceName::try_from("box").expect("a name"),
                Known {
                    path: Some(PathBuf::from("/proc/7/ns/net")),
                    identity: serde_json::from_str("4097").expect("a number"),
                },
            )]
            .into(),
            loans: vec![Borrowed {
                id: host(Key::Sysctl(SysctlKey::conf(
                    Family::Ipv4,
                    link.clone(),
                    "forwarding",
                ))),
                original: "0".to_owned(),
                lent: Some("2".to_owned()),
                links: [link.clone()].into(),
            }],
            claims: [
                host(Key::Address(AddressKey { link, ip })),
                host(Key::Route(RouteKey::main(
                    "fd07::/64".parse().expect("a prefix"),
                ))),
            ]
            .into(),
            ports: [Membership {
                id: host(Key::Port(LinkName::try_from("eth1").expect("a name"))),
                master: LinkName::try_from("br0").expect("a name"),
            }]
            .into(),
            directories: [PathBuf::from("/etc/netns")].into(),
            ..Record::new(topology)
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = full();
        let text = serde_json::to_string(&record).expect("plain data");
        assert_eq!(parse(&text), Ok(record));
    }

    #[test]
    fn a_record_that_knows_no_external_namespaces_and_no_ports_is_read() {
        let mut record = full();
        record.external.clear();
        record.ports.clear();
        let text = serde_json::to_string(&record).expect("plain data");
        assert!(
            !text.contains("external") && !text.contains("port"),
            "{text}"
        );
        assert_eq!(parse(&text), Ok(record));
    }

    #[test]
    fn what_is_said_of_a_namespace_is_true_of_that_one_only() {
        let named = |text: &str| NamespaceName::try_from(text).expect("a name");
        let rule = |ns: &str| {
            let key = RouteKey::main("fd08::/64".parse().expect("a prefix"));
            Id::new(Ns::Named(named(ns)), Key::Route(key))
        };
        let mut record = full();
        let on_host = record.clone().claims;
        record.claims.insert(rule("box"));
        record.loans[0].id.ns = Ns::Named(named("box"));
        let mut names = Names::default();
        let gone = record.clone().seen_from(&names);
        assert_eq!((gone.claims, gone.loans), (on_host, Vec::new()));

        // The same one by another name.
        let identity = record.external[&named("box")].identity;
        names.all.insert(identity, named("other"));
        let found = record.seen_from(&names);
        assert!(found.claims.contains(&rule("other")));
        assert!(!found.claims.contains(&rule("box")));
        assert_eq!(found.loans[0].id.ns, Ns::Named(named("other")));
    }

    #[test]
    fn a_record_of_another_format_is_refused_before_the_rest_is_looked_at() {
        let refused = parse(r#"{"format_version": 2, "novelty": true}"#).expect_err("refused");
        assert!(refused.contains("format 2"), "{refused}");
    }

    #[test]
    fn a_record_is_empty_only_without_anything() {
        let full = full();
        let empty = Record::new(full.topology.clone());
        assert!(empty.is_empty());
        for record in [
            Record {
                namespaces: full.namespaces,
                ..empty.clone()
            },
            Record {
                external: full.external,
                ..empty.clone()
            },
            Record {
                loans: full.loans,
                ..empty.clone()
            },
            Record {
                claims: full.claims,
                ..empty.clone()
            },
            Record {
                ports: full.ports,
                ..empty.clone()
            },
            Record {
                directories: full.directories,
                ..empty.clone()
            },
        ] {
            assert!(!record.is_empty());
        }
    }
}
