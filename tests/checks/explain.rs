//! `check --explain`: where packets get, and what stops them.

use crate::common::{in_sandbox, netform, sh};
use crate::lab::{SPEC, write};

/// What is said below the line of the only check, which doesn't end as it must.
#[track_caller]
fn explained() -> String {
    let output = netform(&["check", "-f", SPEC, "--explain"]);
    assert_eq!(output.status, 1, "{}{}", output.stdout, output.stderr);
    let lines = output.stdout.lines();
    let lines: Vec<&str> = lines
        .filter(|line| line.starts_with("          "))
        .collect();
    lines
        .iter()
        .map(|line| line.trim_start())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Applies the topology with a check, breaks something, and has it explained.
#[track_caller]
fn of(check: &str, broken: &str) -> String {
    write(check);
    netform(&["apply", "-f", SPEC, "--yes"]).ok();
    sh(broken).ok();
    explained()
}

const OUT: &str = "  - { from: red, ping: 198.51.100.10, within: 1s }\n";

#[test]
fn each_cause_is_named_where_it_is() {
    for (check, broken, lines) in [
        (
            OUT,
            "ip -n red route del default",
            &["red: there is no route to 198.51.100.10"][..],
        ),
        (
            OUT,
            "ip -n red route replace prohibit 198.51.100.0/24",
            &["red: the route to 198.51.100.10 is of type prohibit, and lets nothing through"],
        ),
        (
            OUT,
            "ip -n red link set eth0 down; ip -n red route add 198.51.100.0/24 dev lo || true
             ip -n red link set eth0 up; ip -n red route del 198.51.100.0/24 || true
             ip -n red route replace default via 10.0.0.1 dev eth0; ip link set to-red down",
            &["red: link eth0 has no carrier: its other end, host:to-red, is down"],
        ),
        (
            OUT,
            "ip -n red route replace default via 10.0.0.77 dev eth0",
            &[
                "red: leaves by eth0 via 10.0.0.77, from 10.0.0.2",
                "red: nobody on eth0 answers for 10.0.0.77 (ARP); no namespace here has that address",
            ],
        ),
        (
            OUT,
            "echo 0 >/proc/sys/net/ipv4/conf/to-red/forwarding",
            &[
                "red: leaves by eth0 via 10.0.0.1, from 10.0.0.2",
                "host: IPv4 that comes in by to-red isn't forwarded (net.ipv4.conf.to-red.forwarding = 0)",
            ],
        ),
        (
            OUT,
            "ip route add 10.0.0.2/32 dev to-blue; echo 1 >/proc/sys/net/ipv4/conf/to-red/rp_filter",
            &[
                "red: leaves by eth0 via 10.0.0.1, from 10.0.0.2",
                "host: what comes from 10.0.0.2 by to-red is dropped by rp_filter, because answers would leave by another link \
                 (net.ipv4.conf.to-red.rp_filter, or of all)",
            ],
        ),
        (
            OUT,
            "ip -n red address add 10.0.0.9/24 dev eth0; ip -n red route replace default via 10.0.0.1 dev eth0 src 10.0.0.9",
            &[
                "red: leaves by eth0 via 10.0.0.1, from 10.0.0.9",
                "host: comes in by to-red, leaves by ens33 via 192.168.95.2",
                "host: by ens33 it is outside of what is known here",
                "host: table inet netform-lab, chain source, rule @ drops it: no member's address",
            ],
        ),
        (
            "  - { from: blue, ping: 10.0.0.2, within: 1s }\n",
            "ip -n blue route add default via 10.1.0.1; echo 1 >/proc/sys/net/ipv4/conf/to-blue/forwarding",
            &[
                "blue: leaves by eth0 via 10.1.0.1, from 10.1.0.2",
                "host: comes in by to-blue, leaves by to-red",
                "red: it has come to who has the address, as far as routes lead",
                "host: table inet netform-lab, chain judge, rule @ drops it: nobody outside reaches a member",
            ],
        ),
        (
            "  - { from: host, tcp: \"10.0.0.2:81\", within: 1s }\n",
            "true",
            &[
                "host: leaves by to-red, from 10.0.0.1",
                "red: no program listens at TCP port 81; start it, or see what it is bound to: `ss -tuln`",
            ],
        ),
        (
            "  - { from: host, ping: 10.1.0.2, within: 1s }\n",
            "ip address add 10.77.0.1/32 dev to-blue; ip route replace 10.1.0.0/24 dev to-blue src 10.77.0.1
             ip -n blue route flush table main; ip -n blue route add 10.1.0.0/24 dev eth0 scope link",
            &[
                "host: leaves by to-blue, from 10.77.0.1",
                "blue: it has come, and an answer to 10.77.0.1 has no route back",
            ],
        ),
    ] {
        in_sandbox(|| {
            let said = of(check, broken);
            let said: Vec<String> = said.lines().map(counted).collect();
            assert_eq!(said, lines, "{broken}");
        });
    }
}

/// A line whose numbers of a rule don't matter.
fn counted(line: &str) -> String {
    match line.split_once(", rule ").and_then(|(before, rest)| {
        let (_, after) = rest.split_once(") ")?;
        Some(format!("{before}, rule @ {after}"))
    }) {
        Some(line) => line,
        None => line.to_owned(),
    }
}

#[test]
fn what_passes_and_must_not_is_followed_too() {
    in_sandbox(|| {
        let check = "  - { from: red, ping: 198.51.100.10, expect: fail, within: 1s }\n";
        let said = of(check, "true");
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "red: leaves by eth0 via 10.0.0.1, from 10.0.0.2",
                "host: comes in by to-red, leaves by ens33 via 192.168.95.2",
                "host: by ens33 it is outside of what is known here",
                "nothing on this way stops it, neither a route nor a rule of netform's",
            ],
            "{said}"
        );
        // What is as it must be isn't explained.
        write(OUT);
        let fine = netform(&["check", "-f", SPEC, "--explain"]).ok();
        assert!(!fine.contains("leaves by"), "{fine}");
    });
}

#[test]
fn what_others_drop_and_name_servers_that_are_silent_are_told_of() {
    in_sandbox(|| {
        let said = of(
            OUT,
            "nft add table inet theirs
             nft add chain inet theirs f '{ type filter hook forward priority 0; policy drop; }'",
        );
        assert!(
            said.contains("no rule of netform's stops it") && said.contains("nft monitor trace"),
            "{said}"
        );
        sh("nft delete table inet theirs").ok();
        let said = of(
            "  - { from: blue, resolve: www.example.test, within: 2s }\n",
            "true",
        );
        assert!(
            said.starts_with("to the name server 10.1.0.1\nblue: leaves by eth0"),
            "{said}"
        );
        // For programs, too.
        let output = netform(&["check", "-f", SPEC, "--explain", "-o", "json"]);
        let document: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let told = &document["topologies"][0]["checks"][0]["explanation"];
        assert_eq!(told["name_servers"], true);
        assert_eq!(told["ways"][0]["to"], "10.1.0.1");
        assert_eq!(told["ways"][0]["steps"][0]["out"], "eth0");
        let junit = netform(&["check", "-f", SPEC, "--explain", "-o", "junit"]);
        assert!(
            junit.stdout.contains("blue: leaves by eth0"),
            "{}",
            junit.stdout
        );
    });
}
