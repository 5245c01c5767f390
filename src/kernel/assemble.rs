//! From what was read of one namespace to resources, and whose each is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::read::{self, Reading};
use super::record::Record;
use super::{peers, tag};
use crate::resource::address::{Address, AddressKey, PROMOTES, Standing};
use crate::resource::link::veth::{self, Peer, Veth};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::namespace::Namespace;
use crate::resource::port::Port;
use crate::resource::route::{NextHop, Route, RouteKey, Target};
use crate::resource::rule::Rule;
use crate::resource::sysctl::{FORCED, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Owner, State};

/// `FRA_PROTOCOL` of the rules that a namespace begins with (`RTPROT_KERNEL`).
const KERNEL_RULES: u8 = 2;

/// `rtm_protocol` of routes that the kernel makes by itself (`RTPROT_REDIRECT`, `RTPROT_KERNEL`).
const KERNEL_ROUTES: [u8; 2] = [1, 2];

/// `IFA_PROTO` of addresses that the kernel makes by itself: of `lo`, from a router advertisement,
/// link-local (`IFAPROT_KERNEL_LO` and so on).
const KERNEL_ADDRESSES: std::ops::RangeInclusive<u8> = 1..=3;

/// The devices that tunnel modules make in each namespace.
const FALLBACKS: [&str; 9] = [
    "erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0",
];

/// Puts one namespace's reading into a State.
pub(super) struct Assembly<'a> {
    pub(super) ns: &'a Ns,
    /// Whose it is; the host is the kernel's.
    pub(super) owner: &'a Owner,
    pub(super) reading: &'a Reading,
    pub(super) topology: &'a TopologyName,
    pub(super) desired: &'a State,
    /// Whether addresses don't keep their protocol number.
    pub(super) forgets_protocols: bool,
    pub(super) records: &'a [Record],
    pub(super) peers: &'a peers::Peers,
    pub(super) state: &'a mut State,
}

