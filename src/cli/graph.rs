//! `netform graph`.

use std::path::PathBuf;

use super::from::{self, Old};
use super::session::{self, Access, Session, Takeover};
use super::{Status, output, show};
use crate::kernel::Kernel;
use crate::render::graph::{self, Picture};
use crate::resource::name::TopologyName;
use crate::state::State;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A picture for a README: netform graph -f lab.yaml >lab.mmd
What a change would do: netform graph -f new.yaml --from old.yaml -o html >change.html")]
pub(super) struct Arguments {
    /// Draw what a spec says, without this host and without privilege; a directory means its *.yaml and *.yml, `-` is standard
    /// input. Without it, what topologies have on this host is drawn
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Mark what changes from another spec, or on a host of which there is a snapshot
    #[arg(long, value_name = "OLD", requires = "files", conflicts_with = "plan")]
    from: Vec<PathBuf>,

    /// Mark what `apply` would change on this host
    #[arg(long, requires = "files")]
    plan: bool,

    /// Draw each namespace, also where many are alike
    #[arg(long)]
    full: bool,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "mermaid")]
    output: Format,
}

/// How a picture is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For Markdown: GitHub, GitLab and many editors draw it.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// An image.
    Svg,
    /// A page with the image, its legend, and a table of all links.
    Html,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let picture = match picture(arguments) {
        Ok(picture) => picture,
        Err(status) => return status,
    };
    let mut drawn = picture.clone();
    if !arguments.full {
        graph::fold(&mut drawn);
    }
    output::result(&match arguments.output {
        Format::Mermaid => graph::mermaid(&drawn),
        Format::Dot => graph::dot(&drawn),
        Format::Svg => graph::svg(&drawn),
        Format::Html => graph::page(&drawn, &picture),
    })
}

/// What there is to draw.
fn picture(arguments: &Arguments) -> Result<Picture, Status> {
    if arguments.files.is_empty() {
        return here();
    }
    let given = from::parse(&arguments.files)?;
    let mut picture = Picture::default();
    let takeover = Takeover::default();
    if arguments.plan {
        for one in &given {
            let session = Session::of_spec(one, &takeover, Access::Read)?;
            picture.add(change(
                &session.topology,
                &session.observed,
                &session.desired,
            ));
        }
        return Ok(picture);
    }
    if arguments.from.is_empty() {
        for outcome in from::outcomes(&given, &[], None)? {
            picture.add(Picture::of(&outcome.plan.topology, &outcome.desired));
        }
        return Ok(picture);
    }
    let outcomes = match from::read(&arguments.from)? {
        Old::Snapshot(mut snapshot) => from::of_snapshot(&given, &mut snapshot, &takeover, None)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?,
        Old::Specs(old) => from::outcomes(&given, &old, None)?,
    };
    for outcome in outcomes {
        let topology = &outcome.plan.topology;
        picture.add(change(topology, &outcome.observed, &outcome.desired));
    }
    Ok(picture)
}

fn change(topology: &TopologyName, before: &State, after: &State) -> Picture {
    Picture::between(Picture::of(topology, before), Picture::of(topology, after))
}

/// What topologies have on this host.
fn here() -> Result<Picture, Status> {
    let read = || {
        let mut kernel = Kernel::open()?;
        let mut picture = Picture::default();
        for name in show::known(&mut kernel)? {
            let state = kernel.observe(&name, &State::new())?;
            picture.add(Picture::of(&name, &state));
        }
        Ok(picture)
    };
    read().map_err(|error| session::failed(&error))
}
