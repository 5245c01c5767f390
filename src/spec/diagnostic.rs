//! What is wrong with a spec, where, and what to do.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::source::{Source, Span, boundary};
use crate::render::style::{Colour, Role};

/// The widest part of a line that is shown, in columns.
const WINDOW: usize = 100;

/// The columns shown before the marked part of a line that is too long to be shown whole.
const LEAD: usize = 30;

/// The bytes before and after the start of the marked part that may be shown.
const REACH: usize = 512;

/// Something wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: a fragment without a period.
    pub message: String,
    /// The places that it is about. The first is where it is to be mended.
    pub labels: Vec<Label>,
}

/// A place, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to do there, or what stands there. May be empty.
    pub text: String,
}

impl Diagnostic {
    /// `message`, which is mended at `span` by doing as `help` says.
    pub fn new(message: impl Into<String>, span: Span, help: impl Into<String>) -> Diagnostic {
        let diagnostic = Diagnostic {
            message: message.into(),
            labels: Vec::new(),
        };
        diagnostic.also(span, help)
    }

    /// The same, with a further place and what stands there.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// The whole message, with the lines that it is about. It ends with a newline.
    ///
    /// `sources` are those that the spans count in.
    pub fn render(&self, sources: &[Source], colour: Colour) -> String {
        let error = colour.paint(Role::Removed, "error:");
        let mut text = format!(
            "{error} {}\n",
            colour.paint(Role::Title, &plain(&self.message))
        );
        let places: Vec<Place> = self
            .labels
            .iter()
            .enumerate()
            .filter_map(|(index, label)| Place::of(label, index == 0, sources))
            .collect();
        let gutter = places.iter().map(|place| place.line).max();
        let gutter = gutter.map_or(0, |line| line.to_string().len());
        let mut files: Vec<usize> = Vec::new();
        for place in &places {
            if !files.contains(&place.label.span.source) {
                files.push(place.label.span.source);
            }
        }
        for (index, file) in files.iter().enumerate() {
            let mut here: Vec<&Place> = places
                .iter()
                .filter(|place| place.label.span.source == *file)
                .collect();
            let corner = if index == 0 { "╭─" } else { "├─" };
            let Place { line, column, .. } = here[0];
            let name = plain(&sources[*file].name);
            let head = format!("{:gutter$} {corner} {name}:{line}:{column}", "");
            let _ = writeln!(text, "{}", colour.paint(Role::Faint, &head));
            here.sort_by_key(|place| (place.label.span.start, !place.primary));
            write_lines(&mut text, &here, &sources[*file], gutter, colour);
        }
        text
    }
}

/// A label in its source.
struct Place<'a> {
    label: &'a Label,
    primary: bool,
    line: usize,
    column: usize,
}

