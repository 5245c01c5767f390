//! What programs read.

use serde_json::Value;

use crate::common::{in_sandbox, netform, sh};
use crate::lab::{SPEC, text, write};

/// Has another program read the XML, and print what it finds.
const READ: &str = r#"
import xml.etree.ElementTree as tree
suites = tree.parse("/run/checks.xml").getroot()
for suite in suites:
    print(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors"))
    for case in suite:
        ends = [(end.tag, end.get("type")) for end in case]
        print(case.get("classname"), "|", case.get("name"), "|", ends, float(case.get("time")) >= 0)
"#;

#[test]
fn a_hostile_name_breaks_neither_json_nor_xml() {
    in_sandbox(|| {
        let name = r#"<&\"'>]]> <!-- ü \uFFFE {{7*7}} $(reboot)"#;
        write(&format!(
            r#"
  - {{ from: red, ping: 10.0.0.1, name: "{name}" }}
  - {{ from: red, ping: "fd00::1", expect: fail, name: "{name} 2" }}
  - {{ from: red, ping: 10.0.0.1 }}
  - {{ from: "r<&'>", ping: 10.0.0.1, expect: fail }}
"#
        ));
        let spec = std::fs::read_to_string(SPEC).expect("read");
        let spec = spec.replace(
            "namespaces:\n",
            "namespaces:\n  \"r<&'>\": { external: true }\n",
        );
        std::fs::write(SPEC, &spec).expect("write");
        sh("ip netns add \"r<&'>\"").ok();
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        sh("ip netns del \"r<&'>\"").ok();
        let plain: String = serde_json::from_str(&format!("\"{name}\"")).expect("the same in JSON");
        let output = netform(&["check", "-f", SPEC, "-o", "json"]);
        let document: Value = serde_json::from_str(&output.stdout).expect("one document");
        let checks = &document["topologies"][0]["checks"];
        assert_eq!(
            (output.status, &checks[0]["name"]),
            (1, &plain.as_str().into())
        );
        assert_eq!(checks[1]["ok"], false);
        let output = netform(&["check", "-f", SPEC, "-o", "junit"]);
        assert_eq!(output.status, 1);
        std::fs::write("/run/checks.xml", &output.stdout).expect("write");
        std::fs::write("/run/read.py", READ).expect("write");
        let shown = plain.replace('\u{fffe}', "\u{fffd}");
        assert_eq!(
            sh("PYTHONIOENCODING=utf-8 python3 /run/read.py").ok(),
            format!(
                "lab 4 1 1
lab.red | {shown} | [] True
lab.red | {shown} 2 | [('failure', 'reached')] True
lab.red | ping red → 10.0.0.1 | [] True
lab.r<&'> | ping r<&'> → 10.0.0.1 fails | [('error', 'no-namespace')] True
"
            )
        );
    });
}

#[test]
fn lines_are_aligned_and_without_colour_where_nobody_looks() {
    in_sandbox(|| {
        write(
            "  - { from: red, ping: 10.0.0.1 }\n  - { from: blue, tcp: \"10.1.0.1:80\", expect: fail }\n",
        );
        netform(&["apply", "-f", SPEC, "--yes"]).ok();
        let output = text().ok();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!((lines[0], lines[1]), ("lab", ""));
        assert!(
            lines[2].starts_with("  ok    red → 10.0.0.1      ping  "),
            "{output}"
        );
        assert!(
            lines[3].starts_with("  ok    blue → 10.1.0.1:80  tcp   "),
            "{output}"
        );
        assert!(lines[2].ends_with(" ms"), "{output}");
        assert_eq!(lines[5], "2 checks, all as expected.");
        assert!(!output.contains('\u{1b}'));
        let empty = "version: 1\nname: lab\n";
        std::fs::write(SPEC, empty).expect("write");
        assert_eq!(text().ok(), "lab\n\n  It has no checks.\n");
    });
}

#[test]
fn without_the_capability_nothing_is_tried_and_it_is_said() {
    in_sandbox(|| {
        write("  - { from: host, ping: 198.51.100.10 }\n");
        let program = env!("CARGO_BIN_EXE_netform");
        let output = sh(&format!(
            "setpriv --bounding-set -net_raw --inh-caps -net_raw {program} check -f {SPEC}"
        ));
        assert_eq!(output.status, 1);
        assert!(
            output.stderr.contains("netform needs CAP_NET_RAW"),
            "{}",
            output.stderr
        );
    });
}
