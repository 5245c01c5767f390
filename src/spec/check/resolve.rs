//! From what is written to what it means: names that refer, addresses without a length, defaults.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::resource::address::Held;
use crate::resource::link::IPV6_MIN_MTU;
use crate::resource::name::{NamespaceName, SubnetName};
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::document::{
    Document, EndEntry, Given, LinkEntry, NamespaceEntry, SubnetEntry, VethEntry,
};
use crate::spec::findings::{Findings, nearest};
use crate::spec::model::{Check, End, Link, Namespace, Origin, Publication, Subnet, Veth};
use crate::spec::source::{Span, Spanned};

/// The largest packet of a link when nothing else is said, in bytes.
const MTU: u32 = 1500;

/// The MTU of a link that exists as long as that isn't known, in bytes: that of `lo`.
const LARGEST: u32 = 65536;

/// What could be resolved of a document.
pub(super) struct Resolved {
    pub(super) namespaces: BTreeMap<NamespaceName, Namespace>,
    pub(super) host: Option<Namespace>,
    pub(super) veths: Vec<Veth>,
    pub(super) links: Vec<Link>,
    pub(super) subnets: BTreeMap<SubnetName, Subnet>,
    pub(super) publish: Vec<Publication>,
    pub(super) checks: Vec<Check>,
}

impl Resolved {
    /// The namespaces that others make: the host, and the external ones.
    pub(super) fn others(&self) -> HashSet<Ns> {
        let external = self.namespaces.values();
        let external = external.filter(|namespace| namespace.external.is_some());
        external
            .map(|namespace| namespace.ns.clone())
            .chain([Ns::Host])
            .collect()
    }
}

/// Resolves a document. What can't be is left out, and `found` says why.
pub(super) fn resolve(document: Document, found: &mut Findings) -> Resolved {
    let mut resolved = Resolved {
        namespaces: BTreeMap::new(),
        host: None,
        veths: Vec::new(),
        links: Vec::new(),
        subnets: BTreeMap::new(),
        publish: Vec::new(),
        checks: Vec::new(),
    };
    let known: Vec<String> = document
        .namespaces
        .iter()
        .map(|entry| entry.key.value.clone())
        .collect();
    let mut links = Vec::new();
    for mut entry in document.namespaces {
        links.append(&mut entry.links);
        match entry.ns.clone() {
            Some(ns @ Ns::Host) => resolved.host = Some(namespace(ns, entry)),
            Some(Ns::Named(name)) => {
                let ns = Ns::Named(name.clone());
                resolved.namespaces.insert(name, namespace(ns, entry));
            }
            None => {}
        }
    }
    let subnets = Declared::new(&document.subnets);
    for veth in document.veths {
        resolved.veths.extend(self::veth(
            veth,
            &known,
            &resolved.namespaces,
            &subnets,
            found,
        ));
    }
    for LinkEntry { kind, end: entry } in links {
        let end = end(entry, None, &subnets, found);
        resolved.links.extend(end.map(|end| Link { kind, end }));
    }
    for entry in document.subnets {
        if let (Some(name), Some(cidr)) = (entry.name, entry.cidr) {
            let subnet = Subnet {
                name: Spanned::new(name.clone(), entry.key.span),
                cidr,
                gateway: entry.gateway,
                egress: entry.egress,
                allow: entry.allow,
            };
            resolved.subnets.insert(name, subnet);
        }
    }
    for publication in document.publish {
        refer(&publication.ns, &known, &resolved.namespaces, found);
        resolved.publish.push(publication);
    }
    for check in document.checks {
        refer(&check.from, &known, &resolved.namespaces, found);
        resolved.checks.push(check);
    }
    resolved
}

fn namespace(ns: Ns, entry: NamespaceEntry) -> Namespace {
    Namespace {
        ns,
        span: entry.key.span,
        external: entry.external,
        gateway: entry.gateway,
        forwarding: entry.forwarding,
        routes: entry.routes,
        rules: entry.rules,
        dns: entry.dns,
        hosts: entry.hosts,
        sysctls: entry.sysctls,
    }
}

fn veth(
    veth: VethEntry,
    known: &[String],
    namespaces: &BTreeMap<NamespaceName, Namespace>,
    subnets: &Declared,
    found: &mut Findings,
) -> Option<Veth> {
    let ends = veth.ends?.map(|entry| {
        if let Some(ns) = &entry.ns {
            refer(ns, known, namespaces, found);
        }
        end(entry, veth.mtu, subnets, found)
    });
    let [Some(first), Some(second)] = ends else {
        return None;
    };
    Some(Veth {
        ends: [first, second],
    })
}

