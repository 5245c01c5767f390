//! From changes of tables to messages.

use nftnl_sys as sys;

use super::error::{Error, Object};
use super::expression;
use super::memory::{Header, INET};
use super::object::{ChainObject, ElementObject, RuleObject, SetObject, TableObject};
use super::userdata::{self, ByteOrder};
use super::{TableChange, code};
use crate::resource::nftables::expression::{Expression, SetRef};
use crate::resource::nftables::lower::lower;
use crate::resource::nftables::{
    Base, Chain, ChainKind, Element, Field, Hook, Lookup, Policy, Rule, Set, Table,
};

/// How many bytes of elements go into one message: its list of elements is an attribute, which holds
/// less than 64 KB.
const CHUNK: usize = 60_000;

/// `NFT_SET_CONCAT` (`linux/netfilter/nf_tables.h`).
const CONCATENATED: u32 = 0x80;
/// `NFT_DATA_VERDICT`.
const VERDICTS: u32 = 0xffff_ff00;

/// A message, and what it is about.
pub(super) struct Message {
    /// What is done: `create`, `delete`.
    pub(super) action: &'static str,
    /// With what.
    pub(super) object: Object,
    /// The message, without a sequence number.
    pub(super) bytes: Vec<u8>,
}

/// The messages of some changes.
#[derive(Default)]
pub(super) struct Messages {
    /// Those that must go together.
    pub(super) whole: Vec<Message>,
    /// Elements of sets, which can follow in parts where the kernel takes no message large enough, in the
    /// order in which they do least harm: see [`crate::resource::nftables::gateway`].
    pub(super) parts: Vec<Message>,
    /// The number of the last anonymous set.
    anonymous: u32,
}

impl Messages {
    /// The messages of some changes.
    pub(super) fn of(changes: &[TableChange]) -> Result<Messages, Error> {
        let mut messages = Messages::default();
        for change in changes {
            match change {
                TableChange::Create(table) => messages.create(table)?,
                TableChange::Remove(name) => messages.remove(name),
                TableChange::Update { before, after } => {
                    if before.differs_in_elements_only(after) {
                        messages.update(before, after);
                    } else {
                        messages.create(after)?;
                    }
                }
            }
        }
        Ok(messages)
    }

    /// Makes a table, in the place of one of the same name if there is one.
    fn create(&mut self, table: &Table) -> Result<(), Error> {
        if !table.unknown.is_empty() {
            return Err(Error::Unwritable {
                object: Object::Table(table.name.clone()),
            });
        }
        // Only what exists can be deleted.
        self.put_table(table);
        self.remove(&table.name);
        self.put_table(table);
        for (name, set) in &table.sets {
            self.put_set(&table.name, name, set, 0)?;
            let parts = elements(&table.name, name, set, 0, NEW, set.elements.iter());
            self.parts.extend(parts);
        }
        for (name, chain) in &table.chains {
            self.put_chain(table, name, chain)?;
        }
        for (name, chain) in &table.chains {
            for rule in &chain.rules {
                self.put_rule(table, name, rule)?;
            }
        }
        Ok(())
    }

    /// Adds and removes single elements.
    fn update(&mut self, before: &Table, after: &Table) {
        for change in before.element_changes(after).into_iter().flatten() {
            let way = if change.adds { NEW } else { DELETE };
            let (name, set) = (change.name, change.set);
            let parts = elements(&after.name, name, set, 0, way, change.elements.into_iter());
            self.parts.extend(parts);
        }
    }

    fn put_table(&mut self, table: &Table) {
        let mut object = TableObject::new();
        object.set_str(sys::NFTNL_TABLE_NAME, &table.name);
        if let Some(comment) = &table.comment {
            object.set_data(sys::NFTNL_TABLE_USERDATA, &userdata::comment(comment));
        }
        let header = header(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE);
        self.put("create", Object::Table(table.name.clone()), |out| {
            object.build(out, header);
        });
    }

    fn remove(&mut self, name: &str) {
        let mut object = TableObject::new();
        object.set_str(sys::NFTNL_TABLE_NAME, name);
        let header = header(libc::NFT_MSG_DELTABLE, 0);
        self.put("delete", Object::Table(name.to_owned()), |out| {
            object.build(out, header);
        });
    }

