//! Reading the rules of others that translate addresses, as far as they are understood.
//!
//! What isn't understood of a rule's matches is told ([`Matches::more`]), and what isn't understood of what it does
//! is [`Meaning::Other`]; nothing that others may write makes this fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::attribute::{Attributes, Request, family};
use super::error::{Error, Object};
use super::foreign::{Names, op, register, set, value};
use super::socket::Channel;
use super::{expression, number as attr, read};
use crate::kernel::codec::ip_of;
use crate::kernel::xtables;
use crate::resource::Family;
use crate::resource::firewall::{Op, Set};
use crate::resource::name::LinkName;
use crate::resource::nftables::{PREFIX, Verdict};
use crate::state::{Match, Matches, Meaning, Translation};

/// How many chains a packet may be led through before it is lost sight of.
const DEPTH: usize = 8;

/// The most rules that are read of one namespace.
const RULES: usize = 20_000;

/// What others have, besides netform's own.
#[derive(Default)]
pub(crate) struct Others {
    /// Their tables, as `nft` names them.
    pub(crate) tables: BTreeSet<String>,
    /// Their chains that judge what is forwarded.
    pub(crate) judges: BTreeSet<String>,
    /// What translates addresses.
    pub(crate) translations: Vec<Translation>,
}

/// A table: its family by the kernel's number, and its name.
type TableKey = (u8, String);

/// The chains of a table.
#[derive(Default)]
struct Chains {
    /// Those of type `nat` that packets come to by themselves.
    bases: Vec<String>,
    /// Their rules, and those of the chains that these lead to.
    rules: BTreeMap<String, Vec<Rule>>,
}

