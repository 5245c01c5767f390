//! The tables of `iptables-legacy`: what is said of them, and what becomes of packets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use fastrand::Rng;

use crate::common::{Output, in_sandbox, netform, sh};
use crate::judge::Verdict::{self, Dropped, Passes, Perhaps};
use crate::judge::{answers, firewall, verdicts};
use crate::warn::{passes, warnings};

const SPEC: &str = "specs/breezyfrost.yaml";
const DUAL: &str = "specs/breezyfrost-dual.yaml";

/// Loads rules, as `iptables-legacy-restore` takes them.
fn load(rules: &str) -> Output {
    fs::write("/run/rules", rules).expect("write");
    sh("iptables-legacy-restore < /run/rules")
}

/// Rules of the table `filter`, and what is said of the first packet from `veth1_p` to `ens33`, and of the one that
/// comes back.
const RULES: &[(&str, [Verdict; 2])] = &[
    (":FORWARD ACCEPT", [Passes; 2]),
    (":FORWARD DROP", [Dropped; 2]),
    (
        ":FORWARD DROP
         -A FORWARD -i veth1_p -o ens33 -j ACCEPT
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        [Passes; 2],
    ),
    (
        ":FORWARD DROP
         -A FORWARD -i veth1 -j ACCEPT
         -A FORWARD -i veth+ -s 192.168.50.0/28 -j ACCEPT
         -A FORWARD ! -o ens33 ! -d 10.0.0.0/8 -j ACCEPT",
        [Passes; 2],
    ),
    (
        ":FORWARD DROP
         :lan -
         :end -
         -A FORWARD -i veth1_p -g lan
         -A FORWARD -j ACCEPT
         -A lan -s 192.168.50.2 -j RETURN
         -A lan -j end
         -A end -j ACCEPT",
        [Dropped, Passes],
    ),
    (
        ":FORWARD ACCEPT
         :lan -
         -A FORWARD -j lan
         -A FORWARD -i veth1_p
         -A FORWARD -i veth1_p -j DROP
         -A lan -i ens33
         -A lan -i ens33 -j ACCEPT",
        [Dropped, Passes],
    ),
    (
        ":FORWARD DROP
         -A FORWARD -p icmp -j ACCEPT",
        [Perhaps; 2],
    ),
    (
        ":FORWARD ACCEPT
         -A FORWARD -p tcp --dport 25 -j DROP
         -A FORWARD -m limit --limit 5/min -j DROP",
        [Passes; 2],
    ),
    (
        ":FORWARD ACCEPT
         -A FORWARD -m mark ! --mark 7 -m comment --comment out -j LOG
         -A FORWARD -d 198.51.100.0/24 -j DROP",
        [Passes; 2],
    ),
];

/// What a rule may ask that is known of a packet.
const MATCHES: &[&str] = &[
    "-i veth1_p",
    "! -i veth1_p",
    "-i veth+",
    "-i v+ -o e+",
    "! -i v+",
    "-i veth1",
    "-o ens33",
    "! -o ens33",
    "-o lo",
    "-s 192.168.50.2",
    "-s 192.168.50.0/24",
    "-s 192.168.32.0/19",
    "-m conntrack --ctstate NEW",
    "-m conntrack ! --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctstatus SEEN_REPLY",
    "-m comment --comment words",
];

/// What it may ask that isn't known, or not of all packets.
const GUESSES: &[&str] = &[
    "! -s 192.168.50.2",
    "! -s 10.0.0.0/8",
    "-d 198.51.100.10",
    "! -d 10.0.0.0/8",
    "-d 192.168.50.2",
    "-p icmp",
    "! -p tcp",
    "-m limit --limit 1000/sec",
    "-m mark --mark 5",
    "-f",
];

const ENDS: &[&str] = &[
    "-j ACCEPT",
    "-j ACCEPT",
    "-j DROP",
    "-j RETURN",
    "-j REJECT",
    "-j LOG",
    "",
];

/// A random table `filter`, and whether all that it asks is known.
fn random(random: &mut Rng) -> (String, bool) {
    let matches = [MATCHES, GUESSES].concat();
    let known = random.u8(..3) > 0;
    let matches = if known { MATCHES } else { &matches };
    let policy = ["ACCEPT", "DROP"][random.usize(..2)];
    let mut text = format!(":FORWARD {policy}\n:c0 -\n:c1 -\n:c2 -\n");
    for (place, chain) in ["FORWARD", "c0", "c1", "c2"].iter().enumerate() {
        for _ in 0..random.usize(0..=5) {
            write!(text, "-A {chain}").expect("text");
            let mut options = Vec::new();
            for _ in 0..random.usize(0..=2) {
                options.push(matches[random.usize(..matches.len())]);
            }
            for option in options {
                write!(text, " {option}").expect("text");
            }
            // A chain leads to later ones only.
            if place < 3 && random.bool() {
                let how = ["-j", "-g"][random.usize(..2)];
                writeln!(text, " {how} c{}", random.usize(place..3)).expect("text");
            } else {
                writeln!(text, " {}", ENDS[random.usize(..ENDS.len())]).expect("text");
            }
        }
    }
    (text, known)
}

