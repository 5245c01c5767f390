//! From the kernel's dumps to tables.

use std::collections::BTreeMap;

use nftnl_sys as sys;

use super::error::{Error, Object};
use super::memory::{Header, INET, write};
use super::object::{ChainObject, ElementRef, RuleObject, SetObject, TableObject};
use super::socket::Channel;
use super::userdata::{self, COMMENT, SET_COMMENT};
use super::{code, expression};
use crate::resource::nftables::expression::{Expression, SetRef};
use crate::resource::nftables::recognise::recognise;
use crate::resource::nftables::{
    Base, Chain, ChainKind, Element, Field, Hook, Lookup, Policy, Rule, Set, Statement, Table,
};

/// `NFT_TABLE_F_DORMANT` (`linux/netfilter/nf_tables.h`).
const DORMANT: u32 = 1;
/// `NFT_CHAIN_BASE`.
const BASE_CHAIN: u32 = 1;
/// `NFT_SET_CONCAT`.
const CONCATENATED: u32 = 0x80;
/// `NFT_SET_ELEM_CATCHALL`.
const CATCHALL: u32 = 2;
/// `NFT_DATA_VERDICT`.
const VERDICTS: u32 = 0xffff_ff00;

/// Reads all tables of family `inet` without what is in them, by name. Some if the answer is of one
/// piece.
pub(super) fn tables(channel: &mut Channel) -> Result<Option<BTreeMap<String, Table>>, Error> {
    let object = TableObject::new();
    let mut request = Vec::new();
    object.build(&mut request, dump(libc::NFT_MSG_GETTABLE));
    let mut tables = BTreeMap::new();
    let whole = channel.dump(request, &Object::Ruleset, |message| {
        let table = table(message)?;
        tables.insert(table.name.clone(), table);
        Some(())
    })?;
    Ok(whole.then_some(tables))
}

/// A table without what is in it, from a message.
fn table(message: &[u8]) -> Option<Table> {
    let object = TableObject::parse(message)?;
    let userdata = object.data(sys::NFTNL_TABLE_USERDATA).unwrap_or_default();
    let flags = object.u32(sys::NFTNL_TABLE_FLAGS).unwrap_or(0);
    let mut unknown = Vec::new();
    if flags & DORMANT != 0 {
        unknown.push("flags dormant".to_owned());
    }
    if flags & !DORMANT != 0 {
        unknown.push(format!("flags {:#x}", flags & !DORMANT));
    }
    Some(Table {
        name: object.str(sys::NFTNL_TABLE_NAME)?,
        comment: userdata::find_comment(&userdata, COMMENT),
        sets: BTreeMap::new(),
        chains: BTreeMap::new(),
        unknown,
    })
}

/// Reads what is in a table. Some if the answers are of one piece each.
pub(super) fn contents(channel: &mut Channel, table: &mut Table) -> Result<Option<()>, Error> {
    let Some(mut sets) = sets(channel, INET, &table.name)? else {
        return Ok(None);
    };
    for (name, found) in &mut sets {
        if !elements(channel, INET, &table.name, name, found)? {
            return Ok(None);
        }
    }
    let Some(mut chains) = chains(channel, &table.name)? else {
        return Ok(None);
    };
    if !rules(channel, &table.name, &sets, &mut chains)? {
        return Ok(None);
    }
    let named = sets.into_iter().filter(|(_, found)| !found.anonymous);
    table.sets = named.map(|(name, found)| (name, found.set)).collect();
    table.chains = chains;
    Ok(Some(()))
}

/// The number of the ruleset's generation: it grows with every change of it.
pub(super) fn generation(channel: &mut Channel) -> Result<u32, Error> {
    let mut request = Vec::new();
    let header = Header {
        kind: u16::try_from(libc::NFT_MSG_GETGEN).expect("kinds of messages are few"),
        flags: u16::try_from(libc::NLM_F_ACK).expect("flags have 16 bits"),
        family: INET,
    };
    write(&mut request, header, |_| {});
    let mut generation = None;
    channel.dump(request, &Object::Ruleset, |message| {
        // The only attribute that matters is the first: its header, and the number in network order.
        let number: [u8; 4] = message.get(24..28)?.try_into().ok()?;
        generation = Some(u32::from_be_bytes(number));
        Some(())
    })?;
    generation.ok_or(Error::Malformed {
        object: Object::Ruleset,
    })
}

