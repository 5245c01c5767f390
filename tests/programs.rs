//! Other programs that configure networks: what a plan says of them, and what has them leave netform's alone.

mod common;

use std::fs;

use common::{in_sandbox, netform, sh};

const FILE: &str = "/run/lab.yaml";

/// A namespace `a` behind a link of the host. `host` goes into the host's entry.
fn lab(link: &str, host: &str) -> String {
    format!(
        "version: 1
name: lab
namespaces:
  a: {{}}
  host: {{{host}}}
subnets:
  lab: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {{ dev: ens33 }} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.7.0.2] }}
      - {{ namespace: host, name: {link}, addresses: [10.7.0.1] }}
"
    )
}

/// The warnings of the plan of a spec.
#[track_caller]
fn warnings(spec: &str) -> Vec<String> {
    fs::write(FILE, spec).expect("write");
    let plan = netform(&["plan", "-f", FILE]).ok();
    let lines = plan.lines().filter_map(|line| line.strip_prefix("  !  "));
    lines.map(str::to_owned).collect()
}

/// That the plan of a spec says one thing, which has all of these words.
#[track_caller]
fn says(spec: &str, words: &[&str]) {
    let warnings = warnings(spec);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for word in words {
        assert!(warnings[0].contains(word), "{word}: {}", warnings[0]);
    }
}

#[track_caller]
fn silent(spec: &str) {
    assert_eq!(warnings(spec), [""; 0]);
}

/// What systemd-networkd leaves in `/run` of a link.
fn noted(link: &str, state: &str) -> String {
    format!(
        "mkdir -p /run/systemd/netif/links /run/systemd/network
        printf '[Match]\\nName=*\\n' > /run/systemd/network/10-up.network
        printf '# Do not parse.\\nADMIN_STATE={state}\\nNETWORK_FILE=/run/systemd/network/10-up.network\\n' \\
            > /run/systemd/netif/links/$(cat /sys/class/net/{link}/ifindex)"
    )
}

/// Hides what this machine has of the programs' files.
const ALONE: &str = "
    for d in /etc/udev /etc/systemd /etc/NetworkManager /usr/lib/NetworkManager /usr/lib/systemd/networkd.conf.d \
            /usr/local/lib/systemd; do
        [ ! -d $d ] || mount -t tmpfs none $d
    done
";

const ROUTE: &str = " routes: [{ to: 10.60.0.0/16, via: 192.168.95.9 }] ";
const OWN_ROUTE: &str = " routes: [{ to: 10.60.0.0/16, via: 10.7.0.2 }] ";
const HOLE: &str = " routes: [{ to: 10.60.0.0/16, type: blackhole }] ";
const RULE: &str = " rules: [{ priority: 100, from: 10.7.0.0/24, table: 7 }] ";
const ADDRESS: &str = " links: { ens33: { addresses: [192.168.95.77/24] } } ";

