//! Pictures: of specs, of changes, and of hosts.

mod common;
mod golden;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{in_sandbox, netform, sh};

/// Draws something.
#[track_caller]
fn graph(arguments: &[&str]) -> String {
    netform(&[&["graph"], arguments].concat()).ok()
}

/// The specs to start from.
fn examples() -> Vec<String> {
    let entries = fs::read_dir("specs").expect("there are examples");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut all: Vec<String> = yaml.map(|path| path.display().to_string()).collect();
    all.sort();
    assert!(all.len() > 15, "{all:?}");
    all
}

/// The words that stand for something in a text: outside of quotes.
fn ids(text: &str) -> BTreeSet<String> {
    let outside = text.split('"').step_by(2);
    let words = outside.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let is_id = |word: &&str| *word == "outside" || word.starts_with('n') && word.contains('_');
    words.filter(is_id).map(str::to_owned).collect()
}

#[test]
fn each_example_is_drawn_in_each_format() {
    for path in examples() {
        let mermaid = graph(&["-f", &path]);
        let name = Path::new(&path).file_stem().expect("a name").to_str();
        let golden = format!("tests/graphs/{}.mmd", name.expect("text"));
        if let Err(stale) = golden::compare(Path::new(&golden), &mermaid) {
            panic!("{stale}");
        }
        let dot = graph(&["-f", &path, "-o", "dot"]);
        // Every end of a line is something that is drawn.
        for (text, arrows) in [
            (&mermaid, &["---", "-->", "--o", "-.->", "==>"][..]),
            (&dot, &["->"]),
        ] {
            let is_line = |line: &&str| {
                let bare: String = line.split('"').step_by(2).collect();
                arrows.iter().any(|arrow| bare.contains(arrow))
            };
            let (lines, nodes): (Vec<&str>, Vec<&str>) = text.lines().partition(is_line);
            assert!(!lines.is_empty(), "{path}: {text}");
            let (used, drawn) = (ids(&lines.join("\n")), ids(&nodes.join("\n")));
            assert!(used.is_subset(&drawn), "{path}: {used:?} and {drawn:?}");
        }
        assert_eq!(
            mermaid.matches("subgraph ").count(),
            mermaid.matches("  end\n").count()
        );
        let svg = graph(&["-f", &path, "-o", "svg"]);
        let drawn = roxmltree::Document::parse(&svg).expect("XML");
        let texts: Vec<&str> = drawn.descendants().filter_map(|node| node.text()).collect();
        assert!(
            texts.contains(&"host") || texts.len() > 5,
            "{path}: {texts:?}"
        );
        let page = graph(&["-f", &path, "-o", "html"]);
        assert!(page.contains(&svg) && !page.contains("<script"), "{path}");
    }
}

#[test]
fn the_pictures_of_the_docs_are_fresh() {
    for name in ["tiers", "breezyfrost"] {
        let svg = graph(&["-f", &format!("specs/{name}.yaml"), "-o", "svg"]);
        let golden = format!("docs/pictures/{name}.svg");
        if let Err(stale) = golden::compare(Path::new(&golden), &svg) {
            panic!("{stale}");
        }
    }
    let page = fs::read_to_string("docs/graph.md").expect("a page");
    assert!(page.contains(&graph(&["-f", "specs/breezyfrost.yaml"])));
}

#[test]
fn many_that_are_alike_are_drawn_as_few() {
    let few = graph(&["-f", "specs/fan-out.yaml"]);
    assert_eq!(few.matches("subgraph ").count(), 4, "{few}");
    assert!(few.contains("t03<br>and 47 more alike") && few.contains("host<br>and 47 more links"));
    let all = graph(&["-f", "specs/fan-out.yaml", "--full"]);
    assert_eq!(all.matches("subgraph ").count(), 51);
    // The table of a page has all of them.
    let page = graph(&["-f", "specs/fan-out.yaml", "-o", "html"]);
    assert!(page.contains("<td>t50</td>"));
}

const OLD: &str = "version: 1
name: lab
namespaces: { a: {}, b: {} }
subnets: { lan: { cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: { dev: ens33 } } }
veths:
  - ends:
      - { namespace: a, name: eth0, addresses: [10.7.0.2] }
      - { namespace: host, name: to-a, addresses: [10.7.0.1] }
  - ends:
      - { namespace: a, name: x, addresses: [10.8.0.1/24] }
      - { namespace: b, name: y, addresses: [10.8.0.2/24] }
";

/// What is marked in a picture, by class.
fn marked(mermaid: &str, class: &str) -> Vec<String> {
    let line = mermaid.lines().find_map(|line| {
        let ids = line.strip_prefix("  class ")?;
        ids.strip_suffix(&format!(" {class}"))
    });
    let ids = line.into_iter().flat_map(|line| line.split(','));
    ids.map(|id| {
        let named = |line: &&str| line.contains(&format!("{id}[\""));
        let line = mermaid.lines().find(named).expect("it is drawn");
        let text = line.split('"').nth(1).expect("a text");
        text.split("<br>").next().expect("a name").to_owned()
    })
    .collect()
}

