//! Making namespaces.

use std::os::fd::AsFd;

use super::encode::{self, Change};
use super::error::Error;
use super::execute::{Failed, setting};
use super::namespace::{self, Inheritance};
use super::read;
use super::socket::{Requests, Socket};
use super::space::{Space, inode_of};
use super::{Kernel, tag};
use crate::plan::Plan;
use crate::resource::Ns;

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
    let results = namespace::spread(jobs, |(place, settings)| {
        let result = birth(plan, place, &settings, &inheritance);
        (place, settings, result)
    });
    let mut failure = Ok(());
    for (place, settings, result) in results {
        match result {
            Ok(mut space) => {
                finished.push(place);
                finished.extend(settings);
                if kernel.spaces.len() >= kernel.room {
                    space.socket = None;
                }
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
        let mut socket = Socket::open()?;
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
        for at in settings {
            failed_at = *at;
            setting(&plan.operations[*at])?;
        }
        failed_at = place;
        let mut space = Space {
            inode: inode_of(namespace::open_own()?.as_fd())?,
            ..Space::default()
        };
        space.learn(&read::links(&mut socket)?);
        space.socket = Some(socket);
        Ok(space)
    };
    namespace::make(name, furnish).map_err(|error| Failed {
        place: Some(failed_at),
        error,
    })
}
