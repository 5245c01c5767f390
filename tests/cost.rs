//! What a member more costs: an element in a set, and no packet a rule.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use common::{in_sandbox, netform, sh};

const SPEC: &str = "/run/site.yaml";

/// The addresses of members in both families, on one link behind a bridge of the host.
fn addresses(count: u32) -> String {
    (2..count + 2)
        .map(|number| {
            let (high, low) = (number / 256, number % 256);
            format!("10.60.{high}.{low}, 'fd60::{number:x}'")
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// A subnet of each family with all that a subnet may have, and so many links with a member behind each.
fn write(members: u32, links: u32) {
    let mut namespaces = String::new();
    let mut subnets = String::new();
    let mut veths = String::new();
    for link in 1..=links {
        writeln!(namespaces, "  m{link}: {{}}").expect("text");
        writeln!(
            subnets,
            "  m{link}: {{ cidr: 10.{link}.0.0/24, gateway: 10.{link}.0.1, egress: {{}}, allow: [{{ subnet: lan, tcp: [80] }}] }}"
        )
        .expect("text");
        writeln!(
            veths,
            "  - ends:
      - {{ namespace: m{link}, name: eth0, addresses: [10.{link}.0.2] }}
      - {{ namespace: host, name: to-m{link}, addresses: [10.{link}.0.1] }}"
        )
        .expect("text");
    }
    let text = format!(
        "\
version: 1
name: site
namespaces:
  host: {{ links: {{ br0: {{ bridge: {{}}, addresses: [10.60.0.1, 'fd60::1'] }} }} }}
  a: {{}}
{namespaces}subnets:
  lan: {{ cidr: 10.60.0.0/16, gateway: 10.60.0.1, egress: {{}} }}
  lan6: {{ cidr: 'fd60::/64', gateway: 'fd60::1', egress: {{}} }}
{subnets}veths:
  - ends:
      - {{ namespace: host, name: a, bridge: br0 }}
      - {{ namespace: a, name: eth0, addresses: [{}] }}
{veths}publish:
  - {{ port: 8080, to: '10.60.0.2:80' }}
",
        addresses(members)
    );
    fs::write(SPEC, text).expect("write");
}

fn apply() -> String {
    netform(&["apply", "-f", SPEC, "--yes"]).ok()
}

/// The table with the handles of its rules, line by line.
fn table() -> Vec<String> {
    let listed = sh("nft -a list table inet netform-site").ok();
    listed.lines().map(|line| line.trim().to_owned()).collect()
}

/// The lines of a plan that say what of a table changes.
fn changes(plan: &str) -> Vec<&str> {
    let lines = plan.lines().skip_while(|line| !line.contains("~  table"));
    let lines = lines.skip(1).take_while(|line| line.starts_with("     "));
    lines.map(str::trim).collect()
}

#[test]
fn a_member_more_is_an_element_more_and_nothing_else() {
    in_sandbox(|| {
        write(1000, 1);
        apply();
        let before = table();
        write(1001, 1);
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert_eq!(
            changes(&plan),
            [
                "set sources4 {",
                "+   element \"br0\" . 10.60.3.234",
                "set sources6 {",
                "+   element \"br0\" . fd60::3ea",
            ],
            "{plan}"
        );
        apply();
        // No rule was made again.
        let rules = |lines: &[String]| -> Vec<String> {
            let of_chains = lines.iter().skip_while(|line| !line.starts_with("chain"));
            of_chains.cloned().collect()
        };
        assert_eq!(rules(&before), rules(&table()));

        // A link more is an element in each set that speaks of links.
        write(1001, 2);
        let plan = netform(&["plan", "-f", SPEC]).ok();
        let mut sets: BTreeMap<&str, u32> = BTreeMap::new();
        let mut set = "";
        for line in changes(&plan) {
            match line.strip_prefix("set ") {
                Some(name) => set = name,
                None => *sets.entry(set).or_default() += 1,
            }
            assert!(
                line.starts_with("set ")
                    || line.starts_with("+   element ") && line.contains("\"to-m2\""),
                "{plan}"
            );
        }
        assert!(
            sets.contains_key("links {") && sets.contains_key("ports4 {"),
            "{plan}"
        );
        // One both ways.
        assert!(
            sets.iter()
                .all(|(set, count)| *count == 1 || *set == "errors4 {"),
            "{plan}"
        );
        netform(&["destroy", "site", "--yes"]).ok();
    });
}

/// The rules that each packet of a member's connections passes, as tracing tells them, by what kind it is: the
/// first of a connection, a reply, and a further one.
fn traced() -> BTreeMap<&'static str, usize> {
    sh("nft add table inet spy
        nft add chain inet spy early '{ type filter hook prerouting priority -350; }'
        nft add rule inet spy early ip protocol icmp icmp type echo-request ip saddr 10.60.0.2 meta nftrace set 1
        nft add rule inet spy early ip protocol icmp icmp type echo-reply ip saddr 198.51.100.10 meta nftrace set 1
        : >/run/trace; nft monitor trace >>/run/trace 2>&1 &
        echo $! >/run/monitor")
    .ok();
    // Until it watches, and once more, until it has told of the last rule.
    sh(
        "told() { grep -c 'inet spy early packet' /run/trace || true; }
        for i in $(seq 600); do
            ip netns exec a ping -n -c2 -i0.2 -W10 -I 10.60.0.2 198.51.100.10 >/run/ping
            [ $(told) -ge 8 ] && break
        done
        for i in $(seq 600); do
            size=$(stat -c %s /run/trace); sleep 0.5
            [ $size = $(stat -c %s /run/trace) ] && exit 0
        done; exit 1",
    )
    .ok();
    sh("kill $(cat /run/monitor); nft delete table inet spy").ok();
    let said = fs::read_to_string("/run/trace").expect("read");
    // One packet after the other. Numbers of traces are hashes: one packet may have two, and two packets one.
    let mut passed: Vec<usize> = Vec::new();
    for line in said.lines() {
        if line.contains("inet spy early packet") {
            passed.push(0);
        }
        if line.contains("inet netform-site ") && line.contains(" rule ") {
            *passed.last_mut().expect("it is told of from its beginning") += 1;
        }
    }
    let last = passed.split_off(passed.len() - 4);
    ["first", "reply", "further"]
        .into_iter()
        .zip(last)
        .collect()
}

#[test]
fn a_packet_passes_as_many_rules_with_a_thousand_members_as_with_one() {
    in_sandbox(|| {
        write(1, 1);
        apply();
        let few = traced();
        let rules_of = |lines: Vec<String>| {
            lines
                .iter()
                .filter(|line| line.contains("# handle"))
                .count()
        };
        let listed = rules_of(table());
        write(1000, 5);
        apply();
        let many = traced();
        assert_eq!(few, many);
        assert_eq!(
            few,
            BTreeMap::from([("first", 6), ("reply", 2), ("further", 4)])
        );
        assert_eq!(listed, rules_of(table()), "sets, chains and rules");
        netform(&["destroy", "site", "--yes"]).ok();
    });
}
