//! Values that stand alone: names, addresses, sizes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Given;
use crate::resource::Family;
use crate::resource::link::MacAddress;
use crate::resource::name::{BadName, LinkName};
use crate::spec::reader::{Reader, short};
use crate::spec::source::{Span, Spanned, boundary};
use crate::spec::tree::{Node, Value};

impl Reader<'_> {
    pub(super) fn address(&mut self, node: &Node) -> Option<Spanned<Given>> {
        if let Value::Map(entries) = &*node.value
            && entries.iter().any(|entry| entry.key.value == "peer")
        {
            let message =
                "an address with a `peer` is not supported by this version of netform yet";
            self.found.error(message, node.span, "write `IP/LEN`");
            return None;
        }
        let text = self.scalar(node, "addresses", "a list of `IP/LEN` or `IP`")?;
        let given = match text.value.split_once('/') {
            None => text.value.parse().map(Given::Bare).ok(),
            Some(_) => text.value.parse().map(Given::Whole).ok(),
        };
        if given.is_none() {
            self.bad_address(node.span, text.value, "`IP/LEN` or `IP`");
        }
        given.map(|given| Spanned::new(given, node.span))
    }

    /// Says that a text is no address, and why if that is easy to tell.
    pub(super) fn bad_address(&mut self, at: Span, text: &str, form: &str) {
        let message = format!("`{}` is no address", short(text));
        let help = match text.split_once('/') {
            Some((ip, length)) => match ip.parse::<IpAddr>() {
                Ok(ip) => {
                    let most = if Family::of(ip) == Family::Ipv4 {
                        32
                    } else {
                        128
                    };
                    format!(
                        "the length after the `/` is from 0 to {most}, not `{}`",
                        short(length)
                    )
                }
                Err(_) => format!("it is written {form}"),
            },
            None => format!("it is written {form}"),
        };
        self.found.error(message, at, help);
    }

    pub(super) fn mac(&mut self, node: &Node) -> Option<Spanned<MacAddress>> {
        let text = self.text(node, "mac", "an Ethernet address")?;
        let help = "six pairs of hexadecimal digits between colons: `02:00:00:00:00:01`";
        let Ok(mac) = text.value.parse::<MacAddress>() else {
            let message = format!("`{}` is no Ethernet address", short(text.value));
            self.found.error(message, node.span, help);
            return None;
        };
        let wrong = if mac.0 == [0; 6] {
            "an address of zeroes belongs to no link"
        } else if mac.0[0] & 1 == 1 {
            "a link's address can't be a multicast one"
        } else {
            return Some(Spanned::new(mac, node.span));
        };
        self.found.error(
            wrong,
            node.span,
            "begin with `02`, an address of your own making",
        );
        None
    }

    pub(super) fn mtu(&mut self, node: &Node) -> Option<Spanned<u32>> {
        self.number(node, "mtu", &(68..=65535))
    }

    pub(super) fn prefix(&mut self, node: &Node, key: &str) -> Option<Spanned<IpNet>> {
        let text = self.scalar(node, key, "a prefix, `IP/LEN`")?;
        match text.value.parse::<IpNet>() {
            Ok(net) => Some(Spanned::new(net, node.span)),
            Err(_) if text.value.parse::<IpAddr>().is_ok() => {
                let message = format!("`{key}` needs a length");
                self.found
                    .error(message, node.span, format!("write `{}/LEN`", text.value));
                None
            }
            Err(_) => {
                self.bad_address(node.span, text.value, "`IP/LEN`");
                None
            }
        }
    }

    pub(super) fn ip(&mut self, node: &Node, key: &str) -> Option<Spanned<IpAddr>> {
        let text = self.scalar(node, key, "an address")?;
        if let Ok(ip) = text.value.parse() {
            return Some(Spanned::new(ip, node.span));
        }
        if let Ok(net) = text.value.parse::<IpNet>() {
            let message = format!("`{key}` is an address without a length");
            self.found
                .error(message, node.span, format!("write `{}`", net.addr()));
        } else {
            self.bad_address(node.span, text.value, "like `192.0.2.1` or `2001:db8::1`");
        }
        None
    }

    pub(super) fn name<T>(
        &mut self,
        node: &Node,
        key: &str,
        expected: &str,
        check: impl Fn(&str) -> Result<T, BadName>,
    ) -> Option<Spanned<T>> {
        let text = self.text(node, key, expected)?;
        let name = self.valid(node.span, text.value, check)?;
        Some(Spanned::new(name, node.span))
    }

    /// A name, if it is one.
    pub(super) fn valid<T>(
        &mut self,
        at: Span,
        text: &str,
        check: impl Fn(&str) -> Result<T, BadName>,
    ) -> Option<T> {
        match check(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.found
                    .error(error.to_string(), at, "choose another name");
                None
            }
        }
    }

    pub(super) fn link(&mut self, node: &Node, key: &str, what: &str) -> Option<Spanned<LinkName>> {
        let text = self.text(node, key, "a link's name")?;
        self.link_name(node.span, text.value, what)
    }

    /// A link's name, if it is one.
    pub(super) fn link_name(
        &mut self,
        at: Span,
        text: &str,
        what: &str,
    ) -> Option<Spanned<LinkName>> {
        match LinkName::try_from(text) {
            Ok(name) => Some(Spanned::new(name, at)),
            Err(BadName::Long { limit, length, .. }) => {
                let message = format!("{what} is {length} bytes, the kernel allows {limit}");
                let help = match shorter(text, limit) {
                    Some(name) => format!("try `{name}`"),
                    None => format!("choose one of at most {limit} bytes"),
                };
                self.found.error(message, at, help);
                None
            }
            Err(error) => {
                self.found
                    .error(error.to_string(), at, "choose another name");
                None
            }
        }
    }
}

/// A link's name that says the same in fewer bytes: its last words are cut to a letter and a number,
/// then the first word is cut.
fn shorter(name: &str, limit: usize) -> Option<String> {
    let bounds: Vec<usize> = name
        .match_indices(['-', '_', '.'])
        .map(|(at, _)| at + 1)
        .collect();
    let mut words: Vec<String> = Vec::new();
    let mut start = 0;
    for end in bounds.into_iter().chain([name.len()]) {
        words.push(name[start..end].to_owned());
        start = end;
    }
    for index in (1..words.len()).rev() {
        words[index] = initial(&words[index]);
        let length: usize = words.iter().map(String::len).sum();
        if length <= limit {
            return Some(words.concat()).filter(|name| LinkName::try_from(name.as_str()).is_ok());
        }
    }
    let rest = words[1..].concat();
    let room = limit.checked_sub(rest.len()).filter(|room| *room > 1)?;
    let first = words[0].trim_end_matches(['-', '_', '.']);
    let separator = &words[0][first.len()..];
    let cut = boundary(first, room.saturating_sub(separator.len()));
    let name = format!("{}{separator}{rest}", &first[..cut]);
    LinkName::try_from(name.as_str()).is_ok().then_some(name)
}

/// A word's first letter, its number and what separates it from the next.
fn initial(word: &str) -> String {
    let bare = word.trim_end_matches(['-', '_', '.']);
    let letters = bare.trim_end_matches(|c: char| c.is_ascii_digit());
    let first: String = letters.chars().take(1).collect();
    format!("{first}{}", &word[letters.len()..])
}
