//! Whether a rule set lets a class of packets through.

use std::collections::HashMap;

use super::bits::{Bits, Truth};
use super::packet::Packet;
use super::{Chain, Element, Field, Firewall, Flow, Op, Policy, REGISTERS, Rule, Set, Step, Table};
use crate::resource::nftables::Verdict;

/// How deep chains are followed. The kernel allows 16 jumps (`NFT_JUMP_STACK_SIZE`), but counts no `goto`.
const DEPTH: usize = 64;

/// What stops packets, or may do so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'f> {
    /// In which table.
    pub table: &'f Table,
    /// By which of its base chains the packets come there.
    pub base: &'f str,
    /// Where they are dropped.
    pub place: Place<'f>,
    /// Whether all of them are; else it depends on what isn't known of them, or isn't understood.
    pub certain: bool,
}

/// Where in a table packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'f> {
    /// By a rule.
    Rule {
        /// Of which chain.
        chain: &'f str,
        /// Which.
        rule: &'f Rule,
    },
    /// By the policy of the base chain.
    Policy,
}

/// A rule set, ready to judge many flows.
#[derive(Debug)]
pub struct Judge<'f> {
    tables: Vec<Indexed<'f>>,
    /// Whether a rule gives packets a mark.
    marked: bool,
}

/// A table, and its chains by name.
#[derive(Debug)]
struct Indexed<'f> {
    table: &'f Table,
    chains: HashMap<&'f str, Index<'f>>,
}

/// The rules of a chain by the link that packets come by, so that those for other links are never looked at: an
/// iptables chain may have some for each of a thousand.
#[derive(Debug)]
struct Index<'f> {
    chain: &'f Chain,
    /// The places of those that begin by asking for a link.
    links: HashMap<&'f [u8], Vec<usize>>,
    /// The places of all others.
    others: Vec<usize>,
}

impl<'f> Judge<'f> {
    /// Gets ready.
    pub fn of(firewall: &'f Firewall) -> Judge<'f> {
        let indexed = |table: &'f Table| Indexed {
            table,
            chains: table
                .chains
                .iter()
                .map(|(name, chain)| (name.as_str(), Index::of(chain)))
                .collect(),
        };
        let chains = firewall.tables.iter();
        let mut chains = chains.flat_map(|table| table.chains.values());
        Judge {
            tables: firewall.tables.iter().map(indexed).collect(),
            marked: chains.any(|chain| chain.rules.iter().any(sets_mark)),
        }
    }

    /// What stops the packets of a flow at `forward`, one finding for each base chain that does so or may do so.
    ///
    /// One that only may do so counts if the packets are dropped wherever nothing that isn't known comes true: it takes
    /// an exception for them to pass.
    pub fn findings(&self, flow: &Flow) -> Vec<Finding<'f>> {
        let mut findings = Vec::new();
        let packet = Packet::of(flow, self.marked);
        let tables = self.tables.iter();
        for indexed in tables.filter(|indexed| indexed.table.family.sees(flow.family)) {
            let table = indexed.table;
            let mut walk = Walk {
                indexed,
                link: flow.from.link.as_str().as_bytes(),
                packet: &packet,
                fates: HashMap::new(),
            };
            for (base, policy) in &table.bases {
                let fate = walk.base(base, *policy);
                if let (Some(_), End::Drop(place)) = (fate.drop, fate.otherwise) {
                    findings.push(Finding {
                        table,
                        base,
                        place,
                        certain: !fate.accepts,
                    });
                }
            }
        }
        findings
    }
}

impl<'f> Index<'f> {
    fn of(chain: &'f Chain) -> Index<'f> {
        let mut index = Index {
            chain,
            links: HashMap::new(),
            others: Vec::new(),
        };
        for (place, rule) in chain.rules.iter().enumerate() {
            let places = match link_of(rule) {
                Some(link) => index.links.entry(link).or_default(),
                None => &mut index.others,
            };
            places.push(place);
        }
        index
    }

    /// The rules that may match packets that come by a link, in order.
    fn rules(&self, link: &[u8]) -> impl Iterator<Item = &'f Rule> {
        let mut own = self.links.get(link).into_iter().flatten().peekable();
        let mut others = self.others.iter().peekable();
        let rules = &self.chain.rules;
        std::iter::from_fn(move || {
            let first = match (own.peek(), others.peek()) {
                (Some(own), Some(other)) => own < other,
                (own, _) => own.is_some(),
            };
            let place = if first { own.next() } else { others.next() };
            place.map(|place| &rules[*place])
        })
    }
}

/// The link that packets must come by for a rule to do anything, if it begins with that.
fn link_of(rule: &Rule) -> Option<&[u8]> {
    let [
        Step::Load {
            field: Field::In,
            to,
        },
        Step::Compare {
            at,
            op: Op::Equal,
            data,
        },
        ..,
    ] = rule.steps.as_slice()
    else {
        return None;
    };
    // Without the NUL at its end it would be the beginning of a name only.
    let end = data.iter().position(|byte| *byte == 0)?;
    let rest = &data[end..];
    (at == to && rest.iter().all(|byte| *byte == 0)).then_some(&data[..end])
}

