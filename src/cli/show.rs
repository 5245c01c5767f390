//! `netform show`.

use std::collections::BTreeSet;

use super::session::failed;
use super::{Status, completions, output};
use crate::kernel::{Error, Kernel};
use crate::plan;
use crate::render::document::shown;
use crate::render::{hints, show};
use crate::resource::name::TopologyName;
use crate::state::{External, State};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The topology of which everything is listed
    #[arg(value_name = "NAME", add = completions::topologies())]
    name: Option<TopologyName>,

    /// Print files that have udev, NetworkManager and systemd-networkd leave alone what netform makes, as a
    /// script that puts them in place
    #[arg(long, conflicts_with = "name")]
    hints: bool,

    /// Print all that a plan depends on, as a snapshot that `netform plan --from` plans against, on any machine and without
    /// privilege
    #[arg(long, conflicts_with_all = ["name", "hints"])]
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
        text(arguments)
    };
    told.unwrap_or_else(|error| failed(&error))
}

fn snapshot() -> Result<Status, Error> {
    let snapshot = Kernel::open()?.snapshot()?;
    Ok(output::result(&snapshot.to_text()))
}

fn text(arguments: &Arguments) -> Result<Status, Error> {
    let is_data = arguments.output == Format::Json;
    let colour = output::colour_of_stdout();
    let mut kernel = Kernel::open()?;
    let known = known(&mut kernel)?;
    let Some(name) = &arguments.name else {
        let mut all = Vec::new();
        for name in known {
            let state = kernel.observe(&name, &State::new())?;
            all.push((name, state));
        }
        let told = |(name, state): &(TopologyName, State)| {
            let lost = plan::lost(name, &State::new(), state);
            shown::Topology::of(name, state, lost.as_ref())
        };
        return Ok(output::result(&if is_data {
            shown::text(all.iter().map(told).collect())
        } else {
            show::list(&all, colour)
        }));
    };
    if !known.contains(name) {
        let names: Vec<&str> = known.iter().map(TopologyName::as_str).collect();
        let there = if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        output::error(&format!("there is no topology {name} here; {there}"));
        return Ok(Status::Failed);
    }
    let state = kernel.observe(name, &State::new())?;
    let lost = plan::lost(name, &State::new(), &state);
    Ok(output::result(&if is_data {
        shown::text(vec![shown::Topology::of(name, &state, lost.as_ref())])
    } else {
        show::one(name, &state, lost.as_ref(), colour)
    }))
}

/// The topologies that have a record, or a link of the host.
pub(super) fn known(kernel: &mut Kernel) -> Result<BTreeSet<TopologyName>, Error> {
    let links = kernel.facts(&External::new())?.host.links;
    let tagged = links.into_values().filter_map(|link| link.owner);
    Ok(Kernel::topologies()?.into_iter().chain(tagged).collect())
}