    /// Makes a set, an anonymous one unless its number is 0.
    fn put_set(&mut self, table: &str, name: &str, set: &Set, number: u32) -> Result<(), Error> {
        let about = Object::Set(table.to_owned(), name.to_owned());
        let lengths: Option<Vec<usize>> = set.key.iter().map(|field| field.length()).collect();
        let lengths = lengths.filter(|_| set.unknown.is_empty());
        let data: Option<Vec<usize>> = set.data.iter().map(|field| field.length()).collect();
        let (Some(lengths), Some(data)) = (lengths, data) else {
            return Err(Error::Unwritable { object: about });
        };
        let mut flags = 0;
        if number != 0 {
            flags |= libc::NFT_SET_ANONYMOUS | libc::NFT_SET_CONSTANT;
        }
        if set.lookup == Lookup::Interval {
            flags |= libc::NFT_SET_INTERVAL;
        }
        if set.is_verdict_map() || !set.data.is_empty() {
            flags |= libc::NFT_SET_MAP;
        }
        let mut flags = flags.cast_unsigned();
        let mut object = SetObject::new();
        let order = match set.key.as_slice() {
            [Field::Ifname | Field::CtState] => ByteOrder::Host,
            _ => ByteOrder::Network,
        };
        let (length, kind) = match (lengths.as_slice(), set.key.as_slice()) {
            (&[length], [field]) => (length, field.code()),
            (lengths, fields) => {
                if set.lookup == Lookup::Interval {
                    flags |= CONCATENATED;
                    let lengths: Vec<u8> = lengths
                        .iter()
                        .filter_map(|length| u8::try_from(*length).ok())
                        .collect();
                    object.set_data(sys::NFTNL_SET_DESC_CONCAT, &lengths);
                }
                (concatenated(lengths), kind_of(fields))
            }
        };
        object.set_str(sys::NFTNL_SET_TABLE, table);
        object.set_str(sys::NFTNL_SET_NAME, name);
        object.set_u32(sys::NFTNL_SET_FLAGS, flags);
        object.set_u32(sys::NFTNL_SET_KEY_TYPE, kind);
        object.set_u32(
            sys::NFTNL_SET_KEY_LEN,
            u32::try_from(length).unwrap_or(u32::MAX),
        );
        object.set_u32(sys::NFTNL_SET_ID, number);
        if number != 0 {
            let size = u32::try_from(set.elements.len()).unwrap_or(u32::MAX);
            object.set_u32(sys::NFTNL_SET_DESC_SIZE, size);
        }
        if set.is_verdict_map() {
            object.set_u32(sys::NFTNL_SET_DATA_TYPE, VERDICTS);
        } else if !set.data.is_empty() {
            object.set_u32(sys::NFTNL_SET_DATA_TYPE, kind_of(&set.data));
            let length = match data.as_slice() {
                &[only] => only,
                several => concatenated(several),
            };
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            object.set_u32(sys::NFTNL_SET_DATA_LEN, length);
        }
        let data = (!set.data.is_empty()).then_some(ByteOrder::Network);
        let userdata = userdata::set(order, data, set.comment.as_deref());
        object.set_data(sys::NFTNL_SET_USERDATA, &userdata);
        let header = header(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE);
        self.put("create", about, |out| {
            object.build(out, header);
        });
        Ok(())
    }

    fn put_chain(&mut self, table: &Table, name: &str, chain: &Chain) -> Result<(), Error> {
        let about = Object::Chain(table.name.clone(), name.to_owned());
        let mut object = ChainObject::new();
        object.set_str(sys::NFTNL_CHAIN_TABLE, &table.name);
        object.set_str(sys::NFTNL_CHAIN_NAME, name);
        if let Some(base) = &chain.base {
            set_base(&mut object, base);
        }
        if !chain.unknown.is_empty() {
            return Err(Error::Unwritable { object: about });
        }
        let header = header(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE);
        self.put("create", about, |out| {
            object.build(out, header);
        });
        Ok(())
    }

    fn put_rule(&mut self, table: &Table, chain: &str, rule: &Rule) -> Result<(), Error> {
        let about = Object::Rule(table.name.clone(), chain.to_owned(), rule.to_string());
        let mut object = RuleObject::new();
        object.set_str(sys::NFTNL_RULE_TABLE, &table.name);
        object.set_str(sys::NFTNL_RULE_CHAIN, chain);
        if let Some(comment) = &rule.comment {
            object.set_data(sys::NFTNL_RULE_USERDATA, &userdata::comment(comment));
        }
        for expression in lower(&rule.statements) {
            if let Expression::Lookup {
                set: SetRef::Anonymous(set),
                ..
            } = &expression
            {
                self.anonymous += 1;
                let (name, number) = (anonymous_name(set), self.anonymous);
                self.put_set(&table.name, name, set, number)?;
                let all = set.elements.iter();
                self.whole
                    .extend(elements(&table.name, name, set, number, NEW, all));
            }
            let Some(expression) = expression::encode(&expression, self.anonymous) else {
                return Err(Error::Unwritable { object: about });
            };
            object.push(expression);
        }
        let header = header(
            libc::NFT_MSG_NEWRULE,
            libc::NLM_F_CREATE | libc::NLM_F_APPEND,
        );
        self.put("create", about, |out| {
            object.build(out, header);
        });
        Ok(())
    }

