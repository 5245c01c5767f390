//! Trying what a spec says must be reached from where, and what must not.
//!
//! All checks run at once, on as many threads as there are processors. Each thread waits for all of its sockets together; it
//! enters a namespace to open one there, and the socket stays inside. No process is started, and nothing is changed.

pub(crate) mod dns;
mod failure;
mod ping;
mod reactor;
mod socket;
mod tcp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

pub use self::dns::{Silence, Unresolved};
pub use self::failure::{Barrier, Failure};
use self::reactor::{Boxed, drive, race};
use self::socket::{Place, Socket};
use crate::resource::Ns;
use crate::spec::model::{Check, Expect, Peer, What};

/// How long the next address of a name waits for the one before (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// The most descriptors that a check has open at once: one for each address, or two for each server.
const DESCRIPTORS: usize = MOST_ADDRESSES;

/// Descriptors that are kept free for others.
const SPARE: usize = 128;

/// The most threads.
const THREADS: usize = 8;

/// A check's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The addresses: that which answered, or those that a name has. Or why there are none.
    pub result: Result<Vec<IpAddr>, Failure>,
    /// How long it took.
    pub time: Duration,
}

impl Outcome {
    /// Whether it is as the check says it must be. What couldn't be tried never is.
    pub fn is_as_expected(&self, check: &Check) -> bool {
        match (&self.result, check.expect) {
            (Ok(_), expect) => expect == Expect::Ok,
            (Err(failure), Expect::Fail) => failure.is_verdict(),
            (Err(_), Expect::Ok) => false,
        }
    }
}

/// How long something that fails is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as there is time: what is just being set up may need some.
    AllTheTime,
    /// Not at all, once it is sure to have failed.
    FirstVerdict,
}

/// Runs checks, and gives what came of each, in their order. `doors` has the namespaces that exist. Once `stop` says so, all
/// that is left ends as [`Failure::Stopped`].
pub fn run(
    checks: &[Check],
    doors: &BTreeMap<Ns, OwnedFd>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Vec<Outcome> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS).min(checks.len()).max(1);
    let most = (room() / DESCRIPTORS / threads).max(1);
    let numbers: BTreeMap<&Ns, usize> = doors.keys().zip(1..).collect();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; checks.len()];
    let ended = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let numbers = &numbers;
                scope.spawn(move || {
                    let mine = checks.iter().enumerate().skip(thread).step_by(threads);
                    let mine: Vec<(usize, &Check)> = mine.collect();
                    run_here(&mine, doors, numbers, most, stop)
                })
            })
            .collect();
        let ended = running.into_iter().flat_map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Vec<_>>()
    });
    for (place, outcome) in ended {
        outcomes[place] = Some(outcome);
    }
    let stopped = || Outcome {
        result: Err(Failure::Stopped),
        time: Duration::ZERO,
    };
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(stopped))
        .collect()
}

/// How many descriptors may be opened.
fn room() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(SPARE, Iterator::count);
    usize::try_from(most)
        .unwrap_or(usize::MAX)
        .saturating_sub(open + SPARE)
}

