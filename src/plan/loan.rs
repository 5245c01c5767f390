//! Sysctls of the host and of external namespaces: borrowed for as long as a topology needs them, then given back.

use std::collections::BTreeMap;

use super::decide::Decision;
use super::fall::written;
use super::{Action, Stays};
use crate::resource::link::bridge;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Loan, Owner, State};

/// Whether a sysctl is one of a namespace that others make, and not of a link that the topology makes.
pub(super) fn is_borrowed(id: &Id, desired: &State) -> bool {
    let found = desired.is_found(&id.ns);
    match &id.key {
        Key::Sysctl(SysctlKey::Global(_)) => found,
        Key::Sysctl(SysctlKey::Conf { link, .. }) => {
            found
                && desired
                    .get(&Id::link(id.ns.clone(), link.clone()))
                    .is_none()
        }
        _ => false,
    }
}

/// The value of a sysctl as it was read.
pub(super) fn value<'s>(state: &'s State, id: &Id) -> Option<&'s str> {
    match state.get(id).map(|entry| &entry.resource) {
        Some(Resource::Sysctl(sysctl)) => Some(&sysctl.value),
        _ => None,
    }
}

/// What it takes for a sysctl on loan to be as wanted. None: nothing.
pub(super) fn borrow(
    topology: &TopologyName,
    id: &Id,
    wanted: &Sysctl,
    observed: &State,
    desired: &State,
) -> Option<Action> {
    let current = value(observed, id).unwrap_or_default();
    let before = Sysctl {
        value: current.into(),
    };
    let after = wanted.clone();
    let loan = observed.loans.get(id);
    if loan.is_some_and(|loan| loan.by.contains_key(topology)) {
        let (before, after) = (Resource::Sysctl(before), Resource::Sysctl(after));
        return (before != after).then_some(Action::Update { before, after });
    }
    let had = desired.loans.get(id).and_then(|loan| loan.by.get(topology));
    let original = match (
        loan.and_then(|loan| loan.by.values().next()).or(had),
        thrown(id, observed),
    ) {
        (Some(original), _) => original.clone(),
        // It is on only because another topology threw the switch for all.
        (None, Some(loan)) if !loan.links.contains(id.key.of_link()?) => "0".to_owned(),
        _ if before == after && !is_overwritten(id, observed, desired) => return None,
        // Giving the switch back was cut off before it came to this link, which was on by its own right.
        (None, Some(_)) if switch_is_off(id, observed) => "1".to_owned(),
        _ => current.to_owned(),
    };
    Some(Action::Borrow {
        before,
        after,
        original,
    })
}

/// Whether it is another sysctl of the plan that writes this one: what it was must be known even where it
/// is as wanted.
fn is_overwritten(id: &Id, observed: &State, desired: &State) -> bool {
    let switch = Id::new(
        id.ns.clone(),
        Key::Sysctl(SysctlKey::forwarding(Family::Ipv4)),
    );
    id.key == Key::Sysctl(SysctlKey::redirects())
        && value(desired, &switch).is_some_and(|wanted| Some(wanted) != value(observed, &switch))
}

/// The value that a topology has set a sysctl on loan to.
fn lent<'l>(loan: &'l Loan, topology: &TopologyName, key: &SysctlKey) -> &'l str {
    loan.lent.get(topology).map_or(key.lent(), String::as_str)
}

/// Whether another topology has a sysctl on loan, and it is as that needs it. If it is one of a link of ours, as
/// which the other leaves by, it is given back as we had it.
pub(super) fn is_lent(topology: &TopologyName, id: &Id, observed: &State) -> bool {
    let Key::Sysctl(key) = &id.key else {
        return false;
    };
    observed.loans.get(id).is_some_and(|loan| {
        let mut others = loan.by.keys().filter(|other| *other != topology);
        others.any(|other| value(observed, id) == Some(lent(loan, other, key)))
    })
}

/// Another topology that has a sysctl on loan with another value than this one wants, or that makes the
/// namespace and says so there.
pub(super) fn rival<'s>(
    topology: &TopologyName,
    id: &Id,
    wanted: &Sysctl,
    observed: &'s State,
) -> Option<&'s TopologyName> {
    let Key::Sysctl(key) = &id.key else {
        return None;
    };
    if let Some(loan) = observed.loans.get(id) {
        let mut others = loan.by.keys().filter(|other| *other != topology);
        let rival = others.find(|other| lent(loan, other, key) != wanted.value);
        if rival.is_some() {
            return rival;
        }
    }
    // Who makes a namespace always says whether it forwards.
    match observed.get(&Id::namespace(id.ns.clone()))?.owner {
        Owner::Topology(ref owner)
            if owner != topology
                && key.switch().is_some()
                && value(observed, id) != Some(&wanted.value) =>
        {
            Some(owner)
        }
        _ => None,
    }
}

/// What it takes to give a sysctl back. None: the topology has it not on loan, or it stays on loan because
/// the topology has all of the namespace forward: when it gives that back, it gives this back too.
pub(super) fn give_back(
    topology: &TopologyName,
    id: &Id,
    observed: &State,
    desired: &State,
) -> Option<Action> {
    let Key::Sysctl(key) = &id.key else {
        return None;
    };
    let loan = observed.loans.get(id)?;
    let original = loan.by.get(topology)?;
    let other = loan.by.keys().find(|other| *other != topology);
    let current = value(observed, id);
    if current == Some(lent(loan, topology, key)) && forwards_all(&id.ns, key, desired) {
        return None;
    }
    let stays = match (other, current) {
        (Some(other), _) => Some(Stays::Borrowed(other.clone())),
        (None, None) => Some(Stays::Gone),
        (None, Some(current)) if current != lent(loan, topology, key) => Some(Stays::Changed),
        (None, Some(_)) => relied(topology, (&id.ns, key), observed),
    };
    let before = Sysctl {
        value: current.unwrap_or(original).into(),
    };
    let after = match &stays {
        Some(_) => before.clone(),
        None => Sysctl {
            value: original.into(),
        },
    };
    Some(Action::GiveBack {
        before,
        after,
        stays,
    })
}

