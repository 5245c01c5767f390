//! Tests of what is known of bits, and of walks through rules.

use super::bits::{Bits, Truth};
use super::conntrack::Conntrack;
use super::packet::Packet;
use super::*;
use crate::resource::name::LinkName;

fn name(text: &str) -> LinkName {
    LinkName::try_from(text).expect("a name")
}

fn flow(stage: Stage) -> Flow {
    let net = "10.0.0.0/24".parse().expect("a prefix");
    Flow {
        family: Family::Ipv4,
        from: Side::inside(name("in0"), Some(7), Family::Ipv4, [], [net]),
        to: Side::outside(name("out0")),
        stage,
        destination: Destination::Own,
    }
}

/// A table with a base chain `forward`, and others.
fn table(policy: Policy, chains: &[(&str, &[&[Step]])]) -> Firewall {
    let rule = |steps: &&[Step]| Rule {
        steps: steps.to_vec(),
        ..Rule::default()
    };
    let chains = chains.iter().map(|(name, rules)| {
        let chain = Chain {
            rules: rules.iter().map(rule).collect(),
            truncated: false,
        };
        ((*name).to_owned(), chain)
    });
    Firewall {
        tables: vec![Table {
            family: TableFamily::Inet,
            name: "t".to_owned(),
            legacy: false,
            bases: [("forward".to_owned(), policy)].into(),
            chains: chains.collect(),
            names: Vec::new(),
            sets: BTreeMap::new(),
        }],
        unread: None,
        bridged: BTreeSet::new(),
    }
}

/// Whether it is found to drop all packets, or some.
fn found(firewall: &Firewall) -> Option<bool> {
    let findings = Judge::of(firewall).findings(&flow(Stage::Opening));
    findings.first().map(|finding| finding.certain)
}

const ACCEPT: Step = Step::Verdict(Verdict::Accept);
const DROP: Step = Step::Verdict(Verdict::Drop);

fn jump(to: &str) -> Step {
    Step::Verdict(Verdict::Jump(to.to_owned()))
}

#[test]
fn what_is_partly_known_is_compared_as_far_as_it_is_known() {
    let net = Bits::partly(&[10, 0, 1, 0], &[255, 255, 255, 0]);
    assert_eq!(net.equal(&[10, 0, 1, 9]), Truth::Maybe);
    assert_eq!(net.equal(&[10, 0, 2, 9]), Truth::No);
    assert_eq!(Bits::known(&[1, 2]).equal(&[1, 2]), Truth::Yes);
    assert_eq!(net.within(&[10, 0, 0, 0], &[10, 0, 1, 255]), Truth::Yes);
    assert_eq!(net.within(&[10, 0, 1, 7], &[10, 0, 1, 255]), Truth::Maybe);
    assert_eq!(net.within(&[10, 0, 2, 0], &[10, 0, 3, 0]), Truth::No);
    let masked = net.masked(&[255, 255, 0, 0], &[0; 4]);
    assert_eq!(masked.equal(&[10, 0, 0, 0]), Truth::Yes);
    assert_eq!(net.compare(Op::Less, &[10, 0, 2, 0]), Truth::Yes);
    assert_eq!(net.compare(Op::Less, &[10, 0, 1, 0]), Truth::No);
    assert_eq!(net.compare(Op::Less, &[10, 0, 1, 1]), Truth::Maybe);
    assert_eq!(net.compare(Op::GreaterOrEqual, &[10, 0, 1, 0]), Truth::Yes);
    assert_eq!(net.compare(Op::Greater, &[10, 0, 1, 0]), Truth::Maybe);
    assert_eq!(net.compare(Op::LessOrEqual, &[10, 0, 1, 255]), Truth::Yes);
    assert_eq!(net.compare(Op::NotEqual, &[10, 0, 2, 0]), Truth::Yes);
}

#[test]
fn addresses_have_in_common_what_all_of_them_have() {
    let nets = ["10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"];
    let nets = nets.map(|net| net.parse().expect("a prefix"));
    let four = addresses(Family::Ipv4, nets).expect("there are some");
    assert_eq!(four, Bits::partly(&[10, 0, 0, 0], &[255, 255, 255, 252]));
    assert_eq!(addresses(Family::Ipv6, nets[..2].iter().copied()), None);
}

#[test]
fn bytes_are_turned_around_number_by_number() {
    let turned = Bits::known(&[1, 2, 3, 4]).swapped(2);
    assert_eq!(turned, Bits::known(&[2, 1, 4, 3]));
}

#[test]
fn a_maybe_is_taken_and_not_taken() {
    let drops = table(Policy::Drop, &[("forward", &[&[Step::Maybe, ACCEPT]])]);
    assert_eq!(found(&drops), Some(false));
    let accepts = table(Policy::Accept, &[("forward", &[&[Step::Maybe, DROP]])]);
    assert_eq!(found(&accepts), None);
    let both = table(
        Policy::Accept,
        &[("forward", &[&[Step::Maybe, DROP], &[DROP]])],
    );
    assert_eq!(found(&both), Some(true));
}

#[test]
fn a_jump_comes_back_and_goto_does_not() {
    let goto = Step::Verdict(Verdict::Goto("c".to_owned()));
    let back = Step::Verdict(Verdict::Return);
    let jumps = table(
        Policy::Drop,
        &[
            ("forward", &[&[jump("c")], &[ACCEPT]]),
            ("c", &[std::slice::from_ref(&back), &[DROP]]),
        ],
    );
    assert_eq!(found(&jumps), None);
    let goes = table(
        Policy::Drop,
        &[("forward", &[&[goto], &[ACCEPT]]), ("c", &[&[back]])],
    );
    assert_eq!(found(&goes), Some(true));
}

