//! What lowering must know of the rules that others have at the hook `forward`.

use std::collections::{BTreeSet, HashMap};

use super::error::Error;
use super::nftables::NfSocket;
use super::space::door;
use super::{Kernel, namespace, sysctl, tables, xtables};
use crate::resource::firewall::Firewall;
use crate::resource::{Family, Ns};
use crate::state::Facts;

/// What has frames between the ports of a bridge come by the rules of a family (`ip-sysctl.rst`, bridge).
const BRIDGED: [(Family, &str); 2] = [
    (Family::Ipv4, "net/bridge/bridge-nf-call-iptables"),
    (Family::Ipv6, "net/bridge/bridge-nf-call-ip6tables"),
];

/// Reads them in the host and in the external namespaces. That one can't be read stops nothing: it is a fact too.
pub(super) fn look(kernel: &Kernel, facts: &mut Facts) {
    let external = facts.external.keys().cloned().map(Ns::Named);
    let places: Vec<Ns> = external.chain([Ns::Host]).collect();
    let look = |ns: Ns| {
        let found = kernel.found.get(&ns).map(|(reading, _)| &reading.links);
        let links = found.into_iter().flatten();
        let names = links.map(|link| (link.index, link.name.clone())).collect();
        let firewall = read(kernel, &ns, &names).unwrap_or_else(|error| Firewall {
            unread: Some(error.to_string()),
            ..Firewall::default()
        });
        (ns, firewall)
    };
    for (ns, firewall) in namespace::spread(places, look) {
        if let Some(place) = facts.place_mut(&ns) {
            place.firewall = firewall;
        }
    }
}

/// Reads a namespace, from a thread that ends afterwards.
fn read(kernel: &Kernel, ns: &Ns, names: &HashMap<u32, String>) -> Result<Firewall, Error> {
    let Some(door) = door(&kernel.doors, ns)? else {
        return Ok(Firewall::default());
    };
    namespace::enter(&door)?;
    here(names)
}

/// Reads the namespace of this thread, whose links have some names.
pub(super) fn here(names: &HashMap<u32, String>) -> Result<Firewall, Error> {
    let mut tables = match NfSocket::open().and_then(|mut socket| socket.foreign(names)) {
        Err(error) if tables::lacks_nftables(&error) => Vec::new(),
        result => result?,
    };
    tables.extend(xtables::tables()?);
    let mut bridged = BTreeSet::new();
    if !tables.is_empty() {
        for (family, path) in BRIDGED {
            if sysctl::read(path)?.is_some_and(|value| value != "0") {
                bridged.insert(family);
            }
        }
    }
    Ok(Firewall {
        tables,
        unread: None,
        bridged,
    })
}
