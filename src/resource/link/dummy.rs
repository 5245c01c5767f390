//! Dummy links, which swallow what is sent over them: a home for addresses.

use serde::Serialize;

use super::setting::{Attributes, Setting};

/// A dummy link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dummy {}

impl Dummy {
    pub(super) const NAME: &str = "dummy";
    pub(super) const JOINS: bool = false;

    pub(super) fn read(_: &Attributes) -> Dummy {
        Dummy {}
    }

    #[expect(clippy::unused_self, reason = "each kind says its settings")]
    pub(super) fn settings(&self) -> Vec<Setting> {
        Vec::new()
    }
}
