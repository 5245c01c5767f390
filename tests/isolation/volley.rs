//! Packets that are sent with and without the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use super::common::{netform, sh};
use super::world::PARTIES;

/// A packet.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) from: &'static str,
    pub(crate) next: (&'static str, &'static str),
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// What an error is about: which shot, and its source as the sender knows it.
    pub(crate) about: Option<(usize, String)>,
    /// Where it would arrive without any rules, and with its own source.
    pub(crate) without: Option<&'static str>,
    /// Where it arrives with them, and with which source.
    pub(crate) with: Option<(&'static str, String)>,
}

/// Sends packets and says where each arrived, and with which source. No two rounds have a port in common.
pub(crate) fn fire(round: u16, shots: &[Shot]) -> Vec<BTreeSet<(String, String)>> {
    fs::write("/run/packets.py", include_str!("packets.py")).expect("write");
    let mut wiring = String::new();
    for party in &PARTIES {
        writeln!(wiring, "watch {} eth0", party.name).expect("text");
        let (ns, link) = party.next;
        writeln!(wiring, "mark {ns} {link}").expect("text");
    }
    wiring += "listen host 9\n";
    fs::write("/run/wiring", wiring).expect("write");
    let mut text = String::new();
    assert!(shots.len() <= 4096, "each has a port");
    let first = 1024 + usize::from(round) * 4096;
    for (number, shot) in shots.iter().enumerate() {
        let (ns, link) = shot.next;
        let sender = PARTIES.iter().position(|party| party.name == shot.from);
        // A protocol without ports can't be told apart otherwise once it is translated.
        let port = match shot.kind {
            "other" => 150 + 2 * sender.expect("a party") + usize::from(round),
            _ => first + number,
        };
        write!(
            text,
            "{number} {} eth0 {ns} {link} {} {} {} {port}",
            shot.from, shot.kind, shot.source, shot.destination
        )
        .expect("text");
        if let Some((about, source)) = &shot.about {
            let (from, to) = (first + about, &shots[*about].destination);
            write!(text, " {source} {to} {from} 9").expect("text");
        }
        text += "\n";
    }
    fs::write("/run/shots", text).expect("write");
    let said = sh("python3 /run/packets.py /run/wiring /run/shots").ok();
    let mut arrived = vec![BTreeSet::new(); shots.len()];
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number: usize = words[0].parse().expect("a number");
        arrived[number].insert((words[1].to_owned(), words[2].to_owned()));
    }
    arrived
}

/// Has the host forward whatever comes, as a container engine would.
pub(crate) fn forward_all() {
    sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        .ok();
}

/// Takes the rules away, and nothing else.
pub(crate) fn drop_rules() {
    sh(
        "nft delete table inet netform-x; nft delete table inet netform-y
        ip netns exec r nft delete table inet netform-y",
    )
    .ok();
}

/// Has netform mend that.
pub(crate) fn restore_rules() {
    for name in ["x", "y"] {
        let path = format!("/run/{name}.yaml");
        netform(&["apply", "-f", &path, "--yes"]).ok();
    }
}

/// Fires with and without the rules, and compares with what each shot expects.
pub(crate) fn check(shots: &[Shot]) {
    sh(
        "nft delete table inet netform-x; nft delete table inet netform-y
        ip netns exec r nft delete table inet netform-y",
    )
    .ok();
    forward_all();
    let without = fire(0, shots);
    restore_rules();
    forward_all();
    let with = fire(1, shots);
    let mut wrong = BTreeMap::new();
    for (shot, (without, with)) in shots.iter().zip(without.iter().zip(&with)) {
        let text = format!(
            "{} {} {} → {}",
            shot.from, shot.kind, shot.source, shot.destination
        );
        // It may be seen on the way too.
        let expected: BTreeSet<_> = (shot.without.iter())
            .map(|place| (place.to_string(), shot.source.clone()))
            .collect();
        if !without.is_superset(&expected) {
            wrong.insert(format!("without rules: {text}"), (without, expected));
        }
        let expected: BTreeSet<_> = (shot.with.iter())
            .map(|(place, source)| (place.to_string(), source.clone()))
            .collect();
        if *with != expected {
            wrong.insert(format!("with rules: {text}"), (with, expected));
        }
    }
    let mut report = String::new();
    for (text, (seen, expected)) in &wrong {
        writeln!(report, "{text}: {seen:?} instead of {expected:?}").expect("text");
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{report}",
        wrong.len(),
        shots.len()
    );
}
