//! A declarative reconciler for Linux network namespaces.
//!
//! ```text
//! topology.yaml ── spec ──▶ State (desired) ─┐
//!                                             ├─ plan ──▶ Plan ──▶ render
//! kernel ──────── observe ─▶ State (observed)─┘            └─────▶ kernel::execute ──▶ observe again
//! ```

pub mod checks;
pub mod cli;
mod duration;
pub mod export;
#[doc(hidden)]
pub mod fuzz;
pub mod kernel;
pub mod plan;
pub mod render;
pub mod resource;
pub mod sandbox;
pub mod saved;
mod sealed;
pub mod spec;
pub mod state;
