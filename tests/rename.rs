//! A topology gets another name: its tags change, and nothing else.

mod common;

use common::{assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/lab.yaml";

const LAB: &str = "\
version: 1
name: lab
namespaces:
  pod: { dns: { nameservers: [198.51.100.53] } }
  old: {}
  host:
    links: { ens33: { addresses: [192.168.95.77/24] } }
    rules: [{ priority: 700, from: 10.9.0.0/24, table: 70 }]
subnets:
  lan: { cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {} }
veths:
  - ends:
      - { namespace: pod, name: eth0, mac: 02:00:00:00:09:02, addresses: [10.9.0.2] }
      - { namespace: host, name: lab0, mac: 02:00:00:00:09:01, addresses: [10.9.0.1] }
";

fn write(text: &str) {
    std::fs::write(SPEC, text).expect("written");
}

fn renamed() -> String {
    LAB.replace("name: lab\n", "name: site\n")
}

/// The host, with one name for the topology.
fn with_one_name() -> String {
    world()
        .replace("netform-site", "netform-lab")
        .replace("netform:site", "netform:lab")
        .replace("site", "lab")
}

#[test]
fn a_topology_gets_another_name_and_goes_on_as_it_is() {
    in_sandbox(|| {
        write(LAB);
        let before = world();
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip link set lab0 alias 'netform:lab of the night shift'").ok();
        let named_before = with_one_name();
        // The old spec is gone.
        write(&renamed());
        let plan = netform(&["plan", "-f", SPEC, "--adopt-from", "lab"]).ok();
        assert!(
            plan.starts_with(
                "Topology lab becomes site: 2 namespaces, 2 links, 3 addresses, 1 route, 1 rule, 1 file and 1 table of its \
                 own get the new name, and stay as they are.\n\nNo changes. site is as the spec says.\n"
            ),
            "{plan}"
        );
        assert_eq!(with_one_name(), named_before);
        assert_eq!(
            netform(&[
                "plan",
                "-f",
                SPEC,
                "--adopt-from",
                "lab",
                "--detailed-exitcode"
            ])
            .status,
            2
        );
        sh("ip netns exec pod ping -i 0.05 -w 30 198.51.100.10 >/tmp/ping-of-rename 2>&1 & echo $! >/tmp/pid-of-rename
            for i in $(seq 200); do grep -q icmp_seq=3 /tmp/ping-of-rename && exit 0; sleep 0.05; done; exit 1")
        .ok();
        netform(&["apply", "-f", SPEC, "--adopt-from", "lab"]).ok();
        sh("kill -INT $(cat /tmp/pid-of-rename)
            for i in $(seq 100); do grep -q ' 0% packet loss' /tmp/ping-of-rename && break; sleep 0.1; done
            grep -q ' 0% packet loss' /tmp/ping-of-rename; rm /tmp/*-of-rename")
        .ok();
        write(LAB);
        assert_same_world(&named_before, &with_one_name());
        write(&renamed());
        sh(
            "ip link show lab0 | grep -q 'alias netform:site of the night shift$'
            test \"$(ls /run/netform)\" = \"$(printf 'lock\\nsite.json')\"
            nft list tables | grep -q 'inet netform-site'; ! nft list tables | grep -q 'netform-lab'
            head -1 /etc/netns/pod/resolv.conf | grep -qx '# netform:site'",
        )
        .ok();
        assert!(
            netform(&["apply", "-f", SPEC])
                .ok()
                .starts_with("No changes.")
        );
        assert!(
            netform(&["destroy", "lab", "--yes"])
                .ok()
                .starts_with("No changes.")
        );
        assert_eq!(
            sh("ip netns exec pod ping -c1 -w20 198.51.100.10").status,
            0
        );
        netform(&["destroy", "site", "--yes"]).ok();
        write(LAB);
        assert_same_world(&before, &world());
    });
}

#[test]
fn what_the_new_spec_doesnt_have_goes_as_usual() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC]).ok();
        write(
            &renamed()
                .replace("  old: {}\n", "  new: {}\n")
                .replace("priority: 700", "priority: 701"),
        );
        let before = world();
        let asks = netform(&["apply", "-f", SPEC, "--adopt-from", "lab"]);
        assert_eq!(asks.status, 1, "{}", asks.stdout);
        assert!(asks.stderr.contains("`--yes`"), "{}", asks.stderr);
        assert_same_world(&before, &world());
        let plan = netform(&["apply", "-f", SPEC, "--adopt-from", "lab", "--yes"]).ok();
        for line in [
            "  namespace old\n  -  remove\n",
            "  namespace new\n  +  create\n",
            "  -  rule 700",
            "  +  rule 701",
        ] {
            assert!(plan.contains(line), "{line:?} is not in:\n{plan}");
        }
        assert!(
            netform(&["plan", "-f", SPEC])
                .ok()
                .starts_with("No changes.")
        );
        assert!(netform(&["show"]).ok().contains("site"));
    });
}

#[test]
fn a_renaming_that_fails_gives_the_old_name_back() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC]).ok();
        write(&renamed().replace(
            "  old: {}\n",
            "  old: { sysctls: { net.ipv4.ip_local_port_range: \"9 8\" } }\n",
        ));
        let before = world();
        let failed = netform(&["apply", "-f", SPEC, "--adopt-from", "lab", "--yes"]);
        assert_eq!(failed.status, 3, "{}{}", failed.stdout, failed.stderr);
        assert_same_world(&before, &world());
        write(LAB);
        assert!(
            netform(&["apply", "-f", SPEC])
                .ok()
                .starts_with("No changes.")
        );
    });
}

#[test]
fn a_renaming_that_was_cut_off_is_finished_by_the_next() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC]).ok();
        write(&renamed());
        // As if netform had been killed after it wrote the new record and a tag.
        sh("sed 's/\"topology\": \"lab\"/\"topology\": \"site\", \"renamed\": \"lab\"/' /run/netform/lab.json >/run/netform/site.json
            ip -n pod link set lo alias netform:site; ip link set lab0 alias netform:site")
        .ok();
        netform(&["apply", "-f", SPEC, "--adopt-from", "lab", "--yes"]).ok();
        assert!(
            netform(&["apply", "-f", SPEC])
                .ok()
                .starts_with("No changes.")
        );
        sh("! test -e /run/netform/lab.json; ! ip -n pod link | grep -q netform:lab; ! ip link | grep -q netform:lab").ok();
    });
}

#[test]
fn a_renaming_needs_an_old_name_and_a_new_one() {
    in_sandbox(|| {
        write(LAB);
        netform(&["apply", "-f", SPEC]).ok();
        std::fs::write(
            "/run/other.yaml",
            "version: 1\nname: other\nnamespaces: { x: {} }\n",
        )
        .expect("written");
        netform(&["apply", "-f", "/run/other.yaml"]).ok();
        let before = world();
        for (from, spec, says) in [
            (
                "nobody",
                SPEC,
                "there is no topology nobody here: there are lab, other",
            ),
            ("lab", SPEC, "the spec is of topology lab itself"),
            (
                "lab",
                "/run/other.yaml",
                "topology other is there already, and a renaming doesn't join two",
            ),
        ] {
            for verb in ["plan", "apply"] {
                let refused = netform(&[verb, "-f", spec, "--adopt-from", from]);
                assert_eq!(refused.status, 1, "{}", refused.stdout);
                assert!(refused.stderr.contains(says), "{}", refused.stderr);
                assert_same_world(&before, &world());
            }
        }
    });
}

#[test]
fn a_topology_whose_record_is_lost_is_renamed_by_its_tags() {
    in_sandbox(|| {
        write(
            "version: 1\nname: lab\nnamespaces: { pod: {} }\nveths:\n  - ends: [{ namespace: pod, name: eth0 }, { namespace: host, name: lab0 }]\n",
        );
        netform(&["apply", "-f", SPEC]).ok();
        sh("rm /run/netform/lab.json; sed -i 's/^name: lab$/name: site/' /run/lab.yaml").ok();
        netform(&["apply", "-f", SPEC, "--adopt-from", "lab", "--yes"]).ok();
        assert!(
            netform(&["apply", "-f", SPEC])
                .ok()
                .starts_with("No changes.")
        );
        netform(&["destroy", "site", "--yes"]).ok();
        assert_ne!(sh("ip netns exec pod true").status, 0);
    });
}
