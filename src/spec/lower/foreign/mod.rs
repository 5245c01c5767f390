//! Whether the firewalls of others let a gateway's traffic through, what netform adds to iptables where they don't, and
//! what a person can do elsewhere.

mod bridges;
mod passage;
mod said;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use self::passage::{Passage, passages};
use self::said::{Blocked, Direction, Told};
use super::{Lowering, called};
use crate::resource::firewall::{self, Finding, Firewall, Rule, Table, TableFamily};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{GatewayLink, Publication};
use crate::resource::permit::{self, Permit, PermitKey};
use crate::resource::{Id, Key, Ns, Resource};

/// Which program manages a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    /// `ufw`, through iptables.
    Ufw,
    /// `firewalld`, by itself or through iptables.
    Firewalld,
    /// `iptables` itself, or Docker and others that call it.
    Iptables,
    /// `nft`, or something of its own.
    Nft,
}

impl Manager {
    fn of(table: &Table) -> Manager {
        let has = |prefixes: &[&str]| {
            let mut names = table.names.iter();
            names.any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        };
        if table.name == "firewalld" {
            return Manager::Firewalld;
        }
        if table.family == TableFamily::Inet || table.name != permit::TABLE {
            return Manager::Nft;
        }
        if has(&["ufw-", "ufw6-"]) {
            Manager::Ufw
        } else if has(&[
            "FORWARD_direct",
            "FORWARD_IN_ZONES",
            "FORWARD_ZONES",
            "FWDI_",
        ]) {
            Manager::Firewalld
        } else if table.bases.keys().eq([FORWARD]) {
            Manager::Iptables
        } else {
            Manager::Nft
        }
    }
}

/// What is found in one base chain, and in which directions.
type Found<'f> = Vec<(Direction, Finding<'f>)>;

/// Where Docker leaves it to others to say what passes.
const DOCKER_USER: &str = "DOCKER-USER";
/// The base chain of iptables at `forward`.
const FORWARD: &str = "FORWARD";

