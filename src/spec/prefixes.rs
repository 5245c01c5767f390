//! Prefixes, and which of them an address lies in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes, to find those that an address lies in without trying each.
pub(super) struct Index<T> {
    lengths: BTreeSet<u8>,
    prefixes: HashMap<IpNet, Vec<T>>,
}

impl<T> FromIterator<(IpNet, T)> for Index<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(items: I) -> Index<T> {
        let mut index = Index {
            lengths: BTreeSet::new(),
            prefixes: HashMap::new(),
        };
        for (net, item) in items {
            index.lengths.insert(net.prefix_len());
            index.prefixes.entry(net.trunc()).or_default().push(item);
        }
        index
    }
}

impl<T: Copy> Index<T> {
    /// What is known of the prefixes around an address, the widest first.
    pub(super) fn around(&self, ip: IpAddr) -> Vec<T> {
        let nets = self
            .lengths
            .iter()
            .filter_map(|length| IpNet::new(ip, *length).ok());
        nets.filter_map(|net| self.prefixes.get(&net.trunc()))
            .flatten()
            .copied()
            .collect()
    }
}