/// What a rule is for, and what it does.
#[derive(Debug, Clone)]
struct Rule {
    handle: u64,
    family: Option<Family>,
    matches: Matches,
    does: Does,
    /// The set that it looks sources up in.
    sources: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Does {
    Translate(Meaning),
    Lead(String),
    Nothing,
}

/// Reads them. None: the rule set changed meanwhile.
pub(super) fn others(channel: &mut Channel, names: &Names) -> Result<Option<Others>, Error> {
    let before = read::generation(channel)?;
    let mut others = Others::default();
    let mut tables: BTreeMap<TableKey, Chains> = BTreeMap::new();
    let request = Request::new(libc::NFT_MSG_GETTABLE, libc::NLM_F_DUMP, 0).finish();
    let whole = channel.dump(request, &Object::Ruleset, |message| {
        let number = family(message)?;
        let name = Attributes::of(message).text(attr::TABLE_NAME)?;
        if !is_ours(number, &name) {
            others.tables.insert(format!("{} {name}", word(number)));
        }
        Some(())
    })?;
    let request = Request::new(libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP, 0).finish();
    let whole = whole
        && channel.dump(request, &Object::Ruleset, |message| {
            let chain = Attributes::of(message);
            let key = (family(message)?, chain.text(attr::CHAIN_TABLE)?);
            let is_base = chain.nested(attr::CHAIN_HOOK).is_some()
                && chain.text(attr::CHAIN_TYPE).as_deref() == Some("nat");
            let is_judge = super::foreign::policy(chain).is_some();
            if is_judge && !is_ours(key.0, &key.1) {
                let name = chain.text(attr::CHAIN_NAME)?;
                let table = format!("{} {}", word(key.0), key.1);
                others
                    .judges
                    .insert(format!("chain {name} of table {table}"));
            }
            if is_base && !is_ours(key.0, &key.1) {
                let bases = &mut tables.entry(key).or_default().bases;
                bases.extend(chain.text(attr::CHAIN_NAME));
            }
            Some(())
        })?;
    if !whole {
        return Ok(None);
    }
    let mut room = RULES;
    for (key, chains) in &mut tables {
        if !rules(channel, key, chains, names, &mut room)? {
            return Ok(None);
        }
        for base in &chains.bases {
            let start = Way {
                key,
                chains,
                family: family_of(key.0),
                matches: Matches::default(),
            };
            start.walk(base, DEPTH, &mut others.translations);
        }
    }
    Ok((read::generation(channel)? == before).then_some(others))
}

fn is_ours(number: u8, name: &str) -> bool {
    i32::from(number) == libc::NFPROTO_INET && name.starts_with(PREFIX)
}

/// What `nft` calls a family.
pub(super) fn word(number: u8) -> String {
    let word = match i32::from(number) {
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_INET => "inet",
        libc::NFPROTO_ARP => "arp",
        libc::NFPROTO_BRIDGE => "bridge",
        libc::NFPROTO_NETDEV => "netdev",
        other => return other.to_string(),
    };
    word.to_owned()
}

/// The family of the packets that a table sees; none: more than one.
fn family_of(number: u8) -> Option<Family> {
    match i32::from(number) {
        libc::NFPROTO_IPV4 => Some(Family::Ipv4),
        libc::NFPROTO_IPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

/// Reads the rules of a table. Whether the answer is of one piece.
fn rules(
    channel: &mut Channel,
    key: &TableKey,
    chains: &mut Chains,
    names: &Names,
    room: &mut usize,
) -> Result<bool, Error> {
    let request = Request::new(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, key.0)
        .text(attr::RULE_TABLE, &key.1)
        .finish();
    let whole = channel.dump(request, &Object::Table(key.1.clone()), |message| {
        let attributes = Attributes::of(message);
        if attributes.text(attr::RULE_TABLE).as_ref() != Some(&key.1) || *room == 0 {
            return Some(());
        }
        *room -= 1;
        let chain = attributes.text(attr::RULE_CHAIN)?;
        let rule = rule(attributes, family_of(key.0), names);
        chains.rules.entry(chain).or_default().push(rule);
        Some(())
    })?;
    if !whole {
        return Ok(false);
    }
    for rule in chains.rules.values_mut().flatten() {
        let Some(set) = &rule.sources else { continue };
        let Some(set) = set::set(channel, key.0, &key.1, set)? else {
            return Ok(false);
        };
        match prefixes(&set) {
            Some(value) => {
                let negated = false;
                rule.matches.from = Some(Match { value, negated });
            }
            None => rule.matches.more = true,
        }
    }
    Ok(true)
}

/// The prefixes that a set of addresses is. None: it is another.
fn prefixes(set: &Set) -> Option<Vec<IpNet>> {
    let mut all = Vec::new();
    for element in set.elements.as_ref()? {
        all.extend(match (ip_of(&element.from)?, ip_of(&element.to)?) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let nets = Ipv4Subnets::new(from, to, 0);
                nets.map(IpNet::from).collect::<Vec<_>>()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let nets = Ipv6Subnets::new(from, to, 0);
                nets.map(IpNet::from).collect()
            }
            _ => return None,
        });
    }
    (!all.is_empty()).then_some(all)
}

/// Where packets have come to, and which they are.
struct Way<'t> {
    key: &'t TableKey,
    chains: &'t Chains,
    family: Option<Family>,
    matches: Matches,
}

impl Way<'_> {
    fn walk(&self, chain: &str, depth: usize, found: &mut Vec<Translation>) {
        let rules = self.chains.rules.get(chain).into_iter().flatten();
        for rule in rules {
            let mut matches = both(&self.matches, &rule.matches);
            let family = match (self.family, rule.family) {
                (Some(one), Some(other)) if one != other => continue,
                (one, other) => one.or(other),
            };
            match &rule.does {
                Does::Nothing => {}
                Does::Lead(to) if depth > 0 => {
                    let way = Way {
                        key: self.key,
                        chains: self.chains,
                        family,
                        matches,
                    };
                    way.walk(to, depth - 1, found);
                }
                Does::Lead(_) => {
                    matches.more = true;
                    found.push(self.translation(chain, rule, family, matches, Meaning::Other));
                }
                Does::Translate(meaning) => {
                    found.push(self.translation(chain, rule, family, matches, *meaning));
                }
            }
        }
    }

    fn translation(
        &self,
        chain: &str,
        rule: &Rule,
        family: Option<Family>,
        matches: Matches,
        meaning: Meaning,
    ) -> Translation {
        let (number, table) = self.key;
        let place = format!(
            "table {} {table}, chain {chain}, handle {}",
            word(*number),
            rule.handle
        );
        Translation {
            family,
            place,
            matches,
            meaning,
        }
    }
}

