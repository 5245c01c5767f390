//! `netform schema`.

use super::{Status, output};

pub(super) fn run() -> Status {
    output::result(&crate::spec::schema::text())
}
