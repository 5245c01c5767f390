//! What a plan says of the firewalls of others.

use std::fmt::Write as _;
use std::fs;

use crate::common::{in_sandbox, netform, sh};

/// The story's spec: a member behind `veth1_p`, which leaves by `ens33`.
const SPEC: &str = "specs/breezyfrost.yaml";
/// The same with IPv6.
const DUAL: &str = "specs/breezyfrost-dual.yaml";

/// `ufw` as it stands in iptables, as far as forwarding goes.
const UFW: &str = "
    table ip filter {
        chain ufw-before-forward { ct state related,established counter accept; counter jump ufw-user-forward; }
        chain ufw-user-forward { }
        chain ufw-reject-forward { }
        chain FORWARD { type filter hook forward priority 0; policy drop;
            counter jump ufw-before-forward; counter jump ufw-reject-forward; }
    }";

/// `firewalld` with one zone, as far as forwarding goes.
const FIREWALLD: &str = "
    table inet firewalld {
        chain filter_FWD_public_allow { }
        chain filter_FWD_public { jump filter_FWD_public_allow; reject with icmpx admin-prohibited; }
        chain filter_FORWARD_ZONES { iifname ens33 goto filter_FWD_public; goto filter_FWD_public; }
        chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
            ct state { established, related } accept; ct status dnat accept; iifname lo accept;
            jump filter_FORWARD_ZONES; reject with icmpx admin-prohibited; }
    }";

/// Loads rules, as `nft -f` takes them.
pub(crate) fn nft(rules: &str) {
    fs::write("/run/rules.nft", rules).expect("write");
    sh("nft -f /run/rules.nft").ok();
}

/// The warnings of a plan, each with the lines below it.
pub(crate) fn warnings(spec: &str) -> String {
    let plan = netform(&["plan", "-f", spec]).ok();
    let mut lines = Vec::new();
    let mut inside = false;
    for line in plan.lines() {
        inside = line.starts_with("  !  ") || inside && line.starts_with("       ");
        if inside {
            lines.push(line.trim());
        }
    }
    lines.join("\n")
}

/// Whether the member reaches the world.
pub(crate) fn passes() -> bool {
    sh("ip netns exec breezyfrost ping -c1 -i0.1 -w2 198.51.100.10").status == 0
}

#[test]
fn a_chain_that_drops_is_named_with_what_permits_it() {
    in_sandbox(|| {
        nft(
            "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            ct state established,related accept; }; }",
        );
        assert_eq!(
            warnings(SPEC),
            "!  IPv4 from lab (veth1_p) to ens33 is dropped by the policy of chain forward in table inet filter; \
             this permits it:\n\
             nft insert rule inet filter forward iifname veth1_p oifname ens33 accept"
        );
        netform(&["apply", "-f", SPEC]).ok();
        assert!(!passes());
        sh("nft insert rule inet filter forward iifname veth1_p oifname ens33 accept").ok();
        assert!(passes());
        assert_eq!(
            netform(&["plan", "-f", SPEC]).ok(),
            "No changes. breezyfrost is as the spec says.\n"
        );
    });
}

#[test]
fn a_rule_that_drops_is_named_and_so_are_both_directions_and_families() {
    in_sandbox(|| {
        nft(
            "table inet mine { chain deny { counter reject comment \"keep out\"; }
            chain forward { type filter hook forward priority 0; policy accept; jump deny; }; }",
        );
        let handle = sh("nft -a list chain inet mine deny").ok();
        let handle = handle.split("# handle ").last().expect("a rule");
        let handle = handle.split('\n').next().expect("a line");
        assert_eq!(
            warnings(DUAL),
            format!(
                "!  IPv4 and IPv6 from lab, lab6 (veth1_p) to ens33, and what comes back, are dropped by a rule \
                 \"keep out\" of chain deny in table inet mine (handle {handle}); this permits it:\n\
                 nft insert rule inet mine forward iifname veth1_p oifname ens33 accept\n\
                 nft insert rule inet mine forward iifname ens33 oifname veth1_p ct state established,related accept"
            )
        );
        let commands = warnings(DUAL);
        netform(&["apply", "-f", DUAL]).ok();
        assert!(!passes());
        for command in commands.lines().skip(1) {
            sh(command).ok();
        }
        assert!(passes());
        sh("ip netns exec breezyfrost ping -c1 -w10 2001:db8:10::10").ok();
        assert_eq!(warnings(DUAL), "");
    });
}

#[test]
fn ufw_is_known_by_its_chains() {
    in_sandbox(|| {
        nft(UFW);
        assert_eq!(
            warnings(SPEC),
            "!  IPv4 from lab (veth1_p) to ens33 is dropped by the policy of chain FORWARD in table ip filter; \
             this permits it:\n\
             ufw route allow in on veth1_p out on ens33"
        );
        // As the command does it.
        sh("nft add rule ip filter ufw-user-forward iifname veth1_p oifname ens33 counter accept")
            .ok();
        assert_eq!(warnings(SPEC), "");
        netform(&["apply", "-f", SPEC]).ok();
        assert!(passes());
    });
}

