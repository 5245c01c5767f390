//! What is printed as JSON, and its JSON Schemas: plans here, what is there in [`shown`].
//!
//! What stands here is a promise to those who read it with programs. Within a major version of the format keys and words are
//! only added.

pub mod shown;
mod value;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

use self::value::{Identity, Value};
use super::changes::{self, Change, Count, Sign, changes};
use super::{phrase, plan};
use crate::plan::{self as plans, Plan, Transfer};
use crate::resource::link::MacAddress;
use crate::resource::name::TopologyName;
use crate::resource::{Id, Ns};

/// The version of the format.
const FORMAT: &str = "1.0";

/// Plans, one for each topology.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    /// The version of this format, MAJOR.MINOR. A reader ignores keys that it doesn't know, and gives up on another MAJOR.
    format_version: &'static str,
    /// The release of netform that made this.
    netform: &'static str,
    /// The plans, in the order of the files that were given.
    plans: Vec<OfTopology>,
}

/// What would be done for one topology.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OfTopology {
    /// The topology's name.
    topology: String,
    /// The name that it has until it is renamed, with `--adopt-from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed_from: Option<String>,
    /// Whether anything would be done.
    changes: bool,
    /// How many changes there are. Both ends of a pair that comes or goes are one.
    summary: Count,
    /// The changes, grouped by namespace, the host last, and in it by kind and name. This isn't the order in which they are done.
    operations: Vec<Operation>,
    /// What a person should know before saying yes.
    warnings: Vec<Warning>,
}

/// What is done to one thing.
#[derive(Debug, Serialize, JsonSchema)]
struct Operation {
    /// What is done.
    action: Action,
    /// The namespace that it is in; `host` is the one that netform runs in. A file is in the namespace that it is for.
    namespace: String,
    /// What it is, and what it is told apart by there.
    #[serde(flatten)]
    identity: Identity,
    /// How the text calls it: `address 192.0.2.1 on eth0`.
    name: String,
    /// What it is before; `null`: it isn't there.
    before: Option<Value>,
    /// What it is after; `null`: it is gone.
    after: Option<Value>,
    /// Why, where the action alone doesn't say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The thing whose operation does this too: an address goes with its link, the other end of a pair comes with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<Reference>,
    /// What a borrowed value is to become again when the topology goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    /// Why a value that is given back stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    stays: Option<String>,
    /// The connections that end with it, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ends: Vec<String>,
    /// Whether it mends what differs from the previous spec too, where `--previous` gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<bool>,
}

/// What is done to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is removed.
    Remove,
    /// It is removed and made again, or was lost and is made again: `reason` says why.
    Replace,
    /// It was somebody else's, and becomes the topology's.
    Adopt,
    /// It was taken over, and is somebody else's again, as it was.
    Release,
    /// A sysctl that isn't the topology's own is set, and its value recorded first.
    Borrow,
    /// A borrowed sysctl is given back.
    GiveBack,
}

/// Why something is done.
#[derive(Debug, Serialize, JsonSchema)]
struct Reason {
    /// Of which sort the reason is.
    kind: ReasonKind,
    /// In words.
    text: String,
}

/// Of which sort a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReasonKind {
    /// It can't be changed in place.
    Replaced,
    /// The kernel takes it down with something else.
    Fell,
    /// A creation that never came to its end left it behind.
    HalfMade,
}

/// A thing elsewhere in the plan.
#[derive(Debug, Serialize, JsonSchema)]
struct Reference {
    /// The namespace that it is in.
    namespace: String,
    /// How the text calls it.
    name: String,
}

/// What a person should know.
#[derive(Debug, Serialize, JsonSchema)]
struct Warning {
    /// Of which sort it is.
    kind: WarningKind,
    /// The namespace that it is about.
    namespace: String,
    /// In words.
    text: String,
}

/// Of which sort a warning is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WarningKind {
    /// Something of others goes too.
    Collateral,
    /// A link of others stays, and is no port any more.
    Released,
    /// A process is inside of a namespace that goes.
    Inmate,
    /// A link of others becomes a port, and what it has of IP can't be reached over it any more.
    OutOfReach,
    /// A remark on this host, or on the spec.
    Remark,
}

