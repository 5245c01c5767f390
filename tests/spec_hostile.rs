//! What nobody would write: a spec never makes netform panic, hang or eat the memory.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use netform::render::style::Colour;
use netform::spec::{self, source::Source};

/// Parses a text and renders what is wrong with it: the number of errors, all of them well formed.
fn survive(text: &str) -> usize {
    let sources = [Source::new("hostile.yaml", text.to_owned())];
    let Err(found) = spec::parse(&sources) else {
        return 0;
    };
    assert!(!found.is_empty(), "an error without an error: {text:?}");
    for diagnostic in &found {
        for label in &diagnostic.labels {
            let span = label.span;
            let part = sources[0].text.get(span.start..span.end);
            assert!(part.is_some(), "{span:?} is no part of {text:?}");
        }
        let shown = diagnostic.render(&sources, Colour::Off);
        assert!(shown.starts_with("error: ") && shown.ends_with('\n'));
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(shown.chars().all(harmless), "{shown:?}");
    }
    found.len()
}

/// The specs of the repository, good and bad.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["specs", "tests/errors"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder is there") {
            paths.push(entry.expect("it can be listed").path());
        }
    }
    paths.sort();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    paths
        .into_iter()
        .map(|path| fs::read_to_string(path).expect("it is text"))
        .collect()
}

#[test]
fn no_random_change_makes_it_panic() {
    let pieces = [
        "\t",
        "\r\n",
        "\n",
        " ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "'",
        "\"",
        "&a ",
        "*a",
        "<<: *a",
        "!!str ",
        "| ",
        "> ",
        "? ",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "é",
        "東",
        "\u{202e}",
        "\u{1b}[31m",
        "\0",
        "null",
        "true",
        "yes",
        "0x1f",
        "1e999",
        "fd00::",
        "/129",
        "99999999999999999999",
        "@",
        "`",
        "\\",
        "\\u0000",
        "~",
        ",",
    ];
    let seeds = seeds();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..6000 {
        let mut text: Vec<char> = seeds[round % seeds.len()].chars().take(1200).collect();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(0..=text.len());
            match random.u8(0..4) {
                0 => {
                    let to = (at + random.usize(0..12)).min(text.len());
                    text.drain(at..to);
                }
                1 => {
                    let to = (at + random.usize(0..40)).min(text.len());
                    let part: Vec<char> = text[at..to].to_vec();
                    let into = random.usize(0..=text.len());
                    text.splice(into..into, part);
                }
                2 => text.truncate(at.max(1)),
                _ => {
                    let piece = random.choice(pieces).expect("there are some");
                    text.splice(at..at, piece.chars());
                }
            }
        }
        survive(&text.into_iter().collect::<String>());
    }
}

