//! What a plan is made against: this host, or a snapshot of one.

use super::session::{self, Takeover, failed};
use super::{Status, conflict, output};
use crate::kernel::{self, Kernel, Provenance, Snapshot};
use crate::plan::{self, Conflict, Plan, Warning};
use crate::render::phrase;
use crate::resource::Id;
use crate::resource::name::TopologyName;
use crate::spec::Spec;
use crate::state::{Facts, State};

/// What a plan is made against.
pub(super) trait Ground {
    /// What lowering must know for a spec, whose publications are under the name of a topology.
    fn facts(&mut self, spec: &Spec, published: &TopologyName) -> Result<Facts, kernel::Error>;

    /// What a topology concerns.
    fn observe(&mut self, topology: &TopologyName, desired: &State)
    -> Result<State, kernel::Error>;

    /// Whose the things seem to be that stand in the way.
    fn provenances(
        &mut self,
        conflicts: &[Conflict],
    ) -> Result<Vec<Option<Provenance>>, kernel::Error>;

    /// What to say of the processes in namespaces that go.
    fn inmates(&self, plan: &Plan) -> Result<Vec<Warning>, kernel::Error>;

    /// What isn't possible there, each with the place of the operation.
    fn lacking(&self, plan: &Plan) -> Vec<(usize, kernel::Error)>;
}

impl Ground for Kernel {
    fn facts(&mut self, spec: &Spec, published: &TopologyName) -> Result<Facts, kernel::Error> {
        let mut facts = self.facts(&spec.external())?;
        self.ports(published, &spec.publishes_in(), &mut facts)?;
        if meets_firewalls(spec, &facts) {
            self.look_at_firewalls(&mut facts);
        }
        Ok(facts)
    }

    fn observe(
        &mut self,
        topology: &TopologyName,
        desired: &State,
    ) -> Result<State, kernel::Error> {
        self.observe(topology, desired)
    }

    fn provenances(
        &mut self,
        conflicts: &[Conflict],
    ) -> Result<Vec<Option<Provenance>>, kernel::Error> {
        self.provenances(conflicts)
    }

    fn inmates(&self, plan: &Plan) -> Result<Vec<Warning>, kernel::Error> {
        self.inmates(plan)
    }

    fn lacking(&self, plan: &Plan) -> Vec<(usize, kernel::Error)> {
        self.lacking(plan)
    }
}

impl Ground for Snapshot {
    fn facts(&mut self, spec: &Spec, published: &TopologyName) -> Result<Facts, kernel::Error> {
        let mut facts = self.facts(&spec.external())?;
        self.ports(published, &spec.publishes_in(), &mut facts);
        if meets_firewalls(spec, &facts) {
            self.look_at_firewalls(&mut facts);
        }
        Ok(facts)
    }

    fn observe(
        &mut self,
        topology: &TopologyName,
        desired: &State,
    ) -> Result<State, kernel::Error> {
        self.observe(topology, desired)
    }

    /// Which program made something is not in a snapshot.
    fn provenances(
        &mut self,
        conflicts: &[Conflict],
    ) -> Result<Vec<Option<Provenance>>, kernel::Error> {
        Ok(conflicts.iter().map(|_| None).collect())
    }

    fn inmates(&self, plan: &Plan) -> Result<Vec<Warning>, kernel::Error> {
        Ok(self.inmates(plan))
    }

    /// What a kernel could do must be tried on it.
    fn lacking(&self, _: &Plan) -> Vec<(usize, kernel::Error)> {
        Vec::new()
    }
}

/// Whether packets of a topology may come by the rules of others.
fn meets_firewalls(spec: &Spec, facts: &Facts) -> bool {
    spec.has_gateways() || spec.has_bridges() && facts.has_frames()
}

/// What is there, and the way to what a topology wants. Why there is none is printed.
pub(super) fn plan(
    ground: &mut impl Ground,
    topology: &TopologyName,
    desired: &State,
    takeover: &Takeover,
    place: &dyn Fn(&Id) -> Option<String>,
) -> Result<(State, Plan), Status> {
    let observed = ground.observe(topology, desired);
    let mut observed = observed.map_err(|error| failed(&error))?;
    if takeover.adopt {
        plan::offer(topology, desired, &mut observed);
    }
    let missing = plan::missing(desired, &observed);
    for id in &missing {
        output::error(&format!(
            "there is no {}: the name may be wrong, or the kernel's module not loaded",
            phrase::located(id, topology)
        ));
    }
    if !missing.is_empty() {
        return Err(Status::Failed);
    }
    let mut plan = plan::plan(topology, desired, &observed)
        .map_err(|conflicts| tell_of(ground, &conflicts, topology, place))?;
    plan.warnings
        .extend(ground.inmates(&plan).map_err(|error| failed(&error))?);
    let lacking = ground.lacking(&plan);
    for (place, error) in &lacking {
        let what = phrase::located(&plan.operations[*place].id, topology);
        output::error(&format!("{what} isn't possible on this machine: {error}"));
    }
    if !lacking.is_empty() {
        return Err(Status::Failed);
    }
    plan.warnings
        .extend(plan::lost(topology, desired, &observed));
    Ok((observed, plan))
}

/// Prints what stands in the way, all of it.
pub(super) fn tell_of(
    ground: &mut impl Ground,
    conflicts: &[Conflict],
    topology: &TopologyName,
    place: &dyn Fn(&Id) -> Option<String>,
) -> Status {
    let seem = match ground.provenances(conflicts) {
        Ok(seem) => seem,
        Err(error) => return failed(&error),
    };
    for (conflict, provenance) in conflicts.iter().zip(&seem).take(session::TOLD) {
        let place = place(&conflict.id);
        let text = conflict::text(conflict, provenance.as_ref(), topology, place.as_deref());
        output::error(&text);
    }
    let more = conflicts.iter().skip(session::TOLD);
    if let (Some(first), count @ 1..) = (more.clone().next(), more.len()) {
        let first = phrase::located(&first.id, topology);
        output::remark(&format!(
            "… and {count} more, the next of which is {first}\n"
        ));
    }
    if conflicts.len() > 1 {
        output::remark(&format!(
            "{} things stand in the way: nothing was changed.\n",
            conflicts.len()
        ));
    }
    Status::Failed
}
