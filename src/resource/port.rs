//! Links of others as ports: that one which exists already is a port of a bridge (`man 8 bridge`).
//!
//! The port of a link that netform makes is no resource of its own, but a part of the link.

use serde::Serialize;

use super::name::LinkName;

/// That a link is a port of another one.
///
/// In an observed State every link that no topology made and that is a port has one, whatever it is a port of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// What it is a port of.
    pub master: LinkName,
}
