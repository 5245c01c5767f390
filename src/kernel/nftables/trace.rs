//! Having the kernel tell which rules packets come by: nftables tracing (`net/netfilter/nf_tables_trace.c`, Linux 4.6).
//!
//! What marks the packets is a table of this socket's own (`NFT_TABLE_F_OWNER`, Linux 5.12): the kernel removes it when the socket is closed, however this
//! process ends, and nobody else can change it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::process;

use super::attribute::{Attributes, REGISTER, Request, family};
use super::error::{Error, Object};
use super::socket::Channel;
use super::write::Message;
use super::{code, number as attr, read};
use crate::state::{Flow, Judged, Judgement, RuleAt, Traced, Transport};

/// `NFT_TABLE_F_OWNER` of `linux/netfilter/nf_tables.h`.
const OWNER: u32 = 2;

/// Types of messages (`enum nft_trace_types`).
const POLICY: u32 = 1;
const RULE: u32 = 3;

/// The families whose packets are marked: what is routed, and what goes through bridges.
const FAMILIES: [libc::c_int; 2] = [libc::NFPROTO_INET, libc::NFPROTO_BRIDGE];

/// A chain that marks packets.
struct Marking {
    name: &'static str,
    hook: libc::c_int,
    /// Whether for answers.
    answers: bool,
}

impl Marking {
    const fn new(name: &'static str, hook: libc::c_int, answers: bool) -> Marking {
        Marking {
            name,
            hook,
            answers,
        }
    }

    /// First, because what is marked too late isn't traced; but last where it is seen what leaves.
    fn priority(&self) -> i32 {
        match self.hook {
            libc::NF_INET_POST_ROUTING => i32::MAX,
            _ => i32::MIN,
        }
    }

    /// Says where packets have been seen.
    fn sees(&self, heard: &mut Traced) {
        let passage = if self.answers {
            &mut heard.back
        } else {
            &mut heard.there
        };
        match self.hook {
            libc::NF_INET_PRE_ROUTING | libc::NF_INET_LOCAL_OUT => passage.came = true,
            libc::NF_INET_POST_ROUTING => passage.left = true,
            _ => {}
        }
    }
}

/// All hooks: a packet that is copied, because it goes to several ports of a bridge, has another number from there on.
const CHAINS: [Marking; 10] = [
    Marking::new("there_in", libc::NF_INET_PRE_ROUTING, false),
    Marking::new("there_ends", libc::NF_INET_LOCAL_IN, false),
    Marking::new("there_through", libc::NF_INET_FORWARD, false),
    Marking::new("there_begins", libc::NF_INET_LOCAL_OUT, false),
    Marking::new("there_out", libc::NF_INET_POST_ROUTING, false),
    Marking::new("back_in", libc::NF_INET_PRE_ROUTING, true),
    Marking::new("back_ends", libc::NF_INET_LOCAL_IN, true),
    Marking::new("back_through", libc::NF_INET_FORWARD, true),
    Marking::new("back_begins", libc::NF_INET_LOCAL_OUT, true),
    Marking::new("back_out", libc::NF_INET_POST_ROUTING, true),
];

