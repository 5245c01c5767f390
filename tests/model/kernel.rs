//! A fake kernel. It states the rules of the real one by itself: it uses the plain data types of the
//! library and none of its functions that decide anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netform::resource::address::{Address, AddressKey};
use netform::resource::link::veth::{Peer, Veth};
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::{LinkName, TopologyName};
use netform::resource::namespace::Namespace;
use netform::resource::nftables::Table;
use netform::resource::route::{Route, Target};
use netform::resource::sysctl::{Sysctl, SysctlKey};
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Entry, Loan, Owner};

use super::fray::Event;

/// Below this a link has no IPv6.
const IPV6_MTU: u32 = 1280;

/// All that the fake kernel and netform's record hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct World {
    /// Everything but tables, by identity, with its owner.
    pub(crate) entries: BTreeMap<Id, Entry>,
    /// The tables, whose names differ by topology.
    pub(crate) tables: BTreeMap<(Ns, TopologyName), Table>,
    /// What the records of the topologies say.
    pub(crate) loans: BTreeMap<Id, Loan>,
    /// The links of others that topologies made ports, and of what.
    pub(crate) ports: BTreeMap<Id, (TopologyName, LinkName)>,
    /// The IPv6 addresses with a peer that has no route, because they were added while their link was down.
    pub(crate) cut_off: BTreeSet<Id>,
    /// The IPv4 addresses of each link in the order in which the kernel has them.
    pub(crate) lists: BTreeMap<(Ns, LinkName), Vec<Stand>>,
    /// The links that promote secondary addresses; without one, the namespaces in which all do.
    pub(crate) promotes: BTreeSet<(Ns, Option<LinkName>)>,
    /// How often a namespace was made: one that is made again is another.
    pub(crate) made: BTreeMap<Ns, u32>,
}

/// An IPv4 address in the list of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) ip: IpAddr,
    /// Whether it is primary.
    pub(crate) first: bool,
}

/// Why the fake kernel refuses.
pub(crate) type Refusal = String;

pub(crate) fn path4(name: &str) -> Key {
    Key::Sysctl(SysctlKey::Global(name.into()))
}

pub(crate) fn conf(family: Family, link: &LinkName, name: &str) -> Key {
    Key::Sysctl(SysctlKey::Conf {
        family,
        link: link.clone(),
        name: name.into(),
    })
}

/// The switch of a whole namespace's forwarding.
pub(crate) fn switch(family: Family) -> Key {
    path4(match family {
        Family::Ipv4 => "net/ipv4/ip_forward",
        Family::Ipv6 => "net/ipv6/conf/all/forwarding",
    })
}

