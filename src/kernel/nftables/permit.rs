//! Accept rules in the chains of others: read, made and removed. What others have there is not touched.

use std::collections::HashMap;

use super::PermitChange;
use super::attribute::{Attributes, Request, family};
use super::error::{Error, Object};
use super::foreign::{self, Names};
use super::number as attr;
use super::socket::Channel;
use super::userdata;
use super::write::Message;
use crate::resource::firewall::{Field, Op, Step, TableFamily};
use crate::resource::nftables::Verdict;
use crate::resource::permit::{Permit, PermitKey, TABLE};

/// A rule that was found.
pub(super) struct Found {
    pub(super) key: PermitKey,
    pub(super) permit: Permit,
    handle: u64,
}

/// Reads those of all topologies. None: the answers aren't of one piece.
pub(super) fn read(channel: &mut Channel) -> Result<Option<Vec<Found>>, Error> {
    let mut all = Vec::new();
    for of in [TableFamily::Ip, TableFamily::Ip6] {
        let number = foreign::number_of(of);
        let request = Request::new(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, number)
            .text(attr::RULE_TABLE, TABLE)
            .finish();
        let mut chain = String::new();
        let mut permit = Permit::Top;
        let names = Names::new();
        let whole = channel.dump(request, &Object::Ruleset, |message| {
            let rule = Attributes::of(message);
            if family(message) != Some(number) || rule.text(attr::RULE_TABLE)? != TABLE {
                return Some(());
            }
            let name = rule.text(attr::RULE_CHAIN)?;
            if name != chain {
                (chain, permit) = (name, Permit::Top);
            }
            let rule = foreign::rule(rule, &names);
            match PermitKey::of(of, &chain, &rule) {
                Some(key) => all.push(Found {
                    key,
                    permit,
                    handle: rule.handle,
                }),
                None => permit = Permit::Below,
            }
            Some(())
        })?;
        if !whole {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

/// What makes some and removes others, in order.
pub(super) fn messages(changes: &[PermitChange<'_>], found: &[Found]) -> Vec<Message> {
    let mut handles: HashMap<&PermitKey, Vec<u64>> = HashMap::new();
    for found in found {
        handles.entry(&found.key).or_default().push(found.handle);
    }
    let messages = changes.iter().flat_map(|change| match change {
        PermitChange::Create(key) => vec![create(key)],
        PermitChange::Remove(key) => {
            let handles = handles.remove(key).unwrap_or_default();
            let removals = handles.iter().map(|handle| remove(key, *handle));
            removals.collect()
        }
    });
    messages.collect()
}

/// What makes one, before all other rules of its chain.
fn create(key: &PermitKey) -> Message {
    let request = Request::new(
        libc::NFT_MSG_NEWRULE,
        libc::NLM_F_CREATE,
        foreign::number_of(key.family),
    );
    let request = request
        .text(attr::RULE_TABLE, TABLE)
        .text(attr::RULE_CHAIN, &key.chain)
        .nest(attr::RULE_EXPRESSIONS, |list| {
            for step in key.steps() {
                // Where `iptables` has its counter.
                if matches!(step, Step::Verdict(_)) {
                    list.element(|element| {
                        element.put_text(attr::EXPR_NAME, "counter");
                    });
                }
                expression(list, &step);
            }
        })
        .bytes(attr::RULE_USERDATA, &userdata::comment(&key.comment()));
    Message {
        action: "create",
        object: Object::of(key),
        bytes: request.finish(),
    }
}

/// What removes one that was found.
fn remove(key: &PermitKey, handle: u64) -> Message {
    let request = Request::new(libc::NFT_MSG_DELRULE, 0, foreign::number_of(key.family))
        .text(attr::RULE_TABLE, TABLE)
        .text(attr::RULE_CHAIN, &key.chain)
        .bytes(attr::RULE_HANDLE, &handle.to_be_bytes());
    Message {
        action: "delete",
        object: Object::of(key),
        bytes: request.finish(),
    }
}

/// An instruction, of those that such a rule has. All use the first register.
fn expression(list: &mut Request, step: &Step) {
    match step {
        Step::Load { field, .. } => list.load_meta(if *field == Field::In {
            attr::META_IIFNAME
        } else {
            attr::META_OIFNAME
        }),
        Step::Header { offset, len, .. } => {
            list.load_header(attr::NETWORK_HEADER, *offset, *len);
        }
        Step::Bitwise { mask, xor, .. } => list.bitwise(mask, xor),
        Step::Compare {
            op: Op::Equal,
            data,
            ..
        } => list.compare(attr::EQUAL, data),
        Step::Verdict(Verdict::Accept) => list.expression("immediate", |data| {
            data.put_u32(attr::IMMEDIATE_DREG, 0);
            data.put_nested(attr::IMMEDIATE_DATA, |value| {
                value.put_nested(attr::DATA_VERDICT, |verdict| {
                    verdict.put_u32(attr::VERDICT_CODE, super::code(libc::NF_ACCEPT));
                });
            });
        }),
        _ => {}
    }
}