impl Lowering<'_> {
    /// Does the same for the namespaces of others that hold no gateway: there are bridges at most.
    pub(super) fn firewalls_elsewhere(
        &mut self,
        gateways: &BTreeMap<Ns, BTreeMap<LinkName, GatewayLink>>,
    ) {
        let spec = self.spec;
        let found = self.made().map(|end| &end.ns.value);
        let found: BTreeSet<&Ns> = found
            .filter(|ns| spec.is_found(ns) && !gateways.contains_key(*ns))
            .collect();
        for ns in found {
            if !self.bridged(ns).is_empty() {
                self.firewalls(ns, &BTreeMap::new(), &BTreeSet::new());
            }
        }
    }

    /// Has what a gateway lets pass accepted by iptables, and says what other rules of others drop of it.
    pub(super) fn firewalls(
        &mut self,
        ns: &Ns,
        links: &BTreeMap<LinkName, GatewayLink>,
        published: &BTreeSet<Publication>,
    ) {
        let place = self.place(ns);
        let firewall = &place.firewall;
        if !self.spec.is_found(ns) || *firewall == Firewall::default() {
            return;
        }
        if let Some(why) = &firewall.unread {
            let text = format!(
                "whether the firewall of {} lets the subnets out is not known, because it can't be read: {why}",
                called(ns)
            );
            self.remark(ns, text);
            return;
        }
        let mut passages = passages(place, links, published);
        passages.extend(self.bridged(ns));
        let mut wanted: BTreeSet<PermitKey> = BTreeSet::new();
        for passage in &passages {
            // As if no topology had anything there: what is wanted doesn't depend on what is there already.
            let found = found(firewall, passage, &is_permit);
            let tables = found.values().flatten().map(|(_, finding)| finding.table);
            for table in tables.filter(|table| Manager::of(table) == Manager::Iptables) {
                let chain = target(table);
                wanted.extend(passage.permits(self.topology, table.family, chain));
            }
        }
        for passage in &passages {
            let dropped = found(firewall, passage, &|_, _, _| false);
            let tables = dropped.values().flatten().map(|(_, finding)| finding.table);
            let tables = tables.filter(|table| table.name == permit::TABLE);
            let dropped: BTreeSet<TableFamily> = tables.map(|table| table.family).collect();
            for key in passage.permits_of(&wanted) {
                let permit = if dropped.contains(&key.family) {
                    Permit::Top
                } else {
                    Permit::Anywhere
                };
                let id = Id::new(ns.clone(), Key::Permit(Box::new(key.clone())));
                // What is for several is there for each of them.
                let top = self
                    .state
                    .get(&id)
                    .is_some_and(|entry| entry.resource == Resource::Permit(Permit::Top));
                if !top {
                    self.put(ns, id.key, Resource::Permit(permit));
                }
            }
        }
        let after = with(firewall, &wanted);
        self.say(ns, &after, &passages);
    }

    /// Says what is dropped of what goes through a gateway.
    fn say(&mut self, ns: &Ns, firewall: &Firewall, passages: &[Passage]) {
        let mut all: BTreeMap<Blocked, Told> = BTreeMap::new();
        for passage in passages {
            let name = |nets: &BTreeSet<ipnet::IpNet>| -> BTreeSet<String> {
                let subnets = nets.iter().filter_map(|net| self.prefixes.subnets.get(net));
                subnets
                    .map(|subnet| subnet.name.value.to_string())
                    .collect()
            };
            for findings in found(firewall, passage, &|_, _, _| false).values() {
                if let Some(blocked) = Blocked::of(passage, findings) {
                    let told = all.entry(blocked).or_default();
                    told.families.insert(passage.family());
                    told.from.extend(name(&passage.from.prefixes));
                    told.to.extend(name(&passage.to.prefixes));
                }
            }
        }
        for (blocked, told) in &all {
            self.remark(ns, blocked.text(told));
        }
    }
}

/// Which rules are taken for not being there.
type LeftOut<'a> = &'a dyn Fn(&Table, &str, &Rule) -> bool;

/// What each base chain of others drops of a passage.
fn found<'f>(
    firewall: &'f Firewall,
    passage: &Passage,
    leave_out: LeftOut<'_>,
) -> BTreeMap<(TableFamily, &'f str, &'f str), Found<'f>> {
    let mut by_base: BTreeMap<_, Found<'_>> = BTreeMap::new();
    for (direction, flow) in passage.flows() {
        for finding in firewall::judge(firewall, &flow, leave_out) {
            let base = (
                finding.table.family,
                finding.table.name.as_str(),
                finding.base,
            );
            by_base.entry(base).or_default().push((direction, finding));
        }
    }
    by_base
}

/// Whether a rule is one that a topology added.
fn is_permit(table: &Table, chain: &str, rule: &Rule) -> bool {
    table.name == permit::TABLE && PermitKey::of(table.family, chain, rule).is_some()
}

/// The chain of iptables that accept rules belong into: that which Docker leaves to others, if packets come to it.
fn target(table: &Table) -> &'static str {
    if table.chains.contains_key(DOCKER_USER) {
        DOCKER_USER
    } else {
        FORWARD
    }
}

/// The rules of others once those that are wanted are there, and no others of topologies.
fn with<'f>(firewall: &'f Firewall, wanted: &BTreeSet<PermitKey>) -> Cow<'f, Firewall> {
    if wanted.is_empty() {
        return Cow::Borrowed(firewall);
    }
    let mut firewall = firewall.clone();
    for table in &mut firewall.tables {
        let of_table = |key: &&PermitKey| table.name == permit::TABLE && key.family == table.family;
        for key in wanted.iter().filter(of_table) {
            if let Some(chain) = table.chains.get_mut(&key.chain) {
                chain.rules.insert(0, key.rule());
            }
        }
    }
    Cow::Owned(firewall)
}
