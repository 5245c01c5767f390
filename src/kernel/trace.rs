//! What the rules of some namespaces decide about packets, while something is tried.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use super::error::Error;
use super::namespace;
use super::nftables::trace::Trace;
use crate::resource::Ns;
use crate::state::{Flow, Traced};

/// Tries something, and says what was seen meanwhile of the packets of some flows in those namespaces that are `places`: an error
/// where the kernel doesn't let that be seen.
pub fn during<T>(
    doors: &BTreeMap<Ns, OwnedFd>,
    places: &BTreeSet<&Ns>,
    flows: &BTreeSet<Flow>,
    attempt: impl FnOnce() -> T,
) -> (T, BTreeMap<Ns, Result<Traced, Error>>) {
    let doors = doors.iter().filter(|(ns, _)| places.contains(ns));
    let open = |(ns, door): (&Ns, &OwnedFd)| {
        let trace = namespace::inside(door.as_fd(), || Ok(Trace::open(flows)?));
        (ns.clone(), trace)
    };
    let traces: Vec<(Ns, Result<Trace, Error>)> = doors.map(open).collect();
    let tried = attempt();
    let seen = traces.into_iter().map(|(ns, trace)| {
        let seen = trace.and_then(|trace| Ok(trace.heard()?));
        (ns, seen)
    });
    (tried, seen.collect())
}