/// What two rules are for, one after the other.
fn both(first: &Matches, then: &Matches) -> Matches {
    let mut more = first.more || then.more;
    Matches {
        from: one_of(first.from.as_ref(), then.from.as_ref(), &mut more),
        to: one_of(first.to.as_ref(), then.to.as_ref(), &mut more),
        iif: one_of(first.iif.as_ref(), then.iif.as_ref(), &mut more),
        oif: one_of(first.oif.as_ref(), then.oif.as_ref(), &mut more),
        protocol: one_of(first.protocol.as_ref(), then.protocol.as_ref(), &mut more),
        ports: one_of(first.ports.as_ref(), then.ports.as_ref(), &mut more),
        local: first.local || then.local,
        more,
    }
}

fn one_of<T: Clone + PartialEq>(first: Option<&T>, then: Option<&T>, more: &mut bool) -> Option<T> {
    *more |= matches!((first, then), (Some(first), Some(then)) if first != then);
    then.or(first).cloned()
}

/// What a register holds.
#[derive(Debug, Clone)]
enum Held {
    /// The first bytes of an address, under a mask.
    Address { from: bool, mask: Vec<u8> },
    /// The name of a link.
    Link { is_in: bool },
    /// The number of a link.
    Index { is_in: bool },
    /// The number of the transport protocol.
    Protocol,
    /// The family, as `NFPROTO_*`, or as an Ethernet type.
    Family { ethernet: bool },
    /// The port that the packet goes to.
    Port,
    /// What kind of address the packet goes to (`fib daddr type`).
    Kind,
    /// Bytes that stand in the rule.
    Value(Vec<u8>),
}

fn rule(rule: Attributes<'_>, family: Option<Family>, names: &Names) -> Rule {
    let mut reading = Reading {
        names,
        registers: HashMap::new(),
        rule: Rule {
            handle: rule.u64(attr::RULE_HANDLE).unwrap_or(0),
            family,
            matches: Matches::default(),
            does: Does::Nothing,
            sources: None,
        },
    };
    for expression in rule.list(attr::RULE_EXPRESSIONS) {
        let kind = expression.text(attr::EXPR_NAME).unwrap_or_default();
        let inside = expression.nested(attr::EXPR_DATA);
        let inside = inside.unwrap_or(Attributes::of(&[]));
        if reading.expression(&kind, inside).is_none() {
            reading.rule.matches.more = true;
        }
    }
    reading.rule
}

/// A rule on its way.
struct Reading<'n> {
    names: &'n Names,
    registers: HashMap<usize, Held>,
    rule: Rule,
}

