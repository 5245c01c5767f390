//! A stub resolver, which asks as the C library does: the hosts file, then one server after the other.

mod config;
mod message;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub(in crate::checks) use self::config::Config;
use self::config::Source;
use self::message::{Answer, Kind, Name};
use super::reactor::{Boxed, together};
use super::socket::{Place, Socket};
use crate::resource::name::NamespaceName;

/// How long it is waited for the addresses of the other family, besides as long again as those of the first took (RFC 8305,
/// section 3).
const GRACE: Duration = Duration::from_millis(50);

/// After how long a query by UDP is sent again, and then after twice as long each time: one may be lost, while a neighbour is
/// looked for, say.
const AGAIN: Duration = Duration::from_millis(400);

/// Reads a message of a server's, for the fuzzer.
pub(crate) fn fuzz(bytes: &[u8]) {
    message::fuzz(bytes);
}

/// The servers that the host, or a namespace, asks.
pub(crate) fn servers(of: Option<&NamespaceName>) -> Vec<IpAddr> {
    let servers = Config::read(of).servers.into_iter();
    servers.map(|server| server.ip()).collect()
}

/// The most bytes of an answer in a datagram; more than is asked for.
const DATAGRAM: usize = 4096;

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// There is no such name.
    NoName,
    /// The name exists, and has no address.
    NoAddress,
    /// No server said anything about it. Holds what became of asking each.
    NoServer(Vec<(IpAddr, Silence)>),
}

/// What a server did instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It didn't answer in time.
    TimedOut,
    /// Nobody listens there.
    Refused,
    /// Nothing leads there. Holds what the kernel says.
    Unreachable(String),
    /// It said that it can't tell. Holds the number (RFC 1035, section 4.1.1).
    Failed(u8),
    /// The time was over before it was its turn.
    NotAsked,
}

impl Silence {
    /// Whether it says more than that nothing came, which may be for any reason.
    fn is_telling(&self) -> bool {
        !matches!(self, Silence::TimedOut | Silence::NotAsked)
    }
}

impl Unresolved {
    /// The same after another try. A server that said something once may be silent the next time: the kernel sends few errors of
    /// ICMP in a short time (`icmp_ratelimit`, `man 7 icmp`).
    pub(super) fn after(self, before: Option<Unresolved>) -> Unresolved {
        let (Unresolved::NoServer(mut now), Some(Unresolved::NoServer(before))) =
            (self.clone(), before)
        else {
            return self;
        };
        for (ip, why) in &mut now {
            if let Some((_, told)) = before.iter().find(|(other, _)| other == ip)
                && told.is_telling()
                && !why.is_telling()
            {
                why.clone_from(told);
            }
        }
        Unresolved::NoServer(now)
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::TimedOut => f.write_str("gave no answer"),
            Silence::Refused => f.write_str("has nobody who listens"),
            Silence::Unreachable(why) => write!(f, "can't be reached ({why})"),
            Silence::Failed(2) => f.write_str("said that it failed (SERVFAIL)"),
            Silence::Failed(5) => f.write_str("refused to answer (REFUSED)"),
            Silence::Failed(code) => write!(f, "said that it can't tell (RCODE {code})"),
            Silence::NotAsked => f.write_str("was not asked in time"),
        }
    }
}

/// The addresses of a name, at least one, in the order in which they are said.
pub(super) async fn resolve(
    place: Place<'_>,
    config: &Config,
    name: &str,
    until: Instant,
) -> Result<Vec<IpAddr>, Unresolved> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let mut last = Unresolved::NoName;
    for source in &config.sources {
        match source {
            Source::Files => {
                if let Some(found) = config.hosts.get(&bare.to_ascii_lowercase()) {
                    return Ok(found.clone());
                }
            }
            Source::Dns => match search(place, config, name, until).await {
                Ok(found) => return Ok(found),
                Err(why) => last = why,
            },
            // Only where the name is sure not to be.
            Source::Stop if matches!(last, Unresolved::NoServer(_)) => {}
            Source::Stop => break,
        }
    }
    Err(last)
}

