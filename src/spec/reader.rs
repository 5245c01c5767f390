//! From nodes to typed values. What isn't as it should be is noted, and the rest is read.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::findings::{Findings, nearest};
use super::keys::{Mapping, Need};
use super::source::{Span, Spanned};
use super::tree::{Entry, Node, Value};

/// Reads nodes, and notes what is wrong with them.
pub(super) struct Reader<'f> {
    pub(super) found: &'f mut Findings,
}

/// A mapping whose keys are those that it may have.
pub(super) struct Fields<'n, 'a> {
    entries: &'n [Entry<'a>],
}

impl<'n, 'a> Fields<'n, 'a> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'a>> {
        self.entries
            .iter()
            .find(|entry| entry.key.value == key)
            .map(|entry| &entry.value)
    }
}

impl Reader<'_> {
    /// A mapping with fixed keys. `at` is where an error points that is about all of it.
    pub(super) fn fields<'n, 'a>(
        &mut self,
        node: &'n Node<'a>,
        mapping: &Mapping,
        at: Span,
    ) -> Option<Fields<'n, 'a>> {
        let Value::Map(entries) = &*node.value else {
            let keys: Vec<&str> = mapping.keys.iter().map(|key| key.name).collect();
            let message = format!("{} is a mapping, and this is {}", mapping.what, kind(node));
            let help = if keys.is_empty() {
                "write `{}`".to_owned()
            } else {
                format!("its keys are {}", listed(&keys))
            };
            self.found.error(message, place(node, at), help);
            return None;
        };
        for entry in entries {
            self.check_key(entry, mapping);
        }
        for key in mapping.keys.iter().filter(|key| key.need == Need::Required) {
            if !entries.iter().any(|entry| entry.key.value == key.name) {
                let message = format!("{} needs `{}`", mapping.what, key.name);
                let help = format!("add `{}: …`", key.name);
                self.found.error(message, at, help);
            }
        }
        Some(Fields { entries })
    }

    /// Says so when a key isn't one of the mapping.
    fn check_key(&mut self, entry: &Entry, mapping: &Mapping) {
        let key = &*entry.key.value;
        if self.is_remark(entry) || mapping.keys.iter().any(|known| known.name == key) {
            return;
        }
        let span = entry.key.span;
        if mapping.later.contains(&key) {
            let message = format!("`{key}` is not supported by this version of netform yet");
            self.found
                .error(message, span, "remove it, or use a version that knows it");
            return;
        }
        let names: Vec<&str> = mapping.keys.iter().map(|key| key.name).collect();
        let near = if self.found.is_full() {
            None
        } else {
            nearest(key, names.iter().copied())
        };
        let help = match near {
            Some(known) => format!("did you mean `{known}`?"),
            None if names.is_empty() => "remove it".to_owned(),
            None => format!("its keys are {}", listed(&names)),
        };
        self.found.error(
            format!("{} has no key `{}`", mapping.what, short(key)),
            span,
            help,
        );
    }

    /// Whether an entry is one that every mapping may have and that means nothing.
    fn is_remark(&mut self, entry: &Entry) -> bool {
        match &*entry.key.value {
            "description" => {
                let text = matches!(*entry.value.value, Value::Scalar { .. } | Value::Null);
                if !text {
                    let message = format!(
                        "`description` is a text, and this is {}",
                        kind(&entry.value)
                    );
                    let at = place(&entry.value, entry.key.span);
                    self.found
                        .error(message, at, "write a text, between quotes if need be");
                }
                true
            }
            key => key.starts_with("x-"),
        }
    }

    /// The entries of a mapping from names. Nothing is the same as an empty one.
    pub(super) fn entries<'n, 'a>(&mut self, node: &'n Node<'a>, key: &str) -> Vec<&'n Entry<'a>> {
        match &*node.value {
            Value::Null => Vec::new(),
            Value::Map(entries) => entries
                .iter()
                .filter(|entry| !self.is_remark(entry))
                .collect(),
            _ => {
                let help = "write `NAME: {…}` for each";
                self.wrong(node, key, "a mapping from names", help);
                Vec::new()
            }
        }
    }

    /// The items of a list. Nothing is the same as an empty one.
    pub(super) fn items<'n, 'a>(&mut self, node: &'n Node<'a>, key: &str) -> &'n [Node<'a>] {
        match &*node.value {
            Value::Null => &[],
            Value::List(items) => items,
            Value::Scalar { .. } => {
                self.wrong(node, key, "a list", "put it between `[` and `]`");
                &[]
            }
            Value::Map(_) => {
                self.wrong(node, key, "a list", "begin each item with `- `");
                &[]
            }
        }
    }

    /// A text. `expected` says which, with its article.
    pub(super) fn text<'n>(
        &mut self,
        node: &'n Node<'_>,
        key: &str,
        expected: &str,
    ) -> Option<Spanned<&'n str>> {
        if let Value::Scalar { text, plain: true } = &*node.value
            && (is_number(text) || is_bool(text))
        {
            let help = format!("put it between quotes: \"{}\"", short(text));
            self.wrong(node, key, expected, &help);
            return None;
        }
        self.scalar(node, key, expected)
    }

    /// What stands there, also when it may mean a number or a bool.
    pub(super) fn scalar<'n>(
        &mut self,
        node: &'n Node<'_>,
        key: &str,
        expected: &str,
    ) -> Option<Spanned<&'n str>> {
        match &*node.value {
            Value::Scalar { text, .. } => Some(Spanned::new(text, node.span)),
            // `fe80::` without quotes is YAML for a key without a value.
            Value::Map(entries) if entries.len() == 1 && entries[0].key.value.contains(':') => {
                let help = "put a text that ends in `:` between quotes";
                self.wrong(node, key, expected, help);
                None
            }
            _ => {
                self.wrong(node, key, expected, "write one text here");
                None
            }
        }
    }

    /// A whole number within limits.
    pub(super) fn number(
        &mut self,
        node: &Node,
        key: &str,
        limits: &RangeInclusive<u32>,
    ) -> Option<Spanned<u32>> {
        let (least, most) = (limits.start(), limits.end());
        let Value::Scalar { text, plain } = &*node.value else {
            self.wrong(
                node,
                key,
                "a number",
                &format!("write one from {least} to {most}"),
            );
            return None;
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || !digits || text.len() > 1 && text.starts_with('0') {
            let help = if digits && !plain {
                "remove the quotes".to_owned()
            } else {
                "write it with decimal digits only".to_owned()
            };
            self.wrong(node, key, "a whole number", &help);
            return None;
        }
        let number = text.parse().ok().filter(|number| limits.contains(number));
        if number.is_none() {
            let message = format!("`{key}` can't be {}", short(text));
            self.found
                .error(message, node.span, format!("it is from {least} to {most}"));
        }
        number.map(|number| Spanned::new(number, node.span))
    }

    /// `true` or `false`.
    pub(super) fn bool(&mut self, node: &Node, key: &str) -> Option<bool> {
        match &*node.value {
            Value::Scalar { text, plain: true } if is_bool(text) => {
                Some(text.eq_ignore_ascii_case("true"))
            }
            Value::Scalar { text, .. } => {
                let help = bool_meant(text).unwrap_or("write `true` or `false`");
                self.wrong(node, key, "`true` or `false`", help);
                None
            }
            _ => {
                self.wrong(node, key, "`true` or `false`", "write `true` or `false`");
                None
            }
        }
    }

    /// Says that a key's value is of the wrong type.
    pub(super) fn wrong(&mut self, node: &Node, key: &str, expected: &str, help: &str) {
        let message = format!("`{key}` must be {expected}, and this is {}", kind(node));
        self.found.error(message, node.span, help);
    }
}

