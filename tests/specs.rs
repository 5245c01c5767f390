//! The examples of `specs/`: each is applied, tried with packets, planned again, edited, planned to the
//! letter, applied, tried again, set back, and destroyed.

mod common;
#[path = "specs/examples.rs"]
mod examples;
mod golden;
#[path = "specs/reviews.rs"]
mod reviews;
#[path = "specs/trial.rs"]
mod trial;

use std::fs;
use std::process::Command;

#[test]
fn every_spec_is_tried() {
    let files = fs::read_dir("specs").expect("a directory");
    for path in files.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert!(
            path.extension().is_none_or(|ending| ending != "yaml")
                || examples::ALL.iter().any(|example| example.spec == name),
            "nothing in tests/specs/examples.rs tries {}",
            path.display()
        );
    }
}

#[test]
fn every_spec_begins_with_its_schema_and_says_what_it_is() {
    for name in examples::ALL.iter().map(|example| example.spec) {
        let text = fs::read_to_string(format!("specs/{name}.yaml")).expect("a spec");
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("# yaml-language-server: $schema=../schema/netform.schema.json"),
            "{name}"
        );
        let comment: Vec<&str> = lines.take_while(|line| line.starts_with('#')).collect();
        assert!(comment.len() > 2, "{name} doesn't say what it is");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{name} has a line of {widest:?}");
    }
}

#[test]
fn the_fan_out_is_what_its_generator_prints() {
    let printed = common::run(&mut Command::new("specs/fan-out.py")).ok();
    let file = fs::read_to_string("specs/fan-out.yaml").expect("a spec");
    assert!(
        printed == file,
        "run specs/fan-out.py 50 > specs/fan-out.yaml"
    );
}

#[test]
fn the_readme_lists_every_spec() {
    let readme = include_str!("../README.md");
    for name in examples::ALL.iter().map(|example| example.spec) {
        assert!(
            readme.contains(&format!("[{name}](specs/{name}.yaml)")),
            "{name}"
        );
    }
}
