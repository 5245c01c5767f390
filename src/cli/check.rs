//! `netform check`, and the checks of `apply --check`.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{self, Given, Session};
use super::source::Files;
use super::{Status, explain, output, signals};
use crate::checks::{self, Outcome};
use crate::kernel::{self, doors};
use crate::render::check::{self as render, Report};
use crate::resource::Ns;
use crate::resource::name::TopologyName;
use crate::spec::model::{Check, What};
use crate::state::External;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: netform apply -f lab.yaml && netform check -f lab.yaml -o junit > checks.xml

Exit status: 0 all checks are as expected, 1 one isn't, or none could be tried. `apply --check` tries
them too, and takes back what it has done if one isn't as expected.")]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Say of each check that isn't as expected where its packets get, namespace by namespace, and what stops them. Each is
    /// tried once more for that
    #[arg(long)]
    explain: bool,

    /// How the results are printed
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line for each check
    Text,
    /// One JSON document
    Json,
    /// XML, as programs for continuous integration read it
    Junit,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    all(arguments).unwrap_or_else(|status| status)
}

/// Tries the checks of one topology after the other.
fn all(arguments: &Arguments) -> Result<Status, Status> {
    let given = session::parse(&arguments.files)?;
    let mut reports = Vec::new();
    let mut status = Status::Done;
    for (place, one) in given.iter().enumerate() {
        let report = tried(one, arguments.explain)?;
        if !report.is_as_expected() {
            status = Status::Failed;
        }
        if arguments.output == Format::Text {
            let before = if place > 0 { "\n" } else { "" };
            let text = render::text(&report, output::colour_of_stdout());
            let printed = output::page(&format!("{before}{text}"));
            status = status.worse(printed);
        }
        reports.push(report);
    }
    let printed = match arguments.output {
        Format::Text => return Ok(status),
        Format::Json => output::result(&render::json(&reports)),
        Format::Junit => output::result(&render::junit(&reports)),
    };
    Ok(status.worse(printed))
}

/// Tries the checks of a spec.
fn tried(given: &Given, explained: bool) -> Result<Report<'_>, Status> {
    let spec = &given.spec;
    let (topology, external) = (&spec.name.value, spec.external());
    let report = report(topology, &spec.checks, &external, explained, &|| false);
    report.map_err(|error| session::failed(&error))
}

/// Tries the checks of a topology, and says how they ended and, if that is wanted, what stops those that aren't as expected.
fn report<'s>(
    topology: &'s TopologyName,
    checks: &'s [Check],
    external: &External,
    explained: bool,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Report<'s>, kernel::Error> {
    let outcomes = try_all(checks, external, stop)?;
    let explanations = if explained {
        explain::explain(checks, &outcomes, external, stop)
    } else {
        BTreeMap::new()
    };
    Ok(Report::new(topology, checks, outcomes).explained(explanations))
}

/// Tries checks.
fn try_all(
    checks: &[Check],
    external: &External,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Outcome>, kernel::Error> {
    let wanted: BTreeSet<&Ns> = checks.iter().map(|check| &check.from.value).collect();
    let packets = checks
        .iter()
        .any(|check| matches!(check.what, What::Ping(_)));
    let doors = doors::open(&wanted, external, packets)?;
    Ok(checks::run(checks, &doors, stop))
}

/// What is tried once a spec is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// Nothing.
    None,
    /// Its checks.
    Checks,
    /// Its checks, and what stops those that aren't as expected is said.
    Explained,
}

/// Has the checks of a spec be tried once it is applied, if that is wanted. That there are none is said.
pub(super) fn keep(session: &mut Session, trial: Trial) {
    session.explains = trial == Trial::Explained;
    if trial == Trial::None {
        session.checks.clear();
    } else if session.checks.is_empty() {
        output::remark(&format!("{} has no checks.\n", session.topology));
    }
}

/// Tries the checks of a topology that was applied, prints how they ended, and says whether all are as expected. A signal ends
/// them.
pub(super) fn after(session: &Session) -> Status {
    if session.checks.is_empty() {
        return Status::Done;
    }
    let stop = || signals::asked().is_some();
    let (checks, external) = (&session.checks, &session.desired.external);
    match report(&session.topology, checks, external, session.explains, &stop) {
        Ok(report) => told(&report),
        Err(error) => session::failed(&error),
    }
}

/// Prints how checks ended.
fn told(report: &Report<'_>) -> Status {
    let text = render::text(report, output::colour_of_stdout());
    output::page(&format!("\n{text}"));
    match (report.is_as_expected(), signals::asked()) {
        (true, _) => Status::Done,
        (false, Some(signal)) => {
            output::error(&format!("stopped by {signal}, while checks were tried"));
            Status::Failed
        }
        (false, None) => {
            let count = report.unexpected();
            let what = if count == 1 {
                "a check isn't".to_owned()
            } else {
                format!("{count} checks aren't")
            };
            output::error(&format!("{what} as expected"));
            Status::Failed
        }
    }
}