#[test]
fn what_may_have_ended_before_goes_on_too() {
    // The jump ends in a drop wherever nothing that isn't known comes true.
    let firewall = table(
        Policy::Accept,
        &[
            ("forward", &[&[jump("c")], &[ACCEPT]]),
            (
                "c",
                &[&[Step::Maybe, Step::Verdict(Verdict::Return)], &[DROP]],
            ),
        ],
    );
    assert_eq!(found(&firewall), Some(false));
}

#[test]
fn rules_that_were_not_read_and_circles_are_unknown_and_nobody_is_alarmed() {
    let mut firewall = table(Policy::Drop, &[("forward", &[])]);
    let chain = firewall.tables[0].chains.get_mut("forward").expect("there");
    chain.truncated = true;
    assert_eq!(found(&firewall), None);
    let circle: &[(&str, &[&[Step]])] = &[
        ("forward", &[&[jump("a")], &[jump("a")]]),
        ("a", &[&[jump("b")], &[jump("b")]]),
        ("b", &[&[jump("a")], &[jump("a")]]),
    ];
    assert_eq!(found(&table(Policy::Drop, circle)), None);
    assert_eq!(
        found(&table(Policy::Drop, &[("forward", &[&[jump("gone")]])])),
        None
    );
}

#[test]
fn chains_of_any_depth_are_walked_in_time() {
    // Each leads to the next twice: without remembering, that would be 2^1000 ways.
    let mut firewall = table(Policy::Drop, &[("forward", &[&[jump("c0")]])]);
    for i in 0..1000 {
        let rule = Rule {
            steps: vec![Step::Maybe, jump(&format!("c{}", i + 1))],
            ..Rule::default()
        };
        let chain = Chain {
            rules: vec![rule.clone(), rule],
            truncated: false,
        };
        firewall.tables[0].chains.insert(format!("c{i}"), chain);
    }
    found(&firewall);
}

/// That packets come by a link of this name, as a comparison of these bytes.
fn comes_by(name: &[u8]) -> [Step; 2] {
    let load = Step::Load {
        field: Field::In,
        to: 0,
    };
    let compare = Step::Compare {
        at: 0,
        op: Op::Equal,
        data: name.to_vec(),
    };
    [load, compare]
}

#[test]
fn rules_for_other_links_are_passed_over_and_order_stays() {
    let of = |name: &[u8], verdict: Step| -> Vec<Step> {
        comes_by(name).into_iter().chain([verdict]).collect()
    };
    let whole = b"in0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let (mine, short, prefix) = (of(whole, ACCEPT), of(b"in0\0", ACCEPT), of(b"in", ACCEPT));
    let (other, longer) = (of(b"in1\0", ACCEPT), of(b"in00\0", ACCEPT));
    let drops: &[Step] = &[DROP];
    let ends = |rules: &[&[Step]]| found(&table(Policy::Drop, &[("forward", rules)]));
    for accepts in [&mine, &short, &prefix] {
        assert_eq!(ends(&[&other, accepts, drops]), None);
        assert_eq!(ends(&[drops, accepts]), Some(true));
        assert_eq!(ends(&[&of(b"in0\0", DROP), accepts]), Some(true));
    }
    for passes_by in [&other, &longer] {
        assert_eq!(ends(&[passes_by, passes_by, drops]), Some(true));
        assert_eq!(ends(&[passes_by, &mine]), None);
    }
}

/// `struct xt_conntrack_mtinfo3` with what is asked for.
fn asks(flags: u16, inverted: u16, states: u16, status: u16) -> Conntrack {
    let mut data = vec![0; 164];
    for (at, half) in [(146, flags), (148, inverted), (150, states), (152, status)] {
        data[at..at + 2].copy_from_slice(&half.to_ne_bytes());
    }
    Conntrack::parse(3, &data).expect("it is known")
}

#[test]
fn the_match_of_iptables_asks_for_states_status_and_direction() {
    let opening = Packet::of(&flow(Stage::Opening), false);
    let reply = Packet::of(&flow(Stage::Reply), false);
    let related_or_established = asks(1, 0, 6, 0);
    assert_eq!(related_or_established.matches(&opening), Truth::No);
    assert_eq!(related_or_established.matches(&reply), Truth::Yes);
    assert_eq!(asks(1, 1, 6, 0).matches(&opening), Truth::Yes);
    // `--ctstate DNAT`, and with NEW.
    assert_eq!(asks(1, 0, 0x80, 0).matches(&opening), Truth::No);
    assert_eq!(asks(1, 0, 0x88, 0).matches(&opening), Truth::Yes);
    let translated = Flow {
        destination: Destination::Translated,
        ..flow(Stage::Opening)
    };
    let translated = Packet::of(&translated, false);
    assert_eq!(asks(1, 0, 0x80, 0).matches(&translated), Truth::Yes);
    assert_eq!(asks(0x40, 0, 0, 0x20).matches(&translated), Truth::Yes);
    // `--ctstate SNAT` depends on who else translates.
    assert_eq!(asks(1, 0, 0x40, 0).matches(&reply), Truth::Maybe);
    assert_eq!(asks(0x40, 0, 0, 2).matches(&reply), Truth::Yes);
    assert_eq!(asks(0x1000, 0, 0, 0).matches(&reply), Truth::No);
    assert_eq!(asks(0x1000, 0x1000, 0, 0).matches(&reply), Truth::Yes);
    // A protocol isn't known, but a state that isn't so decides.
    assert_eq!(asks(3, 0, 8, 0).matches(&opening), Truth::Maybe);
    assert_eq!(asks(3, 0, 2, 0).matches(&opening), Truth::No);
    assert_eq!(Conntrack::parse(9, &[0; 200]), None);
    assert_eq!(Conntrack::parse(3, &[0; 100]), None);
}