#[test]
fn what_a_change_does_is_marked() {
    let new = OLD
        .replace("b: {}", "c: {}")
        .replace("namespace: b, name: y", "namespace: c, name: y")
        .replace("10.7.0.2", "10.7.0.3");
    in_sandbox(|| {
        fs::write("/run/old.yaml", OLD).expect("write");
        fs::write("/run/new.yaml", &new).expect("write");
        let expected = |picture: &str| {
            assert_eq!(marked(picture, "added"), ["+ c", "+ y"], "{picture}");
            assert_eq!(marked(picture, "removed"), ["− b", "− y"], "{picture}");
            assert_eq!(marked(picture, "changed"), ["~ eth0"], "{picture}");
            assert!(
                picture
                    .contains("~ eth0<br>− 10.7.0.2/24<br>+ 10.7.0.3/24<br>default via 10.7.0.1")
            );
        };
        let of_specs = graph(&["-f", "/run/new.yaml", "--from", "/run/old.yaml"]);
        expected(&of_specs);
        assert!(!graph(&["-f", "/run/old.yaml", "--from", "/run/old.yaml"]).contains("class"));
        // What is there is what the spec says.
        assert_eq!(graph(&[]), "flowchart LR\n");
        netform(&["apply", "-f", "/run/old.yaml"]).ok();
        assert_eq!(graph(&[]), graph(&["-f", "/run/old.yaml"]));
        // On the host, and from a snapshot of it.
        let here = graph(&["-f", "/run/new.yaml", "--plan"]);
        expected(&here);
        sh(&format!(
            "{} show --snapshot >/run/host.json",
            env!("CARGO_BIN_EXE_netform")
        ))
        .ok();
        let kept = graph(&["-f", "/run/new.yaml", "--from", "/run/host.json"]);
        assert_eq!(kept, here);
        let svg = graph(&["-f", "/run/new.yaml", "--plan", "-o", "svg"]);
        for class in ["block added", "box removed", "row removed", "wire added"] {
            assert!(
                svg.contains(&format!("class=\"{class}\"")),
                "{class}: {svg}"
            );
        }
        // Without privilege, from a spec.
        let binary = env!("CARGO_BIN_EXE_netform");
        let drop = "setpriv --bounding-set -all --inh-caps -all";
        sh(&format!("{drop} {binary} graph -f /run/new.yaml -o html")).ok();
        let refused = sh(&format!("{drop} {binary} graph"));
        assert!(
            refused.stderr.contains("CAP_NET_ADMIN"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn what_a_topology_doesnt_make_neither_comes_nor_goes() {
    let spec = |veths: &str| {
        format!(
            "version: 1\nname: lab\nnamespaces: {{ box: {{ external: true }}, a: {{}} }}\nveths: [{veths}]\n"
        )
    };
    let joined = spec(
        "{ ends: [{ namespace: box, name: leg, addresses: [10.9.0.1/30] }, \
         { namespace: a, name: eth0, addresses: [10.9.0.2/30] }] }",
    );
    in_sandbox(|| {
        fs::write("/run/old.yaml", spec("")).expect("write");
        fs::write("/run/new.yaml", joined).expect("write");
        let comes = graph(&["-f", "/run/new.yaml", "--from", "/run/old.yaml"]);
        assert_eq!(marked(&comes, "added"), ["+ eth0", "+ leg"], "{comes}");
        let goes = graph(&["-f", "/run/old.yaml", "--from", "/run/new.yaml"]);
        assert_eq!(marked(&goes, "removed"), ["− eth0", "− leg"], "{goes}");
        assert!(
            goes.contains("[\"box\"]") && comes.contains("[\"box\"]"),
            "{goes}"
        );
    });
}

#[test]
fn names_are_text_in_each_format() {
    let odd = OLD.replace("to-a", r"'<&>#;\`'");
    in_sandbox(|| {
        fs::write("/run/odd.yaml", &odd).expect("write");
        let draw = |format: &str| graph(&["-f", "/run/odd.yaml", "-o", format]);
        for (format, text) in [
            ("mermaid", r##"["#60;#38;#62;#35;;\#96;<br>10.7.0.1/24"]"##),
            ("dot", r#"[label="<&>#;\\`\n10.7.0.1/24""#),
            ("html", r"<td>&lt;&amp;&gt;#;\`</td>"),
        ] {
            let drawn = draw(format);
            assert!(drawn.contains(text), "{text}: {drawn}");
        }
        let svg = draw("svg");
        let drawn = roxmltree::Document::parse(&svg).expect("XML");
        let mut nodes = drawn.descendants();
        assert!(nodes.any(|node| node.text() == Some(r"<&>#;\`")), "{svg}");
    });
}
