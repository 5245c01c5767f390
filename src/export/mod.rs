//! From what exists to a spec: the way back from the kernel.
//!
//! [`draft`] writes one, as a pure function of what was read. Whether it is right is found out by taking it for a spec
//! like any other: what parsing or lowering refuses is struck out ([`Draft::strike`]), with the reason as a remark, and
//! what lowering would have otherwise than it is, a link-layer address for example, is written too ([`Extras`]).

mod files;
mod links;
mod publish;
mod routing;
mod scope;
mod subnets;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::resource::address::AddressKey;
use crate::resource::link::MacAddress;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::spec::source::Span;
use crate::state::{State, Survey, Surveyed};

pub use self::scope::{Scope, Wanted, topology};

use self::subnets::Subnets;
use self::tree::{Entry, Written};

/// What is written only because it would change otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    macs: BTreeMap<Id, MacAddress>,
    sysctls: BTreeMap<(Ns, SysctlKey), String>,
    /// The settings that the rest of the spec means anyway, once that is known. Until then none are written.
    implied: Option<BTreeSet<(Ns, SysctlKey)>>,
}

impl Extras {
    /// What a spec that means `desired` would change of what is observed, and can say that it doesn't.
    pub fn between(desired: &State, observed: &State) -> Extras {
        let mut extras = Extras {
            implied: Some(BTreeSet::new()),
            ..Extras::default()
        };
        for (id, entry) in &desired.entries {
            match (
                &entry.resource,
                observed.get(id).map(|entry| &entry.resource),
            ) {
                (Resource::Link(wanted), Some(Resource::Link(found))) => {
                    let mac = found
                        .mac
                        .filter(|_| wanted.mac.is_some() && wanted.mac != found.mac);
                    extras.macs.extend(mac.map(|mac| (id.clone(), mac)));
                }
                (Resource::Sysctl(wanted), Some(Resource::Sysctl(Sysctl { value }))) => {
                    if let Key::Sysctl(key) = &id.key {
                        let place = (id.ns.clone(), key.clone());
                        let implied = extras.implied.get_or_insert_default();
                        implied.insert(place.clone());
                        if wanted.value != *value {
                            extras.sysctls.insert(place, value.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        extras
    }

    /// Adds others. Whether there is anything new among them.
    pub fn extend(&mut self, others: Extras) -> bool {
        let before = self.clone();
        self.macs.extend(others.macs);
        self.sysctls.extend(others.sysctls);
        // Later on what is written is meant too.
        self.implied = self.implied.take().or(others.implied);
        *self != before
    }
}

/// A spec on its way.
pub struct Draft {
    entries: Vec<Entry>,
    written: Written,
}

impl Draft {
    fn new(entries: Vec<Entry>) -> Draft {
        let written = tree::write(&entries);
        Draft { entries, written }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.written.text
    }

    /// Has the smallest part of it around a place of the text be a remark, with the reason, once it is written anew. None: the
    /// rest is no spec without.
    pub fn strike(&mut self, span: Span, why: &str) -> Option<()> {
        tree::strike(&mut self.entries, &self.written, span.start, why)
    }

    /// Writes it anew, without what was struck.
    pub fn rewrite(&mut self) {
        self.written = tree::write(&self.entries);
    }
}

/// What a spec is written of.
struct Exporter<'s> {
    survey: &'s Survey,
    scope: &'s Scope,
    extras: &'s Extras,
    /// The topology whose spec it is.
    name: &'s TopologyName,
    subnets: Subnets,
    /// What there is to say of each namespace, above it.
    remarks: BTreeMap<Ns, BTreeSet<String>>,
}

/// Writes a spec of a topology of that name for what is in the scope.
pub fn draft(survey: &Survey, scope: &Scope, name: &TopologyName, extras: &Extras) -> Draft {
    let mut exporter = Exporter {
        survey,
        scope,
        extras,
        name,
        subnets: Subnets::default(),
        remarks: BTreeMap::new(),
    };
    exporter.subnets = exporter.find_subnets();
    let veths = exporter.veths();
    let publish = exporter.publications();
    let subnets = exporter.subnet_entries();
    let namespaces = exporter.namespaces();
    let mut entries = vec![
        Entry::word("version", 1),
        Entry::text("name", name),
        Entry::block("namespaces", namespaces).optional(),
        Entry::block("subnets", subnets).optional(),
        Entry::block("veths", veths).optional(),
        Entry::block("publish", publish).optional(),
    ];
    // What there is to say of the host stands there even where there is nothing else of it.
    let of_host = exporter.remarks.remove(&Ns::Host).unwrap_or_default();
    if let Some(last) = entries.pop() {
        entries
            .push(last.with_remarks(of_host.into_iter().map(|remark| format!("host: {remark}"))));
    }
    Draft::new(entries)
}

impl<'s> Exporter<'s> {
    /// What was found in a namespace, besides what is in a State.
    fn place(&self, ns: &Ns) -> Option<&'s Surveyed> {
        self.survey.places.get(ns)
    }

    /// The resources of a namespace.
    fn resources(
        &self,
        ns: &Ns,
    ) -> impl Iterator<Item = (&'s Key, &'s crate::state::Entry)> + use<'s> {
        let first = Id::namespace(ns.clone());
        let ns = ns.clone();
        let from = self.survey.state.entries.range(first..);
        let here = from.take_while(move |(id, _)| id.ns == ns);
        here.map(|(id, entry)| (&id.key, entry))
    }

    fn remark(&mut self, ns: &Ns, text: impl Into<String>) {
        let of_namespace = self.remarks.entry(ns.clone()).or_default();
        of_namespace.insert(text.into());
    }

    /// The value of a setting, if it was read.
    fn sysctl(&self, ns: &Ns, key: SysctlKey) -> Option<&'s str> {
        let id = Id::new(ns.clone(), Key::Sysctl(key));
        match &self.survey.state.get(&id)?.resource {
            Resource::Sysctl(sysctl) => Some(&sysctl.value),
            _ => None,
        }
    }

    /// The entries of `namespaces`: those in the scope, those that links lead into, and the host, if there is anything to
    /// say of them.
    fn namespaces(&mut self) -> Vec<Entry> {
        let scope = self.scope;
        let mut entries = Vec::new();
        let names = scope.whole.iter().chain(&scope.beside);
        let names: BTreeSet<&NamespaceName> = names.collect();
        for name in names {
            let ns = Ns::Named(name.clone());
            let whole = scope.whole.contains(name);
            let fields = self.namespace(&ns, whole);
            let remarks = self.remarks.remove(&ns).unwrap_or_default();
            entries.push(Entry::block(name.as_str(), fields).with_remarks(remarks));
        }
        let fields = self.namespace(&Ns::Host, false);
        if !fields.is_empty() {
            entries.push(Entry::block("host", fields).optional());
        }
        entries
    }

    /// What is said of a namespace: of all of it, or of what the scope has to do with.
    fn namespace(&mut self, ns: &Ns, whole: bool) -> Vec<Entry> {
        let mut fields = Vec::new();
        if let Some(name) = ns.name().filter(|_| !whole) {
            fields.push(match self.survey.state.external.get(name) {
                Some(Some(path)) => {
                    let path = Entry::text("path", path.display());
                    Entry::flow("external", vec![path])
                }
                _ => Entry::word("external", true),
            });
        }
        let (gateway, routes) = self.routes(ns, whole);
        fields.extend(gateway);
        fields.extend(self.forwarding(ns, whole));
        fields.extend(self.dns(ns, whole));
        fields.extend(self.hosts(ns, whole));
        let links = self.links(ns, whole);
        fields.push(Entry::block("links", links).optional());
        fields.push(Entry::block("routes", routes).optional());
        let rules = self.rules(ns, whole);
        fields.push(Entry::block("rules", rules).optional());
        let sysctls = self.sysctls(ns, whole);
        fields.push(Entry::block("sysctls", sysctls).optional());
        if whole {
            self.tell_of_others(ns);
        }
        fields.retain(|field| !field.is_empty_block());
        fields
    }

    /// For which families it forwards, unless that is what a gateway brings.
    fn forwarding(&self, ns: &Ns, whole: bool) -> Option<Entry> {
        let forwards = |family| {
            let is_on = self.sysctl(ns, SysctlKey::forwarding(family)) == Some("1");
            let id = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(family)));
            let wanted = whole || self.has_on_loan(&id) || self.is_router(ns, family);
            is_on && wanted && !self.subnets.guards(ns)
        };
        let value = match Family::BOTH.map(forwards) {
            [true, true] => "true",
            [true, false] => "ipv4",
            [false, true] => "ipv6",
            [false, false] => return None,
        };
        Some(Entry::word("forwarding", value).optional())
    }

