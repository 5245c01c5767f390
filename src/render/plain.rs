//! Texts for terminals: without what would move their cursor, and for those that have no more than ASCII.

use std::borrow::Cow;

/// A text that does nothing to a terminal but to appear there, in colours: other control characters, and those that change the
/// direction of what is written (Unicode's bidirectional embeddings, overrides and isolates), become U+FFFD. Names and comments
/// that others gave, an inmate of a namespace among them, may have such.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_harmful(c) || c == '\x1b') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        if let Some(length) = colour(rest) {
            taken = length;
            clean.push_str(&rest[..length]);
        } else if c == '\x1b' || is_harmful(c) {
            clean.push('\u{fffd}');
        } else {
            clean.push(c);
        }
        rest = &rest[taken..];
    }
    Cow::Owned(clean)
}

fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t' | '\x1b')
}

/// How long the sequence is that sets a colour, if a text begins with one (`man 4 console_codes`, SGR).
pub(super) fn colour(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let numbers = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    rest[numbers..].starts_with('m').then_some(numbers + 3)
}

/// A text with the signs that netform draws with in ASCII: arrows, dots, and the lines around an excerpt. What others wrote,
/// names among them, stays.
pub fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        plain.push_str(match c {
            '─' => "-",
            '│' => "|",
            '┬' => "^",
            '╭' => ",",
            '╰' => "`",
            '·' | '⋮' => ":",
            '→' => "->",
            '⇄' => "<->",
            '±' => "*",
            '…' => "...",
            other => {
                plain.push(other);
                continue;
            }
        });
    }
    plain
}

/// Whether a locale's character set is UTF-8, from the variables that say it, the first that is set counting (`man 7 locale`). Where
/// none is, as in most containers, it is taken for so.
pub fn is_utf8(variables: [Option<&str>; 3]) -> bool {
    let mut said = variables
        .into_iter()
        .flatten()
        .filter(|value| !value.is_empty());
    said.next().is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.ends_with("utf-8")
            || locale.ends_with("utf8")
            || locale.contains("utf-8@")
            || locale.contains("utf8@")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_netform_draws_has_a_stand_in_and_names_stay() {
        let drawn = "  ±  link é0  mtu 1 → 2\n   ╭─ a:1:2\n1 │ x\n  ·  ┬\n  ·  ╰ y…  ⇄ ⋮";
        let plain = "  *  link é0  mtu 1 -> 2\n   ,- a:1:2\n1 | x\n  :  ^\n  :  ` y...  <-> :";
        assert_eq!(ascii(drawn), plain);
    }

    #[test]
    fn nothing_but_text_and_colours_gets_through() {
        for (text, shown) in [
            (
                "a\tb\n\x1b[1;31mred\x1b[0m é",
                "a\tb\n\x1b[1;31mred\x1b[0m é",
            ),
            ("a\rb", "a\u{fffd}b"),
            (
                "\x1b[2J\x1b[H\x1b]0;title\x07",
                "\u{fffd}[2J\u{fffd}[H\u{fffd}]0;title\u{fffd}",
            ),
            ("\u{9b}2Jx\x7f", "\u{fffd}2Jx\u{fffd}"),
            ("a\u{202e}b\u{2066}c", "a\u{fffd}b\u{fffd}c"),
            ("\x1b", "\u{fffd}"),
            ("\x1b[1", "\u{fffd}[1"),
            ("\x1bé", "\u{fffd}é"),
        ] {
            assert_eq!(harmless(text), shown, "{text:?}");
        }
        assert!(matches!(harmless("→ é\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        for (variables, utf8) in [
            ([None, None, None], true),
            ([Some(""), None, Some("C")], false),
            ([Some("C.UTF-8"), Some("C"), Some("C")], true),
            ([None, Some("de_DE.utf8"), None], true),
            ([None, Some("de_DE.utf8@euro"), None], true),
            ([None, None, Some("de_DE.ISO-8859-1")], false),
            ([Some("POSIX"), Some("en_US.UTF-8"), None], false),
        ] {
            assert_eq!(is_utf8(variables), utf8, "{variables:?}");
        }
    }
}
