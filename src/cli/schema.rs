//! `netform schema`.

use super::{Status, output};
use crate::render::document;
use crate::spec;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of what
    #[arg(value_name = "OF", default_value = "spec")]
    of: Of,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// The spec, for editors.
    Spec,
    /// What `plan -o json` prints.
    Plan,
    /// What `show -o json` prints.
    Show,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    output::result(&match arguments.of {
        Of::Spec => spec::schema::text(),
        Of::Plan => document::schema(),
        Of::Show => document::shown::schema(),
    })
}