/// Says so when a namespace isn't declared.
fn refer(
    ns: &Spanned<Ns>,
    known: &[String],
    namespaces: &BTreeMap<NamespaceName, Namespace>,
    found: &mut Findings,
) {
    let Some(name) = ns
        .value
        .name()
        .filter(|name| !namespaces.contains_key(*name))
    else {
        return;
    };
    let near = if found.is_full() {
        None
    } else {
        nearest(
            name.as_str(),
            known.iter().map(String::as_str).chain(["host"]),
        )
    };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare it: `namespaces: {{ {name}: {{}} }}`"),
    };
    found.error(format!("there is no namespace `{name}`"), ns.span, help);
}

fn end(
    entry: EndEntry,
    inherited: Option<Spanned<u32>>,
    subnets: &Declared,
    found: &mut Findings,
) -> Option<End> {
    let addresses: Vec<Spanned<Held>> = entry
        .addresses
        .into_iter()
        .filter_map(|given| {
            let held = match given.value {
                Given::Whole(held) => held,
                Given::Bare(ip) => subnets.complete(ip, given.span, found)?.into(),
            };
            Some(Spanned::new(held, given.span))
        })
        .collect();
    let mtu = entry.mtu.or(inherited);
    let ipv6 = addresses
        .iter()
        .find(|net| Family::of(net.value.addr()) == Family::Ipv6);
    if let (Some(mtu), Some(address)) = (mtu, ipv6)
        && mtu.value < IPV6_MIN_MTU
    {
        let message = format!("an MTU of {} is too small for an IPv6 address", mtu.value);
        let help = format!("IPv6 needs at least {IPV6_MIN_MTU}");
        found.push(Diagnostic::new(message, mtu.span, help).also(address.span, "the address"));
    }
    let usual = match entry.origin {
        Origin::Made => MTU,
        Origin::Existing => LARGEST,
    };
    Some(End {
        ns: entry.ns?,
        name: entry.name?,
        addresses,
        mac: entry.mac,
        mtu: mtu.map_or(usual, |mtu| mtu.value),
        up: entry.up,
        bridge: entry.bridge,
        origin: entry.origin,
    })
}

/// The subnets as they are declared, also those that something is wrong with.
struct Declared<'d> {
    entries: &'d [SubnetEntry],
    index: crate::spec::prefixes::Index<usize>,
}

impl<'d> Declared<'d> {
    fn new(entries: &'d [SubnetEntry]) -> Declared<'d> {
        let prefixes = entries.iter().enumerate();
        let prefixes =
            prefixes.filter_map(|(index, entry)| Some((entry.cidr.as_ref()?.value, index)));
        Declared {
            entries,
            index: prefixes.collect(),
        }
    }

    /// An address with the length of the one subnet that it lies in.
    fn complete(&self, ip: IpAddr, span: Span, found: &mut Findings) -> Option<IpNet> {
        let around: Vec<(&SubnetEntry, Spanned<IpNet>)> = self
            .index
            .around(ip)
            .into_iter()
            .filter_map(|index| Some((&self.entries[index], self.entries[index].cidr?)))
            .collect();
        match around.as_slice() {
            [(_, cidr)] => IpNet::new(ip, cidr.value.prefix_len()).ok(),
            [] => {
                // It may lie in the one that can't be read.
                if self.entries.iter().all(|entry| entry.cidr.is_some()) {
                    let length = if ip.is_ipv4() { 24 } else { 64 };
                    let message = format!("{ip} lies in no subnet, so it needs a length");
                    let help = format!("write `{ip}/{length}`, or declare its subnet");
                    found.error(message, span, help);
                }
                None
            }
            several => {
                let message = format!("{ip} lies in several subnets, so it needs a length");
                let help = format!("write `{ip}/{}`", several[0].1.value.prefix_len());
                let mut diagnostic = Diagnostic::new(message, span, help);
                for (entry, cidr) in several.iter().take(4) {
                    diagnostic = diagnostic.also(cidr.span, format!("`{}`", entry.key.value));
                }
                found.push(diagnostic);
                None
            }
        }
    }
}
