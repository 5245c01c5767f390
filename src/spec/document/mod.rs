//! A file's values with their types, before anything is known of how they fit to each other.

mod address;
mod checks;
mod external;
mod links;
mod publish;
mod routing;
mod settings;
mod subnets;
mod values;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::resource::Ns;
use crate::resource::address::Held;
use crate::resource::link::MacAddress;
use crate::resource::name::{BadName, LinkName, NamespaceName, SubnetName, TopologyName};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::keys;
use crate::spec::model::{
    Check, Dns, External, Forwarding, Gateway, Gateways, Host, Origin, Publication, Route, Rule,
    Setting,
};
use crate::spec::reader::{Fields, Reader, bool_meant, is_bool, short};
use crate::spec::source::{Span, Spanned};
use crate::spec::tree::{self, Entry, Node, Value};

pub(super) use links::LinkEntry;
pub(super) use settings::too_old_for;
pub(super) use subnets::SubnetEntry;

/// What a file says. What couldn't be read is `None`, and has been reported.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) name: Option<Spanned<TopologyName>>,
    pub(super) namespaces: Vec<NamespaceEntry>,
    pub(super) veths: Vec<VethEntry>,
    pub(super) subnets: Vec<SubnetEntry>,
    pub(super) publish: Vec<Publication>,
    pub(super) checks: Vec<Check>,
}

/// An entry of `namespaces`.
#[derive(Debug)]
pub(super) struct NamespaceEntry {
    pub(super) key: Spanned<String>,
    pub(super) ns: Option<Ns>,
    pub(super) external: Option<External>,
    /// Where its gateway stands, also when that can't be read.
    pub(super) gateway_span: Option<Span>,
    pub(super) gateway: Option<Gateways>,
    pub(super) forwarding: Option<Spanned<Forwarding>>,
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<Rule>,
    pub(super) dns: Option<Dns>,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Vec<LinkEntry>,
    pub(super) sysctls: Vec<Setting>,
}

/// An item of `veths`.
#[derive(Debug)]
pub(super) struct VethEntry {
    pub(super) ends: Option<[EndEntry; 2]>,
    pub(super) mtu: Option<Spanned<u32>>,
}

/// An item of a veth's `ends`.
#[derive(Debug)]
pub(super) struct EndEntry {
    pub(super) ns: Option<Spanned<Ns>>,
    pub(super) name: Option<Spanned<LinkName>>,
    pub(super) addresses: Vec<Spanned<Given>>,
    pub(super) mac: Option<Spanned<MacAddress>>,
    pub(super) mtu: Option<Spanned<u32>>,
    pub(super) up: bool,
    pub(super) bridge: Option<Spanned<LinkName>>,
    pub(super) origin: Origin,
}

/// An address as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given {
    /// Without a length.
    Bare(IpAddr),
    /// With one, its own or that of the other end.
    Whole(Held),
}

/// Reads a file.
pub(super) fn read(root: &Node, found: &mut Findings) -> Option<Document> {
    let mut reader = Reader { found };
    let top = Span {
        end: root.span.start,
        ..root.span
    };
    let fields = reader.fields(root, &keys::TOPOLOGY, top)?;
    if let Some(node) = fields.get("version") {
        reader.version(node);
    }
    if let Some(node) = fields.get("requires") {
        reader.requires(node);
    }
    let name = fields.get("name").and_then(|node| {
        reader.name(node, "name", "the topology's name", |name| {
            TopologyName::try_from(name)
        })
    });
    let mut document = Document {
        name,
        ..Document::default()
    };
    if let Some(node) = fields.get("namespaces") {
        let entries = reader.entries(node, "namespaces");
        document
            .namespaces
            .extend(entries.into_iter().filter_map(|entry| {
                let read = reader.namespace(entry);
                // Beyond that many errors nothing is checked, and what was read only takes memory.
                (!reader.found.is_full()).then_some(read)
            }));
    }
    if let Some(node) = fields.get("veths") {
        let items = reader.items(node, "veths");
        document
            .veths
            .extend(items.iter().filter_map(|item| reader.veth(item)));
    }
    if let Some(node) = fields.get("subnets") {
        let entries = reader.entries(node, "subnets");
        document
            .subnets
            .extend(entries.into_iter().map(|entry| reader.subnet(entry)));
    }
    if let Some(node) = fields.get("publish") {
        let items = reader.items(node, "publish");
        document
            .publish
            .extend(items.iter().filter_map(|item| reader.publication(item)));
    }
    if let Some(node) = fields.get("checks") {
        let items = reader.items(node, "checks");
        document
            .checks
            .extend(items.iter().filter_map(|item| reader.check(item)));
    }
    Some(document)
}

