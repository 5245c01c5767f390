//! Many checks on one thread: each is a future that waits for sockets and for the clock, and poll(2) says which goes on.
//!
//! What waits says so by [`wait_for`] and returns `Pending`; there is no waker, because one loop looks after all of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often it is looked whether to stop.
const TICK: Duration = Duration::from_millis(100);

/// What a future waits for: a descriptor, and a time.
struct Wait {
    fd: Option<(Rc<OwnedFd>, PollFlags)>,
    until: Instant,
}

thread_local! {
    /// What the future that is being polled waits for.
    static WAITS: RefCell<Vec<Wait>> = const { RefCell::new(Vec::new()) };
}

/// Has the future that is being polled go on when a descriptor is ready, or the time has come.
fn wait_for(fd: Option<(Rc<OwnedFd>, PollFlags)>, until: Instant) {
    WAITS.with_borrow_mut(|waits| waits.push(Wait { fd, until }));
}

/// Waits until a time.
pub(super) async fn sleep(until: Instant) {
    poll_fn(|_| {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        wait_for(None, until);
        Poll::Pending
    })
    .await;
}

/// Tries something with a descriptor until it no longer would have to wait. After `until` it fails with
/// [`io::ErrorKind::TimedOut`].
pub(super) async fn attempt<T>(
    fd: &Rc<OwnedFd>,
    events: PollFlags,
    until: Instant,
    mut work: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    poll_fn(|_| {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                wait_for(None, Instant::now());
                return Poll::Pending;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        if Instant::now() >= until {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        wait_for(Some((Rc::clone(fd), events)), until);
        Poll::Pending
    })
    .await
}

/// A future on the heap.
pub(super) type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// Tries one after the other, the next after a while or once all before have failed, until one succeeds (RFC 8305). Else it
/// gives why each failed, in the order in which they did.
pub(super) async fn race<'f, T, E>(
    starts: Vec<Boxed<'f, Result<T, E>>>,
    delay: Duration,
) -> Result<T, Vec<E>> {
    let mut pending: VecDeque<Boxed<'f, Result<T, E>>> = starts.into();
    let mut running: Vec<Boxed<'f, Result<T, E>>> = Vec::new();
    let mut failed = Some(Vec::new());
    let mut next = Instant::now();
    poll_fn(|context| {
        loop {
            let now = Instant::now();
            while running.is_empty() || now >= next {
                let Some(start) = pending.pop_front() else {
                    break;
                };
                running.push(start);
                next = now + delay;
            }
            let mut place = 0;
            while let Some(one) = running.get_mut(place) {
                match one.as_mut().poll(context) {
                    Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
                    Poll::Ready(Err(error)) => {
                        failed.get_or_insert_default().push(error);
                        drop(running.remove(place));
                    }
                    Poll::Pending => place += 1,
                }
            }
            match (running.is_empty(), pending.is_empty()) {
                (true, true) => return Poll::Ready(Err(failed.take().unwrap_or_default())),
                (true, false) => {}
                (false, none_left) => {
                    if !none_left {
                        wait_for(None, next);
                    }
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// What comes of several, which all go on at once. Once one of them has come of which `late` says by when the others are to come
/// too, what hasn't come by then is absent.
pub(super) async fn together<'f, T>(
    all: Vec<Boxed<'f, T>>,
    late: impl Fn(&T) -> Option<Instant>,
) -> Vec<T> {
    let mut running: Vec<Option<Boxed<'f, T>>> = all.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    let mut until: Option<Instant> = None;
    poll_fn(|context| {
        for (one, done) in running.iter_mut().zip(&mut done) {
            let polled = one.as_mut().map(|future| future.as_mut().poll(context));
            if let Some(Poll::Ready(value)) = polled {
                until = [until, late(&value)].into_iter().flatten().min();
                *done = Some(value);
                *one = None;
            }
        }
        let is_late = until.is_some_and(|until| Instant::now() >= until);
        if is_late || running.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        if let Some(until) = until {
            wait_for(None, until);
        }
        Poll::Pending
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A future that has begun.
struct Task<'f, T> {
    place: usize,
    future: Boxed<'f, T>,
    waits: Vec<Wait>,
    ready: bool,
}

/// Drives futures to their ends, so many at once, and gives what came of each with its place. Once `stop` says so, the rest is
/// dropped.
pub(super) fn drive<T>(
    futures: Vec<(usize, Boxed<'_, T>)>,
    most: usize,
    stop: &dyn Fn() -> bool,
) -> Vec<(usize, T)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut pending = futures.into_iter();
    let mut running: Vec<Task<'_, T>> = Vec::new();
    let mut done = Vec::new();
    loop {
        running.extend(
            pending
                .by_ref()
                .take(most.max(1).saturating_sub(running.len()))
                .map(|(place, future)| Task {
                    place,
                    future,
                    waits: Vec::new(),
                    ready: true,
                }),
        );
        let mut at = 0;
        while let Some(task) = running.get_mut(at) {
            if !task.ready {
                at += 1;
                continue;
            }
            WAITS.with_borrow_mut(Vec::clear);
            match task.future.as_mut().poll(&mut context) {
                Poll::Ready(value) => {
                    done.push((task.place, value));
                    drop(running.swap_remove(at));
                }
                Poll::Pending => {
                    task.waits = WAITS.take();
                    task.ready = false;
                    at += 1;
                }
            }
        }
        if running.is_empty() && pending.len() > 0 {
            continue;
        }
        if running.is_empty() || stop() {
            return done;
        }
        wait(&mut running);
    }
}

/// Waits until at least one of the futures can go on, or for a tick, and notes which can.
fn wait<T>(running: &mut [Task<'_, T>]) {
    let now = Instant::now();
    let waits = || running.iter().flat_map(|task| &task.waits);
    let until = waits().map(|wait| wait.until).min();
    let pause = until.map_or(TICK, |until| until.saturating_duration_since(now).min(TICK));
    let mut fds: Vec<PollFd<'_>> = waits()
        .filter_map(|wait| wait.fd.as_ref())
        .map(|(fd, events)| PollFd::new(&**fd, *events))
        .collect();
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(pause.subsec_nanos()),
    };
    // After an error, a signal for example, those whose time has come go on, and the others are waited for again.
    let _ = poll(&mut fds, Some(&pause));
    let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
    let now = Instant::now();
    let ready: Vec<bool> = running
        .iter()
        .map(|task| {
            let mut ready = task.waits.is_empty();
            for wait in &task.waits {
                ready |= wait.until <= now;
                if wait.fd.is_some() {
                    ready |= events.next().unwrap_or_default();
                }
            }
            ready
        })
        .collect();
    for (task, ready) in running.iter_mut().zip(ready) {
        task.ready = ready;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after<'f, T: 'f>(pause: u64, value: T) -> Boxed<'f, T> {
        Box::pin(async move {
            sleep(Instant::now() + Duration::from_millis(pause)).await;
            value
        })
    }

    #[test]
    fn all_wait_at_once_and_no_more_than_are_allowed_to() {
        let sleepers = || (0..40).map(|place| (place, after(50, place))).collect();
        for (most, least) in [(40, 50), (10, 200)] {
            let start = Instant::now();
            let mut done = drive(sleepers(), most, &|| false);
            let time = start.elapsed();
            done.sort_unstable();
            assert_eq!(done, (0..40).map(|at| (at, at)).collect::<Vec<_>>());
            let least = Duration::from_millis(least);
            assert!(time >= least && time < least * 4, "{most}: {time:?}");
        }
    }

    #[test]
    fn what_is_stopped_ends_soon() {
        let start = Instant::now();
        let done = drive(vec![(0, after(60_000, ()))], 1, &|| true);
        assert!(done.is_empty() && start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_race_is_won_by_who_succeeds_first_and_lost_when_all_have_failed() {
        let run = |starts: Vec<Boxed<'static, Result<u8, u8>>>| {
            let delay = Duration::from_millis(20);
            let race: Boxed<'_, _> = Box::pin(race(starts, delay));
            drive(vec![(0, race)], 1, &|| false).remove(0).1
        };
        assert_eq!(run(vec![after(500, Ok(1)), after(1, Ok(2))]), Ok(2));
        assert_eq!(run(vec![after(1, Ok(1)), after(1, Ok(2))]), Ok(1));
        // Who comes after one that failed needn't wait.
        assert_eq!(run(vec![after(1, Err(1)), after(1, Ok(2))]), Ok(2));
        assert_eq!(
            run(vec![after(30, Err(1)), after(1, Err(2))]),
            Err(vec![2, 1])
        );
        assert_eq!(run(Vec::new()), Err(Vec::new()));
    }
}