fn filter(rules: &str) -> String {
    let rules: Vec<&str> = rules.lines().map(str::trim).collect();
    format!("*filter\n{}\nCOMMIT\n", rules.join("\n"))
}

#[test]
fn what_is_said_for_certain_of_older_tables_is_so() {
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        for (rules, said) in RULES {
            load(&filter(rules)).ok();
            assert_eq!(verdicts(&firewall())[..2], said[..], "{rules}");
            let answers = answers();
            if said.contains(&Dropped) {
                assert_eq!(answers, 0, "{rules}");
            } else if *said == [Passes; 2] && !rules.contains("198.51") {
                assert!(answers > 0, "{rules}");
            }
        }
    });
}

#[test]
fn what_is_said_for_certain_of_random_older_tables_is_so() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seed, cases) = (number("NETFORM_SEED"), number("NETFORM_CASES"));
    in_sandbox(|| {
        netform(&["apply", "-f", SPEC]).ok();
        let mut rng = Rng::with_seed(seed.unwrap_or(5));
        let mut count: BTreeMap<&str, u32> = BTreeMap::new();
        let mut left = cases.unwrap_or(40);
        while left > 0 {
            let (rules, known) = random(&mut rng);
            // The same option twice: iptables says so.
            if load(&filter(&rules)).status != 0 {
                continue;
            }
            left -= 1;
            let said = verdicts(&firewall());
            let answers = answers();
            let what = if said[..2].contains(&Dropped) {
                assert_eq!(answers, 0, "{said:?}\n{rules}");
                "dropped"
            } else if said == [Passes; 3] && known {
                assert!(answers > 0, "{said:?}\n{rules}");
                "passed"
            } else {
                "unknown"
            };
            *count.entry(what).or_default() += 1;
        }
        // Else it would say nothing.
        assert!(
            count.get("dropped") > Some(&4) && count.get("passed") > Some(&4),
            "{count:?}"
        );
    });
}

#[test]
fn an_older_table_that_drops_is_named_with_what_permits_it() {
    in_sandbox(|| {
        let ipv6 = "*filter\n:FORWARD ACCEPT\n:no -\n-A FORWARD -i lo\n-A FORWARD -g no\n\
                    -A no ! -s fd50::/64 -j ACCEPT\n-A no -i veth1_p -m comment --comment \"no IPv6\" -j REJECT\nCOMMIT\n";
        fs::write("/run/rules6", ipv6).expect("write");
        sh("iptables-legacy -P FORWARD DROP && ip6tables-legacy-restore < /run/rules6").ok();
        let commands = [
            "ip6tables-legacy -I FORWARD -i veth1_p -o ens33 -j ACCEPT",
            "iptables-legacy -I FORWARD -i veth1_p -o ens33 -j ACCEPT",
            "iptables-legacy -I FORWARD -i ens33 -o veth1_p -j ACCEPT",
        ];
        let [six, out, back] = commands;
        assert_eq!(
            warnings(DUAL),
            format!(
                "!  IPv6 from lab6 (veth1_p) to ens33 is dropped by rule 2 \"no IPv6\" of chain no in table filter of \
                 ip6tables-legacy; this permits it:\n{six}\n\
                 !  IPv4 from lab (veth1_p) to ens33, and what comes back, are dropped by the policy of chain FORWARD \
                 in table filter of iptables-legacy; this permits it:\n{out}\n{back}"
            )
        );
        netform(&["apply", "-f", DUAL]).ok();
        assert!(!passes());
        for command in commands {
            sh(command).ok();
        }
        assert_eq!(warnings(DUAL), "");
        assert!(passes());
        sh("ip netns exec breezyfrost ping -c1 -w10 2001:db8:10::10").ok();
    });
}

#[test]
fn each_older_table_is_named() {
    in_sandbox(|| {
        load(&filter(
            ":FORWARD DROP\n:DOCKER-USER -\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN",
        ))
        .ok();
        sh("iptables-legacy -t mangle -A FORWARD -o ens33 -j DROP").ok();
        let said = warnings(SPEC);
        for command in [
            "\niptables-legacy -I FORWARD -i veth1_p -o ens33 -j ACCEPT\n",
            "\niptables-legacy -t mangle -I FORWARD -i veth1_p -o ens33 -j ACCEPT",
        ] {
            assert!(said.contains(command), "{said}");
        }
        netform(&["apply", "-f", SPEC]).ok();
        assert!(!passes());
        for command in said.lines().filter(|line| line.starts_with("iptables")) {
            sh(command).ok();
        }
        assert!(passes());
        assert_eq!(warnings(SPEC), "");
        netform(&["destroy", "-f", SPEC, "--yes"]).ok();
        assert!(
            sh("iptables-legacy -S")
                .ok()
                .contains("-A FORWARD -j DOCKER-USER")
        );
    });
}

#[test]
fn an_older_table_does_not_come_into_being_by_being_looked_at() {
    in_sandbox(|| {
        let tables = || sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names").ok();
        assert_eq!(warnings(DUAL), "");
        assert_eq!(tables(), "");
    });
}
