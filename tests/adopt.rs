//! Taking over what others made: in place, seen before, and given back if it fails.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/lab.yaml";

const LAB: &str = "\
version: 1
name: lab
namespaces:
  pod:
    dns: { nameservers: [198.51.100.53] }
    routes: [{ to: default, via: 10.9.0.1 }]
  host:
    links:
      ens33: { addresses: [192.168.95.77/24] }
      br9: { bridge: {}, mac: 02:00:00:00:09:09 }
      p9: { bridge: br9 }
    routes: [{ to: 10.90.0.0/16, via: 10.9.0.2 }]
    rules: [{ priority: 700, from: 10.9.0.0/24, table: 70 }]
veths:
  - ends:
      - { namespace: pod, name: eth0, mac: 02:00:00:00:09:02, addresses: [10.9.0.2/24, fd09::2/64] }
      - { namespace: host, name: lab0, mac: 02:00:00:00:09:01, addresses: [10.9.0.1/24, fd09::1/64] }
";

/// All of it made by hand, as a script would, with what a spec doesn't say: words, a metric, a flag.
const BY_HAND: &str = "
    ip netns add pod; ip -n pod link set lo up
    mkdir -p /etc/netns/pod; echo nameserver 198.51.100.53 >/etc/netns/pod/resolv.conf
    ip link add lab0 address 02:00:00:00:09:01 type veth peer name eth0 address 02:00:00:00:09:02 netns pod
    ip link set lab0 alias 'of the night shift' group 7
    ip address add 10.9.0.1/24 dev lab0; ip -6 address add fd09::1/64 dev lab0 nodad
    ip -n pod address add 10.9.0.2/24 brd 10.9.0.255 dev eth0; ip -n pod -6 address add fd09::2/64 dev eth0 nodad
    ip link set lab0 up; ip -n pod link set eth0 up
    ip -n pod route add default via 10.9.0.1 advmss 1300
    ip address add 192.168.95.77/24 dev ens33
    ip route add 10.90.0.0/16 via 10.9.0.2 proto static
    ip rule add priority 700 from 10.9.0.0/24 table 70
    ip link add br9 address 02:00:00:00:09:09 type bridge; ip link set br9 up
    ip link add p9 type ifb; ip link set p9 master br9";

fn write(text: &str) {
    std::fs::write(SPEC, text).expect("written");
}

fn apply(also: &[&str]) -> String {
    let arguments = ["apply", "-f", SPEC];
    netform(&arguments.iter().chain(also).copied().collect::<Vec<_>>()).ok()
}

