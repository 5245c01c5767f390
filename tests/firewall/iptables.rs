//! What netform adds to the chains of iptables and Docker, with the real `iptables` beside it.

use std::fs;

use crate::common::{assert_same_world, in_sandbox, netform, sh, world};
use crate::warn::{nft, passes, warnings};

const SPEC: &str = "specs/breezyfrost.yaml";
const DUAL: &str = "specs/breezyfrost-dual.yaml";

/// What Docker leaves behind, as far as it matters.
const DOCKER: &str = "
    for t in iptables-nft ip6tables-nft; do
        $t -N DOCKER-USER
        $t -A FORWARD -j DOCKER-USER
        $t -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        $t -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
        $t -P FORWARD DROP
    done";

/// The lines of a plan about rules in chains of others.
fn rules(spec: &str) -> Vec<String> {
    let plan = netform(&["plan", "-f", spec]).ok();
    let lines = plan.lines().map(str::trim);
    let lines = lines.filter(|line| line.contains("  rule in "));
    lines.map(str::to_owned).collect()
}

fn ruleset() -> String {
    sh("nft -s list ruleset").ok()
}

/// The rules of a chain, as iptables says them.
fn chain(name: &str) -> Vec<String> {
    let said = sh(&format!("iptables-nft -S {name}")).ok();
    said.lines().skip(1).map(str::to_owned).collect()
}

const OUT: &str = r#"-i veth1_p -o ens33 -m comment --comment "netform:breezyfrost" -j ACCEPT"#;
const BACK: &str = r#"-i ens33 -o veth1_p -m comment --comment "netform:breezyfrost" -j ACCEPT"#;

#[test]
fn beside_docker_a_subnet_gets_out_and_leaves_no_trace() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        sh(DOCKER).ok();
        let before = world();
        assert_eq!(
            rules(DUAL),
            [
                "+  rule in ip filter DOCKER-USER: iifname ens33 oifname veth1_p accept",
                "+  rule in ip filter DOCKER-USER: iifname veth1_p oifname ens33 accept",
                "+  rule in ip6 filter DOCKER-USER: iifname ens33 oifname veth1_p accept",
                "+  rule in ip6 filter DOCKER-USER: iifname veth1_p oifname ens33 accept",
            ]
        );
        assert_eq!(warnings(DUAL), "");
        netform(&["apply", "-f", DUAL]).ok();
        assert!(passes());
        sh("ip netns exec breezyfrost ping -c1 -w10 2001:db8:10::10").ok();
        assert_eq!(
            netform(&["plan", "-f", DUAL]).ok(),
            "No changes. breezyfrost-dual is as the spec says.\n"
        );
        let tag = "-dual";
        let of_dual = |rule: &str| {
            format!(
                "-A DOCKER-USER {}",
                rule.replace("frost\"", &format!("frost{tag}\""))
            )
        };
        assert_eq!(chain("DOCKER-USER"), [of_dual(OUT), of_dual(BACK)]);
        sh("iptables-nft-save >/dev/null && ip6tables-nft -S >/dev/null").ok();
        netform(&["destroy", "-f", DUAL, "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn what_iptables_wrote_anew_is_known_again() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        netform(&["apply", "-f", SPEC]).ok();
        // The comment is a match of iptables from then on, and names are compared by their length.
        sh("iptables-nft-save > /run/saved && iptables-nft-restore < /run/saved").ok();
        assert_eq!(rules(SPEC), [""; 0]);
        assert!(passes());
        netform(&["destroy", "-f", SPEC, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
    });
}

#[test]
fn what_docker_throws_away_is_drift_and_made_again() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        netform(&["apply", "-f", SPEC]).ok();
        sh("iptables-nft -F DOCKER-USER && iptables-nft -A DOCKER-USER -j RETURN").ok();
        assert!(!passes());
        assert_eq!(rules(SPEC).len(), 2);
        netform(&["apply", "-f", SPEC]).ok();
        assert!(passes());
        assert_eq!(
            chain("DOCKER-USER").last().map(String::as_str),
            Some("-A DOCKER-USER -j RETURN")
        );
    });
}