#[test]
fn what_networkd_would_remove_is_told() {
    in_sandbox(|| {
        sh(ALONE).ok();
        let spec = |host: &str| lab("to-a", host);
        for host in [ROUTE, RULE, ADDRESS] {
            silent(&spec(host));
        }
        sh(&noted("ens33", "configured")).ok();
        silent(&spec(""));
        silent(&spec(OWN_ROUTE));
        let drop_in = "/etc/systemd/networkd.conf.d/50-netform.conf";
        for host in [ROUTE, HOLE] {
            says(
                &spec(host),
                &[
                    "removes routes",
                    "write ManageForeignRoutes=no below",
                    drop_in,
                ],
            );
        }
        says(
            &spec(RULE),
            &[
                "removes rules",
                "write ManageForeignRoutingPolicyRules=no below",
            ],
        );
        let both = format!("{},{}", ROUTE.trim(), RULE.trim());
        says(
            &spec(&both),
            &[
                "routes and rules",
                "=no and ManageForeignRoutingPolicyRules=no",
            ],
        );
        says(
            &spec(ADDRESS),
            &[
                "addresses",
                "on ens33",
                "KeepConfiguration=static",
                "/etc/systemd/network/10-up.network.d/",
            ],
        );

        // What each warning says to do.
        let write = |text: &str| {
            sh(&format!(
                "mkdir -p /etc/systemd/networkd.conf.d; printf '[Network]\\n{text}\\n' > {drop_in}"
            ))
            .ok();
        };
        write("ManageForeignRoutes=no");
        silent(&spec(ROUTE));
        says(&spec(RULE), &["rules"]);
        write("ManageForeignRoutingPolicyRules=no");
        silent(&spec(RULE));
        says(&spec(ROUTE), &["routes"]);
        // A later file, and a section that isn't the one.
        sh("printf '[Network]\\nManageForeignRoutes=no\\n' > /etc/systemd/networkd.conf.d/10-x.conf").ok();
        write("ManageForeignRoutes=yes\\n[DHCPv4]\\nManageForeignRoutes=no");
        says(&spec(ROUTE), &["routes"]);
        sh(&format!("rm {drop_in}")).ok();
        silent(&spec(ROUTE));
        sh("rm /etc/systemd/networkd.conf.d/10-x.conf
            mkdir -p /etc/systemd/network/10-up.network.d
            printf '[Network]\\nKeepConfiguration=static\\n' > /etc/systemd/network/10-up.network.d/50-netform.conf")
        .ok();
        silent(&spec(ADDRESS));
        says(&spec(ROUTE), &["routes"]);
        sh("sed -i s/static/yes/ /etc/systemd/network/10-up.network.d/50-netform.conf").ok();
        for host in [ROUTE, RULE, ADDRESS] {
            silent(&spec(host));
        }
        sh("rm -r /etc/systemd/network/10-up.network.d").ok();

        // What it doesn't manage, and when it doesn't run.
        sh(&noted("ens33", "unmanaged")).ok();
        silent(&spec(&both));
        sh(&noted("ens33", "configured")).ok();
        says(&spec(&both), &["routes and rules"]);
        sh("mkdir /run/systemd/units").ok();
        silent(&spec(&both));
        sh("ln -s 1 /run/systemd/units/invocation:systemd-networkd.service").ok();
        says(&spec(&both), &["routes and rules"]);
    });
}

#[test]
fn a_link_that_networkd_manages_too_is_told_of() {
    in_sandbox(|| {
        let spec = lab("to-a", "");
        silent(&spec);
        netform(&["apply", "-f", FILE]).ok();
        sh(&noted("to-a", "configured")).ok();
        says(
            &spec,
            &[
                "manages to-a, by /run/systemd/network/10-up.network",
                "--hints",
            ],
        );
        sh(&noted("to-a", "unmanaged")).ok();
        silent(&spec);
    });
}

/// The rule by which NetworkManager leaves veths alone (its `85-nm-unmanaged.rules`).
const NM_RULE: &str = r#"mkdir -p /run/udev/rules.d
    echo 'ENV{ID_NET_DRIVER}=="veth", ENV{INTERFACE}!="eth[0-9]*", ENV{NM_UNMANAGED}="1"' \
        > /run/udev/rules.d/85-nm-unmanaged.rules"#;

#[test]
fn a_veth_that_network_manager_takes_is_told_of() {
    in_sandbox(|| {
        sh(ALONE).ok();
        sh(NM_RULE).ok();
        let eth = lab("eth7", "");
        let other = lab("to-a", "");
        silent(&eth);
        sh("mkdir /run/NetworkManager").ok();
        silent(&other);
        says(&eth, &["NetworkManager is set to manage eth7", "--hints"]);
        let conf = |text: &str| {
            sh(&format!("mkdir -p /etc/NetworkManager/conf.d; printf '{text}\\n' > /etc/NetworkManager/conf.d/50-x.conf"))
                .ok();
        };
        conf("[keyfile]\\nunmanaged-devices+=interface-name:eth7");
        silent(&eth);
        conf("[device-x]\\nmatch-device=interface-name:to-*\\nmanaged=1");
        says(
            &other,
            &["set to manage to-a", "except:interface-name:NAME"],
        );
        conf(
            "[device-x]\\nmatch-device=interface-name:to-*;except:interface-name:to-a\\nmanaged=1",
        );
        silent(&other);
        conf("# nothing");
        says(&eth, &["eth7"]);
        // What the warning says to do.
        sh(&format!("{}/netform show --hints | sh", bin())).ok();
        silent(&eth);
        // A link of the rule's name that isn't up, and one in a namespace, are none of its business.
        sh("rm /etc/udev/rules.d/79-netform.rules").ok();
        says(&eth, &["eth7"]);
        silent(&eth.replace("name: eth7,", "name: eth7, up: false,"));
        sh("echo > /run/udev/rules.d/85-nm-unmanaged.rules").ok();
        says(&other, &["set to manage to-a"]);
    });
}

/// The directory of the program.
fn bin() -> String {
    let path = env!("CARGO_BIN_EXE_netform");
    path.rsplit_once('/').expect("a directory").0.to_owned()
}

#[test]
fn the_hints_put_files_in_place_that_are_about_netforms_links() {
    in_sandbox(|| {
        sh(ALONE).ok();
        sh(&noted("ens33", "configured")).ok();
        let spec = lab("to-a", &format!("{},{}", ROUTE.trim(), RULE.trim()));
        assert_eq!(warnings(&spec).len(), 1);
        sh("[ ! -d /etc/iproute2 ] || mount -t tmpfs none /etc/iproute2").ok();
        sh(&format!("{}/netform show --hints | sh", bin())).ok();
        silent(&spec);
        netform(&["apply", "-f", FILE, "--yes"]).ok();

        // What the rule of udev matches is so on links of netform's, and on no other.
        let rules = fs::read_to_string("/etc/udev/rules.d/79-netform.rules").expect("written");
        let group = |link: &str| sh(&format!("cat /sys/class/net/{link}/netdev_group")).ok();
        let wanted = |link: &str| format!("ATTR{{netdev_group}}==\"{}\"", group(link).trim());
        assert!(rules.contains(&wanted("to-a")), "{rules}");
        assert!(!rules.contains(&wanted("ens33")));
        // The address was set when the link was made, so udev leaves it alone (NET_ADDR_SET).
        assert_eq!(sh("cat /sys/class/net/to-a/addr_assign_type").ok(), "3\n");
        let routes = sh("ip route show proto netform").ok();
        assert!(routes.contains("10.60.0.0/16"), "{routes}");

        let refused = netform(&["show", "lab", "--hints"]);
        assert_eq!(refused.status, 64, "{}", refused.stderr);
    });
}
