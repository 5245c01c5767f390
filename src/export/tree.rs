//! YAML with remarks, of which parts can be struck out again.

use std::fmt::Write;
use std::ops::Range;

/// An entry of a mapping, or an item of a list.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its key. None: it is an item of a list.
    key: Option<String>,
    node: Node,
    /// What there is to say above it.
    remarks: Vec<String>,
    /// Whether the rest is a spec without it.
    optional: bool,
    /// Whether nobody need be told when it is struck out.
    quiet: bool,
    /// Why it is written as a remark only.
    struck: Option<String>,
}

/// A value.
#[derive(Debug, Clone)]
enum Node {
    /// A text, as YAML takes it.
    Scalar(String),
    /// Entries or items in one line.
    Flow(Vec<Entry>),
    /// Entries or items in a line each.
    Block(Vec<Entry>),
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "who writes an entry makes its value for it"
)]
impl Entry {
    fn new(key: Option<&str>, node: Node) -> Entry {
        Entry {
            key: key.map(scalar),
            node,
            remarks: Vec::new(),
            optional: false,
            quiet: false,
            struck: None,
        }
    }

    /// An entry of a text.
    pub(super) fn text(key: &str, value: impl ToString) -> Entry {
        Entry::new(Some(key), Node::Scalar(scalar(&value.to_string())))
    }

    /// An entry of a number, or of `true` or `false`.
    pub(super) fn word(key: &str, value: impl ToString) -> Entry {
        Entry::new(Some(key), Node::Scalar(value.to_string()))
    }

    /// An item of a text.
    pub(super) fn item(value: impl ToString) -> Entry {
        Entry::new(None, Node::Scalar(scalar(&value.to_string())))
    }

    /// An item of a number, or of something else that needs no quotes.
    pub(super) fn item_word(value: impl ToString) -> Entry {
        Entry::new(None, Node::Scalar(value.to_string()))
    }

    /// An entry of entries in one line.
    pub(super) fn flow(key: &str, entries: Vec<Entry>) -> Entry {
        Entry::new(Some(key), Node::Flow(entries))
    }

    /// An item of entries in one line.
    pub(super) fn flow_item(entries: Vec<Entry>) -> Entry {
        Entry::new(None, Node::Flow(entries))
    }

    /// An entry of entries, a line each.
    pub(super) fn block(key: &str, entries: Vec<Entry>) -> Entry {
        Entry::new(Some(key), Node::Block(entries))
    }

    /// An item of entries, a line each.
    pub(super) fn block_item(entries: Vec<Entry>) -> Entry {
        Entry::new(None, Node::Block(entries))
    }

    /// The same, which the rest can do without.
    #[must_use]
    pub(super) fn optional(mut self) -> Entry {
        self.optional = true;
        self
    }

    /// The same, and nobody need be told where it can't be said.
    #[must_use]
    pub(super) fn quiet(mut self) -> Entry {
        self.quiet = true;
        self.optional()
    }

    /// The same, with something to say above it.
    #[must_use]
    pub(super) fn with_remarks(mut self, remarks: impl IntoIterator<Item = String>) -> Entry {
        self.remarks.extend(remarks);
        self
    }

    /// Whether it has nothing in it, and none is needed.
    pub(super) fn is_empty_block(&self) -> bool {
        self.optional && matches!(&self.node, Node::Block(entries) if entries.is_empty())
    }

    fn is_left(&self) -> bool {
        self.struck.is_none()
            && match &self.node {
                Node::Block(entries) if self.optional => entries.iter().any(Entry::is_left),
                // What was empty from the beginning means something.
                Node::Flow(entries) if self.optional && !entries.is_empty() => {
                    entries.iter().any(Entry::is_left)
                }
                _ => true,
            }
    }

    fn children(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.node {
            Node::Scalar(_) => None,
            Node::Flow(entries) | Node::Block(entries) => Some(entries),
        }
    }
}

/// What was written: the text, and where the parts stand that can be struck out.
#[derive(Default)]
pub(super) struct Written {
    pub(super) text: String,
    marks: Vec<(Range<usize>, Vec<usize>)>,
}

impl Written {
    /// The smallest part around a byte that the rest can do without.
    fn around(&self, offset: usize) -> Option<&[usize]> {
        let marks = self.marks.iter();
        let around = marks.filter(|(range, _)| range.contains(&offset));
        let smallest = around.min_by_key(|(range, _)| range.len());
        smallest.map(|(_, path)| path.as_slice())
    }
}

