//! From two States to a plan: what differs, in which order it is mended, and why.
//!
//! [`plan`] is a pure function: the same two States give the same plan, to the byte. It never asks the
//! kernel anything.

mod addresses;
mod adopt;
mod aside;
mod astray;
mod decide;
mod drift;
mod fall;
mod fray;
mod left;
mod loan;
mod loopback;
mod lost;
mod operation;
mod order;
mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

pub use self::drift::{drift, kept};
pub use self::left::left;

pub use self::adopt::offer;
use self::decide::Decision;
use self::fall::{Effects, Fallen};
pub use self::lost::lost;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::nftables::gateway::withdrawn::Withdrawn;
use crate::resource::route::Route;
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Owner, State};

/// What `apply` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// For which topology.
    pub topology: TopologyName,
    /// The operations, in an order in which they can be done one after the other.
    pub operations: Vec<Operation>,
    /// What a person should know before saying yes.
    pub warnings: Vec<Warning>,
}

/// One change of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Of what.
    pub id: Id,
    /// What is done.
    pub action: Action,
    /// The operation on another resource that does this one too: the kernel makes a veth's peer with it,
    /// and removes the addresses of a link with the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<Id>,
    /// Whether it changes hands with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// The connections that end with the change of a table, because what they depended on is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Box<Withdrawn>>,
    /// Why, where the action alone doesn't say it. For people: nothing depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The places in [`Plan::operations`] of those that must be done before, all of them earlier.
    #[serde(skip)]
    pub after: Vec<usize>,
}

/// What is done to a resource.
///
/// A replacement is a removal and a creation of one identity, in this order and with the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create(Resource),
    /// It is changed in place.
    Update {
        /// What it is.
        before: Resource,
        /// What it becomes.
        after: Resource,
    },
    /// It is removed.
    Remove(Resource),
    /// A sysctl of the host, or of an external namespace, is set, and its value recorded first. The value may stay the same: another
    /// topology set it, and the last to leave gives it back.
    Borrow {
        /// What it is.
        before: Sysctl,
        /// What it becomes.
        after: Sysctl,
        /// What is to be given back.
        original: String,
    },
    /// A borrowed sysctl is given back, and forgotten.
    GiveBack {
        /// What it is.
        before: Sysctl,
        /// What it becomes; the same as before where it must stay.
        after: Sysctl,
        /// Why it stays as it is, if it does.
        stays: Option<Stays>,
    },
}

/// What changes hands with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// It was somebody else's, and becomes the topology's.
    Adopt,
    /// It was taken over, and is given back untagged, as it was.
    Release,
}

/// Why a borrowed value is not given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stays {
    /// Another topology has it on loan too; the last to leave gives it back.
    Borrowed(TopologyName),
    /// Somebody changed it meanwhile.
    Changed,
    /// Something else relies on it now: forwarding of a link while all of its namespace forwards.
    Relied,
    /// The network that this bridge is of relies on it: that of containers, or of virtual machines.
    Needed(LinkName),
    /// It is gone, with its link.
    Gone,
}

/// Why an operation is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The resource can't be changed in place: what differs.
    Replaced(String),
    /// The kernel takes it down with an operation on this one, so it is made again.
    Fell(Id),
    /// A creation that never came to its end left this behind.
    HalfMade,
}

/// What a person should know before saying yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Warning {
    /// Something foreign goes, because an operation takes it down with it.
    Collateral {
        /// What goes.
        id: Id,
        /// With the operation on this one.
        with: Id,
    },
    /// Something foreign stays, but is a port no longer of what goes.
    Released {
        /// The port.
        id: Id,
        /// What it is a port of.
        from: Id,
    },
    /// A process is inside of a namespace that goes.
    Inmate {
        /// The namespace.
        ns: Ns,
        /// The process's number.
        pid: u32,
        /// What it runs.
        command: String,
    },
    /// A link of others becomes a port, and what it has of IP can't be reached over it any more.
    OutOfReach {
        /// That it is a port.
        id: Id,
        /// What it becomes a port of.
        master: LinkName,
        /// The addresses that others gave it.
        addresses: Vec<IpAddr>,
        /// Whether a default route of others leads over it.
        default: bool,
    },
    /// A remark of lowering or of the kernel's reading.
    Remark {
        /// The place it is about.
        ns: crate::resource::Ns,
        /// The text: one sentence of what is, and one of what to do.
        text: String,
    },
}

