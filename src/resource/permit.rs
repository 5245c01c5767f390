//! Accept rules in the iptables chains of others, for what a gateway lets pass.
//!
//! `iptables-nft` and Docker must still be able to read the table, or they refuse to work with it: so there is nothing in
//! such a rule but names of links, addresses, a counter, a comment and `accept`. It knows nothing of connections, and
//! needn't: netform's own table judges these.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Change;
use super::firewall::{Field, Op, Register, Rule, Step, TableFamily};
use super::name::{LinkName, TopologyName};
use super::nftables::{self, Verdict};

/// The table of iptables that packets on their way through come by.
pub const TABLE: &str = "filter";

/// A rule by all that it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PermitKey {
    /// Whose it is: its comment says so.
    pub topology: TopologyName,
    /// The family of the table `filter`.
    pub family: TableFamily,
    /// The chain.
    pub chain: String,
    /// The link that packets come by.
    pub from: LinkName,
    /// The link that they leave by.
    pub to: LinkName,
    /// Where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpNet>,
}

/// Where in its chain a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permit {
    /// Before all rules of others. It is made there.
    Top,
    /// Behind a rule of others.
    Below,
    /// Where it is doesn't matter.
    Anywhere,
}

impl Permit {
    /// What it takes to get from `found` to this.
    pub(super) fn change_from(self, found: Permit) -> Change {
        match (self, found) {
            (Permit::Top, Permit::Below) => {
                Change::Replace("a rule before it drops what it is for".to_owned())
            }
            _ => Change::None,
        }
    }
}

impl PermitKey {
    /// Its comment.
    pub fn comment(&self) -> String {
        nftables::tag(&self.topology)
    }

    /// What it does, without its counter.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (field, link) in [(Field::In, &self.from), (Field::Out, &self.to)] {
            let mut data = link.as_str().as_bytes().to_vec();
            data.resize(NAME, 0);
            steps.push(Step::Load { field, to: 0 });
            steps.push(equal(data));
        }
        let nets = [
            (&self.source, Side::Source),
            (&self.destination, Side::Destination),
        ];
        for (net, side) in nets {
            let Some(net) = net else { continue };
            let (address, mask) = match net {
                IpNet::V4(net) => (
                    net.network().octets().to_vec(),
                    net.netmask().octets().to_vec(),
                ),
                IpNet::V6(net) => (
                    net.network().octets().to_vec(),
                    net.netmask().octets().to_vec(),
                ),
            };
            let len = address.len();
            steps.push(Step::Header {
                offset: side.offset(self.family),
                len,
                to: 0,
            });
            if net.prefix_len() < net.max_prefix_len() {
                steps.push(Step::Bitwise {
                    from: 0,
                    to: 0,
                    mask,
                    xor: vec![0; len],
                });
            }
            steps.push(equal(address));
        }
        steps.push(Step::Verdict(Verdict::Accept));
        steps
    }

    /// The rule, as the kernel would have it.
    pub fn rule(&self) -> Rule {
        Rule {
            steps: self.steps(),
            comment: Some(self.comment()),
            ..Rule::default()
        }
    }

    /// What a rule in a table `filter` says, if it is one of these. One with anything more or less to it isn't, whatever
    /// its comment says.
    pub fn of(family: TableFamily, chain: &str, rule: &Rule) -> Option<PermitKey> {
        let topology = nftables::owner(rule.comment.as_deref()?)?;
        if rule.asides || rule.comment.as_deref() != Some(&nftables::tag(&topology)) {
            return None;
        }
        let mut words = Words(&rule.steps);
        let from = words.link(Field::In)?;
        let to = words.link(Field::Out)?;
        let source = words.net(family, Side::Source);
        let destination = words.net(family, Side::Destination);
        (words.0 == [Step::Verdict(Verdict::Accept)]).then(|| PermitKey {
            topology,
            family,
            chain: chain.to_owned(),
            from,
            to,
            source,
            destination,
        })
    }
}

/// As `nft` would write it.
impl fmt::Display for PermitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iifname {} oifname {} ", self.from, self.to)?;
        for (word, net) in [("saddr", &self.source), ("daddr", &self.destination)] {
            if let Some(net) = net {
                write!(f, "{} {word} {net} ", self.family)?;
            }
        }
        f.write_str("accept")
    }
}

/// How many bytes the name of a link has (`IFNAMSIZ`).
const NAME: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    /// Where in the network header the address is.
    fn offset(self, family: TableFamily) -> usize {
        match (family, self) {
            (TableFamily::Ip6, Side::Source) => 8,
            (TableFamily::Ip6, Side::Destination) => 24,
            (_, Side::Source) => 12,
            (_, Side::Destination) => 16,
        }
    }
}

fn equal(data: Vec<u8>) -> Step {
    Step::Compare {
        at: 0,
        op: Op::Equal,
        data,
    }
}

/// What is left of a rule.
struct Words<'r>(&'r [Step]);

