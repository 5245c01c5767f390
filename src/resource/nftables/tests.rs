//! Tables, without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::diff::{Change, diff};
use super::gateway::{Egress, Fallback, Gateway, GatewayLink, Guard, Inbound, Nat, Origin, Shape};
use super::lower::lower;
use super::recognise::recognise;
use super::*;
use crate::resource::Family;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::nftables::statement::End;

fn link(name: &str) -> LinkName {
    LinkName::try_from(name).expect("a link's name")
}

fn egress(dev: &str, nat: Nat) -> Egress {
    Egress {
        dev: link(dev),
        nat,
        inbound: Inbound::Deny,
    }
}

/// A gateway of one link with some members, and a way out of IPv4.
fn gateway(members: &[&str]) -> Gateway {
    let members: Vec<IpAddr> = members
        .iter()
        .map(|ip| ip.parse().expect("an address"))
        .collect();
    let gateway_link = GatewayLink {
        origin: Origin::Made,
        shape: Shape::PointToPoint,
        members: members.into_iter().collect(),
        prefixes: ["192.168.50.0/24".parse().expect("a prefix")].into(),
        routed: BTreeSet::new(),
        allow: BTreeSet::new(),
        egress: BTreeMap::from([(Family::Ipv4, egress("ens33", Nat::Masquerade))]),
    };
    Gateway {
        topology: TopologyName::try_from("breezyfrost").expect("a topology's name"),
        links: BTreeMap::from([(link("veth1_p"), gateway_link)]),
        guard: Guard::Links,
        fallback: None,
        published: BTreeSet::new(),
    }
}

fn fallback(group: u32) -> Fallback {
    Fallback {
        group,
        bridges: BTreeSet::new(),
    }
}

fn only_link(gateway: &mut Gateway) -> &mut GatewayLink {
    gateway.links.values_mut().next().expect("it has one")
}

fn table(gateway: &Gateway) -> Table {
    gateway.table().expect("it needs one")
}

fn rules(table: &Table, chain: &str) -> Vec<String> {
    table.chains[chain]
        .rules
        .iter()
        .map(Rule::to_string)
        .collect()
}

fn sets(table: &Table) -> Vec<&str> {
    table.sets.keys().map(String::as_str).collect()
}

#[test]
fn the_smallest_topology_reads_like_this() {
    let expected = r#"table inet netform-breezyfrost {
	comment "netform:breezyfrost"
	set links {
		type ifname
		comment "gateway links that this topology made"
		elements = { "veth1_p" }
	}

	set masquerade4 {
		type ifname . ifname
		comment "from which link to which link sources are rewritten"
		elements = { "veth1_p" . "ens33" }
	}

	set pass4 {
		type ifname . ifname
		comment "from which link to which link a connection may be opened"
		elements = { "veth1_p" . "ens33" }
	}

	set sources4 {
		type ifname . ipv4_addr
		comment "which address may come from which link"
		elements = { "veth1_p" . 192.168.50.2,
			     "veth1_p" . 192.168.50.4 }
	}

	chain forwarding {
		type filter hook forward priority filter; policy accept;
		iifname @links goto judge
		oifname @links goto judge
	}

	chain judge {
		tcp flags syn / syn,rst tcp option maxseg size set rt mtu
		ct state vmap { invalid : drop, established : accept }
		meta nfproto ipv4 iifname . oifname @masquerade4 ct state vmap { untracked : drop }
		meta nfproto ipv4 iifname . oifname @pass4 accept
		meta nfproto ipv4 oifname . iifname @pass4 ct state vmap { related : accept }
		iifname @links counter reject with icmpx admin-prohibited comment "a member learns at once that it may not"
		counter drop comment "nobody outside reaches a member"
	}

	chain outbound {
		type nat hook postrouting priority srcnat; policy accept;
		meta nfproto ipv4 iifname . oifname @masquerade4 masquerade
	}

	chain source {
		icmpv6 type { nd-router-advert, nd-redirect } counter drop comment "members are no routers for their gateway"
		iifname . ip saddr @sources4 accept
		ip6 saddr fe80::/10 accept
		ip6 saddr :: icmpv6 type { mld-listener-report, nd-router-solicit, nd-neighbor-solicit, mld2-listener-report } accept
		counter drop comment "no member's address"
	}

	chain sources {
		type filter hook prerouting priority raw; policy accept;
		iifname @links goto source
	}
}
"#;
    assert_eq!(
        table(&gateway(&["192.168.50.4", "192.168.50.2"])).to_string(),
        expected
    );
}