/// What to write for a text that is meant as a bool, if it is.
pub(super) fn bool_meant(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "1" => Some("write `true`, without quotes"),
        "no" | "n" | "off" | "false" | "0" => Some("write `false`, without quotes"),
        _ => None,
    }
}

/// Where an error about a node points: at its key when nothing stands there.
fn place(node: &Node, key: Span) -> Span {
    if matches!(*node.value, Value::Null) {
        key
    } else {
        node.span
    }
}

/// What a node is, for a message.
fn kind(node: &Node) -> String {
    match &*node.value {
        Value::Null => "nothing".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Scalar { text, plain: true } if is_bool(text) => format!("`{text}`"),
        Value::Scalar { text, plain: true } if is_number(text) => {
            format!("the number {}", short(text))
        }
        Value::Scalar { text, .. } => format!("the text `{}`", short(text)),
    }
}

/// Whether YAML 1.2 takes a text without quotes for a bool.
pub(super) fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// Whether YAML 1.2 takes a text without quotes for a number.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| matches!(b, b'0'..=b'7'));
    }
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (text, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa = match (whole, part) {
        ("", part) => digits(part),
        (whole, "") => digits(whole),
        (whole, part) => digits(whole) && digits(part),
    };
    mantissa && exponent.is_none_or(digits)
}

/// A text as it stands in a message: not too long.
pub(super) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// Words as a list for a person.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
