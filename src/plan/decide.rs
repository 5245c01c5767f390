//! What is to be done about each identity, each looked at on its own.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Conflict, loan};
use crate::plan::Action;
use crate::resource::name::TopologyName;
use crate::resource::{Change, Id, Key, Ns, Resource};
use crate::state::{Entry, Owner, State};

/// What is to be done about one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision<'s> {
    /// It is as it should be.
    Keep,
    /// It is to be made.
    Create(&'s Resource),
    /// It is to be changed in place.
    Update(&'s Resource, &'s Resource),
    /// It is to be removed and made again: what is there, what is wanted, and why.
    Replace(&'s Resource, &'s Resource, String),
    /// It is to be removed.
    Remove(&'s Resource),
    /// It is a sysctl on loan.
    Loan(Box<Action>),
    /// It stands in the way. If it goes with something else, what is wanted can be made.
    Conflict(&'s Entry, &'s Resource),
    /// It is offered, and can't be changed into what is wanted: why.
    Unfit(&'s Entry, String),
    /// Another topology has it on loan, with a value of its own.
    Contested(&'s TopologyName, &'s Resource),
}

impl Decision<'_> {
    /// What is done to what is on loan, if it is that.
    pub(super) fn loan(&self) -> Option<&Action> {
        match self {
            Decision::Loan(action) => Some(action),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn loan_mut(&mut self) -> Option<&mut Action> {
        match self {
            Decision::Loan(action) => Some(action),
            _ => None,
        }
    }
}

/// What is to be done about each identity that one of the two States has.
pub(super) fn decide<'s>(
    topology: &TopologyName,
    desired: &'s State,
    observed: &'s State,
) -> BTreeMap<&'s Id, Decision<'s>> {
    let pairs = pairs(&desired.entries, &observed.entries);
    let decide = |(id, wanted, found): Pair<'s>| match (wanted, found) {
        (Some(entry), found) => {
            let decision = match (&entry.resource, loan::is_borrowed(id, desired)) {
                (Resource::Sysctl(wanted), true) => {
                    match (loan::rival(topology, id, wanted, observed), found) {
                        (Some(rival), Some(found)) => Decision::Contested(rival, &found.resource),
                        _ => loan::borrow(topology, id, wanted, observed, desired)
                            .map_or(Decision::Keep, |action| Decision::Loan(Box::new(action))),
                    }
                }
                (Resource::Sysctl(_), false) if loan::is_lent(topology, id, observed) => {
                    Decision::Keep
                }
                _ => wanted_one(topology, entry, found),
            };
            Some((id, decision))
        }
        // A sysctl is not a thing that is there or not.
        (None, Some(entry)) if !matches!(id.key, Key::Sysctl(_)) && entry.owner.is(topology) => {
            // One that the topology made is to be somebody else's: it can't be both.
            let decision = if id.key == Key::Namespace && desired.is_found(&id.ns) {
                Decision::Conflict(entry, &entry.resource)
            } else {
                Decision::Remove(&entry.resource)
            };
            Some((id, decision))
        }
        // Its record says that it made it: that is for a person to look at.
        (None, Some(entry)) if matches!(&entry.owner, Owner::Disputed(by) if by == topology) => {
            Some((id, Decision::Conflict(entry, &entry.resource)))
        }
        (None, _) => None,
    };
    let mut decisions: BTreeMap<&Id, Decision<'_>> = pairs.filter_map(decide).collect();
    for id in observed.loans.keys() {
        let wanted = desired.get(id).is_some() && loan::is_borrowed(id, desired);
        if !wanted && let Some(action) = loan::give_back(topology, id, observed, desired) {
            // What is no loan any more, because the link is our own now, is written as that.
            if !matches!(decisions.get(id), Some(decision) if *decision != Decision::Keep) {
                decisions.insert(id, Decision::Loan(Box::new(action)));
            }
        }
    }
    decisions
}

/// An identity, what is wanted of it, and what was found.
type Pair<'s> = (&'s Id, Option<&'s Entry>, Option<&'s Entry>);

