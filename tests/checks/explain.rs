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
                "host: what is beyond ens33 isn't known here",
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
        let said: Vec<String> = said.lines().map(counted).collect();
        assert_eq!(
            said[..4],
            [
                "red: leaves by eth0 via 10.0.0.1, from 10.0.0.2",
                "host: comes in by to-red, leaves by ens33 via 192.168.95.2",
                "host: what is beyond ens33 isn't known here",
                "host: table inet netform-lab, chain source, rule @ lets it through: iifname . ip saddr @sources4 accept",
            ],
        );
        let judge = "host: table inet netform-lab, chain judge, rule @ lets it through: ";
        assert!(said[4].starts_with(judge), "{said:?}");
        let from_host = "  - { from: host, ping: 10.1.0.2, expect: fail, within: 1s }\n";
        let said = of(from_host, "true");
        assert!(
            said.ends_with("\nnothing on this way stops it, neither a route nor a rule"),
            "{said}"
        );
        // What is as it must be isn't explained.
        write(OUT);
        let fine = netform(&["check", "-f", SPEC, "--explain"]).ok();
        assert!(!fine.contains("leaves by"), "{fine}");
    });
}

/// Rules of others, and the last line that is said of a check meanwhile.
const FOREIGN: &[(&str, &str, &str)] = &[
    (
        OUT,
        "nft add table inet theirs
         nft add chain inet theirs f '{ type filter hook forward priority 0; policy drop; }'",
        "host: table inet theirs, the policy of chain f drops it",
    ),
    (
        OUT,
        "nft add table ip theirs
         nft add chain ip theirs f '{ type filter hook forward priority 0; }'
         nft add rule ip theirs f counter
         nft add rule ip theirs f ip saddr 10.0.0.0/24 drop",
        "host: table ip theirs, chain f, rule @ drops it: ip saddr 10.0.0.0/24 drop",
    ),
    (
        "  - { from: red, ping: \"2001:db8:10::10\", within: 1s }\n",
        "nft add table ip6 theirs
         nft add chain ip6 theirs f '{ type filter hook forward priority 0; }'
         nft add rule ip6 theirs f ip6 daddr fd00::2 meta mark 7 drop
         nft add rule ip6 theirs f iifname ens33 counter drop comment '\"no answers\"'",
        "host: table ip6 theirs, chain f, rule @ drops the answer: no answers",
    ),
    (
        "  - { from: red, tcp: \"198.51.100.10:80\", within: 1s }\n",
        "iptables-nft -A FORWARD -p udp -j ACCEPT
         iptables-nft -A FORWARD -p tcp --dport 80 -m comment --comment theirs -j REJECT --reject-with tcp-reset",
        "host: table ip filter, chain FORWARD, rule @ drops it: theirs",
    ),
    (
        "  - { from: red, tcp: \"198.51.100.10:80\", within: 1s }\n",
        "ip netns exec red nft -f - <<'E'
         table inet theirs {
           chain f {
             type filter hook input priority 0
             meta random < 0 accept
             tcp sport 80 meta random >= 0 drop
           }
         }\nE",
        "red: table inet theirs, chain f, rule @ drops the answer: `ip netns exec red nft -a list chain inet theirs f`",
    ),
    // Older tables aren't traced, but it is seen where it goes on.
    (
        OUT,
        "iptables-legacy -P FORWARD DROP",
        "host: it doesn't leave, though no rule of nftables drops it: see @",
    ),
    (
        "  - { from: host, ping: 10.1.0.2, within: 1s }\n",
        "ip netns exec blue sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
        "blue: it comes in, and no answer leaves, though no rule of nftables drops it: see @",
    ),
    (
        "  - { from: red, ping: 198.51.100.77, within: 1s }\n",
        "true",
        "host: it leaves, and no answer comes in",
    ),
    // Who refuses a connection has got it.
    (
        "  - { from: red, tcp: \"198.51.100.10:81\", within: 1s }\n",
        "true",
        "host: what is beyond ens33 isn't known here",
    ),
];

#[test]
fn what_others_stop_is_named_too() {
    for (check, broken, last) in FOREIGN {
        in_sandbox(|| {
            let said = of(check, broken);
            let line = said.lines().next_back().unwrap_or_default();
            let line = match line.split_once(": see ") {
                Some((before, _)) => format!("{before}: see @"),
                None => counted(line),
            };
            assert_eq!(line, *last, "{broken}\n{said}");
        });
    }
}

