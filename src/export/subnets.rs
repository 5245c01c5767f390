//! Subnets: prefixes whose gateway is held here and leads out with other sources, or is guarded by netform already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Exporter;
use super::tree::Entry;
use crate::resource::address::Held;
use crate::resource::name::{LinkName, SubnetName};
use crate::resource::nftables::gateway::raise::Raised;
use crate::resource::nftables::gateway::{Nat, Service};
use crate::resource::route::{self, Route, RouteKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Meaning, Translation};

/// The protocols that have ports, by their numbers.
pub(super) const WITH_PORTS: [(u8, &str); 2] = [(6, "tcp"), (17, "udp")];

/// What was recognised.
#[derive(Debug, Default)]
pub(super) struct Subnets {
    all: Vec<Subnet>,
    /// The namespaces whose gateways are guarded.
    guarded: BTreeSet<Ns>,
}

/// A subnet.
#[derive(Debug)]
pub(super) struct Subnet {
    pub(super) name: String,
    pub(super) cidr: IpNet,
    pub(super) gateway: IpAddr,
    pub(super) holder: (Ns, LinkName),
    /// The namespaces that have an address in it, besides the holder's.
    members: BTreeSet<Ns>,
    pub(super) egress: Option<Egress>,
    allow: Vec<(LinkName, Service)>,
}

/// What the subnets of a family behind each link are called.
type Names<'s> = BTreeMap<(&'s Ns, &'s LinkName, Family), Vec<&'s str>>;

/// A way out.
#[derive(Debug)]
pub(super) struct Egress {
    pub(super) dev: LinkName,
    nat: Nat,
    inbound: bool,
}

impl Subnets {
    /// Whether gateways in a namespace are guarded, so that they bring the forwarding that they need.
    pub(super) fn guards(&self, ns: &Ns) -> bool {
        self.guarded.contains(ns)
    }

    /// Whether the length of an address is that of the only subnet that it is in.
    pub(super) fn gives_length(&self, held: &Held) -> bool {
        let ip = held.addr();
        let mut around = self.all.iter().filter(|subnet| subnet.cidr.contains(&ip));
        match (around.next(), around.next()) {
            (Some(only), None) => only.cidr.prefix_len() == held.prefix_len(),
            _ => false,
        }
    }

    /// The gateways whose default routes a namespace is offered.
    pub(super) fn offered(&self, ns: &Ns) -> BTreeSet<IpAddr> {
        let subnets = self.all.iter();
        let offered = subnets.filter(|subnet| subnet.members.contains(ns));
        offered.map(|subnet| subnet.gateway).collect()
    }

    /// The gateway whose offer a route is.
    pub(super) fn brought(&self, ns: &Ns, key: &RouteKey, route: &Route) -> Option<IpAddr> {
        let [hop] = route.hops() else { return None };
        let usual = *key == RouteKey::default_of(key.family());
        let plain = usual && route.src.is_none() && route.mtu.is_none() && !hop.onlink;
        let via = hop.via.filter(|_| plain && *ns != Ns::Host)?;
        self.offered(ns).contains(&via).then_some(via)
    }

    /// The one that an address is in, of those held in a namespace.
    pub(super) fn around(&self, ns: &Ns, ip: IpAddr) -> Option<&Subnet> {
        let mut all = self.all.iter();
        all.find(|subnet| subnet.holder.0 == *ns && subnet.cidr.contains(&ip))
    }
}