/// Runs checks on this thread, which must end afterwards.
fn run_here(
    checks: &[(usize, &Check)],
    doors: &BTreeMap<Ns, OwnedFd>,
    numbers: &BTreeMap<&Ns, usize>,
    most: usize,
    stop: &dyn Fn() -> bool,
) -> Vec<(usize, Outcome)> {
    let mut configs: BTreeMap<&Ns, dns::Config> = BTreeMap::new();
    let place_of = |ns: &Ns| {
        let place = Place {
            ns: doors.get(ns)?.as_fd(),
            number: *numbers.get(ns)?,
        };
        Some(place)
    };
    for (_, check) in checks {
        let ns = &check.from.value;
        let known = !needs_names(&check.what) || configs.contains_key(ns);
        if let Some(place) = place_of(ns).filter(|_| !known)
            && place.enter().is_ok()
        {
            configs.insert(ns, dns::Config::read(ns.name()));
        }
    }
    let configs = &configs;
    let futures = checks.iter().map(|(number, check)| {
        let ns = &check.from.value;
        let (number, check) = (*number, *check);
        let future = async move {
            let start = Instant::now();
            let result = match place_of(ns) {
                Some(place) => one(place, configs.get(ns), check, number, start).await,
                None => Err(Failure::NoNamespace),
            };
            Outcome {
                result,
                time: start.elapsed(),
            }
        };
        (number, Box::pin(future) as Boxed<'_, Outcome>)
    });
    drive(futures.collect(), most, stop)
}

fn needs_names(what: &What) -> bool {
    match what {
        What::Ping(peer) | What::Tcp(peer, _) => matches!(peer, Peer::Name(_)),
        What::Resolve(_) => true,
    }
}

/// Runs one check.
async fn one(
    place: Place<'_>,
    config: Option<&dns::Config>,
    check: &Check,
    number: usize,
    start: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    place
        .enter()
        .map_err(|error| Failure::Untried(words(&error)))?;
    let until = start + check.within;
    let patience = match check.expect {
        Expect::Ok => Patience::AllTheTime,
        Expect::Fail => Patience::FirstVerdict,
    };
    let peer = match &check.what {
        What::Ping(peer) | What::Tcp(peer, _) => peer.clone(),
        What::Resolve(name) => Peer::Name(name.clone()),
    };
    let addresses = match &peer {
        Peer::Address(ip) => vec![*ip],
        Peer::Name(name) => {
            let config = config.ok_or_else(|| Failure::Untried("no resolver".to_owned()))?;
            names(place, config, name, until, patience).await?
        }
    };
    let port = match check.what {
        What::Resolve(_) => return Ok(addresses),
        What::Tcp(_, port) => Some(port),
        What::Ping(_) => None,
    };
    // No two echo requests of a run have the same number, and those of two runs hardly.
    let id = u16::try_from((number + std::process::id() as usize * 1021) & 0xffff);
    let id = id.unwrap_or_default();
    let addresses = ordered(place, addresses);
    let tries = addresses.into_iter().map(|ip| {
        Box::pin(async move {
            match port {
                Some(port) => {
                    tcp::connect(place, SocketAddr::new(ip, port), until, patience).await?;
                }
                None => ping::ping(place, ip, id, until, patience).await?,
            }
            Ok(ip)
        }) as Boxed<'_, Result<IpAddr, Failure>>
    });
    match race(tries.collect(), HEAD_START).await {
        Ok(ip) => Ok(vec![ip]),
        Err(failures) => {
            // Of several the one that says most, and of these the first.
            let most = failures.into_iter().rev().max_by_key(Failure::weight);
            Err(most.unwrap_or(Failure::TimedOut))
        }
    }
}

/// The addresses of a name. Where no server answers, all are asked again as long as there is time.
async fn names(
    place: Place<'_>,
    config: &dns::Config,
    name: &str,
    until: Instant,
    patience: Patience,
) -> Result<Vec<IpAddr>, Failure> {
    let mut before = None;
    loop {
        let why = match dns::resolve(place, config, name, until).await {
            Ok(addresses) => return Ok(addresses),
            Err(why) => why.after(before),
        };
        let again = Instant::now() + HEAD_START;
        let passing = matches!(why, Unresolved::NoServer(_)) && patience == Patience::AllTheTime;
        if !passing || again >= until {
            return Err(Failure::Unresolved(name.to_owned(), why));
        }
        before = Some(why);
        reactor::sleep(again).await;
    }
}

/// Addresses in the order in which a client tries them: those that there is a route to first, and the families in turn, IPv6
/// before IPv4 (RFC 6724, section 6, rule 1; RFC 8305, section 4).
fn ordered(place: Place<'_>, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let reached = |ip: &IpAddr| Socket::udp(place, SocketAddr::new(*ip, 9)).is_ok();
    let (near, far): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(reached);
    let mut all = Vec::new();
    for group in [near, far] {
        let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = group.into_iter().partition(IpAddr::is_ipv6);
        let (mut six, mut four) = (six.into_iter(), four.into_iter());
        while six.len() + four.len() > 0 {
            all.extend(six.next());
            all.extend(four.next());
        }
    }
    all.truncate(MOST_ADDRESSES);
    all
}

/// What an error of the system's is in words, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
