//! Plans and States as text. The renderer decides nothing: what it prints is all in what it is given.

pub mod changes;
pub mod check;
pub mod document;
pub mod explain;
mod fold;
pub mod graph;
pub mod hints;
pub mod left;
pub mod phrase;
pub mod plain;
pub mod plan;
pub mod renaming;
pub mod shell;
pub mod show;
pub mod style;
pub mod wrap;