#[test]
fn a_feature_that_is_not_used_has_no_set_and_no_rule() {
    let mut gateway = gateway(&["192.168.50.2"]);
    only_link(&mut gateway).egress.clear();
    let table = table(&gateway);
    assert_eq!(sets(&table), ["links", "sources4"]);
    assert!(!table.chains.contains_key("outbound"));
    let judge = rules(&table, "judge");
    assert!(!judge.iter().any(|rule| rule.contains("pass")), "{judge:?}");
}

#[test]
fn without_masquerade_a_member_passes_with_its_own_address() {
    let mut gateway = gateway(&["192.168.50.2"]);
    only_link(&mut gateway).egress = BTreeMap::from([(Family::Ipv4, egress("ens33", Nat::None))]);
    let table = table(&gateway);
    assert_eq!(sets(&table), ["links", "pass4", "sources4"]);
    assert!(!table.chains.contains_key("outbound"));
}

#[test]
fn a_bridge_passes_to_itself_in_both_families() {
    let mut gateway = gateway(&["192.168.50.2"]);
    only_link(&mut gateway).shape = Shape::Bridge;
    let table = table(&gateway);
    let itself = Element::of([Value::Link(link("veth1_p")), Value::Link(link("veth1_p"))]);
    assert!(table.sets["pass4"].elements.contains(&itself));
    assert_eq!(table.sets["pass6"].elements, BTreeSet::from([itself]));
    assert_eq!(table.sets["masquerade4"].elements.len(), 1);
}

#[test]
fn a_plain_router_is_not_guarded_but_its_sources_are_and_egress_is_translated() {
    let mut gateway = gateway(&["192.168.50.2"]);
    gateway.guard = Guard::Nothing;
    let table = table(&gateway);
    assert_eq!(sets(&table), ["links", "masquerade4", "sources4"]);
    assert_eq!(
        rules(&table, "judge"),
        ["tcp flags syn / syn,rst tcp option maxseg size set rt mtu"]
    );
    assert!(table.chains.contains_key("source"));
}

#[test]
fn on_an_existing_link_only_the_subnets_prefixes_are_concerned() {
    let mut gateway = gateway(&["192.168.50.2", "192.168.50.3"]);
    only_link(&mut gateway).origin = Origin::Existing;
    let table = table(&gateway);
    assert_eq!(sets(&table), ["behind4", "masquerade_from4", "pass_from4"]);
    assert!(!table.chains.contains_key("sources"));
    assert_eq!(
        rules(&table, "forwarding"),
        [
            "iifname . ip saddr @behind4 goto judge",
            "oifname . ip daddr @behind4 goto judge"
        ]
    );
    assert_eq!(
        rules(&table, "outbound"),
        ["iifname . ip saddr . oifname @masquerade_from4 masquerade"]
    );
    let text = table.to_string();
    assert!(
        text.contains("\"veth1_p\" . 192.168.50.3 . \"ens33\" }"),
        "{text}"
    );
}

#[test]
fn prefixes_that_overlap_or_adjoin_are_one() {
    let mut gateway = gateway(&["192.168.50.2"]);
    let only = only_link(&mut gateway);
    only.origin = Origin::Existing;
    let nets = [
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.0.1.128/25",
        "10.9.0.1/32",
        "fd00::/64",
    ];
    only.prefixes = nets
        .iter()
        .map(|net| net.parse().expect("a prefix"))
        .collect();
    let table = table(&gateway);
    let behind4: Vec<String> = table.sets["behind4"]
        .elements
        .iter()
        .map(Element::to_string)
        .collect();
    assert_eq!(
        behind4,
        ["\"veth1_p\" . 10.0.0.0/23", "\"veth1_p\" . 10.9.0.1"]
    );
    assert_eq!(table.sets["behind6"].elements.len(), 1);
}

#[test]
fn the_fallback_shuts_what_has_nothing_to_do_with_our_links() {
    let mut gateway = gateway(&["fd50::2"]);
    gateway.fallback = Some(fallback(28262));
    assert_eq!(
        rules(&table(&gateway), "fallback"),
        [
            "meta nfproto ipv6 iifgroup != 28262 oifgroup != 28262 counter drop \
         comment \"IPv6 forwarding is on for members only; it was off before\""
        ]
    );
    let only = only_link(&mut gateway);
    only.origin = Origin::Existing;
    only.prefixes.insert("fd50::/64".parse().expect("a prefix"));
    assert_eq!(
        rules(&table(&gateway), "fallback")[..2],
        [
            "iifname . ip6 saddr @behind6 accept",
            "oifname . ip6 daddr @behind6 accept"
        ]
    );
}

