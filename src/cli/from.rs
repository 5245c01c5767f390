//! `plan --from`: from one spec to another, without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::plan::Outcome;
use super::session::{self, Given};
use super::{Status, conflict, output, source};
use crate::plan;
use crate::resource::name::TopologyName;
use crate::spec;
use crate::spec::lower::assumed;
use crate::spec::source::Source;
use crate::state::{Facts, State};

/// The specs in some files. A file with nothing in it is of no topology.
pub(super) fn parse(files: &[PathBuf]) -> Result<Vec<Given>, Status> {
    let sources = source::read(files).map_err(|message| {
        output::error(&message);
        Status::Failed
    })?;
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

/// What would be done on a host that is as some files say, for what is given, and for the topologies that a directory
/// doesn't have any more.
pub(super) fn outcomes(
    given: &[Given],
    from: &[PathBuf],
    directory: Option<&Path>,
) -> Result<Vec<Outcome>, Status> {
    let old = parse(from)?;
    let facts = assumed::facts(old.iter().chain(given).map(|one| &one.spec));
    let there = lowered(&old, &facts)?;
    let wanted = lowered(given, &facts)?;
    let states: Vec<&State> = wanted.values().map(|one| &one.state).collect();
    let named = there.iter();
    let named: Vec<(TopologyName, State)> = named
        .map(|(name, one)| (name.clone(), one.state.clone()))
        .collect();
    let world = assumed::world(&named, &states, &facts);
    let derived: BTreeSet<_> = there
        .iter()
        .chain(&wanted)
        .flat_map(|(name, one)| assumed::derived(name, &one.state, &facts))
        .collect();
    let gone = there.keys().filter(|name| !wanted.contains_key(*name));
    let gone: Vec<&TopologyName> = gone.filter(|_| directory.is_some()).collect();
    let mut outcomes = Vec::new();
    // In the order of the files.
    let names = given.iter().map(|one| &one.spec.name.value);
    for topology in names.chain(gone) {
        let nothing = spec::lower::Lowered {
            state: State::new(),
            warnings: Vec::new(),
        };
        let lowered = wanted.get(topology);
        let spec::lower::Lowered { state, warnings } = lowered.unwrap_or(&nothing);
        let mut plan = plan::plan(topology, state, &world)
            .map_err(|conflicts| stands(&conflicts, topology, given))?;
        plan.warnings.extend(warnings.iter().cloned());
        outcomes.push(Outcome {
            plan,
            desired: state.clone(),
            observed: world.clone(),
            renamed: None,
            drift: None,
            of_specs: true,
            derived: derived.clone(),
            pruned_from: lowered
                .is_none()
                .then_some(directory)
                .flatten()
                .map(Path::to_owned),
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