    /// Whether the topology has borrowed a setting.
    fn has_on_loan(&self, id: &Id) -> bool {
        let loan = self.survey.state.loans.get(id);
        loan.is_some_and(|loan| loan.by.contains_key(self.name))
    }

    fn sysctls(&self, ns: &Ns, whole: bool) -> Vec<Entry> {
        let Some(implied) = &self.extras.implied else {
            return Vec::new();
        };
        let mut all: BTreeMap<&SysctlKey, Entry> = BTreeMap::new();
        let extras = self.extras.sysctls.iter();
        for ((_, key), value) in extras.filter(|((at, _), _)| at == ns) {
            if key.switch().is_none() {
                all.insert(key, setting(key, value).quiet());
            }
        }
        for id in self.survey.state.loans.keys() {
            if id.ns == *ns
                && self.has_on_loan(id)
                && let Key::Sysctl(key) = &id.key
                && !implied.contains(&(ns.clone(), key.clone()))
                && key.switch().is_none()
                && let Some(value) = self.sysctl(ns, key.clone())
            {
                all.insert(key, setting(key, value).optional());
            }
        }
        let told = self.place(ns).into_iter().flat_map(|place| &place.settings);
        let forwards = self.sysctl(ns, SysctlKey::forwarding(Family::Ipv4)) == Some("1");
        for (key, value) in told {
            // The switch writes that too.
            let follows = forwards && *key == SysctlKey::redirects() && value == "0";
            if follows || implied.contains(&(ns.clone(), key.clone())) {
                continue;
            }
            let is_told = match key {
                SysctlKey::Global(_) => whole,
                SysctlKey::Conf { link, .. } => {
                    whole && link.as_str() == "lo" || self.scope.has_link(ns, link)
                }
            };
            if is_told {
                all.insert(key, setting(key, value).optional());
            }
        }
        all.into_values().collect()
    }