#[test]
fn the_fallback_leaves_frames_between_the_ports_of_foreign_bridges_alone() {
    let mut gateway = gateway(&["fd50::2"]);
    let bridges = ["virbr0", "br9"].map(link).into();
    gateway.fallback = Some(Fallback { group: 1, bridges });
    let table = table(&gateway);
    assert_eq!(
        rules(&table, "fallback")[0],
        "iifname . oifname @bridges accept"
    );
    let elements: Vec<String> = table.sets["bridges"]
        .elements
        .iter()
        .map(Element::to_string)
        .collect();
    assert_eq!(elements, ["\"br9\" . \"br9\"", "\"virbr0\" . \"virbr0\""]);
}

#[test]
fn a_gateway_without_links_needs_no_table() {
    let mut gateway = gateway(&[]);
    gateway.links.clear();
    assert_eq!(gateway.table(), None);
}

#[test]
fn sets_are_filled_in_an_order_that_leaves_nothing_open() {
    let mut gateway = gateway(&["192.168.50.2"]);
    let mut existing = only_link(&mut gateway).clone();
    existing.origin = Origin::Existing;
    gateway.links.insert(link("eth1"), existing);
    assert_eq!(
        sets(&table(&gateway)),
        [
            "behind4",
            "links",
            "masquerade4",
            "masquerade_from4",
            "pass4",
            "pass_from4",
            "sources4"
        ]
    );
}

#[test]
fn the_owner_is_the_first_word_of_the_comment() {
    let mut table = Table::of(&TopologyName::try_from("x").expect("a topology's name"));
    assert_eq!(table.name, "netform-x");
    for (comment, expected) in [
        ("netform:x", Some("x")),
        ("netform:x and what I know of it", Some("x")),
        ("netform:", None),
        ("netform:X", None),
        ("x", None),
    ] {
        table.comment = Some(comment.to_owned());
        assert_eq!(
            table.owner().as_ref().map(TopologyName::as_str),
            expected,
            "{comment}"
        );
    }
    table.comment = None;
    assert_eq!(table.owner(), None);
}

#[test]
fn a_star_at_the_end_of_a_links_name_is_escaped() {
    let names = [
        ("eth0", "\"eth0\""),
        ("a*b", "\"a*b\""),
        ("eth*", "\"eth\\*\""),
    ];
    for (name, expected) in names {
        assert_eq!(Element::of([Value::Link(link(name))]).to_string(), expected);
    }
}

