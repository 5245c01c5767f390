//! What isn't YAML, in words for a person.

use granit_parser::{ErrorKind, ScanError};

use super::too_deep;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::source::{Source, Span, boundary};

/// What the parser doesn't take, where, and what to do.
pub(super) fn explain(error: &ScanError, source: &Source, index: usize) -> Diagnostic {
    let at = error
        .marker()
        .byte_offset()
        .unwrap_or(0)
        .min(source.text.len());
    let at = boundary(&source.text, at);
    // An error at the very end is best shown on the last line that has something on it.
    let at = if source.text[at..].trim().is_empty() {
        source.text[..at].trim_end().len()
    } else {
        at
    };
    let tab = matches!(
        error.kind(),
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    );
    // The parser points behind the tab.
    let at = if tab && source.text[..at].ends_with('\t') {
        at - 1
    } else {
        at
    };
    let width = source.text[at..].chars().next().map_or(0, char::len_utf8);
    let span = Span {
        source: index,
        start: at,
        end: at + width,
    };
    let (message, help) = match error.kind() {
        _ if tab => (
            "YAML doesn't take a tab here".to_owned(),
            "indent with spaces",
        ),
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => (
            "a quote is opened and not closed".to_owned(),
            "close the quote",
        ),
        ErrorKind::UnclosedFlowCollection { open } => (
            format!("`{open}` is opened and not closed"),
            if *open == '{' {
                "close it with `}`"
            } else {
                "close it with `]`"
            },
        ),
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::ExpectedFlowSequenceSeparator => (
            "a list between `[` and `]` isn't complete here".to_owned(),
            "a `,` or the `]` is missing",
        ),
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator => (
            "a mapping between `{` and `}` isn't complete here".to_owned(),
            "a `,` or the `}` is missing",
        ),
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::MismatchedFlowCollectionEnd { .. } => (
            "this bracket closes nothing that is open".to_owned(),
            "remove it, or open it before",
        ),
        ErrorKind::UnknownAnchor => (
            "this alias refers to no anchor".to_owned(),
            "define `&name` before `*name`; quote a text that begins with `*`",
        ),
        ErrorKind::RecursionLimitExceeded => return too_deep(span),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => (
            "a key without a `:` after it".to_owned(),
            "write `key: value`; a long text goes between quotes",
        ),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => (
            "YAML doesn't take a `:` here".to_owned(),
            "check the indentation; quote a text that has `: ` in it",
        ),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::MappingKeyNotAllowed => (
            "this doesn't fit to what stands above it".to_owned(),
            "check the indentation: what belongs together begins in one column",
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!("YAML takes no text that begins with {character:?}"),
            "put the text between quotes",
        ),
        _ => (
            format!("this is not YAML: {}", error.info()),
            "check the indentation and the quotes around here",
        ),
    };
    Diagnostic::new(message, span, help)
}
