//! `netform show`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use super::ground::Ground;
use super::session::{self, Given, failed};
use super::{Status, completions, from, output};
use crate::kernel::{self, Kernel};
use crate::plan;
use crate::render::document::shown;
use crate::render::show::{Portrait, Sync};
use crate::render::{hints, show};
use crate::resource::name::TopologyName;
use crate::spec;
use crate::state::{External, State};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What has drifted: netform show -f lab.yaml
What is dropped, as it happens: netform show lab --watch")]
pub(super) struct Arguments {
    /// The topology of which everything is listed
    #[arg(value_name = "NAME", add = completions::topologies())]
    name: Option<TopologyName>,

    /// Tell too whether each topology is as a spec says: a file, or a directory with its *.yaml and *.yml
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Look every so many seconds, 2 if nothing is said, and print it whenever it has changed; on a terminal, in place
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86400)
    )]
    watch: Option<u64>,

    /// Print files that have udev, NetworkManager and systemd-networkd leave alone what netform makes, as a
    /// script that puts them in place
    #[arg(long, conflicts_with_all = ["name", "files", "watch"])]
    hints: bool,

    /// Print all that a plan depends on, as a snapshot that `netform plan --from` plans against, on any machine and without
    /// privilege
    #[arg(long, conflicts_with_all = ["name", "files", "watch", "hints"])]
    snapshot: bool,

    /// How to print it
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "text",
        conflicts_with_all = ["hints", "snapshot"]
    )]
    output: Format,
}

/// How things are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// To be read.
    Text,
    /// One JSON document with all that each topology owns (`netform schema show`).
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    if arguments.hints {
        return output::result(&hints::script());
    }
    let told = if arguments.snapshot {
        snapshot()
    } else {
        topologies(arguments)
    };
    told.unwrap_or_else(|status| status)
}

fn snapshot() -> Result<Status, Status> {
    let snapshot = Kernel::open().and_then(|kernel| kernel.snapshot());
    let snapshot = snapshot.map_err(|error| failed(&error))?;
    Ok(output::result(&snapshot.to_text()))
}

fn topologies(arguments: &Arguments) -> Result<Status, Status> {
    let specs = (!arguments.files.is_empty()).then(|| from::parse(&arguments.files));
    let specs = specs.transpose()?;
    let mut last = String::new();
    loop {
        // Opened each time: a socket kept from one look to the next has a namespace that is deleted meanwhile live on, and with
        // it the other ends of its links.
        let mut kernel = Kernel::open().map_err(|error| failed(&error))?;
        let text = text(arguments, &mut kernel, specs.as_deref())?;
        drop(kernel);
        if text != last {
            let in_place = arguments.watch.is_some() && stdout().is_terminal();
            if in_place {
                output::clear();
            }
            let status = match arguments.output {
                Format::Text => output::page(&text),
                Format::Json => output::result(&text),
            };
            if !status.is_success() {
                return Err(status);
            }
            last = text;
        }
        match arguments.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None => return Ok(Status::Done),
        }
    }
}

/// What there is to print.
fn text(
    arguments: &Arguments,
    kernel: &mut Kernel,
    specs: Option<&[Given]>,
) -> Result<String, Status> {
    let is_data = arguments.output == Format::Json;
    let colour = output::colour_of_stdout();
    let known = known(kernel).map_err(|error| failed(&error))?;
    let Some(name) = &arguments.name else {
        let named = specs.into_iter().flatten();
        let named = named.map(|one| one.spec.name.value.clone());
        let all: BTreeSet<TopologyName> = known.iter().cloned().chain(named).collect();
        let portraits = all.iter().map(|name| {
            let mut portrait = portrait(kernel, name, specs, is_data)?;
            if let (Some(Sync::Differs(changes)), false) = (portrait.sync, known.contains(name)) {
                portrait.sync = Some(Sync::NotApplied(changes));
            }
            Ok(portrait)
        });
        let portraits: Vec<Portrait> = portraits.collect::<Result<_, _>>()?;
        return Ok(if is_data {
            shown::text(&portraits)
        } else {
            show::list(&portraits, colour)
        });
    };
    if !known.contains(name) {
        let names: Vec<&str> = known.iter().map(TopologyName::as_str).collect();
        let there = if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        output::error(&format!("there is no topology {name} here; {there}"));
        return Err(Status::Failed);
    }
    let portrait = portrait(kernel, name, specs, true)?;
    Ok(if is_data {
        shown::text(&[portrait])
    } else {
        show::one(&portrait, colour)
    })
}

/// All that there is to tell of a topology. `whole`: what goes by its tables, too.
fn portrait(
    kernel: &mut Kernel,
    name: &TopologyName,
    specs: Option<&[Given]>,
    whole: bool,
) -> Result<Portrait, Status> {
    let sync = specs.map(|specs| sync(kernel, name, specs)).transpose()?;
    let read = |kernel: &mut Kernel| -> Result<Portrait, kernel::Error> {
        let state = kernel.observe(name, &State::new())?;
        let traffic = if whole {
            kernel.traffic(name, &state)?
        } else {
            BTreeMap::new()
        };
        Ok(Portrait {
            name: name.clone(),
            lost: plan::lost(name, &State::new(), &state),
            state,
            traffic,
            sync,
        })
    };
    read(kernel).map_err(|error| failed(&error))
}

/// Whether a topology is as one of some specs says.
fn sync(kernel: &mut Kernel, name: &TopologyName, specs: &[Given]) -> Result<Sync, Status> {
    let mut specs = specs.iter();
    let Some(given) = specs.find(|one| one.spec.name.value == *name) else {
        return Ok(Sync::NoSpec);
    };
    let facts = Ground::facts(kernel, &given.spec, name).map_err(|error| failed(&error))?;
    let lowered = spec::lower(&given.spec, &facts)
        .map_err(|found| session::report(&found, &given.sources))?;
    let observed = kernel.observe(name, &lowered.state);
    let observed = observed.map_err(|error| failed(&error))?;
    Ok(match plan::plan(name, &lowered.state, &observed) {
        Ok(plan) if plan.operations.is_empty() => Sync::Same,
        Ok(plan) => Sync::Differs(plan.operations.len()),
        Err(conflicts) => Sync::Blocked(conflicts.len()),
    })
}

/// The topologies that have a record, or a link of the host.
pub(super) fn known(kernel: &mut Kernel) -> Result<BTreeSet<TopologyName>, kernel::Error> {
    let links = kernel.facts(&External::new())?.host.links;
    let tagged = links.into_values().filter_map(|link| link.owner);
    Ok(Kernel::topologies()?.into_iter().chain(tagged).collect())
}
