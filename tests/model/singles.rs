//! Links with one end, bridges and their ports: what topologies want, the kernel's rules, and what others
//! do to them.

use fastrand::Rng;
use netform::resource::link::bridge::Bridge;
use netform::resource::link::dummy::Dummy;
use netform::resource::link::{Link, LinkKind};
use netform::resource::name::LinkName;
use netform::resource::{Id, Key, Ns, Resource};
use netform::state::Owner;

use super::generate::{LINKS, end_of, link_name, some};
use super::kernel::{Refusal, World};
use super::sketch::{End, Sketch};

/// A link with one end that a topology wants.
#[derive(Debug, Clone)]
pub(crate) struct Single {
    pub(crate) number: u8,
    pub(crate) kind: LinkKind,
    pub(crate) end: End,
}

fn kind(rng: &mut Rng) -> LinkKind {
    if some(rng, 4) {
        return LinkKind::Dummy(Dummy {});
    }
    LinkKind::Bridge(Bridge {
        stp: rng.bool(),
        vlan_filtering: rng.bool(),
    })
}

fn is_bridge(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Bridge(_))
}

impl Sketch {
    /// All its links, with their numbers.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (u8, &End)> {
        let of_pairs = self
            .pairs
            .iter()
            .flat_map(|pair| pair.ends.iter().map(|end| (pair.number, end)));
        let single = self.singles.iter();
        of_pairs.chain(single.map(|single| (single.number, &single.end)))
    }

    /// The bridge that a link is a port of. There may be none of the number that it has in mind.
    pub(crate) fn bridge_of(&self, end: &End) -> Option<LinkName> {
        let bridges = self
            .singles
            .iter()
            .filter(|single| matches!(single.kind, LinkKind::Bridge(_)) && single.end.ns == end.ns);
        let bridges: Vec<&LinkName> = bridges.map(|single| &single.end.name).collect();
        let bridge = bridges.get(usize::from(end.port?) % bridges.len().max(1))?;
        Some((*bridge).clone()).filter(|bridge| *bridge != end.name)
    }

    /// A number that no link has.
    pub(crate) fn new_number(&self) -> u8 {
        let used: Vec<u8> = self.ends().map(|(number, _)| number).collect();
        (2..40).find(|number| !used.contains(number)).unwrap()
    }

    /// Where a link might be, if the name is free there.
    pub(crate) fn place(&self, rng: &mut Rng) -> Option<(Ns, LinkName)> {
        let named = self.spaces.keys().chain(self.external.keys());
        let named = rng.choice(named.collect::<Vec<_>>());
        let named = named.filter(|_| !some(rng, 3));
        let (ns, name) = match named {
            Some(name) if self.spaces.contains_key(name) => (
                Ns::Named(name.clone()),
                (*rng.choice(&LINKS).unwrap()).to_owned(),
            ),
            found => (
                found.map_or(Ns::Host, |name| Ns::Named(name.clone())),
                format!("{}-{}", rng.choice(LINKS).unwrap(), self.topology),
            ),
        };
        let name = link_name(&name);
        let free = self.ends().all(|(_, end)| end.ns != ns || end.name != name);
        free.then_some((ns, name))
    }

    pub(crate) fn new_single(&mut self, rng: &mut Rng) {
        let Some((ns, name)) = self.place(rng) else {
            return;
        };
        let kind = kind(rng);
        let mut end = end_of(rng, ns, name);
        // A bridge is no port.
        end.port = end.port.filter(|_| kind == LinkKind::Dummy(Dummy {}));
        let number = self.new_number();
        self.singles.push(Single { number, kind, end });
    }

    pub(crate) fn change_single(&mut self, rng: &mut Rng) {
        let place = rng.usize(..self.singles.len());
        match rng.u8(..4) {
            0 => drop(self.singles.swap_remove(place)),
            1 => {
                let single = &mut self.singles[place];
                single.kind = kind(rng);
                single.end.port = None;
            }
            _ => {
                let single = &mut self.singles[place];
                let (ns, name) = (single.end.ns.clone(), single.end.name.clone());
                let new = end_of(rng, ns, name);
                (single.end.up, single.end.mtu) = (new.up, new.mtu);
                (single.end.v4, single.end.v6) = (new.v4, new.v6);
            }
        }
    }

    /// A pair and a link with one end change places.
    pub(crate) fn trade(&mut self, rng: &mut Rng) {
        let (i, j) = (
            rng.usize(..self.pairs.len()),
            rng.usize(..self.singles.len()),
        );
        let end = &mut self.pairs[i].ends[rng.usize(..2)];
        let single = &mut self.singles[j].end;
        std::mem::swap(&mut end.ns, &mut single.ns);
        std::mem::swap(&mut end.name, &mut single.name);
    }
}