#[test]
fn without_docker_they_stand_at_the_top_and_move_once_docker_comes() {
    in_sandbox(|| {
        sh("iptables-nft -P FORWARD DROP && iptables-nft -A FORWARD -i eth9 -j ACCEPT").ok();
        netform(&["apply", "-f", SPEC]).ok();
        assert!(passes());
        let forward = chain("FORWARD");
        assert_eq!(
            forward,
            [
                format!("-A FORWARD {OUT}"),
                format!("-A FORWARD {BACK}"),
                "-A FORWARD -i eth9 -j ACCEPT".to_owned()
            ]
        );
        sh("iptables-nft -N DOCKER-USER && iptables-nft -I FORWARD -j DOCKER-USER").ok();
        let moved = rules(SPEC);
        assert_eq!(moved.len(), 4, "{moved:?}");
        assert!(
            moved
                .iter()
                .filter(|rule| rule.starts_with("-  rule in ip filter FORWARD"))
                .count()
                == 2
        );
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        assert!(passes());
        assert_eq!(chain("FORWARD").len(), 2);
        assert_eq!(chain("DOCKER-USER").len(), 2);
        netform(&["destroy", "-f", SPEC, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
    });
}

#[test]
fn a_chain_that_lets_all_through_is_left_alone() {
    in_sandbox(|| {
        sh("iptables-nft -N DOCKER-USER && iptables-nft -A FORWARD -j DOCKER-USER").ok();
        let before = ruleset();
        assert_eq!(rules(SPEC), [""; 0]);
        sh(
            "iptables-nft -A FORWARD -i veth1_p -m conntrack --ctstate NEW -j ACCEPT
            iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            iptables-nft -P FORWARD DROP",
        )
        .ok();
        assert_eq!(rules(SPEC), [""; 0], "iptables' own match is understood");
        netform(&["apply", "-f", SPEC]).ok();
        assert!(passes());
        sh("iptables-nft -P FORWARD ACCEPT && iptables-nft -F FORWARD && iptables-nft -A FORWARD -j DOCKER-USER").ok();
        netform(&["destroy", "-f", SPEC, "--yes"]).ok();
        assert_eq!(before, ruleset());
    });
}

#[test]
fn what_is_no_longer_needed_goes() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        netform(&["apply", "-f", SPEC]).ok();
        // As if no rule of netform's were there: that they are needed is no reason of theirs.
        assert_eq!(rules(SPEC), [""; 0]);
        sh("iptables-nft -P FORWARD ACCEPT").ok();
        let gone = rules(SPEC);
        assert!(
            gone.len() == 2 && gone.iter().all(|rule| rule.starts_with('-')),
            "{gone:?}"
        );
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
        assert!(passes());
    });
}

#[test]
fn a_rule_that_was_put_before_and_drops_has_them_made_again_at_the_top() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        netform(&["apply", "-f", SPEC]).ok();
        // One that doesn't matter is left where it is.
        sh("iptables-nft -I DOCKER-USER -i eth9 -j DROP").ok();
        assert_eq!(rules(SPEC), [""; 0]);
        sh("iptables-nft -I DOCKER-USER -i ens33 -j DROP").ok();
        assert!(!passes());
        let replaced = rules(SPEC);
        let why = "(a rule before it drops what it is for)";
        assert_eq!(replaced.len(), 2);
        assert!(
            replaced
                .iter()
                .all(|rule| rule.starts_with('±') && rule.ends_with(why)),
            "{replaced:?}"
        );
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        assert!(passes());
        assert_eq!(rules(SPEC), [""; 0]);
        assert_eq!(
            chain("DOCKER-USER")[2..],
            [
                "-A DOCKER-USER -i ens33 -j DROP",
                "-A DOCKER-USER -i eth9 -j DROP"
            ]
        );
    });
}