impl Exporter<'_> {
    /// Looks for them where something translates sources, and where a table of netform's guards links.
    pub(super) fn find_subnets(&mut self) -> Subnets {
        let mut all: Vec<Subnet> = Vec::new();
        let mut guarded = BTreeSet::new();
        for ns in self.places() {
            let raised = self.raised(ns);
            let found = match &raised {
                Some(raised) => self.guarded(ns, raised),
                None => self.translated(ns),
            };
            if !found.is_empty() && raised.is_none_or(|raised| raised.judges) {
                guarded.insert(ns.clone());
            }
            all.extend(found);
        }
        for at in 0..all.len() {
            let name = named(&all, at);
            all[at].name = name;
        }
        Subnets { all, guarded }
    }

    /// What a table of netform's says of a namespace.
    pub(super) fn raised(&self, ns: &Ns) -> Option<Raised> {
        let id = Id::new(ns.clone(), Key::Table);
        match &self.survey.state.get(&id)?.resource {
            Resource::Table(table) => Some(table.raised()),
            _ => None,
        }
    }

    /// The networks of the links of a namespace that are written: each with its link and the address there.
    fn networks(&self, ns: &Ns) -> Vec<(LinkName, Held)> {
        let links = self.ends().filter(|(at, _)| *at == ns);
        let held = links.flat_map(|(at, link)| {
            let held = self.held(at, link).into_iter();
            held.map(move |held| (link.clone(), held))
        });
        let networks = held.filter(|(_, held)| {
            let longest = if held.addr().is_ipv4() { 32 } else { 128 };
            held.peer().is_none() && held.prefix_len() < longest
        });
        networks.collect()
    }

    /// The addresses in other namespaces than one and the host.
    fn beyond(&self, ns: &Ns) -> Vec<(&Ns, IpAddr)> {
        let ends = self.ends().filter(|(at, _)| *at != ns && **at != Ns::Host);
        let held = ends.flat_map(|(at, link)| {
            let held = self.held(at, link).into_iter();
            held.map(move |held| (at, held.addr()))
        });
        held.collect()
    }

    /// A subnet with a gateway, whose members are among the addresses beyond it, and no way out yet.
    fn subnet(ns: &Ns, link: &LinkName, held: &Held, beyond: &[(&Ns, IpAddr)]) -> Option<Subnet> {
        let cidr = IpNet::new(held.addr(), held.prefix_len()).ok()?.trunc();
        let members = beyond.iter().filter(|(_, ip)| cidr.contains(ip));
        Some(Subnet {
            name: String::new(),
            cidr,
            gateway: held.addr(),
            holder: (ns.clone(), link.clone()),
            members: members.map(|(at, _)| (*at).clone()).collect(),
            egress: None,
            allow: Vec::new(),
        })
    }

    /// The subnets behind the links that netform guards.
    fn guarded(&self, ns: &Ns, raised: &Raised) -> Vec<Subnet> {
        let beyond = self.beyond(ns);
        let mut all = Vec::new();
        for (link, held) in self.networks(ns) {
            if !raised.links.contains(&link) {
                continue;
            }
            let family = Family::of(held.addr());
            let Some(mut subnet) = Self::subnet(ns, &link, &held, &beyond) else {
                continue;
            };
            if let Some((dev, nat)) = raised.egress.get(&(link.clone(), family)) {
                let back = (dev.clone(), link.clone(), family, Service::All);
                subnet.egress = Some(Egress {
                    dev: dev.clone(),
                    nat: *nat,
                    inbound: raised.allow.contains(&back),
                });
            }
            let allowed = raised.allow.iter();
            let allowed = allowed.filter(|(from, to, of, _)| {
                *from == link && raised.links.contains(to) && *of == family
            });
            subnet
                .allow
                .extend(allowed.map(|(_, to, _, service)| (to.clone(), *service)));
            all.push(subnet);
        }
        all
    }

    /// The subnets whose sources somebody else's rules translate, and those beside them that these reach.
    fn translated(&mut self, ns: &Ns) -> Vec<Subnet> {
        let Some(place) = self.place(ns) else {
            return Vec::new();
        };
        let mut used: BTreeSet<usize> = BTreeSet::new();
        let beyond = self.beyond(ns);
        let mut all: Vec<Subnet> = Vec::new();
        for (link, held) in self.networks(ns) {
            let Some(mut subnet) = Self::subnet(ns, &link, &held, &beyond) else {
                continue;
            };
            let translations = place.translations.iter().enumerate();
            let mut ways = translations.filter_map(|(at, translation)| {
                Some((at, self.way_out(ns, &subnet, &link, translation)?))
            });
            if let Some((at, egress)) = ways.next() {
                used.insert(at);
                // Another that says the same, for another link or as a fallback.
                used.extend(ways.map(|(at, _)| at));
                subnet.egress = Some(egress);
            }
            all.push(subnet);
        }
        for (at, translation) in place.translations.iter().enumerate() {
            let of_sources = !matches!(
                translation.meaning,
                Meaning::Destination(..) | Meaning::Other
            );
            if of_sources && self.is_concerned(ns, translation) {
                let what = if used.contains(&at) {
                    "does what `egress` says here, and stays: remove it once this is applied"
                } else {
                    "is left out: it translates sources in a way that a spec has no words for"
                };
                self.remark(ns, format!("{} {what}", translation.place));
            }
        }
        // Without a way out for any there is nothing that a plain router couldn't be.
        let uplinks: BTreeSet<LinkName> = all
            .iter()
            .filter_map(|subnet| Some(subnet.egress.as_ref()?.dev.clone()))
            .collect();
        if uplinks.is_empty() {
            return Vec::new();
        }
        all.retain(|subnet| {
            subnet.egress.is_some()
                || !uplinks.contains(&subnet.holder.1) && !subnet.members.is_empty()
        });
        self.reach_each_other(ns, &mut all);
        all
    }

    /// Between the networks of a router everything passes, unless somebody else's rules judge it.
    fn reach_each_other(&mut self, ns: &Ns, all: &mut [Subnet]) {
        let place = self.place(ns);
        let judges = place.into_iter().flat_map(|place| &place.judges);
        let judges: Vec<&str> = judges.map(String::as_str).collect();
        if !judges.is_empty() && all.len() > 1 {
            let text = format!(
                "{} may refuse what goes from subnet to subnet; a spec says what may with `allow`, and nothing is \
                 allowed here",
                judges.join(", ")
            );
            self.remark(ns, text);
            return;
        }
        let links: Vec<(LinkName, Family)> = all
            .iter()
            .map(|subnet| (subnet.holder.1.clone(), Family::of(subnet.gateway)))
            .collect();
        for subnet in all {
            let family = Family::of(subnet.gateway);
            let others = links.iter();
            let others = others.filter(|(link, of)| *link != subnet.holder.1 && *of == family);
            let others: BTreeSet<&LinkName> = others.map(|(link, _)| link).collect();
            let others = others.into_iter();
            subnet
                .allow
                .extend(others.map(|link| (link.clone(), Service::All)));
        }
    }

    /// Whether a translation may have to do with what is written.
    pub(super) fn is_concerned(&self, ns: &Ns, translation: &Translation) -> bool {
        if self.scope.is_whole(ns) {
            return true;
        }
        let held = self.ends().filter(|(at, _)| *at != ns);
        let mut held = held.flat_map(|(at, link)| self.held(at, link));
        match (&translation.matches.from, translation.meaning) {
            (_, Meaning::Destination(ip, _)) => held.any(|held| held.addr() == ip),
            (Some(from), _) if !from.negated => {
                held.any(|held| from.value.iter().any(|net| net.contains(&held.addr())))
            }
            _ => true,
        }
    }

    /// By which link a subnet leaves, as a rule says that translates its sources. None: it doesn't.
    fn way_out(
        &self,
        ns: &Ns,
        subnet: &Subnet,
        link: &LinkName,
        translation: &Translation,
    ) -> Option<Egress> {
        let family = Family::of(subnet.gateway);
        let matches = &translation.matches;
        let of_family = translation.family.is_none_or(|of| of == family);
        let from = matches.from.as_ref();
        let from = from.is_none_or(|from| {
            !from.negated && from.value.iter().any(|net| net.contains(&subnet.cidr))
        });
        // What stays inside isn't translated.
        let to = matches.to.as_ref();
        let to = to.is_none_or(|to| to.negated);
        let rest = matches.protocol.is_none() && matches.ports.is_none() && !matches.local;
        if !(of_family && from && to && rest && !matches.more && matches.iif.is_none()) {
            return None;
        }
        let nat = match translation.meaning {
            Meaning::Masquerade => Nat::Masquerade,
            Meaning::Source(ip) => Nat::Source(ip),
            _ => return None,
        };
        let dev = match &matches.oif {
            Some(oif) if !oif.negated => oif.value.clone(),
            _ => self.uplink(ns, family)?,
        };
        let out = dev != *link && matches.leaves_by(&dev);
        out.then_some(Egress {
            dev,
            nat,
            inbound: false,
        })
    }

    /// The link of the default route of a namespace.
    pub(super) fn uplink(&self, ns: &Ns, family: Family) -> Option<LinkName> {
        let mut best: Option<(u32, LinkName)> = None;
        for (key, entry) in self.resources(ns) {
            if let (Key::Route(key), Resource::Route(route)) = (key, &entry.resource)
                && key.table == route::MAIN
                && key.to.prefix_len() == 0
                && key.family() == family
                && let Some(dev) = route.hops().first().and_then(|hop| hop.dev.clone())
                && best.as_ref().is_none_or(|(metric, _)| key.metric < *metric)
            {
                best = Some((key.metric, dev));
            }
        }
        best.map(|(_, dev)| dev)
    }

    /// The entries of `subnets`.
    pub(super) fn subnet_entries(&self) -> Vec<Entry> {
        let subnets = self.subnets.all.iter();
        let mut names = Names::new();
        for subnet in subnets.clone() {
            let (ns, link) = &subnet.holder;
            let behind = names.entry((ns, link, Family::of(subnet.gateway)));
            behind.or_default().push(&subnet.name);
        }
        subnets
            .map(|subnet| self.subnet_entry(subnet, &names))
            .collect()
    }

    fn subnet_entry(&self, subnet: &Subnet, names: &Names<'_>) -> Entry {
        let mut fields = vec![
            Entry::text("cidr", subnet.cidr),
            Entry::text("gateway", subnet.gateway),
        ];
        if let Some(Egress { dev, nat, inbound }) = &subnet.egress {
            let mut said = Vec::new();
            let family = Family::of(subnet.gateway);
            if self.uplink(&subnet.holder.0, family).as_ref() != Some(dev) {
                said.push(Entry::text("dev", dev));
            }
            match nat {
                Nat::Masquerade => {}
                Nat::Source(ip) => said.push(Entry::text("snat", ip)),
                Nat::None => said.push(Entry::word("masquerade", false)),
            }
            if *inbound {
                said.push(Entry::text("inbound", "allow"));
            }
            fields.push(Entry::flow("egress", said).optional());
        }
        let mut allowed: BTreeMap<&str, Vec<Service>> = BTreeMap::new();
        for (link, service) in &subnet.allow {
            let others = names.get(&(&subnet.holder.0, link, Family::of(subnet.gateway)));
            for name in others.into_iter().flatten() {
                allowed.entry(name).or_default().push(*service);
            }
        }
        let items: Vec<Entry> = allowed
            .into_iter()
            .map(|(name, some)| allow(name, &some))
            .collect();
        if !items.is_empty() {
            fields.push(
                Entry::flow("allow", items.into_iter().map(Entry::optional).collect()).optional(),
            );
        }
        Entry::flow(&subnet.name, fields).optional()
    }
}

