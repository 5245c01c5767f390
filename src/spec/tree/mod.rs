//! YAML as a tree of nodes that know their places. The only room that knows the YAML parser.

mod syntax;

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, Tag};

use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::source::{Source, Span, Spanned};

/// The most nodes of a file, those behind its aliases counted each time.
const NODES: usize = 500_000;

/// The most mappings and lists within each other.
const DEPTH: usize = 64;

/// The largest file, in bytes.
const BYTES: usize = 8 << 20;

/// A value and where it stands. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) span: Span,
    pub(super) value: Rc<Value<'a>>,
}

/// What YAML can say.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// Nothing, or `null`, or `~`.
    Null,
    /// Anything between quotes, or without them (`plain`), when it may mean a number or a bool.
    Scalar { text: Cow<'a, str>, plain: bool },
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping without duplicate keys, in the order written. Merge keys are resolved.
    Map(Vec<Entry<'a>>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) key: Spanned<Cow<'a, str>>,
    pub(super) value: Node<'a>,
}

/// The one document of a source; `None` when it can't be read at all, which `found` says.
pub(super) fn read<'a>(source: &'a Source, index: usize, found: &mut Findings) -> Option<Node<'a>> {
    let whole = |start, end| Span {
        source: index,
        start,
        end,
    };
    if source.text.len() > BYTES {
        let message = format!("the file is larger than {} MiB", BYTES >> 20);
        found.error(message, whole(0, 0), "split it: files of one name merge");
        return None;
    }
    // The parser takes a NUL for the end of the file.
    if let Some(at) = source.text.find('\0') {
        let help = "save it as UTF-8 text: it may be UTF-16, or no text at all";
        found.error("the file has a NUL byte in it", whole(at, at + 1), help);
        return None;
    }
    let mut builder = Builder {
        found,
        anchors: HashMap::new(),
        stack: Vec::new(),
        root: None,
        documents: 0,
        nodes: 0,
    };
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let step = match event {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or(0..0);
                builder.take(event, whole(range.start, range.end))
            }
            Err(error) => Err(syntax::explain(&error, source, index)),
        };
        if let Err(diagnostic) = step {
            builder.found.push(diagnostic);
            return None;
        }
    }
    let root = builder.root;
    if root
        .as_ref()
        .is_none_or(|root| matches!(*root.value, Value::Null))
    {
        let help = "a spec begins with `version: 1` and `name: …`";
        found.error("the file is empty", whole(0, 0), help);
        return None;
    }
    root
}

/// A node with what it costs.
#[derive(Debug, Clone)]
struct Built<'a> {
    node: Node<'a>,
    nodes: usize,
    depth: usize,
}

/// A list or a mapping that isn't complete.
struct Frame<'a> {
    anchor: usize,
    span: Span,
    flow: bool,
    nodes: usize,
    depth: usize,
    content: Content<'a>,
}

enum Content<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<Entry<'a>>,
        merged: Vec<Node<'a>>,
        pending: Pending<'a>,
    },
}

/// What a mapping expects next.
enum Pending<'a> {
    Key,
    ValueOf(Spanned<Cow<'a, str>>),
    ValueOfMerge,
    /// The value of a key that can't be used.
    ValueOfNothing,
}

struct Builder<'a, 'f> {
    found: &'f mut Findings,
    anchors: HashMap<usize, Built<'a>>,
    stack: Vec<Frame<'a>>,
    root: Option<Node<'a>>,
    documents: usize,
    nodes: usize,
}