/// Two members behind a bridge of the host's, and one behind a router of its own.
const SEVERAL: &str = "version: 1
name: lab
namespaces:
  host: { links: { br0: { bridge: {} } } }
  a: { routes: [{ to: 10.3.0.0/24, via: 10.2.0.4 }, { to: 'fd03::/64', via: 'fd02::4' }] }
  b: {}
  r: { forwarding: true }
  c: { routes: [{ to: default, via: 10.3.0.1 }, { to: default, via: 'fd03::1' }] }
veths:
  - ends: [{ namespace: a, name: eth0, addresses: [10.2.0.2/24, 'fd02::2/64'] }, { namespace: host, name: to-a, bridge: br0 }]
  - ends: [{ namespace: b, name: eth0, addresses: [10.2.0.3/24, 'fd02::3/64'] }, { namespace: host, name: to-b, bridge: br0 }]
  - ends: [{ namespace: r, name: eth0, addresses: [10.2.0.4/24, 'fd02::4/64'] }, { namespace: host, name: to-r, bridge: br0 }]
  - ends: [{ namespace: r, name: eth1, addresses: [10.3.0.1/24, 'fd03::1/64'] }, { namespace: c, name: eth0, addresses: [10.3.0.2/24, 'fd03::2/64'] }]
checks:
";

#[test]
fn bridges_and_routers_are_gone_through() {
    for (check, broken, lines) in [
        (
            "  - { from: a, ping: 'fd03::2', within: 1s }\n",
            "ip netns exec r sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth0.force_forwarding=0 || true",
            &[
                "a: leaves by eth0 via fd02::4, from fd02::2",
                "host: comes in by to-a, goes through bridge br0",
                "r: IPv6 that comes in by eth0 isn't forwarded (net.ipv6.conf.all.forwarding = 0)",
            ][..],
        ),
        (
            "  - { from: a, ping: 10.3.0.2, within: 1s }\n",
            "ip -n c route del default",
            &[
                "a: leaves by eth0 via 10.2.0.4, from 10.2.0.2",
                "host: comes in by to-a, goes through bridge br0",
                "r: comes in by eth0, leaves by eth1",
                "c: it has come, and an answer to 10.2.0.2 has no route back",
            ],
        ),
        (
            "  - { from: a, ping: 10.2.0.3, within: 1s }\n",
            "nft add table bridge theirs
             nft add chain bridge theirs f '{ type filter hook forward priority 0; }'
             nft add rule bridge theirs f oifname to-b drop comment '\"between ports\"'",
            &[
                "a: leaves by eth0, from 10.2.0.2",
                "host: comes in by to-a, goes through bridge br0",
                "a: nobody on eth0 answers for 10.2.0.3 (ARP); b:eth0 has that address, and isn't reached",
                "host: table bridge theirs, chain f, rule @ drops the question: between ports",
            ],
        ),
        (
            "  - { from: a, tcp: '10.2.0.3:80', within: 1s }\n",
            "nft add table bridge theirs
             nft add chain bridge theirs f '{ type filter hook forward priority 0; }'
             nft add rule bridge theirs f iifname to-b tcp flags rst drop comment '\"no refusals\"'",
            &[
                "b: no program listens at TCP port 80; start it, or see what it is bound to: `ss -tuln`",
                "host: table bridge theirs, chain f, rule @ drops the answer: no refusals",
            ],
        ),
        // Who lets in what is known only, and forgets neighbour discovery.
        (
            "  - { from: a, ping: 'fd02::3', within: 1s }\n",
            "ip netns exec b nft -f - <<'E'
             table ip6 theirs { chain f { type filter hook input priority 0; policy drop; ct state established accept; }; }
E",
            &[
                "a: nobody on eth0 answers for fd02::3 (neighbour discovery); b:eth0 has that address, and isn't reached",
                "b: table ip6 theirs, the policy of chain f drops the question",
            ],
        ),
        (
            "  - { from: a, ping: 10.9.0.1, within: 1s }\n",
            "ip -n a route add 10.9.0.0/16 via 10.2.0.4; ip -n r route add 10.9.0.0/16 via 10.3.0.2
             ip netns exec c sysctl -qw net.ipv4.conf.all.forwarding=1",
            &["it goes in a circle, until its hop limit is used up"],
        ),
        (
            "  - { from: a, ping: 10.2.0.3, within: 1s }\n",
            "ip -n b link set eth0 down",
            &[
                "a: leaves by eth0, from 10.2.0.2",
                "host: comes in by to-a, goes through bridge br0",
                "a: nobody on eth0 answers for 10.2.0.3 (ARP); b:eth0 has that address, and isn't reached",
            ],
        ),
    ] {
        in_sandbox(|| {
            std::fs::write(SPEC, format!("{SEVERAL}{check}")).expect("write");
            netform(&["apply", "-f", SPEC, "--yes"]).ok();
            sh(broken).ok();
            let said = explained();
            let said: Vec<String> = said.lines().map(counted).collect();
            let said = &said[said.len().saturating_sub(lines.len())..];
            assert_eq!(said, lines, "{broken}");
        });
    }
}