/// A name for one of several subnets that none before it has: that of the only member behind its link, or of the link.
fn named(all: &[Subnet], at: usize) -> String {
    let (subnet, others) = (&all[at], &all[..at]);
    let beside = all.iter().filter(|other| other.holder == subnet.holder);
    let members: BTreeSet<&Ns> = beside.flat_map(|subnet| &subnet.members).collect();
    let mut members = members.into_iter();
    let from = match (members.next(), members.next()) {
        (Some(Ns::Named(only)), None) => only.as_str(),
        _ => subnet.holder.1.as_str(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain = from.chars().map(|c| if is_plain(c) { c } else { '-' });
    let base: String = plain.take(24).collect();
    let base = match base.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => base,
        _ => format!("net-{base}"),
    };
    let ipv6 = format!("{base}6");
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = [base.clone()]
        .into_iter()
        .chain(subnet.cidr.addr().is_ipv6().then_some(ipv6))
        .chain(numbered);
    let is_free = |name: &String| {
        SubnetName::try_from(name.as_str()).is_ok()
            && others.iter().all(|other| other.name != *name)
    };
    names.find(is_free).unwrap_or(base)
}

/// What a subnet allows to be opened to another.
fn allow(name: &str, services: &[Service]) -> Entry {
    if services.contains(&Service::All) {
        return Entry::item(name);
    }
    let mut fields = vec![Entry::text("subnet", name)];
    for (number, word) in WITH_PORTS {
        let ports = services.iter().filter_map(|service| match service {
            Service::Ports { protocol, from, to } if *protocol == number => Some((*from, *to)),
            _ => None,
        });
        let items: Vec<Entry> = ports
            .map(|ports| Entry::item_word(written(ports)))
            .collect();
        if !items.is_empty() {
            fields.push(Entry::flow(word, items));
        }
    }
    let icmp = Family::BOTH.map(Service::icmp);
    if services.iter().any(|service| icmp.contains(service)) {
        fields.push(Entry::word("icmp", true));
    }
    Entry::flow_item(fields)
}

/// A port, or several in a row.
pub(super) fn written((from, to): (u16, u16)) -> String {
    if from == to {
        from.to_string()
    } else {
        format!("{from}-{to}")
    }
}
