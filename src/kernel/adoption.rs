//! Taking over what others made, and giving it back as it was.
//!
//! What a State doesn't hold of such a thing stays as it is: an address and a route are written as the kernel
//! tells of them, with nothing changed but whose they are. That is kept until the kernel is dropped, for the case that
//! it is to be given back.

use std::collections::{BTreeMap, BTreeSet};

use libc::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE,
};

use super::codec::{attributes, u32_of};
use super::encode::{self, Change, RuleVerb};
use super::error::Error;
use super::outbox::Outbox;
use super::read::{self, ONLINK, ifa, rta};
use super::socket::{Requests, Socket};
use super::tag::PROTOCOL;
use super::writer::{Draft, Writer, index_of};
use super::{Kernel, file, tag};
use crate::plan::{self, Operation, Plan, Transfer};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::rule::{Action, RuleKey};
use crate::resource::{Id, Key, Ns, Resource};

/// What something was that is taken over, besides what its resource says.
#[derive(Debug, Clone)]
pub(super) enum Was {
    /// A link, or the `lo` of a namespace.
    Link { alias: String, group: u32 },
    /// An address or a route: the kernel's message.
    Message(Vec<u8>),
    /// A rule, by its protocol number.
    Rule(u8),
    /// A file: its bytes.
    File(Vec<u8>),
}

/// Keeps what a plan takes over as it is before.
pub(super) fn remember(kernel: &mut Kernel, plan: &Plan) -> Result<(), Error> {
    let adopted = plan.operations.iter();
    let adopted = adopted.filter(|operation| operation.transfer == Some(Transfer::Adopt));
    let mut by_ns: BTreeMap<&Ns, BTreeSet<&Id>> = BTreeMap::new();
    for operation in adopted {
        by_ns
            .entry(&operation.id.ns)
            .or_default()
            .insert(&operation.id);
    }
    for (ns, ids) in by_ns {
        for id in &ids {
            if let (Key::File(kind), Some(name)) = (&id.key, ns.name()) {
                let bytes = file::bytes(name, *kind)?;
                kernel.was.insert((*id).clone(), Was::File(bytes));
            }
        }
        if ids.iter().all(|id| matches!(id.key, Key::File(_))) {
            continue;
        }
        let found = read_all(kernel.socket(ns)?, &ids)?;
        kernel.was.extend(
            found
                .into_iter()
                .map(|(key, was)| (Id::new(ns.clone(), key), was)),
        );
    }
    Ok(())
}

/// Reads what some things in one namespace are.
fn read_all(socket: &mut Socket, ids: &BTreeSet<&Id>) -> Result<Vec<(Key, Was)>, Error> {
    let mut all = Vec::new();
    let links = read::links(socket)?;
    for link in &links {
        let was = || Was::Link {
            alias: link.alias.clone(),
            group: link.group,
        };
        if link.is_loopback() {
            all.push((Key::Namespace, was()));
        } else if let Ok(name) = LinkName::try_from(link.name.as_str()) {
            all.push((Key::Link(name), was()));
        }
    }
    let index_of = |name: &LinkName| {
        let mut links = links.iter();
        links
            .find(|link| link.name == name.as_str())
            .map(|link| link.index)
    };
    let addresses = socket.dump(
        RTM_GETADDR,
        |request| request.fixed(&[0; 8]),
        |all: &mut Vec<(read::Address, Vec<u8>)>, message| {
            all.extend(read::address(&message).map(|a| (a, message.payload.to_vec())));
        },
    )?;
    let mut tables = BTreeSet::new();
    for id in ids {
        match &id.key {
            Key::Address(key) => {
                let index = index_of(&key.link);
                let mut found = addresses.iter();
                let found = found.find(|(a, _)| a.ip == key.ip && Some(a.index) == index);
                let was = found.map(|(_, message)| Was::Message(message.clone()));
                all.extend(was.map(|was| (id.key.clone(), was)));
            }
            Key::Route(key) => {
                tables.insert(key.table);
            }
            _ => {}
        }
    }
    for table in tables {
        let routes = socket.dump(
            RTM_GETROUTE,
            |request| {
                request.fixed(&[0; 12]);
                request.put_u32(rta::TABLE, table);
            },
            |all: &mut Vec<(read::Route, Vec<u8>)>, message| {
                all.extend(read::route(&message).map(|r| (r, message.payload.to_vec())));
            },
        )?;
        for (route, message) in routes {
            let fits = |id: &&&Id| {
                matches!(&id.key, Key::Route(key)
                    if key.table == route.table && key.to == route.to && key.metric == route.metric)
            };
            if let Some(id) = ids.iter().find(fits) {
                all.push((id.key.clone(), Was::Message(message)));
            }
        }
    }
    if ids.iter().any(|id| matches!(id.key, Key::Rule(_))) {
        for rule in read::rules(socket)?.0 {
            all.push((Key::Rule(Box::new(rule.key)), Was::Rule(rule.protocol)));
        }
    }
    Ok(all)
}

