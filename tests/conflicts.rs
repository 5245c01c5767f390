//! What stands in the way, and tags that somebody forged: a person is told, and nothing is changed.

mod common;

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/lab.yaml";

/// A namespace with a link to the host, an address there on a link of others, a route, a rule and a file.
const LAB: &str = "\
version: 1
name: lab
namespaces:
  pod:
    dns: { nameservers: [198.51.100.53] }
  host:
    links: { ens33: { addresses: [192.168.95.77/24] } }
    routes: [{ to: 10.90.0.0/16, via: 10.9.0.2 }]
    rules: [{ priority: 700, from: 10.9.0.0/24, table: 70 }]
veths:
  - ends:
      - { namespace: pod, name: eth0, addresses: [10.9.0.2/24] }
      - { namespace: host, name: lab0, addresses: [10.9.0.1/24] }
";

fn lab() {
    std::fs::write(SPEC, LAB).expect("written");
}

/// Everything that the spec needs and that can stand alone, made by hand.
const BY_HAND: &str = "
    ip netns add pod
    mkdir -p /etc/netns/pod; echo search x >/etc/netns/pod/resolv.conf
    ip link add lab0 type ifb; ip link set lab0 up; ip address add 10.9.0.3/24 dev lab0
    ip address add 192.168.95.77/24 dev ens33
    ip route add 10.90.0.0/16 via 10.9.0.2
    ip rule add priority 700 from 10.9.0.0/24 table 70";