impl<'a> Place<'a> {
    fn of(label: &'a Label, primary: bool, sources: &[Source]) -> Option<Place<'a>> {
        let (line, column) = sources.get(label.span.source)?.position(label.span.start);
        Some(Place {
            label,
            primary,
            line,
            column,
        })
    }
}

fn write_lines(
    text: &mut String,
    places: &[&Place],
    source: &Source,
    gutter: usize,
    colour: Colour,
) {
    let bar = colour.paint(Role::Faint, "·");
    let mut last = None;
    for here in places.chunk_by(|a, b| share_a_row(a, b, source)) {
        let line = here[0].line;
        if last.is_some_and(|last| line != last + 1) {
            let _ = writeln!(text, "{:gutter$} {}", "", colour.paint(Role::Faint, "⋮"));
        }
        last = Some(line);
        let row = Row::new(source, line, here[0].label.span.start);
        let number = format!("{line:gutter$} │");
        let shown = format!("{} {}", colour.paint(Role::Faint, &number), row.shown);
        let _ = writeln!(text, "{}", shown.trim_end());
        for place in here {
            let (from, width) = row.columns(place.label.span);
            let role = if place.primary {
                Role::Removed
            } else {
                Role::Changed
            };
            let (left, right) = ((width - 1) / 2, width / 2);
            let line = if place.label.text.is_empty() {
                "─".repeat(width)
            } else {
                format!("{}┬{}", "─".repeat(left), "─".repeat(right))
            };
            let line = colour.paint(role, &line);
            let _ = writeln!(text, "{:gutter$} {bar} {:from$}{line}", "", "");
            if !place.label.text.is_empty() {
                let hook = colour.paint(role, "╰");
                let from = from + left;
                let label = plain(&place.label.text);
                let _ = writeln!(text, "{:gutter$} {bar} {:from$}{hook} {label}", "", "");
            }
        }
    }
}

/// Whether two places are so near to each other that one row shows both.
fn share_a_row(first: &Place, second: &Place, source: &Source) -> bool {
    let distance = second.label.span.end.saturating_sub(first.label.span.start);
    let short = source.line(first.line).1.len() <= WINDOW;
    first.line == second.line && (short || distance <= WINDOW - LEAD)
}

/// A line as it is shown: a part of it, with a width for every character.
struct Row {
    shown: String,
    /// The offset in the source and the column of each character that is shown, and of what follows.
    cells: Vec<(usize, usize)>,
}

impl Row {
    /// The part of a line around what begins at `mark`.
    fn new(source: &Source, line: usize, mark: usize) -> Row {
        let (start, text) = source.line(line);
        // Only what is near can be shown, and a line may be as long as a file.
        let mark = mark.saturating_sub(start);
        let low = boundary(text, mark.saturating_sub(REACH));
        let high = boundary(text, mark + REACH);
        let near = &text[low..high];
        let mark: usize = near[..boundary(near, mark - low)]
            .chars()
            .map(columns_of)
            .sum();
        let all: usize = near.chars().map(columns_of).sum();
        let wanted = if all <= WINDOW || mark + LEAD < WINDOW {
            0
        } else {
            (mark - LEAD).min(all - WINDOW)
        };
        let mut row = Row {
            shown: String::new(),
            cells: Vec::new(),
        };
        let (mut skipped, mut column) = (0, 0);
        for (at, c) in near.char_indices() {
            if skipped < wanted {
                skipped += columns_of(c);
                continue;
            }
            if row.cells.is_empty() && start + low + at > start {
                row.shown.push('…');
                column = 1;
            }
            row.cells.push((start + low + at, column));
            if column + columns_of(c) > WINDOW + 1 {
                row.shown.push('…');
                return row;
            }
            push_plain(&mut row.shown, c);
            column += columns_of(c);
        }
        row.cells.push((start + high, column));
        if high < text.len() {
            row.shown.push('…');
        }
        row
    }

    /// The column of an offset, or that of the nearest character that is shown.
    fn column(&self, offset: usize) -> usize {
        let cell = self.cells.partition_point(|(at, _)| *at < offset);
        self.cells[cell.min(self.cells.len() - 1)].1
    }

    /// The first column of a span, and how many columns it has: at least one.
    fn columns(&self, span: Span) -> (usize, usize) {
        let (from, to) = (self.column(span.start), self.column(span.end));
        (from, to.saturating_sub(from).max(1))
    }
}

/// The columns that a character takes as [`push_plain`] writes it.
fn columns_of(c: char) -> usize {
    if c == '\t' { 4 } else { c.width().unwrap_or(1) }
}

/// Appends a character, or what stands for one that would do something to a terminal.
fn push_plain(text: &mut String, c: char) {
    match c {
        '\t' => text.push_str("    "),
        '\0'..='\u{1f}' => text.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
        '\u{7f}'..='\u{9f}' => text.push('\u{fffd}'),
        // These reorder what stands beside them, and have no width.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
        c => text.push(c),
    }
}

/// A text that does nothing to a terminal and stays on its line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    text.chars().for_each(|c| push_plain(&mut plain, c));
    plain
}
