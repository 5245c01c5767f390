//! Ways into namespaces, for who tries something from inside of them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::thread::CapabilitySet;

use super::error::Error;
use super::{external, namespace};
use crate::resource::Ns;
use crate::state::External;

/// Opens namespaces: `host` is that of this thread, and `external` says where those are that have no name in `/run/netns`.
/// Those that don't exist are absent. The limit of open files of this process is raised as far as it may go.
///
/// `packets` says whether packets of any kind are to be sent there.
///
/// Fails with [`Error::Privilege`] where something else than the host is to be entered without `CAP_SYS_ADMIN`, or packets are to
/// be sent without `CAP_NET_RAW`; and with [`Error::NotNetwork`].
pub fn open(
    wanted: &BTreeSet<&Ns>,
    external: &External,
    packets: bool,
) -> Result<BTreeMap<Ns, OwnedFd>, Error> {
    if !wanted.is_empty() {
        // Also who is in a namespace needs it to enter it.
        super::require(&[(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")])?;
    }
    if packets {
        super::require(&[(CapabilitySet::NET_RAW, "CAP_NET_RAW")])?;
    }
    super::raise_limit();
    let mut doors = BTreeMap::new();
    for ns in wanted {
        let door = match ns {
            Ns::Host => Some(namespace::open_own()?),
            Ns::Named(name) => match external.get(name) {
                Some(Some(path)) => external::open(name, path)?,
                _ => namespace::open(name)?,
            },
        };
        doors.extend(door.map(|door| ((*ns).clone(), door)));
    }
    Ok(doors)
}
