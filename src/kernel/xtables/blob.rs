//! From the kernel's bytes of an older table (`linux/netfilter_ipv4/ip_tables.h`, `linux/netfilter_ipv6/ip6_tables.h`,
//! `linux/netfilter/x_tables.h`) to what is understood of it.
//!
//! Its entries lie one behind the other. A chain of the kernel's begins where the table's info says and ends with its
//! policy; another begins behind an entry with the target `ERROR`, which has its name; a jump says where it leads.

use std::collections::{BTreeMap, HashMap};

use super::{comment, matches, target, text};
use crate::resource::Family;
use crate::resource::firewall::{Field, Op, Policy, Register, Rule, Step, Table, TableFamily};
use crate::resource::nftables::Verdict;

/// The names of the kernel's chains, in the order of its hooks (`enum nf_inet_hooks`).
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// Which of them is that of packets on their way through.
const FORWARD: usize = 2;
/// Where in `struct ipt_getinfo` it stands which hooks there are, where their chains begin, and where their policies are.
const VALID: usize = 32;
const BEGIN: usize = 36;
const POLICY: usize = 56;

/// Where things are in an entry.
struct Layout {
    /// The fields of the network header that addresses are in, and how long they are.
    source: usize,
    destination: usize,
    address: usize,
    /// Where the names of links begin, behind the addresses and their masks.
    links: usize,
    protocol: usize,
    flags: usize,
    inverted: usize,
    /// Those of `flags` that say that more than addresses and links is asked for.
    asks: u8,
    /// That which makes a jump one without return.
    goto: u8,
    /// Where the places of the target and of the next entry stand.
    target: usize,
    /// How long the fixed part is.
    length: usize,
}

/// `struct ipt_entry`.
const IPV4: Layout = Layout {
    source: 12,
    destination: 16,
    address: 4,
    links: 16,
    protocol: 80,
    flags: 82,
    inverted: 83,
    asks: 0x01,
    goto: 0x02,
    target: 88,
    length: 112,
};

/// `struct ip6t_entry`.
const IPV6: Layout = Layout {
    source: 8,
    destination: 24,
    address: 16,
    links: 64,
    protocol: 128,
    flags: 131,
    inverted: 132,
    asks: 0x03,
    goto: 0x04,
    target: 140,
    length: 168,
};

/// `IPT_INV_VIA_IN`, `IPT_INV_VIA_OUT`, `IPT_INV_SRCIP` and `IPT_INV_DSTIP`, which IPv6 has too.
const NOT_IN: u8 = 0x01;
const NOT_OUT: u8 = 0x02;
const NOT_SOURCE: u8 = 0x08;
const NOT_DESTINATION: u8 = 0x10;

/// The longest name of a link (`IFNAMSIZ`).
const LINK: usize = 16;
/// The length of `struct xt_entry_match` and `struct xt_entry_target`, without what follows, and the places in it.
const PART: usize = 32;
const PART_NAME: usize = 2;
const PART_REVISION: usize = 31;
/// The longest name of a chain, in the target `ERROR` (`XT_FUNCTION_MAXNAMELEN`).
const CHAIN: usize = 30;

/// The first register, which is all that these rules need.
const REGISTER: Register = 0;

