//! What lowering must know of the rules that others have at the hook `forward`.

use std::collections::HashMap;

use super::error::Error;
use super::nftables::NfSocket;
use super::space::door;
use super::{Kernel, namespace, tables};
use crate::resource::Ns;
use crate::resource::firewall::{Firewall, Table};
use crate::state::Facts;

/// Reads them in the host and in the external namespaces. That one can't be read stops nothing: it is a fact too.
pub(super) fn look(kernel: &Kernel, facts: &mut Facts) {
    let external = facts.external.keys().cloned().map(Ns::Named);
    let places: Vec<Ns> = external.chain([Ns::Host]).collect();
    let read = |ns: Ns| {
        let found = kernel.found.get(&ns).map(|(reading, _)| &reading.links);
        let links = found.into_iter().flatten();
        let names = links.map(|link| (link.index, link.name.clone())).collect();
        let firewall = match tables_of(kernel, &ns, &names) {
            Ok(tables) => Firewall {
                tables,
                unread: None,
            },
            Err(error) => Firewall {
                tables: Vec::new(),
                unread: Some(error.to_string()),
            },
        };
        (ns, firewall)
    };
    for (ns, firewall) in namespace::spread(places, read) {
        let place = match &ns {
            Ns::Host => Some(&mut facts.host),
            Ns::Named(name) => facts.external.get_mut(name),
        };
        if let Some(place) = place {
            place.firewall = firewall;
        }
    }
}

/// The tables of a namespace, from a thread that ends afterwards.
fn tables_of(kernel: &Kernel, ns: &Ns, names: &HashMap<u32, String>) -> Result<Vec<Table>, Error> {
    let Some(door) = door(&kernel.doors, ns)? else {
        return Ok(Vec::new());
    };
    namespace::enter(&door)?;
    match NfSocket::open().and_then(|mut socket| socket.foreign(names)) {
        Err(error) if tables::lacks_nftables(&error) => Ok(Vec::new()),
        result => Ok(result?),
    }
}
