//! `netform man`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Command;

use super::{Status, output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: netform man plan | man -l -
         netform man --directory /usr/local/share/man/man1")]
pub(super) struct Arguments {
    /// The verb that the page is about; without it, netform as a whole
    #[arg(value_name = "VERB")]
    verb: Option<String>,

    /// Write all pages into this directory, which is made if need be
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "verb")]
    directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Status {
    let mut command = super::command();
    command.build();
    if let Some(directory) = &arguments.directory {
        return match all(&command, directory) {
            Ok(()) => Status::Done,
            Err(error) => {
                output::error(&format!("can't write {}: {error}", directory.display()));
                Status::Failed
            }
        };
    }
    let of = match &arguments.verb {
        None => Some(&command),
        Some(verb) => command.find_subcommand(verb),
    };
    let Some(of) = of else {
        let verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let given = arguments.verb.as_deref().unwrap_or_default();
        let verbs = verbs.join(", ");
        output::error(&format!(
            "there is no verb `{given}`\n  the verbs are {verbs}"
        ));
        return Status::Usage;
    };
    match page(of) {
        Ok(page) => output::result(&page),
        Err(error) => {
            output::error(&error.to_string());
            Status::Failed
        }
    }
}

/// Writes all pages.
fn all(command: &Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for command in command.get_subcommands().chain([command]) {
        fs::write(
            directory.join(format!("{}.1", name(command))),
            page(command)?,
        )?;
    }
    Ok(())
}

/// What a page is called: `netform-plan` for a verb.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// A page in the language of roff, as `man 7 man` has it.
fn page(command: &Command) -> io::Result<String> {
    let page = clap_mangen::Man::new(command.clone())
        .manual("netform")
        .source(format!("netform {}", env!("CARGO_PKG_VERSION")))
        // Nothing depends on when it is made.
        .date("");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    // An argument that is empty stands there as nothing, and the next would be taken for the date.
    Ok(text.replacen(" 1  \"", " 1 \"\" \"", 1))
}