/// Plans and applies what can't be, and returns what it says.
#[track_caller]
fn refused(also: &[&str]) -> String {
    let before = world();
    let mut said = String::new();
    for verb in ["plan", "apply"] {
        let mut arguments = vec![verb, "-f", SPEC];
        arguments.extend(also);
        if verb == "apply" {
            arguments.push("--yes");
        }
        let output = netform(&arguments);
        assert_eq!(output.status, 1, "{}{}", output.stdout, output.stderr);
        assert_same_world(&before, &world());
        said = output.stderr;
    }
    said
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn all_that_stands_in_the_way_is_told_at_once() {
    in_sandbox(|| {
        lab();
        sh(BY_HAND).ok();
        let said = refused(&[]);
        says(
            &said,
            &[
                "namespace pod exists, and netform didn't make it: `ip netns add` seems to have made it",
                "file /etc/netns/pod/resolv.conf exists",
                "give it another name at /run/lab.yaml:4:3",
                "`ip netns delete pod`",
                "link lab0 on the host exists, and netform didn't make it: it was made by hand",
                "it stands there as: ifb lab0",
                "give it another name at /run/lab.yaml:13:34",
                "`ip link delete lab0`",
                "address 192.168.95.77 on ens33 on the host exists",
                "write another one at /run/lab.yaml:7:35",
                "`ip address delete 192.168.95.77/24 dev ens33`",
                "route 10.90.0.0/16 on the host exists",
                "write another one at /run/lab.yaml:8:20",
                "`ip route delete 10.90.0.0/16 table 254 metric 0`",
                "rule 700 from 10.9.0.0/24 on the host exists",
                "`ip rule delete priority 700`",
                "file /etc/netns/pod/resolv.conf exists",
                "`rm /etc/netns/pod/resolv.conf`",
                "6 things stand in the way: nothing was changed",
            ],
        );
        // The ways out lead out.
        for line in said
            .lines()
            .filter(|line| line.contains("remove it by hand"))
        {
            let (_, command) = line.split_once('`').expect("a command");
            let (command, _) = command.split_once('`').expect("its end");
            // The dummy takes the route with it.
            sh(&format!("{command} || ! ip link show lab0")).ok();
        }
        netform(&["apply", "-f", SPEC]).ok();
    });
}

#[test]
fn whose_it_seems_to_be_is_told_where_that_can_be_told() {
    in_sandbox(|| {
        let spec = |name: &str| {
            let text = format!(
                "version: 1\nname: lab\nnamespaces: {{ host: {{ links: {{ {name}: {{ bridge: {{}} }} }} }} }}\n"
            );
            std::fs::write(SPEC, text).expect("written");
        };
        sh("ip link add docker0 type bridge
            ip link add veth0a1b2c3 type ifb; ip link set veth0a1b2c3 master docker0
            ip link add named type ifb; ip link set named alias 'of the night shift'
            ip link add nm0 type ifb; ip link add nd0 type ifb; ip link add plain type ifb
            mkdir -p /run/NetworkManager/devices /run/systemd/netif/links
            printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/$(cat /sys/class/net/nm0/ifindex)
            printf '[device]\\nmanaged=false\\n' >/run/NetworkManager/devices/$(cat /sys/class/net/plain/ifindex)
            printf 'ADMIN_STATE=configured\\nNETWORK_FILE=/etc/x.network\\n' >/run/systemd/netif/links/$(cat /sys/class/net/nd0/ifindex)")
        .ok();
        for (link, whose) in [
            (
                "docker0",
                "it seems to be Docker's (its links have such names)",
            ),
            (
                "veth0a1b2c3",
                "it seems to be Docker's (it is a port of docker0)",
            ),
            ("named", "its alias is \"of the night shift\""),
            (
                "nm0",
                "it seems to be NetworkManager's (/run/NetworkManager/devices/",
            ),
            (
                "nd0",
                "it seems to be systemd-networkd's (/run/systemd/netif/links/",
            ),
            (
                "plain",
                "it was made by hand, or by a program that doesn't say so",
            ),
        ] {
            spec(link);
            says(
                &refused(&[]),
                &[&format!("link {link} on the host exists"), whose],
            );
        }
        let uuid = "cni-0a1b2c3d-0123-4567-89ab-0123456789ab";
        sh(&format!(
            "ip netns add {uuid}; ip netns add boxed; mkdir -p /run/docker/netns
            touch /run/docker/netns/0a1b; mount --bind /run/netns/boxed /run/docker/netns/0a1b"
        ))
        .ok();
        for (namespace, whose) in [
            (uuid, "it seems to be containerd or CRI-O's"),
            (
                "boxed",
                "it seems to be Docker's (/run/docker/netns/0a1b is the same one)",
            ),
        ] {
            std::fs::write(
                SPEC,
                format!("version: 1\nname: lab\nnamespaces: {{ {namespace}: {{}} }}\n"),
            )
            .expect("written");
            says(&refused(&[]), &[whose]);
        }
    });
}

#[test]
fn the_number_of_a_protocol_tells_whose_a_route_or_a_rule_is() {
    in_sandbox(|| {
        lab();
        sh(
            "ip link add away type ifb; ip link set away up; ip address add 10.9.9.1/24 dev away
            ip route add 10.90.0.0/16 via 10.9.9.2 proto bird
            ip rule add priority 700 from 10.9.0.0/24 table 70 protocol 18",
        )
        .ok();
        let said = refused(&[]);
        says(
            &said,
            &[
                "route 10.90.0.0/16 on the host exists, and netform didn't make it: it seems to be BIRD's \
                 (its protocol number is 12)",
                "it seems to be keepalived's (its protocol number is 18)",
                "2 things stand in the way",
            ],
        );
        // A single one isn't counted.
        sh("ip rule del priority 700").ok();
        assert!(!refused(&[]).contains("things stand in the way"));
    });
}

#[test]
fn what_another_topology_has_is_told_with_its_name() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        let other = LAB.replace("name: lab\n", "name: lab2\n");
        std::fs::write(SPEC, other).expect("written");
        let said = refused(&[]);
        says(
            &said,
            &[
                "namespace pod belongs to topology lab",
                "link lab0 on the host belongs to topology lab",
                "address 192.168.95.77 on ens33 on the host belongs to topology lab",
                "route 10.90.0.0/16 on the host belongs to topology lab",
                "rule 700 from 10.9.0.0/24 on the host belongs to topology lab",
                "either give it another name at /run/lab.yaml:4:3,",
                "or `netform destroy lab` first",
                "or rename all of lab with `--adopt-from lab`, if this topology is to take its place",
            ],
        );
        // Nothing of a topology whose name begins alike.
        let before = world();
        let nothing = netform(&["destroy", "lab2", "--yes"]).ok();
        assert!(
            nothing.contains("There is nothing of lab2 here"),
            "{nothing}"
        );
        assert_same_world(&before, &world());
    });
}

