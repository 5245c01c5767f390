//! A topology's nftables table.

use serde::Serialize;

/// The table `inet netform-TOPOLOGY` of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {}

impl std::fmt::Display for Table {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