#[test]
fn what_drops_before_docker_s_chain_is_said() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        sh("iptables-nft -I FORWARD -i veth1_p -m comment --comment closed -j DROP").ok();
        let said = warnings(SPEC);
        assert!(
            said.contains("a rule \"closed\" of chain FORWARD in table ip filter"),
            "{said}"
        );
        assert!(
            said.ends_with("\niptables -I FORWARD -i veth1_p -o ens33 -j ACCEPT"),
            "{said}"
        );
        netform(&["apply", "-f", SPEC]).ok();
        assert!(!passes());
        sh(said.lines().last().expect("a command")).ok();
        assert_eq!(warnings(SPEC), "");
        assert!(passes());
    });
}

#[test]
fn rules_of_others_with_our_comment_stay_and_ours_go_without_a_record() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        let comment = "-m comment --comment netform:breezyfrost";
        for rule in [
            format!("-i veth1_p {comment} -j ACCEPT"),
            format!("-i veth1_p -o ens33 -p tcp {comment} -j ACCEPT"),
            format!("-i veth1_p -o ens33 {comment} -j DROP"),
            format!("-i veth1_p -o ens3+ {comment} -j ACCEPT"),
            format!("! -i veth1_p -o ens33 {comment} -j ACCEPT"),
            "-i veth1_p -o ens33 -m comment --comment 'netform:breezyfrost, kept' -j ACCEPT"
                .to_owned(),
            "-i veth1_p -o ens33 -m comment --comment netform:other -j ACCEPT".to_owned(),
        ] {
            sh(&format!("iptables-nft -A DOCKER-USER {rule}")).ok();
        }
        // One that logs besides; iptables can't read it.
        let logs = "iifname veth1_p oifname ens33 log accept comment \\\"netform:breezyfrost\\\"";
        sh(&format!("nft \"add rule ip filter DOCKER-USER {logs}\"")).ok();
        let chain = || sh("nft -s list chain ip filter DOCKER-USER").ok();
        let before = chain();
        netform(&["apply", "-f", SPEC]).ok();
        assert_eq!(chain().lines().count(), before.lines().count() + 2);
        fs::remove_dir_all("/run/netform").expect("it is there");
        netform(&["destroy", "breezyfrost", "--yes"]).ok();
        assert_eq!(chain(), before);
    });
}

#[test]
fn two_topologies_have_rules_of_their_own() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        let before = ruleset();
        let (red, blue) = ("specs/tenant-red.yaml", "specs/tenant-blue.yaml");
        netform(&["apply", "-f", red]).ok();
        let of_red = chain("DOCKER-USER");
        netform(&["apply", "-f", blue]).ok();
        assert!(chain("DOCKER-USER").len() > of_red.len());
        netform(&["destroy", "-f", blue, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), of_red);
        assert_eq!(rules(red), [""; 0]);
        netform(&["destroy", "-f", red, "--yes"]).ok();
        assert_eq!(before, ruleset());
    });
}

