//! The tour of README.md, command by command, prints what it says it prints.

mod common;

use common::{in_sandbox, sh};

/// A command of the tour, and what is printed below it: lines, with `…` for any number of others.
fn tour() -> Vec<(String, Vec<String>)> {
    let readme = include_str!("../README.md");
    let block = readme
        .split("```console\n$ netform sandbox -- bash\n")
        .nth(1)
        .expect("a tour");
    let block = block.split("```").next().expect("an end");
    let mut tour: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("# "), tour.last_mut()) {
            (Some(command), _) => tour.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("the tour begins with a command"),
        }
    }
    tour
}

/// Whether lines are as a pattern says. Times in milliseconds may differ.
fn matches(pattern: &[String], lines: &[String]) -> bool {
    let alike = |pattern: &str, line: &str| {
        let rest = |text: &str| text.split("time ").next().unwrap_or_default().to_owned();
        rest(pattern) == rest(line)
    };
    match (pattern.split_first(), lines.split_first()) {
        (None, _) => lines.iter().all(String::is_empty),
        (Some((first, others)), _) if first.trim() == "…" => {
            (0..=lines.len()).any(|skipped| matches(others, &lines[skipped..]))
        }
        (Some((first, others)), Some((line, rest))) => alike(first, line) && matches(others, rest),
        (Some(_), None) => false,
    }
}

#[test]
fn the_tour_prints_what_it_says() {
    in_sandbox(|| {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_netform"));
        let directory = binary.parent().expect("a directory").display();
        let tour = tour();
        assert!(tour.len() > 6);
        for (command, expected) in tour {
            let output = sh(&format!("PATH={directory}:$PATH; {command}")).ok();
            let lines: Vec<String> = output.lines().map(str::to_owned).collect();
            assert!(
                matches(&expected, &lines),
                "README.md says of `{command}`:\n{}\nit prints:\n{output}",
                expected.join("\n")
            );
        }
    });
}
