//! What topologies own, as data: the document that `show -o json` prints.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Identity, Value};
use super::{FORMAT, pretty, schema_of};
use crate::plan::Warning;
use crate::render::{phrase, show};
use crate::resource::name::TopologyName;
use crate::resource::{Id, Key, Resource};
use crate::state::State;

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
pub struct Topology {
    /// Its name.
    #[serde(rename = "topology")]
    name: String,
    /// What carries its tag, or stands in its record, grouped by namespace, the host last, and in it by kind and name.
    resources: Vec<Owned>,
    /// The sysctls of others that it has changed for as long as it is here.
    borrowed: Vec<Borrowed>,
    /// What a person should know of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
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
    /// What a topology owns in a State in which it was observed.
    pub fn of(topology: &TopologyName, state: &State, warning: Option<&Warning>) -> Topology {
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
            warning: match warning {
                Some(Warning::Remark { text, .. }) => Some(text.clone()),
                _ => None,
            },
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
        value,
        original: original.to_owned(),
    })
}

/// The text of a document, with a newline at its end.
pub fn text(topologies: Vec<Topology>) -> String {
    pretty(&Shown {
        format_version: FORMAT,
        netform: env!("CARGO_PKG_VERSION"),
        topologies,
    })
}

/// The text of the JSON Schema of a document.
pub fn schema() -> String {
    schema_of::<Shown>("What netform shows")
}
