//! The parts in docs/gitops.md do what it says: its jobs in a bare shell, with git, and with stand-ins for what would talk to
//! GitHub and GitLab.

mod common;
mod document;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Output, in_sandbox, run, sh};
use serde_yaml::Value;
use tempfile::TempDir;

/// What the document has as a file of this name.
fn file(name: &str) -> String {
    let document = include_str!("../docs/gitops.md");
    let blocks = document::blocks(document);
    let mut named = blocks
        .iter()
        .filter(|(about, _)| about.split_once(' ').is_some_and(|(_, file)| file == name));
    let (_, lines) = named.next().unwrap_or_else(|| panic!("no {name}"));
    document::text(lines.iter().copied())
}

/// A repository, and beside it the stand-ins, which write down what they are called with.
struct Repository {
    home: TempDir,
}

impl Repository {
    fn new() -> Repository {
        let repository = Repository {
            home: tempfile::tempdir().expect("a directory"),
        };
        repository.git(&["init", "-q", "-b", "main"]);
        for tool in ["gh", "curl"] {
            let script = format!(
                "#!/bin/sh\nprintf '%s\\n' {tool} \"$@\" > ../called\ncp plan.md ../sent\n"
            );
            repository.executable(&format!("../bin/{tool}"), &script);
        }
        for name in [
            "ci/review",
            ".github/workflows/network.yml",
            ".gitlab-ci.yml",
        ] {
            repository.executable(name, &file(name));
        }
        repository.commit();
        repository
    }

    fn path(&self) -> PathBuf {
        let path = self.home.path().join("work");
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn executable(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    }

    fn spec(&self, name: &str, text: &str) {
        let network = self.path().join("network");
        fs::create_dir_all(&network).expect("a directory");
        fs::write(network.join(name), text).expect("write");
    }

    /// A command with nothing of this process's environment but where programs are.
    fn bare(&self, program: &str) -> Command {
        let netform = Path::new(env!("CARGO_BIN_EXE_netform"));
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            self.home.path().join("bin").display(),
            netform.parent().expect("a directory").display()
        );
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", path);
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.test"];
        run(self.bare("git").args(who).args(arguments)).ok()
    }

    /// Commits everything. Gives the commit.
    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", "a change"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs a script as a job does.
    fn job(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        let bare = &mut self.bare("bash");
        run(bare.args(["-ec", script]).envs(variables.iter().copied()))
    }

    fn beside(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).expect("it was written")
    }
}

const SPEC: &str = include_str!("../specs/pair.yaml");

/// A repository whose base has one spec, and whose head has another address in it and no other spec.
fn changed() -> (Repository, String) {
    let repository = Repository::new();
    repository.spec("pair.yaml", SPEC);
    repository.spec(
        "gone.yaml",
        "version: 1\nname: gone\nnamespaces: { old: {} }\n",
    );
    let base = repository.commit();
    repository.git(&["checkout", "-q", "-b", "change"]);
    repository.spec("pair.yaml", &SPEC.replace("10.0.0.2/24", "10.0.0.20/24"));
    fs::remove_file(repository.path().join("network/gone.yaml")).expect("remove");
    repository.commit();
    (repository, base)
}

/// That a comment has the plan of that.
fn tells(comment: &str) {
    assert!(comment.starts_with("### What this would do"), "{comment}");
    for line in [
        "      -  address 10.0.0.2/24 on eth0",
        "      +  address 10.0.0.20/24 on eth0",
        "      namespace old",
        "      -  remove",
    ] {
        assert!(
            comment.lines().any(|one| one == line),
            "{line} in\n{comment}"
        );
    }
}