#[test]
fn a_difference_lists_elements_up_to_a_limit_and_counts_the_rest() {
    let before = table(&gateway(&["192.168.50.2"]));
    let members: Vec<String> = (3..40).map(|last| format!("192.168.50.{last}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let after = table(&gateway(&members));
    let lines = diff(&before, &after, 3);
    let texts: Vec<(Change, &str)> = lines
        .iter()
        .map(|line| (line.change, line.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (Change::Same, "table inet netform-breezyfrost {"),
            (Change::Same, "set sources4 {"),
            (Change::Removed, "element \"veth1_p\" . 192.168.50.2"),
            (Change::Added, "element \"veth1_p\" . 192.168.50.3"),
            (Change::Added, "element \"veth1_p\" . 192.168.50.4"),
            (Change::Added, "element \"veth1_p\" . 192.168.50.5"),
            (Change::More, "34 more elements added"),
        ]
    );
    assert_eq!(diff(&after, &after, 3), []);
}

#[test]
fn a_difference_of_any_two_tables_is_empty_only_if_they_are_equal() {
    let mut base = gateway(&["192.168.50.2"]);
    let mut tables = vec![table(&base)];
    base.guard = Guard::Nothing;
    tables.push(table(&base));
    base.fallback = Some(fallback(1));
    tables.push(table(&base));
    only_link(&mut base).origin = Origin::Existing;
    tables.push(table(&base));
    let mut odd = tables[0].clone();
    odd.sets
        .get_mut("links")
        .expect("the set")
        .unknown
        .push("size 1".to_owned());
    tables.push(odd);
    let mut odd = tables[0].clone();
    odd.chains.insert("empty".to_owned(), Chain::default());
    tables.push(odd);
    for a in &tables {
        for b in &tables {
            assert_eq!(diff(a, b, 0).is_empty(), a == b);
        }
    }
}

/// A random statement that isn't about the family alone.
fn statement(random: &mut fastrand::Rng) -> Statement {
    let end = if random.bool() {
        End::Source
    } else {
        End::Destination
    };
    let direction = if random.bool() {
        Direction::In
    } else {
        Direction::Out
    };
    let family = if random.bool() {
        Family::Ipv4
    } else {
        Family::Ipv6
    };
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Return,
        Verdict::Goto("judge".to_owned()),
    ];
    let verdict = verdicts[random.usize(..verdicts.len())].clone();
    match random.u8(..10) {
        0 => {
            let mut key = vec![Key::Link(direction)];
            key.extend(random.bool().then_some(Key::Address(family, end)));
            key.extend(random.bool().then_some(Key::Link(Direction::Out)));
            let set = "some".to_owned();
            Statement::In { key, set }
        }
        1 => Statement::NotGroup {
            direction,
            group: random.u32(..),
        },
        2 => {
            let net = match family {
                Family::Ipv4 => IpNet::new(IpAddr::V4(random.u32(..).into()), random.u8(0..=32)),
                Family::Ipv6 => IpNet::new(IpAddr::V6(random.u128(..).into()), random.u8(0..=128)),
            };
            let net = net.expect("a prefix").trunc();
            Statement::Within { end, net }
        }
        3 => Statement::Icmpv6(
            (0..=random.u8(..3))
                .map(|_| Icmpv6Type(random.u8(..)))
                .collect(),
        ),
        4 => Statement::TcpSyn,
        5 => Statement::ClampMss,
        6 => Statement::CtState(BTreeMap::from([(CtState::New, verdict)])),
        7 => Statement::Counter,
        8 => Statement::Verdict(verdict),
        _ => [Statement::RejectAdminProhibited, Statement::Masquerade][random.usize(..2)].clone(),
    }
}

#[test]
fn what_is_lowered_is_recognised() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut statements: Vec<Statement> = (0..random.usize(1..5))
            .map(|_| statement(&mut random))
            .collect();
        assert_eq!(recognise(&lower(&statements)), statements);
        // A family that a later statement means anyway need not come back, but its meaning must.
        let family = if random.bool() {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        statements.insert(random.usize(..statements.len()), Statement::Family(family));
        let lowered = lower(&statements);
        assert_eq!(lower(&recognise(&lowered)), lowered);
    }
}

#[test]
fn expressions_that_are_no_rule_of_ours_are_never_taken_for_one() {
    let mut random = fastrand::Rng::with_seed(8);
    let is_unknown = |statement: &Statement| matches!(statement, Statement::Unknown(_));
    for _ in 0..20_000 {
        let statements: Vec<Statement> = (0..random.usize(1..4))
            .map(|_| statement(&mut random))
            .collect();
        let mut expressions = lower(&statements);
        match random.u8(..3) {
            0 => expressions.truncate(random.usize(..expressions.len())),
            1 => drop(expressions.remove(random.usize(..expressions.len()))),
            _ => {
                let (a, b) = (
                    random.usize(..expressions.len()),
                    random.usize(..expressions.len()),
                );
                expressions.swap(a, b);
            }
        }
        let found = recognise(&expressions);
        assert!(found.iter().any(is_unknown) || lower(&found) == expressions);
        assert!(
            found
                .iter()
                .all(|statement| !statement.to_string().is_empty())
        );
    }
}

#[test]
fn an_element_is_decoded_as_it_was_encoded() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..10_000 {
        let mut fields = Vec::new();
        let mut values = Vec::new();
        for _ in 0..random.usize(1..4) {
            let (field, value) = match random.u8(..6) {
                0 => (Field::Ifname, Value::Link(link("veth-1_p"))),
                1 => {
                    let net = IpNet::new(IpAddr::V4(random.u32(..).into()), random.u8(0..=32));
                    (Field::Ipv4Addr, Value::Ip(net.expect("a prefix").trunc()))
                }
                2 => {
                    let net = IpNet::new(IpAddr::V6(random.u128(..).into()), random.u8(0..=128));
                    (Field::Ipv6Addr, Value::Ip(net.expect("a prefix").trunc()))
                }
                3 => (Field::InetProto, Value::Protocol(random.u8(..))),
                4 => (Field::InetService, Value::Port(random.u16(..))),
                _ => (Field::CtState, Value::CtState(CtState::Related)),
            };
            fields.push(field);
            values.push(value);
        }
        let (from, to) = Element::of(values.clone()).encode();
        assert_eq!(Element::decode(&fields, &from, &to), values);
    }
}
