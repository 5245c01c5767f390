//! Having the kernel tell which rules packets come by: nftables tracing (`net/netfilter/nf_tables_trace.c`, Linux 4.6).
//!
//! What marks the packets is a table of this socket's own (`NFT_TABLE_F_OWNER`, Linux 5.12): the kernel removes it when the socket is closed, however this
//! process ends, and nobody else can change it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::process;

use super::attribute::{Attributes, Request, family};
use super::error::{Error, Object};
use super::socket::Channel;
use super::write::Message;
use super::{code, number as attr, read};
use crate::resource::Family;
use crate::state::{Flow, Judged, Judgement, RuleAt, Traced, Transport};

/// `NFT_TABLE_F_OWNER` of `linux/netfilter/nf_tables.h`.
const OWNER: u32 = 2;

/// Types of messages (`enum nft_trace_types`).
const POLICY: u32 = 1;
const RULE: u32 = 3;

/// The families whose packets are marked: what is routed, and what goes through bridges.
const FAMILIES: [libc::c_int; 2] = [libc::NFPROTO_INET, libc::NFPROTO_BRIDGE];

/// The chains that mark packets: the name, the hook, and whether they are for answers.
const CHAINS: [(&str, libc::c_int, bool); 4] = [
    ("there_in", libc::NF_INET_PRE_ROUTING, false),
    ("there_out", libc::NF_INET_LOCAL_OUT, false),
    ("back_in", libc::NF_INET_PRE_ROUTING, true),
    ("back_out", libc::NF_INET_LOCAL_OUT, true),
];

/// The register that values are loaded into.
const REGISTER: u32 = 1;
/// `SYN` among the flags of TCP, and where these are in its header (RFC 9293, section 3.1).
const SYN: u8 = 0x02;
const TCP_FLAGS: u32 = 13;

/// A socket that hears what becomes of some packets in its network namespace, for as long as it lives.
pub(in crate::kernel) struct Trace {
    channel: Channel,
    table: String,
}

/// Where it was decided: the number of the family, the table, the chain, and the handle of the rule; none: the policy.
type Place = (u8, String, String, Option<u64>);

impl Trace {
    /// Begins in the network namespace of the calling thread.
    pub(in crate::kernel) fn open(flows: &BTreeSet<Flow>) -> Result<Trace, Error> {
        let channel = Channel::open()?;
        let table = format!("netform_trace_{}", process::id());
        let mut trace = Trace { channel, table };
        for family in FAMILIES {
            let number = u8::try_from(family).expect("families are few");
            let made = trace.channel.apply(&trace.messages(number, flows), &[]);
            match made {
                // A kernel without rules for bridges (`CONFIG_NF_TABLES_BRIDGE`) has none that drop.
                Err(Error::Refused { errno, .. })
                    if family == libc::NFPROTO_BRIDGE
                        && matches!(
                            errno,
                            libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT
                        ) => {}
                made => made?,
            }
        }
        trace.channel.join(code(libc::NFNLGRP_NFTRACE))?;
        Ok(trace)
    }

    /// What makes the table of a family.
    fn messages(&self, family: u8, flows: &BTreeSet<Flow>) -> Vec<Message> {
        let create = libc::NLM_F_CREATE;
        let mut messages = Vec::new();
        let mut put = |request: Request| {
            messages.push(Message {
                action: "create",
                object: Object::Table(self.table.clone()),
                bytes: request.finish(),
            });
        };
        let flags = create | libc::NLM_F_EXCL;
        let table = Request::new(libc::NFT_MSG_NEWTABLE, flags, family);
        put(table
            .text(attr::TABLE_NAME, &self.table)
            .bytes(attr::TABLE_FLAGS, &OWNER.to_be_bytes()));
        for (chain, hook, answers) in CHAINS {
            let request = Request::new(libc::NFT_MSG_NEWCHAIN, create, family)
                .text(attr::CHAIN_TABLE, &self.table)
                .text(attr::CHAIN_NAME, chain)
                .nest(attr::CHAIN_HOOK, |nested| {
                    nested.put_u32(attr::HOOK_NUMBER, code(hook));
                    // Before all others: what is marked too late isn't traced.
                    nested.put_u32(attr::HOOK_PRIORITY, i32::MIN.cast_unsigned());
                })
                .text(attr::CHAIN_TYPE, "filter");
            put(request);
            for flow in flows {
                let request =
                    Request::new(libc::NFT_MSG_NEWRULE, create | libc::NLM_F_APPEND, family)
                        .text(attr::RULE_TABLE, &self.table)
                        .text(attr::RULE_CHAIN, chain)
                        .nest(attr::RULE_EXPRESSIONS, |list| mark(list, flow, answers));
                put(request);
            }
        }
        messages
    }