#[test]
fn name_servers_that_are_silent_are_told_of() {
    in_sandbox(|| {
        let said = of(
            "  - { from: blue, resolve: www.example.test, within: 2s }\n",
            "true",
        );
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "to the name server 10.1.0.1",
                "blue: leaves by eth0, from 10.1.0.2",
                "host: no program listens at UDP port 53; start it, or see what it is bound to: `ss -tuln`",
            ]
        );
        // A file that is no namespace stops nothing.
        sh("touch /run/netns/stale").ok();
        // For programs, too.
        let output = netform(&["check", "-f", SPEC, "--explain", "-o", "json"]);
        let document: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let told = &document["topologies"][0]["checks"][0]["explanation"];
        assert_eq!(told["name_servers"], true);
        assert_eq!(told["ways"][0]["to"], "10.1.0.1");
        assert_eq!(told["ways"][0]["steps"][0]["out"], "eth0");
        assert_eq!(told["traced"][0]["namespace"], "blue");
        assert_eq!(told["traced"][0]["there"]["in"], true);
        assert_eq!(told["again"]["ok"], false);
        let junit = netform(&["check", "-f", SPEC, "--explain", "-o", "junit"]);
        assert!(
            junit.stdout.contains("blue: leaves by eth0"),
            "{}",
            junit.stdout
        );
    });
}

/// What marks the packets is there while a check is tried again, and goes however that ends.
#[test]
fn nothing_is_left_of_the_tracing() {
    in_sandbox(|| {
        write("  - { from: red, ping: 198.51.100.77, within: 1s }\n");
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let before = sh("nft list tables; ip netns exec red nft list tables").ok();
        for end in ["kill -9", "kill -TERM", "wait"] {
            let script = format!(
                "'{}' check -f {SPEC} --explain >/dev/null & one=$!
                 '{0}' check -f {SPEC} --explain >/dev/null & two=$!
                 sleep 1.5; nft list tables | grep -c trace
                 {end} $one || true; wait $two || true; nft list tables; ip netns exec red nft list tables",
                env!("CARGO_BIN_EXE_netform")
            );
            let said = sh(&script).ok();
            let (count, after) = said.split_once('\n').expect("lines");
            // Two processes, each with a table for what is routed and one for bridges.
            assert_eq!((count, after), ("4", before.as_str()), "{end}");
        }
    });
}

/// An inmate of a namespace gives comments, and a person reads them on a terminal.
#[test]
fn what_others_wrote_moves_no_cursor() {
    in_sandbox(|| {
        write(OUT);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("nft add table inet theirs
            nft add chain inet theirs f '{ type filter hook forward priority 0; }'
            nft add rule inet theirs f drop comment \"\\\"$(printf '\\033[2J\\rfine')\\\"\"")
        .ok();
        let script = format!(
            "env -u NO_COLOR TERM=xterm python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' '{}' check -f {SPEC} --explain",
            env!("CARGO_BIN_EXE_netform")
        );
        let shown = sh(&script).stdout;
        assert!(
            shown.contains("drops it: \u{fffd}[2J\u{fffd}fine"),
            "{shown:?}"
        );
        assert!(shown.contains("\x1b[1mlab\x1b[0m"), "{shown:?}");
        let piped = netform(&["check", "-f", SPEC, "--explain"]).stdout;
        assert!(piped.contains("drops it: \x1b[2J\rfine"), "{piped:?}");
    });
}

#[test]
fn of_many_the_first_are_explained_and_it_is_said() {
    in_sandbox(|| {
        let mut checks = String::new();
        for number in 10..32 {
            let line = format!("  - {{ from: blue, ping: 198.51.100.{number}, within: 50ms }}\n");
            checks.push_str(&line);
        }
        write(&checks);
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let output = netform(&["check", "-f", SPEC, "--explain"]);
        assert_eq!(
            output.stderr,
            "The first 20 of 22 checks that aren't as expected are explained.\n"
        );
        let explained = output.stdout.matches("blue: there is no route to ").count();
        assert_eq!(explained, 20, "{}", output.stdout);
    });
}
