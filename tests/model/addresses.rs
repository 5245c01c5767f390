//! The fake kernel's rules of addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use netform::resource::address::{Address, AddressKey};
use netform::resource::name::LinkName;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::{Entry, Owner};

use super::fray::Event;
use super::kernel::{Refusal, Stand, World, has_ipv6, leads_over};

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
        let address = Address {
            place: 0,
            ..address.clone()
        };
        if address.peer.is_some_and(|peer| peer.is_ipv6()) && !link.up {
            self.cut_off.insert(id.clone());
        } else {
            self.cut_off.remove(&id);
        }
        if key.ip.is_ipv4() {
            self.enlist(ns, key, &address);
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
        let link_of = key.link.clone();
        let mut gone = vec![key.ip];
        if key.ip.is_ipv4() {
            let more = self.strike(ns, key, &address);
            self.entries.retain(|other, _| {
                let on_it = |key: &AddressKey| key.link == link_of && more.contains(&key.ip);
                other.ns != *ns || !matches!(&other.key, Key::Address(key) if on_it(key))
            });
            gone.extend(more);
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

    /// The network of an address in the list of a link.
    fn network_of(&self, ns: &Ns, link: &LinkName, stand: &Stand) -> Option<IpNet> {
        let link = link.clone();
        let key = AddressKey { link, ip: stand.ip };
        let id = Id::new(ns.clone(), Key::Address(key.clone()));
        match &self.entries.get(&id)?.resource {
            Resource::Address(address) => network(&key, address),
            _ => None,
        }
    }

    /// A new address: behind all others if one has its network, else behind those that are primary.
    fn enlist(&mut self, ns: &Ns, key: &AddressKey, address: &Address) {
        let place = (ns.clone(), key.link.clone());
        let mut list = self.lists.remove(&place).unwrap_or_default();
        let net = network(key, address);
        let taken = list
            .iter()
            .any(|stand| self.network_of(ns, &key.link, stand) == net);
        let at = match list.iter().rposition(|stand| stand.first || taken) {
            Some(_) if taken => list.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let (ip, first) = (key.ip, !taken);
        list.insert(at, Stand { ip, first });
        self.lists.insert(place, list);
    }

    /// An address goes: what goes with it because it was primary, unless the next is promoted.
    fn strike(&mut self, ns: &Ns, key: &AddressKey, address: &Address) -> Vec<IpAddr> {
        let place = (ns.clone(), key.link.clone());
        let mut list = self.lists.remove(&place).unwrap_or_default();
        let at = list.iter().position(|stand| stand.ip == key.ip);
        let struck = list.remove(at.expect("it is in the list"));
        let net = network(key, address);
        let mut gone = Vec::new();
        let like = |stand: &Stand| self.network_of(ns, &key.link, stand) == net;
        if struck.first {
            if !self.promote(ns, &key.link) {
                let (with_it, stay) = list.into_iter().partition(like);
                gone = with_it;
                list = stay;
            } else if let Some(heir) = list.iter().position(like) {
                let ip = list.remove(heir).ip;
                let at = list.iter().take_while(|stand| stand.first).count();
                list.insert(at, Stand { ip, first: true });
            }
        }
        self.lists.insert(place, list);
        gone.into_iter().map(|stand| stand.ip).collect()
    }

    /// Whether a link promotes secondary addresses.
    pub(crate) fn promote(&self, ns: &Ns, link: &LinkName) -> bool {
        [None, Some(link.clone())]
            .into_iter()
            .any(|link| self.promotes.contains(&(ns.clone(), link)))
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
