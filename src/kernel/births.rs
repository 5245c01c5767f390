//! Making namespaces.

use std::os::fd::AsFd;

use super::encode::{self, Change};
use super::error::Error;
use super::execute::{Failed, setting};
use super::namespace::{self, Inheritance};
use super::read;
use super::socket::{Requests, Socket};
use super::space::{Known, Space, inode_of};
use super::{Kernel, sysctl, tag};
use crate::plan::{Action, Operation, Plan};
use crate::resource::name::LinkName;
use crate::resource::namespace::QUIET;
use crate::resource::{Key, Ns, Resource};

/// The number of `lo` in every namespace (`LOOPBACK_IFINDEX` of `net/flow.h`).
const LOOPBACK: u32 = 1;

/// Makes namespaces, on several threads. A job is the place of the operation, and the places of the
/// settings that are written along with it.
pub(super) fn births(
    kernel: &mut Kernel,
    plan: &Plan,
    jobs: Vec<(usize, Vec<usize>)>,
    finished: &mut Vec<usize>,
) -> Result<(), Failed> {
    if let Some((first, _)) = jobs.first() {
        namespace::prepare().map_err(Failed::at(*first))?;
    }
    let inheritance = Inheritance::default();
    let room = kernel.room().saturating_sub(kernel.spaces.len());
    let jobs = jobs.into_iter().enumerate().collect();
    let results = namespace::spread(
        jobs,
        |(rank, (place, settings)): (usize, (usize, Vec<usize>))| {
            let mut result = birth(plan, place, &settings, &inheritance);
            if let Ok(space) = &mut result
                && rank >= room
            {
                space.socket = None;
            }
            (place, settings, result)
        },
    );
    let mut failure = Ok(());
    for (place, settings, result) in results {
        match result {
            Ok(space) => {
                finished.push(place);
                finished.extend(settings);
                let ns = plan.operations[place].id.ns.clone();
                kernel.spaces.insert(ns, space);
            }
            Err(failed) => failure = failure.and(Err(failed)),
        }
    }
    failure
}

/// Makes one namespace, which this thread is in afterwards.
fn birth(
    plan: &Plan,
    place: usize,
    settings: &[usize],
    inheritance: &Inheritance,
) -> Result<Space, Failed> {
    let Ns::Named(name) = &plan.operations[place].id.ns else {
        let error = Error::Impossible("the host exists already");
        return Err(Failed::at(place)(error));
    };
    let mut failed_at = place;
    let furnish = || {
        let socket = Socket::open()?;
        let mut requests = Requests::default();
        let change = Change {
            up: Some(true),
            alias: Some(tag::text(&plan.topology)),
            ..Change::default()
        };
        encode::set_link(&mut requests, LOOPBACK, &change);
        let failed = socket.send(&mut requests, |_, _| {})?;
        if let Some((_, verdict)) = failed.into_iter().next() {
            return Err(Error::refused(verdict.errno, verdict.text));
        }
        inheritance.undo()?;
        match sysctl::write(QUIET, "0") {
            // Without IPv6 there is nothing to detect.
            Ok(()) | Err(Error::NoSysctl { .. }) => {}
            Err(error) => return Err(error),
        }
        let here = sysctl::Here::default();
        let switches = read::switches(&socket)?;
        for at in settings {
            failed_at = *at;
            let operation = &plan.operations[*at];
            if !is_so(operation, switches) {
                setting(operation, &here)?;
            }
        }
        failed_at = place;
        let mut space = Space {
            inode: inode_of(namespace::open_own()?.as_fd())?,
            owner: Some(plan.topology.clone()),
            ..Space::default()
        };
        let lo = Known {
            index: LOOPBACK,
            ..Known::default()
        };
        space
            .links
            .insert(LinkName::try_from("lo").expect("it is a name"), lo);
        space.socket = Some(socket);
        Ok(space)
    };
    namespace::make(name, furnish).map_err(|error| Failed {
        place: Some(failed_at),
        error,
    })
}

/// Whether a namespace forwards already as an operation asks for. Most new ones do, and to write it
/// takes the kernel the longer the more namespaces there are.
fn is_so(operation: &Operation, switches: [Option<i32>; 2]) -> bool {
    let (Key::Sysctl(key), Action::Create(Resource::Sysctl(new))) =
        (&operation.id.key, &operation.action)
    else {
        return false;
    };
    key.switch()
        .and_then(|family| switches[family as usize])
        .is_some_and(|now| now.to_string() == new.value)
}
