//! What there is to draw of States.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::render::phrase;
use crate::resource::link::LinkKind;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::nftables::Table;
use crate::resource::nftables::gateway::{Nat, Service};
use crate::resource::route::Target;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Entry, State};

/// A picture of one topology or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The namespaces, the host last.
    pub places: BTreeMap<Ns, Place>,
    /// What connects them.
    pub lines: BTreeMap<(End, End, LineKind), Line>,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Whether it comes or goes.
    pub change: Change,
    /// Whether the topology makes it; if not, it neither comes nor goes.
    pub made: bool,
    /// Its links.
    pub links: BTreeMap<LinkName, Link>,
    /// What else there is to say of it: how many more are alike.
    pub note: Option<String>,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it comes, goes, or gets other addresses.
    pub change: Change,
    /// Whether the topology makes it; if not, it neither comes nor goes.
    pub made: bool,
    /// The rows that it had before, where that is compared.
    pub(super) was: Option<Vec<String>>,
    /// `bridge`, `dummy`; empty for the ends of pairs, and for what others made.
    pub kind: String,
    /// Its addresses, with lengths.
    pub addresses: Vec<IpNet>,
    /// Where default routes lead by it.
    pub default: BTreeSet<String>,
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It stays.
    #[default]
    None,
    /// It comes.
    Added,
    /// It becomes another.
    Changed,
    /// It goes.
    Removed,
}

impl Change {
    /// What it is called in a class of a format.
    pub fn class(self) -> Option<&'static str> {
        match self {
            Change::None => None,
            Change::Added => Some("added"),
            Change::Changed => Some("changed"),
            Change::Removed => Some("removed"),
        }
    }

    /// The sign that stands for it in a plan.
    pub fn sign(self) -> &'static str {
        match self {
            Change::None => "",
            Change::Added => "+ ",
            Change::Changed => "~ ",
            Change::Removed => "− ",
        }
    }
}

/// Where a line ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// At a link.
    Link(Ns, LinkName),
    /// Outside, where the host's uplinks lead.
    Outside,
}

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineKind {
    /// A veth pair.
    Pair,
    /// That the first is a port of the second, a bridge.
    Port,
    /// That what comes in by the first goes out by the second.
    Egress,
    /// An uplink.
    Uplink,
    /// That connections may be opened from behind the first to behind the second.
    Allow,
    /// That connections from the first lead to the second.
    Publish,
}

impl LineKind {
    /// Whether packets go along it, and not only by its leave.
    pub fn joins(self) -> bool {
        matches!(self, LineKind::Pair | LineKind::Port | LineKind::Uplink)
    }
}

/// A line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Whether it comes or goes.
    pub change: Change,
    /// What is said along it.
    pub labels: BTreeSet<String>,
}

impl Picture {
    /// Of all that a topology owns in a State, an observed one or what its spec is lowered to.
    pub fn of(topology: &TopologyName, state: &State) -> Picture {
        let mut picture = Picture::default();
        let owned = || {
            let entries = state.entries.iter();
            entries.filter(|(_, entry)| entry.owner.is(topology))
        };
        for (id, entry) in owned() {
            picture.put(id, &entry.resource);
        }
        for (id, entry) in owned() {
            if let Resource::Table(table) = &entry.resource {
                picture.gateway(&id.ns, table, topology, state);
            }
        }
        picture
    }

