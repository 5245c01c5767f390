//! What README.md and docs/guide.md tell the reader to type prints what they say it prints.
//!
//! A block of `console` has commands, each with what it prints, where `…` stands for any number of lines, and inside of one for any text. After
//! `$ netform sandbox -- bash` those behind `#` run on a private host, until one behind `$`, or `exit`. A block
//! with a name behind its language is a file of that name, and one of `diff` with a name changes that file.

mod common;
mod document;

use std::fs;
use std::path::{Path, PathBuf};

use common::{in_sandbox, sh};
use document::{blocks, text};

/// Something that the reader is told to do.
#[derive(Debug, Clone)]
enum Step {
    /// Write a file.
    Write { file: String, text: String },
    /// Change a file: what stands there once, and what shall stand there.
    Change {
        file: String,
        old: String,
        new: String,
    },
    /// Run a command; as root if it stands behind `#`.
    Run {
        root: bool,
        command: String,
        printed: Vec<String>,
    },
}

/// Where a sandbox begins.
const SANDBOX: &str = "netform sandbox -- bash";

/// What a document tells the reader to do.
fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for (about, lines) in blocks(document) {
        match about.split_once(' ') {
            Some(("diff", file)) => {
                let side = |without: char| {
                    let kept = lines.iter().filter(|line| !line.starts_with(without));
                    text(kept.map(|line| &line[1..]))
                };
                steps.push(Step::Change {
                    file: file.to_owned(),
                    old: side('+'),
                    new: side('-'),
                });
            }
            Some((_, file)) => steps.push(Step::Write {
                file: file.to_owned(),
                text: text(lines),
            }),
            None if about == "console" => commands(&lines, &mut steps),
            None => {}
        }
    }
    steps
}

/// Adds the commands of a block.
fn commands(lines: &[&str], steps: &mut Vec<Step>) {
    let first = steps.len();
    for line in lines {
        let command = line.strip_prefix("# ").map(|command| (true, command));
        let command = command.or_else(|| line.strip_prefix("$ ").map(|command| (false, command)));
        match (command, steps[first..].last_mut()) {
            (Some((root, command)), _) => steps.push(Step::Run {
                root,
                command: command.to_owned(),
                printed: Vec::new(),
            }),
            (None, Some(Step::Run { printed, .. })) => printed.push((*line).to_owned()),
            (None, _) => panic!("a block begins with a command"),
        }
    }
}

/// Does what a document says, in a directory.
fn follow(steps: &[Step], directory: &Path) {
    let mut rest = steps;
    while let Some((step, others)) = rest.split_first() {
        let begins = matches!(step, Step::Run { root: false, command, .. } if command == SANDBOX);
        if !begins {
            rest = others;
            act(step, next_asks_for_status(others), &mut 0, directory);
            continue;
        }
        let ends = |step: &Step| matches!(step, Step::Run { root, command, .. } if !root || command == "exit");
        let length = others.iter().position(ends).unwrap_or(others.len());
        in_sandbox(|| {
            let mut status = 0;
            for (at, step) in others[..length].iter().enumerate() {
                act(
                    step,
                    next_asks_for_status(&others[at + 1..]),
                    &mut status,
                    directory,
                );
            }
        });
        rest = &others[length..];
        if matches!(rest.first(), Some(Step::Run { root: true, .. })) {
            rest = &rest[1..];
        }
    }
}

/// Whether the next command is one that shows how the last one ended, which may then fail.
fn next_asks_for_status(steps: &[Step]) -> bool {
    matches!(steps.first(), Some(Step::Run { command, .. }) if command == "echo $?")
}

/// Does one thing. `status` is that of the last command.
fn act(step: &Step, may_fail: bool, status: &mut i32, directory: &Path) {
    match step {
        Step::Write { file, text } => {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().expect("a directory")).expect("make");
            fs::write(&path, text).expect("write");
        }
        Step::Change { file, old, new } => {
            let path = directory.join(file);
            let text = fs::read_to_string(&path).expect("the file to be changed");
            assert_eq!(text.matches(old).count(), 1, "{file} has not once:\n{old}");
            fs::write(&path, text.replace(old, new)).expect("write");
        }
        Step::Run {
            command, printed, ..
        } => {
            let binary = Path::new(env!("CARGO_BIN_EXE_netform"));
            let binaries = binary.parent().expect("a directory").display();
            let output = sh(&format!(
                "exec 2>&1; PATH={binaries}:$PATH; cd {}; set +e; (exit {status}); {command}",
                directory.display()
            ));
            let lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
            assert!(
                matches(printed, &lines),
                "of `{command}` it is said:\n{}\nit prints:\n{}",
                printed.join("\n"),
                output.stdout
            );
            let is_error = printed.iter().any(|line| line.starts_with("error: "));
            let fails = output.status != 0;
            assert!(
                may_fail || fails == is_error,
                "`{command}`: {}",
                output.status
            );
            *status = output.status;
        }
    }
}

/// Whether lines are as a pattern says. Times in milliseconds may differ.
fn matches(pattern: &[String], lines: &[String]) -> bool {
    let alike = |pattern: &str, line: &str| {
        if let Some((before, after)) = pattern.split_once(" … ") {
            return line
                .strip_prefix(before)
                .is_some_and(|rest| match after.strip_suffix('…') {
                    Some(after) => rest.contains(after),
                    None => rest.ends_with(after),
                });
        }
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

/// An empty directory for a document's files, beside which `specs` is.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("make");
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs");
    std::os::unix::fs::symlink(specs, directory.join("specs")).expect("link");
    directory
}

#[test]
fn the_tour_of_the_readme_prints_what_it_says() {
    let readme = include_str!("../README.md");
    let mut steps = steps(readme);
    assert!(steps.len() > 8, "{steps:?}");
    // The mistake is one in the topology at the top.
    let (_, topology) = &blocks(readme)[0];
    steps.insert(
        0,
        Step::Write {
            file: "topology.yaml".to_owned(),
            text: text(topology.iter().copied()).replace(
                "host,        name: veth1_p, ",
                "host, name: breezyfrost-veth1, ",
            ),
        },
    );
    follow(&steps, &directory("readme"));
}

#[test]
fn the_guide_prints_what_it_says() {
    let guide = include_str!("../docs/guide.md");
    let steps = steps(guide);
    assert!(steps.len() > 30, "{steps:?}");
    let directory = directory("guide");
    follow(&steps, &directory);
    // What it quotes without a name is from one of its files.
    let files: String = steps
        .iter()
        .map(|step| match step {
            Step::Write { text, .. } | Step::Change { new: text, .. } => text.as_str(),
            Step::Run { .. } => "",
        })
        .collect();
    for (about, lines) in blocks(guide) {
        let quote = text(lines);
        assert!(
            !["sh", "yaml"].contains(&about) || files.contains(&quote),
            "no file has\n{quote}"
        );
    }
}
