//! `check --explain`: where a packet of a check gets, and what stops it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::output;
use crate::checks::{self, Failure, Outcome, Unresolved, dns};
use crate::kernel::walk::Map;
use crate::kernel::{self, doors, namespace, trace};
use crate::render::explain::{Ended, Explanation};
use crate::resource::Ns;
use crate::spec::model::{Check, Peer, What};
use crate::state::{External, Flow, Step, Transport, Way, WayEnd};

/// The most checks that are explained, and how long each is tried again: to see which rules its packets come by.
const MOST: usize = 20;
const AGAIN: Duration = Duration::from_secs(1);

/// How long who doesn't answer on a link is asked for again: the kernel asks every second (`retrans_time_ms` in
/// `Documentation/networking/ip-sysctl.rst`).
const ASKED: Duration = Duration::from_millis(1200);

/// The port of name servers (RFC 1035, section 4.2).
const DNS: u16 = 53;

/// Explains those checks that didn't end as they must, by their places, until `stop` says so. What can't be explained is said, and
/// is no failure: how the checks ended is known.
pub(super) fn explain(
    checks: &[Check],
    outcomes: &[Outcome],
    external: &External,
    stop: &(dyn Fn() -> bool + Sync),
) -> BTreeMap<usize, Explanation> {
    let all = checks.iter().zip(outcomes).enumerate();
    let wrong = all.filter(|(_, (check, outcome))| !outcome.is_as_expected(check));
    let wrong: Vec<(usize, &Check, &Outcome)> = wrong
        .map(|(place, (check, outcome))| (place, check, outcome))
        .collect();
    if wrong.len() > MOST {
        output::remark(&format!(
            "The first {MOST} of {} checks that aren't as expected are explained.\n",
            wrong.len()
        ));
    }
    let mut explained = BTreeMap::new();
    let first = &wrong[..wrong.len().min(MOST)];
    if let Err(error) = all_of(first, external, stop, &mut explained) {
        output::error(&format!("can't explain more: {error}"));
    }
    explained
}

fn all_of(
    wrong: &[(usize, &Check, &Outcome)],
    external: &External,
    stop: &(dyn Fn() -> bool + Sync),
    explained: &mut BTreeMap<usize, Explanation>,
) -> Result<(), kernel::Error> {
    if wrong.is_empty() {
        return Ok(());
    }
    let named = namespace::names()?.into_iter().map(Ns::Named);
    let external_ones = external.keys().cloned().map(Ns::Named);
    let all: BTreeSet<Ns> = named.chain(external_ones).chain([Ns::Host]).collect();
    let mut doors = BTreeMap::new();
    for ns in &all {
        // A file of others that is no namespace is none on the way.
        if let Ok(opened) = doors::open(&BTreeSet::from([ns]), external, false) {
            doors.extend(opened);
        }
    }
    let map = Map::of(&doors)?;
    for (place, check, outcome) in wrong {
        if stop() {
            break;
        }
        if doors.contains_key(&check.from.value) {
            explained.insert(*place, one(check, outcome, &doors, &map)?);
        }
    }
    Ok(())
}

fn one(
    check: &Check,
    outcome: &Outcome,
    doors: &BTreeMap<Ns, OwnedFd>,
    map: &Map<'_>,
) -> Result<Explanation, kernel::Error> {
    let from = &check.from.value;
    let (targets, of_servers) = targets(check, outcome, doors);
    let transport = match check.what {
        _ if of_servers => Transport::Udp(DNS),
        What::Tcp(_, port) => Transport::Tcp(port),
        What::Ping(_) | What::Resolve(_) => Transport::Echo,
    };
    let ways = targets.into_iter().map(|to| {
        let way = map.way(from, Flow { to, transport })?;
        Ok((to, way))
    });
    let ways: Vec<(IpAddr, Way)> = ways.collect::<Result<_, kernel::Error>>()?;
    let flows = ways.iter().flat_map(|(to, way)| flows(*to, transport, way));
    let places = ways.iter().flat_map(|(_, way)| way.places());
    let mut again = check.clone();
    let asks = |(_, way): &(IpAddr, Way)| matches!(way.end, WayEnd::NoNeighbour { .. });
    again.within = if ways.iter().any(asks) {
        ASKED
    } else {
        again.within.min(AGAIN)
    };
    let tried = || checks::run(&[again], doors, &|| false);
    let (outcomes, traced) = trace::during(doors, &places.collect(), &flows.collect(), tried);
    let traced = traced.into_iter().map(|(ns, traced)| {
        let traced = traced.map_err(|error| error.to_string());
        (ns, traced)
    });
    Ok(Explanation {
        ended: match outcome.result {
            Ok(_) => Ended::Passed,
            Err(Failure::Refused(_) | Failure::Unreachable { .. }) => Ended::Refused,
            Err(_) => Ended::Lost,
        },
        of_servers,
        mended: outcomes.iter().all(|outcome| outcome.is_as_expected(check)),
        traced: traced.collect(),
        ways,
    })
}

/// What goes on a way: where it is led elsewhere, with another address.
fn flows(to: IpAddr, transport: Transport, way: &Way) -> Vec<Flow> {
    let mut flows = vec![Flow { to, transport }];
    for step in &way.steps {
        if let Step::Led { to, port, .. } = step {
            let transport = port.map_or(transport, |port| transport.to_port(port));
            flows.push(Flow { to: *to, transport });
        }
    }
    if let WayEnd::NoNeighbour { ip, .. } = way.end {
        flows.push(Flow {
            to: ip,
            transport: Transport::Neighbour,
        });
    }
    flows
}

/// Where packets of a check go. Whether that are name servers, because no address is known.
fn targets(check: &Check, outcome: &Outcome, doors: &BTreeMap<Ns, OwnedFd>) -> (Vec<IpAddr>, bool) {
    match (&outcome.result, &check.what) {
        (_, What::Ping(Peer::Address(ip)) | What::Tcp(Peer::Address(ip), _)) => {
            return (vec![*ip], false);
        }
        (Ok(found), What::Ping(_) | What::Tcp(..)) => return (found.clone(), false),
        // Who says so is there, and answers.
        (Err(Failure::Unresolved(_, Unresolved::NoName | Unresolved::NoAddress)), _)
        | (Ok(_), What::Resolve(_)) => return (Vec::new(), true),
        (Err(Failure::Unresolved(..)), _) | (_, What::Resolve(_)) => {}
        (Err(_), What::Ping(Peer::Name(name)) | What::Tcp(Peer::Name(name), _)) => {
            let mut resolve = check.clone();
            resolve.what = What::Resolve(name.clone());
            let found = checks::run(&[resolve], doors, &|| false);
            let found = found.into_iter().next();
            if let Some(Ok(addresses)) = found.map(|outcome| outcome.result) {
                return (addresses, false);
            }
        }
    }
    (dns::servers(check.from.value.name()), true)
}