#[test]
fn firewalld_is_known_by_its_table() {
    in_sandbox(|| {
        nft(FIREWALLD);
        let said = warnings(SPEC);
        let told = "a rule of chain filter_FWD_public in table inet firewalld (handle ";
        assert!(said.contains(told), "{said}");
        for command in [
            "firewall-cmd --permanent --zone=netform --add-interface=veth1_p",
            "firewall-cmd --permanent --policy=netform-out --set-target=ACCEPT",
        ] {
            assert!(said.lines().any(|line| line == command), "{said}");
        }
        // As the commands do it.
        sh("nft insert rule inet firewalld filter_FORWARD_ZONES iifname veth1_p accept").ok();
        assert_eq!(warnings(SPEC), "");
        netform(&["apply", "-f", SPEC]).ok();
        assert!(passes());
    });
}

#[test]
fn what_is_not_understood_is_said_to_be_so_and_only_where_it_takes_an_exception_to_pass() {
    in_sandbox(|| {
        nft(
            "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            limit rate 10/second accept; ct state established accept; }; }",
        );
        let said = warnings(SPEC);
        let told =
            "!  IPv4 from lab (veth1_p) to ens33 may be dropped by the policy of chain forward";
        assert!(said.starts_with(told), "{said}");
        nft("flush ruleset; table inet filter { chain forward { type filter hook forward priority 0; policy accept;
            limit rate over 10/second drop; tcp dport 25 reject; }; }");
        assert_eq!(warnings(SPEC), "");
    });
}

#[test]
fn nothing_is_said_of_firewalls_that_are_in_nobodys_way() {
    in_sandbox(|| {
        assert_eq!(warnings(SPEC), "");
        nft("table inet filter { chain input { type filter hook input priority 0; policy drop; };
              chain forward { type filter hook forward priority 0; policy accept; iifname docker0 drop; }; }
            table ip6 other { chain forward { type filter hook forward priority 0; policy drop; }; }");
        assert_eq!(warnings(SPEC), "");
        // Nothing is forwarded without a gateway, whatever is dropped.
        nft(
            "table inet every { chain forward { type filter hook forward priority 0; policy drop; }; }",
        );
        assert_eq!(warnings("specs/pair.yaml"), "");
        assert!(warnings(SPEC).contains("table inet every"));
    });
}

#[test]
fn the_firewall_of_an_external_namespace_is_looked_at_too() {
    in_sandbox(|| {
        let spec = "/run/box.yaml";
        let text = "\
version: 1
name: box
namespaces: { in: {}, box: { external: true } }
subnets:
  lab: { cidr: 10.1.0.0/24, gateway: 10.1.0.1, egress: { dev: eth0 } }
veths:
  - ends:
      - { namespace: in, name: eth0, addresses: [10.1.0.2] }
      - { namespace: box, name: down0, addresses: [10.1.0.1] }
";
        fs::write(spec, text).expect("write");
        sh("ip netns add box && ip -n box link add eth0 type veth peer name box0 && ip -n box link set eth0 up").ok();
        assert_eq!(warnings(spec), "");
        sh("ip netns exec box nft 'table ip f { chain f { type filter hook forward priority 0; policy drop; }; }'").ok();
        let said = warnings(spec);
        assert!(said.contains("from lab (down0) to eth0"), "{said}");
        let plan = netform(&["plan", "-f", spec]).ok();
        let (_, of_box) = plan.split_once("namespace box\n").expect("it is there");
        assert!(of_box.contains("table ip f;"), "{plan}");
    });
}

#[test]
fn thousands_of_rules_and_elements_are_read_in_a_moment() {
    in_sandbox(|| {
        nft("table inet big { set s { type ipv4_addr; flags interval; };
            chain forward { type filter hook forward priority 0; policy accept; ip saddr @s drop; }; }");
        // An ordinary user can't send much at once.
        for part in 0..20 {
            let nets: Vec<String> = (0..250).map(|i| format!("11.{part}.{i}")).collect();
            let elements = nets
                .iter()
                .map(|net| format!("{net}.0/28, {net}.32-{net}.40, {net}.99"));
            let elements: Vec<String> = elements.collect();
            let mut rules = format!("add element inet big s {{ {} }}\n", elements.join(", "));
            for net in &nets {
                writeln!(rules, "add rule inet big forward ip saddr {net}.1 drop").expect("text");
            }
            nft(&rules);
        }
        let before = std::time::Instant::now();
        assert_eq!(warnings(SPEC), "");
        // Far more than it takes, far less than if each element were looked at again and again.
        assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
    });
}
