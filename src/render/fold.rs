//! Texts that are alike but for the numbers in names and the addresses, of which the first few stand for all.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::resource::Ns;

/// How many of those that are alike are shown.
const SHOWN: usize = 3;

/// From how many that are alike on some are counted only.
const MANY: usize = 8;

/// What becomes of each text: `None` if it isn't shown, else the places of those that it stands for besides itself.
pub(super) fn fold<'s>(shapes: impl Iterator<Item = &'s str>) -> Vec<Option<Vec<usize>>> {
    let mut alike: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut length = 0;
    for shape in shapes {
        alike.entry(shape).or_default().push(length);
        length += 1;
    }
    let mut folded = none(length);
    for places in alike.values().filter(|places| places.len() >= MANY) {
        let (shown, rest) = places.split_at(SHOWN);
        for place in rest {
            folded[*place] = None;
        }
        folded[shown[SHOWN - 1]] = Some(rest.to_vec());
    }
    folded
}

/// That each is shown.
pub(super) fn none(length: usize) -> Vec<Option<Vec<usize>>> {
    vec![Some(Vec::new()); length]
}

/// A text of a namespace with what may differ between those that are alike taken out: the name of the namespace,
/// numbers in names, and addresses, but not the lengths of prefixes. Numbers that stand alone are values, and stay.
pub(super) fn shape(text: &str, ns: &Ns) -> String {
    let mut shape = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || "(),{}".contains(c)) {
        let end = word.trim_end_matches(|c: char| c.is_whitespace() || "(),{}".contains(c));
        let (word, rest) = word.split_at(end.len());
        shape.push_str(&bare(word, ns));
        shape.push_str(rest);
    }
    shape
}

fn bare(word: &str, ns: &Ns) -> String {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return if ip.is_ipv4() { "IPV4" } else { "IPV6" }.to_owned();
    }
    if let Ok(net) = word.parse::<IpNet>() {
        let family = if net.addr().is_ipv4() { "IPV4" } else { "IPV6" };
        return format!("{family}/{}", net.prefix_len());
    }
    let named = match ns {
        Ns::Named(name) => word.replace(name.as_str(), "\u{1}"),
        Ns::Host => word.to_owned(),
    };
    // The parts of a name between dots, colons and slashes: `net.ipv4.conf.eth7.forwarding`, `host:veth7`.
    let parts = named.split_inclusive(['.', ':', '/']);
    parts.map(numberless).collect()
}

/// A part of a name with `#` for each number, unless it is a number itself, or says of which family something is.
fn numberless(part: &str) -> String {
    let name = part.trim_end_matches(['.', ':', '/']);
    let begins_as_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '\u{1}');
    if !begins_as_name || ["ipv4", "ipv6", "ip6", "default6", "ip6tables"].contains(&name) {
        return part.to_owned();
    }
    let mut text = String::new();
    for c in part.chars() {
        if !c.is_ascii_digit() {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, ns: &str) -> String {
        shape(text, &Ns::Named(ns.try_into().expect("a name")))
    }

    #[test]
    fn names_and_addresses_may_differ() {
        for (one, other) in [
            ("veth eth0 ⇄ host:n1_p", "veth eth0 ⇄ host:n917_p"),
            ("address 10.0.0.1/24 on a7", "address 10.9.3.254/24 on a12"),
            ("address fd00::1/64 on a7", "address fd00::a:b/64 on a0"),
            (
                "sysctl net.ipv4.conf.a7.x = 1",
                "sysctl net.ipv4.conf.a12.x = 1",
            ),
            ("(lost with link a7)", "(lost with link a8)"),
            ("file /etc/netns/n1/hosts", "file /etc/netns/n2/hosts"),
        ] {
            assert_eq!(of(one, "x"), of(other, "x"));
        }
        assert_eq!(of("host:red_p", "red"), of("host:blue_p", "blue"));
    }

    #[test]
    fn values_and_families_may_not() {
        for (one, other) in [
            ("veth a1  mtu 1400", "veth a1  mtu 1500"),
            ("address 10.0.0.1/24 on a", "address 10.0.0.1/25 on a"),
            (
                "sysctl net.ipv4.conf.a.x = 1",
                "sysctl net.ipv4.conf.a.x = 2",
            ),
            (
                "sysctl net.ipv4.conf.a.x = 1",
                "sysctl net.ipv6.conf.a.x = 1",
            ),
            ("route default via 10.0.0.1", "route default via fd00::1"),
            ("route 10.0.0.0/8 metric 5", "route 10.0.0.0/8 metric 6"),
            (
                "rule 100 from 10.0.0.1 lookup 7",
                "rule 101 from 10.0.0.1 lookup 7",
            ),
        ] {
            assert_ne!(of(one, "x"), of(other, "x"));
        }
        assert_ne!(of("host:red_p", "red"), of("host:blue_p", "green"));
    }

    #[test]
    fn a_few_are_shown_each_and_of_many_the_first_ones() {
        let folded = |n: usize| fold(std::iter::repeat_n("a", n));
        assert_eq!(folded(7), none(7));
        let folded = folded(8);
        assert_eq!(folded.iter().flatten().count(), 3);
        assert_eq!(folded[2], Some(vec![3, 4, 5, 6, 7]));
        // Others between them stay.
        let mixed: Vec<String> = (0..20).map(|n| (n % 2).to_string()).collect();
        let folded = fold(mixed.iter().map(String::as_str));
        assert_eq!(folded.iter().flatten().count(), 6);
        assert_eq!(folded[4].as_ref().map(Vec::len), Some(7));
    }
}
