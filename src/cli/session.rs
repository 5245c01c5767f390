//! What `plan`, `apply` and `destroy` share: from files to a plan against this host.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ground::{self, Ground};
use super::source::Files;
use super::{Status, completions, output};
use crate::kernel::{self, Kernel, Lock};
use crate::plan::{self, Conflict, Plan};
use crate::resource::Id;
use crate::resource::name::TopologyName;
use crate::spec::model::Check;
use crate::spec::source::Source;
use crate::spec::{self, Spec};
use crate::state::{Facts, State};

/// The spec of a topology, and the files that it stands in.
pub(super) struct Given {
    pub(super) sources: Vec<Source>,
    pub(super) spec: Spec,
}

impl Given {
    /// Where the files say something, for a message.
    pub(super) fn place_of(&self, id: &Id) -> Option<String> {
        let span = self.spec.place_of(id)?;
        let source = &self.sources[span.source];
        let (line, column) = source.position(span.start);
        Some(format!("{}:{line}:{column}", source.name))
    }
}

/// The specs in some files, one for each topology. What is wrong with any is printed, and then there is none.
pub(super) fn parse(files: &Files) -> Result<Vec<Given>, Status> {
    let sources = files.read().map_err(|message| {
        output::error(&message);
        Status::Failed
    })?;
    let mut all = Ok(Vec::new());
    for sources in spec::topologies(sources) {
        match (parse_one(sources), &mut all) {
            (Ok(one), Ok(given)) => given.push(one),
            (Ok(_), Err(_)) => {}
            (Err(status), _) => all = Err(status),
        }
    }
    all
}

/// The spec of one topology. What is wrong with it is printed.
pub(super) fn parse_one(sources: Vec<Source>) -> Result<Given, Status> {
    match spec::parse(&sources) {
        Ok(spec) => Ok(Given { sources, spec }),
        Err(found) => Err(report(&found, &sources)),
    }
}

/// Prints what is wrong with a spec.
pub(super) fn report(
    diagnostics: &[spec::diagnostic::Diagnostic],
    sources: &[spec::source::Source],
) -> Status {
    let colour = output::colour_of_stderr();
    let mut texts: Vec<String> = diagnostics
        .iter()
        .take(TOLD)
        .map(|diagnostic| diagnostic.render(sources, colour))
        .collect();
    if let Some(more @ 1..) = diagnostics.len().checked_sub(TOLD) {
        texts.push(format!("… and {more} more\n"));
    }
    output::remark(&texts.join("\n"));
    Status::Failed
}

/// How many errors are told in full: where there are hundreds, they mostly have one reason.
pub(super) const TOLD: usize = 20;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To look: others may change the host meanwhile.
    Read,
    /// To change the host: one at a time, and so long is waited for another that does.
    Change(Duration),
}

/// What is taken over of what others made.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Takeover {
    /// Take over what stands in the way, belongs to no topology, and can be changed in place
    #[arg(long)]
    pub(super) adopt: bool,

    /// Rename topology OLD to the one of the spec: all that it has becomes this one's, and stays as it is
    #[arg(long, value_name = "OLD", add = completions::topologies())]
    pub(super) adopt_from: Option<TopologyName>,
}

impl Takeover {
    /// That a topology is renamed to one, and not to several.
    pub(super) fn fits(&self, given: &[Given]) -> Result<(), Status> {
        if let (Some(old), [_, _, ..]) = (&self.adopt_from, given) {
            let names: Vec<&str> = given
                .iter()
                .map(|one| one.spec.name.value.as_str())
                .collect();
            output::error(&format!(
                "`--adopt-from {old}` renames one topology, and the files are of several: {}\n  \
                 give the files of one only",
                names.join(", ")
            ));
            return Err(Status::Usage);
        }
        Ok(())
    }
}

/// What a topology wants, the host as it was read, and the way from one to the other.
pub(super) struct Session {
    /// Keeps other changes out while the session lives.
    pub(super) lock: Option<Lock>,
    pub(super) kernel: Kernel,
    pub(super) topology: TopologyName,
    pub(super) desired: State,
    pub(super) observed: State,
    pub(super) plan: Plan,
    /// The name that the topology has until it is renamed.
    pub(super) renamed: Option<TopologyName>,
    /// What is tried once all is done: the checks of the spec, unless nobody asks for that.
    pub(super) checks: Vec<Check>,
    /// Whether it is said of those that aren't as expected what stops them.
    pub(super) explains: bool,
    /// Whether it takes over what others made.
    adopts: bool,
    /// What the spec was lowered with.
    facts: Facts,
}

