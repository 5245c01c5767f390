//! Random rule sets.

use std::fmt::Write as _;

use fastrand::Rng;

/// What a rule may ask that is known of a packet.
const MATCHES: &[&str] = &[
    "iifname veth1_p",
    "iifname != veth1_p",
    "iifname \"veth*\"",
    "iifname \"v*\" oifname \"e*\"",
    "oifname ens33",
    "oifname != { ens33, eth9 }",
    "iif ens33",
    "oif != ens33",
    "oif lo",
    "iifname { ens33, eth9 }",
    "iifname @lan",
    "oifname @lan",
    "iifname . oifname @pairs",
    "iifname . ip saddr @sources",
    "ip saddr @nets",
    "ip saddr 192.168.50.0/24",
    "ip saddr 192.168.50.1-192.168.50.9",
    "ip saddr 192.168.32.0/19",
    "ip saddr < 192.168.50.3",
    "ct state new",
    "ct state established,related",
    "ct state != new",
    "ct state { established, invalid }",
    "ct state & (new|related) == 0",
    "ct direction original",
    "ct direction reply",
    "ct status dnat",
    "ct status seen-reply",
    "ct status & (expected|dnat) == 0",
    "meta mark 0",
    "meta mark != 7",
    "meta mark 1-5",
    "meta mark & 0xff00 == 0",
    "meta mark >= 0x100",
    "meta protocol ip",
    "iifgroup 0x6e666d01",
    "oifgroup != default",
];

/// What it may ask that isn't known, or not of all packets.
const GUESSES: &[&str] = &[
    "ip saddr != 192.168.50.2",
    "ip daddr . oifname @spans",
    "ip daddr != @nets",
    "ip daddr 192.168.50.2",
    "ip daddr 10.0.0.0/8",
    "meta l4proto tcp",
    "meta l4proto { icmp, udp }",
    "tcp dport 80",
    "limit rate 1000/second",
    "icmp type echo-request",
    "fib daddr type local",
];

/// What it may do besides.
const ASIDES: &[&str] = &["counter", "log prefix \"x\"", "meta priority set 1:1"];

/// What it may decide.
const ENDS: &[&str] = &[
    "accept",
    "accept",
    "accept",
    "drop",
    "drop",
    "return",
    "reject",
    "continue",
    "",
    "ct state vmap { established : accept, invalid : drop }",
    "iifname vmap { veth1_p : accept, ens33 : drop }",
    "iifname vmap { veth1_p : return, eth9 : drop, ens33 : continue }",
    "iifname . ct state vmap { veth1_p . new : accept, ens33 . established : return }",
    "ip saddr vmap { 192.168.50.0/25 : accept, 10.0.0.0/8 : drop }",
    "ip saddr vmap { 192.168.50.2 : accept, * : drop }",
];

/// A rule set with at least one base chain at `forward`, and whether all that it asks is known.
pub(crate) fn ruleset(random: &mut Rng) -> (String, bool) {
    let matches = [MATCHES, GUESSES].concat();
    let known = random.u8(..3) > 0;
    let matches = if known { MATCHES } else { &matches };
    let mut text = String::new();
    for table in 0..random.usize(2..=4) / 2 {
        let family = ["ip", "inet"][random.usize(..2)];
        writeln!(text, "table {family} t{table} {{").expect("text");
        text.push_str(
            "set lan { type ifname; elements = { eth9, veth1_p }; }
             set pairs { typeof iifname . oifname; elements = { ens33 . veth1_p, eth9 . ens33 }; }
             set sources { typeof iifname . ip saddr; elements = { veth1_p . 192.168.50.2 }; }
             set spans { typeof ip daddr . oifname; flags interval; elements = { 192.168.50.0/28 . veth1_p }; }
             set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.50.2-192.168.50.200 }; }\n",
        );
        for chain in (0..3_usize).rev() {
            // A chain leads to later ones only.
            writeln!(text, "chain c{chain} {{").expect("text");
            for _ in 0..random.usize(0..=4) {
                writeln!(text, "  {}", rule(random, matches, chain + 1)).expect("text");
            }
            text.push_str("}\n");
        }
        let policy = ["accept", "accept", "drop"][random.usize(..3)];
        let priority = random.i32(-10..10);
        writeln!(
            text,
            "chain forward {{ type filter hook forward priority {priority}; policy {policy};"
        )
        .expect("text");
        for _ in 0..random.usize(1..=6) {
            writeln!(text, "  {}", rule(random, matches, 0)).expect("text");
        }
        text.push_str("}\n}\n");
    }
    (text, known)
}

fn rule(random: &mut Rng, matches: &[&str], below: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    for _ in 0..random.usize(0..=2) {
        words.push(matches[random.usize(..matches.len())].to_owned());
    }
    if random.u8(..4) == 0 {
        words.push(ASIDES[random.usize(..ASIDES.len())].to_owned());
    }
    if below < 3 && random.bool() {
        let how = ["jump", "goto"][random.usize(..2)];
        words.push(format!("{how} c{}", random.usize(below..3)));
    } else {
        words.push(ENDS[random.usize(..ENDS.len())].to_owned());
    }
    if words.iter().all(String::is_empty) {
        words.push("counter".to_owned());
    }
    words.join(" ")
}