#[test]
fn the_job_for_github_posts_the_plan() {
    let (repository, base) = changed();
    let workflow: Value =
        serde_yaml::from_str(&file(".github/workflows/network.yml")).expect("YAML");
    let steps = workflow["jobs"]["plan"]["steps"]
        .as_sequence()
        .expect("steps");
    let summary = repository.home.path().join("summary").display().to_string();
    let variables = [
        ("GITHUB_STEP_SUMMARY", summary.as_str()),
        ("BASE", &base),
        ("GH_TOKEN", "secret"),
        ("NUMBER", "7"),
    ];
    let mut ran = 0;
    for step in steps.iter().filter(|step| step["name"] != "install") {
        for (name, _) in step["env"].as_mapping().into_iter().flatten() {
            assert!(variables.iter().any(|(known, _)| name == known), "{name:?}");
        }
        if let Some(script) = step["run"].as_str() {
            repository.job(script, &variables).ok();
            ran += 1;
        }
    }
    assert_eq!(ran, 2);
    let called = repository.beside("called");
    let arguments = "gh\npr\ncomment\n7\n--edit-last\n--create-if-none\n--body-file\nplan.md\n";
    assert_eq!(called, arguments);
    tells(&repository.beside("sent"));
    tells(&repository.beside("summary"));
}

#[test]
fn the_job_for_gitlab_posts_the_plan() {
    let (repository, base) = changed();
    let jobs: Value = serde_yaml::from_str(&file(".gitlab-ci.yml")).expect("YAML");
    let lines = jobs["plan"]["script"].as_sequence().expect("a script");
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    let variables = [
        ("NETFORM_TOKEN", "secret"),
        ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str()),
        ("CI_API_V4_URL", "https://gitlab.example.test/api/v4"),
        ("CI_PROJECT_ID", "3"),
        ("CI_MERGE_REQUEST_IID", "7"),
    ];
    repository.job(&lines.join("\n"), &variables).ok();
    let called = repository.beside("called");
    let url = "https://gitlab.example.test/api/v4/projects/3/merge_requests/7/notes";
    assert_eq!(called.lines().last(), Some(url));
    assert!(
        called.contains("\nPRIVATE-TOKEN: secret\n--data-urlencode\nbody@plan.md\n"),
        "{called}"
    );
    tells(&repository.beside("sent"));
}

#[test]
fn a_review_begins_with_nothing_and_fails_on_what_is_wrong() {
    let repository = Repository::new();
    let base = repository.git(&["rev-parse", "HEAD"]);
    // What is in a name doesn't get out of the block.
    repository.spec(
        "odd.yaml",
        "version: 1\nname: odd\nnamespaces: { \"```\": {} }\n",
    );
    repository.commit();
    let comment = repository
        .job("ci/review \"$BASE\"", &[("BASE", base.trim())])
        .ok();
    let (_, block) = comment.split_once("\n\n").expect("a heading");
    assert!(block.contains("namespace ```"), "{comment}");
    assert!(
        block
            .lines()
            .all(|line| line.is_empty() || line.starts_with("    ")),
        "{comment}"
    );
    repository.spec(
        "odd.yaml",
        "version: 1\nname: odd\nnamespaces: { a: { gatewy: x } }\n",
    );
    repository.commit();
    let failed = repository.job("ci/review \"$BASE\"", &[("BASE", base.trim())]);
    assert_eq!((failed.status, failed.stdout.as_str()), (1, ""));
    assert!(
        failed.stderr.contains("did you mean `gateway`"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_host_fetches_what_is_merged_and_mends_what_drifts() {
    let (repository, base) = changed();
    let unit = file("/etc/systemd/system/netform-pull.service");
    let starts = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    let script: String = starts.flat_map(|line| [line, "\n"]).collect();
    assert_eq!(script.lines().count(), 2);
    repository.git(&["checkout", "-q", "main"]);
    in_sandbox(|| {
        let clone = repository.home.path().join("clone").display().to_string();
        repository.git(&["clone", "-q", ".", &clone]);
        let pull = || {
            let bare = &mut repository.bare("bash");
            run(bare.args(["-ec", &script]).current_dir(&clone)).ok();
        };
        pull();
        sh("ip netns exec client ping -c1 -W5 10.0.0.2; ip netns pids old").ok();
        sh("ip -n server addr flush dev eth0").ok();
        pull();
        sh("ip netns exec client ping -c1 -W5 10.0.0.2").ok();
        repository.git(&["merge", "-q", "--ff-only", "change"]);
        assert_ne!(repository.git(&["rev-parse", "HEAD"]).trim(), base);
        pull();
        sh("ip netns exec client ping -c1 -W5 10.0.0.20; ! ip netns pids old").ok();
    });
}