/// An object that the topology needs exists, and isn't its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What.
    pub id: Id,
    /// What stands there.
    pub resource: Resource,
    /// Whose it is, as far as it says so.
    pub owner: Owner,
    /// Why it can't become what is wanted by being changed, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stays::Borrowed(topology) => write!(f, "topology {topology} needs it too"),
            Stays::Changed => f.write_str("somebody changed it meanwhile"),
            Stays::Relied => f.write_str("all links there forward now"),
            Stays::Needed(bridge) => write!(f, "the network of {bridge} needs it"),
            Stays::Gone => f.write_str("its link is gone"),
        }
    }
}

/// What it takes to get a topology from what was observed to what is desired.
///
/// `desired` holds what the topology wants, all of it its own. `observed` holds what the namespaces
/// concerned hold, foreign things too.
///
/// # Errors
///
/// All the conflicts: what the topology needs, and what exists without being its own.
pub fn plan(
    topology: &TopologyName,
    desired: &State,
    observed: &State,
) -> Result<Plan, Vec<Conflict>> {
    let open = loopback::left_open(desired, observed);
    let mut decisions = decide::decide(topology, desired, observed);
    addresses::consider(&mut decisions, desired, observed);
    aside::consider(&mut decisions, desired, observed);
    astray::consider(&mut decisions);
    adopt::spare(&mut decisions, observed);
    if decisions
        .values()
        .all(|decision| *decision == Decision::Keep)
    {
        // Nothing falls where nothing is done.
        return Ok(Plan {
            topology: topology.clone(),
            operations: Vec::new(),
            warnings: Vec::new(),
        });
    }
    let effects = fall::fall(topology, &decisions, observed);
    let fallen = &effects.fallen;
    for (id, decision) in &mut decisions {
        if let Decision::Conflict(_, wanted) = decision
            && fallen.contains_key(id)
        {
            *decision = Decision::Create(wanted);
        }
    }
    let conflicts = decide::conflicts(&decisions, observed);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    loan::follow_switches(&mut decisions);
    loopback::shut(&mut decisions, |id| fallen.contains_key(id), &open);
    let operations = operations(&decisions, &effects, desired, observed);
    let operations = order::order(operations, &effects.waits);
    let warnings = collateral(&decisions, &effects, observed);
    Ok(Plan {
        topology: topology.clone(),
        operations,
        warnings,
    })
}

/// The sysctls that are wanted and that the kernel, as it was seen, doesn't have. Those of what is still to
/// be made are not looked for.
pub fn missing<'s>(desired: &'s State, observed: &State) -> Vec<&'s Id> {
    let there = |id: &Id| match &id.key {
        Key::Sysctl(SysctlKey::Global(_)) => {
            id.ns == Ns::Host || observed.get(&Id::namespace(id.ns.clone())).is_some()
        }
        _ => loan::is_borrowed(id, desired),
    };
    let ids = desired.entries.keys();
    ids.filter(|id| matches!(id.key, Key::Sysctl(_)) && observed.get(id).is_none() && there(id))
        .collect()
}