/// Writes entries, with an empty line before those that have several lines.
pub(super) fn write(entries: &[Entry]) -> Written {
    let mut writer = Writer::default();
    for (place, entry) in entries.iter().enumerate() {
        let empty = entry.is_empty_block() && entry.remarks.is_empty();
        if matches!(entry.node, Node::Block(_)) && !empty {
            writer.written.text.push('\n');
        }
        writer.path.push(place);
        writer.entry(entry, 0, "");
        writer.path.pop();
    }
    writer.written
}

/// Has the smallest part around a byte of what was written be a remark. Whether there is one.
pub(super) fn strike(
    entries: &mut [Entry],
    written: &Written,
    offset: usize,
    why: &str,
) -> Option<()> {
    let path = written.around(offset)?;
    let (first, rest) = path.split_first()?;
    let mut entry = entries.get_mut(*first)?;
    for place in rest {
        entry = entry.children()?.get_mut(*place)?;
    }
    entry.struck = Some(why.to_owned());
    Some(())
}

#[derive(Default)]
struct Writer {
    written: Written,
    path: Vec<usize>,
}

impl Writer {
    /// An entry of a block. `lead` stands before its first line, in place of as much of its indentation.
    fn entry(&mut self, entry: &Entry, indent: usize, lead: &str) {
        let margin = " ".repeat(indent);
        for remark in &entry.remarks {
            self.remark(&margin, remark);
        }
        if let Some(why) = &entry.struck {
            if entry.quiet {
                return;
            }
            self.remark(&margin, &format!("left out: {why}"));
            for line in plainly(entry).lines() {
                self.remark(&margin, line);
            }
            return;
        }
        self.within_flow(&entry.node, &margin);
        let own = self.written.text.len();
        let margin = match lead.len() {
            0 => margin,
            taken => format!("{}{lead}", " ".repeat(indent - taken)),
        };
        let key = entry.key.as_ref().map(|key| format!("{key}:"));
        match &entry.node {
            Node::Block(entries) if entries.iter().any(Entry::is_left) => {
                if let Some(key) = key {
                    let _ = writeln!(self.written.text, "{margin}{key}");
                    self.children(entries, indent + 2, "");
                } else {
                    self.children(entries, indent + 2, "- ");
                }
            }
            Node::Block(entries) => {
                if !entry.optional {
                    let key = key.map_or_else(|| "- ".to_owned(), |key| format!("{key} "));
                    let _ = writeln!(self.written.text, "{margin}{key}{{}}");
                }
                self.children(entries, indent + 2, "");
            }
            node => {
                let key = key.map_or_else(|| "- ".to_owned(), |key| format!("{key} "));
                let _ = write!(self.written.text, "{margin}{key}");
                self.inline(node);
                self.written.text.push('\n');
            }
        }
        self.mark(entry, own);
    }

    /// The entries of a block, the first of which begins with `lead`.
    fn children(&mut self, entries: &[Entry], indent: usize, lead: &str) {
        let mut lead = lead;
        for (place, entry) in entries.iter().enumerate() {
            self.path.push(place);
            let led = entry.is_left();
            self.entry(entry, indent, if led { lead } else { "" });
            if led {
                lead = "";
            }
            self.path.pop();
        }
    }

    /// What is to be said of what is struck out of a line, above it.
    fn within_flow(&mut self, node: &Node, margin: &str) {
        let Node::Flow(entries) = node else { return };
        for entry in entries {
            if entry.quiet && entry.struck.is_some() {
                continue;
            }
            if let Some(why) = &entry.struck {
                self.remark(margin, &format!("left out: {why}"));
                self.remark(margin, plainly(entry).trim_end());
            } else {
                for remark in &entry.remarks {
                    self.remark(margin, remark);
                }
                self.within_flow(&entry.node, margin);
            }
        }
    }

    fn inline(&mut self, node: &Node) {
        let entries = match node {
            Node::Scalar(text) => {
                self.written.text.push_str(text);
                return;
            }
            Node::Flow(entries) | Node::Block(entries) => entries,
        };
        let is_list = entries.first().is_some_and(|entry| entry.key.is_none());
        let [open, close] = if is_list { ["[", "]"] } else { ["{ ", " }"] };
        let left: Vec<(usize, &Entry)> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.is_left())
            .collect();
        if left.is_empty() {
            self.written
                .text
                .push_str(if is_list { "[]" } else { "{}" });
            return;
        }
        self.written.text.push_str(open);
        for (at, (place, entry)) in left.into_iter().enumerate() {
            if at > 0 {
                self.written.text.push_str(", ");
            }
            self.path.push(place);
            let start = self.written.text.len();
            if let Some(key) = &entry.key {
                let _ = write!(self.written.text, "{key}: ");
            }
            self.inline(&entry.node);
            self.mark(entry, start);
            self.path.pop();
        }
        self.written.text.push_str(close);
    }

    fn mark(&mut self, entry: &Entry, start: usize) {
        if entry.optional {
            let range = start..self.written.text.len();
            self.written.marks.push((range, self.path.clone()));
        }
    }

    fn remark(&mut self, margin: &str, text: &str) {
        for line in text.split('\n') {
            let line: String = line.chars().map(visible).collect();
            let _ = writeln!(self.written.text, "{margin}# {line}");
        }
    }
}

