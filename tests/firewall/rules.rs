//! Rule sets as they are met with, and what is said of them.

use crate::judge::Verdict::{self, Dropped, Passes, Perhaps};

/// A rule set.
pub(crate) struct Ruleset {
    pub(crate) name: &'static str,
    /// As `nft -f` takes it.
    pub(crate) rules: &'static str,
    /// What is said of the first packet from `veth1_p` to `ens33`, and of the one that comes back.
    pub(crate) said: [Verdict; 2],
}

const fn ruleset(name: &'static str, rules: &'static str, said: [Verdict; 2]) -> Ruleset {
    Ruleset { name, rules, said }
}

pub(crate) const RULESETS: &[Ruleset] = &[
    ruleset("nothing", "", [Passes, Passes]),
    ruleset(
        "policy drop",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop; }; }",
        [Dropped, Dropped],
    ),
    ruleset(
        "policy drop with replies let through",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            ct state established,related accept; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "the remedy",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            iifname veth1_p oifname ens33 accept; ct state established,related accept; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "no rule for replies",
        "table ip mine { chain through { type filter hook forward priority 5; policy drop;
            iifname veth1_p accept; }; }",
        [Passes, Dropped],
    ),
    ruleset(
        "another hook, another family, and switched off",
        "table ip6 six { chain forward { type filter hook forward priority 0; policy drop; }; }
         table inet in { chain input { type filter hook input priority 0; policy accept; }; }
         table inet off { flags dormant; chain forward { type filter hook forward priority 0; policy drop; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "jumps and returns",
        "table inet filter {
            chain lan { iifname \"veth*\" return; drop; }
            chain way { jump lan; ct direction reply accept; ip saddr 192.168.50.0/24 goto end; }
            chain end { meta mark 0 accept; }
            chain forward { type filter hook forward priority 0; policy drop; oifname veth1_p accept; jump way; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "verdict maps",
        "table inet filter { chain forward { type filter hook forward priority 0; policy accept;
            ct state vmap { established : accept, related : accept, invalid : drop };
            iifname vmap { veth1_p : drop, eth9 : accept }; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "sets of links, and pairs",
        "table inet filter { set lan { type ifname; elements = { eth9, veth1_p }; }
            set pairs { typeof iifname . oifname; elements = { ens33 . veth1_p }; }
            chain forward { type filter hook forward priority 0; policy drop;
            iifname @lan accept; iifname . oifname @pairs accept; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "ranges, in a set and without",
        "table ip filter { set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.48.0-192.168.50.2 }; }
            set both { type ipv4_addr . ifname; flags interval; elements = { 192.168.50.0/30 . veth1_p }; }
            chain forward { type filter hook forward priority 0; policy drop;
            ip saddr @nets oifname ens33 accept; ip daddr . oifname @both accept; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "ranges that end just before",
        "table ip filter { set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.48.0-192.168.50.1, 192.168.50.3-192.168.50.9 }; }
            chain forward { type filter hook forward priority 0; policy accept;
            ip saddr @nets drop; ip daddr 192.168.50.3-192.168.50.9 drop; ip daddr < 192.168.50.2 ip daddr > 192.168.49.1 drop; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "a mark that nobody gives",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            meta mark 0x1-0xff accept; ct direction reply accept; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "a mark that somebody gives",
        "table inet filter { chain first { type filter hook forward priority -10; meta mark set 5; }
            chain forward { type filter hook forward priority 0; policy drop;
            meta mark 5 accept; ct direction reply accept; }; }",
        [Perhaps, Passes],
    ),
    ruleset(
        "what is translated to a member",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            ct status dnat accept; iifname ens33 accept; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "one port dropped",
        "table inet filter { chain forward { type filter hook forward priority 0; policy accept;
            tcp dport 25 drop; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "one port accepted",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            tcp dport 80 accept; ct state established accept; }; }",
        [Perhaps, Passes],
    ),
    ruleset(
        "numbers of links",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            iif ens33 accept; oif lo accept; oif != ens33 accept; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "groups of links",
        "table inet filter { chain forward { type filter hook forward priority 0; policy drop;
            iifgroup 0x6e666d01 accept; iifgroup default oifgroup 0x6e666d01 accept; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "two base chains, and the worse counts",
        "table inet a { chain forward { type filter hook forward priority -5; policy accept; }; }
         table inet b { chain forward { type filter hook forward priority 5; oifname ens33 reject; }; }",
        [Dropped, Passes],
    ),
    ruleset(
        "an element with a clock",
        "table inet filter { set s { type ifname; flags timeout; elements = { veth1_p timeout 1h }; }
            chain forward { type filter hook forward priority 0; policy drop;
            iifname @s accept; ct state established accept; }; }",
        [Perhaps, Passes],
    ),
    ruleset(
        "Docker's",
        "table ip filter { chain DOCKER-USER { counter return; }
            chain DOCKER { }
            chain FORWARD { type filter hook forward priority 0; policy drop;
            counter jump DOCKER-USER; oifname docker0 ct state related,established counter accept;
            oifname docker0 jump DOCKER; iifname docker0 oifname != docker0 counter accept; }; }",
        [Dropped, Dropped],
    ),
    ruleset(
        "Docker's, with our accepts",
        "table ip filter { chain DOCKER-USER { iifname veth1_p oifname ens33 counter accept;
              iifname ens33 oifname veth1_p counter accept; counter return; }
            chain FORWARD { type filter hook forward priority 0; policy drop; counter jump DOCKER-USER; }; }",
        [Passes, Passes],
    ),
    ruleset(
        "firewalld's",
        "table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
              ct state { established, related } accept; ct status dnat accept; iifname lo accept;
              ct state invalid drop; ip6 daddr { ::/96, ::ffff:0.0.0.0/96 } reject with icmpv6 addr-unreachable;
              jump filter_FORWARD_ZONES; reject with icmpx admin-prohibited; }
            chain filter_FORWARD_ZONES { iifname ens33 goto filter_FWD_public; goto filter_FWD_public; }
            chain filter_FWD_public { jump filter_FWD_public_allow; reject with icmpx admin-prohibited; }
            chain filter_FWD_public_allow { oifname eth9 accept; }; }",
        [Dropped, Passes],
    ),
];