/// What several files say together.
pub(super) fn merge(documents: Vec<Document>, found: &mut Findings) -> Option<Document> {
    let mut documents = documents.into_iter();
    let mut whole = documents.next()?;
    for document in documents {
        match (&whole.name, document.name) {
            (Some(first), Some(name)) if first.value != name.value => {
                let message = format!(
                    "the files are of two topologies, `{}` and `{}`",
                    first.value, name.value
                );
                let help = "give both files one name, or apply them one after the other";
                found.push(
                    Diagnostic::new(message, name.span, help).also(first.span, "the other name"),
                );
            }
            (None, name) => whole.name = name,
            _ => {}
        }
        whole.namespaces.extend(document.namespaces);
        whole.veths.extend(document.veths);
        whole.subnets.extend(document.subnets);
        whole.publish.extend(document.publish);
        whole.checks.extend(document.checks);
    }
    keep_first(&mut whole.namespaces, |entry| &entry.key, found);
    keep_first(&mut whole.subnets, |entry| &entry.key, found);
    Some(whole)
}

/// Keeps the first of the entries that have the same key, and says so.
fn keep_first<T>(entries: &mut Vec<T>, key: fn(&T) -> &Spanned<String>, found: &mut Findings) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    entries.retain(|entry| {
        let key = key(entry);
        match seen.get(&key.value) {
            Some(first) => {
                found.push(tree::duplicate(&key.value, key.span, *first));
                false
            }
            None => seen.insert(key.value.clone(), key.span).is_none(),
        }
    });
}

