//! How a check fails.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::dns::Unresolved;
use super::socket::Told;

/// Why something wasn't reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time.
    TimedOut,
    /// Who has the address refused the connection. Holds the address.
    Refused(IpAddr),
    /// Somebody says that the packet can't get there.
    Unreachable {
        /// What is unreachable, and why.
        what: Barrier,
        /// Who says so; none: it isn't known.
        by: Option<IpAddr>,
        /// The address that it was to get to.
        to: IpAddr,
        /// Whether who says so is the namespace itself.
        own: bool,
    },
    /// The namespace has no route. Holds where to.
    NoRoute(IpAddr),
    /// The namespace has a route that lets nothing through. Holds where to, and the type of the route.
    Barred(IpAddr, &'static str),
    /// A firewall of the namespace itself kept the packet from leaving. Holds where to.
    Denied(IpAddr),
    /// The name has no addresses. Holds the name.
    Unresolved(String, Unresolved),
    /// The namespace doesn't exist, so that nothing was tried.
    NoNamespace,
    /// Nothing could be tried. Holds why.
    Untried(String),
    /// It was stopped before it was done.
    Stopped,
}

/// What an ICMP message says of a packet that got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// There is no route.
    Network,
    /// The host doesn't answer on its link.
    Host,
    /// Nobody listens.
    Port,
    /// It is forbidden.
    Prohibited,
    /// It went through too many routers: in a circle.
    Hops,
    /// Another reason: the type and code of the message.
    Other(u8, u8),
}

impl Barrier {
    /// Reads the type and code of an ICMP message (`linux/icmp.h`, `linux/icmpv6.h`). None: it isn't about a packet that got no
    /// further, but about one that was too large for example.
    fn of(ipv4: bool, (kind, code): (u8, u8)) -> Option<Barrier> {
        Some(match (ipv4, kind, code) {
            (true, 3, 0 | 6 | 11) | (false, 1, 0 | 6) => Barrier::Network,
            (true, 3, 1 | 7 | 8 | 12) | (false, 1, 3) => Barrier::Host,
            (true, 3, 3) | (false, 1, 4) => Barrier::Port,
            (true, 3, 9 | 10 | 13) | (false, 1, 1 | 5) => Barrier::Prohibited,
            (true, 11, 0) | (false, 3, 0) => Barrier::Hops,
            (true, 3, 4) | (false, 2, _) => return None,
            (true, 3, _) | (false, 1, _) => Barrier::Other(kind, code),
            _ => return None,
        })
    }
}

