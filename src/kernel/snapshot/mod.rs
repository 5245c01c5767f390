//! A host in a file: what was read of all its namespaces, so that a plan can be made elsewhere.
//!
//! It holds what the kernel answered and not what that means, so that it goes through the same code as a kernel's answers
//! ([`Host`](super::observe::Host)) and comes to the same plan.

mod host;
mod shot;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::shot::Shot;
use super::error::Error;
use super::record::Record;
use super::space::Names;
use super::{facts, file, observe, ports, tag};
use crate::plan::{Action, Plan, Warning};
use crate::resource::file::FileKind;
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::{Key, Ns};
use crate::sealed::{self, Kind};
use crate::state::{External, Facts, Machine, PlacePorts, State};

/// What a host was seen to have.
#[derive(Debug)]
pub struct Snapshot {
    held: Held,
    /// The external namespaces that are looked at, by their places among the shots.
    external: BTreeMap<NamespaceName, usize>,
    names: Names,
}

/// What stands in the file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    /// Whether the kernel doesn't keep the protocol numbers of addresses.
    forgets_protocols: bool,
    machine: Machine,
    records: Vec<Record>,
    /// The settings of a new namespace: of others only what differs is told.
    usual: BTreeMap<String, String>,
    host: Shot,
    /// The other namespaces that have a name, or a place in a record.
    others: Vec<Shot>,
    /// The files of namespaces, also of such that don't exist.
    files: BTreeMap<NamespaceName, BTreeMap<FileKind, file::Found>>,
}

impl Snapshot {
    fn new(held: Held) -> Snapshot {
        Snapshot {
            held,
            external: BTreeMap::new(),
            names: Names::default(),
        }
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        let held = serde_json::to_value(&self.held).expect("it is plain data");
        sealed::seal(Kind::Snapshot, held)
    }

    /// Whether the text of a file is one, or was to be.
    pub fn is_one(text: &str) -> bool {
        sealed::is_one(text)
    }

    /// What the text of a file says.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    pub fn parse(text: &str) -> Result<Snapshot, String> {
        let mut held: Value = sealed::open(Kind::Snapshot, text)?;
        for (name, part) in held.as_object_mut().into_iter().flatten() {
            // What is shown of a file is made harmless there, and the lines of it matter.
            if name != "files" {
                make_harmless(part);
            }
        }
        let held: Held = sealed::held(Kind::Snapshot, held)?;
        sound(&held).map_err(|why| sealed::isnt(Kind::Snapshot, &why))?;
        Ok(Snapshot::new(held))
    }

    /// Its namespaces, the host's first.
    fn shots(&self) -> impl Iterator<Item = &Shot> {
        std::iter::once(&self.held.host).chain(&self.held.others)
    }

    /// The place of a namespace among the shots.
    fn place(&self, ns: &Ns) -> Option<usize> {
        let Some(name) = ns.name() else {
            return Some(0);
        };
        let external = self.external.get(name).copied();
        external.or_else(|| self.shots().position(|shot| shot.names.contains(name)))
    }

    fn shot(&self, ns: &Ns) -> Option<&Shot> {
        self.shots().nth(self.place(ns)?)
    }

    /// The topologies that have a record, or a link of the host.
    pub fn topologies(&self) -> BTreeSet<TopologyName> {
        let records = self.held.records.iter();
        let tagged = self.held.host.links.iter().filter_map(tag::of_link);
        records
            .map(|record| record.topology.clone())
            .chain(tagged)
            .collect()
    }

    /// What lowering must know of the host, and of the external namespaces of a spec, as [`Kernel::facts`] says it.
    ///
    /// [`Kernel::facts`]: super::Kernel::facts
    ///
    /// # Errors
    ///
    /// [`Error::NoExternal`] and [`Error::SameNamespace`].
    pub fn facts(&mut self, external: &External) -> Result<Facts, Error> {
        let (facts, _) = facts::facts(self, external)?;
        Ok(facts)
    }

    /// Adds to the facts what may get in the way of what a topology publishes in some namespaces of others, at some ports.
    pub fn ports(
        &self,
        topology: &TopologyName,
        namespaces: &BTreeMap<&Ns, Vec<RangeInclusive<u16>>>,
        facts: &mut Facts,
    ) {
        for (ns, ports) in namespaces {
            let (Some(place), Some(shot)) = (facts.place_mut(ns), self.shot(ns)) else {
                continue;
            };
            let listeners = shot.listeners.iter().filter(|listener| {
                let mut ports = ports.iter();
                ports.any(|ports| ports.contains(&listener.port))
            });
            place.ports = PlacePorts {
                published: ports::published(&shot.tables, topology),
                listeners: listeners.cloned().collect(),
            };
        }
    }

    /// Adds to what lowering must know which rules others have that packets through a gateway come by.
    pub fn look_at_firewalls(&self, facts: &mut Facts) {
        let external = facts.external.keys().cloned().map(Ns::Named);
        let places: Vec<Ns> = external.chain([Ns::Host]).collect();
        for ns in places {
            if let (Some(place), Some(shot)) = (facts.place_mut(&ns), self.shot(&ns)) {
                place.firewall = shot.firewall.clone();
            }
        }
    }

    /// What a topology concerns, as [`Kernel::observe`] says it.
    ///
    /// [`Kernel::observe`]: super::Kernel::observe
    ///
    /// # Errors
    ///
    /// [`Error::SameNamespace`] and [`Error::StillMade`].
    pub fn observe(&mut self, topology: &TopologyName, desired: &State) -> Result<State, Error> {
        let (state, _) = observe::observe(self, topology, desired)?;
        Ok(state)
    }

    /// What to say of the processes inside of the namespaces that a plan removes. Of what they run only the name is known.
    pub fn inmates(&self, plan: &Plan) -> Vec<Warning> {
        let operations = plan.operations.iter();
        let removed =
            operations.filter_map(|operation| match (&operation.id.key, &operation.action) {
                (Key::Namespace, Action::Remove(_)) => Some(&operation.id.ns),
                _ => None,
            });
        let removed: BTreeSet<&Ns> = removed.collect();
        let inside = removed.into_iter().flat_map(|ns| {
            let inmates = self.shot(ns).into_iter().flat_map(|shot| &shot.inmates);
            inmates.map(move |(pid, command)| Warning::Inmate {
                ns: ns.clone(),
                pid: *pid,
                command: command.clone(),
            })
        });
        inside.collect()
    }
}

/// What no kernel says.
fn sound(held: &Held) -> Result<(), String> {
    let mut identities = BTreeSet::new();
    let mut names = BTreeSet::new();
    for shot in std::iter::once(&held.host).chain(&held.others) {
        if !identities.insert(shot.identity) {
            return Err("one namespace is in it twice".to_owned());
        }
        if let Some(name) = shot.names.iter().find(|name| !names.insert(*name)) {
            return Err(format!("two namespaces of it are called `{name}`"));
        }
        let mut addresses = shot.addresses.iter();
        let longest = |ip: &std::net::IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        if let Some(bad) = addresses.find(|address| address.prefix > longest(&address.ip)) {
            return Err(format!("{}/{} is no address", bad.ip, bad.prefix));
        }
    }
    Ok(())
}

/// Has no text in it do anything to a terminal, or look like another line.
fn make_harmless(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(char::is_control) => {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        Value::Array(all) => all.iter_mut().for_each(make_harmless),
        Value::Object(all) => {
            for (name, value) in all.iter_mut() {
                // The lines of it matter, and it is shown nowhere.
                if name != "nsswitch" {
                    make_harmless(value);
                }
            }
        }
        _ => {}
    }
}