#[test]
fn no_start_of_a_spec_makes_it_panic() {
    for seed in seeds().iter().filter(|seed| seed.len() < 1000) {
        for (at, _) in seed.char_indices() {
            survive(&seed[..at]);
        }
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut lists = String::from("version: 1\nname: bomb\nx-0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    let mut maps = String::from("version: 1\nname: bomb\nx-0: &a0 { k: v }\n");
    for level in 1..40 {
        let under = format!("*a{}", level - 1);
        let items = [under.as_str(); 9].join(", ");
        writeln!(lists, "x-{level}: &a{level} [{items}]").expect("a text takes all");
        let entries: Vec<String> = (0..9).map(|key| format!("k{key}: {under}")).collect();
        let merge = format!("<<: [{under}, {under}], {}", entries.join(", "));
        writeln!(maps, "x-{level}: &a{level} {{ {merge} }}").expect("a text takes all");
    }
    assert_eq!(survive(&lists), 1);
    assert_eq!(survive(&maps), 1);
    let long = "long ".repeat(20_000);
    let many = "*a, ".repeat(100_000);
    assert_eq!(
        survive(&format!(
            "version: 1\nname: b\nx-a: &a \"{long}\\n\"\nx-b: [{many}]\n"
        )),
        0
    );
}

#[test]
fn what_is_deep_is_refused() {
    for (open, close) in [
        ("[", "]"),
        ("{ a: ", " }"),
        ("- ", ""),
        ("? ", ""),
        ("a: &x [", "]"),
    ] {
        let text = format!("{}{}", open.repeat(50_000), close.repeat(50_000));
        assert_eq!(survive(&text), 1, "{open}");
    }
    let mut indented = String::new();
    for level in 0..300 {
        writeln!(indented, "{}k:", " ".repeat(level)).expect("a text takes all");
    }
    assert_eq!(survive(&indented), 1);
    // Each is shallow, but all of them together are not.
    let mut aliases = String::from("version: 1\nname: deep\nx-0: &a0 [x]\n");
    for level in 1..2000 {
        writeln!(aliases, "x-{level}: &a{level} [*a{}]", level - 1).expect("a text takes all");
    }
    assert_eq!(survive(&aliases), 1);
}

/// So many lines.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count)
        .flat_map(|index| [line(index), "\n".to_owned()])
        .collect()
}

#[test]
fn what_is_large_ends() {
    let limit = 101;
    let head = "version: 1\nname: large\n";
    let items = 100_000;
    let keys = lines(items, |key| format!("key{key}: {key}"));
    assert_eq!(survive(&format!("{head}{keys}")), limit);
    let same = "name: again\n".repeat(items);
    assert_eq!(survive(&format!("{head}{same}")), limit);
    let names = lines(5000, |name| format!("  ns{name}: {{}}"));
    let ends = lines(5000, |veth| {
        let (high, low) = (veth / 250, veth % 250);
        let end = format!("{{ namespace: Ns{veth}, name: v, addresses: [10.0.{high}.{low}] }}");
        format!("  - ends: [{end}, {end}]")
    });
    assert_eq!(
        survive(&format!("{head}namespaces:\n{names}veths:\n{ends}")),
        limit
    );
    assert_eq!(survive(&"[".repeat(1 << 20)), 1);
    assert_eq!(survive(&"&a ".repeat(1 << 18)), 1);
    assert_eq!(survive(&"\t".repeat(1 << 20)), 1);
    assert_eq!(survive(&"#".repeat(1 << 20)), 1);
    assert_eq!(survive(&"a: ".repeat(1 << 18)), 1);
    assert_eq!(survive(&"!".repeat(1 << 20)), 1);
    assert_eq!(survive(&" ".repeat((8 << 20) + 1)), 1);
    assert_eq!(
        survive(&format!("{head}x-text: \"{}\"\n", "x".repeat(1 << 20))),
        0
    );
    assert_eq!(
        survive(&format!("{head}x-list: [{}]\n", "a, ".repeat(1 << 20))),
        1
    );
}

#[test]
fn a_large_topology_is_read() {
    let mut text = String::from("version: 1\nname: large\nsubnets:\n");
    for index in 0..4000 {
        let (high, low) = (index / 250, index % 250);
        writeln!(
            text,
            "  s{index}: {{ cidr: 10.{high}.{low}.0/24, gateway: 10.{high}.{low}.1 }}"
        )
        .expect("a text takes all");
    }
    text.push_str("namespaces:\n");
    (0..4000).for_each(|index| writeln!(text, "  n{index}:").expect("a text takes all"));
    text.push_str("veths:\n");
    for index in 0..4000 {
        let (high, low) = (index / 250, index % 250);
        writeln!(
            text,
            "  - ends:\n    - {{ namespace: n{index}, name: eth0, addresses: [10.{high}.{low}.2] }}\n    \
             - {{ namespace: host, name: v{index}, addresses: [10.{high}.{low}.1] }}"
        )
        .expect("a text takes all");
    }
    assert_eq!(survive(&text), 0);
}

#[test]
fn nothing_that_is_no_name_becomes_a_path_or_a_line_of_a_file() {
    let of_namespace = |inside: &str| format!("namespaces: {{ a: {{ {inside} }} }}");
    let dns = |inside: &str| of_namespace(&format!("dns: {{ nameservers: [10.0.0.1], {inside} }}"));
    let link = |name: &str| {
        format!(
            "namespaces: {{ a: }}\nveths: [{{ ends: [{{ namespace: a, name: {name} }}, \
             {{ namespace: host, name: h }}] }}]"
        )
    };
    let mut bad = Vec::new();
    for name in [
        "..", ".", "../x", "x/y", "/etc", "a\\0b", "a\\nb", "a b", "",
    ] {
        bad.push(format!("namespaces: {{ \"{name}\": }}"));
        bad.push(format!("name: \"{name}\""));
        bad.push(link(&format!("\"{name}\"")));
    }
    for sysctl in [
        "net/../kernel/hostname",
        "net.ipv4.conf.a/../x.forwarding",
        "net/ipv4//ip_forward",
        "kernel.hostname",
        "net/ipv4/./ip_forward",
        "net/ipv4/a\\0b",
        "../net/ipv4/ip_forward",
    ] {
        bad.push(of_namespace(&format!("sysctls: {{ \"{sysctl}\": 1 }}")));
    }
    for word in [
        "a\\nnameserver 6.6.6.6",
        "a\\rb",
        "a\\u2028b",
        "a\\eb",
        "a\\0b",
        "a b",
    ] {
        bad.push(dns(&format!("search: [\"{word}\"]")));
        bad.push(dns(&format!("options: [\"{word}\"]")));
        bad.push(of_namespace(&format!("hosts: {{ \"{word}\": 10.0.0.1 }}")));
        bad.push(of_namespace(&format!(
            "sysctls: {{ net.ipv4.tcp_available_congestion_control: \"{word}\\e\\n\" }}"
        )));
    }
    for text in bad {
        let name = if text.starts_with("name:") {
            ""
        } else {
            "name: x\n"
        };
        let text = format!("version: 1\n{name}{text}\n");
        assert!(survive(&text) > 0, "it is taken: {text}");
    }
    // All of these are well but for what is wrong with them.
    assert_eq!(survive(&format!("version: 1\nname: x\n{}\n", link("v"))), 0);
    assert_eq!(
        survive(&format!(
            "version: 1\nname: x\n{}\n",
            dns("search: [a.test]")
        )),
        0
    );
}

#[test]
fn marks_and_line_ends_of_other_systems_change_nothing() {
    let text = "version: 1\nname: x\nnamespaces:\n  a:\n  b:\n";
    for text in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
    ] {
        let source = Source::new("odd.yaml", text);
        let spec = spec::parse(&[source]).unwrap_or_else(|found| panic!("{found:?}"));
        assert_eq!(spec.namespaces.len(), 2);
    }
    assert_eq!(survive("version: 1\nname: \"a\0b\"\n"), 1);
}
