//! `netform plan`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use super::from::{self, Old};
use super::session::{self, Access, Given, Session, Takeover};
use super::source::Files;
use super::{Status, output, prune, saved};
use crate::plan::{self, Plan};
use crate::render::document::{self, OfTopology};
use crate::render::left;
use crate::render::plan::DERIVED;
use crate::render::plan::View;
use crate::render::{self, renaming};
use crate::resource::Id;
use crate::resource::link::MacAddress;
use crate::resource::name::TopologyName;
use crate::spec::lower::assumed;
use crate::state::{External, State};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
In a review, against the spec that is applied: netform plan -f new.yaml --from old.yaml
The same by hand, where netform isn't: netform plan -f lab.yaml -o shell | sudo sh")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    takeover: Takeover,

    /// Show too what becomes of the topologies that the directory of -f doesn't have, of this host or of --from
    #[arg(long)]
    prune: bool,

    /// Plan from another spec instead of this host, for a review, or from a snapshot of a host (`netform show --snapshot`):
    /// reads no kernel, and needs no privilege. An empty file means nothing
    #[arg(long, value_name = "OLD", conflicts_with_all = ["adopt_from", "out", "previous"])]
    from: Vec<PathBuf>,

    /// Tell apart what was changed by hand since this spec, the one before, was applied
    #[arg(long, value_name = "OLD")]
    previous: Vec<PathBuf>,

    /// Show each change, also where many are alike
    #[arg(long)]
    full: bool,

    /// Show too what stays, and what others have added to what is the topology's, and is left alone
    #[arg(short, long)]
    verbose: bool,

    /// How to print the plan
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    /// Save the plan in this file, for `apply --plan`
    #[arg(long, value_name = "PLAN", conflicts_with = "prune")]
    out: Option<PathBuf>,

    /// Exit with 2 when changes are pending
    #[arg(long)]
    detailed_exitcode: bool,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// To be read.
    Text,
    /// One JSON document (`netform schema plan`).
    Json,
    /// A shell script that does by hand what apply would do.
    Shell,
}

/// What there is to tell of a topology's plan.
pub(super) struct Outcome {
    pub(super) plan: Plan,
    /// What is wanted.
    pub(super) desired: State,
    /// What is there.
    pub(super) observed: Rc<State>,
    /// The name that the topology has until it is renamed.
    pub(super) renamed: Option<TopologyName>,
    /// What differs from the previous spec, if that is known.
    pub(super) drift: Option<BTreeSet<Id>>,
    /// Whether it is from one spec to another, with no host.
    pub(super) of_specs: bool,
    /// Link-layer addresses that only stand for those of a host that isn't known.
    pub(super) derived: Rc<BTreeSet<MacAddress>>,
    /// The directory that doesn't have it any more.
    pub(super) pruned_from: Option<PathBuf>,
}

impl Outcome {
    fn of(session: Session, drift: Option<BTreeSet<Id>>) -> Outcome {
        Outcome {
            renamed: session.renamed,
            drift,
            ..Outcome::on_host(session.plan, session.desired, session.observed)
        }
    }

