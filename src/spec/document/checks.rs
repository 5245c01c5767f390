//! Checks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::settings::bad_name;
use super::{looks_like_an_address, ns_of};
use crate::duration;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::keys;
use crate::spec::model::{Check, Expect, Peer, What};
use crate::spec::reader::{Fields, Reader, short};
use crate::spec::source::Spanned;
use crate::spec::tree::{Node, Value};

/// How long a check may take if nothing is said.
const WITHIN: Duration = Duration::from_secs(3);

/// The least and the most that may be said.
const LIMITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(600));

/// The most characters of a name.
const LONGEST_NAME: usize = 100;

/// What a check may try.
const KINDS: [&str; 3] = ["ping", "tcp", "resolve"];

impl Reader<'_> {
    pub(super) fn check(&mut self, node: &Node) -> Option<Check> {
        let fields = self.fields(node, &keys::CHECK, node.span)?;
        let from = fields
            .get("from")
            .and_then(|node| self.name(node, "from", "a namespace's name", ns_of));
        let what = self.tried(node, &fields);
        let expect = match fields.get("expect") {
            Some(node) => match self.one_of(node, "expect", keys::EXPECTATIONS) {
                Some("fail") => Some(Expect::Fail),
                other => other.map(|_| Expect::Ok),
            },
            None => Some(Expect::Ok),
        };
        let within = match fields.get("within") {
            Some(node) => self.within(node),
            None => Some(WITHIN),
        };
        let name = match fields.get("name") {
            Some(node) => Some(self.title(node)?),
            None => None,
        };
        Some(Check {
            span: node.span,
            name,
            from: from?,
            what: what?,
            expect: expect?,
            within: within?,
        })
    }

    /// What a check tries: exactly one thing.
    fn tried(&mut self, node: &Node, fields: &Fields<'_, '_>) -> Option<What> {
        let mut kinds = KINDS
            .into_iter()
            .filter_map(|kind| Some((kind, fields.get(kind)?)));
        let Some((kind, value)) = kinds.next() else {
            let message = "a check needs one of `ping`, `tcp` and `resolve`";
            self.found
                .error(message, node.span, "add what is to be tried");
            return None;
        };
        if let Some((other, second)) = kinds.next() {
            let message =
                format!("a check tries one thing, and this one has `{kind}` and `{other}`");
            let help = "make it a check of its own";
            let diagnostic = Diagnostic::new(message, second.span, help);
            self.found.push(diagnostic.also(value.span, "the other"));
            return None;
        }
        match kind {
            "ping" => {
                let text = self.scalar(value, kind, "an address or a name")?;
                self.far_end(value, kind, text.value).map(What::Ping)
            }
            "tcp" => self.service(value),
            _ => self.resolved(value),
        }
    }

    /// A host and a port.
    fn service(&mut self, node: &Node) -> Option<What> {
        let expected = "a host and a port, `HOST:PORT`";
        if let Value::List(_) = &*node.value {
            let help = "put an IPv6 address with a port between quotes: \"[fd00::2]:80\"";
            self.wrong(node, "tcp", expected, help);
            return None;
        }
        let text = self.scalar(node, "tcp", expected)?.value;
        let bare = text.parse::<IpAddr>().is_ok();
        let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None if bare => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if text.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_err()
            || !text.starts_with('[') && host.contains(':') && !bare
        {
            let message = format!("`{}` is no host with a port", short(text));
            let help = "write it like `192.0.2.1:80`, \"[2001:db8::1]:80\" or `db.lab:80`";
            self.found.error(message, node.span, help);
            return None;
        }
        let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port
            .filter(digits)
            .and_then(|port| port.parse::<u16>().ok())
            .filter(|port| *port > 0);
        let Some(port) = number else {
            let message = format!("`{}` ends in no port", short(text));
            let help = match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => format!("write \"[{ip}]:PORT\", with a port from 1 to 65535"),
                _ if text.parse::<u16>().is_ok() => format!("write `HOST:{text}`"),
                _ => format!("write `{}:PORT`, with a port from 1 to 65535", short(host)),
            };
            self.found.error(message, node.span, help);
            return None;
        };
        Some(What::Tcp(self.far_end(node, "tcp", host)?, port))
    }

    /// A name that is to be resolved.
    fn resolved(&mut self, node: &Node) -> Option<What> {
        let name = self.scalar(node, "resolve", "a name of a host")?.value;
        if name.parse::<IpAddr>().is_ok() {
            let message = format!("`{name}` is an address, which needs no resolving");
            let help = format!("name a host, or write `ping: \"{name}\"`");
            self.found.error(message, node.span, help);
            return None;
        }
        match self.far_end(node, "resolve", name)? {
            Peer::Name(name) => Some(What::Resolve(name)),
            Peer::Address(_) => None,
        }
    }

    /// An address that can be sent to, or a name.
    fn far_end(&mut self, node: &Node, key: &str, text: &str) -> Option<Peer> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let Some((why, help)) = untried(ip) else {
                return Some(Peer::Address(ip));
            };
            let message = format!("`{key}` can't be tried with {ip}: {why}");
            self.found.error(message, node.span, help);
            return None;
        }
        // All digits at the end: no such domain can be, so an address was meant (RFC 1123, section 2.1).
        let last = text
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        if numeric || text.contains([':', '/']) && looks_like_an_address(text) {
            if text.contains('/') && key == "ping" {
                self.ip(node, key)?;
            }
            self.bad_address(node.span, text, "like `192.0.2.1` or `2001:db8::1`");
            return None;
        }
        if let Some((message, help)) = bad_name(text.strip_suffix('.').unwrap_or(text)) {
            self.found.error(message, node.span, help);
            return None;
        }
        Some(Peer::Name(text.to_owned()))
    }

    /// How long a check may take.
    fn within(&mut self, node: &Node) -> Option<Duration> {
        let text = self
            .scalar(node, "within", "a time, `500ms` or `10s`")?
            .value;
        let time = match duration::parse(text) {
            Ok(time) => time,
            Err(why) => {
                let message = format!("`within` is no time: {}", short(text));
                self.found.error(message, node.span, why);
                return None;
            }
        };
        if time < LIMITS.0 || time > LIMITS.1 {
            let message = format!("`within` can't be {}", short(text));
            self.found
                .error(message, node.span, "it is from 10ms to 10m");
            return None;
        }
        Some(time)
    }

    /// What a check is called.
    fn title(&mut self, node: &Node) -> Option<Spanned<String>> {
        let text = self.text(node, "name", "a text")?.value;
        let wrong = if text.trim().is_empty() {
            "a check's name can't be empty"
        } else if text.chars().any(disturbs) {
            "a check's name can't have line breaks, control characters, or such as turn the direction of a text"
        } else if text.chars().count() > LONGEST_NAME {
            "a check's name has at most 100 characters"
        } else {
            return Some(Spanned::new(text.to_owned(), node.span));
        };
        self.found.error(wrong, node.span, "choose another name");
        None
    }
}

/// Whether a character does something else to a line than to stand in it.
fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Why nothing can be tried with an address, and what to do.
fn untried(ip: IpAddr) -> Option<(&'static str, &'static str)> {
    let unicast = "name the address of one host";
    if ip.is_unspecified() {
        Some(("it means no address", unicast))
    } else if ip.is_multicast() {
        Some(("it is a multicast address", unicast))
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some(("it is the broadcast address of every network", unicast))
    } else if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        Some((
            "every link has its own of these, and a check names no link",
            "name another address of that host",
        ))
    } else {
        None
    }
}
