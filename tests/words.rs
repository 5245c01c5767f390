//! The words of a spec that say something of a namespace itself: `requires`, `hosts` and `sysctls`.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{assert_same_world, in_sandbox, netform, run, sh, world};
use serde_json::Value;

const SPEC: &str = "/run/spec.yaml";

/// Writes a spec of a namespace `a` with a link `v.1` to the host, which has `h1`. What is said of the two
/// namespaces is written in the manner of YAML's flow.
fn write(a: &str, host: &str) {
    let text = format!(
        "\
version: 1
name: words
namespaces: {{ a: {{ {a} }}, host: {{ {host} }} }}
veths:
  - ends:
      - {{ namespace: a, name: v.1, addresses: [192.168.50.2/24, fd50::2/64] }}
      - {{ namespace: host, name: h1, addresses: [192.168.50.3/24, fd50::3/64] }}
"
    );
    std::fs::write(SPEC, text).expect("write");
}

/// Applies the spec, with nothing left to be done.
fn apply() -> String {
    let done = netform(&["apply", "-f", SPEC, "--yes"]).ok();
    netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
    done
}

fn value(ns: &str, sysctl: &str) -> String {
    let inside = if ns == "host" {
        String::new()
    } else {
        format!("ip netns exec {ns} ")
    };
    let value = sh(&format!("{inside}cat /proc/sys/net/{sysctl}")).ok();
    value.trim().to_owned()
}

/// Applies what `first` writes, lets `then` go on, and destroys it: the host is then what it was.
fn story(first: (&str, &str), then: impl FnOnce()) {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let before = world();
        write(first.0, first.1);
        apply();
        then();
        netform(&["destroy", "words", "--yes"]).ok();
        sh(&format!("rm {SPEC}")).ok();
        assert_same_world(&before, &world());
    });
}

#[test]
fn a_namespace_knows_hosts_by_name() {
    let hosts = "hosts: { h.lab: 192.168.50.3, both: [192.168.50.3, 'fd50::3'] }";
    story((hosts, ""), || {
        let names = |name: &str| {
            let found = netform(&["exec", "a", "--", "getent", "ahosts", name]);
            found.ok()
        };
        assert!(names("h.lab").starts_with("192.168.50.3 "));
        assert!(names("both").contains("fd50::3"));
        assert!(names("localhost").contains("127.0.0.1"));
        sh("ip netns exec a ping -c1 -W10 h.lab").ok();

        sh("echo 192.0.2.1 h.lab >>/etc/netns/a/hosts").ok();
        let plan = netform(&["plan", "-f", SPEC]).ok();
        assert!(plan.contains("~  file /etc/netns/a/hosts"), "{plan}");
        apply();
        assert!(!names("h.lab").contains("192.0.2.1"));

        write("", "");
        let done = apply();
        assert!(done.contains("-  file /etc/netns/a/hosts"), "{done}");
        assert_eq!(sh("test -e /etc/netns/a/hosts").status, 1);
    });
}

