//! Texts as words, comments and documents of a shell script.

use std::fmt::Write;

use crate::resource::Ns;
use crate::state::External;

/// A text as one word of the shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:,@%+=-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Lines as comments. What could end one, or hide what stands there, is written out.
pub(super) fn comment(text: &str) -> String {
    let mut comment = String::new();
    for line in text.lines() {
        comment.push_str("# ");
        for c in line.trim_end().chars() {
            if c.is_control() || is_hidden(c) {
                let _ = write!(comment, "{}", c.escape_unicode());
            } else {
                comment.push(c);
            }
        }
        comment.truncate(comment.trim_end().len());
        comment.push('\n');
    }
    comment
}

/// Whether a character changes the direction or the lines of a text, or isn't seen.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What a command is given to read, line by line and as it stands.
pub(super) fn document(text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("<<'{end}'\n{text}{newline}{end}\n")
}

/// The ways into the namespaces of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doors<'p> {
    external: &'p External,
}

impl<'p> Doors<'p> {
    pub(super) fn new(external: &'p External) -> Doors<'p> {
        Doors { external }
    }

    /// Where a namespace is found that has no name in `/run/netns`.
    fn path(self, ns: &Ns) -> Option<String> {
        let path = self.external.get(ns.name()?)?.as_ref()?;
        Some(path.to_string_lossy().into_owned())
    }

    /// Whether netform makes it. The host and external ones others make.
    pub(super) fn is_ours(self, ns: &Ns) -> bool {
        ns.name()
            .is_some_and(|name| !self.external.contains_key(name))
    }

    /// `ip` in a namespace.
    pub(super) fn ip(self, ns: &Ns) -> String {
        match (self.path(ns), ns) {
            (Some(path), _) => format!("nsenter {} ip", quoted(&format!("--net={path}"))),
            (None, Ns::Named(name)) => format!("ip -n {}", quoted(name.as_str())),
            (None, Ns::Host) => "ip".to_owned(),
        }
    }

    /// What stands before a command to have it run in a namespace, with a space behind it.
    pub(super) fn inside(self, ns: &Ns) -> String {
        match (self.path(ns), ns) {
            (Some(path), _) => format!("nsenter {} ", quoted(&format!("--net={path}"))),
            (None, Ns::Named(name)) => format!("ip netns exec {} ", quoted(name.as_str())),
            (None, Ns::Host) => String::new(),
        }
    }

    /// What `netns` of `ip link` takes for a namespace. The host is [`HOST`].
    ///
    /// [`HOST`]: super::helpers::HOST
    pub(super) fn netns(self, ns: &Ns) -> String {
        match (self.path(ns), ns) {
            (Some(path), _) => quoted(&path),
            (None, Ns::Named(name)) => quoted(name.as_str()),
            (None, Ns::Host) => "\"$host\"".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word() {
        assert_eq!(quoted("veth1"), "veth1");
        assert_eq!(quoted("10.0.0.0/8"), "10.0.0.0/8");
        for (text, word) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("$(id)", "'$(id)'"),
            ("a'b", "'a'\\''b'"),
            ("~root", "'~root'"),
            ("é", "'é'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn nothing_gets_out_of_a_comment() {
        assert_eq!(comment("a\nb"), "# a\n# b\n");
        assert_eq!(comment("a\rid"), "# a\\u{d}id\n");
        assert_eq!(comment("a\u{202e}b\u{85}"), "# a\\u{202e}b\n");
        assert_eq!(
            comment("  +  veth a \u{21c4} b"),
            "#   +  veth a \u{21c4} b\n"
        );
    }

    #[test]
    fn nothing_ends_a_document_before_its_end() {
        assert_eq!(document("a\n"), "<<'END'\na\nEND\n");
        assert_eq!(document("END\nEND_"), "<<'END__'\nEND\nEND_\nEND__\n");
        assert_eq!(document(""), "<<'END'\nEND\n");
    }
}
