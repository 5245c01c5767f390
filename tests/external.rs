//! Namespaces that others make: worked in like the host, and left like it.

mod common;

use std::process::{Child, Command};

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/spec.yaml";

fn write(text: &str) {
    std::fs::write(SPEC, format!("version: 1\n{text}")).expect("write");
}

/// Applies the spec, with nothing left to be done.
fn apply() -> String {
    let done = netform(&["apply", "-f", SPEC, "--yes"]).ok();
    let again = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
    done
}

/// Runs a command in a namespace that has a name.
fn inside(ns: &str, command: &str) -> String {
    sh(&format!("ip netns exec {ns} {command}")).ok()
}

fn answers(ns: &str, ip: &str) -> bool {
    let ping = format!("ip netns exec {ns} ping -n -c1 -W10 {ip}");
    sh(&ping).status == 0
}

/// What an external namespace has in it.
fn content(ns: &str) -> String {
    let script = "ip -d link; ip addr; ip route show table all; ip -6 route show table all; ip rule
        ip -6 rule; nft -s list ruleset; cd /proc/sys/net
        grep -rs . core/somaxconn ipv4/ip_forward ipv4/conf ipv6/conf | sort";
    let text = sh(&format!("ip netns exec {ns} sh -c '{script}'")).ok();
    let by_itself = |line: &&str| !line.contains("valid_lft") && !line.contains(" table local ");
    let lines: Vec<&str> = text.lines().filter(by_itself).collect();
    lines.join("\n") + "\n"
}

/// Makes a namespace as a container engine would, with a network of its own that leads to the host.
fn container(ns: &str) {
    sh(&format!(
        "ip netns add {ns}; ip -n {ns} link set lo up
        ip link add {ns}-out type veth peer name eth0 netns {ns}
        ip address add 10.200.0.1/24 dev {ns}-out; ip link set {ns}-out up
        ip -n {ns} address add 10.200.0.2/24 dev eth0; ip -n {ns} link set eth0 up
        ip -n {ns} route add 10.78.0.0/16 via 10.200.0.9
        ip -n {ns} rule add priority 500 lookup 77
        ip netns exec {ns} nft add table inet theirs"
    ))
    .ok();
    settle(ns);
}

/// Waits until the kernel has given all links of a namespace, and the host's, their own addresses.
fn settle(ns: &str) {
    sh(&format!(
        "for i in $(seq 100); do
            ip -6 address show tentative | grep -q inet6 \
                || ip -n {ns} -6 address show tentative | grep -q inet6 || exit 0
            sleep 0.1
        done"
    ))
    .ok();
}

/// A story of an external namespace `c1` with a network of its own. Afterwards it and the host are what they
/// were.
fn story(then: impl FnOnce()) {
    in_sandbox(|| {
        container("c1");
        let before = (world(), content("c1"));
        then();
        netform(&["destroy", "legs", "--yes"]).ok();
        sh(&format!("rm -f {SPEC}")).ok();
        assert_same_world(&before.0, &world());
        assert_same_world(&before.1, &content("c1"));
    });
}

/// The spec of a leg from `c1` to the host and out.
fn leg(more: &str) {
    write(&format!(
        "\
name: legs
namespaces:
  c1:
    external: true
    {more}
subnets:
  lab: {{ cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: {{ dev: ens33 }} }}
  lab6: {{ cidr: 'fd50::/64', gateway: 'fd50::1', egress: {{ dev: ens33 }} }}
veths:
  - ends:
      - {{ namespace: c1, name: leg, addresses: [192.168.50.2, 'fd50::2'] }}
      - {{ namespace: host, name: leg-c1, addresses: [192.168.50.1, 'fd50::1'] }}
"
    ));
}

#[test]
fn a_container_gets_a_leg_to_the_host_and_out() {
    story(|| {
        leg("dns: { nameservers: [198.51.100.53] }");
        let links = inside("c1", "ip -o link show lo");
        let plan = netform(&["plan", "-f", SPEC]).ok();
        for never in ["create", "link lo", "ip_forward"] {
            assert!(!plan.contains(never), "{never}: {plan}");
        }
        apply();
        assert!(answers("c1", "198.51.100.10"));
        assert!(answers("c1", "2001:db8:10::10"));
        assert!(answers("c1", "10.200.0.1"), "its own network works");
        let resolved = inside("c1", "cat /etc/resolv.conf");
        assert!(resolved.contains("198.51.100.53"), "{resolved}");
        // What others have there is untouched, its `lo` too.
        assert_eq!(inside("c1", "ip -o link show lo"), links);
        let routes = inside("c1", "ip route");
        assert!(routes.contains("10.78.0.0/16 via 10.200.0.9"), "{routes}");
        assert!(inside("c1", "nft list tables").contains("theirs"));
        assert!(inside("c1", "ip rule").contains("lookup 77"));
        let shown = netform(&["show", "legs"]).ok();
        assert!(shown.contains("veth leg ⇄ host:leg-c1"), "{shown}");
        // And what it lost is given back to it.
        sh("ip -n c1 link del leg").ok();
        apply();
        assert!(answers("c1", "198.51.100.10"));
    });
}