fn destroy() -> Output {
    netform(&["destroy", "lab", "--yes"])
}

#[test]
fn an_alias_that_was_copied_is_no_tag() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip link add theirs type ifb; ip link set theirs alias netform:lab").ok();
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("ip link show theirs").ok();
        destroy().ok();
        sh("ip link show theirs; ip link set theirs name lab0").ok();
        let said = refused(&[]);
        says(
            &said,
            &[
                "link lab0 on the host has the alias of topology lab's links, but not their group number",
                "so it is left alone",
            ],
        );
    });
}

#[test]
fn a_tag_that_an_inmate_rewrote_stops_everything() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        for (alias, tag) in [
            ("netform:other", "the tag of topology other"),
            ("netform:lab2", "the tag of topology lab2"),
            ("netform:lab\tmine", "no tag"),
            ("netform: lab", "no tag"),
            ("", "no tag"),
        ] {
            sh(&format!("ip -n pod link set lo alias '{alias}'")).ok();
            let line = format!(
                "namespace pod carries {tag}, but this topology's record says that it made it"
            );
            let way = "`ip -n pod link set lo alias netform:lab`";
            says(&refused(&[]), &[&line, way]);
            let before = world();
            let kept = destroy();
            assert_eq!(kept.status, 1, "{}{}", kept.stdout, kept.stderr);
            says(&kept.stderr, &[&line, way]);
            assert_same_world(&before, &world());
            // Who is named there doesn't get it.
            netform(&["destroy", "other", "--yes"]).ok();
            assert_same_world(&before, &world());
        }
        sh("ip -n pod link set lo alias netform:lab").ok();
        destroy().ok();
        assert_ne!(sh("ip netns exec pod true").status, 0);
    });
}

#[test]
fn a_topology_doesnt_get_a_namespace_by_a_forged_tag() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip -n pod link set lo alias netform:thief").ok();
        std::fs::write(
            "/run/thief.yaml",
            "version: 1\nname: thief\nnamespaces: { pod: {} }\n",
        )
        .expect("written");
        let before = world();
        let stopped = netform(&["apply", "-f", "/run/thief.yaml", "--yes"]);
        assert_eq!(stopped.status, 1, "{}", stopped.stdout);
        says(
            &stopped.stderr,
            &[
                "namespace pod carries the tag of topology thief, but the record of topology lab says",
            ],
        );
        assert_same_world(&before, &world());
        // With no record at all nothing says whose it is but the tag.
        sh("ip netns add lone; ip -n lone link set lo alias netform:thief").ok();
        std::fs::write(
            "/run/thief.yaml",
            "version: 1\nname: thief\nnamespaces: { lone: {} }\n",
        )
        .expect("written");
        let stopped = netform(&["apply", "-f", "/run/thief.yaml", "--yes"]);
        assert_eq!(stopped.status, 1, "{}", stopped.stdout);
        says(
            &stopped.stderr,
            &["namespace lone says that it belongs to topology thief, and nothing else does"],
        );
        // What another topology's record names isn't taken over either.
        sh("ip -n pod link set lo alias ''").ok();
        let spec = "version: 1\nname: thief\nnamespaces: { pod: {} }\n";
        std::fs::write("/run/thief.yaml", spec).expect("written");
        let stopped = netform(&["apply", "-f", "/run/thief.yaml", "--adopt", "--yes"]);
        assert_eq!(stopped.status, 1, "{}", stopped.stdout);
        says(
            &stopped.stderr,
            &["namespace pod carries no tag, but the record of topology lab"],
        );
    });
}

#[test]
fn a_record_that_was_edited_gives_nothing_of_others_away() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip netns add prod
            ip route add 10.91.0.0/16 via 192.168.95.1; ip rule add priority 701 from 10.3.0.0/16 table 71
            python3 - <<'END'
import json
path = '/run/netform/lab.json'
record = json.load(open(path))
record['namespaces'].append('prod')
claims = record['claims']
for claim in list(claims):
    text = json.dumps(claim)
    claims.append(json.loads(text.replace('10.90.', '10.91.').replace('700', '701').replace('10.9.0.0', '10.3.0.0')))