fn sets_mark(rule: &Rule) -> bool {
    rule.steps.contains(&Step::Mark)
}

/// How the way of packets ends, as far as one chain is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End<'f> {
    Accept,
    Drop(Place<'f>),
    /// They come to the end of the chain, or are sent back.
    Falls,
}

/// What may become of packets in a chain, and in those that it leads to.
#[derive(Debug, Clone, Copy)]
struct Fate<'f> {
    accepts: bool,
    drop: Option<Place<'f>>,
    falls: bool,
    /// What becomes of them if nothing comes true that isn't known.
    otherwise: End<'f>,
}

impl<'f> Fate<'f> {
    /// Of what isn't understood.
    fn unknown() -> Fate<'f> {
        Fate {
            accepts: true,
            drop: Some(Place::Policy),
            falls: true,
            otherwise: End::Accept,
        }
    }
}

/// A walk of packets through a table.
struct Walk<'f, 'w> {
    indexed: &'w Indexed<'f>,
    /// The link that they come by.
    link: &'w [u8],
    packet: &'w Packet,
    /// Those of chains that were walked through: it is the same each time.
    fates: HashMap<&'f str, Fate<'f>>,
}

impl<'f> Walk<'f, '_> {
    fn base(&mut self, name: &'f str, policy: Policy) -> Fate<'f> {
        let mut fate = self.chain(name, 0);
        let end = match policy {
            Policy::Accept => End::Accept,
            Policy::Drop => End::Drop(Place::Policy),
        };
        if fate.falls {
            match policy {
                Policy::Accept => fate.accepts = true,
                Policy::Drop => fate.drop = fate.drop.or(Some(Place::Policy)),
            }
        }
        if fate.otherwise == End::Falls {
            fate.otherwise = end;
        }
        fate
    }

    fn chain(&mut self, name: &str, depth: usize) -> Fate<'f> {
        let Some((name, index)) = self.indexed.chains.get_key_value(name) else {
            return Fate::unknown();
        };
        if let Some(fate) = self.fates.get(name) {
            return *fate;
        }
        if depth > DEPTH {
            return Fate::unknown();
        }
        // The kernel allows no circles, but the rules may have changed while they were read.
        self.fates.insert(name, Fate::unknown());
        let fate = self.rules(name, index, depth);
        self.fates.insert(name, fate);
        fate
    }

    fn rules(&mut self, name: &'f str, index: &Index<'f>, depth: usize) -> Fate<'f> {
        let mut fate = Fate {
            accepts: false,
            drop: None,
            falls: false,
            otherwise: End::Falls,
        };
        // What is decided where nothing comes true that isn't known.
        let mut decided: Option<End<'f>> = None;
        for rule in index.rules(self.link) {
            let outcome = outcome(rule, self.packet, self.indexed.table);
            let place = Place::Rule { chain: name, rule };
            let mut goes_on = !outcome.certain;
            let mut end = None;
            for verdict in &outcome.verdicts {
                let this = match verdict {
                    Verdict::Accept => {
                        fate.accepts = true;
                        Some(End::Accept)
                    }
                    Verdict::Drop => {
                        fate.drop = fate.drop.or(Some(place));
                        Some(End::Drop(place))
                    }
                    Verdict::Return => {
                        fate.falls = true;
                        Some(End::Falls)
                    }
                    Verdict::Continue => {
                        goes_on = true;
                        None
                    }
                    Verdict::Jump(to) | Verdict::Goto(to) => {
                        let jumps = matches!(verdict, Verdict::Jump(_));
                        let there = self.chain(to, depth + 1);
                        fate.accepts |= there.accepts;
                        fate.drop = fate.drop.or(there.drop);
                        if jumps {
                            goes_on |= there.falls;
                        } else {
                            fate.falls |= there.falls;
                        }
                        Some(there.otherwise).filter(|end| !jumps || *end != End::Falls)
                    }
                };
                end = end.or(this);
            }
            if outcome.certain {
                decided = decided.or(end);
            }
            if !goes_on {
                fate.otherwise = decided.unwrap_or(End::Falls);
                return fate;
            }
        }
        if index.chain.truncated {
            let unknown = Fate::unknown();
            fate.accepts = true;
            fate.drop = fate.drop.or(unknown.drop);
            decided = decided.or(Some(unknown.otherwise));
        }
        fate.falls = true;
        fate.otherwise = decided.unwrap_or(End::Falls);
        fate
    }
}

/// What a rule may decide on packets. Without a verdict it lets them go on.
struct Outcome {
    verdicts: Vec<Verdict>,
    /// Whether it decides on all of them.
    certain: bool,
}

