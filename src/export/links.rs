//! Links, and the addresses on them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::Exporter;
use super::scope::{is_loopback, link};
use super::tree::Entry;
use crate::resource::address::{Address, AddressKey, Held};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::Owner;

/// The MTU that a link has where a spec says nothing.
const MTU: u32 = 1500;

impl<'s> Exporter<'s> {
    /// The items of `veths`: each pair once, an end in a namespace before one on the host.
    pub(super) fn veths(&mut self) -> Vec<Entry> {
        let mut pairs = Vec::new();
        let mut seen: BTreeSet<(&Ns, &LinkName)> = BTreeSet::new();
        let ends: Vec<(&Ns, &LinkName)> = self.ends().collect();
        for (ns, name) in ends {
            let Some(peer) = link(self.survey, ns, name).and_then(Link::peer) else {
                continue;
            };
            if seen.insert((ns, name)) && seen.insert((&peer.ns, &peer.name)) {
                let pair = self.pair([(ns, name), (&peer.ns, &peer.name)]);
                pairs.extend(pair);
            }
        }
        pairs
    }

    fn pair(&self, ends: [(&'s Ns, &'s LinkName); 2]) -> Option<Entry> {
        let [first, second] = ends.map(|(ns, name)| link(self.survey, ns, name));
        let links = [first?, second?];
        let mtus = links.map(|link| link.mtu.unwrap_or(MTU));
        let mtu = Some(mtus[0]).filter(|mtu| mtus[1] == *mtu && *mtu != MTU);
        let mut items = Vec::new();
        for ((ns, name), link) in ends.into_iter().zip(links) {
            let mut fields = vec![Entry::text("namespace", ns), Entry::text("name", name)];
            fields.extend(self.on_link(ns, name, link, mtu.unwrap_or(MTU)));
            items.push(Entry::flow_item(fields));
        }
        let mut fields = vec![Entry::block("ends", items)];
        fields.extend(mtu.map(|mtu| Entry::word("mtu", mtu)));
        Some(Entry::block_item(fields).optional())
    }

    /// The entries of `links` of a namespace.
    pub(super) fn links(&mut self, ns: &Ns, whole: bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (key, entry) in self.resources(ns) {
            let (Key::Link(name), Resource::Link(found)) = (key, &entry.resource) else {
                continue;
            };
            if self.scope.has_link(ns, name) {
                if found.kind.is_single() {
                    entries.push(self.single(ns, name, found));
                }
            } else if whole && !is_loopback(found) {
                if entry.owner != Owner::Kernel {
                    self.tell_of_link(ns, name, found);
                }
            } else {
                let fields = self.on_existing(ns, name, found, whole);
                if !fields.is_empty() {
                    entries.push(Entry::flow(name.as_str(), fields).optional());
                }
            }
        }
        entries
    }

    /// What is said of a link that exists already: the addresses of a whole namespace's `lo`, elsewhere those that are the
    /// topology's, and the bridge that a link is plugged into, of those that are written.
    fn on_existing(&self, ns: &Ns, name: &LinkName, found: &Link, whole: bool) -> Vec<Entry> {
        let mut fields = Vec::new();
        let addresses = self.addresses(ns, name, !whole);
        if !addresses.is_empty() {
            fields.push(Entry::flow("addresses", addresses).optional());
        }
        let id = Id::new(ns.clone(), Key::Port(name.clone()));
        if let (Some(port), Some(master)) = (self.survey.state.get(&id), &found.master)
            && (self.scope.has_link(ns, master) || port.owner.is(self.name))
        {
            fields.push(Entry::text("bridge", master).optional());
        }
        fields
    }

    fn single(&self, ns: &Ns, name: &LinkName, found: &Link) -> Entry {
        let settings = found.kind.settings();
        let said = settings.iter().filter(|setting| !setting.usual);
        let said = said.map(|setting| {
            let value = match setting.text.as_str() {
                "on" => "true",
                "off" => "false",
                other => other,
            };
            Entry::word(setting.word, value).optional()
        });
        let mut fields = vec![Entry::flow(found.kind.name(), said.collect())];
        fields.extend(self.on_link(ns, name, found, MTU));
        Entry::flow(name.as_str(), fields).optional()
    }