#[test]
fn a_gateway_link_of_others_is_opened_for_its_prefix_only() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        // From port to port is another test's.
        sh("for switch in /proc/sys/net/bridge/bridge-nf-call-ip*; do
                [ ! -e $switch ] || echo 0 > $switch
            done")
        .ok();
        sh("ip link add lan0 type bridge && ip link set lan0 up
            ip addr add 10.7.0.1/24 dev lan0 && ip addr add fd07::1/64 dev lan0 nodad")
        .ok();
        let spec = "/run/lan.yaml";
        let text = "\
version: 1
name: lan
namespaces: { in: {} }
subnets:
  lab: { cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {} }
  lab6: { cidr: \"fd07::/64\", gateway: \"fd07::1\", egress: {} }
veths:
  - ends:
      - { namespace: in, name: eth0, addresses: [10.7.0.2, \"fd07::2\"] }
      - { namespace: host, name: port0, bridge: lan0 }
";
        fs::write(spec, text).expect("write");
        assert_eq!(
            rules(spec),
            [
                "+  rule in ip filter DOCKER-USER: iifname ens33 oifname lan0 ip daddr 10.7.0.0/24 accept",
                "+  rule in ip filter DOCKER-USER: iifname lan0 oifname ens33 ip saddr 10.7.0.0/24 accept",
                "+  rule in ip6 filter DOCKER-USER: iifname ens33 oifname lan0 ip6 daddr fd07::/64 accept",
                "+  rule in ip6 filter DOCKER-USER: iifname lan0 oifname ens33 ip6 saddr fd07::/64 accept",
            ]
        );
        netform(&["apply", "-f", spec]).ok();
        sh("ip netns exec in ping -c1 -w10 198.51.100.10").ok();
        sh("ip netns exec in ping -c1 -w10 2001:db8:10::10").ok();
        let mut said = chain("DOCKER-USER");
        said.sort();
        assert_eq!(
            said,
            [
                r#"-A DOCKER-USER -d 10.7.0.0/24 -i ens33 -o lan0 -m comment --comment "netform:lan" -j ACCEPT"#,
                r#"-A DOCKER-USER -s 10.7.0.0/24 -i lan0 -o ens33 -m comment --comment "netform:lan" -j ACCEPT"#,
            ]
        );
        // As iptables writes them, they are known too.
        sh("iptables-nft-save > /run/4 && iptables-nft-restore < /run/4
            ip6tables-nft-save > /run/6 && ip6tables-nft-restore < /run/6")
        .ok();
        assert_eq!(rules(spec), [""; 0]);
        netform(&["destroy", "-f", spec, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
        assert_eq!(sh("ip6tables-nft -S DOCKER-USER").ok().lines().count(), 1);
    });
}

#[test]
fn what_subnets_allow_each_other_is_let_through_too() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        let spec = "/run/two.yaml";
        let text = "\
version: 1
name: two
namespaces: { a: {}, b: {} }
subnets:
  lab-a: { cidr: 10.1.0.0/24, gateway: 10.1.0.1, allow: [lab-b] }
  lab-b: { cidr: 10.2.0.0/24, gateway: 10.2.0.1 }
veths:
  - ends:
      - { namespace: a, name: eth0, addresses: [10.1.0.2] }
      - { namespace: host, name: to-a, addresses: [10.1.0.1] }
  - ends:
      - { namespace: b, name: eth0, addresses: [10.2.0.2] }
      - { namespace: host, name: to-b, addresses: [10.2.0.1] }
";
        fs::write(spec, text).expect("write");
        assert_eq!(
            rules(spec),
            [
                "+  rule in ip filter DOCKER-USER: iifname to-a oifname to-b accept",
                "+  rule in ip filter DOCKER-USER: iifname to-b oifname to-a accept",
            ]
        );
        netform(&["apply", "-f", spec]).ok();
        sh("ip netns exec a ping -c1 -w10 10.2.0.2").ok();
        // Only in the direction that is allowed: the rules there know nothing of connections, but ours do.
        assert_ne!(sh("ip netns exec b ping -c1 -w1 10.1.0.2").status, 0);
    });
}

#[test]
fn members_of_a_bridge_reach_each_other_beside_docker() {
    in_sandbox(|| {
        let on = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        let Ok(on) = on else {
            // Without `br_netfilter` what goes from port to port comes by no rules.
            return;
        };
        sh(DOCKER).ok();
        let spec = "/run/bridge.yaml";
        let text = "\
version: 1
name: lan
namespaces:
  a: {}
  b: {}
  host: { links: { br0: { bridge: {}, addresses: [10.1.0.1] } } }
subnets:
  lab: { cidr: 10.1.0.0/24, gateway: 10.1.0.1 }
veths:
  - ends: [{ namespace: a, name: eth0, addresses: [10.1.0.2] }, { namespace: host, name: to-a, bridge: br0 }]
  - ends: [{ namespace: b, name: eth0, addresses: [10.1.0.3] }, { namespace: host, name: to-b, bridge: br0 }]
";
        fs::write(spec, text).expect("write");
        let rule = "+  rule in ip filter DOCKER-USER: iifname br0 oifname br0 accept";
        let wanted: &[&str] = if on.trim() == "0" { &[] } else { &[rule] };
        assert_eq!(rules(spec), wanted);
        netform(&["apply", "-f", spec]).ok();
        sh("ip netns exec a ping -c1 -w10 10.1.0.3").ok();
        assert_eq!(rules(spec), [""; 0]);
        sh("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables").ok();
        let gone: Vec<String> = wanted
            .iter()
            .map(|rule| rule.replacen('+', "-", 1))
            .collect();
        assert_eq!(rules(spec), gone);
    });
}

#[test]
fn a_topology_that_is_renamed_takes_its_rules_along() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        netform(&["apply", "-f", SPEC]).ok();
        let before = chain("DOCKER-USER");
        let spec = fs::read_to_string(SPEC).expect("read");
        let renamed = spec.replace("name: breezyfrost\n", "name: frost\n");
        fs::write("/run/frost.yaml", renamed).expect("write");
        netform(&[
            "apply",
            "-f",
            "/run/frost.yaml",
            "--adopt-from",
            "breezyfrost",
            "--yes",
        ])
        .ok();
        assert!(passes());
        let after = chain("DOCKER-USER");
        let as_frost = |rule: &String| rule.replace("netform:breezyfrost", "netform:frost");
        let mut expected: Vec<String> = before.iter().map(as_frost).collect();
        let mut found = after.clone();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(rules("/run/frost.yaml"), [""; 0]);
        netform(&["destroy", "frost", "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
    });
}

#[test]
fn what_is_published_is_let_in_beside_docker() {
    in_sandbox(|| {
        sh(DOCKER).ok();
        sh("ip netns add out
            ip link add ens34 type veth peer name eth0 netns out
            ip addr add 192.168.96.1/24 dev ens34 && ip link set ens34 up
            ip -n out addr add 192.168.96.2/24 dev eth0 && ip -n out link set eth0 up")
        .ok();
        let spec = "/run/web.yaml";
        let text = "\
version: 1
name: web
namespaces: { in: {} }
subnets:
  lab: { cidr: 10.1.0.0/24, gateway: 10.1.0.1 }
publish:
  - { namespace: host, dev: ens34, proto: tcp, port: 8080, to: \"10.1.0.2:80\" }
veths:
  - ends:
      - { namespace: in, name: eth0, addresses: [10.1.0.2] }
      - { namespace: host, name: to-in, addresses: [10.1.0.1] }
";
        fs::write(spec, text).expect("write");
        assert_eq!(
            rules(spec),
            [
                "+  rule in ip filter DOCKER-USER: iifname ens34 oifname to-in ip daddr 10.1.0.2/32 accept",
                "+  rule in ip filter DOCKER-USER: iifname to-in oifname ens34 ip saddr 10.1.0.2/32 accept",
            ]
        );
        netform(&["apply", "-f", spec]).ok();
        let server = "import socket
s = socket.create_server(('10.1.0.2', 80))
open('/run/ready', 'w').close()
s.accept()[0].sendall(b'here')";
        fs::write("/run/server.py", server).expect("write");
        let asks = "import socket
print(socket.create_connection(('192.168.96.1', 8080), 20).recv(9).decode())";
        fs::write("/run/client.py", asks).expect("write");
        sh("ip netns exec in python3 /run/server.py >/dev/null 2>&1 &
            until [ -e /run/ready ]; do sleep 0.02; done")
        .ok();
        assert_eq!(
            sh("ip netns exec out python3 /run/client.py").ok(),
            "here\n"
        );
        sh("iptables-nft -S >/dev/null").ok();
        netform(&["destroy", "-f", spec, "--yes"]).ok();
        assert_eq!(chain("DOCKER-USER"), [""; 0]);
        // What is let in only if it is translated is let in.
        sh("iptables-nft -A DOCKER-USER -m conntrack --ctstate DNAT -j ACCEPT").ok();
        assert_eq!(rules(spec), [""; 0]);
    });
}

#[test]
fn ufw_s_chains_are_not_touched_even_beside_docker() {
    in_sandbox(|| {
        nft("table ip filter {
            chain DOCKER-USER { }
            chain ufw-before-forward { ct state related,established counter accept; }
            chain FORWARD { type filter hook forward priority 0; policy drop;
                counter jump DOCKER-USER; counter jump ufw-before-forward; }; }");
        assert_eq!(rules(SPEC), [""; 0]);
        let said = warnings(SPEC);
        assert!(
            said.ends_with("\nufw route allow in on veth1_p out on ens33"),
            "{said}"
        );
    });
}
