//! `netform plan`.

use std::path::PathBuf;

use super::session::{Access, Session, Takeover};
use super::source::Files;
use super::{Status, apply, output, prune, saved, session};
use crate::render;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    takeover: Takeover,

    /// Show too what becomes of the topologies of this host that the directory of -f doesn't have
    #[arg(long)]
    prune: bool,

    /// Show too what others have added to what is the topology's, and is left alone
    #[arg(short, long)]
    verbose: bool,

    /// Save the plan in this file, for `apply --plan`
    #[arg(long, value_name = "PLAN", conflicts_with = "prune")]
    out: Option<PathBuf>,

    /// Exit with 2 when changes are pending
    #[arg(long)]
    detailed_exitcode: bool,
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
    if arguments.out.is_some() {
        saved::fits(&given)?;
    }
    let mut worst = Status::Done;
    for (place, one) in given.iter().enumerate() {
        if place > 0 {
            output::result("\n");
        }
        let session = Session::of_spec(one, &arguments.takeover, Access::Read);
        let status = match (session, &arguments.out) {
            (Ok(session), Some(path)) => {
                let told = told(&session, arguments);
                told.worse(saved::write(path, one, &arguments.takeover, &session))
            }
            (Ok(session), None) => told(&session, arguments),
            (Err(status), _) => status,
        };
        worst = worst.worse(status);
    }
    if let Some(directory) = directory {
        for topology in prune::superfluous(&given)? {
            let session = prune::without(topology, directory, Access::Read);
            worst = worst
                .worse(session.map_or_else(|status| status, |session| told(&session, arguments)));
        }
    }
    Ok(worst)
}

/// Prints a plan, and says whether it changes anything.
fn told(session: &Session, arguments: &Arguments) -> Status {
    let changes = !session.plan.operations.is_empty() || session.renamed.is_some();
    let printed = apply::show(session);
    if arguments.verbose {
        let left = crate::plan::left(&session.plan, &session.observed);
        let colour = output::colour_of_stdout();
        output::result(&render::left::left(&left, &session.topology, colour));
    }
    match printed {
        Status::Done if changes => Status::Pending,
        printed => printed,
    }
}
