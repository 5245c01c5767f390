//! `netform export`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::ground::Ground;
use super::session::{self, failed};
use super::{Status, completions, output};
use crate::export::{self, Draft, Extras, Scope, Wanted};
use crate::kernel::{Error, Kernel};
use crate::plan::{self, Action, Conflict, Plan};
use crate::render::phrase;
use crate::resource::name::{NamespaceName, TopologyName};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::lower::Lowered;
use crate::spec::{self, source::Source};
use crate::state::{State, Survey};

/// What a topology is called that nobody gave a name.
const NAMELESS: &str = "exported";

/// What stands for the host among the names of namespaces.
const HOST: &str = "host";

/// The first line: editors find the schema by it.
const HEAD: &str = "\
# yaml-language-server: $schema=https://raw.githubusercontent.com/netform/netform/main/schema/netform.schema.json
";

/// How often what would change otherwise is added.
const ROUNDS: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A script becomes a spec: netform sandbox -- sh -c './setup.sh && netform export' > lab.yaml
What runs is taken over: netform export > lab.yaml; netform apply --adopt -f lab.yaml")]
pub(super) struct Arguments {
    /// The namespaces to write down, with what joins them; all that have a name, unless programs made them. `host`
    /// stands for the pairs, bridges and dummies of the host
    #[arg(value_name = "NAMESPACE", add = completions::namespaces())]
    namespaces: Vec<String>,

    /// What to call the topology. By default as the one that owns what is written, else `exported`
    #[arg(long, value_name = "TOPOLOGY")]
    name: Option<TopologyName>,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let (Ok(status) | Err(status)) = write(arguments);
    status
}

fn write(arguments: &Arguments) -> Result<Status, Status> {
    let wanted = wanted(&arguments.namespaces)?;
    let mut kernel = Kernel::open().map_err(|error| failed(&error))?;
    let nameless = TopologyName::try_from(NAMELESS).expect("it is a topology's name");
    let guess = arguments.name.as_ref().unwrap_or(&nameless);
    let mut survey = kernel.survey(guess).map_err(|error| failed(&error))?;
    let mut scope = Scope::of(&wanted, &survey).map_err(|missing| unknown(missing, &survey))?;
    if scope.is_empty() {
        output::error(
            "there is nothing to write down: no network namespace has a name here\n  \
             `ip netns attach NAME PID` gives a process's one; `netform export host` writes what joins parts of the host",
        );
        return Err(Status::Failed);
    }
    let owner = export::topology(&survey, &mut scope);
    let name = arguments.name.clone().or(owner).unwrap_or(nameless.clone());
    if name != *guess {
        // Where a topology has something is in its record.
        let seen = kernel.see_as(&mut survey, &name);
        seen.map_err(|error| failed(&error))?;
        scope = Scope::of(&wanted, &survey).map_err(|missing| unknown(missing, &survey))?;
        export::topology(&survey, &mut scope);
    }
    let mut extras = Extras::default();
    let mut rounds = 0;
    let (draft, lowered, observed) = loop {
        let mut draft = export::draft(&survey, &scope, &name, &extras);
        let lowered = match settle(&mut kernel, &mut draft)? {
            Ok(lowered) => lowered,
            Err(found) => return Err(give_up(&draft, &found)),
        };
        let observed = kernel.observe(&name, &lowered.state);
        let observed = observed.map_err(|error| failed(&error))?;
        let others = Extras::between(&lowered.state, &observed);
        rounds += 1;
        if !extras.extend(others) || rounds == ROUNDS {
            break (draft, lowered, observed);
        }
    };
    let mut text = format!("{HEAD}{}", draft.text());
    let mut remarks = Vec::new();
    for (name, program) in scope.left_out() {
        remarks.push(format!(
            "Namespace {name} is left out, because {program} seems to have made it: `netform export {name}` writes it."
        ));
    }
    remarks.extend(pending(&name, &lowered.state, observed));
    if !remarks.is_empty() {
        text.push('\n');
    }
    for line in remarks.iter().flat_map(|remark| remark.lines()) {
        let _ = writeln!(text, "# {line}");
    }
    Ok(output::result(&text))
}