#[test]
fn its_own_default_route_wins_over_that_of_a_subnet() {
    story(|| {
        sh("ip -n c1 route add default via 10.200.0.1").ok();
        leg("");
        apply();
        let routes = inside("c1", "ip route show default");
        assert_eq!(routes.trim(), "default via 10.200.0.1 dev eth0");
        let routes = inside("c1", "ip -6 route show default");
        assert!(routes.contains("fd50::1"), "{routes}");
        // Unless the spec insists, and then it is in the way.
        leg("gateway: lab");
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1, "{}", refused.stdout);
        assert!(
            refused
                .stderr
                .contains("route default in namespace c1 exists"),
            "{}",
            refused.stderr
        );
        sh("ip -n c1 route del default via 10.200.0.1").ok();
        apply();
        netform(&["destroy", "legs", "--yes"]).ok();
    });
}

#[test]
fn a_gateway_in_a_container_leads_out_by_its_own_network() {
    story(|| {
        sh("ip -n c1 route add default via 10.200.0.1").ok();
        write(
            "\
name: legs
namespaces:
  c1:
    external: true
    routes: [{ to: 10.79.0.0/16, via: 10.200.0.1 }, { to: 10.80.0.0/16, dev: eth0, via: 10.200.0.1, src: 10.200.0.2 }]
    rules: [{ priority: 600, from: 10.79.0.0/16, table: 78 }]
  inner: {}
subnets:
  in: { cidr: 192.168.60.0/24, gateway: 192.168.60.1, egress: {} }
veths:
  - ends:
      - { namespace: inner, name: up, addresses: [192.168.60.2] }
      - { namespace: c1, name: in, addresses: [192.168.60.1] }
",
        );
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert!(
            plan.contains("~  sysctl net.ipv4.conf.eth0.forwarding  0 → 1"),
            "{plan}"
        );
        apply();
        assert!(answers("inner", "10.200.0.1"));
        assert_eq!(inside("c1", "cat /proc/sys/net/ipv4/ip_forward"), "0\n");
        let routes = inside("c1", "ip route");
        assert!(
            routes.contains("10.79.0.0/16 via 10.200.0.1 dev eth0"),
            "{routes}"
        );
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(
            inside("c1", "cat /proc/sys/net/ipv4/conf/eth0/forwarding"),
            "0\n"
        );
        sh("ip -n c1 route del default via 10.200.0.1").ok();
    });
}

#[test]
fn what_a_new_container_has_is_not_taken_for_what_the_old_one_had() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        sh("ip netns add c1").ok();
        leg("sysctls: { net.core.somaxconn: 100 }");
        let anew = |value: &str| {
            sh(&format!(
                "ip netns del c1; ip netns add c1
                ip netns exec c1 sysctl -qw net.core.somaxconn={value}"
            ))
            .ok();
        };
        let value = || {
            inside("c1", "cat /proc/sys/net/core/somaxconn")
                .trim()
                .to_owned()
        };
        apply();
        assert_eq!(value(), "100");
        assert!(answers("c1", "198.51.100.10"));
        anew("777");
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert!(
            plan.contains("sysctl net.core.somaxconn  777 → 100"),
            "{plan}"
        );
        apply();
        assert_eq!(value(), "100");
        assert!(answers("c1", "198.51.100.10"));
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(value(), "777", "and not what the first one had");

        apply();
        // Even a value that looks like one of ours is the new one's.
        anew("100");
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(value(), "100");
        sh(&format!("ip netns del c1; rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_container_that_is_missing_stops_a_plan_and_not_a_destroy() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        leg("dns: { nameservers: [198.51.100.53] }");
        let before = world();
        for verb in ["plan", "apply"] {
            let refused = netform(&[verb, "-f", SPEC]);
            assert_eq!(refused.status, 1, "{}", refused.stdout);
            let text = refused.stderr;
            assert!(
                text.contains("external namespace `c1` doesn't exist"),
                "{text}"
            );
            assert!(text.contains("`ip netns add c1`"), "{text}");
        }
        assert_same_world(&before, &world());
        netform(&["validate", "-f", SPEC]).ok();
        sh("ip netns add c1").ok();
        apply();
        sh("ip netns del c1").ok();
        let shown = netform(&["show", "legs"]).ok();
        assert!(shown.contains("table inet netform-legs"), "{shown}");
        let destroyed = netform(&["destroy", "legs", "--yes"]).ok();
        assert!(destroyed.contains("resolv.conf"), "{destroyed}");
        assert_same_world(&before, &world());
    });
}