json.dump(record, open(path, 'w'))
END")
        .ok();
        let before = world();
        let kept = destroy();
        assert_eq!(kept.status, 1, "{}{}", kept.stdout, kept.stderr);
        says(
            &kept.stderr,
            &[
                "namespace prod carries no tag, but this topology's record says that it made it",
                "strike \"prod\" out of `namespaces` in /run/netform/lab.json",
            ],
        );
        assert_same_world(&before, &world());
        sh("sed -i 's/, \"prod\"//' /run/netform/lab.json").ok();
        destroy().ok();
        sh("ip netns exec prod true; ip route show 10.91.0.0/16 | grep -q via; ip rule | grep -q 701")
        .ok();
    });
}

#[test]
fn a_namespace_that_goes_names_who_and_what_is_inside() {
    in_sandbox(|| {
        lab();
        netform(&["apply", "-f", SPEC]).ok();
        sh("ip -n pod link add theirs type ifb; ip -n pod link set theirs up
            ip -n pod address add 10.55.0.1/24 dev theirs; ip -n pod address add 10.56.0.1/24 dev eth0
            ip -n pod route add 10.57.0.0/16 via 10.55.0.9
            ip netns exec pod sleep 654 >/dev/null 2>&1 & echo $! >/run/pid
            for i in $(seq 200); do ip netns pids pod | grep -q . && exit 0; sleep 0.05; done; exit 1")
        .ok();
        let pid = sh("ip netns pids pod").ok();
        for arguments in [&["destroy", "lab"][..], &["apply", "-f", "/run/none.yaml"]] {
            std::fs::write("/run/none.yaml", "version: 1\nname: lab\n").expect("written");
            let before = world();
            let asks = netform(arguments);
            assert_eq!(asks.status, 1, "{}{}", asks.stdout, asks.stderr);
            let process = format!("!  process {} (sleep 654) is inside", pid.trim());
            says(
                &asks.stdout,
                &[
                    &process,
                    "!  link theirs isn't netform's and goes with namespace pod",
                    "!  address 10.55.0.1 on theirs isn't netform's and goes with namespace pod",
                    "!  address 10.56.0.1 on eth0 isn't netform's and goes with",
                    "!  route 10.57.0.0/16 isn't netform's and goes with namespace pod",
                ],
            );
            says(&asks.stderr, &["`--yes`"]);
            assert_same_world(&before, &world());
        }
        destroy().ok();
        // It lives on.
        sh(&format!("kill {}", pid.trim())).ok();
        // Who isn't inside isn't named.
        netform(&["apply", "-f", SPEC]).ok();
        let quiet = netform(&["destroy", "lab"]);
        assert!(!quiet.stdout.contains("process"), "{}", quiet.stdout);
    });
}

#[test]
fn hundreds_of_one_reason_are_not_all_told() {
    in_sandbox(|| {
        let names: Vec<String> = (100..123).map(|number| format!("n{number}")).collect();
        let spaces = names.join(": {}, ");
        let spec = format!("version: 1\nname: lab\nnamespaces: {{ {spaces}: {{}} }}\n");
        std::fs::write(SPEC, spec).expect("written");
        for name in &names {
            sh(&format!("ip netns add {name}")).ok();
        }
        let said = refused(&[]);
        assert_eq!(said.matches("error: namespace n").count(), 20, "{said}");
        says(
            &said,
            &[
                "\n… and 3 more, the next of which is namespace n120\n",
                "\n23 things stand in the way: nothing was changed.\n",
            ],
        );

        // So it is with what is wrong in a spec.
        let subnets: Vec<String> = (0..25)
            .map(|at| format!("s{at}: {{ cidr: 10.0.{at}.1/24 }}"))
            .collect();
        let spec = format!(
            "version: 1\nname: lab\nsubnets: {{ {} }}\n",
            subnets.join(", ")
        );
        std::fs::write(SPEC, spec).expect("written");
        let said = refused(&[]);
        assert_eq!(said.matches("error: ").count(), 20, "{said}");
        assert!(said.ends_with("\n… and 5 more\n"), "{said}");
    });
}