impl Failure {
    /// What the kernel's error about sending to an address means.
    pub(super) fn of(error: &std::io::Error, to: IpAddr) -> Failure {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Failure::Refused(to),
            Some(libc::ENETUNREACH | libc::EADDRNOTAVAIL) => Failure::NoRoute(to),
            Some(libc::EPERM) => Failure::Denied(to),
            Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => Failure::Unreachable {
                what: Barrier::Host,
                by: None,
                to,
                own: false,
            },
            Some(libc::ETIMEDOUT) => Failure::TimedOut,
            _ if error.kind() == std::io::ErrorKind::TimedOut => Failure::TimedOut,
            _ => Failure::Untried(super::words(error)),
        }
    }

    /// What the kernel's error means that there is no way to an address (`fib_props` of `net/ipv4/fib_semantics.c`, and of
    /// `net/ipv6/route.c`).
    pub(super) fn of_route(error: &std::io::Error, to: IpAddr) -> Failure {
        match error.raw_os_error() {
            Some(libc::EINVAL) => Failure::Barred(to, "blackhole"),
            Some(libc::EHOSTUNREACH) => Failure::Barred(to, "unreachable"),
            Some(libc::EACCES) => Failure::Barred(to, "prohibit"),
            _ => Failure::of(error, to),
        }
    }

    /// What an error means that was told of a packet to an address, sent from `own`. None: that it got no further isn't said.
    pub(super) fn told(told: &Told, to: IpAddr, own: Option<IpAddr>) -> Option<Failure> {
        let Some(icmp) = told.icmp else {
            let error = std::io::Error::from_raw_os_error(told.errno);
            return Some(Failure::of(&error, to)).filter(Failure::is_verdict);
        };
        Some(Failure::Unreachable {
            what: Barrier::of(to.is_ipv4(), icmp)?,
            by: told.by,
            to,
            own: told.by.is_some() && told.by == own,
        })
    }

    /// Whether it says something of the network, and not only that nothing was tried.
    pub fn is_verdict(&self) -> bool {
        !matches!(
            self,
            Failure::NoNamespace | Failure::Untried(_) | Failure::Stopped
        )
    }

    /// How much it says: of several failures the most telling is told.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Failure::Stopped | Failure::NoNamespace | Failure::Untried(_) => 0,
            Failure::NoRoute(_) => 1,
            Failure::TimedOut => 2,
            Failure::Unresolved(..) => 3,
            Failure::Barred(..) | Failure::Denied(_) => 4,
            Failure::Unreachable { .. } => 5,
            Failure::Refused(_) => 6,
        }
    }

    /// A word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Failure::TimedOut => "timed-out",
            Failure::Refused(_) => "refused",
            Failure::Unreachable { .. } => "unreachable",
            Failure::NoRoute(_) => "no-route",
            Failure::Barred(..) => "barred",
            Failure::Denied(_) => "denied",
            Failure::Unresolved(_, Unresolved::NoName) => "no-such-name",
            Failure::Unresolved(_, Unresolved::NoAddress) => "no-address",
            Failure::Unresolved(_, Unresolved::NoServer(_)) => "no-server",
            Failure::NoNamespace => "no-namespace",
            Failure::Untried(_) => "untried",
            Failure::Stopped => "stopped",
        }
    }

    /// In words, for a person.
    pub fn text(&self) -> String {
        match self {
            Failure::TimedOut => "timed out".to_owned(),
            Failure::Refused(ip) => format!("refused: nobody listens there at {ip}"),
            Failure::Unreachable { what, by, to, own } => unreachable(*what, *by, *to, *own),
            Failure::NoRoute(ip) => format!("no route to {ip}"),
            Failure::Barred(ip, route) => {
                format!("barred: the namespace's route to {ip} is of type `{route}`")
            }
            Failure::Denied(ip) => {
                format!("denied: a firewall of the namespace itself lets nothing out to {ip}")
            }
            Failure::Unresolved(name, Unresolved::NoName) => format!("no such name: {name}"),
            Failure::Unresolved(name, Unresolved::NoAddress) => format!("{name} has no address"),
            Failure::Unresolved(_, Unresolved::NoServer(servers)) => {
                let mut text = "no server answered".to_owned();
                for (place, (ip, why)) in servers.iter().enumerate() {
                    let before = if place == 0 { ": " } else { ", " };
                    let _ = write!(text, "{before}{ip} {why}");
                }
                text
            }
            Failure::NoNamespace => "there is no such namespace: apply the spec first".to_owned(),
            Failure::Untried(why) => format!("not tried: {why}"),
            Failure::Stopped => "stopped before it was done".to_owned(),
        }
    }
}

fn unreachable(what: Barrier, by: Option<IpAddr>, to: IpAddr, own: bool) -> String {
    let what = match what {
        Barrier::Host if own || by.is_none() => {
            return format!("unreachable: {to} or the router to it doesn't answer on its link");
        }
        Barrier::Network => "no route".to_owned(),
        Barrier::Host => "the host doesn't answer on its link".to_owned(),
        Barrier::Port => "nobody listens there".to_owned(),
        Barrier::Prohibited => "it is prohibited".to_owned(),
        Barrier::Hops => "it goes in a circle".to_owned(),
        Barrier::Other(kind, code) => format!("ICMP type {kind}, code {code}"),
    };
    match by {
        _ if own => format!("{to} unreachable: {what}, says the namespace itself"),
        Some(by) if by == to => format!("unreachable: {what}, says {by} itself"),
        Some(by) => format!("{to} unreachable: {what}, says {by}"),
        None => format!("{to} unreachable: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_icmp_says_who_and_what() {
        let (to, router, own) = (
            [10, 0, 0, 9].into(),
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
        );
        let text = |icmp, by| {
            let told = Told {
                errno: libc::EHOSTUNREACH,
                icmp: Some(icmp),
                by: Some(by),
                packet: Vec::new(),
            };
            Failure::told(&told, to, Some(own)).map(|failure| failure.text())
        };
        for (icmp, by, wanted) in [
            (
                (3, 0),
                router,
                "10.0.0.9 unreachable: no route, says 10.0.0.1",
            ),
            (
                (3, 13),
                router,
                "10.0.0.9 unreachable: it is prohibited, says 10.0.0.1",
            ),
            (
                (3, 3),
                to,
                "unreachable: nobody listens there, says 10.0.0.9 itself",
            ),
            (
                (3, 1),
                own,
                "unreachable: 10.0.0.9 or the router to it doesn't answer on its link",
            ),
            (
                (11, 0),
                router,
                "10.0.0.9 unreachable: it goes in a circle, says 10.0.0.1",
            ),
        ] {
            assert_eq!(text(icmp, by).as_deref(), Some(wanted));
        }
        // A packet that was too large is sent again, smaller.
        assert_eq!(text((3, 4), router), None);
    }
}