/// All identities of two maps, in order. To walk along both is faster than to look each up.
fn pairs<'s>(
    desired: &'s BTreeMap<Id, Entry>,
    observed: &'s BTreeMap<Id, Entry>,
) -> impl Iterator<Item = Pair<'s>> {
    let mut desired = desired.iter().peekable();
    let mut observed = observed.iter().peekable();
    std::iter::from_fn(move || {
        let order = match (desired.peek(), observed.peek()) {
            (Some((wanted, _)), Some((found, _))) => wanted.cmp(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let wanted = desired.next_if(|_| order.is_le());
        let found = observed.next_if(|_| order.is_ge());
        let (id, _) = wanted.or(found)?;
        Some((id, wanted.map(|(_, w)| w), found.map(|(_, f)| f)))
    })
}

fn wanted_one<'s>(
    topology: &TopologyName,
    wanted: &'s Entry,
    found: Option<&'s Entry>,
) -> Decision<'s> {
    let goes_back = wanted.owner == Owner::Offered;
    let wanted = &wanted.resource;
    let Some(found) = found else {
        return Decision::Create(wanted);
    };
    let change = wanted.change_from(&found.resource);
    match (&found.owner, &change) {
        (Owner::Offered, Change::None | Change::Update) => {
            return Decision::Update(&found.resource, wanted);
        }
        (Owner::Topology(owner), _) if goes_back && owner == topology => {
            return Decision::Update(&found.resource, wanted);
        }
        (_, Change::None) if goes_back => return Decision::Keep,
        (_, _) if goes_back => return Decision::Update(&found.resource, wanted),
        _ => {}
    }
    let managed = match &found.owner {
        Owner::Topology(owner) => owner == topology,
        // `lo` is there from the start and is set, not made.
        Owner::Kernel => matches!(wanted, Resource::Link(_)),
        // If it would have to be made again, it is spared later.
        Owner::Offered => true,
        Owner::Foreign | Owner::Disputed(_) => false,
    };
    // A sysctl is a value, and nobody's.
    if !managed && !matches!(wanted, Resource::Sysctl(_)) {
        return Decision::Conflict(found, wanted);
    }
    match change {
        Change::None => Decision::Keep,
        Change::Update => Decision::Update(&found.resource, wanted),
        Change::Replace(why) => Decision::Replace(&found.resource, wanted, why),
    }
}

/// The conflicts that are left once it is known what goes, those in a namespace that is one itself left
/// out. A namespace's files are not in it.
pub(super) fn conflicts(
    decisions: &BTreeMap<&Id, Decision<'_>>,
    observed: &State,
) -> Vec<Conflict> {
    let stands = |ns: &Ns| {
        let id = Id::namespace(ns.clone());
        matches!(decisions.get(&id), Some(Decision::Conflict(..)))
    };
    let conflict = |id: &Id, entry: &Entry, unfit: Option<String>| Conflict {
        id: id.clone(),
        resource: entry.resource.clone(),
        owner: match &entry.owner {
            Owner::Offered => Owner::Foreign,
            owner => owner.clone(),
        },
        unfit,
    };
    let of_one = |(id, decision): (&&Id, &Decision<'_>)| match decision {
        Decision::Conflict(entry, wanted)
            if matches!(id.key, Key::Namespace | Key::File(_)) || !stands(&id.ns) =>
        {
            let why = observed.unfit.get(*id).map(|why| (*why).to_owned());
            let unfit = why.or_else(|| match wanted.change_from(&entry.resource) {
                _ if id.key == Key::Table => Some(TABLE.to_owned()),
                Change::Replace(why) => Some(why),
                Change::None | Change::Update => None,
            });
            Some(conflict(id, entry, unfit))
        }
        Decision::Unfit(entry, why) => Some(conflict(id, entry, Some(why.clone()))),
        Decision::Contested(owner, resource) => Some(Conflict {
            id: (*id).clone(),
            resource: (*resource).clone(),
            owner: Owner::Topology((*owner).clone()),
            unfit: None,
        }),
        _ => None,
    };
    decisions.iter().filter_map(of_one).collect()
}

/// Why no table of others can be taken over.
const TABLE: &str = "a table that exists can't be given the comment that says whose it is";
