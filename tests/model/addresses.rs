//! The fake kernel's rules of addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use netform::resource::address::{Address, AddressKey};
use netform::resource::name::LinkName;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::{Entry, Owner};

use super::fray::Event;
use super::kernel::{Refusal, World, has_ipv6, leads_over};

impl World {
    pub(crate) fn addresses(
        &self,
        ns: &Ns,
        link: Option<&LinkName>,
    ) -> impl Iterator<Item = (&Id, &AddressKey, &Address)> {
        self.entries
            .iter()
            .filter_map(move |(id, entry)| match (&id.key, &entry.resource) {
                (Key::Address(key), Resource::Address(address))
                    if id.ns == *ns && link.is_none_or(|link| key.link == *link) =>
                {
                    Some((id, key, address))
                }
                _ => None,
            })
    }

    pub(crate) fn add_address(
        &mut self,
        ns: &Ns,
        key: &AddressKey,
        address: &Address,
        owner: Owner,
    ) -> Result<(), Refusal> {
        let link = self.link(ns, &key.link);
        let link = link.ok_or_else(|| format!("ENODEV: {ns}:{} for {}", key.link, key.ip))?;
        if key.ip.is_ipv6() && !has_ipv6(link) {
            return Err(format!("EINVAL: {ns}:{} has no IPv6", key.link));
        }
        let id = Id::new(ns.clone(), Key::Address(key.clone()));
        if self.entries.contains_key(&id) {
            return Err(format!("EEXIST: {} on {ns}:{}", key.ip, key.link));
        }
        let mut address = address.clone();
        let net = network(key, &address);
        address.secondary = key.ip.is_ipv4()
            && self
                .addresses(ns, Some(&key.link))
                .any(|(_, key, other)| !other.secondary && network(key, other) == net);
        if address.peer.is_some_and(|peer| peer.is_ipv6()) && !link.up {
            self.cut_off.insert(id.clone());
        } else {
            self.cut_off.remove(&id);
        }
        let resource = Resource::Address(address);
        self.entries.insert(id, Entry { resource, owner });
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, ns: &Ns, key: &AddressKey) -> Result<(), Refusal> {
        let id = Id::new(ns.clone(), Key::Address(key.clone()));
        let Some(Entry {
            resource: Resource::Address(address),
            ..
        }) = self.entries.remove(&id)
        else {
            return Err(format!("EADDRNOTAVAIL: {} on {ns}:{}", key.ip, key.link));
        };
        let mut gone = vec![key.ip];
        if key.ip.is_ipv4() && !address.secondary {
            let net = network(key, &address);
            let of_it: Vec<Id> = self
                .addresses(ns, Some(&key.link))
                .filter(|(_, key, other)| other.secondary && network(key, other) == net)
                .map(|(id, key, _)| {
                    gone.push(key.ip);
                    id.clone()
                })
                .collect();
            self.entries.retain(|id, _| !of_it.contains(id));
        }
        let last = key.ip.is_ipv4()
            && !self
                .addresses(ns, Some(&key.link))
                .any(|(_, key, _)| key.ip.is_ipv4());
        self.lose_sources(ns, gone);
        self.entries.retain(|id, entry| {
            let ipv4 = matches!(&id.key, Key::Route(key) if key.to.addr().is_ipv4());
            id.ns != *ns || !ipv4 || !last || !leads_over(entry, &key.link)
        });
        if last {
            self.fray(ns, &key.link, Event::NoIpv4);
        }
        Ok(())
    }

    /// Whether a router is beside an address of a link, so that routes may lead through it.
    pub(crate) fn is_beside(&self, ns: &Ns, link: &LinkName, router: &IpAddr) -> bool {
        self.addresses(ns, Some(link)).any(|(id, key, address)| {
            if key.ip.is_ipv4() {
                return network(key, address).is_some_and(|net| net.contains(router));
            }
            let own = IpNet::new(key.ip, address.prefix);
            let other = address.peer.filter(|_| !self.cut_off.contains(id));
            other == Some(*router) || own.is_ok_and(|net| net.contains(router))
        })
    }
}

/// The network that an IPv4 address is of: with a peer, that of the peer.
fn network(key: &AddressKey, address: &Address) -> Option<IpNet> {
    let ip = address.peer.unwrap_or(key.ip);
    Some(IpNet::new(ip, address.prefix).ok()?.trunc())
}