impl Session {
    /// Of a spec.
    pub(super) fn of_spec(
        given: &Given,
        takeover: &Takeover,
        access: Access,
    ) -> Result<Session, Status> {
        let Given { sources, spec } = given;
        let (mut kernel, lock) = open(access)?;
        if let Some(old) = &takeover.adopt_from {
            if *old == spec.name.value {
                output::error(&format!(
                    "the spec is of topology {old} itself: `--adopt-from` takes the name that it had before"
                ));
                return Err(Status::Failed);
            }
            let renamed = kernel.intend_to_rename(old, &spec.name.value);
            renamed.map_err(|error| failed(&error))?;
        }
        // What is published under its old name is its own.
        let published = takeover.adopt_from.as_ref().unwrap_or(&spec.name.value);
        let facts = Ground::facts(&mut kernel, spec, published).map_err(|error| failed(&error))?;
        let lowered = spec::lower(spec, &facts).map_err(|found| report(&found, sources))?;
        let topology = spec.name.value.clone();
        let place = |id: &Id| given.place_of(id);
        let mut session =
            Session::between(kernel, lock, topology, lowered.state, takeover, &place)?;
        session.facts = facts;
        session.checks.clone_from(&spec.checks);
        session.plan.warnings.extend(lowered.warnings);
        Ok(session)
    }

    /// What of the plan mends what differs from an earlier spec too, one of those given.
    pub(super) fn drift_since(&self, previous: &[Given]) -> Result<BTreeSet<Id>, Status> {
        let mut previous = previous.iter();
        let Some(given) = previous.find(|one| one.spec.name.value == self.topology) else {
            return Ok(BTreeSet::new());
        };
        let lowered = spec::lower(&given.spec, &self.facts)
            .map_err(|found| report(&found, &given.sources))?;
        Ok(plan::drift(&self.plan, &lowered.state, &self.desired))
    }

    /// Observes and plans again, the topology having its new name.
    pub(super) fn observe_again(&mut self) -> Result<(), Status> {
        let planned = self.plan_anew().map_err(|error| failed(&error))?;
        planned.map_err(|conflicts| {
            ground::tell_of(&mut self.kernel, &conflicts, &self.topology, &|_| None)
        })
    }

    /// The same, in silence, while an apply is on its way. Whether there is a plan.
    pub(super) fn plan_again(&mut self) -> bool {
        matches!(self.plan_anew(), Ok(Ok(())))
    }

    /// Observes and plans again. The inner error is what stands in the way.
    fn plan_anew(&mut self) -> Result<Result<(), Vec<Conflict>>, kernel::Error> {
        self.observed = self.kernel.observe(&self.topology, &self.desired)?;
        if self.adopts {
            plan::offer(&self.topology, &self.desired, &mut self.observed);
        }
        let plan = plan::plan(&self.topology, &self.desired, &self.observed);
        Ok(plan.map(|plan| self.plan = plan))
    }

    /// Of a topology that is to own nothing any more.
    pub(super) fn of_nothing(topology: TopologyName, access: Access) -> Result<Session, Status> {
        let (kernel, lock) = open(access)?;
        let takeover = Takeover::default();
        Session::between(kernel, lock, topology, State::new(), &takeover, &|_| None)
    }

    fn between(
        mut kernel: Kernel,
        lock: Option<Lock>,
        topology: TopologyName,
        desired: State,
        takeover: &Takeover,
        place: &dyn Fn(&Id) -> Option<String>,
    ) -> Result<Session, Status> {
        let (observed, plan) = ground::plan(&mut kernel, &topology, &desired, takeover, place)?;
        Ok(Session {
            lock,
            kernel,
            topology,
            desired,
            observed,
            plan,
            renamed: takeover.adopt_from.clone(),
            checks: Vec::new(),
            explains: false,
            adopts: takeover.adopt,
            facts: Facts::default(),
        })
    }
}

fn open(access: Access) -> Result<(Kernel, Option<Lock>), Status> {
    let mut kernel = Kernel::open().map_err(|error| failed(&error))?;
    let lock = match access {
        Access::Read => None,
        Access::Change(patience) => {
            kernel.begin_to_change();
            let lock = kernel.lock_within(patience);
            Some(lock.map_err(|error| failed(&error))?)
        }
    };
    Ok((kernel, lock))
}

/// Prints why the kernel couldn't be read.
pub(super) fn failed(error: &kernel::Error) -> Status {
    output::error(&error.to_string());
    Status::Failed
}