impl Words<'_> {
    /// That the packet comes or leaves by a link. `nft` compares all bytes of the name, `iptables` those up to its end.
    fn link(&mut self, which: Field) -> Option<LinkName> {
        let [
            Step::Load { field, to },
            Step::Compare {
                at,
                op: Op::Equal,
                data,
            },
            rest @ ..,
        ] = self.0
        else {
            return None;
        };
        let name = data.split(|byte| *byte == 0).next()?;
        let whole = name.len() < data.len();
        let name = LinkName::try_from(std::str::from_utf8(name).ok()?).ok()?;
        if *field != which || to != at || !whole {
            return None;
        }
        self.0 = rest;
        Some(name)
    }

    /// That one of its addresses is in a prefix. Prefixes of whole bytes may be compared without a mask.
    fn net(&mut self, family: TableFamily, side: Side) -> Option<IpNet> {
        let [Step::Header { offset, len, to }, rest @ ..] = self.0 else {
            return None;
        };
        let (mask, rest) = match rest {
            [
                Step::Bitwise {
                    from,
                    to: into,
                    mask,
                    xor,
                },
                rest @ ..,
            ] if from == to && into == to && xor.iter().all(|byte| *byte == 0) => {
                (mask.clone(), rest)
            }
            rest => (vec![0xff; *len], rest),
        };
        let [
            Step::Compare {
                at,
                op: Op::Equal,
                data,
            },
            rest @ ..,
        ] = rest
        else {
            return None;
        };
        let register: &Register = to;
        let net = net(family, &mask, data)?;
        (*offset == side.offset(family) && at == register && data.len() == *len).then(|| {
            self.0 = rest;
            net
        })
    }
}

/// A prefix by the first bytes of its address, and of its mask.
fn net(family: TableFamily, mask: &[u8], address: &[u8]) -> Option<IpNet> {
    let bits: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let length = u8::try_from(bits).ok().filter(|_| bits == ones)?;
    let full = mask
        .iter()
        .position(|byte| *byte != 0xff)
        .unwrap_or(mask.len());
    if mask.iter().skip(full + 1).any(|byte| *byte != 0) {
        return None;
    }
    let ip: std::net::IpAddr = match family {
        TableFamily::Ip6 => padded::<16>(address)?.into(),
        TableFamily::Ip | TableFamily::Inet => padded::<4>(address)?.into(),
    };
    IpNet::new(ip, length).ok()
}

fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: Option<&str>, destination: Option<&str>) -> PermitKey {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let six = source.or(destination).is_some_and(|net| net.contains(':'));
        let name = |text| LinkName::try_from(text).expect("a name");
        PermitKey {
            topology: TopologyName::try_from("lab").expect("a name"),
            family: if six {
                TableFamily::Ip6
            } else {
                TableFamily::Ip
            },
            chain: "FORWARD".to_owned(),
            from: name("in0"),
            to: name("a-name-of-15-chr"[..15].into()),
            source: source.map(net),
            destination: destination.map(net),
        }
    }

    fn read(key: &PermitKey, rule: &Rule) -> Option<PermitKey> {
        PermitKey::of(key.family, &key.chain, rule)
    }

    #[test]
    fn a_rule_says_what_it_was_made_of() {
        for (source, destination) in [
            (None, None),
            (Some("10.1.0.0/24"), None),
            (None, Some("10.1.0.7/32")),
            (Some("10.1.0.0/17"), Some("0.0.0.0/0")),
            (Some("fd00::/64"), Some("fd00::1/128")),
        ] {
            let key = key(source, destination);
            assert_eq!(read(&key, &key.rule()), Some(key));
        }
    }

    #[test]
    fn what_says_anything_more_or_less_is_not_ours() {
        let key = key(Some("10.1.0.0/24"), None);
        let rule = key.rule();
        assert_eq!(
            read(
                &key,
                &Rule {
                    asides: true,
                    ..rule.clone()
                }
            ),
            None
        );
        for comment in [None, Some("netform:lab2 "), Some("netform:"), Some("x")] {
            let comment = comment.map(str::to_owned);
            assert_eq!(
                read(
                    &key,
                    &Rule {
                        comment,
                        ..rule.clone()
                    }
                ),
                None
            );
        }
        for place in 0..rule.steps.len() {
            let mut less = rule.clone();
            less.steps.remove(place);
            let read = read(&key, &less);
            assert!(read.is_none_or(|read| read != key), "without step {place}");
            let mut more = rule.clone();
            more.steps.insert(place, Step::Maybe);
            assert_eq!(self::read(&key, &more), None, "with a step more at {place}");
        }
        let mut drops = rule.clone();
        drops.steps.pop();
        drops.steps.push(Step::Verdict(Verdict::Drop));
        assert_eq!(read(&key, &drops), None);
        let mut wild = rule;
        wild.steps[1] = equal(b"in".to_vec());
        assert_eq!(read(&key, &wild), None);
    }
}