impl World {
    /// Makes a link with one end.
    pub(crate) fn add_single(
        &mut self,
        ns: &Ns,
        name: &LinkName,
        link: &Link,
        owner: Owner,
    ) -> Result<(), Refusal> {
        if !self.has_ns(ns) {
            return Err(format!("ENOENT: {ns} for link {name}"));
        }
        if self.link(ns, name).is_some() {
            return Err(format!("EEXIST: {ns}:{name}"));
        }
        if !matches!(link.kind, LinkKind::Bridge(_) | LinkKind::Dummy(_)) {
            return Err(format!("EOPNOTSUPP: {name} as {:?}", link.kind));
        }
        let mut born = link.clone();
        born.mtu = born.mtu.or(Some(1500));
        born.master = None;
        self.add_link(ns, name, born, owner);
        self.enslave(ns, name, link.master.as_ref())
    }

    /// Has a link be a port of another one, or of none.
    pub(crate) fn enslave(
        &mut self,
        ns: &Ns,
        name: &LinkName,
        master: Option<&LinkName>,
    ) -> Result<(), Refusal> {
        let id = Id::link(ns.clone(), name.clone());
        let link = self.link(ns, name);
        let link = link.ok_or_else(|| format!("ENODEV: {ns}:{name}"))?;
        if let Some(master) = master {
            let bridge = self.link(ns, master);
            let bridge = bridge.ok_or_else(|| format!("EINVAL: {ns}:{master} for {name}"))?;
            if !is_bridge(bridge) {
                return Err(format!("EOPNOTSUPP: {ns}:{master} is no bridge"));
            }
            if is_bridge(link) {
                return Err(format!("ELOOP: {ns}:{name} is a bridge itself"));
            }
            if link.kind == LinkKind::Loopback {
                return Err(format!("EINVAL: {ns}:{name} is no Ethernet"));
            }
        }
        if let Some(Resource::Link(link)) =
            self.entries.get_mut(&id).map(|entry| &mut entry.resource)
        {
            link.master = master.cloned();
        }
        Ok(())
    }

    /// A link that goes leaves its ports behind.
    pub(crate) fn let_go(&mut self, ns: &Ns, name: &LinkName) {
        for (id, entry) in &mut self.entries {
            if let Resource::Link(link) = &mut entry.resource
                && id.ns == *ns
                && link.master.as_ref() == Some(name)
            {
                link.master = None;
            }
        }
    }

    /// Somebody plays with bridges.
    pub(crate) fn unplug(&mut self, rng: &mut Rng) {
        let links: Vec<(Id, Link)> = self
            .entries
            .iter()
            .filter_map(|(id, entry)| match &entry.resource {
                Resource::Link(link) => Some((id.clone(), link.clone())),
                _ => None,
            })
            .collect();
        let (id, link) = rng.choice(&links).unwrap();
        let Key::Link(name) = &id.key else { return };
        let ns = &id.ns;
        let bridges = links.iter().filter_map(|(other, link)| match &other.key {
            Key::Link(name) if other.ns == *ns && is_bridge(link) => Some(name),
            _ => None,
        });
        let bridge = rng.choice(bridges.collect::<Vec<_>>());
        match rng.u8(..3) {
            0 => self.enslave(ns, name, None).unwrap(),
            // It may be none that can be a port.
            1 => drop(self.enslave(ns, name, bridge)),
            _ if is_bridge(link) => self
                .change_link(ns, name, |link| {
                    if let LinkKind::Bridge(bridge) = &mut link.kind {
                        bridge.stp = !bridge.stp;
                    }
                })
                .unwrap(),
            _ => {}
        }
    }
}
