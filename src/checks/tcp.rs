//! Connections of TCP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Patience;
use super::failure::Failure;
use super::reactor;
use super::socket::{Place, Socket};

/// The first pause before another try; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(800);

/// Connects to a port, and again after a failure as long as there is time.
pub(super) async fn connect(
    place: Place<'_>,
    to: SocketAddr,
    until: Instant,
    patience: Patience,
) -> Result<(), Failure> {
    let mut last = Failure::TimedOut;
    let mut pause = PAUSE;
    loop {
        match once(place, to, until).await {
            Ok(()) => return Ok(()),
            Err(Failure::TimedOut) => return Err(last),
            Err(failure) if patience == Patience::FirstVerdict && failure.is_verdict() => {
                return Err(failure);
            }
            Err(failure) => last = failure,
        }
        let next = Instant::now() + pause;
        if next >= until {
            return Err(last);
        }
        reactor::sleep(next).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// One try. The connection is closed at once.
async fn once(place: Place<'_>, to: SocketAddr, until: Instant) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::of(error, to.ip());
    let socket = Socket::tcp(place, to).map_err(|error| Failure::of_route(&error, to.ip()))?;
    let own = socket.own_address();
    match socket.connected(until).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let told = std::iter::from_fn(|| socket.error());
            let told = told
                .filter_map(|told| Failure::told(&told, to.ip(), own))
                .last();
            Err(told.unwrap_or_else(|| failed(&error)))
        }
    }
}
