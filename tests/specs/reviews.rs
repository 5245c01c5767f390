//! The edits of the examples as a reviewer meets them: without the host, from one spec to the other, as each format of
//! `plan` has it. What comes out stands in `tests/reviews`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Output, run};
use crate::examples;
use crate::golden::compare;
use crate::trial::Example;

/// The formats of `plan`, and how the files that have them end.
const FORMATS: [(&str, &str); 3] = [("text", "txt"), ("json", "json"), ("shell", "sh")];

/// Plans an example's edit with neither privilege nor anything of the host to be read.
fn review(example: &Example, format: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let (original, edited) = example.texts();
    for (name, text) in [("old.yaml", &original), ("new.yaml", &edited)] {
        fs::write(directory.path().join(name), text).expect("write");
    }
    // What is bound is what a process may gain: with nothing, even root has none.
    run(Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .args([env!("CARGO_BIN_EXE_netform"), "plan", "-o", format])
        .args(["-f", "new.yaml", "--from", "old.yaml"])
        .current_dir(directory.path()))
}

#[test]
fn reviews() {
    let mut stale = Vec::new();
    for example in examples::ALL {
        for (format, ending) in FORMATS {
            let text = review(example, format).ok();
            assert_eq!(text, review(example, format).ok(), "it is stable");
            let file = format!("tests/reviews/{}.{ending}", example.spec);
            // It says which release made it.
            let text = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
            stale.extend(compare(Path::new(&file), &text).err());
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}

#[test]
fn a_review_says_what_the_host_is_going_to_say() {
    // One edit names the link that the host has chosen, which only the host knows to be the same.
    let all = examples::ALL.iter();
    for example in all.filter(|example| example.spec != "tenant-red") {
        let text = review(example, "text").ok();
        let text = text.split("\n\nOf the host").next().expect("a text");
        let text = format!("{}\n", text.trim_end());
        let (_, rest) = text.split_once("\n\n  ").unwrap_or(("", &text));
        // The one name that only the host knows.
        let rest = rest.replace("uplink", "ens33");
        assert_eq!(rest, example.plan, "{}", example.spec);
    }
}

#[test]
fn what_a_review_has_as_data_is_of_its_schema() {
    let schema = run(Command::new(env!("CARGO_BIN_EXE_netform")).args(["schema", "plan"])).ok();
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for example in examples::ALL {
        let text = review(example, "json").ok();
        let document = serde_json::from_str(&text).expect("JSON");
        let wrong: Vec<String> = validator
            .iter_errors(&document)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(wrong, [""; 0], "{}", example.spec);
    }
}