impl Reading<'_> {
    /// Takes an expression in. None: it isn't understood.
    fn expression(&mut self, kind: &str, inside: Attributes<'_>) -> Option<()> {
        match kind {
            "counter" | "log" | "last" => {}
            "meta" => {
                let held = match inside.u32(attr::META_KEY)? {
                    attr::META_IIFNAME => Held::Link { is_in: true },
                    attr::META_OIFNAME => Held::Link { is_in: false },
                    attr::META_IIF => Held::Index { is_in: true },
                    attr::META_OIF => Held::Index { is_in: false },
                    attr::META_L4PROTO => Held::Protocol,
                    attr::META_NFPROTO => Held::Family { ethernet: false },
                    attr::META_PROTOCOL => Held::Family { ethernet: true },
                    _ => return None,
                };
                self.hold(inside.u32(attr::META_DREG)?, held)?;
            }
            "payload" => self.payload(inside)?,
            "fib" => {
                let kind = inside.u32(attr::FIB_RESULT)? == attr::FIB_ADDRTYPE
                    && inside.u32(attr::FIB_FLAGS)? == attr::FIB_DADDR;
                self.hold(inside.u32(attr::FIB_DREG)?, kind.then_some(Held::Kind)?)?;
            }
            "bitwise" => {
                let held = self.held(inside.u32(attr::BITWISE_SREG)?)?;
                let wanted = value(inside, attr::BITWISE_MASK)?;
                let flips = value(inside, attr::BITWISE_XOR)?;
                let Held::Address { from, .. } = held else {
                    return None;
                };
                flips.iter().all(|byte| *byte == 0).then_some(())?;
                let held = Held::Address { from, mask: wanted };
                self.hold(inside.u32(attr::BITWISE_DREG)?, held)?;
            }
            "cmp" => {
                let held = self.held(inside.u32(attr::CMP_SREG)?)?;
                let data = value(inside, attr::CMP_DATA)?;
                match op(inside.u32(attr::CMP_OP)?)? {
                    Op::Equal => self.compare(held, &data, false)?,
                    Op::NotEqual => self.compare(held, &data, true)?,
                    // A row of ports, as `nft` before 1.1 writes it.
                    order if matches!(held, Held::Port) => {
                        let (from, to) = self.rule.matches.ports.unwrap_or((0, u16::MAX));
                        self.rule.matches.ports = Some(match order {
                            Op::LessOrEqual => (from, port(&data)?),
                            Op::GreaterOrEqual => (port(&data)?, to),
                            _ => return None,
                        });
                    }
                    _ => return None,
                }
            }
            "range" => {
                let held = self.held(inside.u32(attr::RANGE_SREG)?)?;
                let (from, to) = (
                    value(inside, attr::RANGE_FROM)?,
                    value(inside, attr::RANGE_TO)?,
                );
                let plain = inside.u32(attr::RANGE_OP)? == 0 && matches!(held, Held::Port);
                plain.then_some(())?;
                self.rule.matches.ports = Some((port(&from)?, port(&to)?));
            }
            "lookup" => {
                let held = self.held(inside.u32(attr::LOOKUP_SREG)?)?;
                let plain = inside.u32(attr::LOOKUP_FLAGS).unwrap_or(0) == 0
                    && inside.u32(attr::LOOKUP_DREG).is_none()
                    && matches!(&held, Held::Address { from: true, mask } if mask.iter().all(|byte| *byte == 0xff));
                let first = self.rule.sources.is_none() && self.rule.matches.from.is_none();
                (plain && first).then_some(())?;
                self.rule.sources = Some(inside.text(attr::LOOKUP_SET)?);
            }
            "immediate" => {
                let data = inside.nested(attr::IMMEDIATE_DATA)?;
                if let Some(verdict) = data.nested(attr::DATA_VERDICT) {
                    let code = verdict.u32(attr::VERDICT_CODE)?;
                    let verdict = expression::verdict(code, verdict.text(attr::VERDICT_CHAIN))?;
                    if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                        self.rule.does = Does::Lead(chain);
                    }
                } else {
                    let bytes = data.bytes(attr::DATA_VALUE)?.to_vec();
                    self.hold(inside.u32(attr::IMMEDIATE_DREG)?, Held::Value(bytes))?;
                }
            }
            "masq" => self.rule.does = Does::Translate(Meaning::Masquerade),
            "nat" => {
                let meaning = self.nat(inside).unwrap_or(Meaning::Other);
                self.rule.does = Does::Translate(meaning);
            }
            "redir" => self.rule.does = Does::Translate(Meaning::Other),
            "match" => {
                let name = inside.text(attr::XT_NAME)?;
                let data = inside.bytes(attr::XT_INFO)?;
                if xtables::comment(&name, data).is_none() {
                    let revision = inside.u32(attr::XT_REVISION).unwrap_or(0);
                    xtables::asks(&name, revision, data, &mut self.rule.matches)?;
                }
            }
            "target" => {
                let name = inside.text(attr::XT_NAME)?;
                let data = inside.bytes(attr::XT_INFO).unwrap_or_default();
                if let Some(meaning) = xtables::translates(&name, self.rule.family, data) {
                    self.rule.does = Does::Translate(meaning);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn payload(&mut self, inside: Attributes<'_>) -> Option<()> {
        let offset = inside.u32(attr::PAYLOAD_OFFSET)?;
        let len = usize::try_from(inside.u32(attr::PAYLOAD_LEN)?).ok()?;
        let base = inside.u32(attr::PAYLOAD_BASE)?;
        let mask = vec![0xff; len.min(16)];
        let held = match (base, self.rule.family, offset, len) {
            (attr::NETWORK_HEADER, Some(Family::Ipv4), 12, ..=4)
            | (attr::NETWORK_HEADER, Some(Family::Ipv6), 8, ..=16) => {
                Held::Address { from: true, mask }
            }
            (attr::NETWORK_HEADER, Some(Family::Ipv4), 16, ..=4)
            | (attr::NETWORK_HEADER, Some(Family::Ipv6), 24, ..=16) => {
                Held::Address { from: false, mask }
            }
            (attr::NETWORK_HEADER, Some(Family::Ipv4), 9, 1) => Held::Protocol,
            (attr::TRANSPORT_HEADER, _, 2, 2) => Held::Port,
            _ => return None,
        };
        self.hold(inside.u32(attr::PAYLOAD_DREG)?, held)
    }

    fn compare(&mut self, held: Held, data: &[u8], negated: bool) -> Option<()> {
        let Rule {
            family, matches, ..
        } = &mut self.rule;
        match held {
            Held::Address { from, mask } => {
                let value = prefix((*family)?, data, &mask)?;
                if from {
                    let value = vec![value];
                    matches.from = Some(Match { value, negated });
                } else {
                    matches.to = Some(Match { value, negated });
                }
            }
            Held::Link { .. } | Held::Index { .. } => {
                let (is_in, name) = match held {
                    Held::Index { is_in } => {
                        let number = u32::from_ne_bytes(data.try_into().ok()?);
                        (is_in, self.names.get(&number)?.clone())
                    }
                    Held::Link { is_in } => {
                        // Without its NUL it is what names begin with.
                        let end = data.iter().position(|byte| *byte == 0)?;
                        (is_in, String::from_utf8(data[..end].to_vec()).ok()?)
                    }
                    _ => return None,
                };
                let value = LinkName::try_from(name).ok()?;
                let found = Some(Match { value, negated });
                *(if is_in {
                    &mut matches.iif
                } else {
                    &mut matches.oif
                }) = found;
            }
            Held::Protocol if !negated => matches.protocol = Some(*data.first()?),
            Held::Port if !negated => matches.ports = Some((port(data)?, port(data)?)),
            Held::Family { ethernet } if !negated => {
                let number = match (ethernet, data) {
                    (false, [number]) => i32::from(*number),
                    (true, [8, 0]) => libc::NFPROTO_IPV4,
                    (true, [0x86, 0xdd]) => libc::NFPROTO_IPV6,
                    _ => return None,
                };
                *family = Some(family_of(u8::try_from(number).ok()?)?);
            }
            Held::Kind if !negated => {
                let number = u32::from_ne_bytes(data.try_into().ok()?);
                (number == u32::from(libc::RTN_LOCAL)).then_some(())?;
                matches.local = true;
            }
            _ => return None,
        }
        Some(())
    }

    /// What the expression `nat` does.
    fn nat(&self, inside: Attributes<'_>) -> Option<Meaning> {
        let value = |number: u16| match self.held(inside.u32(number)?)? {
            Held::Value(bytes) => Some(bytes),
            _ => None,
        };
        let first = value(attr::NAT_ADDRESS)?;
        // To one of several, or at random.
        let last = inside
            .u32(attr::NAT_ADDRESS_LAST)
            .map(|_| value(attr::NAT_ADDRESS_LAST));
        (last.is_none() || last == Some(Some(first.clone()))).then_some(())?;
        let address = ip_of(&first)?;
        let to_port = match inside.u32(attr::NAT_PORT) {
            Some(_) => Some(port(&value(attr::NAT_PORT)?)?),
            None => None,
        };
        match inside.u32(attr::NAT_TYPE)? {
            0 if to_port.is_none() => Some(Meaning::Source(address)),
            1 => Some(Meaning::Destination(address, to_port)),
            _ => None,
        }
    }

    fn hold(&mut self, register: u32, held: Held) -> Option<()> {
        self.registers.insert(self::register(register)?, held);
        Some(())
    }

    fn held(&self, register: u32) -> Option<Held> {
        let at = self::register(register)?;
        self.registers.get(&at).cloned()
    }
}

/// The prefix that the first bytes of an address are, under a mask.
fn prefix(family: Family, data: &[u8], mask: &[u8]) -> Option<IpNet> {
    let whole = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(if family == Family::Ipv4 { 4 } else { 16 }, 0);
        ip_of(&bytes)
    };
    let net = IpNet::with_netmask(whole(data)?, whole(mask)?).ok()?;
    Some(net.trunc())
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.get(..2)?.try_into().ok().map(u16::from_be_bytes)
}
