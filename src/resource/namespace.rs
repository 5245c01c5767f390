//! Network namespaces.

use serde::Serialize;

/// A namespace that netform makes and removes.
///
/// It is known by its file in `/run/netns`, as with `ip netns`; its owner stands in the alias of the
/// `lo` inside. What else is true of it are resources of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespace {}
