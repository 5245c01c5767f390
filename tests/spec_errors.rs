//! What an error in a spec looks like, one file in `tests/errors` a message.
//!
//! `make bless` writes the messages and the schema anew.

mod golden;

use std::fs;
use std::path::{Path, PathBuf};

use golden::compare;
use netform::render::document;
use netform::render::style::Colour;
use netform::spec::{self, source::Source};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> Source {
    let name = path
        .file_name()
        .expect("it has a name")
        .to_string_lossy()
        .into_owned();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    Source::new(name, text)
}

/// A text without what colours it.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        plain + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

#[test]
fn every_error_reads_as_it_is_recorded() {
    let mut cases: Vec<PathBuf> = fs::read_dir(at("tests/errors"))
        .expect("the cases are there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 50, "only {} cases", cases.len());
    let mut stale = Vec::new();
    for case in cases {
        // NAME.yaml merges with NAME.yaml.second.
        let mut sources = vec![read(&case)];
        let second = case.with_extension("yaml.second");
        if second.exists() {
            sources.push(read(&second));
        }
        let found = match spec::parse(&sources) {
            Err(found) => found,
            Ok(spec) => panic!("{} is valid: {spec:#?}", case.display()),
        };
        let texts: Vec<String> = found
            .iter()
            .map(|diagnostic| diagnostic.render(&sources, Colour::Off))
            .collect();
        for (diagnostic, text) in found.iter().zip(&texts) {
            assert_eq!(
                &without_escapes(&diagnostic.render(&sources, Colour::On)),
                text
            );
        }
        stale.extend(compare(&case.with_extension("txt"), &texts.join("\n")).err());
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}

#[test]
fn the_schemas_in_the_repository_are_fresh() {
    for (file, text) in [
        ("netform", spec::schema::text()),
        ("plan", document::schema()),
        ("show", document::shown::schema()),
    ] {
        let path = at(&format!("schema/{file}.schema.json"));
        compare(&path, &text).unwrap_or_else(|stale| panic!("{stale}"));
    }
}

#[test]
fn the_examples_are_valid() {
    for entry in fs::read_dir(at("specs")).expect("the examples are there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let sources = [read(&path)];
        if let Err(found) = spec::parse(&sources) {
            let texts: Vec<String> = found
                .iter()
                .map(|found| found.render(&sources, Colour::Off))
                .collect();
            panic!("{}", texts.join("\n"))
        }
    }
}
