//! Rule sets are judged, and then tried with packets.

use std::collections::BTreeMap;
use std::fs;

use netform::kernel::Kernel;
use netform::resource::Family;
use netform::resource::firewall::{Destination, Firewall, Flow, Judge, Side, Stage};
use netform::resource::link::GROUP;
use netform::resource::name::LinkName;
use netform::state::External;

use crate::common::{Output, in_sandbox, netform, sh};
use crate::random::ruleset;
use crate::rules::{RULESETS, Ruleset};

/// What is said of the packets of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They pass, as far as that can be said.
    Passes,
    /// All are dropped.
    Dropped,
    /// Some may be dropped.
    Perhaps,
}

/// What others have on this host.
pub(crate) fn firewall() -> Firewall {
    let mut kernel = Kernel::open().expect("a kernel");
    let mut facts = kernel.facts(&External::new()).expect("facts");
    kernel.look_at_firewalls(&mut facts);
    assert_eq!(facts.host.firewall.unread, None);
    facts.host.firewall
}

fn name(text: &str) -> LinkName {
    LinkName::try_from(text).expect("a name")
}

/// What is said of the first packet, of one that comes back, and of what follows it.
pub(crate) fn verdicts(firewall: &Firewall) -> [Verdict; 3] {
    let member = ["192.168.50.2".parse().expect("an address")];
    let out = Flow {
        family: Family::Ipv4,
        from: Side::inside(name("veth1_p"), Some(GROUP), Family::Ipv4, member, []),
        to: Side {
            group: Some(0),
            ..Side::outside(name("ens33"))
        },
        stage: Stage::Opening,
        destination: Destination::Own,
    };
    [out.clone(), out.replies(), out.following()].map(|flow| {
        let findings = Judge::of(firewall).findings(&flow);
        match findings.iter().map(|finding| finding.certain).max() {
            None => Verdict::Passes,
            Some(true) => Verdict::Dropped,
            Some(false) => Verdict::Perhaps,
        }
    })
}

/// How many of at least two packets came back.
pub(crate) fn answers() -> u32 {
    let said = sh("ip netns exec breezyfrost ping -c2 -i0.05 -w1 198.51.100.10 || true").ok();
    let received = said
        .split(" received")
        .next()
        .and_then(|before| before.rsplit(' ').next());
    received
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{said}"))
}

/// Loads a rule set.
fn load(rules: &str) -> Output {
    fs::write("/run/rules.nft", rules).expect("write");
    sh("nft -f /run/rules.nft")
}

/// The tables that a rule set makes go again.
fn unload() {
    sh("nft list tables | grep -v netform- | sed 's/^/delete /' | nft -f -").ok();
}

#[test]
fn what_is_said_for_certain_of_rule_sets_is_so() {
    in_sandbox(|| {
        netform(&["apply", "-f", "specs/breezyfrost.yaml"]).ok();
        for Ruleset { name, rules, said } in RULESETS {
            load(rules).ok();
            let verdicts = verdicts(&firewall());
            assert_eq!(verdicts[..2], said[..], "{name}");
            let answers = answers();
            if said.contains(&Verdict::Dropped) {
                assert_eq!(answers, 0, "{name}");
            } else if *said == [Verdict::Passes; 2] {
                assert!(answers > 0, "{name}");
            }
            unload();
        }
    });
}

#[test]
fn what_is_said_for_certain_of_random_rule_sets_is_so() {
    let seed = std::env::var("NETFORM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let cases = std::env::var("NETFORM_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    in_sandbox(|| {
        netform(&["apply", "-f", "specs/breezyfrost.yaml"]).ok();
        let mut random = fastrand::Rng::with_seed(seed.unwrap_or(5));
        let mut count: BTreeMap<&str, u32> = BTreeMap::new();
        let mut left = cases.unwrap_or(40);
        while left > 0 {
            let (rules, known) = ruleset(&mut random);
            // Some matches contradict each other, and nft says so.
            if load(&rules).status != 0 {
                continue;
            }
            left -= 1;
            let said = verdicts(&firewall());
            let answers = answers();
            let what = if said[..2].contains(&Verdict::Dropped) {
                assert_eq!(answers, 0, "{said:?}\n{rules}");
                "dropped"
            } else if said == [Verdict::Passes; 3] && known {
                assert!(answers > 0, "{said:?}\n{rules}");
                "passed"
            } else {
                "unknown"
            };
            *count.entry(what).or_default() += 1;
            unload();
        }
        // Else it would say nothing.
        assert!(
            count.get("dropped") > Some(&4) && count.get("passed") > Some(&4),
            "{count:?}"
        );
    });
}