/// A set of the kernel's.
struct Found {
    set: Set,
    anonymous: bool,
}

fn sets(
    channel: &mut Channel,
    family: u8,
    table: &str,
) -> Result<Option<BTreeMap<String, Found>>, Error> {
    let mut object = SetObject::new();
    object.set_str(sys::NFTNL_SET_TABLE, table);
    let mut request = Vec::new();
    let header = Header {
        family,
        ..dump(libc::NFT_MSG_GETSET)
    };
    object.build(&mut request, header);
    let mut sets = BTreeMap::new();
    let about = Object::Table(table.to_owned());
    let whole = channel.dump(request, &about, |message| {
        let object = SetObject::parse(message)?;
        if object.str(sys::NFTNL_SET_TABLE)? == table {
            sets.insert(object.str(sys::NFTNL_SET_NAME)?, found(&object));
        }
        Some(())
    })?;
    Ok(whole.then_some(sets))
}

fn found(object: &SetObject) -> Found {
    let number = |attribute| object.u32(attribute).unwrap_or(0);
    let userdata = object.data(sys::NFTNL_SET_USERDATA).unwrap_or_default();
    let mut flags = number(sys::NFTNL_SET_FLAGS);
    let mut take = |flag: u32| {
        let has = flags & flag != 0;
        flags &= !flag;
        has
    };
    let anonymous = take(code(libc::NFT_SET_ANONYMOUS));
    if anonymous {
        take(code(libc::NFT_SET_CONSTANT));
    }
    let lookup = if take(code(libc::NFT_SET_INTERVAL)) {
        Lookup::Interval
    } else {
        Lookup::Exact
    };
    if lookup == Lookup::Interval {
        take(CONCATENATED);
    }
    let mut unknown = Vec::new();
    let data = number(sys::NFTNL_SET_DATA_TYPE);
    let data = if take(code(libc::NFT_SET_MAP)) && data != VERDICTS {
        fields(data)
    } else {
        Vec::new()
    };
    if flags != 0 {
        unknown.push(format!("flags {flags:#x}"));
    }
    if !anonymous && number(sys::NFTNL_SET_DESC_SIZE) != 0 {
        unknown.push(format!("size {}", number(sys::NFTNL_SET_DESC_SIZE)));
    }
    if number(sys::NFTNL_SET_POLICY) != 0 {
        unknown.push("policy memory".to_owned());
    }
    for (attribute, text) in [
        (sys::NFTNL_SET_TIMEOUT, "timeout"),
        (sys::NFTNL_SET_EXPR, "expressions"),
        (sys::NFTNL_SET_EXPRESSIONS, "expressions"),
    ] {
        if object.is_set(attribute) {
            unknown.push(text.to_owned());
        }
    }
    let set = Set {
        comment: userdata::find_comment(&userdata, SET_COMMENT),
        key: fields(number(sys::NFTNL_SET_KEY_TYPE)),
        lookup,
        data,
        elements: std::collections::BTreeSet::new(),
        unknown,
    };
    Found { set, anonymous }
}

/// The fields of a key. `nft` writes a concatenation as one number with six bits for each.
pub(super) fn fields(mut kind: u32) -> Vec<Field> {
    let mut fields = Vec::new();
    while kind != 0 {
        fields.insert(0, Field::from_code(kind & 0x3f));
        kind >>= 6;
    }
    fields
}

/// Reads the elements of a set. Whether the answer is of one piece.
fn elements(
    channel: &mut Channel,
    family: u8,
    table: &str,
    name: &str,
    found: &mut Found,
) -> Result<bool, Error> {
    let mut object = SetObject::new();
    object.set_str(sys::NFTNL_SET_TABLE, table);
    object.set_str(sys::NFTNL_SET_NAME, name);
    let mut request = Vec::new();
    let header = Header {
        family,
        ..dump(libc::NFT_MSG_GETSETELEM)
    };
    object.build_elements(&mut request, header);
    let about = Object::Elements(table.to_owned(), name.to_owned());
    let set = &mut found.set;
    channel.dump(request, &about, |message| {
        SetObject::parse_elements(message, |object| {
            let element = element(object, &set.key, &set.data);
            set.elements.insert(element);
        })
    })
}

