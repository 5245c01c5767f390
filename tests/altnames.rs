//! Links of the host by the other names that they go by, which may be longer than the kernel lets a name be.

mod common;

use common::{Output, assert_same_world, in_sandbox, netform, sh, world};

const SPEC: &str = "/run/spec.yaml";

/// As udev names a device by its path, or a company by the place of its socket.
const LONG: &str = "uplink-of-the-first-rack-in-the-second-room";

/// Runs netform with a spec of a namespace `a` behind the link `h1` of the host. `host` is what is said of
/// the host, and `dev` where the namespace leaves by.
fn run(arguments: &[&str], host: &str, dev: &str, name: &str) -> Output {
    let text = format!(
        "\
version: 1
name: altnames
namespaces:
  a: {{}}
  host: {{ {host} }}
subnets:
  lab: {{ cidr: 192.168.50.0/24, gateway: 192.168.50.3, egress: {{ dev: {dev} }} }}
veths:
  - ends:
      - {{ namespace: a, name: va, addresses: [192.168.50.2] }}
      - {{ namespace: host, name: {name}, addresses: [192.168.50.3] }}
"
    );
    std::fs::write(SPEC, text).expect("write");
    let (verb, rest) = arguments.split_first().expect("a verb");
    netform(&[&[*verb, "-f", SPEC], rest].concat())
}

#[test]
fn a_link_of_the_host_goes_by_its_other_names() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        sh(&format!(
            "ip link property add dev ens33 altname {LONG} altname short"
        ))
        .ok();
        let before = world();
        let host = |dev: &str| {
            format!(
                "routes: [{{ to: 10.8.0.0/16, via: 192.168.95.2, dev: {dev} }}], \
                 rules: [{{ priority: 700, iif: {dev}, to: 10.9.0.0/16, action: prohibit }}, \
                         {{ priority: 701, oif: {dev}, to: 10.9.0.0/16, action: prohibit }}], \
                 sysctls: {{ net/ipv4/conf/{dev}/rp_filter: 2 }}, \
                 links: {{ {dev}: {{ addresses: [192.168.95.99/24] }} }}"
            )
        };
        let said = run(&["plan"], &host(LONG), LONG, "h1").ok();
        assert!(!said.contains(LONG), "{said}");
        assert!(
            said.contains("route 10.8.0.0/16 via 192.168.95.2 dev ens33"),
            "{said}"
        );
        assert!(said.contains("iif ens33"), "{said}");
        assert!(said.contains("oif ens33"), "{said}");
        assert!(
            said.contains("sysctl net.ipv4.conf.ens33.rp_filter"),
            "{said}"
        );
        assert!(said.contains("address 192.168.95.99/24 on ens33"), "{said}");
        run(&["apply", "--yes"], &host(LONG), LONG, "h1").ok();
        sh("ip netns exec a ping -n -c1 -W10 192.168.95.2").ok();

        // It is all one, by whichever name.
        for dev in [LONG, "short", "ens33"] {
            run(&["plan", "--detailed-exitcode"], &host(dev), dev, "h1").ok();
        }
        netform(&["destroy", "altnames", "--yes"]).ok();
        sh(&format!("rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_name_that_no_link_goes_by_is_an_error() {
    in_sandbox(|| {
        sh(&format!(
            "ip link property add dev ens33 altname {LONG} altname short"
        ))
        .ok();
        let near = LONG.replace("second", "secnd");
        let route = format!("routes: [{{ to: 10.8.0.0/16, dev: {near} }}]");
        let refused = run(&["plan"], &route, "ens33", "h1");
        assert_eq!(refused.status, 1, "{refused:?}");
        let said = refused.stderr;
        assert!(
            said.contains(&format!("no link of the host goes by the name `{near}`")),
            "{said}"
        );
        assert!(said.contains(&format!("did you mean `{LONG}`?")), "{said}");

        let refused = run(&["plan"], "", &near, "h1");
        assert!(
            refused.stderr.contains(&format!("did you mean `{LONG}`?")),
            "{refused:?}"
        );

        // The kernel would not make a link of that name.
        let refused = run(&["plan"], "", "ens33", "short");
        assert!(
            refused
                .stderr
                .contains("`ens33` of the host goes by the name `short` too"),
            "{refused:?}"
        );
        assert!(
            refused
                .stderr
                .contains("ip link property del dev ens33 altname short"),
            "{refused:?}"
        );

        let twice =
            "links: { short: { addresses: [10.7.0.1/24] }, ens33: { addresses: [10.7.1.1/24] } }";
        let refused = run(&["plan"], twice, "ens33", "h1");
        assert!(
            refused
                .stderr
                .contains("two entries are of the link `ens33`"),
            "{refused:?}"
        );
    });
}