/// A table with a chain at `forward`. None: it has none, or isn't what the kernel's headers say.
pub(in crate::kernel) fn table(
    family: Family,
    name: &str,
    info: &[u8],
    bytes: &[u8],
) -> Option<Table> {
    let layout = match family {
        Family::Ipv4 => &IPV4,
        Family::Ipv6 => &IPV6,
    };
    let valid = u32_at(info, VALID)?;
    let mut begins = HashMap::new();
    let mut policies = HashMap::new();
    for (hook, name) in HOOKS.iter().enumerate() {
        if valid & (1 << hook) != 0 {
            begins.insert(place_at(info, BEGIN + 4 * hook)?, *name);
            policies.insert(place_at(info, POLICY + 4 * hook)?, hook);
        }
    }
    if valid & (1 << FORWARD) == 0 {
        return None;
    }
    let entries = entries(layout, bytes);
    // The chains of people, by where they begin.
    let mut named: HashMap<usize, String> = HashMap::new();
    for entry in &entries {
        if let Some(name) = entry.head() {
            named.insert(entry.next, name);
        }
    }
    let mut table = Table {
        family: match family {
            Family::Ipv4 => TableFamily::Ip,
            Family::Ipv6 => TableFamily::Ip6,
        },
        name: name.to_owned(),
        legacy: true,
        bases: BTreeMap::new(),
        chains: BTreeMap::new(),
        names: Vec::new(),
        sets: BTreeMap::new(),
    };
    let mut current = String::new();
    for entry in &entries {
        if let Some(name) = begins.get(&entry.at) {
            (*name).clone_into(&mut current);
        }
        if let Some(hook) = policies.get(&entry.at) {
            if *hook == FORWARD {
                let policy = match entry.standard() {
                    Some(ACCEPT) => Policy::Accept,
                    _ => Policy::Drop,
                };
                table.bases.insert(current.clone(), policy);
            }
            table.chains.entry(current.clone()).or_default();
        } else if let Some(name) = entry.head() {
            // The last entry is one that no chain follows.
            if entry.next < bytes.len() {
                table.chains.entry(name.clone()).or_default();
            }
            current = name;
        } else {
            let chain = table.chains.entry(current.clone()).or_default();
            let handle = u64::try_from(chain.rules.len() + 1).expect("rules can be counted");
            chain.rules.push(Rule {
                handle,
                ..entry.rule(&named)
            });
        }
    }
    table.names = table.chains.keys().cloned().collect();
    Some(table)
}

/// One of the entries of a table.
struct Entry<'b> {
    layout: &'b Layout,
    /// Where it begins, and where the next does.
    at: usize,
    next: usize,
    fixed: &'b [u8],
    matches: &'b [u8],
    /// The target: its header and its data.
    target: &'b [u8],
}

/// All entries, as far as they are what the kernel's headers say.
fn entries<'b>(layout: &'b Layout, bytes: &'b [u8]) -> Vec<Entry<'b>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(entry) = entry(layout, bytes, at) {
        at = entry.next;
        all.push(entry);
    }
    all
}

fn entry<'b>(layout: &'b Layout, bytes: &'b [u8], at: usize) -> Option<Entry<'b>> {
    let rest = bytes.get(at..)?;
    let fixed = rest.get(..layout.length)?;
    let target = usize::from(u16_at(fixed, layout.target)?);
    let length = usize::from(u16_at(fixed, layout.target + 2)?);
    let entry = rest.get(..length)?;
    Some(Entry {
        layout,
        at,
        next: at + length,
        fixed,
        matches: entry.get(layout.length..target)?,
        target: entry.get(target..).filter(|target| target.len() >= PART)?,
    })
}

/// `-NF_DROP - 1`, `-NF_ACCEPT - 1` and `-NF_QUEUE - 1`, and `XT_RETURN`: what a standard target says that is no place.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const QUEUE: i32 = -4;
const RETURN: i32 = -5;

