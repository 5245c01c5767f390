//! What runs in a namespace that a failed apply had removed goes on in it.

mod common;

use std::fs;

use common::{in_sandbox, netform, sh};

const SPEC: &str = "/run/lab.yaml";

/// A setting that the kernel takes, and gives back as another text: so an apply fails at its very end.
const FAILS: &str = "sysctls: { net.ipv4.conf.all.tag: '07' }";

fn write(a: &str, b: &str) {
    let veth = |ns: &str, third: u8| {
        format!(
            "  - ends:
      - {{ namespace: {ns}, name: eth0, addresses: [10.7.{third}.2] }}
      - {{ namespace: host, name: to-{ns}, addresses: [10.7.{third}.1] }}
"
        )
    };
    let subnet = |name: &str, third: u8| {
        format!("  {name}: {{ cidr: 10.7.{third}.0/24, gateway: 10.7.{third}.1, egress: {{}} }}\n")
    };
    let text = format!(
        "version: 1
name: lab
namespaces: {{ {a} b: {{ {b} }} }}
subnets:\n{}{}veths:\n{}{}",
        if a.is_empty() {
            String::new()
        } else {
            subnet("l1", 1)
        },
        subnet("l2", 2),
        if a.is_empty() {
            String::new()
        } else {
            veth("a", 1)
        },
        veth("b", 2)
    );
    fs::write(SPEC, text).expect("write");
}

/// Starts a server in a namespace, and waits until it listens.
fn serve() -> String {
    let server = "import socket; s = socket.create_server((\"\", 80))\nwhile True: s.accept()[0].send(b\"here\")";
    fs::write("/run/server.py", server).expect("write");
    let pid = sh("ip netns exec a python3 /run/server.py >/dev/null 2>&1 & echo $!").ok();
    sh("until ip netns exec a ss -ltn | grep -q :80; do sleep 0.02; done").ok();
    pid.trim().to_owned()
}

#[test]
fn processes_survive_a_removal_that_is_undone() {
    in_sandbox(|| {
        write("a: {},", "");
        netform(&["apply", "-f", SPEC]).ok();
        let pid = serve();
        // Something that netform knows nothing of.
        sh("ip -n a link add mine type bridge; ip -n a address add 10.8.0.1/24 dev mine").ok();
        let inode = || sh("stat -c %i /run/netns/a").ok();
        let before = inode();
        write("", FAILS);
        let output = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert!(
            output
                .stderr
                .contains("Everything that had been done is undone."),
            "{}",
            output.stderr
        );
        assert_eq!(inode(), before);
        sh("ip -n a address show dev mine | grep -q 10.8.0.1/24").ok();
        let asked =
            "import socket; print(socket.create_connection((\"10.7.1.2\", 80), 10).recv(4))";
        assert_eq!(sh(&format!("python3 -c '{asked}'")).ok(), "b'here'\n");
        sh("ip netns exec a ping -c1 -W20 198.51.100.10").ok();
        write("a: {},", "");
        assert_eq!(
            netform(&["plan", "-f", SPEC]).ok(),
            "No changes. lab is as the spec says.\n"
        );
        // It is in the record again, so it can go.
        write("", "");
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        assert!(fs::metadata("/run/netns/a").is_err());
        sh(&format!("kill {pid}")).ok();
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}

#[test]
fn without_going_back_a_namespace_that_went_is_gone() {
    in_sandbox(|| {
        write("a: {},", "");
        netform(&["apply", "-f", SPEC]).ok();
        write("", FAILS);
        let output = netform(&["apply", "-f", SPEC, "--yes", "--no-rollback"]);
        assert_eq!(output.status, 4, "{}", output.stderr);
        assert!(fs::metadata("/run/netns/a").is_err());
        write("a: {},", "");
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("ip netns exec a ping -c1 -W20 198.51.100.10").ok();
        netform(&["destroy", "lab", "--yes"]).ok();
    });
}

#[test]
fn what_somebody_takes_away_meanwhile_is_made_again() {
    in_sandbox(|| {
        for what in [
            "ip link del to-b",
            "ip -n b link del eth0",
            "ip -n b addr del 10.7.2.2/24 dev eth0",
            "nft delete table inet netform-lab",
            "ip netns del b",
        ] {
            for _ in 0..4 {
                write("", "");
                let breaking = sh(&format!(
                    "(until {what}; do :; done) >/dev/null 2>&1 & echo $!"
                ));
                let breaking = breaking.ok().trim().to_owned();
                let output = netform(&["apply", "-f", SPEC, "--yes"]);
                sh(&format!(
                    "while [ -d /proc/{breaking} ]; do sleep 0.01; done"
                ))
                .ok();
                // Unless it came once all was done.
                if output.status != 0 || !output.stderr.is_empty() {
                    assert_eq!(output.status, 0, "{what}: {}", output.stderr);
                    assert!(output.stderr.contains("planned again"), "{}", output.stderr);
                    let plan = netform(&["plan", "-f", SPEC]).ok();
                    assert_eq!(plan, "No changes. lab is as the spec says.\n", "{what}");
                }
                netform(&["destroy", "lab", "--yes"]).ok();
            }
        }
    });
}