/// Has what is borrowed and given back of links begin with what a switch that is given back leaves them.
pub(super) fn follow_switches(decisions: &mut BTreeMap<&Id, Decision<'_>>) {
    let switches = decisions.iter().filter_map(|(id, decision)| {
        let Key::Sysctl(key) = &id.key else {
            return None;
        };
        let given_back = matches!(decision.loan(), Some(Action::GiveBack { .. }));
        let left = written(decision).filter(|_| given_back)?;
        Some((&id.ns, key.switch()?, left.to_owned()))
    });
    let switches: Vec<(&Ns, Family, String)> = switches.collect();
    for (ns, family, left) in switches {
        for (id, decision) in decisions.iter_mut() {
            let redirects = SysctlKey::redirects();
            if let Some(left) = SysctlKey::forwarding(family).writes(&left, &redirects)
                && id.key == Key::Sysctl(redirects)
                && let Some(Action::GiveBack {
                    before,
                    after,
                    stays: None,
                }) = decision.loan_mut()
                && after.value != left
            {
                before.value = left.into();
            }
            let of_link = matches!(&id.key, Key::Sysctl(key)
                if key.forwarding_of_link() == Some(family)
                    || family == Family::Ipv6 && left == "0" && key.is_forced());
            if id.ns == *ns
                && of_link
                && let Some(Action::Borrow { before, .. } | Action::GiveBack { before, .. }) =
                    decision.loan_mut()
            {
                before.value = left.as_str().into();
            }
        }
    }
}

/// Whether a topology has all of a namespace forward what a sysctl has one link forward.
fn forwards_all(ns: &Ns, key: &SysctlKey, desired: &State) -> bool {
    key.forwarding_of_link().is_some_and(|family| {
        let switch = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(family)));
        value(desired, &switch).is_some_and(|value| value != "0")
    })
}

/// What relies on a value that could be given back. A link's forwarding stays on while all of its namespace
/// forwards, and not for the sake of this topology's switch, which goes too. The switch of IPv4, and what goes
/// with it, stays while there are the networks of programs that throw it themselves, where they find it off.
fn relied(
    topology: &TopologyName,
    (ns, key): (&Ns, &SysctlKey),
    observed: &State,
) -> Option<Stays> {
    let needed = |family| {
        let bridge = bridge_of_engine(ns, observed).filter(|_| family == Family::Ipv4);
        bridge.cloned().map(Stays::Needed)
    };
    if let Some(family) = key.switch() {
        return needed(family);
    }
    if *key == SysctlKey::redirects() {
        let switch = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(Family::Ipv4)));
        return needed(Family::Ipv4).filter(|_| value(observed, &switch) != Some("0"));
    }
    let family = key.forwarding_of_link()?;
    let switch = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(family)));
    if value(observed, &switch).is_none_or(|value| value == "0") {
        return None;
    }
    let ours_alone = observed
        .loans
        .get(&switch)
        .is_some_and(|loan| loan.by.len() == 1 && loan.by.contains_key(topology));
    if ours_alone {
        needed(family)
    } else {
        Some(Stays::Relied)
    }
}

/// What the names of bridges begin with that Docker, Podman, libvirt, LXD and LXC make: each of these switches
/// forwarding on when it starts, unless it is on already.
const ENGINES: [&str; 6] = ["docker0", "podman", "virbr", "lxdbr", "incusbr", "lxcbr"];

/// A bridge of such a program.
fn bridge_of_engine<'s>(ns: &Ns, observed: &'s State) -> Option<&'s LinkName> {
    observed.entries.iter().find_map(|(id, entry)| {
        let (Key::Link(name), Resource::Link(link)) = (&id.key, &entry.resource) else {
            return None;
        };
        let theirs =
            id.ns == *ns && entry.owner == Owner::Foreign && link.kind.name() == bridge::NAME;
        let named = ENGINES.iter().any(|start| name.as_str().starts_with(start));
        (theirs && named).then_some(name)
    })
}

/// Whether the switch over a link's forwarding is off.
fn switch_is_off(id: &Id, observed: &State) -> bool {
    let Key::Sysctl(key) = &id.key else {
        return false;
    };
    key.forwarding_of_link().is_some_and(|family| {
        let switch = Id::new(id.ns.clone(), Key::Sysctl(SysctlKey::forwarding(family)));
        value(observed, &switch) == Some("0")
    })
}

/// The loan of the switch that wrote a link's forwarding, if it is on loan.
fn thrown<'s>(id: &Id, observed: &'s State) -> Option<&'s Loan> {
    let Key::Sysctl(key) = &id.key else {
        return None;
    };
    let switch = SysctlKey::forwarding(key.forwarding_of_link()?);
    observed
        .loans
        .get(&Id::new(id.ns.clone(), Key::Sysctl(switch)))
        .filter(|loan| !loan.by.is_empty())
}