/// The numbers of links and the time since which things exist: what is replaced gets others.
fn identities() -> String {
    sh("ip -o link | cut -d: -f1,2 | cut -d@ -f1 | grep -v internet; ip -n pod -o link | cut -d: -f1,2
        stat -Lc %i /run/netns/pod /etc/netns/pod/resolv.conf")
    .ok()
}

#[test]
fn a_whole_network_made_by_hand_is_taken_over_in_place() {
    in_sandbox(|| {
        write(LAB);
        let before = world();
        sh(BY_HAND).ok();
        let by_hand = world();
        let identities_before = identities();
        assert_eq!(netform(&["apply", "-f", SPEC]).status, 1);
        assert_same_world(&by_hand, &world());
        let plan = netform(&["plan", "-f", SPEC, "--adopt"]).ok();
        assert_same_world(&by_hand, &world());
        for line in [
            "  =  adopt\n",
            "  =  veth eth0 ⇄ host:lab0  (adopted as it is)\n",
            "  =  address 10.9.0.2/24 on eth0  (adopted as it is)\n",
            "  =  route default via 10.9.0.1 dev eth0  (adopted as it is)\n",
            "  =  file /etc/netns/pod/resolv.conf  (adopted",
            "  =  veth lab0 ⇄ pod:eth0  (adopted as it is)\n",
            "  =  bridge br9  (adopted as it is)\n",
            "  =  address 192.168.95.77/24 on ens33  (adopted as it is)\n",
            "  =  route 10.90.0.0/16 via 10.9.0.2 dev lab0  (adopted as it is)\n",
            "  =  rule 700 from 10.9.0.0/24 lookup 70  (adopted as it is)\n",
            "  =  port p9 of br9  (adopted as it is)\n",
            "What is adopted is lab's from then on: `netform destroy lab` removes it.\n",
        ] {
            assert!(plan.contains(line), "{line:?} is not in:\n{plan}");
        }
        assert!(plan.contains(" 0 to remove, "), "{plan}");
        // A connection goes on all the while.
        sh("ip netns exec pod ping -i 0.05 -w 30 10.9.0.1 >/run/ping 2>&1 & echo $! >/run/pid
            for i in $(seq 200); do grep -q icmp_seq=3 /run/ping && exit 0; sleep 0.05; done; exit 1")
        .ok();
        let applied = apply(&["--adopt"]);
        assert!(applied.starts_with(&plan), "{applied}");
        assert_eq!(identities(), identities_before);
        sh("kill -INT $(cat /run/pid); for i in $(seq 100); do grep -q ' 0% packet loss' /run/ping && exit 0; sleep 0.1; done
            cat /run/ping; exit 1")
        .ok();
        // It is as any other topology's from then on, and what a spec doesn't say is as it was.
        assert!(apply(&[]).starts_with("No changes."));
        sh("ip link show lab0 | grep -q 'alias netform:lab of the night shift'
            ip -n pod route | grep -q 'advmss 1300'
            ip -n pod address show eth0 | grep -q 'brd 10.9.0.255'
            test $(ip route show 10.90.0.0/16 | wc -l) = 1; test $(ip rule show priority 700 | wc -l) = 1")
        .ok();
        sh("rm /run/ping /run/pid").ok();
        netform(&["destroy", "lab", "--yes"]).ok();
        sh("ip link show p9; ip link delete p9; rmdir /etc/netns/pod").ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn only_what_differs_is_changed() {
    in_sandbox(|| {
        write(
            &LAB.replace("name: lab0,", "name: lab0, mtu: 1400,")
                .replace("198.51.100.53", "198.51.100.54"),
        );
        sh(BY_HAND).ok();
        sh(
            "ip rule del priority 700; ip rule add priority 700 from 10.9.0.0/24 table 71
            ip link add br8 type bridge; ip link set p9 master br8",
        )
        .ok();
        let identities_before = identities();
        let plan = apply(&["--adopt"]);
        for line in [
            "mtu 1500 → 1400",
            "=  rule 700 from 10.9.0.0/24  lookup 71 → lookup 70  (adopted)\n",
            "=  port p9  of br8 → br9  (adopted)\n",
            "+ nameserver 198.51.100.54",
        ] {
            assert!(plan.contains(line), "{line:?} is not in:\n{plan}");
        }
        assert_eq!(identities(), identities_before);
        assert!(apply(&[]).starts_with("No changes."));
    });
}

#[test]
fn what_cant_be_changed_in_place_stays_in_the_way() {
    in_sandbox(|| {
        write(LAB);
        sh("ip link add p9 type ifb").ok();
        for (theirs, why) in [
            ("ip link add br9 type ifb", "it is a ifb, not a bridge"),
            (
                "ip link add lab0 type veth peer name other",
                "its peer is host:other",
            ),
            ("ip link add lab0 type ifb", "it is a ifb, not a veth"),
            (
                "ip address add 192.168.95.77/25 dev ens33",
                "its length is 25, not 24",
            ),
            (
                "ip address add 192.168.95.77/24 dev ens33 valid_lft 900 preferred_lft 900",
                "it has a lifetime, so a program renews it",
            ),
            (
                "mkdir -p /etc/netns/pod; ln -s /etc/resolv.conf /etc/netns/pod/resolv.conf",
                "it is no file of its own, but leads to something else",
            ),
        ] {
            sh(theirs).ok();
            let before = world();
            let refused = netform(&["apply", "-f", SPEC, "--adopt", "--yes"]);
            assert_eq!(refused.status, 1, "{theirs}: {}", refused.stdout);
            let line = format!("`--adopt` can't take it over: {why}");
            assert!(
                refused.stderr.contains(&line),
                "{theirs}: {}",
                refused.stderr
            );
            assert_same_world(&before, &world());
            sh(
                "set +e; ip link del br9; ip link del lab0; ip address del 192.168.95.77/24 dev ens33
                ip address del 192.168.95.77/25 dev ens33; rm -f /etc/netns/pod/resolv.conf; true",
            ).ok();
        }
    });
}

#[test]
fn what_another_topology_has_is_not_adopted() {
    in_sandbox(|| {
        write(LAB);
        sh("ip link add p9 type ifb").ok();
        netform(&["apply", "-f", SPEC]).ok();
        write(&LAB.replace("name: lab\n", "name: other\n"));
        let before = world();
        let refused = netform(&["apply", "-f", SPEC, "--adopt", "--yes"]);
        assert_eq!(refused.status, 1, "{}", refused.stdout);
        assert!(
            refused
                .stderr
                .contains("namespace pod belongs to topology lab"),
            "{}",
            refused.stderr
        );
        assert_same_world(&before, &world());
    });
}

#[test]
fn an_adoption_that_fails_gives_everything_back_as_it_was() {
    in_sandbox(|| {
        // A setting that the kernel refuses comes late in the plan.
        write(
            &LAB.replace(
                "  pod:\n",
                "  pod:\n    sysctls: { net.ipv4.ip_local_port_range: \"9 8\" }\n",
            )
            .replace("name: lab0,", "name: lab0, mtu: 1400,"),
        );
        sh(BY_HAND).ok();
        sh("ip -n pod link set lo alias 'somebody is in here'
            for i in $(seq 200); do ip -n pod address | grep -q 'state DOWN\\|tentative' || exit 0; sleep 0.05; done; exit 1")
        .ok();
        let before = world()
            + &sh(
                "ip -n pod -d link; ip -n pod address; ip -n pod route; ip -n pod -6 route; ip rule
            cat /etc/netns/pod/resolv.conf",
            )
            .ok();
        let failed = netform(&["apply", "-f", SPEC, "--adopt", "--yes"]);
        assert_eq!(failed.status, 3, "{}{}", failed.stdout, failed.stderr);
        let after = world()
            + &sh(
                "ip -n pod -d link; ip -n pod address; ip -n pod route; ip -n pod -6 route; ip rule
            cat /etc/netns/pod/resolv.conf",
            )
            .ok();
        assert_same_world(&before, &after);
        // Nothing is on record either.
        let nothing = netform(&["destroy", "lab", "--yes"]).ok();
        assert!(nothing.starts_with("No changes."), "{nothing}");
    });
}

#[test]
fn a_namespace_whose_tag_was_rewritten_is_taken_back() {
    in_sandbox(|| {
        write("version: 1\nname: lab\nnamespaces: { pod: {} }\n");
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip -n pod link set lo alias netform:other").ok();
        let plan = apply(&["--adopt"]);
        assert!(plan.contains("=  adopt"), "{plan}");
        assert_eq!(
            sh("ip -n pod -o link show lo | grep -c 'alias netform:lab$'").status,
            0
        );
        netform(&["destroy", "lab", "--yes"]).ok();
        assert_ne!(sh("ip netns exec pod true").status, 0);
    });
}

#[test]
fn what_a_lost_record_leaves_behind_is_adopted() {
    in_sandbox(|| {
        write(LAB);
        sh("ip link add p9 type ifb").ok();
        let before = world();
        netform(&["apply", "-f", SPEC]).ok();
        sh("rm /run/netform/lab.json").ok();
        let refused = netform(&["apply", "-f", SPEC]);
        assert_eq!(refused.status, 1);
        let line = "address 192.168.95.77 on ens33 on the host was made by netform, and no record says for which topology";
        assert!(refused.stderr.contains(line), "{}", refused.stderr);
        apply(&["--adopt"]);
        assert!(apply(&[]).starts_with("No changes."));
        netform(&["destroy", "lab", "--yes"]).ok();
        sh("rmdir /etc/netns/pod /etc/netns 2>/dev/null || true").ok();
        assert_same_world(&before, &world());
    });
}
