//! What `plan`, `apply` and `destroy` share: from files to a plan against this host.

use super::source::Files;
use super::{Status, output};
use crate::kernel::{Kernel, Lock};
use crate::plan::{self, Conflict, Plan};
use crate::render::phrase;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Key, Ns, Resource};
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
        if spec.has_gateways() {
            kernel.look_at_firewalls(&mut facts);
        }
        let lowered = spec::lower(&spec, &facts).map_err(|found| report(&found, &sources))?;
        let topology = spec.name.value.clone();
        let mut session = Session::between(kernel, lock, topology, lowered.state)?;
        session.plan.warnings.extend(lowered.warnings);
        Ok(session)
    }

    /// Of a topology that is to own nothing any more.
    pub(super) fn of_nothing(topology: TopologyName) -> Result<Session, Status> {
        let (kernel, lock) = open(Access::Change)?;
        Session::between(kernel, lock, topology, State::new())
    }

    fn between(
        mut kernel: Kernel,
        lock: Option<Lock>,
        topology: TopologyName,
        desired: State,
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
        let mut plan = plan::plan(&topology, &desired, &observed).map_err(|conflicts| {
            for conflict in &conflicts {
                output::error(&self::conflict(conflict, &topology));
            }
            Status::Failed
        })?;
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

/// What a link is a port of that is to be one by this topology, whose doing it is, and the ways out.
fn port_of_others(conflict: &Conflict, link: &LinkName, master: &LinkName) -> String {
    let (place, inside) = match &conflict.id.ns {
        Ns::Host => ("on the host".to_owned(), String::new()),
        Ns::Named(ns) => (format!("in namespace {ns}"), format!("ip netns exec {ns} ")),
    };
    let what = format!("link {link} {place} is a port of {master} already");
    match &conflict.owner {
        Some(owner) => format!(
            "{what}, by the wish of topology {owner}\n  \
             remove its `bridge` in one of the two specs, or `netform destroy {owner}` first"
        ),
        None => format!(
            "{what}, and netform didn't make it one\n  \
             release it if nothing needs that (`{inside}ip link set {link} nomaster`), or remove its `bridge` in \
             the spec"
        ),
    }
}

/// What stands in the way, whose it is, and the ways out.
fn conflict(conflict: &Conflict, topology: &TopologyName) -> String {
    if let (Key::Port(link), Resource::Port(port)) = (&conflict.id.key, &conflict.resource) {
        return port_of_others(conflict, link, &port.master);
    }
    let what = phrase::located(&conflict.id, topology);
    let stands = phrase::resource(&conflict.id, &conflict.resource, topology);
    match &conflict.owner {
        Some(owner) if owner == topology && conflict.id.key == Key::Namespace => format!(
            "{what} was made by this topology, and its spec calls it external now\n  \
             remove `external` there, or `netform destroy {topology}` and let somebody else make it \
             (`ip netns add {ns}`) first",
            ns = conflict.id.ns
        ),
        Some(owner)
            if matches!(conflict.id.key, Key::Sysctl(SysctlKey::Global(_)))
                && conflict.id.ns != Ns::Host =>
        {
            format!(
                "{what} has another value by the wish of topology {owner}\n  \
                 it stands there as: {stands}\n  \
                 write the same in both specs (`forwarding` of the namespace), or `netform destroy {owner}` \
                 first"
            )
        }
        Some(owner) if matches!(conflict.id.key, Key::Sysctl(_)) => format!(
            "{what} is on loan to topology {owner}, with another value\n  \
             it stands there as: {stands}\n  \
             write the same value in both specs, or `netform destroy {owner}` first"
        ),
        Some(owner) => format!(
            "{what} belongs to topology {owner}\n  \
             it stands there as: {stands}\n  \
             give it another name in one of the two specs, or `netform destroy {owner}` first"
        ),
        None => format!(
            "{what} exists, and netform didn't make it\n  \
             it stands there as: {stands}\n  \
             remove it by hand if nothing needs it, or give it another name in the spec"
        ),
    }
}
