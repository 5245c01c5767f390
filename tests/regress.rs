//! What once went wrong, each on a host of its own.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

/// The topology that the tests begin with, with more namespaces and the egress of its subnets.
fn spec(file: &str, name: &str, net: u8, namespaces: &str) {
    sh(&format!(
        "cat > {file} <<'EOF'
version: 1
name: {name}
namespaces: {{ {name}: {{}}, {namespaces} }}
subnets:
  l4: {{ cidr: 10.9.{net}.0/24, gateway: 10.9.{net}.1, egress: {{ dev: ens33 }} }}
  l6: {{ cidr: 'fd09:{net}::/64', gateway: 'fd09:{net}::1', egress: {{ dev: ens33 }} }}
veths:
  - ends:
      - {{ namespace: {name}, name: v{name}, addresses: [10.9.{net}.2, 'fd09:{net}::2'] }}
      - {{ namespace: host, name: v{name}_p, addresses: [10.9.{net}.1, 'fd09:{net}::1'] }}
EOF"
    ))
    .ok();
}

fn reaches_out(namespace: &str) {
    sh(&format!(
        "ip netns exec {namespace} ping -c1 -W10 198.51.100.10"
    ))
    .ok();
    sh(&format!(
        "ip netns exec {namespace} ping -6 -c2 -W10 2001:db8:10::10"
    ))
    .ok();
}

