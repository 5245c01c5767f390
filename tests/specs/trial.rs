//! What every example goes through.

use std::fs;

use crate::common::{assert_same_world, in_sandbox, netform, sh, world};

/// An example, and what is tried with it.
pub(crate) struct Example {
    /// The name of its file in `specs/`.
    pub(crate) spec: &'static str,
    /// A script that makes what is there before: the directories, at least, that come with a first namespace.
    pub(crate) given: &'static str,
    /// Specs that are applied before it, and destroyed after it.
    pub(crate) beside: &'static [&'static str],
    /// What is so once it is applied.
    pub(crate) works: &'static [Check],
    /// A change of it: what stands there, and what shall stand there.
    pub(crate) edit: &'static [(&'static str, &'static str)],
    /// The plan of the change, from its first namespace on.
    pub(crate) plan: &'static str,
    /// What is so then.
    pub(crate) then: &'static [Check],
}

/// An example that is empty, on an empty host.
pub(crate) const PLAIN: Example = Example {
    spec: "",
    given: "ip netns add first; ip netns del first",
    beside: &[],
    works: &[],
    edit: &[],
    plan: "",
    then: &[],
};

/// Something that is tried with packets, from inside of a namespace or from `host`.
#[derive(Debug)]
pub(crate) enum Check {
    /// An address or a name answers. The second is what ping(8) takes.
    Answers(&'static str, &'static str),
    /// There is no answer within a second, or word that there will be none.
    Silent(&'static str, &'static str),
    /// A command says something, whether it fails or not.
    Says(&'static str, &'static str, &'static str),
    /// The server of the internet, asked by name, sees the caller come from this address.
    SeenAs(&'static str, &'static str, &'static str),
}

use Check::{Answers, Says, SeenAs, Silent};

impl Check {
    fn run(&self) {
        match *self {
            Answers(ns, ping) => {
                let output = within(ns, &format!("ping -n -c1 -W20 {ping}"));
                assert_eq!(output.status, 0, "{self:?}: {}", output.stdout);
            }
            Silent(ns, ping) => {
                let output = within(ns, &format!("ping -n -c1 -W1 {ping}"));
                assert_eq!(output.status, 1, "{self:?}: {}", output.stdout);
            }
            Says(ns, command, text) => {
                let output = within(ns, command);
                let said = output.stdout + &output.stderr;
                assert!(said.contains(text), "{self:?}: {said}");
            }
            SeenAs(ns, url, address) => {
                let script = format!(
                    "import urllib.request; print(urllib.request.urlopen('{url}').read().decode())"
                );
                let said = within(ns, &format!("no_proxy='*' python3 -c \"{script}\"")).ok();
                assert_eq!(said.trim(), address, "{self:?}");
            }
        }
    }
}

/// Runs a command in a namespace with its files of `/etc`.
fn within(ns: &str, command: &str) -> crate::common::Output {
    if ns == "host" {
        return sh(command);
    }
    netform(&["exec", ns, "--", "sh", "-ec", command])
}

impl Example {
    /// What its file says, and what it says once edited.
    pub(crate) fn texts(&self) -> (String, String) {
        let path = format!("specs/{}.yaml", self.spec);
        let original = fs::read_to_string(path).expect("a spec of that name");
        let mut edited = original.clone();
        for (old, new) in self.edit {
            assert_eq!(edited.matches(old).count(), 1, "of {old:?}");
            edited = edited.replace(old, new);
        }
        (original, edited)
    }
}

/// Takes an example through all of it.
pub(crate) fn run(example: &Example) {
    let path = format!("/run/{}.yaml", example.spec);
    let (original, edited) = example.texts();
    in_sandbox(|| {
        sh(example.given).ok();
        let before = world();
        for other in example.beside {
            apply(&format!("specs/{other}.yaml"));
        }
        let try_all = |checks: &[Check]| checks.iter().for_each(Check::run);

        fs::write(&path, &original).expect("write");
        apply(&path);
        try_all(example.works);

        fs::write(&path, &edited).expect("write");
        let plan = netform(&["plan", "-f", &path]).ok();
        let (title, rest) = plan.split_once("\n\n  ").unwrap_or(("", &plan));
        assert_eq!(title, example.spec, "the topology is named as its file is");
        assert!(rest == example.plan, "the plan of the edit is\n{rest}");
        apply(&path);
        try_all(example.then);

        // And back again.
        fs::write(&path, &original).expect("write");
        apply(&path);
        try_all(example.works);

        netform(&["destroy", "-f", &path, "--yes"]).ok();
        for other in example.beside.iter().rev() {
            netform(&["destroy", other, "--yes"]).ok();
        }
        fs::remove_file(&path).expect("remove");
        assert_same_world(&before, &world());
    });
}

/// Applies a spec and tries its checks, after which there is nothing more to do.
fn apply(path: &str) {
    netform(&["apply", "-f", path, "--yes", "--check"]).ok();
    let again = netform(&["plan", "-f", path, "--detailed-exitcode"]);
    assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
}