fn element(object: &ElementRef, fields: &[Field], data_fields: &[Field]) -> Element {
    let from = object.data(sys::NFTNL_SET_ELEM_KEY).unwrap_or_default();
    let to = object
        .data(sys::NFTNL_SET_ELEM_KEY_END)
        .unwrap_or_else(|| from.clone());
    let mut unknown = Vec::new();
    let mut key = Element::decode(fields, &from, &to);
    match object.u32(sys::NFTNL_SET_ELEM_FLAGS).unwrap_or(0) {
        0 => {}
        flags if flags & CATCHALL != 0 => {
            key.clear();
            unknown.push("*".to_owned());
        }
        // The end of a range, in sets of one field.
        flags => unknown.push(format!("flags {flags:#x}")),
    }
    for (attribute, text) in [
        (sys::NFTNL_SET_ELEM_TIMEOUT, "timeout"),
        (sys::NFTNL_SET_ELEM_OBJREF, "object"),
        (sys::NFTNL_SET_ELEM_EXPR, "expression"),
        (sys::NFTNL_SET_ELEM_EXPRESSIONS, "expressions"),
    ] {
        if object.is_set(attribute) {
            unknown.push(text.to_owned());
        }
    }
    let chain = || object.text(sys::NFTNL_SET_ELEM_CHAIN);
    let verdict = object.u32(sys::NFTNL_SET_ELEM_VERDICT);
    let verdict = verdict.and_then(|code| expression::verdict(code, chain()));
    let data = object
        .data(sys::NFTNL_SET_ELEM_DATA)
        .filter(|data| !data.is_empty() && verdict.is_none());
    Element {
        key,
        data: data.map_or_else(Vec::new, |data| Element::decode(data_fields, &data, &data)),
        verdict,
        unknown: (!unknown.is_empty()).then(|| unknown.join(" ")),
    }
}

fn chains(channel: &mut Channel, table: &str) -> Result<Option<BTreeMap<String, Chain>>, Error> {
    let object = ChainObject::new();
    let mut request = Vec::new();
    object.build(&mut request, dump(libc::NFT_MSG_GETCHAIN));
    let mut chains = BTreeMap::new();
    let about = Object::Table(table.to_owned());
    let whole = channel.dump(request, &about, |message| {
        let object = ChainObject::parse(message)?;
        if object.str(sys::NFTNL_CHAIN_TABLE)? == table {
            chains.insert(object.str(sys::NFTNL_CHAIN_NAME)?, chain(&object));
        }
        Some(())
    })?;
    Ok(whole.then_some(chains))
}

fn chain(object: &ChainObject) -> Chain {
    let mut unknown = Vec::new();
    let flags = object.u32(sys::NFTNL_CHAIN_FLAGS).unwrap_or(0) & !BASE_CHAIN;
    if flags != 0 {
        unknown.push(format!("flags {flags:#x}"));
    }
    unknown.extend(
        object
            .str(sys::NFTNL_CHAIN_DEV)
            .map(|device| format!("device {device}")),
    );
    let base = object.u32(sys::NFTNL_CHAIN_HOOKNUM).map(|hook| Base {
        kind: match object
            .str(sys::NFTNL_CHAIN_TYPE)
            .unwrap_or_default()
            .as_str()
        {
            "filter" => ChainKind::Filter,
            "nat" => ChainKind::Nat,
            name => ChainKind::Other(name.to_owned()),
        },
        hook: match hook.cast_signed() {
            libc::NF_INET_PRE_ROUTING => Hook::Prerouting,
            libc::NF_INET_LOCAL_IN => Hook::Input,
            libc::NF_INET_FORWARD => Hook::Forward,
            libc::NF_INET_LOCAL_OUT => Hook::Output,
            libc::NF_INET_POST_ROUTING => Hook::Postrouting,
            _ => Hook::Other(hook),
        },
        priority: object.u32(sys::NFTNL_CHAIN_PRIO).unwrap_or(0).cast_signed(),
        policy: match object.u32(sys::NFTNL_CHAIN_POLICY) {
            Some(policy) if policy == code(libc::NF_DROP) => Policy::Drop,
            _ => Policy::Accept,
        },
    });
    Chain {
        base,
        rules: Vec::new(),
        unknown,
    }
}