/// The names of the command line.
fn wanted(names: &[String]) -> Result<Wanted, Status> {
    let mut wanted = Wanted::default();
    for name in names {
        if name == HOST {
            wanted.host = true;
            continue;
        }
        let name = NamespaceName::try_from(name.as_str()).map_err(|bad| {
            output::error(&bad.to_string());
            Status::Usage
        })?;
        wanted.namespaces.insert(name);
    }
    wanted.all = wanted.namespaces.is_empty() && !wanted.host;
    Ok(wanted)
}

fn unknown(missing: Vec<NamespaceName>, survey: &Survey) -> Status {
    let there = survey.places.keys().filter_map(|ns| ns.name());
    let there: Vec<NamespaceName> = there.cloned().collect();
    for name in missing {
        let others = there.clone();
        failed(&Error::NoNamespace { name, others });
    }
    Status::Failed
}

/// Parses and lowers what was written. What is refused is struck out, until nothing is, or until what is refused can't be.
fn settle(
    kernel: &mut Kernel,
    draft: &mut Draft,
) -> Result<Result<Lowered, Vec<Diagnostic>>, Status> {
    loop {
        let found = match lower(kernel, draft).map_err(|error| failed(&error))? {
            Ok(lowered) => return Ok(Ok(lowered)),
            Err(found) => found,
        };
        let struck = found.iter().filter(|diagnostic| {
            let mut labels = diagnostic.labels.iter();
            labels.any(|label| draft.strike(label.span, &diagnostic.message).is_some())
        });
        if struck.count() == 0 {
            return Ok(Err(found));
        }
        draft.rewrite();
    }
}

fn lower(kernel: &mut Kernel, draft: &Draft) -> Result<Result<Lowered, Vec<Diagnostic>>, Error> {
    let source = Source::new(NAMELESS, draft.text().to_owned());
    let spec = match spec::parse(&[source]) {
        Ok(spec) => spec,
        Err(found) => return Ok(Err(found)),
    };
    let facts = Ground::facts(kernel, &spec, &spec.name.value)?;
    Ok(spec::lower(&spec, &facts))
}

/// Prints what was written though it is no spec yet, and what is wrong with it.
fn give_up(draft: &Draft, found: &[Diagnostic]) -> Status {
    output::result(draft.text());
    let sources = [Source::new("<stdout>", draft.text().to_owned())];
    let status = session::report(found, &sources);
    output::error("what was written is no spec yet: mend it as the errors above say");
    status
}

/// What a plan with `--adopt` would still do.
fn pending(topology: &TopologyName, desired: &State, mut observed: State) -> Vec<String> {
    plan::offer(topology, desired, &mut observed);
    let (title, lines) = match plan::plan(topology, desired, &observed) {
        Ok(plan) => (
            "What `netform apply --adopt` does here besides taking this over as it is:",
            changes(topology, &plan),
        ),
        Err(conflicts) => (
            "What stands in the way of `netform apply --adopt` here:",
            conflicts
                .iter()
                .map(|conflict| conflicting(topology, conflict))
                .collect(),
        ),
    };
    if lines.is_empty() {
        return Vec::new();
    }
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    [title.to_owned()].into_iter().chain(lines).collect()
}

fn changes(topology: &TopologyName, plan: &Plan) -> BTreeSet<String> {
    let changes = plan.operations.iter().filter_map(|operation| {
        let sign = match &operation.action {
            _ if operation.adopts_as_it_is() => return None,
            Action::Create(_) => '+',
            Action::Remove(_) => '-',
            _ => '~',
        };
        Some(format!(
            "{sign} {}",
            phrase::located(&operation.id, topology)
        ))
    });
    changes.collect()
}

fn conflicting(topology: &TopologyName, conflict: &Conflict) -> String {
    let what = phrase::located(&conflict.id, topology);
    match &conflict.unfit {
        Some(why) => format!("{what}: {why}"),
        None => what,
    }
}
