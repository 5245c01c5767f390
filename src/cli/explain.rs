//! `check --explain`: where a packet of a check gets, and what stops it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::checks::{self, Failure, Outcome, Unresolved, dns};
use crate::kernel::walk::{self, Packet};
use crate::kernel::{self, doors, namespace, traffic};
use crate::render::explain::{Explanation, Stopped};
use crate::resource::Ns;
use crate::spec::model::{Check, Peer, What};
use crate::state::External;

/// The most checks that are explained, and how long each is tried again: to see which rules count its packets.
const MOST: usize = 20;
const AGAIN: Duration = Duration::from_secs(1);

/// Explains those checks that didn't end as they must, by their places.
pub(super) fn explain(
    checks: &[Check],
    outcomes: &[Outcome],
    external: &External,
) -> Result<BTreeMap<usize, Explanation>, kernel::Error> {
    let all = checks.iter().zip(outcomes).enumerate();
    let wrong = all.filter(|(_, (check, outcome))| !outcome.is_as_expected(check));
    let wrong: Vec<(usize, (&Check, &Outcome))> = wrong.take(MOST).collect();
    let mut explained = BTreeMap::new();
    if wrong.is_empty() {
        return Ok(explained);
    }
    let named = namespace::names()?.into_iter().map(Ns::Named);
    let external_ones = external.keys().cloned().map(Ns::Named);
    let all: BTreeSet<Ns> = named.chain(external_ones).chain([Ns::Host]).collect();
    let doors = doors::open(&all.iter().collect(), external, false)?;
    for (place, (check, outcome)) in wrong {
        if doors.contains_key(&check.from.value) {
            explained.insert(place, one(check, outcome, &doors)?);
        }
    }
    Ok(explained)
}

fn one(
    check: &Check,
    outcome: &Outcome,
    doors: &BTreeMap<Ns, OwnedFd>,
) -> Result<Explanation, kernel::Error> {
    let before = traffic::counted(doors)?;
    let mut again = check.clone();
    again.within = again.within.min(AGAIN);
    let _ = checks::run(&[again], doors, &|| false);
    let after = traffic::counted(doors)?;
    let mut stopped = Vec::new();
    for ((ns, table), rules) in after {
        let was = before.get(&(ns.clone(), table.clone()));
        for (place, rule) in rules.into_iter().enumerate() {
            let was = was.and_then(|rules| rules.get(place));
            let was = was.map_or(0, |rule| rule.packets);
            if rule.packets > was {
                stopped.push(Stopped {
                    ns: ns.clone(),
                    table: table.clone(),
                    chain: rule.chain,
                    rule: rule.rule,
                    packets: rule.packets - was,
                });
            }
        }
    }
    let from = &check.from.value;
    let port = match check.what {
        What::Tcp(_, port) => Some(port),
        What::Ping(_) | What::Resolve(_) => None,
    };
    let (targets, of_servers) = targets(check, outcome, doors);
    let port = port.filter(|_| !of_servers);
    let ways = targets.into_iter().map(|to| {
        let way = walk::walk(doors, from, Packet { to, port })?;
        Ok((to, way))
    });
    Ok(Explanation {
        passes: outcome.result.is_ok(),
        of_servers,
        ways: ways.collect::<Result<_, kernel::Error>>()?,
        stopped,
    })
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
