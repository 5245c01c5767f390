//! What a gateway needs of nftables: the lowering of guarded links, source validation and egress.
//!
//! `docs/datapath.md` draws the way of a packet and says why each rule stands where it does. A feature
//! that a gateway doesn't use has neither a set nor a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::set::{Element, Field, Lookup, Set, Value};
use super::statement::{CtState, Direction, End, Icmpv6Type, Key, Statement, Verdict};
use super::{Base, Chain, ChainKind, Hook, Policy, Rule, Table};
use crate::resource::Family;
use crate::resource::name::{LinkName, TopologyName};

/// The priority of the chain that is before connection tracking (`NF_IP_PRI_RAW`).
const RAW: i32 = -300;
/// The priority of chains that judge (`NF_IP_PRI_FILTER`).
const FILTER: i32 = 0;
/// The priority of the chain that rewrites sources (`NF_IP_PRI_NAT_SRC`).
const SRCNAT: i32 = 100;

/// The gateway links that a topology has in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Whose they are.
    pub topology: TopologyName,
    /// The links, by name.
    pub links: BTreeMap<LinkName, GatewayLink>,
    /// What is judged.
    pub guard: Guard,
    /// The group of netform's links, where IPv6 forwarding had to be switched on for the whole namespace
    /// though it was off: what goes neither in nor out by such a link is then not forwarded, as before.
    pub fallback: Option<u32>,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Connections through gateway links.
    Links,
    /// Nothing, because the spec makes the namespace a plain router: only sources are validated, and
    /// what leaves is translated.
    Nothing,
}

/// A link with a subnet's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLink {
    /// Who made it.
    pub origin: Origin,
    /// What is behind it.
    pub shape: Shape,
    /// The addresses of the members behind it.
    pub members: BTreeSet<IpAddr>,
    /// The prefixes of the subnets that it is the gateway of.
    pub prefixes: BTreeSet<IpNet>,
    /// The way out of each family.
    pub egress: BTreeMap<Family, Egress>,
}

/// Who made a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This topology: all that comes by it comes from members.
    Made,
    /// Somebody else: what comes by it may come from anywhere, and only the subnets' prefixes are
    /// netform's to judge.
    Existing,
}

/// What is behind a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One member.
    PointToPoint,
    /// The ports of a bridge, which the link is. With `br_netfilter` even frames from one port to another
    /// go through these rules, in and out by the bridge.
    Bridge,
}

/// A way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The link that it leads through. It need not exist yet.
    pub dev: LinkName,
    /// Which source is seen outside.
    pub nat: Nat,
}

/// Which source is seen outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The address of the link that it leaves by.
    Masquerade,
    /// The member's own.
    None,
}

impl Gateway {
    /// The table, unless there is nothing to guard, validate or translate.
    pub fn table(&self) -> Option<Table> {
        let mut table = Table::of(&self.topology);
        self.put_sets(&mut table);
        Gateway::put_source_validation(&mut table);
        self.put_forwarding(&mut table);
        Gateway::put_outbound(&mut table);
        self.put_fallback(&mut table);
        (!table.chains.is_empty()).then_some(table)
    }

    /// The links of an origin.
    fn links(&self, origin: Origin) -> impl Iterator<Item = (&LinkName, &GatewayLink)> {
        self.links
            .iter()
            .filter(move |(_, link)| link.origin == origin)
    }