/// `SYN` and `RST` among the flags of TCP, and where these are in its header (RFC 9293, section 3.1): what begins connections, and
/// refuses them.
const SYN_OR_RST: u8 = 0x02 | 0x04;
const TCP_FLAGS: usize = 13;

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
        for chain in &CHAINS {
            let request = Request::new(libc::NFT_MSG_NEWCHAIN, create, family)
                .text(attr::CHAIN_TABLE, &self.table)
                .text(attr::CHAIN_NAME, chain.name)
                .nest(attr::CHAIN_HOOK, |nested| {
                    nested.put_u32(attr::HOOK_NUMBER, code(chain.hook));
                    nested.put_u32(attr::HOOK_PRIORITY, chain.priority().cast_unsigned());
                })
                .text(attr::CHAIN_TYPE, "filter");
            put(request);
            for flow in flows {
                let request =
                    Request::new(libc::NFT_MSG_NEWRULE, create | libc::NLM_F_APPEND, family)
                        .text(attr::RULE_TABLE, &self.table)
                        .text(attr::RULE_CHAIN, chain.name)
                        .nest(attr::RULE_EXPRESSIONS, |list| {
                            mark(list, flow, chain.answers);
                        });
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
                let marking = CHAINS.iter().find(|marking| marking.name == chain);
                // The first message of a chain is about no rule: it has the headers of the packet.
                if let Some(marking) = marking
                    && event.bytes(attr::TRACE_RULE_HANDLE).is_some()
                {
                    marking.sees(&mut heard);
                    answers.insert(id, marking.answers);
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
    for (part, value) in wanted(flow, answers) {
        match part {
            Part::Meta(key) => list.load_meta(key),
            Part::Header(base, offset) => list.load_header(base, offset, value.len()),
        }
        list.compare(attr::EQUAL, &value);
    }
    if let Transport::Tcp(_) = flow.transport {
        list.load_header(attr::TRANSPORT_HEADER, TCP_FLAGS, 1);
        list.bitwise(&[SYN_OR_RST], &[0]);
        list.compare(attr::NOT_EQUAL, &[0]);
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

/// What rules look at of a packet.
enum Part {
    /// What is known of it (`enum nft_meta_keys`).
    Meta(u32),
    /// From some place in a header on.
    Header(u32, usize),
}

/// What the packets of a flow have in common, or the answers to them.
fn wanted(flow: &Flow, answers: bool) -> Vec<(Part, Vec<u8>)> {
    let is_ipv4 = flow.to.is_ipv4();
    let address = match flow.to {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ether = |kind: libc::c_int| {
        let kind = u16::try_from(kind).expect("ethertypes have 16 bits");
        (Part::Meta(attr::META_PROTOCOL), kind.to_be_bytes().to_vec())
    };
    let of_protocol = |number: libc::c_int| {
        let number = u8::try_from(number).expect("protocols have 8 bits");
        (Part::Meta(attr::META_L4PROTO), vec![number])
    };
    let network = |offset: usize, value| (Part::Header(attr::NETWORK_HEADER, offset), value);
    let transport = |offset: usize, value| (Part::Header(attr::TRANSPORT_HEADER, offset), value);
    // The types of ICMP (RFC 792), or of ICMPv6 (RFC 4443, RFC 4861).
    let of_type = |question: u8, answer: u8| {
        let kind = if answers { answer } else { question };
        transport(0, vec![kind])
    };
    let port = |port: u16| {
        let offset = if answers { 0 } else { 2 };
        transport(offset, port.to_be_bytes().to_vec())
    };
    let to = |address| match (is_ipv4, answers) {
        (true, false) => network(16, address),
        (true, true) => network(12, address),
        (false, false) => network(24, address),
        (false, true) => network(8, address),
    };
    let ip = ether(if is_ipv4 {
        libc::ETH_P_IP
    } else {
        libc::ETH_P_IPV6
    });
    let icmpv6 = || of_protocol(libc::IPPROTO_ICMPV6);
    match flow.transport {
        // The addresses of who is asked and of who asks (RFC 826).
        Transport::Neighbour if is_ipv4 => {
            let offset = if answers { 14 } else { 24 };
            vec![ether(libc::ETH_P_ARP), network(offset, address)]
        }
        Transport::Neighbour => vec![ip, icmpv6(), of_type(135, 136), transport(8, address)],
        Transport::Echo if is_ipv4 => {
            let icmp = of_protocol(libc::IPPROTO_ICMP);
            vec![ip, to(address), icmp, of_type(8, 0)]
        }
        Transport::Echo => vec![ip, to(address), icmpv6(), of_type(128, 129)],
        Transport::Tcp(number) => {
            let tcp = of_protocol(libc::IPPROTO_TCP);
            vec![ip, to(address), tcp, port(number)]
        }
        Transport::Udp(number) => {
            let udp = of_protocol(libc::IPPROTO_UDP);
            vec![ip, to(address), udp, port(number)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about a rule or a policy.
    fn message(
        kind: u32,
        verdict: Option<i32>,
        handle: Option<u64>,
        policy: Option<u32>,
    ) -> Vec<u8> {
        let mut request = Request::new(libc::NFT_MSG_TRACE, 0, 1);
        request.put_u32(attr::TRACE_TYPE, kind);
        if let Some(verdict) = verdict {
            request.put_nested(attr::TRACE_VERDICT, |nested| {
                nested.put_u32(attr::VERDICT_CODE, verdict.cast_unsigned());
            });
        }
        if let Some(policy) = policy {
            request.put_u32(attr::TRACE_POLICY, policy);
        }
        let request = match handle {
            Some(handle) => request.bytes(attr::TRACE_RULE_HANDLE, &handle.to_be_bytes()),
            None => request,
        };
        request.finish()
    }

    #[test]
    fn verdicts_are_told_apart() {
        let queue_of_seven = libc::NF_QUEUE | 7 << 16;
        let drop_with_errno = libc::NF_DROP | 1 << 16;
        for (message, expected) in [
            (
                message(RULE, Some(libc::NF_DROP), Some(7), None),
                Some((Judgement::Drop, Some(7))),
            ),
            (
                message(RULE, Some(drop_with_errno), Some(7), None),
                Some((Judgement::Drop, Some(7))),
            ),
            (
                message(RULE, Some(libc::NF_ACCEPT), Some(7), None),
                Some((Judgement::Accept, Some(7))),
            ),
            (
                message(RULE, Some(queue_of_seven), Some(7), None),
                Some((Judgement::Queue, Some(7))),
            ),
            (message(RULE, Some(libc::NFT_CONTINUE), Some(7), None), None),
            (message(RULE, Some(libc::NFT_JUMP), Some(7), None), None),
            // The headers of a packet.
            (message(RULE, None, None, None), None),
            (
                message(POLICY, None, None, Some(0)),
                Some((Judgement::Drop, None)),
            ),
            (message(POLICY, None, None, Some(1)), None),
        ] {
            assert_eq!(judged(Attributes::of(&message)), expected);
        }
    }
}
