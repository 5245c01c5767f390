//! Texts for terminals that have no more than ASCII.

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