    /// The sets, as far as they have elements.
    ///
    /// A batch too large for one message is filled in the order of names, so these must be such that
    /// nothing is open meanwhile: what is guarded (`behind`, `links`) comes before what is translated
    /// (`masquerade`), and that before what may pass.
    fn put_sets(&self, table: &mut Table) {
        let links = self
            .links(Origin::Made)
            .map(|(name, _)| [Value::Link(name.clone())]);
        let links = elements(Set::of([Field::Ifname]), links);
        put(table, LINKS, "gateway links that this topology made", links);

        for family in Family::BOTH {
            let address = Field::address(family);
            let of_family = |ip: &&IpAddr| Family::of(**ip) == family;

            let behind = self.links(Origin::Existing).flat_map(|(name, link)| {
                let nets = link
                    .prefixes
                    .iter()
                    .filter(|net| Family::of(net.addr()) == family);
                let nets = IpNet::aggregate(&nets.map(IpNet::trunc).collect());
                nets.into_iter()
                    .map(|net| [Value::Link(name.clone()), Value::Ip(net)])
            });
            let set = Set {
                lookup: Lookup::Interval,
                ..Set::of([Field::Ifname, address])
            };
            let comment = "prefixes behind gateway links that others made";
            put(table, &name(BEHIND, family), comment, elements(set, behind));

            let sources = self.links(Origin::Made).flat_map(|(name, link)| {
                let members = link.members.iter().filter(of_family);
                members.map(|ip| [Value::Link(name.clone()), Value::address(*ip)])
            });
            let set = elements(Set::of([Field::Ifname, address]), sources);
            put(
                table,
                &name(SOURCES, family),
                "which address may come from which link",
                set,
            );

            let passing = |_: &Egress| true;
            let translated = |egress: &Egress| egress.nat == Nat::Masquerade;
            let bridges = self
                .links
                .iter()
                .filter(|(_, link)| link.shape == Shape::Bridge);
            let bridges =
                bridges.map(|(name, _)| [name, name].map(|name| Value::Link(name.clone())));
            let pairs = [Field::Ifname, Field::Ifname];
            let triples = [Field::Ifname, address, Field::Ifname];
            if self.guard == Guard::Links {
                let pass = self.pairs(family, passing).chain(bridges);
                let comment = "from which link to which link a connection may be opened";
                put(
                    table,
                    &name(PASS, family),
                    comment,
                    elements(Set::of(pairs), pass),
                );
                let pass = self.triples(family, passing);
                let comment =
                    "which member of an existing link may open a connection to which link";
                put(
                    table,
                    &name(PASS_FROM, family),
                    comment,
                    elements(Set::of(triples), pass),
                );
            }
            let masquerade = elements(Set::of(pairs), self.pairs(family, translated));
            let comment = "from which link to which link sources are rewritten";
            put(table, &name(MASQUERADE, family), comment, masquerade);
            let masquerade = elements(Set::of(triples), self.triples(family, translated));
            let comment = "which member of an existing link is rewritten on which link";
            put(table, &name(MASQUERADE_FROM, family), comment, masquerade);
        }
    }

    /// From which link to which link the egress of links that this topology made leads.
    fn pairs(
        &self,
        family: Family,
        wanted: fn(&Egress) -> bool,
    ) -> impl Iterator<Item = [Value; 2]> {
        self.links(Origin::Made).filter_map(move |(name, link)| {
            let egress = link.egress.get(&family).filter(|egress| wanted(egress))?;
            Some([Value::Link(name.clone()), Value::Link(egress.dev.clone())])
        })
    }

    /// From which link, of which member, to which link the egress of existing links leads.
    fn triples(
        &self,
        family: Family,
        wanted: fn(&Egress) -> bool,
    ) -> impl Iterator<Item = [Value; 3]> {
        self.links(Origin::Existing).flat_map(move |(name, link)| {
            let egress = link.egress.get(&family).filter(|egress| wanted(egress));
            let members = link
                .members
                .iter()
                .filter(move |ip| Family::of(**ip) == family);
            egress.into_iter().flat_map(move |egress| {
                members.clone().map(move |ip| {
                    let dev = Value::Link(egress.dev.clone());
                    [Value::Link(name.clone()), Value::address(*ip), dev]
                })
            })
        })
    }

