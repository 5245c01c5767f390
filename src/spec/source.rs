//! The texts that a spec stands in, and places in them.

/// How many lines share an entry in a source's index.
const STRIDE: usize = 64;

/// A file, or what stands for one.
#[derive(Debug, Clone)]
pub struct Source {
    /// What an error calls it: its path, or `<stdin>`.
    pub name: String,
    /// What stands in it, without a byte order mark.
    pub text: String,
    /// The offsets of the first bytes of every [`STRIDE`]th line. All of them could take more memory
    /// than the text.
    lines: Vec<usize>,
}

impl Source {
    /// A source of that name and text. A byte order mark at the start is dropped.
    pub fn new(name: impl Into<String>, text: String) -> Source {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let starts = std::iter::once(0).chain(line_ends(&text).map(|end| end + 1));
        let lines = starts.step_by(STRIDE).collect();
        Source {
            name: name.into(),
            text,
            lines,
        }
    }

    /// The line and the column of a byte, both counted from one, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = boundary(&self.text, offset);
        let mark = self.lines.partition_point(|start| *start <= offset) - 1;
        let from = self.lines[mark];
        let before = &self.text[from..offset];
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = mark * STRIDE + line_ends(before).count();
        (line + 1, before[start..].chars().count() + 1)
    }

    /// The text of a line counted from one, without what ends it, and the offset of its first byte.
    pub(super) fn line(&self, line: usize) -> (usize, &str) {
        let (mark, further) = ((line - 1) / STRIDE, (line - 1) % STRIDE);
        let mut start = self.lines[mark];
        if let Some(last) = further.checked_sub(1) {
            let end = line_ends(&self.text[start..]).nth(last);
            start += end.map_or(0, |end| end + 1);
        }
        let rest = &self.text[start..];
        let line = rest.split('\n').next().unwrap_or(rest);
        (start, line.trim_end_matches('\r'))
    }
}

/// The offsets of the bytes that end a line.
fn line_ends(text: &str) -> impl Iterator<Item = usize> {
    text.bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'\n')
        .map(|(at, _)| at)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_line_and_column() {
        let text: String = (0..300)
            .flat_map(|line| ["x".repeat(line % 7), "é\r\n".to_owned()])
            .collect();
        let source = Source::new("many", format!("\u{feff}{text}end"));
        let (mut line, mut column) = (1, 1);
        for (at, c) in source.text.char_indices() {
            assert_eq!(source.position(at), (line, column));
            let (start, shown) = source.line(line);
            assert_eq!(source.position(start), (line, 1));
            assert!(!shown.contains(['\r', '\n']));
            (line, column) = if c == '\n' {
                (line + 1, 1)
            } else {
                (line, column + 1)
            };
        }
        assert_eq!(source.line(301), (source.text.len() - 3, "end"));
        assert_eq!(source.position(usize::MAX), (301, 4));
        assert_eq!(Source::new("empty", String::new()).position(0), (1, 1));
        assert_eq!(Source::new("newline", "\n".into()).line(2), (1, ""));
    }

    #[test]
    fn an_offset_within_a_character_is_its_start() {
        assert_eq!(
            [0, 1, 2, 3, 9].map(|at| boundary("éx", at)),
            [0, 0, 2, 3, 3]
        );
    }
}
