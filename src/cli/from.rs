//! `plan --from`: from one spec to another, or on a host of which there is a snapshot, without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ground::{self, Ground};
use super::plan::Outcome;
use super::session::{self, Given, Takeover};
use super::{Status, conflict, output, source};
use crate::kernel::{Error, Snapshot};
use crate::plan;
use crate::resource::Id;
use crate::resource::name::TopologyName;
use crate::spec;
use crate::spec::lower::assumed;
use crate::spec::source::Source;
use crate::state::{Facts, State};

/// What is planned from.
pub(super) enum Old {
    Specs(Vec<Given>),
    Snapshot(Box<Snapshot>),
}

/// What is in the files of `--from`.
pub(super) fn read(files: &[PathBuf]) -> Result<Old, Status> {
    let sources = sources(files)?;
    let is_snapshot = |source: &Source| Snapshot::is_one(&source.text);
    match sources.as_slice() {
        [one] if is_snapshot(one) => match Snapshot::parse(&one.text) {
            Ok(snapshot) => Ok(Old::Snapshot(Box::new(snapshot))),
            Err(why) => {
                output::error(&format!("{} {why}", one.name));
                Err(Status::Failed)
            }
        },
        several if several.iter().any(is_snapshot) => {
            output::error(
                "a snapshot is all of a host: `--from` takes one, and nothing beside it\n  \
                 plan from the specs of before, or from the snapshot",
            );
            Err(Status::Usage)
        }
        _ => specs(sources).map(Old::Specs),
    }
}

fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Status> {
    source::read(files).map_err(|message| {
        output::error(&message);
        Status::Failed
    })
}

/// The specs in some files. A file with nothing in it is of no topology.
pub(super) fn parse(files: &[PathBuf]) -> Result<Vec<Given>, Status> {
    specs(sources(files)?)
}

fn specs(sources: Vec<Source>) -> Result<Vec<Given>, Status> {
    let sources: Vec<Source> = sources.into_iter().filter(says_something).collect();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let topologies = spec::topologies(sources);
    topologies.into_iter().map(session::parse_one).collect()
}

/// Whether a file has anything but comments in it.
fn says_something(source: &Source) -> bool {
    let mut lines = source.text.lines().map(str::trim);
    lines.any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What would be done on a host that was seen to be as a snapshot says, for what is given, and for the topologies that a
/// directory doesn't have any more.
pub(super) fn of_snapshot(
    given: &[Given],
    snapshot: &mut Snapshot,
    takeover: &Takeover,
    directory: Option<&Path>,
) -> Vec<Result<Outcome, Status>> {
    let mut gone = snapshot.topologies();
    let mut outcomes = Vec::new();
    for one in given {
        gone.remove(&one.spec.name.value);
        outcomes.push(on(snapshot, one, takeover));
    }
    for topology in gone.into_iter().filter(|_| directory.is_some()) {
        let takeover = Takeover::default();
        let planned = ground::plan(snapshot, &topology, &State::new(), &takeover, &|_| None);
        outcomes.push(planned.map(|(observed, plan)| Outcome {
            pruned_from: directory.map(Path::to_owned),
            ..Outcome::on_host(plan, State::new(), observed)
        }));
    }
    outcomes
}

/// What would be done for a spec.
fn on(snapshot: &mut Snapshot, given: &Given, takeover: &Takeover) -> Result<Outcome, Status> {
    let topology = &given.spec.name.value;
    let facts = Ground::facts(snapshot, &given.spec, topology);
    let facts = facts.map_err(|error| match error {
        Error::NoExternal {
            name,
            path: Some(path),
        } => {
            output::error(&format!(
                "external namespace `{name}` isn't in the snapshot: of {} it has none. A snapshot has the namespaces \
                 of /run/netns, and where a topology is in others already, those\n  \
                 plan on the host itself, or take the snapshot after the first `netform apply`",
                path.display()
            ));
            Status::Failed
        }
        error => session::failed(&error),
    })?;
    let lowered = spec::lower(&given.spec, &facts)
        .map_err(|found| session::report(&found, &given.sources))?;
    let place = |id: &Id| given.place_of(id);
    let (observed, mut plan) = ground::plan(snapshot, topology, &lowered.state, takeover, &place)?;
    plan.warnings.extend(lowered.warnings);
    Ok(Outcome::on_host(plan, lowered.state, observed))
}

/// What would be done on a host that is as some specs say, for what is given, and for the topologies that a directory
/// doesn't have any more.
pub(super) fn outcomes(
    given: &[Given],
    old: &[Given],
    directory: Option<&Path>,
) -> Result<Vec<Outcome>, Status> {
    let facts = assumed::facts(old.iter().chain(given).map(|one| &one.spec));
    let there = lowered(old, &facts)?;
    let mut wanted = lowered(given, &facts)?;
    let states: Vec<&State> = wanted.values().map(|one| &one.state).collect();
    let named: Vec<(&TopologyName, &State)> =
        there.iter().map(|(name, one)| (name, &one.state)).collect();
    let world = Rc::new(assumed::world(&named, &states, &facts));
    let derived = there.iter().chain(&wanted);
    let derived: BTreeSet<_> = derived
        .flat_map(|(name, one)| assumed::derived(name, &one.state, &facts))
        .collect();
    let derived = Rc::new(derived);
    let gone = there.keys().filter(|name| !wanted.contains_key(*name));
    let gone: Vec<&TopologyName> = gone.filter(|_| directory.is_some()).collect();
    let mut outcomes = Vec::new();
    // In the order of the files.
    let names = given.iter().map(|one| &one.spec.name.value);
    for topology in names.chain(gone) {
        let lowered = wanted.remove(topology);
        let pruned_from = directory.filter(|_| lowered.is_none()).map(Path::to_owned);
        let (desired, warnings) = lowered
            .map(|lowered| (lowered.state, lowered.warnings))
            .unwrap_or_default();
        let mut plan = plan::plan(topology, &desired, &world)
            .map_err(|conflicts| stands(&conflicts, topology, given))?;
        plan.warnings.extend(warnings);
        outcomes.push(Outcome {
            plan,
            desired,
            observed: Rc::clone(&world),
            renamed: None,
            drift: None,
            of_specs: true,
            derived: Rc::clone(&derived),
            pruned_from,
        });
    }
    Ok(outcomes)
}

type All = BTreeMap<TopologyName, spec::lower::Lowered>;

fn lowered(given: &[Given], facts: &Facts) -> Result<All, Status> {
    let mut all = Ok(All::new());
    for one in given {
        match (spec::lower(&one.spec, facts), &mut all) {
            (Ok(lowered), Ok(all)) => {
                all.insert(one.spec.name.value.clone(), lowered);
            }
            (Ok(_), Err(_)) => {}
            (Err(found), _) => all = Err(session::report(&found, &one.sources)),
        }
    }
    all
}

/// Prints what two topologies both want.
fn stands(conflicts: &[plan::Conflict], topology: &TopologyName, given: &[Given]) -> Status {
    let mut given = given.iter();
    let one = given.find(|one| one.spec.name.value == *topology);
    for conflict in conflicts {
        let place = one.and_then(|one| one.place_of(&conflict.id));
        let text = conflict::text(conflict, None, topology, place.as_deref());
        output::error(&text);
    }
    Status::Failed
}