#[test]
fn the_switch_of_the_whole_host_comes_and_goes_without_a_trace() {
    in_sandbox(|| {
        spec("/run/plain.yaml", "one", 1, "");
        spec("/run/switch.yaml", "one", 1, "host: { forwarding: true }");
        let before = world();
        netform(&["apply", "-f", "/run/plain.yaml"]).ok();
        netform(&["apply", "-f", "/run/switch.yaml", "--yes"]).ok();
        reaches_out("one");
        netform(&["apply", "-f", "/run/plain.yaml", "--yes"]).ok();
        reaches_out("one");
        netform(&["apply", "-f", "/run/switch.yaml", "--yes"]).ok();
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn who_gives_the_switch_back_leaves_the_links_of_others_on() {
    in_sandbox(|| {
        spec("/run/one.yaml", "one", 1, "");
        spec("/run/two.yaml", "two", 2, "host: { forwarding: true }");
        let before = world();
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        netform(&["apply", "-f", "/run/two.yaml"]).ok();
        netform(&["destroy", "two", "--yes"]).ok();
        reaches_out("one");
        netform(&["plan", "-f", "/run/one.yaml", "--detailed-exitcode"]).ok();
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn who_relies_on_the_switch_meanwhile_keeps_the_links_on() {
    in_sandbox(|| {
        spec("/run/one.yaml", "one", 1, "");
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        // As Docker does it.
        sh("sysctl -qw net.ipv4.ip_forward=1").ok();
        let said = netform(&["destroy", "one", "--yes"]).ok();
        let line = "net.ipv4.conf.ens33.forwarding  stays 1 (all links there forward now)";
        assert!(said.contains(line), "{said}");
        let value = sh("sysctl -n net.ipv4.conf.ens33.forwarding net.ipv4.ip_forward").ok();
        assert_eq!(value, "1\n1\n");
    });
}

#[test]
fn the_switch_stays_for_containers_that_came_meanwhile() {
    in_sandbox(|| {
        spec("/run/one.yaml", "one", 1, "host: { forwarding: ipv4 }");
        let values = "sysctl -n net.ipv4.ip_forward net.ipv4.conf.ens33.forwarding \
                      net.ipv4.conf.all.accept_redirects";
        let before = sh(values).ok();
        assert!(before.starts_with("0\n0\n"), "{before}");
        let go = |meanwhile: &str| {
            netform(&["apply", "-f", "/run/one.yaml"]).ok();
            sh(meanwhile).ok();
            let said = netform(&["destroy", "one", "--yes"]).ok();
            (said, sh(values).ok())
        };
        // A bridge that others made for themselves says nothing.
        let (said, after) = go("ip link add docks type bridge");
        assert_eq!(after, before, "{said}");
        let (said, after) = go("ip link add docker0 type bridge");
        let line = "net.ipv4.ip_forward  stays 1 (the network of docker0 needs it)";
        assert!(said.contains(line), "{said}");
        assert_eq!(after, "1\n1\n0\n", "{said}");
        let left = sh("ls /run/netform 2>&1 || true").ok();
        assert!(left.contains("No such file"), "{left}");
    });
}

/// The host without the numbers of links and of namespaces, which are others when one is made again.
fn numberless() -> String {
    let world = world();
    let lines = world.lines().map(|line| match line.split_once(": <") {
        Some((_, rest)) => format!("link <{rest}\n"),
        None => format!("{}\n", line.split(" link-netns").next().unwrap_or(line)),
    });
    lines.collect()
}

/// Applies one spec, then fails to apply another of the same topology, after much of it was done.
fn fails_in_the_middle(change: &str) {
    in_sandbox(|| {
        spec("/run/good.yaml", "one", 1, "");
        spec(
            "/run/bad.yaml",
            "one",
            1,
            "zz: { dns: { nameservers: [192.0.2.1] } }",
        );
        sh(&format!("sed -i '{change}' /run/bad.yaml")).ok();
        netform(&["apply", "-f", "/run/good.yaml"]).ok();
        // A file where the directory of the last operation is to be.
        sh("mkdir -p /etc/netns; touch /etc/netns/zz").ok();
        let before = numberless();
        let failed = netform(&["apply", "-f", "/run/bad.yaml", "--yes"]);
        assert_eq!(failed.status, 3, "{}{}", failed.stdout, failed.stderr);
        assert_same_world(&before, &numberless());
        netform(&["plan", "-f", "/run/good.yaml", "--detailed-exitcode"]).ok();
        reaches_out("one");
    });
}

#[test]
fn undoing_leaves_what_was_on_loan_before() {
    fails_in_the_middle("s/^#//");
}

#[test]
fn undoing_gives_a_renamed_link_its_settings_back() {
    fails_in_the_middle("s/vone_p/other/");
}

#[test]
fn undoing_takes_back_the_switch_of_the_whole_host() {
    fails_in_the_middle("s/ one: {}/ host: { forwarding: true }, one: {}/");
}

#[test]
fn destroy_sweeps_up_what_a_crash_left_of_the_record() {
    in_sandbox(|| {
        spec("/run/one.yaml", "one", 1, "");
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        netform(&["destroy", "one", "--yes"]).ok();
        let before = world();
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        sh("cp /run/netform/one.json /run/kept").ok();
        netform(&["destroy", "one", "--yes"]).ok();
        // Killed between taking the namespace off its name and the end.
        sh("mkdir /run/netform; python3 - <<'EOF'
import json
record = json.load(open('/run/kept'))
record['loans'] = []
json.dump(record, open('/run/netform/one.json', 'w'))
EOF
            rm /run/kept; touch /run/netns/one")
        .ok();
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

/// Writes a spec of namespaces alone.
fn namespaces(file: &str, name: &str, namespaces: &str) {
    sh(&format!(
        "cat > {file} <<'EOF'
version: 1
name: {name}
namespaces: {{ {namespaces} }}
EOF"
    ))
    .ok();
}

#[test]
fn a_rule_is_not_taken_for_another_that_is_like_it() {
    in_sandbox(|| {
        let narrow = "{ priority: 10, from: 10.0.0.0/8, table: 100 }, \
                      { priority: 10, fwmark: 3, table: 100 }";
        let wide = "{ priority: 10, table: 100 }, { priority: 10, fwmark: 0/1, table: 100 }";
        namespaces(
            "/run/one.yaml",
            "one",
            &format!("host: {{ rules: [{narrow}] }}"),
        );
        namespaces(
            "/run/two.yaml",
            "two",
            &format!("host: {{ rules: [{wide}] }}"),
        );
        let before = world();
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        let one = world();
        // The kernel would take the wide one for one of those that are there, and remove those for it.
        netform(&["apply", "-f", "/run/two.yaml"]).ok();
        netform(&["plan", "-f", "/run/two.yaml", "--detailed-exitcode"]).ok();
        netform(&["destroy", "two", "--yes"]).ok();
        netform(&["plan", "-f", "/run/one.yaml", "--detailed-exitcode"]).ok();
        assert_same_world(&one, &world());
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn what_was_done_beside_the_first_failure_is_undone() {
    in_sandbox(|| {
        namespaces(
            "/run/bad.yaml",
            "one",
            "host: { routes: [ { to: 10.1.0.0/16, dev: ens33 }, \
             { to: 10.2.0.0/16, via: 192.168.95.2, dev: ens33 } ] }",
        );
        // The kernel asks it, too, for the way to a next hop.
        sh("ip rule add priority 5 to 192.168.95.2 prohibit").ok();
        let before = world();
        let failed = netform(&["apply", "-f", "/run/bad.yaml"]);
        assert_eq!(failed.status, 3, "{}{}", failed.stdout, failed.stderr);
        assert_same_world(&before, &world());
    });
}

#[test]
fn nothing_is_built_on_a_link_that_goes() {
    in_sandbox(|| {
        spec("/run/good.yaml", "one", 1, "");
        netform(&["apply", "-f", "/run/good.yaml"]).ok();
        let before = world();
        for wish in [
            "routes: [ { to: 10.77.0.0/16, dev: vone_p } ]",
            "routes: [ { to: 10.77.0.0/16, dev: ens33, src: 10.9.1.1 } ]",
            "sysctls: { net.ipv6.conf.vone_p.hop_limit: 32 }",
        ] {
            namespaces("/run/bad.yaml", "one", &format!("host: {{ {wish} }}"));
            let failed = netform(&["apply", "-f", "/run/bad.yaml", "--yes"]);
            assert_eq!(failed.status, 1, "{}{}", failed.stdout, failed.stderr);
            assert!(failed.stderr.contains("the host has no"), "{failed:?}");
        }
        sh("rm /run/bad.yaml").ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_link_that_goes_down_takes_its_addresses_along_even_where_the_host_keeps_them() {
    in_sandbox(|| {
        for (file, end) in [
            ("up", "addresses: ['fd09::1/64', 'fd09::2/64']"),
            ("down", "up: false, addresses: ['fd09::1/64']"),
        ] {
            sh(&format!(
                "cat > /run/{file}.yaml <<'EOF'
version: 1
name: one
veths:
  - ends:
      - {{ namespace: host, name: a, {end} }}
      - {{ namespace: host, name: b }}
EOF"
            ))
            .ok();
        }
        sh("sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1").ok();
        let before = world();
        for file in ["/run/up.yaml", "/run/down.yaml", "/run/up.yaml"] {
            netform(&["apply", "-f", file, "--yes"]).ok();
            netform(&["plan", "-f", file, "--detailed-exitcode"]).ok();
        }
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn what_is_no_file_is_in_the_way_of_one() {
    in_sandbox(|| {
        namespaces(
            "/run/one.yaml",
            "one",
            "red: { hosts: { a.test: 10.0.0.1 } }",
        );
        for make in ["mkfifo", "mkdir", "ln -s /nowhere", "ln -s /dev/zero"] {
            sh(&format!(
                "rm -rf /etc/netns/red; mkdir -p /etc/netns/red; {make} /etc/netns/red/hosts"
            ))
            .ok();
            let refused = netform(&["apply", "-f", "/run/one.yaml"]);
            assert_eq!(refused.status, 1, "{make}: {refused:?}");
            assert!(
                refused.stderr.contains("netform didn't make it"),
                "{refused:?}"
            );
        }
    });
}

#[test]
fn a_result_that_can_not_be_written_is_no_success() {
    in_sandbox(|| {
        namespaces("/run/one.yaml", "one", "red: {}");
        let netform = env!("CARGO_BIN_EXE_netform");
        for verb in ["plan -f /run/one.yaml", "schema", "show"] {
            let full = sh(&format!("{netform} {verb} > /dev/full"));
            assert_eq!(full.status, 1, "{verb}: {full:?}");
            assert!(full.stderr.contains("standard output"), "{full:?}");
            sh(&format!("{netform} {verb} | true")).ok();
        }
    });
}

#[test]
fn redirects_are_refused_again_after_the_switch_where_they_were() {
    in_sandbox(|| {
        let router = "host: { forwarding: true }";
        namespaces("/run/one.yaml", "one", router);
        namespaces("/run/two.yaml", "two", router);
        // The switch of IPv4 writes it, on its way back as well.
        for value in [0, 1] {
            sh(&format!(
                "sysctl -qw net.ipv4.conf.all.accept_redirects={value}"
            ))
            .ok();
            let before = world();
            netform(&["apply", "-f", "/run/one.yaml"]).ok();
            netform(&["apply", "-f", "/run/two.yaml"]).ok();
            for name in ["one", "two"] {
                let file = format!("/run/{name}.yaml");
                netform(&["plan", "-f", &file, "--detailed-exitcode"]).ok();
                netform(&["destroy", name, "--yes"]).ok();
            }
            assert_same_world(&before, &world());
        }
    });
}

/// Writes a spec of one namespace beside the host, with what the two say of themselves.
fn routed(file: &str, host: &str, red: &str) {
    sh(&format!(
        "cat > {file} <<'EOF'
version: 1
name: routed
namespaces: {{ host: {{ {host} }}, red: {{ {red} }} }}
veths:
  - ends:
      - {{ namespace: host, name: r0, addresses: [10.9.1.1/24, 'fd09:1::1/64'] }}
      - {{ namespace: red, name: r1, addresses: [10.9.1.2/24, 'fd09:1::2/64'] }}
EOF"
    ))
    .ok();
}

#[test]
fn a_route_of_the_host_that_becomes_a_blackhole_is_still_known() {
    in_sandbox(|| {
        let to = "to: 10.8.0.0/16";
        routed(
            "/run/a.yaml",
            &format!("routes: [{{ {to}, via: 10.9.1.2 }}]"),
            "",
        );
        routed(
            "/run/b.yaml",
            &format!("routes: [{{ {to}, type: blackhole }}]"),
            "",
        );
        let before = world();
        for file in [
            "/run/a.yaml",
            "/run/b.yaml",
            "/run/b.yaml",
            "/run/a.yaml",
            "/run/b.yaml",
        ] {
            netform(&["apply", "-f", file, "--yes"]).ok();
        }
        netform(&["destroy", "routed", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_rule_that_rejects_goes_before_the_routes_that_it_would_bar() {
    in_sandbox(|| {
        let route = "routes: [{ to: 10.8.0.0/16, via: 10.9.1.1 }]";
        let reject = "rules: [{ priority: 10, to: 10.9.0.0/16, action: prohibit }]";
        let lookup = "rules: [{ priority: 10, to: 10.9.0.0/16, table: main }]";
        routed("/run/a.yaml", "", reject);
        routed("/run/b.yaml", "", &format!("{route}, {lookup}"));
        routed("/run/c.yaml", "", route);
        for next in ["/run/b.yaml", "/run/c.yaml"] {
            netform(&["apply", "-f", "/run/a.yaml", "--yes"]).ok();
            netform(&["apply", "-f", next, "--yes"]).ok();
        }
    });
}

#[test]
fn forwarding_of_the_uplink_is_given_back_after_a_kill_beside_the_switch() {
    in_sandbox(|| {
        spec("/run/plain.yaml", "one", 1, "");
        routed("/run/switch.yaml", "forwarding: ipv4", "");
        sh("sed -i 's/^name: one/name: routed/' /run/plain.yaml").ok();
        let before = world();
        netform(&["apply", "-f", "/run/plain.yaml"]).ok();
        netform(&["apply", "-f", "/run/switch.yaml", "--yes"]).ok();
        netform(&["plan", "-f", "/run/switch.yaml", "--detailed-exitcode"]).ok();
        let record = sh("cat /run/netform/routed.json").ok();
        // It stays on loan while the whole host forwards: nothing may come between the two.
        assert!(record.contains("ens33"), "{record}");
        netform(&["destroy", "routed", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_value_that_is_not_given_back_as_it_was_written_is_told_of() {
    in_sandbox(|| {
        namespaces(
            "/run/one.yaml",
            "one",
            "host: { sysctls: { net.ipv4.ip_local_reserved_ports: \"9000-9005,8080\" } }",
        );
        let before = world();
        let failed = netform(&["apply", "-f", "/run/one.yaml"]);
        assert_eq!(failed.status, 3, "{failed:?}");
        assert!(
            failed.stderr.contains("write them as it does"),
            "{failed:?}"
        );
        assert!(failed.stderr.contains("8080,9000-9005"), "{failed:?}");
        assert_same_world(&before, &world());
        // What was empty is empty again.
        sh("sed -i 's/9000-9005,8080/8080,9000-9005/' /run/one.yaml").ok();
        let before = world();
        netform(&["apply", "-f", "/run/one.yaml"]).ok();
        netform(&["destroy", "one", "--yes"]).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn the_host_keeps_its_default_route_beside_one_of_the_topology() {
    in_sandbox(|| {
        let default = "routes: [{ to: default4, via: 10.9.1.2, dev: r0, metric: 7 }]";
        routed("/run/a.yaml", default, "");
        // The host is a member, and would get a default route if it had none.
        sh("cat >> /run/a.yaml <<'EOF'
subnets: { s: { cidr: 10.9.1.0/24, gateway: 10.9.1.2 } }
EOF")
        .ok();
        netform(&["apply", "-f", "/run/a.yaml"]).ok();
        netform(&["plan", "-f", "/run/a.yaml", "--detailed-exitcode"]).ok();
        routed("/run/b.yaml", "", "");
        netform(&["apply", "-f", "/run/b.yaml", "--yes"]).ok();
        netform(&["plan", "-f", "/run/b.yaml", "--detailed-exitcode"]).ok();
    });
}

#[test]
fn a_rule_that_leads_to_a_route_does_not_keep_it_from_changing() {
    in_sandbox(|| {
        let rule = "rules: [{ priority: 10, oif: r1, table: 9 }]";
        let way = "{ to: 'fd09:1::/64', dev: r1, table: 9 }";
        let route = |rest: &str| format!("{{ to: default6, table: 9, {rest} }}");
        let in_8 = |rest: &str| route(rest).replace("table: 9", "table: 8");
        let beside = "{ to: 'fd08::/64', via: 'fd09:1::4', table: 9 }";
        let states = [
            format!("routes: [{}], {rule}", route("via: 'fd09:1::3'")),
            format!("routes: [{}], {rule}", route("via: 'fd09:1::3', mtu: 1400")),
            format!("routes: [{}], {rule}", route("via: 'fd09:1::4'")),
            format!("routes: [{}, {beside}]", route("via: 'fd09:1::4'")),
            format!("routes: [{}], {rule}", route("via: 'fd09:1::4'")),
            format!(
                "routes: [{way}, {}, {beside}], {rule}",
                route("via: 'fd09:1::3'")
            ),
            format!("routes: [{way}, {beside}], {rule}"),
            format!("routes: [{}], {rule}", route("via: 'fd09:1::3'")),
            // What it led to stays, and what it leads to now comes.
            format!(
                "routes: [{}], {}",
                in_8("via: 'fd09:1::3'"),
                rule.replace('9', "8")
            ),
            format!("routes: [{}, {beside}], {rule}", in_8("via: 'fd09:1::3'")),
        ];
        for (place, state) in states.iter().enumerate() {
            let file = format!("/run/{place}.yaml");
            routed(&file, "", state);
            netform(&["apply", "-f", &file, "--yes"]).ok();
            netform(&["plan", "-f", &file, "--detailed-exitcode"]).ok();
        }
        // What is on the link is told by the table itself, so nothing has to go meanwhile.
        let beside = |via: &str| format!("routes: [{way}, {}], {rule}", route(via));
        routed("/run/one.yaml", "", &beside("via: 'fd09:1::3'"));
        netform(&["apply", "-f", "/run/one.yaml", "--yes"]).ok();
        routed("/run/two.yaml", "", &beside("via: 'fd09:1::4'"));
        let plan = netform(&["plan", "-f", "/run/two.yaml"]).ok();
        assert!(plan.contains("\n  ~  route default6 table 9 "), "{plan}");
        netform(&["apply", "-f", "/run/two.yaml", "--yes"]).ok();
    });
}

#[test]
fn a_next_hop_that_no_link_of_the_host_reaches_stops_the_plan() {
    in_sandbox(|| {
        sh(
            "ip link add f0 type veth peer name f1; ip link set f0 up; ip link set f1 up
            ip addr add 10.66.0.1/24 dev f0; ip route add 10.67.0.0/24 dev f0
            ip link add d0 type veth peer name d1; ip addr add 10.68.0.1/24 dev d0",
        )
        .ok();
        let before = world();
        for (hop, why) in [
            (
                "via: 10.69.0.1, dev: f0",
                "no address of link `f0` of the host is beside the next hop 10.69.0.1",
            ),
            (
                "via: 10.69.0.1",
                "no link of the host reaches the next hop 10.69.0.1",
            ),
            ("via: 10.68.0.2, dev: d0", "link `d0` of the host is down"),
            ("via: 10.66.0.2, dev: f0", ""),
            ("via: 10.67.0.2, dev: f0", ""),
            ("via: 10.67.0.2", ""),
            ("via: 10.69.0.1, dev: f0, onlink: true", ""),
        ] {
            sh("rm -f /run/a.yaml").ok();
            routed(
                "/run/a.yaml",
                &format!("routes: [{{ to: 10.8.0.0/16, {hop} }}]"),
                "",
            );
            let applied = netform(&["apply", "-f", "/run/a.yaml", "--yes"]);
            if why.is_empty() {
                applied.ok();
                netform(&["plan", "-f", "/run/a.yaml", "--detailed-exitcode"]).ok();
            } else {
                assert_eq!(applied.status, 1, "{applied:?}");
                assert!(applied.stderr.contains(why), "{}", applied.stderr);
                sh("rm /run/a.yaml").ok();
                assert_same_world(&before, &world());
            }
        }
    });
}

#[test]
fn a_route_to_its_own_next_hop_is_changed() {
    in_sandbox(|| {
        let spec = |weight: u8| {
            sh(&format!(
                "cat > /run/own.yaml <<'EOF'
version: 1
name: own
namespaces:
  a:
    routes:
      - {{ to: 'fd02::2/128', nexthops: [{{ via: 'fd02::2', dev: two, weight: {weight} }}, {{ via: 'fd00::2', dev: nil }}] }}
  b: {{}}
veths:
  - ends:
      - {{ namespace: a, name: two, addresses: ['fd02::1/64'] }}
      - {{ namespace: b, name: two, addresses: ['fd02::2/64'] }}
  - ends:
      - {{ namespace: a, name: nil, addresses: ['fd00::1/64'] }}
      - {{ namespace: b, name: nil, addresses: ['fd00::2/64'] }}
EOF"
            ))
            .ok();
        };
        spec(4);
        netform(&["apply", "-f", "/run/own.yaml"]).ok();
        spec(5);
        netform(&["apply", "-f", "/run/own.yaml", "--yes"]).ok();
        let again = netform(&["plan", "-f", "/run/own.yaml", "--detailed-exitcode"]);
        assert_eq!(again.status, 0, "{}", again.stdout);
        netform(&["destroy", "own", "--yes"]).ok();
    });
}