/// A process in a network namespace of its own.
struct Process(Child);

impl Process {
    fn start() -> Process {
        let mut command = Command::new("unshare");
        let child = command.args(["-n", "sleep", "1000"]).spawn();
        let process = Process(child.expect("unshare runs"));
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let path = process.path();
        // It is there once the process has left ours.
        while std::fs::read_link(&path).is_ok_and(|its| its == own) {
            std::thread::yield_now();
        }
        process
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn inside(&self, command: &str) -> String {
        sh(&format!("nsenter -t {} -n {command}", self.0.id())).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// The spec of a namespace by its path, with a rule and a table in it.
fn by_path(path: &str) {
    write(&format!(
        "\
name: legs
namespaces:
  box:
    external: {{ path: {path} }}
    rules: [{{ priority: 700, from: 192.168.60.0/24, table: 78 }}]
  inner: {{}}
subnets:
  lab: {{ cidr: 192.168.50.0/24, gateway: 192.168.50.1, egress: {{ dev: ens33 }} }}
  in: {{ cidr: 192.168.60.0/24, gateway: 192.168.60.1, egress: {{}} }}
veths:
  - ends:
      - {{ namespace: box, name: leg, addresses: [192.168.50.2] }}
      - {{ namespace: host, name: leg-box, addresses: [192.168.50.1] }}
  - ends:
      - {{ namespace: inner, name: up, addresses: [192.168.60.2] }}
      - {{ namespace: box, name: in, addresses: [192.168.60.1] }}
"
    ));
}

#[test]
fn a_process_is_found_by_its_path_and_left_when_the_path_is_anothers() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        let first = Process::start();
        let empty = first.inside("sh -c 'ip rule; ip -o link show lo; nft list ruleset'");
        by_path(&first.path());
        apply();
        assert!(answers("inner", "198.51.100.10"));
        assert!(first.inside("ip rule").contains("lookup 78"));

        // Another process takes its place, while the first goes on.
        let second = Process::start();
        by_path(&second.path());
        let plan = apply();
        assert!(plan.contains("namespace box.before"), "{plan}");
        assert!(answers("inner", "198.51.100.10"));
        let left = first.inside("sh -c 'ip rule; ip -o link show lo; nft list ruleset'");
        assert_eq!(left, empty);
        drop(first);

        let path = second.path();
        drop(second);
        let refused = netform(&["plan", "-f", SPEC]);
        assert_eq!(refused.status, 1);
        assert!(
            refused
                .stderr
                .contains(&format!("`box` doesn't exist: there is no {path}")),
            "{}",
            refused.stderr
        );
        netform(&["destroy", "-f", SPEC, "--yes"]).ok();
        sh(&format!("rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_path_leads_to_a_network_namespace_and_to_no_other() {
    in_sandbox(|| {
        sh("mkfifo /run/fifo; touch /run/empty; echo x > /run/file").ok();
        let before = world();
        for (path, is) in [
            ("/run", "/run is a directory, and no network namespace"),
            ("/run/fifo", "is a pipe"),
            ("/run/empty", "is an empty file"),
            ("/run/file", "is a file"),
            ("/dev/null", "is a device"),
            ("/proc/self/ns/mnt", "is a mount namespace"),
            (
                "/run/nothing/at/all",
                "`box` doesn't exist: there is no /run/nothing/at/all",
            ),
            ("/run/file/of", "doesn't exist"),
            (
                "/proc/self/ns/net",
                "`box` and `host` of the spec are the same",
            ),
        ] {
            by_path(path);
            for verb in ["plan", "apply"] {
                let refused = netform(&[verb, "-f", SPEC]);
                assert_eq!(refused.status, 1, "{path}: {}", refused.stdout);
                assert!(refused.stderr.contains(is), "{path}: {}", refused.stderr);
            }
        }
        sh(&format!("rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_namespace_has_one_name_in_a_spec() {
    in_sandbox(|| {
        sh("ip netns add c1").ok();
        let two = "\
name: legs
namespaces:
  c1: { external: true }
  other: { external: { path: /run/netns/c1 } }
";
        write(two);
        let refused = netform(&["plan", "-f", SPEC]);
        assert_eq!(refused.status, 1);
        let text = refused.stderr;
        assert!(
            text.contains("`other` and `c1`") || text.contains("`c1` and `other`"),
            "{text}"
        );

        // Nor is one that the topology makes an external one too, by whichever name.
        write("name: legs\nnamespaces: { made: {} }\n");
        apply();
        write(
            "name: legs\nnamespaces: { made: {}, box: { external: { path: /run/netns/made } } }\n",
        );
        let refused = netform(&["plan", "-f", SPEC]);
        assert_eq!(refused.status, 1);
        assert!(
            refused.stderr.contains("`box` and `made`"),
            "{}",
            refused.stderr
        );
        write("name: legs\nnamespaces: { box: { external: { path: /run/netns/made } } }\n");
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1);
        write("name: legs\nnamespaces: { made: { external: { path: /run/netns/c1 } } }\n");
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1);
        assert!(
            refused.stderr.contains("was made by this topology"),
            "{}",
            refused.stderr
        );
        write("name: legs\nnamespaces: { made: { external: true } }\n");
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1);
        assert!(
            refused.stderr.contains("its spec calls it external now"),
            "{}",
            refused.stderr
        );
        assert!(sh("ip netns").ok().contains("made"));
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(sh("ip netns").ok(), "c1\n");
    });
}

#[test]
fn two_topologies_work_in_one_namespace() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        let owner = "/run/owner.yaml";
        std::fs::write(
            owner,
            "\
version: 1
name: owner
namespaces: { c1: { routes: [{ to: 10.70.0.0/16, dev: eth0 }] } }
veths:
  - ends:
      - { namespace: c1, name: eth0, addresses: [10.200.0.2/24] }
      - { namespace: host, name: c1-out, addresses: [10.200.0.1/24] }
",
        )
        .expect("write");
        netform(&["apply", "-f", owner]).ok();
        let alone = content("c1");
        leg("
    routes: [{ to: 10.71.0.0/16, via: 10.200.0.1 }, { to: 10.72.0.0/16, type: blackhole }]
    rules: [{ priority: 600, from: 10.79.0.0/16, table: 78 }]");
        apply();
        assert!(answers("c1", "198.51.100.10"));
        let same = netform(&["plan", "-f", owner, "--detailed-exitcode"]);
        assert_eq!(same.status, 0, "{}", same.stdout);
        let shown = netform(&["show", "owner"]).ok();
        assert!(!shown.contains("10.71.0.0/16"), "{shown}");
        // Whether it forwards is for its owner to say.
        leg("forwarding: ipv4");
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1, "{}", refused.stdout);
        assert!(
            refused.stderr.contains("by the wish of topology owner"),
            "{}",
            refused.stderr
        );
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_same_world(&alone, &content("c1"));

        // What is in it goes with it, which its owner is told.
        leg("");
        apply();
        let destroyed = netform(&["destroy", "owner", "--yes"]).ok();
        assert!(destroyed.contains("leg"), "{destroyed}");
        netform(&["destroy", "legs", "--yes"]).ok();
        sh(&format!("rm {SPEC} {owner}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn links_of_a_container_get_addresses_and_ports() {
    story(|| {
        sh("ip -n c1 link add theirs type bridge; ip -n c1 link set theirs up").ok();
        write(
            "\
name: legs
namespaces:
  c1:
    external: true
    links:
      lo: { addresses: [10.7.0.1/32] }
      eth0: { addresses: [10.200.0.77/24] }
      ours: { bridge: {}, addresses: [10.8.0.1/24] }
  a: {}
  b: {}
veths:
  - ends:
      - { namespace: a, name: up, addresses: [10.8.0.2/24] }
      - { namespace: c1, name: a, bridge: ours }
  - ends:
      - { namespace: b, name: up, addresses: [10.9.0.2/24] }
      - { namespace: c1, name: b, bridge: theirs }
",
        );
        apply();
        assert!(answers("a", "10.8.0.1"));
        assert!(answers("c1", "10.7.0.1"));
        let host = sh("ping -n -c1 -W10 10.200.0.77");
        assert_eq!(host.status, 0, "{}", host.stdout);
        let ports = inside("c1", "ip -o link show master theirs");
        assert!(ports.contains(" b@"), "{ports}");
        // What isn't there is only known when the container is looked at.
        write(
            "name: legs\nnamespaces: { c1: { external: true, links: { eth7: { addresses: [10.7.0.1/32] } } } }\n",
        );
        netform(&["validate", "-f", SPEC]).ok();
        let refused = netform(&["plan", "-f", SPEC]);
        assert!(
            refused.stderr.contains("namespace c1 has no link `eth7`"),
            "{}",
            refused.stderr
        );
        netform(&["destroy", "legs", "--yes"]).ok();
        sh("ip -n c1 link del theirs").ok();
    });
}

#[test]
fn what_topologies_borrow_under_two_names_goes_back_with_the_last() {
    story(|| {
        let spec = |topology: &str, external: &str| {
            let path = format!("/run/{topology}.yaml");
            let text = format!(
                "\
version: 1
name: {topology}
namespaces:
  {topology}:
    external: {external}
    sysctls: {{ net.ipv4.conf.eth0.forwarding: 1, net.core.somaxconn: 100 }}
"
            );
            std::fs::write(&path, text).expect("write");
            path
        };
        let by_name = spec("c1", "true");
        let by_path = spec("legs", "{ path: /run/netns/c1 }");
        let value = || inside("c1", "cat /proc/sys/net/ipv4/conf/eth0/forwarding");
        netform(&["apply", "-f", &by_name]).ok();
        netform(&["apply", "-f", &by_path]).ok();
        let stays = netform(&["destroy", "c1", "--yes"]).ok();
        assert!(stays.contains("topology legs needs it too"), "{stays}");
        assert_eq!(value(), "1\n");
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(value(), "0\n");
        sh(&format!("rm {by_name} {by_path}")).ok();
    });
}

#[test]
fn a_tag_written_inside_does_not_make_a_container_ours() {
    story(|| {
        leg("");
        sh("ip -n c1 link set lo alias netform:legs").ok();
        apply();
        leg("rules: [{ priority: 600, from: 10.79.0.0/16, table: 78 }]");
        apply();
        let destroyed = netform(&["destroy", "legs", "--yes"]).ok();
        assert!(!destroyed.contains("delete"), "{destroyed}");
        assert_eq!(sh("ip netns").ok().split(' ').next(), Some("c1"));
        sh("ip -n c1 link set lo alias ''").ok();
    });
}

#[test]
fn a_link_of_a_container_is_in_the_way_like_one_of_the_host() {
    story(|| {
        write(
            "\
name: legs
namespaces: { c1: { external: true } }
veths:
  - ends: [{ namespace: c1, name: eth0 }, { namespace: host, name: leg-c1 }]
",
        );
        let refused = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(refused.status, 1, "{}", refused.stdout);
        assert!(
            refused
                .stderr
                .contains("link eth0 in namespace c1 exists, and netform didn't make it"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn an_apply_that_fails_in_a_container_is_undone() {
    story(|| {
        leg("sysctls: { net.ipv4.ip_local_port_range: \"9 8\", net.core.somaxconn: 100 }");
        let failed = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(failed.status, 3, "{}{}", failed.stdout, failed.stderr);
        assert_eq!(inside("c1", "cat /proc/sys/net/core/somaxconn"), "4096\n");
        let records = sh("ls /run/netform/*.json 2>/dev/null || true").ok();
        assert_eq!(records, "", "nothing is left to be known");
        leg("sysctls: { net.core.somaxconn: 100 }");
        apply();
        leg("sysctls: { net.core.somaxconn: 100, net.ipv4.ip_local_port_range: \"9 8\" }");
        let failed = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(failed.status, 1, "{}{}", failed.stdout, failed.stderr);
        assert!(answers("c1", "198.51.100.10"));
    });
}

#[test]
fn a_leg_is_found_again_when_the_record_is_lost() {
    story(|| {
        leg("");
        apply();
        sh("rm -r /run/netform").ok();
        let same = netform(&["plan", "-f", SPEC, "--detailed-exitcode"]);
        assert_eq!(same.status, 0, "{}", same.stdout);
        netform(&["destroy", "legs", "--yes"]).ok();
        assert_eq!(sh("ip -n c1 -o link show type veth | wc -l").ok(), "1\n");
        // The forwarding of the uplink was on loan, and nobody knows that any more.
        sh(
            "for path in ipv4/conf/ens33/forwarding ipv6/conf/ens33/force_forwarding; do
                test ! -e /proc/sys/net/$path || echo 0 > /proc/sys/net/$path
            done; mkdir -p /run/netform",
        )
        .ok();
    });
}