impl OfTopology {
    /// The document's part for one plan. `drift` is what differs from the previous spec, and `derived` are the link-layer
    /// addresses that only stand for those of a host that isn't known.
    pub fn of(
        plan: &Plan,
        renamed_from: Option<&TopologyName>,
        drift: Option<&BTreeSet<Id>>,
        derived: &BTreeSet<MacAddress>,
    ) -> OfTopology {
        let operations = changes(plan);
        OfTopology {
            topology: plan.topology.to_string(),
            renamed_from: renamed_from.map(ToString::to_string),
            changes: !plan.operations.is_empty() || renamed_from.is_some(),
            summary: Count::of(&operations),
            operations: operations
                .iter()
                .map(|change| operation(change, plan, drift, derived))
                .collect(),
            warnings: plan
                .warnings
                .iter()
                .map(|one| warning(one, &plan.topology))
                .collect(),
        }
    }
}

/// The text of a document, with a newline at its end.
pub fn text(plans: Vec<OfTopology>) -> String {
    pretty(&Document {
        format_version: FORMAT,
        netform: env!("CARGO_PKG_VERSION"),
        plans,
    })
}

/// The text of the JSON Schema of a document.
pub fn schema() -> String {
    schema_of::<Document>("A plan of netform")
}

/// A document as text.
fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("it is plain data") + "\n"
}

/// The schema of a document that is written: each key that is always there is required.
fn schema_of<D: JsonSchema>(title: &str) -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<D>();
    schema.insert("title".to_owned(), title.into());
    serde_json::to_string_pretty(&schema).expect("it is plain data") + "\n"
}

fn operation(
    change: &Change<'_>,
    plan: &Plan,
    drift: Option<&BTreeSet<Id>>,
    derived: &BTreeSet<MacAddress>,
) -> Operation {
    let value = |resource| Value::of(resource, derived);
    let topology = &plan.topology;
    let operation = change.operation;
    let id = &operation.id;
    let sysctl = |sysctl: &crate::resource::sysctl::Sysctl| Value::Sysctl {
        value: sysctl.value.to_string(),
    };
    let (action, before, after) = match &operation.action {
        plans::Action::Create(made) => {
            let action = match change.sign {
                Sign::Replace => Action::Replace,
                _ => Action::Create,
            };
            (action, change.removed.map(value), Some(value(made)))
        }
        plans::Action::Remove(gone) => (Action::Remove, Some(value(gone)), None),
        plans::Action::Update { before, after } => {
            let action = match operation.transfer {
                Some(Transfer::Adopt) => Action::Adopt,
                Some(Transfer::Release) => Action::Release,
                None => Action::Update,
            };
            (action, Some(value(before)), Some(value(after)))
        }
        plans::Action::Borrow { before, after, .. } => {
            (Action::Borrow, Some(sysctl(before)), Some(sysctl(after)))
        }
        plans::Action::GiveBack { before, after, .. } => {
            (Action::GiveBack, Some(sysctl(before)), Some(sysctl(after)))
        }
    };
    let original = match &operation.action {
        plans::Action::Borrow { original, .. } => Some(original.clone()),
        _ => None,
    };
    let stays = match &operation.action {
        plans::Action::GiveBack { stays, .. } => stays.as_ref().map(ToString::to_string),
        _ => None,
    };
    let reason = operation.reason.as_ref().map(|reason| Reason {
        kind: match reason {
            plans::Reason::Replaced(_) => ReasonKind::Replaced,
            plans::Reason::Fell(_) => ReasonKind::Fell,
            plans::Reason::HalfMade => ReasonKind::HalfMade,
        },
        text: plan::reason(reason, id, topology),
    });
    let ended = operation.ended();
    Operation {
        action,
        namespace: id.ns.to_string(),
        identity: Identity::of(id, topology),
        name: phrase::identity(id, topology),
        before,
        after,
        reason,
        with: operation.with.as_ref().map(|id| Reference {
            namespace: id.ns.to_string(),
            name: phrase::identity(id, topology),
        }),
        original,
        stays,
        ends: ended.map(phrase::connections).collect(),
        drift: drift.map(|drift| drift.contains(id)),
    }
}

fn warning(warning: &plans::Warning, topology: &TopologyName) -> Warning {
    let kind = match warning {
        plans::Warning::Collateral { .. } => WarningKind::Collateral,
        plans::Warning::Released { .. } => WarningKind::Released,
        plans::Warning::Inmate { .. } => WarningKind::Inmate,
        plans::Warning::OutOfReach { .. } => WarningKind::OutOfReach,
        plans::Warning::Remark { .. } => WarningKind::Remark,
    };
    let ns: &Ns = changes::place(warning);
    Warning {
        kind,
        namespace: ns.to_string(),
        text: plan::warning(warning, topology),
    }
}