    /// Puts in a thing.
    fn put(&mut self, id: &Id, resource: &Resource) {
        let ns = &id.ns;
        match (&id.key, resource) {
            (Key::Namespace, _) => {
                self.places.entry(ns.clone()).or_default().made = true;
            }
            (Key::Link(name), Resource::Link(link)) if link.kind != LinkKind::Loopback => {
                let drawn = self.link(ns, name);
                drawn.made = !matches!(link.kind, LinkKind::Other(_));
                match &link.kind {
                    LinkKind::Veth(veth) => {
                        if let Some(peer) = &veth.peer {
                            let end = End::Link(ns.clone(), name.clone());
                            let other = End::Link(peer.ns.clone(), peer.name.clone());
                            self.line(
                                end.clone().min(other.clone()),
                                end.max(other),
                                LineKind::Pair,
                            );
                        }
                    }
                    kind => kind.name().clone_into(&mut drawn.kind),
                }
                if let Some(master) = &link.master {
                    self.port(ns, name, master);
                }
            }
            (Key::Port(name), Resource::Port(port)) => {
                self.link(ns, name);
                self.port(ns, name, &port.master);
            }
            (Key::Address(key), Resource::Address(address)) => {
                let net = IpNet::new(key.ip, address.prefix);
                let addresses = &mut self.link(ns, &key.link).addresses;
                addresses.extend(net.ok());
                addresses.sort_by_key(|net| (net.addr().is_ipv6(), *net));
            }
            (Key::Route(key), Resource::Route(route)) if key.to.prefix_len() == 0 => {
                if let Target::Unicast(_) = route.target {
                    for hop in route.hops() {
                        if let (Some(dev), Some(via)) = (&hop.dev, hop.via) {
                            let via = format!("default via {via}");
                            self.link(ns, dev).default.insert(via);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, ns: &Ns, name: &LinkName) -> &mut Link {
        let place = self.places.entry(ns.clone()).or_default();
        place.links.entry(name.clone()).or_default()
    }

    fn port(&mut self, ns: &Ns, name: &LinkName, master: &LinkName) {
        self.link(ns, master);
        let end = |link: &LinkName| End::Link(ns.clone(), link.clone());
        self.line(end(name), end(master), LineKind::Port);
    }

    fn line(&mut self, from: End, to: End, kind: LineKind) -> &mut Line {
        self.lines.entry((from, to, kind)).or_default()
    }

    /// Puts in what a table says of a gateway.
    fn gateway(&mut self, ns: &Ns, table: &Table, topology: &TopologyName, state: &State) {
        let end = |link: &LinkName| End::Link(ns.clone(), link.clone());
        let raised = table.raised();
        for ((from, family), (to, nat)) in &raised.egress {
            self.link(ns, from);
            self.link(ns, to);
            let label = match nat {
                Nat::None => format!("{family}, own addresses"),
                Nat::Masquerade => format!("{family}, masquerade"),
                Nat::Source(ip) => format!("as {ip}"),
            };
            let line = self.line(end(from), end(to), LineKind::Egress);
            line.labels.insert(label);
            self.uplink(ns, to, topology, state);
        }
        for (from, to, _, service) in &raised.allow {
            self.link(ns, from);
            self.link(ns, to);
            let label = words(*service).unwrap_or_else(|| "all".to_owned());
            let line = self.line(end(from), end(to), LineKind::Allow);
            line.labels.insert(label);
        }
        for published in &raised.published {
            let Some(to) = self.holder(published.to) else {
                continue;
            };
            let mut label = words(published.service).unwrap_or_else(|| "all".to_owned());
            if let Some(port) = published.port {
                let _ = write!(label, " → {port}");
            }
            if let Some(address) = published.address {
                label = format!("{address} {label}");
            }
            let from = match &published.dev {
                Some(dev) => {
                    self.link(ns, dev);
                    self.uplink(ns, dev, topology, state);
                    end(dev)
                }
                None => End::Outside,
            };
            let line = self.line(from, to, LineKind::Publish);
            line.labels.insert(label);
        }
    }

    /// Draws where a link leads that the topology didn't make.
    fn uplink(&mut self, ns: &Ns, link: &LinkName, topology: &TopologyName, state: &State) {
        let made = state.get(&Id::link(ns.clone(), link.clone()));
        let is_pair = |entry: &Entry| match &entry.resource {
            Resource::Link(link) => {
                entry.owner.is(topology) && matches!(link.kind, LinkKind::Veth(_))
            }
            _ => false,
        };
        if !made.is_some_and(is_pair) {
            let end = End::Link(ns.clone(), link.clone());
            self.line(end, End::Outside, LineKind::Uplink);
        }
    }

    /// The link that has an address.
    fn holder(&self, ip: IpAddr) -> Option<End> {
        let mut all = self.places.iter().flat_map(|(ns, place)| {
            let links = place.links.iter();
            links.map(move |(name, link)| (ns, name, link))
        });
        let (ns, name, _) =
            all.find(|(_, _, link)| link.addresses.iter().any(|net| net.addr() == ip))?;
        Some(End::Link(ns.clone(), name.clone()))
    }

    /// One picture of two, before and after, in which is marked what comes, goes and becomes another.
    pub fn between(before: Picture, after: Picture) -> Picture {
        let mut picture = Picture::default();
        let mut were = before.places;
        for (ns, mut place) in after.places {
            match were.remove(&ns) {
                None if place.made => place.mark(Change::Added),
                was => place.compare(was.unwrap_or_default()),
            }
            picture.places.insert(ns, place);
        }
        for (ns, mut was) in were {
            if was.made {
                was.mark(Change::Removed);
                picture.places.insert(ns, was);
            } else {
                let mut place = Place::default();
                place.compare(was);
                picture.places.insert(ns, place);
            }
        }
        let mut were = before.lines;
        for (key, mut line) in after.lines {
            line.change = match were.remove(&key) {
                None if key.2 == LineKind::Uplink => Change::None,
                None => Change::Added,
                Some(was) if was.labels == line.labels => Change::None,
                Some(_) => Change::Changed,
            };
            picture.lines.insert(key, line);
        }
        for (key, mut line) in were {
            // That of a link which stays, and has nothing more to do with the topology.
            if key.2 != LineKind::Uplink {
                line.change = Change::Removed;
            }
            picture.lines.insert(key, line);
        }
        picture
    }

    /// Adds another picture: that of another topology.
    pub fn add(&mut self, other: Picture) {
        for (ns, place) in other.places {
            let there = self.places.entry(ns).or_insert_with(|| Place {
                change: place.change,
                made: place.made,
                ..Place::default()
            });
            for (name, link) in place.links {
                let known = there.links.entry(name).or_insert_with(|| Link {
                    change: link.change,
                    made: link.made,
                    was: link.was.clone(),
                    kind: link.kind.clone(),
                    ..Link::default()
                });
                known.addresses.extend(link.addresses);
                known.default.extend(link.default);
            }
        }
        for (key, line) in other.lines {
            let there = self.lines.entry(key).or_insert_with(|| Line {
                change: line.change,
                ..Line::default()
            });
            there.labels.extend(line.labels);
        }
    }

    /// Whether anything is marked.
    pub fn has_changes(&self) -> bool {
        let places = self.places.values();
        let links = places.clone().flat_map(|place| place.links.values());
        let changes = places.map(|place| place.change);
        let changes = changes.chain(links.map(|link| link.change));
        let mut changes = changes.chain(self.lines.values().map(|line| line.change));
        changes.any(|change| change != Change::None)
    }
}

impl Place {
    fn mark(&mut self, change: Change) {
        self.change = change;
        for link in self.links.values_mut() {
            link.change = change;
        }
    }

    /// Marks what differs from what it was.
    fn compare(&mut self, was: Place) {
        let mut were = was.links;
        for (name, link) in &mut self.links {
            link.change = match were.remove(name) {
                None if link.made => Change::Added,
                None if link.now().is_empty() => Change::None,
                None => link.become_other(Vec::new()),
                Some(was) if was == *link => Change::None,
                Some(was) => link.become_other(was.now()),
            };
        }
        for (name, mut was) in were {
            was.change = if was.made {
                Change::Removed
            } else {
                let rows = was.now();
                was.addresses.clear();
                was.default.clear();
                if rows.is_empty() {
                    Change::None
                } else {
                    was.become_other(rows)
                }
            };
            self.links.insert(name, was);
        }
    }
}

impl Link {
    /// What is written below its name, and what becomes of each.
    pub fn rows(&self) -> Vec<(Change, String)> {
        let now = self.now();
        let Some(was) = &self.was else {
            return now.into_iter().map(|row| (self.change, row)).collect();
        };
        let gone = was.iter().filter(|row| !now.contains(row));
        let gone = gone.map(|row| (Change::Removed, row.clone()));
        let of_now = now.iter().map(|row| {
            let is_old = was.contains(row);
            let change = if is_old { Change::None } else { Change::Added };
            (change, row.clone())
        });
        gone.chain(of_now).collect()
    }

    fn now(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(IpNet::to_string);
        addresses.chain(self.default.iter().cloned()).collect()
    }

    fn become_other(&mut self, was: Vec<String>) -> Change {
        self.was = Some(was);
        Change::Changed
    }

    /// All of it, with signs where it becomes another, for formats without colours of their own.
    pub fn text(&self, name: &LinkName) -> String {
        let mut text = self.title(name);
        for (change, row) in self.rows() {
            let sign = if self.was.is_some() {
                change.sign()
            } else {
                ""
            };
            let _ = write!(text, "\n{sign}{row}");
        }
        text
    }

    /// Its name, with what it is.
    pub fn title(&self, name: &LinkName) -> String {
        let sign = self.change.sign();
        if self.kind.is_empty() {
            format!("{sign}{name}")
        } else {
            format!("{sign}{name} ({})", self.kind)
        }
    }
}

/// Which ports, in words. None: all.
fn words(service: Service) -> Option<String> {
    phrase::services(&BTreeSet::from([service]))
}