    /// What is said of every link that a topology makes.
    fn on_link(&self, ns: &Ns, name: &LinkName, found: &Link, mtu: u32) -> Vec<Entry> {
        let mut fields = Vec::new();
        let addresses = self.addresses(ns, name, false);
        if !addresses.is_empty() {
            fields.push(Entry::flow("addresses", addresses).optional());
        }
        let id = Id::link(ns.clone(), name.clone());
        if let Some(mac) = self.extras.macs.get(&id) {
            fields.push(Entry::text("mac", mac).optional());
        }
        if let Some(own) = found.mtu.filter(|own| *own != mtu) {
            fields.push(Entry::word("mtu", own).optional());
        }
        if !found.up {
            fields.push(Entry::word("up", false));
        }
        let bridge = found.master.as_ref().filter(|master| {
            let master = link(self.survey, ns, master);
            master.is_some_and(|master| master.kind.joins())
        });
        fields.extend(bridge.map(|bridge| Entry::text("bridge", bridge).optional()));
        fields
    }

    /// The addresses of a link that somebody gave it, in the order in which they stand.
    pub(super) fn held(&self, ns: &Ns, link: &LinkName) -> Vec<Held> {
        self.held_by(ns, link, false)
    }

    /// The same; if asked for, only those that are the topology's.
    fn held_by(&self, ns: &Ns, link: &LinkName, own: bool) -> Vec<Held> {
        let mut all: Vec<(bool, u32, Held)> = Vec::new();
        // The addresses of a link stand one after the other, beginning with this one.
        let first = Key::Address(AddressKey {
            link: link.clone(),
            ip: Ipv4Addr::UNSPECIFIED.into(),
        });
        let from = Id::new(ns.clone(), first);
        for (id, entry) in self.survey.state.entries.range(from..) {
            let (Key::Address(AddressKey { link: on, ip }), Resource::Address(address)) =
                (&id.key, &entry.resource)
            else {
                break;
            };
            if id.ns != *ns || on != link {
                break;
            }
            let renewed = self.survey.state.unfit.contains_key(id);
            let counts = entry.owner.is(self.name) || !own && entry.owner != Owner::Kernel;
            if counts && !renewed {
                let Address {
                    prefix,
                    peer,
                    place,
                    ..
                } = address;
                if let Ok(near) = IpNet::new(peer.unwrap_or(*ip), *prefix) {
                    all.push((ip.is_ipv6(), *place, Held::point_to_point(*ip, near)));
                }
            }
        }
        all.sort_by_key(|(is_ipv6, place, _)| (*is_ipv6, *place));
        all.into_iter().map(|(.., held)| held).collect()
    }

    fn addresses(&self, ns: &Ns, link: &LinkName, own: bool) -> Vec<Entry> {
        let held = self.held_by(ns, link, own);
        let entries = held.iter().map(|held| match held.peer() {
            Some(peer) => {
                let peer = IpNet::new(peer, held.prefix_len()).map(|net| net.to_string());
                let peer = Entry::text("peer", peer.unwrap_or_default());
                Entry::flow_item(vec![Entry::text("address", held.addr()), peer])
            }
            None if self.subnets.gives_length(held) => Entry::item(held.addr()),
            None => Entry::item(held),
        });
        entries.map(Entry::optional).collect()
    }

    /// Says of a link of a namespace why it isn't written.
    fn tell_of_link(&mut self, ns: &Ns, name: &LinkName, found: &Link) {
        let text = match &found.kind {
            LinkKind::Veth(_) => format!(
                "veth {name} is left out: its other end is in a namespace without a name, which \
                 `ip netns attach NAME PID` gives one"
            ),
            kind => format!(
                "link {name} is left out, with what is on it: this version has no word for its kind, {}",
                kind.name()
            ),
        };
        self.remark(ns, text);
    }
}