    fn put(&mut self, action: &'static str, object: Object, build: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        build(&mut bytes);
        self.whole.push(Message {
            action,
            object,
            bytes,
        });
    }
}

/// The number of a type. `nft` writes a concatenation as one, with six bits for each field.
fn kind_of(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |kind, field| kind << 6 | field.code())
}

/// How many bytes a concatenation takes.
fn concatenated(lengths: &[usize]) -> usize {
    let lengths = lengths.iter();
    lengths.map(|length| length.next_multiple_of(4)).sum()
}

/// Elements are added.
const NEW: libc::c_int = libc::NFT_MSG_NEWSETELEM;
/// Elements are removed.
const DELETE: libc::c_int = libc::NFT_MSG_DELSETELEM;

/// The messages that add elements to a set or remove them.
fn elements<'a>(
    table: &str,
    name: &str,
    set: &Set,
    number: u32,
    way: libc::c_int,
    elements: impl Iterator<Item = &'a Element>,
) -> Vec<Message> {
    let start = || {
        let mut object = SetObject::new();
        object.set_str(sys::NFTNL_SET_TABLE, table);
        object.set_str(sys::NFTNL_SET_NAME, name);
        if number != 0 {
            object.set_u32(sys::NFTNL_SET_ID, number);
        }
        (object, 0)
    };
    let (action, flags) = if way == NEW {
        ("create", libc::NLM_F_CREATE)
    } else {
        ("delete", 0)
    };
    let mut messages = Vec::new();
    let mut finish = |object: &SetObject| {
        let mut bytes = Vec::new();
        object.build_elements(&mut bytes, header(way, flags));
        messages.push(Message {
            action,
            object: Object::Elements(table.to_owned(), name.to_owned()),
            bytes,
        });
    };
    let (mut object, mut used) = start();
    for element in elements {
        let (from, to) = element.encode();
        let mut part = ElementObject::new();
        part.set_data(sys::NFTNL_SET_ELEM_KEY, &from);
        // What attributes take besides keys, a verdict among them, and the name of its chain.
        let mut size = from.len() + 64;
        if set.lookup == Lookup::Interval {
            part.set_data(sys::NFTNL_SET_ELEM_KEY_END, &to);
            size += to.len() + 8;
        }
        if !element.data.is_empty() {
            let data = element.encode_data();
            part.set_data(sys::NFTNL_SET_ELEM_DATA, &data);
            size += data.len() + 8;
        }
        if let Some(verdict) = &element.verdict {
            let (code, chain) = expression::verdict_code(verdict);
            part.set_u32(sys::NFTNL_SET_ELEM_VERDICT, code);
            if let Some(chain) = chain {
                part.set_str(sys::NFTNL_SET_ELEM_CHAIN, chain);
                size += chain.len() + 8;
            }
        }
        if used + size > CHUNK {
            finish(&object);
            (object, used) = start();
        }
        object.push(part);
        used += size;
    }
    if used > 0 {
        finish(&object);
    }
    messages
}

fn set_base(object: &mut ChainObject, base: &Base) {
    let hook = match base.hook {
        Hook::Prerouting => code(libc::NF_INET_PRE_ROUTING),
        Hook::Input => code(libc::NF_INET_LOCAL_IN),
        Hook::Forward => code(libc::NF_INET_FORWARD),
        Hook::Output => code(libc::NF_INET_LOCAL_OUT),
        Hook::Postrouting => code(libc::NF_INET_POST_ROUTING),
        Hook::Other(number) => number,
    };
    let policy = match base.policy {
        Policy::Accept => code(libc::NF_ACCEPT),
        Policy::Drop => code(libc::NF_DROP),
    };
    let kind = match &base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Other(name) => name,
    };
    object.set_str(sys::NFTNL_CHAIN_TYPE, kind);
    object.set_u32(sys::NFTNL_CHAIN_HOOKNUM, hook);
    object.set_u32(sys::NFTNL_CHAIN_PRIO, base.priority.cast_unsigned());
    object.set_u32(sys::NFTNL_CHAIN_POLICY, policy);
}

/// What an anonymous set is called in the batch that makes it; the kernel puts a number in.
pub(super) fn anonymous_name(set: &Set) -> &'static str {
    if set.is_verdict_map() {
        "__map%d"
    } else {
        "__set%d"
    }
}

fn header(kind: libc::c_int, flags: libc::c_int) -> Header {
    Header {
        kind: u16::try_from(kind).expect("kinds of messages are few"),
        flags: u16::try_from(flags).expect("flags have 16 bits"),
        family: INET,
    }
}
