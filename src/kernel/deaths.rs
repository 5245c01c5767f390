//! Removing namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use super::codec::Verdict;
use super::error::Error;
use super::execute::Failed;
use super::outbox::Outbox;
use super::space::{door_of, inode_of};
use super::{Kernel, record};
use crate::plan::{Action, Plan};
use crate::resource::name::NamespaceName;
use crate::resource::{Id, Key, Ns, Resource};

/// Removes namespaces. The links outside of them that end with them are removed first and at once,
/// because the kernel takes its time with a namespace, and their names may be needed.
pub(super) fn deaths(
    kernel: &mut Kernel,
    plan: &Plan,
    round: &[usize],
    finished: &mut Vec<usize>,
) -> Result<(), Failed> {
    let dying: BTreeMap<&Ns, usize> = round
        .iter()
        .map(|place| (&plan.operations[*place].id.ns, *place))
        .collect();
    let ends = outside_ends(plan, &dying);
    witness(kernel, plan, &dying, &ends)?;
    for (ns, ends) in ends {
        let place = ends[0].1;
        let mut leaving = Vec::new();
        let space = kernel.space(ns).map_err(Failed::at(place))?;
        for (id, place) in &ends {
            if let Key::Link(name) = &id.key
                && let Some(known) = space.links.remove(name)
                // A half-made one is known by where it leads.
                && (known.owner.as_ref() == Some(&plan.topology) || known.untagged)
            {
                leaving.push((*place, known.index));
            }
        }
        let mut outbox = Outbox::default();
        outbox.delete(&leaving);
        let socket = kernel.socket(ns).map_err(Failed::at(place))?;
        // One that is gone already is what was asked for.
        let gone = |_, verdict: &Verdict| verdict.errno == libc::ENODEV;
        let failed = outbox.send(socket, gone).map_err(Failed::at(place))?;
        if let Some((place, verdict)) = failed.into_iter().next() {
            let error = Error::refused(verdict.errno, verdict.text);
            return Err(Failed::at(place)(error));
        }
    }
    for (ns, place) in dying {
        if let Ns::Named(name) = ns {
            // A socket would keep it alive.
            kernel.spaces.remove(ns);
            kernel.put_aside(name).map_err(Failed::at(place))?;
            finished.push(place);
        }
    }
    Ok(())
}

/// The links outside of dying namespaces that the plan removes with them, by namespace, with the place
/// of the namespace's operation.
fn outside_ends<'p>(
    plan: &'p Plan,
    dying: &BTreeMap<&'p Ns, usize>,
) -> BTreeMap<&'p Ns, Vec<(&'p Id, usize)>> {
    // Also those that another round removes.
    let doomed: BTreeSet<&Ns> = plan
        .operations
        .iter()
        .filter(|operation| operation.id.key == Key::Namespace)
        .filter(|operation| matches!(operation.action, Action::Remove(_)))
        .map(|operation| &operation.id.ns)
        .collect();
    let mut ends: BTreeMap<&Ns, Vec<(&Id, usize)>> = BTreeMap::new();
    for operation in &plan.operations {
        if let Action::Remove(Resource::Link(link)) = &operation.action
            && let Some(peer) = link.peer()
            && let Some(place) = dying.get(&peer.ns)
            && !doomed.contains(&operation.id.ns)
        {
            ends.entry(&operation.id.ns)
                .or_default()
                .push((&operation.id, *place));
        }
    }
    ends
}

/// Makes sure that each namespace is the topology's. Who is inside can rewrite the tag of its `lo`, so
/// something outside must say it too: the record, or a link with our tag that leads into it.
fn witness(
    kernel: &mut Kernel,
    plan: &Plan,
    dying: &BTreeMap<&Ns, usize>,
    ends: &BTreeMap<&Ns, Vec<(&Id, usize)>>,
) -> Result<(), Failed> {
    let general = |error| Failed { place: None, error };
    let record = record::Record::read(&plan.topology).map_err(general)?;
    let mut led_into = BTreeSet::new();
    for (ns, ends) in ends {
        let space = kernel.space(ns).map_err(general)?;
        for (id, place) in ends {
            if let Key::Link(name) = &id.key
                && let Some(known) = space.links.get(name)
                && known.owner.as_ref() == Some(&plan.topology)
            {
                led_into.insert(*place);
            }
        }
    }
    for (ns, place) in dying {
        let space = kernel.space(ns).map_err(Failed::at(*place))?;
        let (inode, tagged) = (space.inode, space.owner.as_ref() == Some(&plan.topology));
        let door = door_of(&kernel.doors, ns).map_err(Failed::at(*place))?;
        if inode_of(door.as_fd()).map_err(Failed::at(*place))? != inode {
            let what = format!("the namespace that was called {ns}");
            return Err(Failed::at(*place)(Error::Missing { what }));
        }
        let outside = led_into.contains(place)
            || ns
                .name()
                .is_some_and(|name| record.namespaces.contains(name));
        if !tagged || !outside {
            let name = ns.name().map(NamespaceName::to_string).unwrap_or_default();
            let topology = plan.topology.clone();
            return Err(Failed::at(*place)(Error::Unwitnessed { name, topology }));
        }
    }
    Ok(())
}