/// Looks a name up as it is, and in the domains (`res_nsearch` of the C library's `resolv/res_query.c`).
async fn search(
    place: Place<'_>,
    config: &Config,
    name: &str,
    until: Instant,
) -> Result<Vec<IpAddr>, Unresolved> {
    let mut last = Unresolved::NoName;
    for name in candidates(config, name) {
        // One that is too long is none.
        let Some(name) = Name::of(&name) else {
            continue;
        };
        match lookup(place, config, &name, until).await {
            Ok(found) => return Ok(found),
            // That it has no address in one of the domains is more than that it isn't there in the others.
            Err(Unresolved::NoName) => {}
            Err(why @ Unresolved::NoAddress) => last = why,
            Err(why @ Unresolved::NoServer(_)) => return Err(why),
        }
    }
    Err(last)
}

/// The names that a name may stand for, in the order in which they are tried.
fn candidates(config: &Config, name: &str) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let longer = config.search.iter().filter(|domain| *domain != ".");
    let mut all: Vec<String> = longer.map(|domain| format!("{name}.{domain}")).collect();
    let first = name.matches('.').count() >= config.ndots;
    all.insert(if first { 0 } else { all.len() }, name.to_owned());
    all
}

/// Asks for the addresses of both families at once. One of them is enough.
async fn lookup(
    place: Place<'_>,
    config: &Config,
    name: &Name,
    until: Instant,
) -> Result<Vec<IpAddr>, Unresolved> {
    let mut silent: Vec<(IpAddr, Silence)> = Vec::new();
    for attempt in 0..config.attempts {
        for server in &config.servers {
            let now = Instant::now();
            if now >= until {
                let known = silent.iter().any(|(ip, _)| *ip == server.ip());
                if !known {
                    silent.push((server.ip(), Silence::NotAsked));
                }
                continue;
            }
            // The second time all of them share twice the time (`res_send.c` of the C library).
            let share = u32::try_from(config.servers.len()).unwrap_or(1);
            let patience = match attempt {
                0 => config.timeout,
                _ => config.timeout * (1 << attempt) / share,
            };
            let patience = patience.max(Duration::from_secs(1));
            let why = match ask(place, config, *server, name, (now + patience).min(until)).await {
                Ok(Answers::Addresses(found)) if found.is_empty() => {
                    return Err(Unresolved::NoAddress);
                }
                Ok(Answers::Addresses(found)) => return Ok(found),
                Ok(Answers::NoName) => return Err(Unresolved::NoName),
                Err(why) => why,
            };
            match silent.iter_mut().find(|(ip, _)| *ip == server.ip()) {
                Some(known) if known.1.is_telling() && !why.is_telling() => {}
                Some(known) => known.1 = why,
                None => silent.push((server.ip(), why)),
            }
        }
    }
    Err(Unresolved::NoServer(silent))
}

/// What a server said about a name.
enum Answers {
    /// Its addresses of both families, IPv6 first.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
}