/// An entry as it would stand there.
fn plainly(entry: &Entry) -> String {
    let whole = Entry {
        struck: None,
        remarks: Vec::new(),
        ..entry.clone()
    };
    let mut writer = Writer::default();
    writer.entry(&whole, 0, "");
    writer.written.text
}

/// A character as it may stand in a remark: nothing that ends the line.
fn visible(c: char) -> char {
    if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') {
        '\u{fffd}'
    } else {
        c
    }
}

/// A text as YAML takes it: as it is where that can be nothing else, else between quotes.
fn scalar(text: &str) -> String {
    let first = text.chars().next();
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '@');
    let word = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    // Numbers, also those of base 60 and such that end in an exponent; addresses have more than one dot.
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | ':' | '_' | '-' | 'e' | 'E');
    let dots = text.matches('.').count();
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let is_number = has_digit && text.chars().all(numeric) && dots < 2;
    let lower = text.to_ascii_lowercase();
    let based = ["0x", "0o", "0b"].into_iter();
    let mut based = based.filter_map(|base| lower.strip_prefix(base));
    let is_based = based.any(|rest| rest.chars().all(|c| c.is_ascii_hexdigit() || c == '_'));
    let unsafe_ends = text.starts_with(['-', ':', '.', '@']) || text.ends_with(':');
    if first.is_none()
        || !text.chars().all(plain)
        || unsafe_ends
        || is_number
        || is_based
        || word.contains(&lower.as_str())
    {
        return serde_json::Value::from(text).to_string();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::name::NamespaceName;
    use crate::spec::source::Source;

    /// Characters that mean something in YAML, or may be taken for it.
    const PIECES: [&str; 28] = [
        "a", "Z", "0", "9", "1e3", "0x1", ":", "-", "?", "#", "&", "*", "!", "|", ">", "'", "\"",
        "%", "@", "`", "{", "}", "[", "]", ",", "é", "true", "\\",
    ];

    #[test]
    fn a_name_is_read_back_as_it_is() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5000 {
            let pieces = random.usize(1..6);
            let name: String = (0..pieces)
                .map(|_| PIECES[random.usize(..PIECES.len())])
                .collect();
            let Ok(name) = NamespaceName::try_from(name) else {
                continue;
            };
            let namespaces = vec![Entry::block(name.as_str(), Vec::new())];
            let end = |link: &str| {
                Entry::flow_item(vec![
                    Entry::text("namespace", &name),
                    Entry::text("name", link),
                ])
            };
            let pair = vec![Entry::block("ends", vec![end("v0"), end("v1")])];
            let written = write(&[
                Entry::word("version", 1),
                Entry::text("name", "lab"),
                Entry::block("namespaces", namespaces),
                Entry::block("veths", vec![Entry::block_item(pair)]),
            ]);
            let spec = crate::spec::parse(&[Source::new("written", written.text.clone())]);
            let spec = spec.unwrap_or_else(|found| panic!("{}{found:?}", written.text));
            assert!(spec.namespaces.contains_key(&name), "{}", written.text);
        }
    }

    #[test]
    fn what_is_struck_out_is_a_remark_and_the_rest_stays() {
        let item = |text: &str| Entry::item(text).optional();
        let mut entries = vec![
            Entry::block(
                "routes",
                vec![
                    Entry::flow_item(vec![Entry::text("to", "10.0.0.0/8")]).optional(),
                    Entry::flow_item(vec![Entry::flow("list", vec![item("x"), item("y")])])
                        .optional(),
                ],
            )
            .optional(),
        ];
        let written = write(&entries);
        assert_eq!(
            written.text,
            "\nroutes:\n  - { to: 10.0.0.0/8 }\n  - { list: [x, \"y\"] }\n"
        );
        let at = |text: &str| written.text.find(text).expect("it is there");
        assert_eq!(
            strike(&mut entries, &written, at("10.0"), "no\nway"),
            Some(())
        );
        assert_eq!(strike(&mut entries, &written, at("x"), "why"), Some(()));
        assert_eq!(strike(&mut entries, &written, 0, "why"), None);
        let text = write(&entries).text;
        let wanted = "\nroutes:\n  # left out: no\n  # way\n  # - { to: 10.0.0.0/8 }\n  # left out: why\n  # - x\n  - { list: [\"y\"] }\n";
        assert_eq!(text, wanted);
    }
}