impl Entry<'_> {
    fn target_name(&self) -> String {
        text(&self.target[PART_NAME..PART_REVISION])
    }

    /// The name of the chain that begins behind it.
    fn head(&self) -> Option<String> {
        let name = self.target.get(PART..PART + CHAIN)?;
        (self.target_name() == "ERROR").then(|| text(name))
    }

    /// What a standard target, which has no name, says: a verdict or a place.
    fn standard(&self) -> Option<i32> {
        let verdict = u32_at(self.target, PART)?;
        self.target_name()
            .is_empty()
            .then_some(verdict.cast_signed())
    }

    fn rule(&self, chains: &HashMap<usize, String>) -> Rule {
        let mut rule = Rule::default();
        self.fixed(&mut rule.steps);
        let mut rest = self.matches;
        while let Some((part, following)) = part(rest) {
            let name = text(&part[PART_NAME..PART_REVISION]);
            let data = &part[PART..];
            let comment = comment(&name, data);
            if comment.is_none() {
                let known = matches(&name, part[PART_REVISION].into(), data);
                rule.steps.push(known.unwrap_or(Step::Maybe));
            }
            rule.comment = rule.comment.or(comment);
            rest = following;
        }
        let step = match self.standard() {
            Some(verdict) => self.verdict(verdict, chains),
            None => target(&self.target_name()),
        };
        rule.asides = step.is_none();
        rule.steps.extend(step);
        rule
    }

    /// What a standard target does. None: it goes on to the next rule.
    fn verdict(&self, verdict: i32, chains: &HashMap<usize, String>) -> Option<Step> {
        let goto = self.fixed[self.layout.flags] & self.layout.goto != 0;
        Some(match verdict {
            DROP => Step::Verdict(Verdict::Drop),
            ACCEPT => Step::Verdict(Verdict::Accept),
            QUEUE => Step::Queue,
            RETURN => Step::Verdict(Verdict::Return),
            _ => {
                let place = usize::try_from(verdict).ok();
                if place == Some(self.next) && !goto {
                    return None;
                }
                match place.and_then(|place| chains.get(&place)) {
                    Some(chain) if goto => Step::Verdict(Verdict::Goto(chain.clone())),
                    Some(chain) => Step::Verdict(Verdict::Jump(chain.clone())),
                    None => Step::Undecided,
                }
            }
        })
    }

    /// What its fixed part asks: links first, addresses, and the rest, of which nothing is known.
    fn fixed(&self, steps: &mut Vec<Step>) {
        let Layout {
            address,
            links,
            source,
            destination,
            ..
        } = *self.layout;
        let inverted = self.fixed[self.layout.inverted];
        let compare = |not: u8, data: &[u8]| Step::Compare {
            at: REGISTER,
            op: if inverted & not == 0 {
                Op::Equal
            } else {
                Op::NotEqual
            },
            data: data.to_vec(),
        };
        for (field, place, not) in [(Field::In, 0, NOT_IN), (Field::Out, 1, NOT_OUT)] {
            let name = &self.fixed[links + place * LINK..][..LINK];
            let mask = &self.fixed[links + (2 + place) * LINK..][..LINK];
            let length = mask.iter().take_while(|byte| **byte == 0xff).count();
            if mask[length..].iter().any(|byte| *byte != 0) {
                steps.push(Step::Maybe);
            } else if length > 0 {
                let to = REGISTER;
                steps.push(Step::Load { field, to });
                steps.push(compare(not, &name[..length]));
            }
        }
        for (place, offset, not) in [(0, source, NOT_SOURCE), (1, destination, NOT_DESTINATION)] {
            let data = &self.fixed[place * address..][..address];
            let mask = &self.fixed[(2 + place) * address..][..address];
            if mask.iter().all(|byte| *byte == 0) {
                // All addresses are in it, and none is outside.
                if inverted & not != 0 {
                    steps.push(Step::Maybe);
                }
                continue;
            }
            steps.push(Step::Header {
                offset,
                len: address,
                to: REGISTER,
            });
            if mask.iter().any(|byte| *byte != 0xff) {
                steps.push(Step::Bitwise {
                    from: REGISTER,
                    to: REGISTER,
                    mask: mask.to_vec(),
                    xor: vec![0; address],
                });
            }
            steps.push(compare(not, data));
        }
        let protocol = u16_at(self.fixed, self.layout.protocol).unwrap_or(0);
        if protocol != 0 || self.fixed[self.layout.flags] & self.layout.asks != 0 {
            steps.push(Step::Maybe);
        }
    }
}

/// The first match of some, and those behind it.
fn part(matches: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16_at(matches, 0)?);
    matches.split_at_checked(length).filter(|_| length >= PART)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn place_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}