    /// Chains `sources` and `source`: before connection tracking, so that a forged packet leaves no
    /// trace there, and so that the holder itself is protected too.
    fn put_source_validation(table: &mut Table) {
        if !table.sets.contains_key(LINKS) {
            return;
        }
        let base = base(ChainKind::Filter, Hook::Prerouting, RAW);
        let rules = vec![Rule::new([from_link(), goto(SOURCE)])];
        put_chain(table, "sources", Some(base), rules);

        let not_believed = [Icmpv6Type::ROUTER_ADVERT, Icmpv6Type::REDIRECT];
        let mut rules = vec![
            Rule::new([
                Statement::Icmpv6(not_believed.into()),
                Statement::Counter,
                drop(),
            ])
            .because("members are no routers for their gateway"),
        ];
        for family in Family::BOTH {
            let set = name(SOURCES, family);
            if table.sets.contains_key(&set) {
                let key = vec![Key::Link(Direction::In), Key::Address(family, End::Source)];
                rules.push(Rule::new([Statement::In { key, set }, accept()]));
            }
        }
        // Neighbour discovery, router solicitations and multicast reports come from these, and the
        // kernel forwards no link-local source.
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
        rules.push(Rule::new([Statement::Counter, drop()]).because("no member's address"));
        put_chain(table, SOURCE, None, rules);
    }

    /// Chains `forwarding` and `judge`: only what comes from or goes to a gateway link is judged, so two
    /// topologies never see each other's traffic.
    fn put_forwarding(&self, table: &mut Table) {
        let has_egress = self.links.values().any(|link| !link.egress.is_empty());
        if self.guard == Guard::Nothing && !has_egress {
            return;
        }
        let has = |set: &str| table.sets.contains_key(set);
        let mut rules = Vec::new();
        if has(LINKS) {
            let out = in_set([Key::Link(Direction::Out)], LINKS);
            rules.push(Rule::new([from_link(), goto(JUDGE)]));
            rules.push(Rule::new([out, goto(JUDGE)]));
        }
        let behind = Family::BOTH.map(|family| (family, name(BEHIND, family)));
        let behind = behind
            .into_iter()
            .filter(|(_, set)| has(set))
            .collect::<Vec<_>>();
        for (family, set) in &behind {
            rules.push(Rule::new([from_behind(*family, set), goto(JUDGE)]));
            rules.push(Rule::new([to_behind(*family, set), goto(JUDGE)]));
        }
        if rules.is_empty() {
            return;
        }
        let forwarding = rules;

        let mut rules = vec![Rule::new([Statement::TcpSyn, Statement::ClampMss])];
        if self.guard == Guard::Links {
            // Invalid ones first: they would leave untranslated.
            let verdicts = BTreeMap::from([
                (CtState::Invalid, Verdict::Drop),
                (CtState::Established, Verdict::Accept),
                (CtState::Related, Verdict::Accept),
            ]);
            rules.push(Rule::new([Statement::CtState(verdicts)]));
            for family in Family::BOTH {
                for (set, statements) in by_pair(family, PASS, PASS_FROM) {
                    if has(&set) {
                        rules.push(Rule::new(statements.into_iter().chain([accept()])));
                    }
                }
            }
            let reject = [Statement::Counter, Statement::RejectAdminProhibited];
            let reason = "a member learns at once that it may not";
            if has(LINKS) {
                let refused = Rule::new([from_link()].into_iter().chain(reject.clone()));
                rules.push(refused.because(reason));
            }
            for (family, set) in &behind {
                let from = from_behind(*family, set);
                let refused = Rule::new([from].into_iter().chain(reject.clone()));
                rules.push(refused.because(reason));
            }
            rules.push(
                Rule::new([Statement::Counter, drop()]).because("nobody outside reaches a member"),
            );
        }
        let base = base(ChainKind::Filter, Hook::Forward, FILTER);
        put_chain(table, "forwarding", Some(base), forwarding);
        put_chain(table, JUDGE, None, rules);
    }

    /// Chain `outbound`: the first packet of a connection decides which source it is seen with.
    fn put_outbound(table: &mut Table) {
        let mut rules = Vec::new();
        for family in Family::BOTH {
            for (set, statements) in by_pair(family, MASQUERADE, MASQUERADE_FROM) {
                if table.sets.contains_key(&set) {
                    rules.push(Rule::new(
                        statements.into_iter().chain([Statement::Masquerade]),
                    ));
                }
            }
        }
        if !rules.is_empty() {
            let base = base(ChainKind::Nat, Hook::Postrouting, SRCNAT);
            put_chain(table, "outbound", Some(base), rules);
        }
    }

