//! What the user writes: a topology in YAML, read, checked and kept with the places of its values.
//!
//! ```text
//! text ── tree ──▶ nodes with places ── document ──▶ typed values ── check ──▶ Spec ── lower ──▶ State
//! ```
//!
//! Every stage goes on after an error as far as it can, so that one run finds all of them.

mod check;
pub mod diagnostic;
mod document;
mod findings;
mod keys;
pub mod lower;
pub mod model;
mod places;
mod prefixes;
mod reach;
mod reader;
pub mod schema;
mod segments;
mod several;
pub mod source;
mod tree;

use diagnostic::Diagnostic;
use findings::Findings;
pub use lower::lower;
pub use model::Spec;
pub use several::topologies;
use source::Source;

/// The topology that some sources describe together.
///
/// They merge: mappings by key, lists one after the other.
///
/// # Errors
///
/// All that is wrong with the sources, in the order of the places, and at least one.
pub fn parse(sources: &[Source]) -> Result<Spec, Vec<Diagnostic>> {
    let mut found = Findings::default();
    let mut roots = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        roots.extend(tree::read(source, index, &mut found));
    }
    // What a newer release knows looks wrong to this one, so nothing else is said of such a spec.
    let newer: Vec<Diagnostic> = roots.iter().filter_map(document::too_old_for).collect();
    if !newer.is_empty() {
        return Err(newer);
    }
    let mut documents = Vec::new();
    for root in roots {
        documents.extend(document::read(&root, &mut found));
    }
    // What is missing may stand in a source that can't be read.
    let complete = documents.len() == sources.len();
    // Nobody would read what else is found, and to look takes memory.
    let worthwhile = complete && !found.is_full();
    let spec = document::merge(documents, &mut found)
        .filter(|_| worthwhile)
        .and_then(|document| check::check(document, &mut found));
    match spec {
        Some(spec) if found.is_empty() => Ok(spec),
        _ => Err(found.into_sorted()),
    }
}