/// Asks one server.
async fn ask(
    place: Place<'_>,
    config: &Config,
    server: SocketAddr,
    name: &Name,
    until: Instant,
) -> Result<Answers, Silence> {
    let kinds = if config.ipv6 {
        &[Kind::Aaaa, Kind::A][..]
    } else {
        &[Kind::A]
    };
    let mut found = Vec::new();
    let both: Vec<_> = kinds
        .iter()
        .map(|kind| ask_for(place, config.tcp, server, name, *kind, until))
        .map(|asked| Box::pin(asked) as Boxed<'_, _>)
        .collect();
    let start = Instant::now();
    let late = |answer: &Result<Answer, Silence>| match answer {
        Ok(Answer::Addresses(addresses)) if !addresses.is_empty() => {
            Some(Instant::now() + start.elapsed() + GRACE)
        }
        Ok(Answer::NoName) => Some(Instant::now()),
        _ => None,
    };
    let mut silent = None;
    for answer in together(both, late).await {
        match answer {
            Ok(Answer::Addresses(addresses)) => found.extend(addresses),
            // Whoever knows no such name knows none of any kind (RFC 8020).
            Ok(Answer::NoName) => return Ok(Answers::NoName),
            Ok(Answer::Failed(code)) => silent = Some(Silence::Failed(code)),
            Ok(Answer::Truncated) => silent = Some(Silence::TimedOut),
            Err(why) if silent.as_ref().is_some_and(Silence::is_telling) && !why.is_telling() => {}
            Err(why) => silent = Some(why),
        }
    }
    // The addresses of one family are enough.
    match silent {
        Some(why) if found.is_empty() => Err(why),
        _ => Ok(Answers::Addresses(found)),
    }
}

/// Asks one server for one kind of addresses: by UDP, and by TCP what doesn't fit.
async fn ask_for(
    place: Place<'_>,
    tcp: bool,
    server: SocketAddr,
    name: &Name,
    kind: Kind,
    until: Instant,
) -> Result<Answer, Silence> {
    let id = number();
    if !tcp {
        let asked = by_udp(place, server, name, kind, id, until).await;
        match asked.map_err(|error| silence(&error))? {
            Answer::Truncated => {}
            answer => return Ok(answer),
        }
    }
    let asked = by_tcp(place, server, name, kind, id, until).await;
    asked.map_err(|error| silence(&error))
}

/// A number that nobody can guess who doesn't see the query.
fn number() -> u16 {
    let hash = RandomState::new().hash_one(Instant::now());
    u16::try_from(hash & 0xffff).unwrap_or_default()
}

fn silence(error: &io::Error) -> Silence {
    match error.kind() {
        io::ErrorKind::TimedOut => Silence::TimedOut,
        io::ErrorKind::ConnectionRefused => Silence::Refused,
        _ => Silence::Unreachable(super::words(error)),
    }
}

/// Asks by UDP. What is no answer to this query is thrown away; only the server's datagrams reach the socket.
async fn by_udp(
    place: Place<'_>,
    server: SocketAddr,
    name: &Name,
    kind: Kind,
    id: u16,
    until: Instant,
) -> io::Result<Answer> {
    let socket = Socket::udp(place, server)?;
    let query = message::query(id, name, kind);
    let mut patience = AGAIN;
    loop {
        socket.sent(&query, until).await?;
        let again = (Instant::now() + patience).min(until);
        match answer_by(&socket, name, kind, id, again).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && again < until => {}
            answered => return answered,
        }
        patience *= 2;
    }
}

/// The answer to a query, if it comes in time.
async fn answer_by(
    socket: &Socket,
    name: &Name,
    kind: Kind,
    id: u16,
    until: Instant,
) -> io::Result<Answer> {
    loop {
        let mut buffer = [0; DATAGRAM];
        let length = socket.received(&mut buffer, until).await?;
        if let Some(answer) = message::answer(&buffer[..length], id, name, kind) {
            return Ok(answer);
        }
    }
}

/// Asks by TCP (RFC 7766): each message has its length before it.
async fn by_tcp(
    place: Place<'_>,
    server: SocketAddr,
    name: &Name,
    kind: Kind,
    id: u16,
    until: Instant,
) -> io::Result<Answer> {
    let socket = Socket::tcp(place, server)?;
    socket.connected(until).await?;
    let query = message::query(id, name, kind);
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], &query].concat();
    let mut sent = 0;
    while sent < framed.len() {
        sent += socket.sent(&framed[sent..], until).await?;
    }
    let mut length = [0; 2];
    fill(&socket, &mut length, until).await?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    fill(&socket, &mut bytes, until).await?;
    match message::answer(&bytes, id, name, kind) {
        Some(Answer::Truncated) | None => Err(io::Error::other("what it sent is no answer")),
        Some(answer) => Ok(answer),
    }
}

/// Reads as many bytes as there is room for.
async fn fill(socket: &Socket, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match socket.received(&mut buffer[filled..], until).await? {
            0 => return Err(io::Error::other("it ended in the middle of an answer")),
            more => filled += more,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_looked_up_in_the_domains_first() {
        let mut config = Config::read(None);
        config.search = vec!["a.test".to_owned(), "b.test".to_owned()];
        config.ndots = 1;
        let tried = |config: &Config, name| candidates(config, name).join(" ");
        assert_eq!(tried(&config, "db"), "db.a.test db.b.test db");
        assert_eq!(
            tried(&config, "db.lab"),
            "db.lab db.lab.a.test db.lab.b.test"
        );
        assert_eq!(tried(&config, "db.lab."), "db.lab.");
        config.ndots = 2;
        assert_eq!(
            tried(&config, "db.lab"),
            "db.lab.a.test db.lab.b.test db.lab"
        );
    }
}
