//! The texts that a spec stands in, and places in them.

/// A file, or what stands for one.
#[derive(Debug, Clone)]
pub struct Source {
    /// What an error calls it: its path, or `<stdin>`.
    pub name: String,
    /// What stands in it, without a byte order mark.
    pub text: String,
    /// The offset of each line's first byte.
    lines: Vec<usize>,
}

impl Source {
    /// A source of that name and text. A byte order mark at the start is dropped.
    pub fn new(name: impl Into<String>, text: String) -> Source {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        Source {
            name: name.into(),
            text,
            lines,
        }
    }

    /// The line and the column of a byte, both counted from one, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = boundary(&self.text, offset);
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The text of a line counted from one, without what ends it, and the offset of its first byte.
    pub(super) fn line(&self, line: usize) -> (usize, &str) {
        let start = self.lines[line - 1];
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        (start, self.text[start..end].trim_end_matches(['\n', '\r']))
    }
}

/// The start of the character that an offset lies in, or the end of the text.
pub(super) fn boundary(text: &str, offset: usize) -> usize {
    let within = offset.min(text.len());
    (0..=within)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// A part of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which of the sources.
    pub source: usize,
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

/// A value, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value that stands there.
    pub fn new(value: T, span: Span) -> Spanned<T> {
        Spanned { value, span }
    }
}