    /// What has been heard since it began.
    pub(in crate::kernel) fn heard(mut self) -> Result<Traced, Error> {
        let mut heard = Traced::default();
        // Whether packets are answers, by the numbers that the kernel gives them.
        let mut answers: HashMap<u32, bool> = HashMap::new();
        let mut places: Vec<(Place, bool, Judgement)> = Vec::new();
        let table = self.table.clone();
        self.channel.overheard(|message| {
            let event = Attributes::of(message);
            let (Some(id), Some(of), Some(chain)) = (
                event.u32(attr::TRACE_ID),
                event.text(attr::TRACE_TABLE),
                event.text(attr::TRACE_CHAIN),
            ) else {
                return;
            };
            if of == table {
                let answer = chain.starts_with("back");
                if event.u32(attr::TRACE_TYPE) == Some(RULE) {
                    heard.there |= !answer;
                    heard.back |= answer;
                    answers.insert(id, answer);
                }
                return;
            }
            let Some(answer) = answers.get(&id) else {
                return;
            };
            if let (Some(family), Some((judgement, handle))) = (family(message), judged(event)) {
                let place = ((family, of, chain, handle), *answer, judgement);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        })?;
        for ((family, table, chain, handle), answer, judgement) in places {
            let rule = match handle {
                Some(handle) => Some(self.rule(family, &table, &chain, handle)?),
                None => None,
            };
            heard.judged.push(Judged {
                table: format!("{} {table}", super::nat::word(family)),
                chain,
                rule,
                judgement,
                answer,
            });
        }
        Ok(heard)
    }

    /// Which rule of a chain has a handle.
    fn rule(&mut self, family: u8, table: &str, chain: &str, handle: u64) -> Result<RuleAt, Error> {
        let request = Request::new(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, family)
            .text(attr::RULE_TABLE, table)
            .text(attr::RULE_CHAIN, chain)
            .finish();
        let mut found = RuleAt {
            handle,
            ..RuleAt::default()
        };
        let mut number = 0;
        let mut bytes = Vec::new();
        let about = Object::Table(table.to_owned());
        let dumped = self.channel.dump(request, &about, |message| {
            let rule = Attributes::of(message);
            if rule.text(attr::RULE_CHAIN).as_deref() != Some(chain) {
                return Some(());
            }
            number += 1;
            if rule.u64(attr::RULE_HANDLE) == Some(handle) {
                found.number = Some(number);
                found.comment = super::foreign::rule(rule, &HashMap::new()).comment;
                bytes = message.to_vec();
            }
            Some(())
        });
        let text = dumped.and_then(|_| read::text(&mut self.channel, &bytes, family, table));
        match text {
            Ok(text) => found.text = text,
            // It went away meanwhile.
            Err(error) if error.is_stale() => {}
            Err(error) => return Err(error),
        }
        Ok(found)
    }
}

/// What a message says was decided, and by which rule; none: the policy did.
fn judged(event: Attributes<'_>) -> Option<(Judgement, Option<u64>)> {
    let (verdict, handle) = match event.u32(attr::TRACE_TYPE)? {
        RULE => {
            let verdict = event.nested(attr::TRACE_VERDICT)?.u32(attr::VERDICT_CODE)?;
            (verdict, Some(event.u64(attr::TRACE_RULE_HANDLE)?))
        }
        POLICY => (event.u32(attr::TRACE_POLICY)?, None),
        _ => return None,
    };
    // Negative ones lead to another chain, or to the next rule (`enum nft_verdicts`). The lower byte of the others is netfilter's.
    if verdict.cast_signed() < 0 {
        return None;
    }
    let judgement = match (verdict & 0xff).cast_signed() {
        libc::NF_DROP => Judgement::Drop,
        libc::NF_QUEUE => Judgement::Queue,
        libc::NF_ACCEPT if handle.is_some() => Judgement::Accept,
        _ => return None,
    };
    Some((judgement, handle))
}

/// What marks the packets of a flow, or the answers to them.
fn mark(list: &mut Request, flow: &Flow, answers: bool) {
    let is_ipv4 = flow.to.is_ipv4();
    let protocol = match Family::of(flow.to) {
        Family::Ipv4 => libc::ETH_P_IP,
        Family::Ipv6 => libc::ETH_P_IPV6,
    };
    let protocol = u16::try_from(protocol).expect("ethertypes have 16 bits");
    load_meta(list, attr::META_PROTOCOL);
    compare(list, &protocol.to_be_bytes());
    let (source, destination) = if is_ipv4 { (12, 16) } else { (8, 24) };
    let address = match flow.to {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let offset = if answers { source } else { destination };
    let length = if is_ipv4 { 4 } else { 16 };
    load(list, attr::NETWORK_HEADER, offset, length);
    compare(list, &address);
    let number = match flow.transport {
        Transport::Echo if is_ipv4 => libc::IPPROTO_ICMP,
        Transport::Echo => libc::IPPROTO_ICMPV6,
        Transport::Tcp(_) => libc::IPPROTO_TCP,
        Transport::Udp(_) => libc::IPPROTO_UDP,
    };
    load_meta(list, attr::META_L4PROTO);
    compare(
        list,
        &[u8::try_from(number).expect("protocols have 8 bits")],
    );
    match flow.transport {
        Transport::Echo => {
            // RFC 792 and RFC 4443.
            let kind = match (is_ipv4, answers) {
                (true, false) => 8,
                (true, true) => 0,
                (false, false) => 128,
                (false, true) => 129,
            };
            load(list, attr::TRANSPORT_HEADER, 0, 1);
            compare(list, &[kind]);
        }
        Transport::Tcp(port) | Transport::Udp(port) => {
            load(list, attr::TRANSPORT_HEADER, if answers { 0 } else { 2 }, 2);
            compare(list, &port.to_be_bytes());
        }
    }
    if let Transport::Tcp(_) = flow.transport {
        load(list, attr::TRANSPORT_HEADER, TCP_FLAGS, 1);
        list.expression("bitwise", |data| {
            data.put_u32(attr::BITWISE_SREG, REGISTER);
            data.put_u32(attr::BITWISE_DREG, REGISTER);
            data.put_u32(attr::BITWISE_LEN, 1);
            data.put_value(attr::BITWISE_MASK, &[SYN]);
            data.put_value(attr::BITWISE_XOR, &[0]);
        });
        compare(list, &[SYN]);
    }
    list.expression("immediate", |data| {
        data.put_u32(attr::IMMEDIATE_DREG, REGISTER);
        data.put_value(attr::IMMEDIATE_DATA, &[1]);
    });
    list.expression("meta", |data| {
        data.put_u32(attr::META_KEY, code(libc::NFT_META_NFTRACE));
        data.put_u32(attr::META_SREG, REGISTER);
    });
}

fn load_meta(list: &mut Request, key: u32) {
    list.expression("meta", |data| {
        data.put_u32(attr::META_KEY, key);
        data.put_u32(attr::META_DREG, REGISTER);
    });
}

fn load(list: &mut Request, base: u32, offset: u32, length: u32) {
    list.expression("payload", |data| {
        data.put_u32(attr::PAYLOAD_DREG, REGISTER);
        data.put_u32(attr::PAYLOAD_BASE, base);
        data.put_u32(attr::PAYLOAD_OFFSET, offset);
        data.put_u32(attr::PAYLOAD_LEN, length);
    });
}

fn compare(list: &mut Request, bytes: &[u8]) {
    list.expression("cmp", |data| {
        data.put_u32(attr::CMP_SREG, REGISTER);
        data.put_u32(attr::CMP_OP, 0);
        data.put_value(attr::CMP_DATA, bytes);
    });
}
