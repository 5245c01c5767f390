//! Whether the firewalls of others let a gateway's traffic through, what netform adds to iptables where they don't, and
//! what a person can do elsewhere.

mod bridges;
mod passage;
mod said;

use std::collections::{BTreeMap, BTreeSet};

use self::passage::{Passage, passages};
use self::said::{Blocked, Direction, Told};
use super::{Lowering, called};
use crate::resource::firewall::{Finding, Firewall, Judge, Rule, Table, TableFamily};
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{GatewayLink, Publication};
use crate::resource::permit::{self, Permit, PermitKey};
use crate::resource::{Key, Ns, Resource};

/// Which program manages a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    /// `ufw`, through iptables.
    Ufw,
    /// `firewalld`, by itself or through iptables.
    Firewalld,
    /// `iptables` itself, or Docker and others that call it.
    Iptables,
    /// The same with `iptables-legacy`, whose tables are no part of nftables.
    Legacy,
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
        let others = if table.legacy {
            Manager::Legacy
        } else {
            Manager::Nft
        };
        if table.family == TableFamily::Inet || table.name != permit::TABLE {
            return others;
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
        } else if table.bases.keys().eq([FORWARD]) && !table.legacy {
            Manager::Iptables
        } else {
            others
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
        // As if no topology had anything there: what is wanted doesn't depend on what is there already.
        let bare = without_permits(firewall);
        let judge = Judge::of(&bare);
        let mut wanted: BTreeSet<PermitKey> = BTreeSet::new();
        for passage in &passages {
            let found = found(&judge, passage);
            let tables = found.values().flatten().map(|(_, finding)| finding.table);
            for table in tables.filter(|table| Manager::of(table) == Manager::Iptables) {
                let chain = target(table);
                wanted.extend(passage.permits(self.topology, table.family, chain));
            }
        }
        self.permits(ns, &passages, &wanted);
        let after = with(bare, &wanted);
        self.say(ns, &Judge::of(&after), &passages);
    }

    /// Puts accept rules: at the top of their chain, where packets are dropped as things are.
    fn permits(&mut self, ns: &Ns, passages: &[Passage], wanted: &BTreeSet<PermitKey>) {
        let judge = Judge::of(&self.place(ns).firewall);
        let chains: BTreeSet<(TableFamily, &str)> = wanted
            .iter()
            .map(|key| (key.family, key.chain.as_str()))
            .collect();
        let mut all: BTreeMap<PermitKey, Permit> = BTreeMap::new();
        for passage in passages {
            let mut own = Vec::new();
            for (family, chain) in &chains {
                if family.sees(passage.family()) {
                    own.extend(passage.permits(self.topology, *family, chain));
                }
            }
            own.retain(|key| wanted.contains(key));
            if own.is_empty() {
                continue;
            }
            let dropped = found(&judge, passage);
            let tables = dropped.values().flatten().map(|(_, finding)| finding.table);
            let tables = tables.filter(|table| has_permits(table));
            let dropped: BTreeSet<TableFamily> = tables.map(|table| table.family).collect();
            for key in own {
                let top = dropped.contains(&key.family);
                let permit = all.entry(key).or_insert(Permit::Anywhere);
                // What is for several is there for each of them.
                if top {
                    *permit = Permit::Top;
                }
            }
        }
        for (key, permit) in all {
            self.put(ns, Key::Permit(Box::new(key)), Resource::Permit(permit));
        }
    }

    /// Says what is dropped of what goes through a gateway.
    fn say(&mut self, ns: &Ns, judge: &Judge<'_>, passages: &[Passage]) {
        let mut all: BTreeMap<Blocked, Told> = BTreeMap::new();
        for passage in passages {
            let name = |nets: &BTreeSet<ipnet::IpNet>| -> BTreeSet<String> {
                let subnets = nets.iter().filter_map(|net| self.prefixes.subnets.get(net));
                subnets
                    .map(|subnet| subnet.name.value.to_string())
                    .collect()
            };
            for findings in found(judge, passage).values() {
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

/// What each base chain of others drops of a passage.
fn found<'f>(
    judge: &Judge<'f>,
    passage: &Passage,
) -> BTreeMap<(TableFamily, bool, &'f str, &'f str), Found<'f>> {
    let mut by_base: BTreeMap<_, Found<'_>> = BTreeMap::new();
    for (direction, flow) in passage.flows() {
        for finding in judge.findings(&flow) {
            let base = (
                finding.table.family,
                finding.table.legacy,
                finding.table.name.as_str(),
                finding.base,
            );
            by_base.entry(base).or_default().push((direction, finding));
        }
    }
    by_base
}

/// Whether accept rules may be in a table.
fn has_permits(table: &Table) -> bool {
    table.name == permit::TABLE && !table.legacy
}

/// The rules of others without those that topologies added.
fn without_permits(firewall: &Firewall) -> Firewall {
    let mut firewall = firewall.clone();
    for table in &mut firewall.tables {
        if has_permits(table) {
            for (name, chain) in &mut table.chains {
                let is_permit = |rule: &Rule| PermitKey::of(table.family, name, rule).is_some();
                chain.rules.retain(|rule| !is_permit(rule));
            }
        }
    }
    firewall
}

/// The chain of iptables that accept rules belong into: that which Docker leaves to others, if packets come to it.
fn target(table: &Table) -> &'static str {
    if table.chains.contains_key(DOCKER_USER) {
        DOCKER_USER
    } else {
        FORWARD
    }
}

/// Some rules once those that are wanted are there.
fn with(mut firewall: Firewall, wanted: &BTreeSet<PermitKey>) -> Firewall {
    for table in &mut firewall.tables {
        let of_table = |key: &&PermitKey| key.family == table.family && has_permits(table);
        let mut by_chain: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
        for key in wanted.iter().filter(of_table) {
            by_chain.entry(&key.chain).or_default().push(key.rule());
        }
        for (name, rules) in by_chain {
            if let Some(chain) = table.chains.get_mut(name) {
                chain.rules.splice(0..0, rules);
            }
        }
    }
    firewall
}