#[test]
fn sysctls_of_a_namespace_are_set_before_and_after_its_links() {
    let sysctls = "sysctls: {
        net.ipv4.conf.default.rp_filter: 2,
        net.ipv6.conf.all.ignore_routes_with_linkdown: true,
        net/ipv6/conf/v.1/ignore_routes_with_linkdown: false,
        net.ipv4.conf.v/1.arp_notify: 1,
        net.ipv4.conf.all.accept_redirects: 0,
        net.ipv4.tcp_rmem: '4096  65536 131072',
        net.ipv4.tcp_congestion_control: reno }";
    story((sysctls, ""), || {
        for (sysctl, expected) in [
            ("ipv4/conf/default/rp_filter", "2"),
            ("ipv4/conf/v.1/rp_filter", "2"),
            ("ipv6/conf/all/ignore_routes_with_linkdown", "1"),
            ("ipv6/conf/default/ignore_routes_with_linkdown", "1"),
            ("ipv6/conf/v.1/ignore_routes_with_linkdown", "0"),
            ("ipv4/conf/v.1/arp_notify", "1"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/tcp_rmem", "4096\t65536\t131072"),
            ("ipv4/tcp_congestion_control", "reno"),
        ] {
            assert_eq!(value("a", sysctl), expected, "{sysctl}");
        }
        // Drift, and what the mending of one does to others, is mended in one apply.
        for drift in [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.ignore_routes_with_linkdown=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.tcp_rmem='4096 4096 8192'",
        ] {
            sh(&format!("ip netns exec a sysctl -qw {drift}")).ok();
            let plan = netform(&["plan", "-f", SPEC]).ok();
            assert!(plan.contains("~  sysctl net.ip"), "{plan}");
            apply();
            assert_eq!(value("a", "ipv6/conf/v.1/ignore_routes_with_linkdown"), "0");
            assert_eq!(value("a", "ipv4/conf/all/accept_redirects"), "0");
        }
        // A link that is made anew has its own again.
        sh("ip link del h1").ok();
        apply();
        assert_eq!(value("a", "ipv4/conf/v.1/arp_notify"), "1");
        // What leaves the spec stays.
        write("", "");
        apply();
        assert_eq!(value("a", "ipv4/conf/v.1/arp_notify"), "1");
    });
}

#[test]
fn a_value_for_later_links_leaves_those_that_have_their_own() {
    story(("sysctls: { net/ipv4/conf/v.1/rp_filter: 0 }", ""), || {
        let two = "net.ipv4.conf.default.rp_filter: 2";
        write(
            &format!("sysctls: {{ net/ipv4/conf/v.1/rp_filter: 0, {two} }}"),
            "",
        );
        apply();
        assert_eq!(value("a", "ipv4/conf/v.1/rp_filter"), "0");
    });
}

#[test]
fn ipv6_goes_and_comes_with_its_switch() {
    in_sandbox(|| {
        write("", "");
        apply();
        let spec = std::fs::read_to_string(SPEC).expect("read");
        let off = spec.replace(", fd50::2/64", "").replace(
            "a: {",
            "a: { sysctls: { net.ipv6.conf.all.disable_ipv6: 1 }",
        );
        std::fs::write(SPEC, off).expect("write");
        apply();
        assert_eq!(sh("ip -n a -6 addr").ok(), "");
        write("sysctls: { net.ipv6.conf.all.disable_ipv6: 0 }", "");
        apply();
        sh("ip netns exec a ping -6 -c1 -W10 fd50::3").ok();
    });
}

#[test]
fn sysctls_of_the_host_are_borrowed() {
    let first = "sysctls: { net.ipv4.conf.ens33.arp_notify: 1, net.core.somaxconn: 1234, \
                 net.ipv4.conf.h1.rp_filter: 2 }";
    story(("", first), || {
        let other = |text: &str| {
            let text = format!(
                "version: 1\nname: other\nnamespaces: {{ host: {{ sysctls: {{ {text} }} }} }}\n"
            );
            std::fs::write("/run/other.yaml", text).expect("write");
        };
        assert_eq!(value("host", "core/somaxconn"), "1234");
        assert_eq!(value("host", "ipv4/conf/ens33/arp_notify"), "1");
        assert_eq!(value("host", "ipv4/conf/h1/rp_filter"), "2");
        // Two topologies can't want different values.
        other("net.core.somaxconn: 2000");
        let refused = netform(&["apply", "-f", "/run/other.yaml"]);
        assert_eq!(refused.status, 1);
        assert!(
            refused.stderr.contains("on loan to topology words"),
            "{}",
            refused.stderr
        );
        other("net.core.somaxconn: 1234");
        netform(&["apply", "-f", "/run/other.yaml"]).ok();
        write("", "sysctls: { net.core.somaxconn: 1234 }");
        apply();
        assert_eq!(value("host", "ipv4/conf/ens33/arp_notify"), "0");
        netform(&["destroy", "other", "--yes"]).ok();
        assert_eq!(value("host", "core/somaxconn"), "1234");
        // Another value, and back to what was before netform came.
        write("", "sysctls: { net.core.somaxconn: 5000 }");
        apply();
        assert_eq!(value("host", "core/somaxconn"), "5000");
        sh("rm /run/other.yaml").ok();
    });
}

