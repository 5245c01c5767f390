//! Colour, for those who look at a terminal.

use anstyle::{AnsiColor, Style};

/// Whether texts are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    On,
    /// Plain.
    Off,
}

/// A role that a piece of text plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Something that comes.
    Added,
    /// Something that changes.
    Changed,
    /// Something that goes.
    Removed,
    /// Something to beware of.
    Warning,
    /// A title.
    Title,
    /// Something beside the point.
    Faint,
}

impl Colour {
    /// `text` as it looks in a role.
    pub fn paint(self, role: Role, text: &str) -> String {
        let style = match role {
            Role::Added => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Role::Changed => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Role::Removed => Style::new().fg_color(Some(AnsiColor::Red.into())),
            Role::Warning => Style::new()
                .fg_color(Some(AnsiColor::Magenta.into()))
                .bold(),
            Role::Title => Style::new().bold(),
            Role::Faint => Style::new().dimmed(),
        };
        match self {
            Colour::On => format!("{style}{text}{style:#}"),
            Colour::Off => text.to_owned(),
        }
    }
}