/// The alias and the group number that a link gets with an operation, if these change.
pub(super) fn tag_of(
    kernel: &Kernel,
    operation: &Operation,
    topology: &TopologyName,
) -> Result<Option<(String, u32)>, Error> {
    let Some(transfer) = operation.transfer else {
        return Ok(None);
    };
    let Some(Was::Link { alias, group }) = kernel.was.get(&operation.id) else {
        return Err(forgotten());
    };
    Ok(Some(match transfer {
        Transfer::Adopt => (alias_of(topology, alias), tag::GROUP),
        Transfer::Release => (alias.clone(), *group),
    }))
}

/// The alias of what is taken over: the tag, and the words that it had.
fn alias_of(topology: &TopologyName, words: &str) -> String {
    let words = Some(words).filter(|words| tag::owner(words).is_none());
    tag::with_words(topology, words.unwrap_or_default())
}

fn forgotten() -> Error {
    Error::Impossible("what something was before it was taken over is forgotten")
}

/// The kernel's message of what is taken over: its header, which is so long, and its attributes.
fn message<'k>(
    kernel: &'k Kernel,
    operation: &Operation,
    header: usize,
) -> Result<(&'k [u8], &'k [u8]), Error> {
    let Some(Was::Message(was)) = kernel.was.get(&operation.id) else {
        return Err(forgotten());
    };
    was.split_at_checked(header).ok_or_else(forgotten)
}

/// Writes an address as it is, but whose it is.
pub(super) fn address(
    kernel: &Kernel,
    operation: &Operation,
    transfer: Transfer,
    outbox: &mut Outbox,
    place: usize,
) -> Result<(), Error> {
    let (header, rest) = message(kernel, operation, 8)?;
    outbox.put(place, |requests| {
        let mut request = requests.request(RTM_NEWADDR, verb(operation));
        request.fixed(header);
        for (kind, value) in attributes(rest) {
            if kind != ifa::PROTO || transfer == Transfer::Release {
                request.put(kind, value);
            }
        }
        if transfer == Transfer::Adopt {
            request.put(ifa::PROTO, &[PROTOCOL]);
        }
    });
    Ok(())
}

/// Writes a route as it is, but whose it is.
pub(super) fn route(
    kernel: &Kernel,
    operation: &Operation,
    transfer: Transfer,
    outbox: &mut Outbox,
    place: usize,
) -> Result<(), Error> {
    /// `RTA_CACHEINFO` of `linux/rtnetlink.h`, which is only ever read.
    const CACHEINFO: u16 = 12;
    let (header, rest) = message(kernel, operation, 12)?;
    let mut header: Vec<u8> = header.to_vec();
    if transfer == Transfer::Adopt {
        header[5] = PROTOCOL;
    }
    // The rest says how the link is.
    let flags = u32_of(&header[8..12]) & ONLINK;
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    outbox.put(place, |requests: &mut Requests| {
        let mut request = requests.request(RTM_NEWROUTE, verb(operation));
        request.fixed(&header);
        for (kind, value) in attributes(rest) {
            if kind != CACHEINFO {
                request.put(kind, value);
            }
        }
    });
    Ok(())
}