impl Reader<'_> {
    fn version(&mut self, node: &Node) {
        let Value::Scalar { text, plain: true } = &*node.value else {
            return self.wrong(node, "version", "the number 1", "write `version: 1`");
        };
        if text != "1" {
            let message = format!("version {} of the language is unknown", short(text));
            let help = "this version of netform knows version 1: write `version: 1`";
            self.found.error(message, node.span, help);
        }
    }

    fn namespace(&mut self, entry: &Entry) -> NamespaceEntry {
        let key = Spanned::new(entry.key.value.to_string(), entry.key.span);
        let ns = self.valid(key.span, &key.value, ns_of);
        let mut read = NamespaceEntry {
            key,
            ns,
            external: None,
            gateway_span: None,
            gateway: None,
            forwarding: None,
            routes: Vec::new(),
            rules: Vec::new(),
            dns: None,
            hosts: Vec::new(),
            links: Vec::new(),
            sysctls: Vec::new(),
        };
        // `NAME:` with nothing after it is a namespace that nothing is said of.
        if matches!(*entry.value.value, Value::Null) {
            return read;
        }
        let span = entry.key.span;
        let Some(fields) = self.fields(&entry.value, &keys::NAMESPACE_ENTRY, span) else {
            return read;
        };
        if let Some(node) = fields.get("external") {
            read.external = self.external(node, read.ns.as_ref());
        }
        if let Some(node) = fields.get("gateway") {
            read.gateway_span = Some(node.span);
            read.gateway = self.gateways(node);
        }
        read.forwarding = fields
            .get("forwarding")
            .and_then(|node| self.forwarding(node));
        if let Some(node) = fields.get("routes") {
            let items = self.items(node, "routes");
            read.routes
                .extend(items.iter().filter_map(|item| self.route(item)));
        }
        if let Some(node) = fields.get("rules") {
            let items = self.items(node, "rules");
            read.rules
                .extend(items.iter().filter_map(|item| self.rule(item)));
        }
        if let Some(node) = fields.get("dns") {
            if read.ns == Some(Ns::Host) {
                let message = "`dns` isn't for the host: its resolv.conf is not netform's";
                self.found
                    .error(message, node.span, "remove it, or say it of a namespace");
            } else if self.mounted("dns", node, read.external.as_ref()) {
                read.dns = self.dns(node);
            }
        }
        if let Some(node) = fields.get("hosts") {
            if read.ns == Some(Ns::Host) {
                let message = "`hosts` isn't for the host: its /etc/hosts is not netform's";
                self.found
                    .error(message, node.span, "remove it, or say it of a namespace");
            } else if self.mounted("hosts", node, read.external.as_ref()) {
                read.hosts = self.hosts(node);
            }
        }
        if let (Some(node), Some(ns)) = (fields.get("links"), &read.ns) {
            let entries = self.entries(node, "links");
            read.links.extend(
                entries
                    .into_iter()
                    .filter_map(|entry| self.link_entry(ns, entry)),
            );
        }
        if let Some(node) = fields.get("sysctls") {
            read.sysctls = self.sysctls(node);
        }
        read
    }

    fn gateways(&mut self, node: &Node) -> Option<Gateways> {
        let several = match &*node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar { text, .. } if text == "none" => return Some(Gateways::None),
            _ => std::slice::from_ref(node),
        };
        if several.is_empty() {
            self.found.error(
                "`gateway` is an empty list",
                node.span,
                "write `gateway: none`",
            );
            return None;
        }
        let gateways: Vec<_> = several
            .iter()
            .filter_map(|item| self.gateway(item))
            .collect();
        (gateways.len() == several.len()).then_some(Gateways::Through(gateways))
    }

    fn gateway(&mut self, node: &Node) -> Option<Spanned<Gateway>> {
        let text = self.text(node, "gateway", "a subnet's name or an address")?;
        if text.value == "none" {
            let message = "`none` can't stand beside other gateways";
            self.found.error(
                message,
                node.span,
                "remove it, or write `gateway: none` alone",
            );
            return None;
        }
        if let Ok(ip) = text.value.parse::<IpAddr>() {
            return Some(Spanned::new(Gateway::Address(ip), node.span));
        }
        if looks_like_an_address(text.value) {
            self.ip(node, "gateway")?;
        }
        let name = self.valid(node.span, text.value, |name| SubnetName::try_from(name))?;
        Some(Spanned::new(Gateway::Subnet(name), node.span))
    }

    fn forwarding(&mut self, node: &Node) -> Option<Spanned<Forwarding>> {
        let forwarding = match &*node.value {
            Value::Scalar { text, plain: true } if is_bool(text) => {
                if text.eq_ignore_ascii_case("true") {
                    Forwarding::Both
                } else {
                    Forwarding::Off
                }
            }
            Value::Scalar { text, .. } if text == "ipv4" => Forwarding::Ipv4,
            Value::Scalar { text, .. } if text == "ipv6" => Forwarding::Ipv6,
            value => {
                let help = match value {
                    Value::Scalar { text, .. } => bool_meant(text),
                    _ => None,
                };
                let help = help.unwrap_or("write one of these");
                self.wrong(
                    node,
                    "forwarding",
                    "`true`, `false`, `ipv4` or `ipv6`",
                    help,
                );
                return None;
            }
        };
        Some(Spanned::new(forwarding, node.span))
    }

    fn dns(&mut self, node: &Node) -> Option<Dns> {
        let fields = self.fields(node, &keys::DNS, node.span)?;
        let nameservers = fields.get("nameservers").map(|list| {
            let items = self.items(list, "nameservers");
            let list_like = matches!(*list.value, Value::List(_) | Value::Null);
            if items.is_empty() && list_like {
                let help = "name a server, or remove `dns`";
                self.found.error("`nameservers` is empty", list.span, help);
            }
            if let Some(fourth) = items.get(3) {
                let message = "the C library reads three nameservers, and this is the fourth";
                self.found
                    .error(message, fourth.span, "keep the three that matter");
            }
            items
                .iter()
                .filter_map(|item| self.ip(item, "nameservers"))
                .collect()
        });
        let mut words = |key| {
            let items = fields
                .get(key)
                .map_or(&[][..], |list| self.items(list, key));
            items
                .iter()
                .filter_map(|item| self.word(item, key))
                .collect()
        };
        Some(Dns {
            span: node.span,
            search: words("search"),
            options: words("options"),
            nameservers: nameservers?,
        })
    }

    /// A text that is one word of resolv.conf.
    fn word(&mut self, node: &Node, key: &str) -> Option<Spanned<String>> {
        let text = self.text(node, key, "a list of words")?;
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if text.value.is_empty() || text.value.contains(bad) {
            let message = format!("an item of `{key}` is one word, without white space");
            self.found
                .error(message, node.span, "write each word as an item of its own");
            return None;
        }
        Some(Spanned::new(text.value.to_owned(), node.span))
    }

    fn veth(&mut self, node: &Node) -> Option<VethEntry> {
        let fields = self.fields(node, &keys::VETH, node.span)?;
        let mtu = fields.get("mtu").and_then(|node| self.mtu(node));
        let ends = fields.get("ends").and_then(|node| {
            let items = self.items(node, "ends");
            let list_like = matches!(*node.value, Value::List(_) | Value::Null);
            if items.len() != 2 && list_like {
                let message = format!("a veth has two ends, and this one has {}", items.len());
                let help = "write two items, each `{namespace: …, name: …}`";
                self.found.error(message, node.span, help);
            }
            let ends: Vec<EndEntry> = items.iter().filter_map(|item| self.end(item)).collect();
            ends.try_into().ok()
        });
        Some(VethEntry { ends, mtu })
    }

    fn end(&mut self, node: &Node) -> Option<EndEntry> {
        let fields = self.fields(node, &keys::END, node.span)?;
        let ns = fields
            .get("namespace")
            .and_then(|node| self.name(node, "namespace", "a namespace's name", ns_of));
        let name = fields
            .get("name")
            .and_then(|node| self.link(node, "name", "veth end name"));
        if let Some(node) = fields.get("bridge")
            && let Value::Map(_) | Value::Null = &*node.value
        {
            let help = "name the bridge that it is a port of; `links` of a namespace makes bridges";
            self.wrong(node, "bridge", "a link's name", help);
        }
        Some(self.end_of(&fields, ns, name))
    }

    /// What is said of an end, wherever that is.
    fn end_of(
        &mut self,
        fields: &Fields<'_, '_>,
        ns: Option<Spanned<Ns>>,
        name: Option<Spanned<LinkName>>,
    ) -> EndEntry {
        let addresses = fields
            .get("addresses")
            .map_or(&[][..], |list| self.items(list, "addresses"));
        // A mapping there is a bridge itself.
        let bridge = fields
            .get("bridge")
            .filter(|node| !matches!(*node.value, Value::Map(_) | Value::Null));
        EndEntry {
            ns,
            name,
            addresses: addresses
                .iter()
                .filter_map(|item| self.address(item))
                .collect(),
            mac: fields.get("mac").and_then(|node| self.mac(node)),
            mtu: fields.get("mtu").and_then(|node| self.mtu(node)),
            up: fields
                .get("up")
                .and_then(|node| self.bool(node, "up"))
                .unwrap_or(true),
            bridge: bridge.and_then(|node| self.reference(node, "bridge")),
            origin: Origin::Made,
        }
    }
}

/// The namespace of a name.
fn ns_of(name: &str) -> Result<Ns, BadName> {
    if name == "host" {
        Ok(Ns::Host)
    } else {
        NamespaceName::try_from(name).map(Ns::Named)
    }
}

fn looks_like_an_address(text: &str) -> bool {
    text.contains([':', '/']) || text.starts_with(|c: char| c.is_ascii_digit())
}