/// Reads the rules of a table into its chains. Whether the answer is of one piece.
fn rules(
    channel: &mut Channel,
    table: &str,
    sets: &BTreeMap<String, Found>,
    chains: &mut BTreeMap<String, Chain>,
) -> Result<bool, Error> {
    let mut object = RuleObject::new();
    object.set_str(sys::NFTNL_RULE_TABLE, table);
    let mut request = Vec::new();
    object.build(&mut request, dump(libc::NFT_MSG_GETRULE));
    let about = Object::Table(table.to_owned());
    channel.dump(request, &about, |message| {
        let object = RuleObject::parse(message)?;
        if object.str(sys::NFTNL_RULE_TABLE)? == table {
            let chain = object.str(sys::NFTNL_RULE_CHAIN)?;
            chains
                .entry(chain)
                .or_default()
                .rules
                .push(rule(&object, sets));
        }
        Some(())
    })
}

fn rule(object: &RuleObject, sets: &BTreeMap<String, Found>) -> Rule {
    let userdata = object.data(sys::NFTNL_RULE_USERDATA).unwrap_or_default();
    Rule {
        statements: recognise(&expressions_of(object, sets)),
        comment: userdata::find_comment(&userdata, COMMENT),
    }
}

fn expressions_of(object: &RuleObject, sets: &BTreeMap<String, Found>) -> Vec<Expression> {
    let mut expressions = Vec::new();
    object.for_each(|expression| {
        let set = |name: &str| match sets.get(name) {
            Some(found) if found.anonymous => Some(SetRef::Anonymous(found.set.clone())),
            _ => Some(SetRef::Named(name.to_owned())),
        };
        expressions.push(expression::decode(expression, set));
    });
    expressions
}

/// A rule as `nft` would print it, without its comment, from a message about a table of a family. None: there is something in it
/// that isn't known here.
pub(super) fn text(
    channel: &mut Channel,
    message: &[u8],
    family: u8,
    table: &str,
) -> Result<Option<String>, Error> {
    let Some(object) = RuleObject::parse(message) else {
        return Ok(None);
    };
    let print = |sets: &BTreeMap<String, Found>| {
        let is_unknown = |statement: &Statement| matches!(statement, Statement::Unknown(_));
        let mut expressions = of_family(family);
        expressions.extend(expressions_of(&object, sets));
        let mut statements = recognise(&expressions);
        // What goes without saying in such a table.
        if !of_family(family).is_empty() && matches!(statements[..], [Statement::Family(_), ..]) {
            statements.remove(0);
        }
        let is_known = !statements.iter().any(is_unknown);
        let comment = None;
        let rule = Rule {
            statements,
            comment,
        };
        is_known.then(|| rule.to_string())
    };
    let none = BTreeMap::new();
    if !expressions_of(&object, &none).iter().any(is_anonymous) {
        return Ok(print(&none));
    }
    let Some(mut sets) = sets(channel, family, table)? else {
        return Ok(None);
    };
    sets.retain(|_, found| found.anonymous);
    for (name, found) in &mut sets {
        elements(channel, family, table, name, found)?;
    }
    Ok(print(&sets))
}

/// What asks for a family, as rules of tables for one family needn't.
fn of_family(number: u8) -> Vec<Expression> {
    let is_one = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6].contains(&i32::from(number));
    let register = 1;
    let asks = [
        Expression::Meta {
            key: super::number::META_NFPROTO,
            dreg: register,
        },
        Expression::Compare {
            sreg: register,
            op: 0,
            data: vec![number],
        },
    ];
    asks.into_iter().filter(|_| is_one).collect()
}

/// Whether an expression looks something up in an anonymous set that isn't read: `nft` calls them so.
fn is_anonymous(expression: &Expression) -> bool {
    let Expression::Lookup {
        set: SetRef::Named(name),
        ..
    } = expression
    else {
        return false;
    };
    name.starts_with("__set") || name.starts_with("__map")
}

pub(super) fn dump(kind: libc::c_int) -> Header {
    Header {
        kind: u16::try_from(kind).expect("kinds of messages are few"),
        flags: u16::try_from(libc::NLM_F_DUMP).expect("flags have 16 bits"),
        family: INET,
    }
}