/// One that fell meanwhile is made again, another changed where it is.
fn verb(operation: &Operation) -> i32 {
    match operation.action {
        plan::Action::Create(_) => NLM_F_CREATE | NLM_F_EXCL,
        _ => NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Has a rule be another's: it is made a second time, and goes as it was, so that there is always one.
pub(super) fn rule(
    kernel: &mut Kernel,
    operation: &Operation,
    transfer: Transfer,
    (key, before, after): (&RuleKey, Option<Action>, Action),
    outbox: &mut Outbox,
    place: usize,
) -> Result<(), Error> {
    let Some(Was::Rule(theirs)) = kernel.was.get(&operation.id) else {
        return Err(forgotten());
    };
    let (old, new) = match transfer {
        Transfer::Adopt => (*theirs, PROTOCOL),
        Transfer::Release => (PROTOCOL, *theirs),
    };
    if before.is_some() {
        let all = read::rules(kernel.socket(&operation.id.ns)?)?.0;
        let same =
            |rule: &&read::Rule| rule.key.family == key.family && rule.key.priority == key.priority;
        // The kernel might take another for the one that is meant.
        if all.iter().filter(same).count() > 1 {
            return Err(Error::Crowded {
                priority: key.priority,
            });
        }
    }
    outbox.put(place, |requests| {
        encode::rule(requests, RuleVerb::Create, key, after, new);
    });
    if let Some(before) = before {
        outbox.put(place, |requests| {
            encode::rule(requests, RuleVerb::Delete, key, before, old);
        });
    }
    Ok(())
}

impl<'p> Writer<'p> {
    /// Has something change hands. False: it is done as any change of it.
    pub(super) fn transfer(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        transfer: Transfer,
    ) -> Result<bool, Error> {
        let operation = &self.plan.operations[place];
        let made = matches!(operation.action, plan::Action::Create(_));
        match (&operation.id.key, &operation.action) {
            // What fell, and is made again as the topology's.
            _ if made && transfer == Transfer::Adopt => return Ok(false),
            (Key::Namespace, _) => {
                if let Some((alias, _)) = tag_of(kernel, operation, &self.plan.topology)? {
                    let change = Change {
                        alias: Some(alias),
                        ..Change::default()
                    };
                    let lo = LinkName::try_from("lo").expect("it is a name");
                    let index = index_of(kernel, draft.ns, &lo)?;
                    draft
                        .outbox
                        .put(place, |requests| encode::set_link(requests, index, &change));
                }
            }
            (Key::Address(_), _) => {
                address(kernel, operation, transfer, &mut draft.outbox, place)?;
            }
            // What is to be otherwise is written as the spec has it.
            (Key::Route(_), plan::Action::Update { before, after })
                if transfer == Transfer::Adopt && before != after =>
            {
                return Ok(false);
            }
            (Key::Route(_), _) => {
                route(kernel, operation, transfer, &mut draft.outbox, place)?;
            }
            (Key::Rule(key), action) => {
                let of = |resource: &Resource| match resource {
                    Resource::Rule(rule) => Some(rule.action),
                    _ => None,
                };
                let (before, after) = match action {
                    plan::Action::Update { before, after } => (of(before), of(after)),
                    plan::Action::Create(after) => (None, of(after)),
                    _ => (None, None),
                };
                let after = after.ok_or(Error::Impossible("a rule is something else"))?;
                let change = (&**key, before, after);
                rule(
                    kernel,
                    operation,
                    transfer,
                    change,
                    &mut draft.outbox,
                    place,
                )?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_alias_stay_behind_the_tag() {
        let lab = TopologyName::try_from("lab").expect("a name");
        assert_eq!(alias_of(&lab, ""), "netform:lab");
        assert_eq!(alias_of(&lab, "of Ann"), "netform:lab of Ann");
        assert_eq!(alias_of(&lab, "netform:other of Ann"), "netform:lab");
    }
}
