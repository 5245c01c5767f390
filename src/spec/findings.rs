//! What is found wrong while a spec is read.

use super::diagnostic::Diagnostic;
use super::source::Span;

/// The most errors that are reported at once. Nobody reads more, and a hostile spec has millions.
const LIMIT: usize = 100;

/// Errors, in the order that they are found in.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Diagnostic>,
    /// How many weren't kept.
    dropped: usize,
}

impl Findings {
    /// Adds one.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.found.push(diagnostic);
        }
    }

    /// Adds one that is about one place.
    pub(super) fn error(&mut self, message: impl Into<String>, at: Span, help: impl Into<String>) {
        self.push(Diagnostic::new(message, at, help));
    }

    /// Whether further errors are only counted, so that it is no use to word them well.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= LIMIT
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of their places.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|found| found.labels.first().map(|label| label.span));
        self.found.dedup();
        if self.dropped > 0 {
            self.found.push(Diagnostic {
                message: format!("and {} more", self.dropped),
                labels: Vec::new(),
            });
        }
        self.found
    }
}

/// The word among `known` that a person who wrote `word` meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
