//! Reading what others have at the hook `forward`, as far as it is understood.
//!
//! Nothing that they may write makes this fail: an instruction that isn't known becomes one that may do anything.

mod rule;
pub(super) mod set;

pub(super) use self::rule::{op, register, rule, value};
pub(super) use self::set::{Gathered, shape};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::attribute::{Attributes, Request, family};
use super::error::{Error, Object};
use super::socket::Channel;
use super::{code, number as attr, read};
use crate::resource::firewall::{Chain, Policy, Step, Table, TableFamily};
use crate::resource::nftables::{PREFIX, Verdict};

/// The most rules that are read of one namespace. What has more is taken for unknown from there on.
const RULES: usize = 50_000;

/// `NFT_TABLE_F_DORMANT` of `linux/netfilter/nf_tables.h`.
const DORMANT: u32 = 1;

/// The name of each link, by its number.
pub(super) type Names = HashMap<u32, String>;

/// The tables that have a base chain at `forward`, but for netform's own. None: the rule set changed
/// meanwhile.
pub(super) fn tables(channel: &mut Channel, names: &Names) -> Result<Option<Vec<Table>>, Error> {
    let before = read::generation(channel)?;
    let Some(mut tables) = bases(channel)? else {
        return Ok(None);
    };
    if tables.is_empty() {
        return Ok(Some(tables));
    }
    let Some(dormant) = dormant(channel)? else {
        return Ok(None);
    };
    tables.retain(|table| !dormant.contains(&(table.family, table.name.clone())));
    let mut room = RULES;
    for table in &mut tables {
        if !contents(channel, table, names, &mut room)? {
            return Ok(None);
        }
    }
    Ok((read::generation(channel)? == before).then_some(tables))
}

/// Reads the base chains at `forward`, and of their tables the names of all chains.
fn bases(channel: &mut Channel) -> Result<Option<Vec<Table>>, Error> {
    let mut tables: BTreeMap<(TableFamily, String), Table> = BTreeMap::new();
    let request = Request::new(libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP, 0).finish();
    let whole = channel.dump(request, &Object::Ruleset, |message| {
        let chain = Attributes::of(message);
        let (Some(family), Some(name), Some(chain_name)) = (
            family(message).and_then(table_family),
            chain.text(attr::CHAIN_TABLE),
            chain.text(attr::CHAIN_NAME),
        ) else {
            return Some(());
        };
        if family == TableFamily::Inet && name.starts_with(PREFIX) {
            return Some(());
        }
        let table = tables
            .entry((family, name.clone()))
            .or_insert_with(|| Table {
                family,
                name,
                legacy: false,
                bases: BTreeMap::new(),
                chains: BTreeMap::new(),
                names: Vec::new(),
                sets: BTreeMap::new(),
            });
        if let Some(policy) = policy(chain) {
            table.bases.insert(chain_name.clone(), policy);
        }
        table.names.push(chain_name);
        Some(())
    })?;
    let mut tables: Vec<Table> = tables.into_values().collect();
    tables.retain(|table| !table.bases.is_empty());
    Ok(whole.then_some(tables))
}

/// The policy of a chain, if it is a base chain at `forward`.
pub(super) fn policy(chain: Attributes<'_>) -> Option<Policy> {
    let hook = chain.nested(attr::CHAIN_HOOK)?.u32(attr::HOOK_NUMBER)?;
    let kind = chain.text(attr::CHAIN_TYPE).unwrap_or_default();
    let is_one = hook == code(libc::NF_INET_FORWARD) && kind == "filter";
    is_one.then(|| match chain.u32(attr::CHAIN_POLICY) {
        Some(policy) if policy == code(libc::NF_DROP) => Policy::Drop,
        _ => Policy::Accept,
    })
}

/// The tables that are switched off.
fn dormant(channel: &mut Channel) -> Result<Option<BTreeSet<(TableFamily, String)>>, Error> {
    let mut dormant = BTreeSet::new();
    let request = Request::new(libc::NFT_MSG_GETTABLE, libc::NLM_F_DUMP, 0).finish();
    let whole = channel.dump(request, &Object::Ruleset, |message| {
        let table = Attributes::of(message);
        let off = table.u32(attr::TABLE_FLAGS).unwrap_or(0) & DORMANT != 0;
        if let (Some(family), Some(name), true) = (
            family(message).and_then(table_family),
            table.text(attr::TABLE_NAME),
            off,
        ) {
            dormant.insert((family, name));
        }
        Some(())
    })?;
    Ok(whole.then_some(dormant))
}

/// Reads the chains that packets come to, and the sets that these look things up in. Whether the answers are of one
/// piece.
fn contents(
    channel: &mut Channel,
    table: &mut Table,
    names: &Names,
    room: &mut usize,
) -> Result<bool, Error> {
    let mut waiting: Vec<String> = table.bases.keys().cloned().collect();
    while let Some(name) = waiting.pop() {
        if table.chains.contains_key(&name) {
            continue;
        }
        let Some(chain) = rules(channel, table, &name, names, room)? else {
            return Ok(false);
        };
        for step in chain.rules.iter().flat_map(|rule| &rule.steps) {
            match step {
                Step::Verdict(verdict) => waiting.extend(leads_to(verdict)),
                Step::Lookup { set, .. } | Step::Map { set, .. }
                    if !table.sets.contains_key(set) =>
                {
                    let Some(read) = set::set(channel, number_of(table.family), &table.name, set)?
                    else {
                        return Ok(false);
                    };
                    let elements = read.elements.iter().flatten();
                    let verdicts = elements.filter_map(|element| element.verdict.as_ref());
                    waiting.extend(verdicts.chain(&read.otherwise).filter_map(leads_to));
                    table.sets.insert(set.clone(), read);
                }
                _ => {}
            }
        }
        table.chains.insert(name, chain);
    }
    Ok(true)
}

fn leads_to(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain.clone()),
        _ => None,
    }
}

/// Reads the rules of a chain. None: the answer isn't of one piece.
fn rules(
    channel: &mut Channel,
    table: &Table,
    name: &str,
    names: &Names,
    room: &mut usize,
) -> Result<Option<Chain>, Error> {
    let family = number_of(table.family);
    let request = Request::new(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, family)
        .text(attr::RULE_TABLE, &table.name)
        .text(attr::RULE_CHAIN, name)
        .finish();
    let mut chain = Chain::default();
    let about = Object::Table(table.name.clone());
    let whole = channel.dump(request, &about, |message| {
        let rule = Attributes::of(message);
        if rule.text(attr::RULE_CHAIN).as_deref() != Some(name) {
            return Some(());
        }
        if *room == 0 {
            chain.truncated = true;
            return Some(());
        }
        *room -= 1;
        chain.rules.push(self::rule(rule, names));
        Some(())
    })?;
    Ok(whole.then_some(chain))
}

fn table_family(number: u8) -> Option<TableFamily> {
    Some(match i32::from(number) {
        libc::NFPROTO_IPV4 => TableFamily::Ip,
        libc::NFPROTO_IPV6 => TableFamily::Ip6,
        libc::NFPROTO_INET => TableFamily::Inet,
        _ => return None,
    })
}

/// The kernel's number of a family.
pub(super) fn number_of(family: TableFamily) -> u8 {
    let number = match family {
        TableFamily::Ip => libc::NFPROTO_IPV4,
        TableFamily::Ip6 => libc::NFPROTO_IPV6,
        TableFamily::Inet => libc::NFPROTO_INET,
    };
    u8::try_from(number).expect("families are few")
}
