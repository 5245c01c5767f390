//! Source validation: what comes by a gateway link that this topology made comes from a member.
//!
//! It stands before connection tracking, so that a forged packet leaves no trace there, and before
//! routing, so that the link's holder is protected too.

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{End, Icmpv6Type, Key, Statement};
use super::super::{ChainKind, Hook, Rule, Table};
use super::words::{IN, RAW, accept, base, count_and_drop, goto, in_set, name, put_chain, put_set};
use super::{Gateway, Origin};
use super::{links, routed};
use crate::resource::Family;

/// Which address may come from which link.
pub(super) const SOURCES: &str = "sources";
/// The chain that looks at what comes by a gateway link.
const SOURCE: &str = "source";

/// Puts in the sets `sources`, and the chains `sources` and `source`.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    let Some(from_links) = links::from_made_links(table) else {
        return;
    };
    // Or the holder would believe a member's router advertisement.
    let not_believed = Statement::Icmpv6([Icmpv6Type::ROUTER_ADVERT, Icmpv6Type::REDIRECT].into());
    let mut rules = vec![
        Rule::new([not_believed].into_iter().chain(count_and_drop()))
            .because("members are no routers for their gateway"),
    ];
    for family in Family::BOTH {
        let sources = gateway.links(Origin::Made).flat_map(|(name, link)| {
            let members = link.members.iter().filter(|ip| Family::of(**ip) == family);
            members.map(|ip| Element::of([Value::Link(name.clone()), Value::address(*ip)]))
        });
        let set = Set::of([Field::Ifname, Field::address(family)]);
        let name = name(SOURCES, family);
        put_set(
            table,
            &name,
            "which address may come from which link",
            set,
            sources,
        );
        if table.sets.contains_key(&name) {
            let known = in_set([IN, Key::Address(family, End::Source)], &name);
            rules.push(Rule::new([known, accept()]));
        }
    }
    // Neighbour discovery, router solicitations and multicast reports come from these, and the kernel
    // forwards no link-local source.
    rules.push(Rule::new([source_within("fe80::/10"), accept()]));
    // What a member says before it has an address.
    let first_words = [
        Icmpv6Type::MLD_REPORT,
        Icmpv6Type::ROUTER_SOLICIT,
        Icmpv6Type::NEIGHBOR_SOLICIT,
        Icmpv6Type::MLD2_REPORT,
    ];
    let first_words = Statement::Icmpv6(first_words.into());
    rules.push(Rule::new([source_within("::/128"), first_words, accept()]));
    // Intervals take longer to look up than single addresses: they come last.
    rules.extend(
        Family::BOTH
            .into_iter()
            .filter_map(|family| routed::put(gateway, table, family)),
    );
    rules.push(Rule::new(count_and_drop()).because("no member's address"));

    let enter = base(ChainKind::Filter, Hook::Prerouting, RAW);
    put_chain(
        table,
        SOURCES,
        Some(enter),
        vec![Rule::new([from_links, goto(SOURCE)])],
    );
    put_chain(table, SOURCE, None, rules);
}

fn source_within(net: &str) -> Statement {
    Statement::Within {
        end: End::Source,
        net: net.parse().expect("a prefix of this file is well-formed"),
    }
}
