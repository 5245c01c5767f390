//! What `plan`, `apply` and `destroy` share: from files to a plan against this host.

use super::source::Files;
use super::{Status, conflict, output};
use crate::kernel::{Kernel, Lock};
use crate::plan::{self, Conflict, Plan};
use crate::render::phrase;
use crate::resource::Id;
use crate::resource::name::TopologyName;
use crate::spec::{self, Spec};
use crate::state::State;

/// The spec in some files. What is wrong with it is printed.
pub(super) fn parse(files: &Files) -> Result<Spec, Status> {
    let sources = files.read().map_err(|message| {
        output::error(&message);
        Status::Failed
    })?;
    spec::parse(&sources).map_err(|diagnostics| report(&diagnostics, &sources))
}

/// Prints what is wrong with a spec.
fn report(
    diagnostics: &[spec::diagnostic::Diagnostic],
    sources: &[spec::source::Source],
) -> Status {
    let colour = output::colour_of_stderr();
    let texts: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render(sources, colour))
        .collect();
    output::remark(&texts.join("\n"));
    Status::Failed
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To look: others may change the host meanwhile.
    Read,
    /// To change the host: one at a time.
    Change,
}

/// What a topology wants, the host as it was read, and the way from one to the other.
pub(super) struct Session {
    /// Keeps other changes out while the session lives.
    _lock: Option<Lock>,
    pub(super) kernel: Kernel,
    pub(super) topology: TopologyName,
    pub(super) desired: State,
    pub(super) observed: State,
    pub(super) plan: Plan,
}

impl Session {
    /// Of the spec in some files.
    pub(super) fn of_spec(files: &Files, access: Access) -> Result<Session, Status> {
        let sources = files.read().map_err(|message| {
            output::error(&message);
            Status::Failed
        })?;
        let spec = spec::parse(&sources).map_err(|found| report(&found, &sources))?;
        let (mut kernel, lock) = open(access)?;
        let mut facts = kernel
            .facts(&spec.external())
            .map_err(|error| failed(&error))?;
        let topology = &spec.name.value;
        kernel
            .ports(topology, &spec.publishes_in(), &mut facts)
            .map_err(|error| failed(&error))?;
        if spec.has_gateways() || spec.has_bridges() && facts.has_frames() {
            kernel.look_at_firewalls(&mut facts);
        }
        let lowered = spec::lower(&spec, &facts).map_err(|found| report(&found, &sources))?;
        let topology = spec.name.value.clone();
        let place = |id: &Id| {
            let span = spec.place_of(id)?;
            let source = &sources[span.source];
            let (line, column) = source.position(span.start);
            Some(format!("{}:{line}:{column}", source.name))
        };
        let mut session = Session::between(kernel, lock, topology, lowered.state, &place)?;
        session.plan.warnings.extend(lowered.warnings);
        Ok(session)
    }

    /// Of a topology that is to own nothing any more.
    pub(super) fn of_nothing(topology: TopologyName) -> Result<Session, Status> {
        let (kernel, lock) = open(Access::Change)?;
        Session::between(kernel, lock, topology, State::new(), &|_| None)
    }

    fn between(
        mut kernel: Kernel,
        lock: Option<Lock>,
        topology: TopologyName,
        desired: State,
        place: &dyn Fn(&Id) -> Option<String>,
    ) -> Result<Session, Status> {
        let observed = kernel
            .observe(&topology, &desired)
            .map_err(|error| failed(&error))?;
        let missing = plan::missing(&desired, &observed);
        for id in &missing {
            output::error(&format!(
                "there is no {}: the name may be wrong, or the kernel's module not loaded",
                phrase::located(id, &topology)
            ));
        }
        if !missing.is_empty() {
            return Err(Status::Failed);
        }
        let mut plan = plan::plan(&topology, &desired, &observed)
            .map_err(|conflicts| tell_of(&mut kernel, &conflicts, &topology, place))?;
        let lacking = kernel.lacking(&plan);
        for (place, error) in &lacking {
            let what = phrase::located(&plan.operations[*place].id, &topology);
            output::error(&format!("{what} isn't possible on this machine: {error}"));
        }
        if !lacking.is_empty() {
            return Err(Status::Failed);
        }
        plan.warnings
            .extend(plan::lost(&topology, &desired, &observed));
        Ok(Session {
            _lock: lock,
            kernel,
            topology,
            desired,
            observed,
            plan,
        })
    }
}

/// Prints what stands in the way, all of it.
fn tell_of(
    kernel: &mut Kernel,
    conflicts: &[Conflict],
    topology: &TopologyName,
    place: &dyn Fn(&Id) -> Option<String>,
) -> Status {
    let seem = match kernel.provenances(conflicts) {
        Ok(seem) => seem,
        Err(error) => return failed(&error),
    };
    for (conflict, provenance) in conflicts.iter().zip(&seem) {
        let place = place(&conflict.id);
        let text = conflict::text(conflict, provenance.as_ref(), topology, place.as_deref());
        output::error(&text);
    }
    if conflicts.len() > 1 {
        output::remark(&format!(
            "{} things stand in the way: nothing was changed.\n",
            conflicts.len()
        ));
    }
    Status::Failed
}

fn open(access: Access) -> Result<(Kernel, Option<Lock>), Status> {
    let kernel = Kernel::open().map_err(|error| failed(&error))?;
    let lock = match access {
        Access::Read => None,
        Access::Change => Some(kernel.lock().map_err(|error| failed(&error))?),
    };
    Ok((kernel, lock))
}

/// Prints why the kernel couldn't be read.
pub(super) fn failed(error: &crate::kernel::Error) -> Status {
    output::error(&error.to_string());
    Status::Failed
}