    /// Chain `fallback`: what the switch for the whole namespace opened besides.
    fn put_fallback(&self, table: &mut Table) {
        let Some(group) = self.fallback else {
            return;
        };
        let family = Family::Ipv6;
        let set = name(BEHIND, family);
        let mut rules = Vec::new();
        if table.sets.contains_key(&set) {
            rules.push(Rule::new([from_behind(family, &set), accept()]));
            rules.push(Rule::new([to_behind(family, &set), accept()]));
        }
        let not_ours = [Direction::In, Direction::Out]
            .map(|direction| Statement::NotGroup { direction, group });
        let statements = [Statement::Family(family)].into_iter().chain(not_ours);
        let statements = statements.chain([Statement::Counter, drop()]);
        rules.push(
            Rule::new(statements)
                .because("IPv6 forwarding is on for members only; it was off before"),
        );
        let base = base(ChainKind::Filter, Hook::Forward, FILTER);
        put_chain(table, "fallback", Some(base), rules);
    }
}

const LINKS: &str = "links";
const BEHIND: &str = "behind";
const SOURCES: &str = "sources";
const PASS: &str = "pass";
const PASS_FROM: &str = "pass_from";
const MASQUERADE: &str = "masquerade";
const MASQUERADE_FROM: &str = "masquerade_from";
const SOURCE: &str = "source";
const JUDGE: &str = "judge";

/// A set's name for a family.
fn name(set: &str, family: Family) -> String {
    match family {
        Family::Ipv4 => format!("{set}4"),
        Family::Ipv6 => format!("{set}6"),
    }
}

/// The set with these elements.
fn elements<const N: usize>(set: Set, keys: impl Iterator<Item = [Value; N]>) -> Set {
    Set {
        elements: keys.map(Element::of).collect(),
        ..set
    }
}

/// Puts a set in, unless it is empty.
fn put(table: &mut Table, name: &str, comment: &str, set: Set) {
    if !set.elements.is_empty() {
        let comment = Some(comment.to_owned());
        table.sets.insert(name.to_owned(), Set { comment, ..set });
    }
}

fn put_chain(table: &mut Table, name: &str, base: Option<Base>, rules: Vec<Rule>) {
    let chain = Chain {
        base,
        rules,
        unknown: Vec::new(),
    };
    table.chains.insert(name.to_owned(), chain);
}

fn base(kind: ChainKind, hook: Hook, priority: i32) -> Base {
    Base {
        kind,
        hook,
        priority,
        // A drop would be final for the traffic of everybody else too.
        policy: Policy::Accept,
    }
}

fn in_set<const N: usize>(key: [Key; N], set: &str) -> Statement {
    Statement::In {
        key: key.into(),
        set: set.to_owned(),
    }
}

fn from_link() -> Statement {
    in_set([Key::Link(Direction::In)], LINKS)
}

fn from_behind(family: Family, set: &str) -> Statement {
    in_set(
        [Key::Link(Direction::In), Key::Address(family, End::Source)],
        set,
    )
}

fn to_behind(family: Family, set: &str) -> Statement {
    in_set(
        [
            Key::Link(Direction::Out),
            Key::Address(family, End::Destination),
        ],
        set,
    )
}

/// The two sets of a family that say where something may go, with the statements that look them up:
/// by links alone, and by links and member.
fn by_pair(family: Family, pairs: &str, triples: &str) -> [(String, Vec<Statement>); 2] {
    let (link, out) = (Key::Link(Direction::In), Key::Link(Direction::Out));
    let (pairs, triples) = (name(pairs, family), name(triples, family));
    let by_links = in_set([link, out], &pairs);
    let by_member = in_set([link, Key::Address(family, End::Source), out], &triples);
    [
        (pairs, vec![Statement::Family(family), by_links]),
        (triples, vec![by_member]),
    ]
}

fn source_within(net: &str) -> Statement {
    Statement::Within {
        end: End::Source,
        net: net.parse().expect("a prefix of this file is well-formed"),
    }
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.to_owned()))
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn drop() -> Statement {
    Statement::Verdict(Verdict::Drop)
}