#[test]
fn a_borrowed_sysctl_that_somebody_changed_is_theirs() {
    in_sandbox(|| {
        write("", "sysctls: { net.core.somaxconn: 1234 }");
        apply();
        sh("sysctl -qw net.core.somaxconn=77").ok();
        let destroyed = netform(&["destroy", "words", "--yes"]).ok();
        assert!(
            destroyed.contains("somebody changed it meanwhile"),
            "{destroyed}"
        );
        assert_eq!(value("host", "core/somaxconn"), "77");
    });
}

#[test]
fn a_sysctl_that_the_kernel_lacks_or_refuses_changes_nothing() {
    in_sandbox(|| {
        sh("ip netns add first && ip netns del first").ok();
        let refused = |a: &str, host: &str, status: i32, why: &str| {
            write(a, host);
            let before = world();
            let output = netform(&["apply", "-f", SPEC]);
            assert_eq!(output.status, status, "{}", output.stderr);
            assert!(output.stderr.contains(why), "{}", output.stderr);
            assert_same_world(&before, &world());
        };
        refused(
            "",
            "sysctls: { net.ipv4.nonsense: 1 }",
            1,
            "there is no sysctl net.ipv4.nonsense on the host",
        );
        refused(
            "sysctls: { net.ipv4.nonsense: 1 }",
            "",
            1,
            "there is no /proc/sys/net/ipv4/nonsense",
        );
        refused(
            "sysctls: { net.ipv4.tcp_congestion_control: reno, net.ipv4.ip_default_ttl: 9999 }",
            "",
            1,
            "the kernel doesn't take \"9999\" for /proc/sys/net/ipv4/ip_default_ttl",
        );
        let spec = std::fs::read_to_string(SPEC).expect("read");
        std::fs::write(SPEC, format!("requires: \"99.1\"\nfuture: 1\n{spec}")).expect("write");
        let output = netform(&["validate", "-f", SPEC]);
        assert_eq!(output.status, 1);
        assert!(
            output.stderr.contains("needs netform 99.1 or newer")
                && !output.stderr.contains("future"),
            "{}",
            output.stderr
        );
    });
}

#[test]
fn an_apply_that_fails_keeps_what_was_on_loan_before() {
    in_sandbox(|| {
        write("", "sysctls: { net.core.somaxconn: 1234 }");
        apply();
        write(
            "sysctls: { net.ipv4.ip_default_ttl: 9999 }",
            "sysctls: { net.core.somaxconn: 2000 }",
        );
        let output = netform(&["apply", "-f", SPEC, "--yes"]);
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert_eq!(value("host", "core/somaxconn"), "1234");
        write("", "sysctls: { net.core.somaxconn: 1234 }");
        netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
        netform(&["destroy", "words", "--yes"]).ok();
        assert_ne!(value("host", "core/somaxconn"), "1234");
    });
}

#[test]
fn what_the_gateways_need_is_not_for_sysctls() {
    in_sandbox(|| {
        for (host, why) in [
            ("net.ipv4.conf.ens3.rp_filter: 1", "did you mean `ens33`?"),
            (
                "net.ipv6.conf.h1.accept_ra: 2",
                "contradicts what the gateways of the spec need there: 0",
            ),
        ] {
            write("", &format!("sysctls: {{ {host} }}"));
            let spec = std::fs::read_to_string(SPEC).expect("read");
            let subnet =
                "subnets: { six: { cidr: 'fd50::/64', gateway: 'fd50::3', egress: {} } }\n";
            std::fs::write(SPEC, spec + subnet).expect("write");
            let output = netform(&["plan", "-f", SPEC]);
            assert_eq!(output.status, 1);
            assert!(output.stderr.contains(why), "{}", output.stderr);
        }
    });
}