    /// Says what of others there is that a spec has no words for.
    fn tell_of_others(&mut self, ns: &Ns) {
        for (key, _) in self.resources(ns) {
            let id = Id::new(ns.clone(), key.clone());
            if let (Key::Address(AddressKey { link, ip }), Some(why)) =
                (key, self.survey.state.unfit.get(&id))
            {
                self.remark(ns, format!("address {ip} on {link} is left out: {why}"));
            }
            if let (Key::Link(name), Some(link)) = (key, scope::link_of(self.survey, &id))
                && let Some(master) = &link.master
                && self.scope.has_link(ns, name)
                && !scope::link(self.survey, ns, master).is_some_and(|master| master.kind.joins())
            {
                self.remark(
                    ns,
                    format!("that link {name} is a port of {master} is left out"),
                );
            }
        }
        let Some(place) = self.place(ns) else { return };
        if let Some(program) = place.program {
            self.remark(ns, format!("{program} seems to have made this namespace"));
        }
        if place.other_rules {
            let text = "there are policy routing rules that look at what a spec has no words for: `ip rule`";
            self.remark(ns, text);
        }
        let tables: Vec<&str> = place.tables.iter().map(String::as_str).collect();
        if !tables.is_empty() {
            let listed = tables.join(", ");
            self.remark(
                ns,
                format!("nftables tables of others, which stay as they are: {listed}"),
            );
        }
    }

    /// The namespaces that have links which are written.
    fn places(&self) -> BTreeSet<&'s Ns> {
        self.ends().map(|(ns, _)| ns).collect()
    }

    /// The namespace and link of an end, of those that are written.
    fn ends(&self) -> impl Iterator<Item = (&'s Ns, &'s LinkName)> {
        self.scope.links.iter().map(|(ns, link)| (ns, link))
    }
}

/// An entry of `sysctls`.
fn setting(key: &SysctlKey, value: &str) -> Entry {
    let number = value
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == value);
    if number {
        Entry::word(&key.to_string(), value)
    } else {
        Entry::text(&key.to_string(), value)
    }
}