/// The operations that come of decisions, in no order yet.
fn operations(
    decisions: &BTreeMap<&Id, Decision<'_>>,
    effects: &Effects<'_>,
    desired: &State,
    observed: &State,
) -> Vec<Operation> {
    let Effects {
        fallen,
        frayed,
        stripped,
        resized,
        released,
        left_off,
        ..
    } = effects;
    let of_decisions = decisions.values().map(|decision| match decision {
        Decision::Keep => 0,
        Decision::Replace(..) => 2,
        _ => 1,
    });
    // Not twice as much: it is most of the memory where there are very many.
    let count: usize = of_decisions.sum();
    let mut operations = Vec::with_capacity(count + fallen.len());
    let ids = decisions.keys().chain(fallen.keys());
    let ids: BTreeSet<&Id> = ids.chain(left_off.keys()).copied().collect();
    for id in ids {
        let cause = fallen.get(id).or_else(|| frayed.get(id)).copied();
        let mut push = |action, with: Option<&Id>, reason| {
            let with = with.cloned();
            operations.push(Operation {
                id: id.clone(),
                transfer: adopt::transfer(id, &action, desired, observed),
                ends: ends(&action, with.as_ref()),
                action,
                with,
                reason,
                after: Vec::new(),
            });
        };
        let fell = || cause.cloned().map(Reason::Fell);
        match decisions.get(id) {
            Some(Decision::Keep) => {
                if let (Some(_), Some(entry)) = (cause, desired.get(id)) {
                    push(
                        Action::Create(entry.resource.clone()),
                        bearer(id, desired, observed),
                        fell(),
                    );
                } else if let (Some(cause), Some(entry)) = (stripped.get(id), desired.get(id)) {
                    let after = entry.resource.clone();
                    let before = without_source(&after);
                    let reason = Some(Reason::Fell((*cause).clone()));
                    push(Action::Update { before, after }, None, reason);
                } else if let (Some((cause, mtu)), Some(entry)) = (resized.get(id), desired.get(id))
                {
                    let after = entry.resource.clone();
                    let before = with_mtu(&after, *mtu);
                    if before != after {
                        let reason = Some(Reason::Fell((*cause).clone()));
                        push(Action::Update { before, after }, None, reason);
                    }
                } else if let (Some(master), Some(entry)) = (released.get(id), desired.get(id)) {
                    let after = entry.resource.clone();
                    let before = release::released(&after);
                    let reason = Some(Reason::Fell((*master).clone()));
                    push(Action::Update { before, after }, None, reason);
                }
            }
            Some(Decision::Create(wanted)) => {
                let wanted = (*wanted).clone();
                push(
                    Action::Create(wanted),
                    bearer(id, desired, observed),
                    fell(),
                );
            }
            Some(Decision::Update(_, after)) if cause.is_some() => {
                push(
                    Action::Create((*after).clone()),
                    bearer(id, desired, observed),
                    fell(),
                );
            }
            Some(Decision::Update(before, after)) => {
                let master = released
                    .get(id)
                    .filter(|_| release::is_again(before, after));
                let before = match master {
                    Some(_) => release::released(before),
                    None => (*before).clone(),
                };
                let after = (*after).clone();
                let reason = master.copied().cloned().map(Reason::Fell);
                push(Action::Update { before, after }, None, reason);
            }
            Some(Decision::Replace(found, wanted, why)) => {
                let reason = || Some(Reason::Replaced(why.clone()));
                let with = remover(cause, decisions, fallen);
                push(Action::Remove((*found).clone()), with, reason());
                let with = bearer(id, desired, observed);
                push(Action::Create((*wanted).clone()), with, reason());
            }
            Some(Decision::Remove(found)) => {
                let with = remover(cause, decisions, fallen);
                push(Action::Remove((*found).clone()), with, None);
            }
            Some(Decision::Loan(action)) => push((**action).clone(), None, None),
            // A conflict has stopped the plan before.
            Some(Decision::Conflict(..) | Decision::Unfit(..) | Decision::Contested(..)) => {}
            // A link's forwarding that somebody else relies on, which a switch writes.
            None => {
                if let (Some(cause), Some(entry)) = (cause, observed.get(id))
                    && is_switch(cause)
                {
                    push(Action::Create(entry.resource.clone()), None, fell());
                } else if let (Some(switch), Some(entry)) = (left_off.get(id), observed.get(id)) {
                    let before = entry.resource.clone();
                    let after = Resource::Sysctl(Sysctl::on());
                    let reason = Some(Reason::Fell((*switch).clone()));
                    push(Action::Update { before, after }, None, reason);
                }
            }
        }
    }
    operations
}