    /// On a host that is as it was observed.
    pub(super) fn on_host(plan: Plan, desired: State, observed: State) -> Outcome {
        Outcome {
            plan,
            desired,
            observed: observed.into(),
            renamed: None,
            drift: None,
            of_specs: false,
            derived: Rc::default(),
            pruned_from: None,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Status {
    match all(arguments) {
        Ok(Status::Pending) if !arguments.detailed_exitcode => Status::Done,
        Ok(status) | Err(status) => status,
    }
}

/// Plans one topology after the other. The worst status is that of all.
fn all(arguments: &Arguments) -> Result<Status, Status> {
    let directory = arguments
        .prune
        .then(|| prune::directory(&arguments.files))
        .transpose()?;
    let given = session::parse(&arguments.files)?;
    arguments.takeover.fits(&given)?;
    if let (Format::Shell, Some(old)) = (arguments.output, &arguments.takeover.adopt_from) {
        output::error(&format!(
            "a script can't rename topology {old}: its tags and its record change hands together\n  \
             rename it with `netform apply --adopt-from {old}`, and leave that out here afterwards"
        ));
        return Err(Status::Usage);
    }
    if arguments.out.is_some() {
        saved::fits(&given)?;
    }
    let mut printer = Printer {
        arguments,
        documents: Vec::new(),
        scripts: Vec::new(),
        of_specs: false,
        worst: Status::Done,
        first: true,
    };
    if !arguments.from.is_empty() {
        match from::read(&arguments.from)? {
            Old::Snapshot(mut snapshot) => {
                let takeover = &arguments.takeover;
                for outcome in from::of_snapshot(&given, &mut snapshot, takeover, directory) {
                    printer.take(outcome);
                }
            }
            Old::Specs(_) if arguments.takeover.adopt => {
                output::error(
                    "`--adopt` takes over what others made, and from one spec to another there is nothing of others\n  \
                     leave it out, or plan from a snapshot of the host: `netform show --snapshot`",
                );
                return Err(Status::Usage);
            }
            Old::Specs(old) => {
                for outcome in from::outcomes(&given, &old, directory)? {
                    printer.tell(&outcome);
                }
            }
        }
        return Ok(printer.end());
    }
    let previous = previous(&arguments.previous)?;
    for one in &given {
        let outcome =
            Session::of_spec(one, &arguments.takeover, Access::Read).and_then(|session| {
                if let Some(path) = &arguments.out {
                    let status = saved::write(path, one, &arguments.takeover, &session);
                    printer.worst = printer.worst.worse(status);
                }
                let drift = previous.as_ref().map(|all| session.drift_since(all));
                Ok(Outcome::of(session, drift.transpose()?))
            });
        printer.take(outcome);
    }
    if let Some(directory) = directory {
        for topology in prune::superfluous(&given)? {
            let session = Session::of_nothing(topology, Access::Read);
            printer.take(session.map(|session| Outcome {
                pruned_from: Some(directory.to_owned()),
                ..Outcome::of(session, previous.as_ref().map(|_| BTreeSet::new()))
            }));
        }
    }
    Ok(printer.end())
}

/// The specs of `--previous`. None: it isn't given.
fn previous(files: &[PathBuf]) -> Result<Option<Vec<Given>>, Status> {
    if files.is_empty() {
        return Ok(None);
    }
    from::parse(files).map(Some)
}

/// Prints one plan after the other, or all of them as one document.
struct Printer<'a> {
    arguments: &'a Arguments,
    documents: Vec<OfTopology>,
    scripts: Vec<(Plan, External)>,
    of_specs: bool,
    worst: Status,
    first: bool,
}

impl Printer<'_> {
    fn take(&mut self, outcome: Result<Outcome, Status>) {
        match outcome {
            Ok(outcome) => self.tell(&outcome),
            Err(status) => self.worst = self.worst.worse(status),
        }
    }

    fn tell(&mut self, outcome: &Outcome) {
        if !outcome.plan.operations.is_empty() || outcome.renamed.is_some() {
            self.worst = self.worst.worse(Status::Pending);
        }
        match self.arguments.output {
            Format::Json => self.documents.push(OfTopology::of(
                &outcome.plan,
                outcome.renamed.as_ref(),
                outcome.drift.as_ref(),
                &outcome.derived,
            )),
            Format::Shell if outcome.renamed.is_some() => {
                output::error(
                    "a script can't give a topology another name: apply `--adopt-from` first",
                );
                self.worst = self.worst.worse(Status::Failed);
            }
            Format::Shell => {
                let external = outcome.observed.external.clone();
                self.of_specs |= outcome.of_specs;
                self.scripts.push((outcome.plan.clone(), external));
            }
            Format::Text => {
                let mut text = self.text(outcome);
                if outcome.of_specs {
                    text.push_str(&legend(&text));
                }
                let status = output::page(&text);
                self.worst = self.worst.worse(status);
                self.first = false;
            }
        }
    }

    fn text(&self, outcome: &Outcome) -> String {
        let colour = output::colour_of_stdout();
        let topology = &outcome.plan.topology;
        let mut text = String::new();
        if !self.first {
            text.push('\n');
        }
        if let Some(directory) = &outcome.pruned_from {
            text.push_str(&prune::announcement(topology, directory));
        }
        if let Some(old) = &outcome.renamed {
            text.push_str(&renaming::text(old, topology, &outcome.observed));
        }
        let view = View {
            full: self.arguments.full,
            drift: outcome.drift.as_ref(),
            derived: Some(&outcome.derived),
            ..View::full(colour)
        };
        text.push_str(&render::plan::plan(&outcome.plan, &view));
        if self.arguments.verbose {
            let kept = plan::kept(&outcome.plan, &outcome.desired);
            text.push_str(&left::kept(&kept, topology, colour));
            let left = plan::left(&outcome.plan, &outcome.observed);
            text.push_str(&left::left(&left, topology, colour));
        }
        text
    }

    /// The status of all. A document or a script is printed when nothing has failed.
    fn end(self) -> Status {
        if !self.worst.is_success() {
            return self.worst;
        }
        let printed = match self.arguments.output {
            Format::Text => return self.worst,
            Format::Json => document::text(self.documents),
            Format::Shell => {
                let parts = self.scripts.iter().map(|(plan, external)| (plan, external));
                render::shell::script(&parts.collect::<Vec<_>>(), self.of_specs)
            }
        };
        self.worst.worse(output::result(&printed))
    }
}

/// What is said below a plan of specs of what only a host knows, as far as it is there.
fn legend(plan: &str) -> String {
    let words: BTreeSet<&str> = plan.split_whitespace().map(bare).collect();
    let meanings = [
        (assumed::UNKNOWN, "a value that nobody wrote down"),
        (assumed::UPLINK, "the link of the default route"),
        (DERIVED, "an address that is made from the machine ID"),
    ];
    let said = meanings.iter().filter(|(word, _)| words.contains(word));
    let said: Vec<String> = said
        .map(|(word, means)| format!("`{word}` is {means}"))
        .collect();
    match said.as_slice() {
        [] => String::new(),
        said => format!("\nOf the host nothing is known: {}.\n", said.join(", ")),
    }
}

/// A word without what stands around it: quotes, commas, the rest of a name of a setting.
fn bare(word: &str) -> &str {
    let word = word.trim_matches(|c: char| "\",()".contains(c));
    let mut parts = word.split('.');
    parts.find(|part| *part == assumed::UPLINK).unwrap_or(word)
}