impl Assembly<'_> {
    /// Puts it in. `switches` are those that are concerned, if it is a namespace of others.
    pub(super) fn assemble(mut self, switches: Option<&BTreeSet<Family>>) {
        let names: BTreeMap<u32, LinkName> = self
            .reading
            .links
            .iter()
            .filter_map(|link| Some((link.index, LinkName::try_from(link.name.as_str()).ok()?)))
            .collect();
        let of_ns = match self.owner {
            Owner::Topology(owner) => Some(owner.clone()),
            _ => None,
        };
        if *self.ns != Ns::Host {
            let owner = self.owner.clone();
            let id = Id::namespace(self.ns.clone());
            self.state
                .insert(id, Resource::Namespace(Namespace::default()), owner);
        }
        let mut owners: BTreeMap<u32, Owner> = BTreeMap::new();
        for link in &self.reading.links {
            let Some(name) = names.get(&link.index) else {
                continue;
            };
            let owner = self.owner_of(link, name);
            let resource = self.link(link, &names);
            owners.insert(link.index, owner.clone());
            // What our own are ports of is a part of them.
            if let (Some(master), false) = (&resource.master, matches!(owner, Owner::Topology(_))) {
                self.port(name, master);
            }
            let id = Id::link(self.ns.clone(), name.clone());
            self.state.insert(id, Resource::Link(resource), owner);
        }
        let mut places: BTreeMap<u32, u32> = BTreeMap::new();
        for address in &self.reading.addresses {
            if let Some(link) = names.get(&address.index) {
                let of_link = owners.get(&address.index);
                // The kernel tells of them in the order in which they stand.
                let next = places.entry(address.index).or_default();
                let place = if address.ip.is_ipv4() { *next } else { 0 };
                *next += u32::from(address.ip.is_ipv4());
                self.address(address, place, link, of_link, of_ns.as_ref());
            }
        }
        for route in &self.reading.routes {
            self.route(route, &names, &owners, of_ns.as_ref());
        }
        for rule in &self.reading.rules {
            self.rule(rule, of_ns.as_ref());
        }
        self.sysctls(&names, &owners, of_ns.as_ref(), switches);
    }

    fn owner_of(&self, link: &read::Link, name: &LinkName) -> Owner {
        if link.is_loopback() {
            return Owner::Kernel;
        }
        if let Some(owner) = tag::of_link(link) {
            return Owner::Topology(owner);
        }
        if FALLBACKS.contains(&name.as_str()) {
            return Owner::Kernel;
        }
        // A link with our number that nobody tagged: half made. Its peer may have come further.
        if link.group == tag::GROUP && link.alias.is_empty() {
            if let Some(owner) = self.peers.owner(self.ns, link.index) {
                return Owner::Topology(owner.clone());
            }
            let id = Id::link(self.ns.clone(), name.clone());
            if let Some(Resource::Link(wanted)) = self.desired.get(&id).map(|e| &e.resource)
                && wanted.kind.name() == link.kind
            {
                return Owner::Topology(self.topology.clone());
            }
        }
        Owner::Foreign
    }

    fn link(&self, link: &read::Link, names: &BTreeMap<u32, LinkName>) -> Link {
        let kind = if link.is_loopback() {
            LinkKind::Loopback
        } else if link.kind == veth::KIND {
            let peer = self.peers.of(self.ns, link.index).map(|(ns, name)| Peer {
                ns: ns.clone(),
                name: name.clone(),
            });
            LinkKind::Veth(Veth { peer })
        } else {
            LinkKind::read(&link.kind, &link.settings)
                .unwrap_or_else(|| LinkKind::Other(link.kind.clone()))
        };
        Link {
            kind,
            up: link.is_up(),
            mtu: Some(link.mtu),
            mac: link.mac,
            master: link.master.and_then(|index| names.get(&index).cloned()),
            tagged: link.group != tag::GROUP || tag::of_link(link).is_some(),
        }
    }

    /// That a link of others is a port. It carries no tag: it is ours as long as it is of what the record says.
    fn port(&mut self, name: &LinkName, master: &LinkName) {
        let id = Id::new(self.ns.clone(), Key::Port(name.clone()));
        let mut records = self.records.iter();
        let claim = records.find(|record| record.has_port(&id, master));
        let owner = claim.map_or(Owner::Foreign, |record| {
            Owner::Topology(record.topology.clone())
        });
        let master = master.clone();
        self.state
            .insert(id, Resource::Port(Port { master }), owner);
    }

    fn address(
        &mut self,
        address: &read::Address,
        place: u32,
        link: &LinkName,
        of_link: Option<&Owner>,
        of_ns: Option<&TopologyName>,
    ) {
        let key = AddressKey {
            link: link.clone(),
            ip: address.ip,
        };
        let id = Id::new(self.ns.clone(), Key::Address(key));
        let ours = address.protocol == tag::PROTOCOL
            || address.protocol == 0 && self.forgets_protocols && address.permanent;
        let owner = if ours {
            let of_ns = of_ns.filter(|_| address.protocol == tag::PROTOCOL);
            let implied = match (of_link, of_ns) {
                (Some(Owner::Topology(owner)), _) => Some(owner),
                (Some(Owner::Kernel), owner) => owner,
                _ => None,
            };
            self.claimed(&id, implied)
        } else if KERNEL_ADDRESSES.contains(&address.protocol) || self.is_kernels(address) {
            Owner::Kernel
        } else {
            Owner::Foreign
        };
        let resource = Resource::Address(Address {
            prefix: address.prefix,
            peer: address.peer,
            place,
            standing: match address.secondary {
                false => Standing::Primary,
                true if self.promotes(address.index) => Standing::Heir,
                true => Standing::Secondary,
            },
            twice: false,
        });
        if owner == Owner::Foreign && !address.permanent {
            self.state
                .unfit
                .insert(id.clone(), "it has a lifetime, so a program renews it");
        }
        let again = self.state.get(&id).is_some();
        self.put(id.clone(), resource, owner);
        let entry = self.state.entries.get_mut(&id).filter(|_| again);
        if let Some(Resource::Address(address)) = entry.map(|entry| &mut entry.resource) {
            address.twice = true;
        }
    }

    /// Whether a link promotes secondary addresses.
    fn promotes(&self, index: u32) -> bool {
        let mut links = self.reading.links.iter();
        let link = links.find(|link| link.index == index);
        let own = link.and_then(|link| link.conf(Family::Ipv4, PROMOTES));
        self.reading.promotes || own.is_some_and(|own| own != 0)
    }

    fn route(
        &mut self,
        route: &read::Route,
        names: &BTreeMap<u32, LinkName>,
        owners: &BTreeMap<u32, Owner>,
        of_ns: Option<&TopologyName>,
    ) {
        if KERNEL_ROUTES.contains(&route.protocol) {
            return;
        }
        let id = Id::new(
            self.ns.clone(),
            Key::Route(RouteKey {
                table: route.table,
                to: route.to,
                metric: route.metric,
            }),
        );
        let owner = if route.protocol == tag::PROTOCOL {
            let of_hops = route.hops.iter().find_map(|hop| {
                match hop.index.and_then(|index| owners.get(&index)) {
                    Some(Owner::Topology(owner)) => Some(owner),
                    _ => None,
                }
            });
            self.claimed(&id, of_hops.or(of_ns))
        } else {
            Owner::Foreign
        };
        if owner == Owner::Foreign && (route.by_object || route.hops.len() > 1) {
            self.state.unfit.insert(
                id.clone(),
                "its several next hops can't be written as they are",
            );
        }
        let hops = || {
            let hop = |hop: &read::Hop| NextHop {
                via: hop.via,
                dev: hop.index.and_then(|index| names.get(&index).cloned()),
                onlink: hop.onlink,
                weight: hop.weight,
            };
            route.hops.iter().map(hop).collect()
        };
        let target = match route.kind {
            libc::RTN_UNICAST => Target::over(Family::of(route.to.addr()), hops()),
            libc::RTN_BLACKHOLE => Target::Blackhole,
            libc::RTN_UNREACHABLE => Target::Unreachable,
            libc::RTN_PROHIBIT => Target::Prohibit,
            other => Target::Other(other),
        };
        let resource = Resource::Route(Route {
            target,
            src: route.src,
            mtu: route.mtu,
        });
        self.put(id, resource, owner);
    }

    fn rule(&mut self, rule: &read::Rule, of_ns: Option<&TopologyName>) {
        let id = Id::new(self.ns.clone(), Key::Rule(Box::new(rule.key.clone())));
        let owner = match rule.protocol {
            tag::PROTOCOL => self.claimed(&id, of_ns),
            KERNEL_RULES => return,
            _ => Owner::Foreign,
        };
        // Ours that is there more than once: the first is the one that counts.
        if matches!(owner, Owner::Topology(_))
            && let Some(entry) = self.state.entries.get_mut(&id)
            && entry.owner == owner
            && let Resource::Rule(first) = &mut entry.resource
        {
            first.surplus.push(rule.action);
            return;
        }
        self.put(id, Resource::Rule(Rule::new(rule.action)), owner);
    }

    fn sysctls(
        &mut self,
        names: &BTreeMap<u32, LinkName>,
        owners: &BTreeMap<u32, Owner>,
        of_ns: Option<&TopologyName>,
        switches: Option<&BTreeSet<Family>>,
    ) {
        let by_name: BTreeMap<&LinkName, &Owner> = names
            .iter()
            .filter_map(|(index, name)| Some((name, owners.get(index)?)))
            .collect();
        let owner_of = |key: &SysctlKey| match key {
            SysctlKey::Conf { link, .. } => match by_name.get(link) {
                Some(Owner::Topology(owner)) => Owner::Topology(owner.clone()),
                _ => of_ns.cloned().map_or(Owner::Foreign, Owner::Topology),
            },
            SysctlKey::Global(_) => of_ns.cloned().map_or(Owner::Foreign, Owner::Topology),
        };
        let mut all = self.reading.sysctls.clone();
        // Throwing a switch writes every link's value, also of others' links: the planner must know them.
        for family in switches.into_iter().flatten() {
            let written: &[&str] = match family {
                Family::Ipv4 => &["forwarding"],
                Family::Ipv6 => &["forwarding", FORCED],
            };
            for link in &self.reading.links {
                let Some(name) = names.get(&link.index) else {
                    continue;
                };
                for last in written {
                    if let Some(value) = link.conf(*family, last) {
                        let key = SysctlKey::conf(*family, name.clone(), last);
                        all.insert(key, value.to_string());
                    }
                }
            }
        }
        for (key, value) in all {
            let owner = owner_of(&key);
            let id = Id::new(self.ns.clone(), Key::Sysctl(key));
            self.state.insert(
                id,
                Resource::Sysctl(Sysctl {
                    value: value.into(),
                }),
                owner,
            );
        }
    }

    /// Whose something with our protocol number is: of the topology whose record claims it, because it stands
    /// on a link or in a namespace that isn't its own; otherwise of the one that this implies. What
    /// nothing says that of is shown, and never pruned.
    fn claimed(&self, id: &Id, implied: Option<&TopologyName>) -> Owner {
        let mut records = self.records.iter();
        let claim = records.find(|record| record.claims.contains(id));
        let owner = claim.map(|record| &record.topology).or(implied);
        owner.cloned().map_or(Owner::Foreign, Owner::Topology)
    }

    /// Puts a resource in, unless one of ours has its place: the kernel tells more apart than a State
    /// does, as the lengths of one address.
    fn put(&mut self, id: Id, resource: Resource, owner: Owner) {
        let taken = self.state.get(&id).map(|entry| &entry.owner);
        let ours = matches!(owner, Owner::Topology(_));
        if taken.is_none() || ours && !matches!(taken, Some(Owner::Topology(_))) {
            self.state.insert(id, resource, owner);
        }
    }
    /// Whether an address without a protocol is the kernel's, as from before Linux 5.18.
    fn is_kernels(&self, address: &read::Address) -> bool {
        address.protocol == 0
            && match address.ip {
                IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST && address.index == 1,
                IpAddr::V6(ip) => {
                    ip == Ipv6Addr::LOCALHOST && address.index == 1
                        || self.forgets_protocols && ip.is_unicast_link_local()
                }
            }
    }
}
