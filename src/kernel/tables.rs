//! The topology's nftables table in the namespace of this thread.

use super::error::Error;
use crate::plan::Action;
use crate::resource::name::TopologyName;
use crate::resource::nftables::Table;

/// A topology's table, and whose tag it carries. None: there is none.
pub(super) fn read(
    _topology: &TopologyName,
) -> Result<Option<(Table, Option<TopologyName>)>, Error> {
    Ok(None)
}

/// Makes, changes or removes a table, all at once or not at all.
pub(super) fn change(_action: &Action) -> Result<(), Error> {
    Err(Error::Impossible("nftables is not there yet"))
}