fn outcome(rule: &Rule, packet: &Packet, table: &Table) -> Outcome {
    let mut registers = Bits::unknown(REGISTERS);
    let mut truth = Truth::Yes;
    let mut verdicts: Vec<Verdict> = Vec::new();
    let sets = |name: &String| table.sets.get(name);
    for step in &rule.steps {
        let matches = match step {
            Step::Load { field, to } => {
                load(&mut registers, *to, &packet.field(*field));
                Truth::Yes
            }
            Step::Header { offset, len, to } => {
                load(&mut registers, *to, &packet.header.slice(*offset, *len));
                Truth::Yes
            }
            Step::Value { data, to } => {
                load(&mut registers, *to, &Bits::known(data));
                Truth::Yes
            }
            Step::Link {
                field,
                name,
                negated,
            } => {
                let mut name = name.clone().unwrap_or_default().into_bytes();
                name.resize(16, 0);
                packet.field(*field).equal(&name).negated(*negated)
            }
            Step::Compare { at, op, data } => registers.slice(*at, data.len()).compare(*op, data),
            Step::Range {
                at,
                negated,
                from,
                to,
            } => registers
                .slice(*at, from.len())
                .within(from, to)
                .negated(*negated),
            Step::Bitwise {
                from,
                to,
                mask,
                xor,
            } => {
                let masked = registers.slice(*from, mask.len()).masked(mask, xor);
                load(&mut registers, *to, &masked);
                Truth::Yes
            }
            Step::Swap {
                from,
                to,
                len,
                size,
            } => {
                let swapped = registers.slice(*from, *len).swapped(*size);
                load(&mut registers, *to, &swapped);
                Truth::Yes
            }
            Step::Lookup { at, set, negated } => {
                let found = sets(set).map_or(Truth::Maybe, |set| {
                    let (found, _) = look_up(set, &registers, *at);
                    found
                });
                found.negated(*negated)
            }
            Step::Map { at, set } => {
                let Some((found, mut of_set)) = sets(set).map(|set| look_up(set, &registers, *at))
                else {
                    return undecided(verdicts);
                };
                if sets(set).is_some_and(|set| set.elements.is_none()) {
                    return undecided(verdicts);
                }
                verdicts.append(&mut of_set);
                // A map without a value ends the rule; what it has a value for goes by that.
                let certain = truth.and(found) == Truth::Yes;
                return Outcome { verdicts, certain };
            }
            Step::Conntrack(asked) => asked.matches(packet),
            Step::Mark => Truth::Yes,
            Step::Maybe => {
                registers = Bits::unknown(REGISTERS);
                Truth::Maybe
            }
            Step::Verdict(verdict) => {
                verdicts.push(verdict.clone());
                let certain = truth == Truth::Yes;
                return Outcome { verdicts, certain };
            }
            Step::Undecided => return undecided(verdicts),
            Step::Queue => {
                verdicts.extend([Verdict::Accept, Verdict::Drop]);
                let certain = truth == Truth::Yes;
                return Outcome { verdicts, certain };
            }
        };
        truth = truth.and(matches);
        if truth == Truth::No {
            break;
        }
    }
    Outcome {
        verdicts,
        certain: false,
    }
}

/// What may be decided in any way.
fn undecided(mut verdicts: Vec<Verdict>) -> Outcome {
    verdicts.extend([Verdict::Accept, Verdict::Drop]);
    Outcome {
        verdicts,
        certain: false,
    }
}

/// Loads something into registers. The kernel fills the last four bytes up with zeros.
fn load(registers: &mut Bits, to: usize, bits: &Bits) {
    let padding = bits.len().next_multiple_of(4);
    registers.put(to, &Bits::known(&vec![0; padding]));
    registers.put(to, bits);
}

/// Whether registers are in a set, and the verdicts that a map may have for them.
fn look_up(set: &Set, registers: &Bits, at: usize) -> (Truth, Vec<Verdict>) {
    let Some(elements) = &set.elements else {
        return (Truth::Maybe, Vec::new());
    };
    let mut found = Truth::No;
    let mut verdicts = Vec::new();
    for element in elements {
        match contains(element, &set.fields, registers, at) {
            Truth::No => {}
            Truth::Yes => {
                // No other element has it.
                return (Truth::Yes, element.verdict.iter().cloned().collect());
            }
            Truth::Maybe => {
                found = Truth::Maybe;
                verdicts.extend(element.verdict.clone());
            }
        }
    }
    if let Some(otherwise) = &set.otherwise {
        verdicts.insert(0, otherwise.clone());
        found = Truth::Yes;
    }
    (found, verdicts)
}

fn contains(element: &Element, fields: &[usize], registers: &Bits, at: usize) -> Truth {
    let mut truth = Truth::Yes;
    let mut start = 0;
    for len in fields {
        let range = start..start + len;
        let (Some(from), Some(to)) = (element.from.get(range.clone()), element.to.get(range))
        else {
            return Truth::Maybe;
        };
        truth = truth.and(registers.slice(at + start, *len).within(from, to));
        start += len.next_multiple_of(4);
    }
    truth
}