impl<'a> Builder<'a, '_> {
    /// Takes an event. The error is one that ends the reading.
    fn take(&mut self, event: Event<'a>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "the file has more than one YAML document";
                    let help = "one file is one document: remove the `---`, or use two files";
                    return Err(Diagnostic::new(message, span, help));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text(tag.as_deref(), span);
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Scalar { text, plain }
                };
                self.finish(Rc::new(value), span, anchor, 1, 0)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.is_text(tag.as_deref(), span);
                self.open(Content::List(Vec::new()), style, anchor, span)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.is_text(tag.as_deref(), span);
                let content = Content::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    pending: Pending::Key,
                };
                self.open(content, style, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(built) => {
                    self.nodes += built.nodes;
                    self.finish(built.node.value, span, 0, built.nodes, built.depth)
                }
                None => Err(Diagnostic::new(
                    "an alias stands inside of what it refers to",
                    span,
                    "write out what is meant",
                )),
            },
            _ => Ok(()),
        }
    }

    /// Whether a tag makes a text of what it stands at. Any other tag is an error.
    fn is_text(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        let text = tag.core_suffix() == Some("str");
        if !text {
            let message = format!("the tag `{}` means nothing in a spec", tag.original());
            self.found.error(message, span, "remove the tag");
        }
        text
    }

    fn open(
        &mut self,
        content: Content<'a>,
        style: StructureStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), Diagnostic> {
        if self.stack.len() >= DEPTH {
            return Err(too_deep(span));
        }
        self.stack.push(Frame {
            anchor,
            span,
            flow: style == StructureStyle::Flow,
            nodes: 1,
            depth: 0,
            content,
        });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(mut frame) = self.stack.pop() else {
            return Ok(());
        };
        if frame.flow {
            frame.span.end = end.end;
        }
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map {
                mut entries,
                merged,
                ..
            } => {
                self.refuse_duplicates(&mut entries);
                self.merge(&mut entries, &merged);
                Value::Map(entries)
            }
        };
        self.finish(
            Rc::new(value),
            frame.span,
            frame.anchor,
            frame.nodes,
            frame.depth + 1,
        )
    }

    /// Puts a complete node where it belongs.
    fn finish(
        &mut self,
        value: Rc<Value<'a>>,
        span: Span,
        anchor: usize,
        nodes: usize,
        depth: usize,
    ) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err(too_many(span));
        }
        let node = Node { span, value };
        if anchor != 0 {
            let node = node.clone();
            self.anchors.insert(anchor, Built { node, nodes, depth });
        }
        if self.stack.len() + depth > DEPTH {
            return Err(too_deep(span));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        frame.nodes += nodes;
        frame.depth = frame.depth.max(depth);
        if !frame.flow {
            frame.span.end = frame.span.end.max(span.end);
        }
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map {
                entries,
                merged,
                pending,
            } => match std::mem::replace(pending, Pending::Key) {
                Pending::Key => *pending = pending_value(&node, self.found),
                Pending::ValueOf(key) => entries.push(Entry { key, value: node }),
                Pending::ValueOfMerge => merged.push(node),
                Pending::ValueOfNothing => {}
            },
        }
        Ok(())
    }

    /// Keeps the first of the entries that have the same key, and says so.
    fn refuse_duplicates(&mut self, entries: &mut Vec<Entry<'a>>) {
        let mut seen: HashMap<Cow<'a, str>, Span> = HashMap::with_capacity(entries.len());
        entries.retain(|entry| {
            let key = &entry.key;
            let Some(first) = seen.insert(key.value.clone(), key.span) else {
                return true;
            };
            seen.insert(key.value.clone(), first);
            self.found.push(duplicate(&key.value, key.span, first));
            false
        });
    }

    /// Adds what the merge keys bring: an entry's own key wins, then the mapping named first.
    fn merge(&mut self, entries: &mut Vec<Entry<'a>>, merged: &[Node<'a>]) {
        if merged.is_empty() {
            return;
        }
        let mut seen: std::collections::HashSet<Cow<'a, str>> = entries
            .iter()
            .map(|entry| entry.key.value.clone())
            .collect();
        let mut maps = Vec::new();
        for node in merged {
            match &*node.value {
                Value::List(items) => maps.extend(items),
                _ => maps.push(node),
            }
        }
        for map in maps {
            let Value::Map(from) = &*map.value else {
                let message = "`<<` merges mappings, and this is none";
                self.found
                    .error(message, map.span, "refer to a mapping: `<<: *anchor`");
                continue;
            };
            for entry in from {
                if seen.insert(entry.key.value.clone()) {
                    entries.push(entry.clone());
                }
            }
        }
    }
}

/// What a mapping expects after this key.
fn pending_value<'a>(node: &Node<'a>, found: &mut Findings) -> Pending<'a> {
    match &*node.value {
        Value::Scalar { text, plain: true } if text == "<<" => Pending::ValueOfMerge,
        Value::Scalar { text, .. } => Pending::ValueOf(Spanned::new(text.clone(), node.span)),
        Value::Null => {
            found.error(
                "a key is missing here",
                node.span,
                "write a key before the `:`",
            );
            Pending::ValueOfNothing
        }
        Value::List(_) | Value::Map(_) => {
            let help = "quote it if it is meant as a text";
            found.error("a key must be a text", node.span, help);
            Pending::ValueOfNothing
        }
    }
}

/// The same key twice.
pub(super) fn duplicate(key: &str, second: Span, first: Span) -> Diagnostic {
    let message = format!("`{key}` stands here twice");
    Diagnostic::new(message, second, "remove it here, or there").also(first, "it stands here first")
}

fn too_deep(span: Span) -> Diagnostic {
    let message = format!("the file nests deeper than {DEPTH} levels");
    Diagnostic::new(message, span, "no spec needs so many")
}

fn too_many(span: Span) -> Diagnostic {
    let message = format!("the file has more than {NODES} values, its aliases written out");
    Diagnostic::new(
        message,
        span,
        "use fewer aliases within aliases, or split the topology",
    )
}
