//! What topologies own, as data: the document that `show -o json` prints.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Identity, Value};
use super::{FORMAT, pretty, schema_of};
use crate::plan::Warning;
use crate::render::show::{Portrait, Sync};
use crate::render::{phrase, show};
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Counted, State, Traffic};

/// The topologies of a host, and what each owns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The version of this format, MAJOR.MINOR. A reader ignores keys that it doesn't know, and gives up on another MAJOR.
    format_version: &'static str,
    /// The release of netform that made this.
    netform: &'static str,
    /// The topologies by name, or the one that was asked for.
    topologies: Vec<Topology>,
}

/// A topology.
#[derive(Debug, Serialize, JsonSchema)]
struct Topology {
    /// Its name.
    #[serde(rename = "topology")]
    name: String,
    /// What carries its tag, or stands in its record, grouped by namespace, the host last, and in it by kind and name.
    resources: Vec<Owned>,
    /// The sysctls of others that it has changed for as long as it is here.
    borrowed: Vec<Borrowed>,
    /// What goes by its tables, by namespace.
    traffic: Vec<Passing>,
    /// Whether it is as a spec says; only with `-f`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<InSync>,
    /// What a person should know of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// What goes by a topology's table in one namespace.
#[derive(Debug, Serialize, JsonSchema)]
struct Passing {
    /// The namespace.
    namespace: String,
    /// The connections of members now, as connection tracking knows them; `null`: the kernel doesn't tell.
    connections: Option<Connections>,
    /// What the rules have counted that drop or refuse packets, in the order of the table. They begin with 0 when the table is made
    /// anew.
    counters: Vec<Counter>,
}

/// Numbers of connections.
#[derive(Debug, Serialize, JsonSchema)]
struct Connections {
    /// All of the members.
    all: u64,
    /// Those whose source is rewritten.
    source_rewritten: u64,
    /// Those whose destination is rewritten.
    destination_rewritten: u64,
}

/// What a rule has counted.
#[derive(Debug, Serialize, JsonSchema)]
struct Counter {
    /// Its chain.
    chain: String,
    /// Its comment: why packets are dropped or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// How many packets.
    packets: u64,
    /// How many bytes, with IP headers.
    bytes: u64,
}

/// Whether a topology is as a spec says.
#[derive(Debug, Serialize, JsonSchema)]
struct InSync {
    /// How it is to its spec.
    state: InSyncState,
    /// How many operations lead to the spec, if nothing is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<usize>,
    /// How many things of others are in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflicts: Option<usize>,
}

/// How a topology is to its spec.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum InSyncState {
    /// It is as the spec says.
    InSync,
    /// Something leads to the spec.
    Drifted,
    /// Something of others is in the way.
    Blocked,
    /// Nothing of it is here.
    NotApplied,
    /// No spec is of this topology.
    NoSpec,
}

/// Something that a topology owns.
#[derive(Debug, Serialize, JsonSchema)]
struct Owned {
    /// The namespace that it is in; `host` is the one that netform runs in. A file is in the namespace that it is for.
    namespace: String,
    /// What it is, and what it is told apart by there.
    #[serde(flatten)]
    identity: Identity,
    /// How the text calls it: `address 192.0.2.1 on eth0`.
    name: String,
    /// What it is now.
    value: Value,
}

/// A sysctl on loan.
#[derive(Debug, Serialize, JsonSchema)]
struct Borrowed {
    /// The namespace that it is in.
    namespace: String,
    /// Its name, as `man 8 sysctl` takes it.
    sysctl: String,
    /// What it is now; `null`: what it belonged to is gone.
    value: Option<String>,
    /// What it is to become again when the topology goes.
    original: String,
}

impl Topology {
    /// What there is to show of one.
    fn of(portrait: &Portrait) -> Topology {
        let Portrait {
            name: topology,
            state,
            lost,
            traffic,
            sync,
        } = portrait;
        let none = BTreeSet::new();
        let owned = show::owned(topology, state);
        // As in the text: settings are a part of what they belong to.
        let owned = owned.filter(|(id, _)| !matches!(id.key, Key::Sysctl(_)));
        let owned = owned.map(|(id, resource)| Owned {
            namespace: id.ns.to_string(),
            identity: Identity::of(id, topology),
            name: phrase::identity(id, topology),
            value: Value::of(resource, &none),
        });
        let lent = show::lent(topology, state);
        let lent = lent.filter_map(|(id, original)| borrowed(id, original, state));
        Topology {
            name: topology.to_string(),
            resources: owned.collect(),
            borrowed: lent.collect(),
            traffic: traffic.iter().map(passing).collect(),
            sync: sync.map(InSync::of),
            warning: match lost {
                Some(Warning::Remark { text, .. }) => Some(text.clone()),
                _ => None,
            },
        }
    }
}

fn passing((ns, traffic): (&Ns, &Traffic)) -> Passing {
    let counter = |one: &Counted| Counter {
        chain: one.chain.clone(),
        rule: one.rule.clone(),
        packets: one.packets,
        bytes: one.bytes,
    };
    Passing {
        namespace: ns.to_string(),
        connections: traffic.connections.map(|now| Connections {
            all: now.all,
            source_rewritten: now.source_rewritten,
            destination_rewritten: now.destination_rewritten,
        }),
        counters: traffic.counted.iter().map(counter).collect(),
    }
}

impl InSync {
    fn of(sync: Sync) -> InSync {
        let (state, changes, conflicts) = match sync {
            Sync::Same => (InSyncState::InSync, Some(0), None),
            Sync::Differs(changes) => (InSyncState::Drifted, Some(changes), None),
            Sync::Blocked(conflicts) => (InSyncState::Blocked, None, Some(conflicts)),
            Sync::NotApplied(changes) => (InSyncState::NotApplied, Some(changes), None),
            Sync::NoSpec => (InSyncState::NoSpec, None, None),
        };
        InSync {
            state,
            changes,
            conflicts,
        }
    }
}

fn borrowed(id: &Id, original: &str, state: &State) -> Option<Borrowed> {
    let Key::Sysctl(key) = &id.key else {
        return None;
    };
    let value = match state.get(id).map(|entry| &entry.resource) {
        Some(Resource::Sysctl(now)) => Some(now.value.clone()),
        _ => None,
    };
    Some(Borrowed {
        namespace: id.ns.to_string(),
        sysctl: key.to_string(),
        value: value.map(String::from),
        original: original.to_owned(),
    })
}

/// The text of a document, with a newline at its end.
pub fn text(portraits: &[Portrait]) -> String {
    pretty(&Shown {
        format_version: FORMAT,
        netform: env!("CARGO_PKG_VERSION"),
        topologies: portraits.iter().map(Topology::of).collect(),
    })
}

/// The text of the JSON Schema of a document.
pub fn schema() -> String {
    schema_of::<Shown>("What netform shows")
}