#[test]
fn what_topologies_own_is_shown() {
    in_sandbox(|| {
        assert_eq!(netform(&["show"]).ok(), "There is no topology here.\n");
        let was = value("host", "core/somaxconn");
        write(
            "hosts: { h: 192.168.50.3 }",
            "sysctls: { net.core.somaxconn: 1234 }",
        );
        apply();
        netform(&["apply", "-f", "specs/breezyfrost.yaml"]).ok();
        let list = netform(&["show"]).ok();
        let rows: Vec<Vec<&str>> = list
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(rows.len(), 3, "{list}");
        assert_eq!(
            rows[1],
            ["breezyfrost", "1", "2", "2", "1", "0", "1", "1", "1"]
        );
        assert_eq!(rows[2], ["words", "1", "2", "4", "0", "0", "1", "0", "1"]);
        let widths: Vec<usize> = list.lines().map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{list}");

        let one = netform(&["show", "words"]).ok();
        let lines: Vec<&str> = one.lines().collect();
        let borrowed = lines.last().expect("a line");
        assert_eq!(
            lines[..lines.len() - 1],
            [
                "words",
                "",
                "  namespace a",
                "     veth v.1 ⇄ host:h1",
                "     address 192.168.50.2/24 on v.1",
                "     address fd50::2/64 on v.1",
                "     file /etc/netns/a/hosts",
                "",
                "  namespace host",
                "     veth h1 ⇄ a:v.1",
                "     address 192.168.50.3/24 on h1",
                "     address fd50::3/64 on h1",
            ]
        );
        let expected = format!("     sysctl net.core.somaxconn = 1234  borrowed, was {was}");
        assert_eq!(*borrowed, expected);

        let unknown = netform(&["show", "nobody"]);
        assert_eq!(unknown.status, 1);
        assert!(
            unknown.stderr.contains("there are: breezyfrost, words"),
            "{}",
            unknown.stderr
        );
        // Without the record the links still tell.
        sh("rm /run/netform/words.json").ok();
        assert!(netform(&["show"]).ok().contains("\nwords "));
    });
}

#[test]
fn what_topologies_own_is_data_too() {
    let schema = netform(&["schema", "show"]).ok();
    let schema = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let shown = |arguments: &[&str]| -> Value {
        let text = netform(arguments).ok();
        let document = serde_json::from_str(&text).expect("JSON");
        let wrong: Vec<String> = validator
            .iter_errors(&document)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(wrong, [""; 0], "{text}");
        document
    };
    in_sandbox(|| {
        assert_eq!(
            shown(&["show", "-o", "json"])["topologies"],
            Value::Array(Vec::new())
        );
        for spec in ["pair", "breezyfrost-dual", "bridge"] {
            netform(&["apply", "-f", &format!("specs/{spec}.yaml"), "--yes"]).ok();
        }
        let all = shown(&["show", "-o", "json"]);
        let names = all["topologies"].as_array().expect("a list").iter();
        let names: Vec<&str> = names.filter_map(|one| one["topology"].as_str()).collect();
        assert_eq!(names, ["breezyfrost-dual", "bridge", "pair"]);
        let one = shown(&["show", "breezyfrost-dual", "-o", "json"]);
        assert_eq!(one["topologies"][0], all["topologies"][0]);
        let one = &one["topologies"][0];
        let has = |name: &str| {
            let mut resources = one["resources"].as_array().expect("a list").iter();
            resources.any(|resource| resource["name"] == name)
        };
        assert!(
            has("address 192.168.50.2 on veth1") && has("link veth1_p"),
            "{one}"
        );
        let borrowed = &one["borrowed"][0];
        assert_eq!(borrowed["sysctl"], "net.ipv4.conf.ens33.forwarding");
        assert_eq!(
            (&borrowed["value"], &borrowed["original"]),
            (&"1".into(), &"0".into())
        );
        let missing = netform(&["show", "nobody", "-o", "json"]);
        assert_eq!((missing.status, missing.stdout.as_str()), (1, ""));
    });
}

