//! Texts for terminals that are narrower than their lines.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use super::plain;

/// How much further in a line goes on than it began.
const FURTHER: usize = 4;
/// A terminal with fewer columns gets its lines as they are.
const NARROWEST: usize = 20;

/// A text whose lines fit in so many columns: they are broken between words, and go on further in than they began, so that what
/// stands at the start of lines, as signs do, stands out. A word that is longer than a line stays whole, for who copies it, and so do
/// lines that show a part of a file.
pub fn wrapped(text: &str, columns: usize) -> Cow<'_, str> {
    let fits = |line: &str| width(line) <= columns || is_shown(line);
    if columns < NARROWEST || text.lines().all(fits) {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive('\n') {
        if fits(line.trim_end_matches('\n')) {
            all.push_str(line);
        } else {
            wrap(line, columns, &mut all);
        }
    }
    Cow::Owned(all)
}

/// Breaks a line.
fn wrap(line: &str, columns: usize, all: &mut String) {
    let start = line.len() - line.trim_start_matches(' ').len();
    let indent = (start + FURTHER).min(columns / 2);
    let mut column = 0;
    let mut gap = 0;
    for piece in line.trim_end_matches('\n').split(' ') {
        let taken = width(piece);
        if piece.is_empty() {
            gap += 1;
            continue;
        }
        if column > 0 && column + gap + taken > columns {
            all.push('\n');
            all.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            all.extend(std::iter::repeat_n(' ', gap));
            column += gap;
        }
        all.push_str(piece);
        column += taken;
        gap = 1;
    }
    if line.ends_with('\n') {
        all.push('\n');
    }
}

/// Whether a line shows a part of a file, or marks something in it (`spec/diagnostic.rs`).
fn is_shown(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
    rest.starts_with(['╭', '│', '·', '╰', '⋮'])
}

/// How many columns a text takes. What sets a colour takes none.
fn width(text: &str) -> usize {
    let mut rest = text;
    let mut columns = 0;
    while let Some(at) = rest.find('\x1b') {
        columns += rest[..at].width();
        let (taken, shown) = plain::colour(&rest[at..]).map_or((1, 1), |length| (length, 0));
        columns += shown;
        rest = &rest[at + taken..];
    }
    columns + rest.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_further_in_and_words_stay_whole() {
        let text = "lab\n  +  route  10.0.0.0/8 via 10.0.0.1     because it is so\n  -  a\n";
        let narrow = "lab\n  +  route\n      10.0.0.0/8 via\n      10.0.0.1\n      because it is\n      so\n  -  a\n";
        assert_eq!(wrapped(text, 20), narrow);
        assert!(matches!(wrapped(text, 80), Cow::Borrowed(_)));
        assert!(matches!(wrapped(text, 7), Cow::Borrowed(_)));
        let word = format!("  see {}", "x".repeat(40));
        assert_eq!(
            wrapped(&word, 20),
            format!("  see\n      {}", "x".repeat(40))
        );
    }

    #[test]
    fn colours_take_no_room_and_excerpts_stay() {
        let coloured = "\x1b[32m+\x1b[0m  \x1b[1mnamespace red\x1b[0m ab";
        assert!(matches!(wrapped(coloured, 20), Cow::Borrowed(_)));
        let longer = format!("{coloured} cd");
        assert_eq!(wrapped(&longer, 20), format!("{coloured}\n    cd"));
        let excerpt = format!(
            "error: a b\n  ╭─ lab.yaml:1:2\n12 │ {}\n   ·  ┬\n",
            "a b ".repeat(20)
        );
        assert!(matches!(wrapped(&excerpt, 20), Cow::Borrowed(_)));
        assert_eq!(
            wrapped("名前空間 名前空間 名前空間", 20),
            "名前空間 名前空間\n    名前空間"
        );
    }
}
