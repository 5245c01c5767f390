//! The table of the examples, one entry a file of `specs/`, in the order of a reader who meets them.

use crate::trial::Check::{Answers, Says, SeenAs, Silent};
use crate::trial::{self, Example, PLAIN};

/// Makes a test of each entry, and the list of them.
macro_rules! examples {
    ($($test:ident: $example:expr;)*) => {
        $(#[test]
        fn $test() {
            const EXAMPLE: Example = $example;
            trial::run(&EXAMPLE);
        })*

        /// All of them.
        pub(crate) const ALL: &[Example] = &[$($example),*];
    };
}

examples! {
a_service_reaches_the_world_and_is_not_reached: Example {
    spec: "breezyfrost",
    works: &[
        Answers("breezyfrost", "www.example.test"),
        SeenAs("breezyfrost", "http://www.example.test", "192.168.95.191"),
    ],
    edit: &[
        ("  - ends:", "  - mtu: 1400\n    ends:"),
        ("nameservers: [198.51.100.53]", "nameservers: [198.51.100.53], search: [example.test]"),
    ],
    plan: "\
namespace breezyfrost
  ~  link veth1  mtu 1500 → 1400
  ~  file /etc/netns/breezyfrost/resolv.conf
         nameserver 198.51.100.53
       + search example.test

  namespace host
  ~  link veth1_p  mtu 1500 → 1400

Plan: 0 to add, 3 to change, 0 to remove.
",
    then: &[
        Answers("breezyfrost", "www"),
        Says("host", "ip link show veth1_p", "mtu 1400"),
    ],
    ..PLAIN
};

the_same_service_has_both_families: Example {
    spec: "breezyfrost-dual",
    works: &[
        Answers("breezyfrost", "-4 www.example.test"),
        Answers("breezyfrost", "-6 www.example.test"),
        SeenAs("breezyfrost", "http://[2001:db8:10::10]", "fd95::191"),
    ],
    // The world has no way back to addresses that aren't masqueraded.
    edit: &[(
        "    gateway: fd50::3\n    egress: { dev: ens33 }\n",
        "    gateway: fd50::3\n    egress: { dev: ens33, masquerade: false }\n",
    )],
    plan: "\
namespace host
  ~  table inet netform-breezyfrost-dual
       ! ends the IPv6 connections from veth1_p to ens33
       - set masquerade6 {
       -   type ifname . ifname
       -   comment \"from which link to which link sources are rewritten\"
       -   element \"veth1_p\" . \"ens33\"
         chain judge {
       -   meta nfproto ipv6 iifname . oifname @masquerade6 ct state vmap { untracked : drop }
         chain outbound {
       -   meta nfproto ipv6 iifname . oifname @masquerade6 masquerade

Plan: 0 to add, 1 to change, 0 to remove.
",
    then: &[
        Answers("breezyfrost", "-4 www.example.test"),
        Answers("breezyfrost", "fd50::3"),
        Silent("breezyfrost", "-6 2001:db8:10::10"),
    ],
    ..PLAIN
};

a_client_and_a_server_find_each_other_by_name: Example {
    spec: "pair",
    works: &[
        Answers("client", "-4 server"),
        Answers("client", "-6 server"),
        Answers("server", "client"),
        Silent("host", "-I ens33 10.0.0.2"),
    ],
    edit: &[("name: eth0, addresses: [10.0.0.2/24,", "name: eth0, addresses: [10.0.0.20/24,")],
    plan: "\
namespace server
  -  address 10.0.0.2/24 on eth0
  +  address 10.0.0.20/24 on eth0

Plan: 1 to add, 0 to change, 1 to remove.
",
    then: &[
        Answers("client", "10.0.0.20"),
        Silent("client", "-4 server"),
        Answers("client", "-6 server"),
    ],
    ..PLAIN
};

an_isolated_service_reaches_nothing_but_its_host: Example {
    spec: "isolated",
    works: &[
        Answers("host", "192.168.77.1"),
        Answers("vault", "192.168.77.0"),
        Says("vault", "ping -c1 -W20 198.51.100.10", "Network is unreachable"),
        Says("vault", "ip -6 addr | wc -l", "0"),
    ],
    edit: &[("disable_ipv6: true", "disable_ipv6: false")],
    plan: "\
namespace vault
  ~  sysctl net.ipv6.conf.all.disable_ipv6  1 → 0

Plan: 0 to add, 1 to change, 0 to remove.
",
    then: &[
        Answers("host", "192.168.77.1"),
        Answers("vault", "::1"),
    ],
    ..PLAIN
};

a_container_reaches_the_world_and_its_database: Example {
    spec: "external",
    given: "ip netns add app; ip -n app link set lo up",
    works: &[
        Answers("app", "198.51.100.10"),
        Answers("app", "10.9.0.2"),
        Silent("db", "-I app 198.51.100.10"),
    ],
    edit: &[
        ("  app: { external: true }\n", "  app: { external: true, gateway: none }\n"),
        ("  db: {}\n", "  db: { routes: [{ to: default, via: 10.9.0.1 }] }\n"),
    ],
    plan: "\
namespace app
  -  route default via 192.168.50.1 dev out

  namespace db
  +  route default via 10.9.0.1 dev app

Plan: 1 to add, 0 to change, 1 to remove.
",
    then: &[
        // It is no router, whatever its neighbour thinks.
        Silent("db", "192.168.50.1"),
        Answers("db", "10.9.0.1"),
    ],
    ..PLAIN
};

namespaces_behind_a_bridge_reach_each_other_and_the_world: Example {
    spec: "bridge",
    works: &[
        Answers("red", "192.168.60.3"),
        Answers("green", "fd60::4"),
        Answers("blue", "198.51.100.10"),
        Answers("blue", "2001:db8:10::10"),
    ],
    // One leaves the bridge, which has a smaller MTU then, and IPv6 isn't masqueraded.
    edit: &[
        ("bridge: {}", "bridge: {}, mtu: 1400"),
        ("name: green, bridge: br0", "name: green"),
        ("gateway: \"fd60::1\", egress: {}", "gateway: \"fd60::1\", egress: { masquerade: false }"),
    ],
    plan: "\
namespace host
  ~  link br0  mtu 1500 → 1400
  ~  link green  in br0 → none
  ~  table inet netform-bridge
       ! ends the connections of 192.168.60.3, fd60::3
       ! ends the IPv6 connections from br0 to ens33
       - set masquerade6 {
       -   type ifname . ifname
       -   comment \"from which link to which link sources are rewritten\"
       -   element \"br0\" . \"ens33\"
         set sources4 {
       -   element \"br0\" . 192.168.60.3
         set sources6 {
       -   element \"br0\" . fd60::3
         chain judge {
       -   meta nfproto ipv6 iifname . oifname @masquerade6 ct state vmap { untracked : drop }
         chain outbound {
       -   meta nfproto ipv6 iifname . oifname @masquerade6 masquerade

Plan: 0 to add, 3 to change, 0 to remove.
",
    then: &[
        Answers("red", "192.168.60.4"),
        Silent("red", "192.168.60.3"),
        Answers("blue", "198.51.100.10"),
        Silent("blue", "2001:db8:10::10"),
    ],
    ..PLAIN
};

each_tier_reaches_what_it_must: Example {
    spec: "tiers",
    works: &[
        Answers("web", "198.51.100.10"),
        Answers("web", "10.31.2.2"),
        Silent("web", "10.31.3.2"),
        Answers("app", "10.31.3.2"),
        Silent("app", "10.31.1.2"),
        Silent("app", "198.51.100.10"),
        Silent("db", "10.31.2.2"),
        Says("app", "bash -c 'exec 3<>/dev/tcp/10.31.3.2/5432' 2>&1 || true", "refused"),
    ],
    edit: &[(", icmp: true", ""), (", allow: [app]", "")],
    plan: "\
namespace host
  ~  table inet netform-tiers
       ! ends the IPv4 connections from to-app to to-db to icmp
       ! ends the IPv4 connections from to-web to to-app
         set pass4 {
       -   element \"to-web\" . \"to-app\"
         set ports4 {
       -   element \"to-app\" . \"to-db\" . icmp . 0-65535

Plan: 0 to add, 1 to change, 0 to remove.
",
    then: &[
        Answers("web", "198.51.100.10"),
        Silent("web", "10.31.2.2"),
        Silent("app", "10.31.3.2"),
        Says("app", "bash -c 'exec 3<>/dev/tcp/10.31.3.2/5432' 2>&1 || true", "refused"),
    ],
    ..PLAIN
};

a_router_joins_two_networks: Example {
    spec: "router",
    works: &[
        Answers("left", "10.2.0.2"),
        Answers("right", "10.1.0.2"),
        Answers("left", "fd02::2"),
        Answers("right", "fd01::2"),
    ],
    edit: &[("router: { forwarding: true }", "router: { forwarding: ipv6 }")],
    plan: "\
namespace router
  ~  sysctl net.ipv4.ip_forward  1 → 0

Plan: 0 to add, 1 to change, 0 to remove.
",
    then: &[Silent("left", "10.2.0.2"), Answers("left", "fd02::2")],
    ..PLAIN
};

a_line_of_routers_reaches_from_end_to_end: Example {
    spec: "line",
    works: &[
        Answers("r1", "10.0.34.4"),
        Answers("r4", "10.0.12.1"),
        Says("r1", "ping -c1 -W20 10.0.99.9", "No route to host"),
    ],
    // The last link is unknown to the first router for a while.
    edit: &[
        (
            "      - { to: 10.0.34.0/24, via: 10.0.12.2 }\n",
            "      - { to: 10.0.34.4, via: 10.0.12.2, mtu: 1280, metric: 7 }\n",
        ),
        ("type: unreachable", "type: prohibit"),
    ],
    plan: "\
namespace r1
  ~  route 10.0.0.0/16 metric 100  unreachable → prohibit
  -  route 10.0.34.0/24 via 10.0.12.2 dev right
  +  route 10.0.34.4 metric 7 via 10.0.12.2 dev right mtu 1280

Plan: 1 to add, 1 to change, 1 to remove.
",
    then: &[
        Answers("r1", "10.0.34.4"),
        Says("r1", "ip route get 10.0.34.3", "Permission denied"),
        Says("r1", "ping -c1 -W20 -M do -s 1400 10.0.34.4", "essage too long"),
    ],
    ..PLAIN
};

two_uplinks_are_used_by_source_and_by_destination: Example {
    spec: "policy-routing",
    works: &[
        Answers("site", "-I 203.0.113.2 192.0.2.11"),
        Silent("site", "-I 203.0.113.2 192.0.2.22"),
        Answers("site", "-I 198.18.0.2 192.0.2.22"),
        Silent("site", "-I 198.18.0.2 192.0.2.11"),
        // Whichever way its first packet would have taken.
        Answers("site", "-c4 -i0.2 10.99.0.1"),
        Says("site", "ip route get 192.0.2.11 mark 1", "Permission denied"),
    ],
    // The table of the first gets another number, the spread becomes one way, and a rule goes.
    edit: &[
        ("via: 203.0.113.1, table: 100", "via: 203.0.113.1, table: 4000000000"),
        ("from: 203.0.113.2, table: 100", "from: 203.0.113.2, table: 4000000000"),
        ("          - { via: 203.0.113.1, weight: 2 }\n", ""),
        ("      - { priority: 300, fwmark: 0x1/0xf, action: prohibit }\n", ""),
    ],
    plan: "\
namespace site
  -  route default table 100 via 203.0.113.1 dev wan1
  ~  route default  nexthop via 203.0.113.1 dev wan1 weight 2 nexthop via 198.18.0.1 dev wan2 weight 1 → via 198.18.0.1 dev wan2
  +  route default table 4000000000 via 203.0.113.1 dev wan1
  ~  rule 100 from 203.0.113.2  lookup 100 → lookup 4000000000
  -  rule 300 from 0.0.0.0/0 fwmark 0x1/0xf prohibit
  -  rule 300 from ::/0 fwmark 0x1/0xf prohibit

Plan: 1 to add, 2 to change, 3 to remove.
",
    then: &[
        Answers("site", "-I 203.0.113.2 192.0.2.11"),
        Answers("site", "192.0.2.22"),
        Silent("site", "192.0.2.11"),
        Answers("site", "-m 1 192.0.2.22"),
    ],
    ..PLAIN
};

ipv4_crosses_a_link_that_has_only_ipv6: Example {
    spec: "via-ipv6",
    works: &[
        Answers("left", "10.2.0.2"),
        Answers("right", "10.1.0.2"),
        Says("r1", "ip -4 addr show core | wc -l", "0"),
    ],
    edit: &[(
        "      - { to: 10.2.0.0/24, via: \"fd12::2\" }\n",
        "      - { to: 10.2.0.0/16, via: \"fd12::2\", metric: 50 }\n",
    )],
    plan: "\
namespace r1
  +  route 10.2.0.0/16 metric 50 via fd12::2 dev core
  -  route 10.2.0.0/24 via fd12::2 dev core

Plan: 1 to add, 0 to change, 1 to remove.
",
    then: &[Answers("left", "10.2.0.2")],
    ..PLAIN
};

services_are_managed_over_links_of_their_own: Example {
    spec: "management",
    works: &[
        // Over the management links, both ways, even when the network of the services is gone.
        Answers("host", "10.254.0.1"),
        Answers("host", "10.254.0.3"),
        Says("router", "ip link set web down; ip -br link show up | grep -c ^web", "0"),
        Answers("host", "10.254.0.1"),
        Says("router", "ip link set web up; ip -br link show up | grep -c ^web", "1"),
        // Over the network of the services.
        Answers("web", "10.60.2.2"),
        Answers("web", "198.51.100.10"),
        Says("db", "ping -c1 -W20 198.51.100.10", "Network is unreachable"),
        // Nothing passes the host from one management link to another.
        Silent("web", "-I mgmt 10.254.0.3"),
    ],
    // The database gets a way out as well.
    edit: &[
        (
            "    gateway: none\n    routes:\n      - { to: 10.60.1.0/24, via: 10.60.2.1 }\n",
            "    description: Fetches its updates.\n",
        ),
        (
            "      - { to: 10.60.1.0/24, via: 10.60.0.2 }\n",
            "      - { to: 10.60.1.0/24, via: 10.60.0.2 }\n      - { to: 10.60.2.0/24, via: 10.60.0.2 }\n",
        ),
    ],
    plan: "\
namespace db
  +  route default via 10.60.2.1 dev eth0
  -  route 10.60.1.0/24 via 10.60.2.1 dev eth0

  namespace host
  +  route 10.60.2.0/24 via 10.60.0.2 dev router
  ~  table inet netform-management
         set routed4 {
       +   element \"router\" . 10.60.2.0/24

Plan: 2 to add, 1 to change, 1 to remove.
",
    then: &[
        Answers("db", "198.51.100.10"),
        Answers("db", "10.60.1.2"),
        Answers("host", "10.254.0.3"),
    ],
    ..PLAIN
};

what_an_edge_does_not_know_ends_there: Example {
    spec: "edge",
    works: &[
        Answers("office", "203.0.113.1"),
        Answers("office", "2001:db8:0:1::1"),
        Answers("provider", "192.0.2.2"),
        Answers("provider", "2001:db8:100:1::2"),
        // Of the prefix, but nobody's: no answer, and no word of a loop.
        Silent("office", "192.0.2.200"),
        Silent("provider", "192.0.2.200"),
        Silent("provider", "2001:db8:100:f::1"),
        Says("office", "ping -c1 -W20 10.9.9.9", "Destination Host Unreachable"),
        Says("office", "ping -c1 -W20 fd99::1", "Destination unreachable"),
    ],
    edit: &[("      - { to: 192.0.2.0/24, type: blackhole }\n", "")],
    plan: "\
namespace edge
  -  route blackhole 192.0.2.0/24

Plan: 0 to add, 0 to change, 1 to remove.
",
    // Without it they go to and fro.
    then: &[
        Says("office", "ping -c5 -i0.2 -W20 192.0.2.200", "Time to live exceeded"),
        Silent("provider", "2001:db8:100:f::1"),
    ],
    ..PLAIN
};

a_narrow_link_shows_in_the_path_mtu: Example {
    spec: "narrow",
    works: &[
        Answers("client", "-M do -s 1272 10.3.3.2"),
        Says("client", "ping -c1 -W20 -M do -s 1273 10.3.3.2", "mtu = 1300"),
        Says("client", "cat /proc/sys/net/ipv4/tcp_mtu_probing", "1"),
    ],
    edit: &[("  - mtu: 1300\n", "  - mtu: 1400\n")],
    plan: "\
namespace far
  ~  link tunnel  mtu 1300 → 1400

  namespace near
  ~  link tunnel  mtu 1300 → 1400

Plan: 0 to add, 2 to change, 0 to remove.
",
    then: &[
        Answers("client", "-M do -s 1272 10.3.3.2"),
        Says("client", "ip route flush cache; ping -c1 -W20 -M do -s 1400 10.3.3.2", "mtu = 1400"),
    ],
    ..PLAIN
};

a_tenant_leaves_by_the_uplink_and_does_not_reach_another: Example {
    spec: "tenant-red",
    beside: &["tenant-blue"],
    works: &[
        SeenAs("red", "http://www.example.test", "192.168.95.191"),
        SeenAs("blue", "http://www.example.test", "192.168.95.191"),
        Silent("red", "192.168.102.2"),
        Silent("blue", "192.168.101.2"),
    ],
    edit: &[
        // The link that the default route had led to.
        ("    egress: {}\n", "    egress: { dev: ens33 }\n"),
        ("addresses: [192.168.101.2]", "addresses: [192.168.101.2, 192.168.101.3]"),
    ],
    plan: "\
namespace red
  +  address 192.168.101.3/24 on eth0

  namespace host
  ~  table inet netform-tenant-red
         set sources4 {
       +   element \"red\" . 192.168.101.3

Plan: 1 to add, 1 to change, 0 to remove.
",
    then: &[
        Answers("red", "-I 192.168.101.3 198.51.100.10"),
        Answers("blue", "198.51.100.10"),
    ],
    ..PLAIN
};

the_other_tenant_may_come_and_go_first: Example {
    spec: "tenant-blue",
    beside: &["tenant-red"],
    works: &[Answers("blue", "www.example.test"), Answers("red", "www.example.test")],
    edit: &[("    dns: {", "    x-dns: {")],
    plan: "\
namespace blue
  -  file /etc/netns/blue/resolv.conf

Plan: 0 to add, 0 to change, 1 to remove.
",
    then: &[
        Answers("blue", "198.51.100.10"),
        Answers("red", "198.51.100.10"),
    ],
    ..PLAIN
};

fifty_tenants_have_a_way_out_each: Example {
    spec: "fan-out",
    works: &[
        Answers("t01", "198.51.100.10"),
        Answers("t50", "198.51.100.10"),
        Silent("t01", "10.64.0.99"),
        Answers("host", "10.64.0.51"),
    ],
    edit: &[("  t25: {}\n", "  t25: { gateway: none }\n")],
    plan: "\
namespace t25
  -  route default via 10.64.0.48 dev eth0

Plan: 0 to add, 0 to change, 1 to remove.
",
    then: &[
        Says("t25", "ping -c1 -W20 198.51.100.10", "Network is unreachable"),
        Answers("t26", "198.51.100.10"),
    ],
    ..PLAIN
};
}