/// What netform answers to the script of a shell that asks for the last word of a command.
fn completed(words: &[&str]) -> Vec<String> {
    let netform = env!("CARGO_BIN_EXE_netform");
    let mut asking = Command::new(netform);
    asking.args(["--", "netform"]).args(words);
    asking
        .env("_NETFORM_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n");
    asking.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let answer = run(asking.env("_CLAP_COMPLETE_COMP_TYPE", "9")).ok();
    answer.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_shell_gets_completions_that_ask_netform() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = netform(&["completions", shell]).ok();
        assert!(script.contains("_NETFORM_COMPLETE"), "{shell}: {script}");
    }
    assert_eq!(netform(&["completions", "dash"]).status, 64);
    assert_eq!(completed(&["app"]), ["apply"]);
    assert!(completed(&["plan", "--det"]).contains(&"--detailed-exitcode".to_owned()));
    assert!(completed(&["plan", "-o", "j"]).contains(&"json".to_owned()));
    let files = completed(&["apply", "-f", "specs/tenant-"]);
    assert_eq!(files, ["specs/tenant-blue.yaml", "specs/tenant-red.yaml"]);
}

#[test]
fn completions_know_topologies_and_namespaces() {
    in_sandbox(|| {
        // Nothing is there yet, not even the directories.
        assert_eq!(completed(&["show", "p"]), [""; 0]);
        netform(&["apply", "-f", "specs/pair.yaml", "--yes"]).ok();
        sh("ip netns add other; ip netns add 'a name'").ok();
        for verb in ["show", "destroy", "confirm"] {
            assert_eq!(completed(&[verb, "p"]), ["pair"], "{verb}");
        }
        assert_eq!(completed(&["plan", "--adopt-from", "p"]), ["pair"]);
        assert_eq!(completed(&["exec", "s"]), ["server"]);
        assert_eq!(completed(&["exec", "o"]), ["other"]);
        // As a person meets it.
        let bash = "source <(netform completions bash); COMP_WORDS=(netform exec c); COMP_CWORD=2
            COMP_TYPE=9; _clap_complete_netform netform c exec; echo \"${COMPREPLY[@]}\"";
        let binary = Path::new(env!("CARGO_BIN_EXE_netform"))
            .parent()
            .expect("a directory");
        let path = format!("{}:/usr/sbin:/usr/bin:/bin", binary.display());
        let answer = run(Command::new("bash").args(["-c", bash]).env("PATH", path));
        assert_eq!(answer.stdout, "client\n", "{}", answer.stderr);
    });
}

#[test]
fn every_verb_has_a_man_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let below = directory.path().join("share/man/man1");
    netform(&["man", "--directory", &below.display().to_string()]).ok();
    let whole = fs::read_to_string(below.join("netform.1")).expect("a page");
    let help = netform(&["--help"]).ok();
    let (_, verbs) = help.split_once("Commands:\n").expect("verbs");
    let verbs = verbs.lines().take_while(|line| line.starts_with("  "));
    let verbs: Vec<&str> = verbs
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    for verb in verbs {
        let page = fs::read_to_string(below.join(format!("netform-{verb}.1")));
        let page = page.unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert_eq!(page, netform(&["man", verb]).ok());
        assert!(
            page.contains(&format!(".TH netform-{verb} 1 \"\"")),
            "{page}"
        );
        assert!(
            whole.contains(&format!("netform\\-{verb}(1)")),
            "{verb} in {whole}"
        );
    }
    let unknown = netform(&["man", "plam"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (64, ""));
    assert!(
        unknown.stderr.contains("there is no verb `plam`"),
        "{}",
        unknown.stderr
    );
}
