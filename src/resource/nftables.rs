//! A topology's nftables table.

use serde::Serialize;

/// The table `inet netform-TOPOLOGY` of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {}