pub(crate) fn has_ipv6(link: &Link) -> bool {
    link.mtu.unwrap_or(1500) >= IPV6_MTU
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            entries: BTreeMap::new(),
            tables: BTreeMap::new(),
            loans: BTreeMap::new(),
            ports: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            lists: BTreeMap::new(),
            promotes: BTreeSet::new(),
            made: BTreeMap::new(),
        };
        world.furnish(&Ns::Host);
        world
    }

    /// What every namespace has from the start.
    fn furnish(&mut self, ns: &Ns) {
        for family in [Family::Ipv4, Family::Ipv6] {
            self.set(ns, switch(family), "0");
        }
        self.set(ns, path4("net/core/somaxconn"), "4096");
        let lo = LinkName::try_from("lo").unwrap();
        let link = Link {
            kind: LinkKind::Loopback,
            up: false,
            mtu: Some(65536),
            mac: None,
            master: None,
            tagged: true,
        };
        self.add_link(ns, &lo, link, Owner::Kernel);
        let ip = "127.0.0.1".parse().unwrap();
        self.add_address(
            ns,
            &AddressKey { link: lo, ip },
            &Address::new(8),
            Owner::Kernel,
        )
        .unwrap();
    }

    pub(crate) fn set(&mut self, ns: &Ns, key: Key, value: &str) {
        let id = Id::new(ns.clone(), key);
        let value = value.to_owned();
        let entry = Entry {
            resource: Resource::Sysctl(Sysctl {
                value: value.into(),
            }),
            owner: Owner::Foreign,
        };
        self.entries.insert(id, entry);
    }

    pub(crate) fn value(&self, ns: &Ns, key: Key) -> Option<&str> {
        match &self.entries.get(&Id::new(ns.clone(), key))?.resource {
            Resource::Sysctl(sysctl) => Some(&sysctl.value),
            _ => None,
        }
    }

    pub(crate) fn has_ns(&self, ns: &Ns) -> bool {
        *ns == Ns::Host || self.entries.contains_key(&Id::namespace(ns.clone()))
    }

    /// Whether others make a namespace.
    pub(crate) fn is_found(&self, ns: &Ns) -> bool {
        let id = Id::namespace(ns.clone());
        let entry = self.entries.get(&id);
        *ns == Ns::Host || entry.is_some_and(|entry| entry.owner == Owner::Foreign)
    }

    pub(crate) fn link(&self, ns: &Ns, name: &LinkName) -> Option<&Link> {
        match &self
            .entries
            .get(&Id::link(ns.clone(), name.clone()))?
            .resource
        {
            Resource::Link(link) => Some(link),
            _ => None,
        }
    }

    pub(crate) fn add_ns(&mut self, ns: &Ns, owner: Owner) -> Result<(), Refusal> {
        if self.has_ns(ns) {
            return Err(format!("EEXIST: namespace {ns}"));
        }
        let resource = Resource::Namespace(Namespace::default());
        let entry = Entry { resource, owner };
        self.entries.insert(Id::namespace(ns.clone()), entry);
        *self.made.entry(ns.clone()).or_default() += 1;
        self.furnish(ns);
        Ok(())
    }

    /// A namespace takes all that is in it, and the other ends of its veths.
    pub(crate) fn remove_ns(&mut self, ns: &Ns) -> Result<(), Refusal> {
        if !self.has_ns(ns) {
            return Err(format!("ENOENT: namespace {ns}"));
        }
        let links: Vec<Id> = self.links_of(ns).into_iter().collect();
        for link in links {
            self.drop_link(&link);
        }
        self.entries
            .retain(|id, _| id.ns != *ns || matches!(id.key, Key::File(_)));
        self.tables.retain(|(of, _), _| of != ns);
        // One of the same name is another: nothing is given back to it.
        self.loans.retain(|id, _| id.ns != *ns);
        self.ports.retain(|id, _| id.ns != *ns);
        Ok(())
    }

    pub(crate) fn links_of(&self, ns: &Ns) -> BTreeSet<Id> {
        let ids = self.entries.keys();
        ids.filter(|id| id.ns == *ns && matches!(id.key, Key::Link(_)))
            .cloned()
            .collect()
    }

    pub(crate) fn add_link(&mut self, ns: &Ns, name: &LinkName, link: Link, owner: Owner) {
        let ipv6 = has_ipv6(&link);
        self.lists.remove(&(ns.clone(), name.clone()));
        self.promotes.remove(&(ns.clone(), Some(name.clone())));
        let resource = Resource::Link(link);
        let entry = Entry { resource, owner };
        self.entries
            .insert(Id::link(ns.clone(), name.clone()), entry);
        let forwarding = self.value(ns, switch(Family::Ipv4)).unwrap().to_owned();
        self.set(ns, conf(Family::Ipv4, name, "forwarding"), &forwarding);
        if ipv6 {
            self.begin_ipv6(ns, name);
        }
    }

    fn begin_ipv6(&mut self, ns: &Ns, name: &LinkName) {
        let forwarding = self.value(ns, switch(Family::Ipv6)).unwrap().to_owned();
        self.set(ns, conf(Family::Ipv6, name, "forwarding"), &forwarding);
        self.set(ns, conf(Family::Ipv6, name, "accept_ra"), "1");
        self.set(ns, conf(Family::Ipv6, name, "force_forwarding"), "0");
    }

    /// Makes both ends of a pair.
    pub(crate) fn add_pair(
        &mut self,
        ends: [(&Ns, &LinkName, Link); 2],
        owner: &Owner,
    ) -> Result<(), Refusal> {
        for (ns, name, _) in &ends {
            if !self.has_ns(ns) {
                return Err(format!("ENOENT: {ns} for link {name}"));
            }
            if self.link(ns, name).is_some() {
                return Err(format!("EEXIST: {ns}:{name}"));
            }
        }
        let places = [0, 1].map(|i: usize| Peer {
            ns: ends[1 - i].0.clone(),
            name: ends[1 - i].1.clone(),
        });
        if places[0] == places[1] {
            return Err(format!("EEXIST: both ends are {places:?}"));
        }
        for ((ns, name, mut link), peer) in ends.into_iter().zip(places) {
            link.kind = LinkKind::Veth(Veth { peer: Some(peer) });
            link.mtu = link.mtu.or(Some(1500));
            link.master = None;
            self.add_link(ns, name, link, owner.clone());
        }
        Ok(())
    }

    pub(crate) fn remove_link(&mut self, ns: &Ns, name: &LinkName) -> Result<(), Refusal> {
        match self.link(ns, name) {
            None => Err(format!("ENODEV: {ns}:{name}")),
            Some(link) if link.kind == LinkKind::Loopback => Err("EOPNOTSUPP: lo".to_owned()),
            Some(_) => {
                self.drop_link(&Id::link(ns.clone(), name.clone()));
                Ok(())
            }
        }
    }

    /// A link takes all that is on it, and a veth its other end.
    fn drop_link(&mut self, id: &Id) {
        let Key::Link(name) = &id.key else {
            unreachable!("{id:?}")
        };
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        let ns = &id.ns;
        self.let_go(ns, name);
        let held: Vec<IpAddr> = self
            .addresses(ns, Some(name))
            .map(|(_, key, _)| key.ip)
            .collect();
        self.entries.retain(|other, entry| {
            let on_it = match &other.key {
                Key::Address(key) => key.link == *name,
                Key::Sysctl(SysctlKey::Conf { link, .. }) => link == name,
                Key::Route(_) => leads_over(entry, name),
                _ => false,
            };
            other.ns != *ns || !on_it
        });
        self.fray(ns, name, Event::Gone);
        // IPv6 routes keep a source that goes with its link.
        self.lose_sources(ns, held.into_iter().filter(IpAddr::is_ipv4).collect());
        if let Resource::Link(Link {
            kind: LinkKind::Veth(Veth { peer: Some(peer) }),
            ..
        }) = entry.resource
        {
            self.drop_link(&Id::link(peer.ns, peer.name));
        }
    }

    /// An IPv6 route follows the MTU of its link, if it is the same or would be larger.
    fn resize(&mut self, ns: &Ns, name: &LinkName, old: u32, new: u32) {
        for (id, entry) in &mut self.entries {
            if let (Key::Route(key), Resource::Route(route)) = (&id.key, &mut entry.resource)
                && id.ns == *ns
                && key.to.addr().is_ipv6()
                && route
                    .hops_of()
                    .iter()
                    .any(|hop| hop.dev.as_ref() == Some(name))
                && route.mtu.is_some_and(|mtu| mtu == old || mtu > new)
            {
                route.mtu = Some(new);
            }
        }
    }

    /// Changes a link as `f` says, with all that follows.
    pub(crate) fn change_link(
        &mut self,
        ns: &Ns,
        name: &LinkName,
        f: impl FnOnce(&mut Link),
    ) -> Result<(), Refusal> {
        let id = Id::link(ns.clone(), name.clone());
        let Some(Entry {
            resource: Resource::Link(link),
            ..
        }) = self.entries.get_mut(&id)
        else {
            return Err(format!("ENODEV: {ns}:{name}"));
        };
        let before = link.clone();
        f(link);
        let after = link.clone();
        if let (Some(old), Some(new)) = (before.mtu, after.mtu)
            && old != new
        {
            self.resize(ns, name, old, new);
        }
        let down = before.up && !after.up;
        let loses = has_ipv6(&before) && !has_ipv6(&after);
        self.entries.retain(|other, entry| {
            let falls = match &other.key {
                Key::Address(key) => key.link == *name && key.ip.is_ipv6() && (down || loses),
                Key::Sysctl(SysctlKey::Conf { family, link, .. }) => {
                    link == name && *family == Family::Ipv6 && loses
                }
                Key::Route(key) => {
                    leads_over(entry, name) && (down || loses && key.to.addr().is_ipv6())
                }
                _ => false,
            };
            other.ns != *ns || !falls
        });
        if down {
            self.fray(ns, name, Event::Down);
        }
        if loses {
            self.fray(ns, name, Event::NoIpv6);
        }
        if !has_ipv6(&before) && has_ipv6(&after) {
            self.begin_ipv6(ns, name);
        }
        Ok(())
    }
}

/// Marks a route that was learnt from a router advertisement: its path MTU.
pub(crate) const RA: u32 = 1492;

fn over(route: &Route, link: &LinkName) -> bool {
    let hops = route.hops_of();
    !hops.is_empty() && hops.iter().all(|hop| hop.dev.as_ref() == Some(link))
}

pub(crate) fn leads_over(entry: &Entry, link: &LinkName) -> bool {
    matches!(&entry.resource, Resource::Route(route) if over(route, link))
}

pub(crate) trait Hops {
    fn hops_of(&self) -> &[netform::resource::route::NextHop];
}

impl Hops for Route {
    fn hops_of(&self) -> &[netform::resource::route::NextHop] {
        match &self.target {
            Target::Unicast(hops) => hops,
            _ => &[],
        }
    }
}