/// The connections that end with an operation. Those in a namespace that goes end with that.
fn ends(action: &Action, with: Option<&Id>) -> Option<Box<Withdrawn>> {
    let withdrawn = match action {
        Action::Update {
            before: Resource::Table(before),
            after: Resource::Table(after),
        } => Withdrawn::between(before, Some(after)),
        Action::Remove(Resource::Table(before)) if with.is_none() => {
            Withdrawn::between(before, None)
        }
        _ => return None,
    };
    (!withdrawn.is_empty()).then(|| Box::new(withdrawn))
}

/// What has an operation of its own that takes a thing down: where it goes with something of others, which nobody
/// asked to remove, that is what takes this down.
fn remover<'s>(
    cause: Option<&'s Id>,
    decisions: &BTreeMap<&Id, Decision<'_>>,
    fallen: &Fallen<'s>,
) -> Option<&'s Id> {
    std::iter::successors(cause, |id| fallen.get(*id).copied())
        .find(|id| decisions.contains_key(*id))
        .or(cause)
}

/// What is left of a route whose source address went.
fn without_source(route: &Resource) -> Resource {
    match route {
        Resource::Route(route) => Resource::Route(Route {
            src: None,
            ..route.clone()
        }),
        other => other.clone(),
    }
}

fn with_mtu(route: &Resource, mtu: u32) -> Resource {
    match route {
        Resource::Route(route) => Resource::Route(Route {
            mtu: route.mtu.map(|_| mtu),
            ..route.clone()
        }),
        other => other.clone(),
    }
}

fn is_switch(id: &Id) -> bool {
    matches!(&id.key, Key::Sysctl(key) if key.switch().is_some())
}

/// What a new thing is born with: `lo` with its namespace, and of a pair the second end with the first.
fn bearer<'s>(id: &Id, desired: &'s State, observed: &State) -> Option<&'s Id> {
    let Resource::Link(link) = &desired.get(id)?.resource else {
        return None;
    };
    let bearer = match (link.peer(), &link.kind) {
        (Some(peer), _) => Id::link(peer.ns.clone(), peer.name.clone()),
        (None, crate::resource::link::LinkKind::Loopback) => Id::namespace(id.ns.clone()),
        (None, _) => return None,
    };
    let (bearer, _) = desired.entries.get_key_value(&bearer)?;
    let first = match bearer.key {
        Key::Namespace => observed.get(bearer).is_none(),
        _ => bearer < id,
    };
    first.then_some(bearer)
}

/// What is lost that isn't the topology's.
fn collateral(
    decisions: &BTreeMap<&Id, Decision<'_>>,
    effects: &Effects<'_>,
    observed: &State,
) -> Vec<Warning> {
    let lost = effects.fallen.iter().chain(&effects.frayed);
    let lost: Fallen<'_> = lost.map(|(id, cause)| (*id, *cause)).collect();
    lost.iter()
        .filter(|(id, cause)| !decisions.contains_key(*id) && !is_switch(cause))
        // Of a port it is said that it is released.
        .filter(|(id, _)| !matches!(id.key, Key::Sysctl(_) | Key::Port(_)))
        .filter(|(id, _)| {
            observed
                .get(id)
                .is_some_and(|entry| entry.owner != Owner::Kernel)
        })
        .map(|(id, cause)| Warning::Collateral {
            id: (*id).clone(),
            with: (*cause).clone(),
        })
        .chain(release::of_others(decisions, effects))
        .chain(release::out_of_reach(decisions, observed))
        .collect()
}
