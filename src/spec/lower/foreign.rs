//! Whether the firewalls of others let a gateway's traffic through, and what a person can do where they don't.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lowering, called};
use crate::resource::firewall::{self, Finding, Firewall, Flow, Side, Stage, Table, TableFamily};
use crate::resource::link::GROUP;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::{GatewayLink, Origin};
use crate::resource::{Family, Ns};
use crate::state::Place;

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
        if table.family == TableFamily::Inet || table.name != "filter" {
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
        } else if table.bases.keys().eq(["FORWARD"]) {
            Manager::Iptables
        } else {
            Manager::Nft
        }
    }
}

/// A direction through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    /// From its members.
    Out,
    /// What comes back to them.
    Back,
}

/// What is dropped, or may be, by one base chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Blocked<'s> {
    link: &'s LinkName,
    dev: &'s LinkName,
    /// Where.
    place: String,
    directions: BTreeSet<Direction>,
    certain: bool,
    /// What permits it.
    commands: Vec<String>,
}

/// What is found in one base chain, and in which directions.
type Found<'f> = Vec<(Direction, Finding<'f>)>;

impl Lowering<'_> {
    /// Says what of a gateway's traffic the rules of others drop.
    pub(super) fn firewalls(&mut self, ns: &Ns, links: &BTreeMap<LinkName, GatewayLink>) {
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
        let mut all: BTreeMap<Blocked<'_>, BTreeSet<Family>> = BTreeMap::new();
        let ways = links.iter().flat_map(|(name, link)| {
            let ways = link.egress.iter();
            ways.map(move |(family, egress)| (name, link, *family, &egress.dev))
        });
        for (name, link, family, dev) in ways {
            for blocked in blocked(place, (name, link), family, dev) {
                all.entry(blocked).or_default().insert(family);
            }
        }
        let texts = all.iter().map(|(blocked, families)| {
            let prefixes = links[blocked.link].prefixes.iter();
            let prefixes = prefixes.filter(|net| families.contains(&Family::of(net.addr())));
            let subnets = prefixes.filter_map(|net| self.prefixes.subnets.get(net));
            let subnets: BTreeSet<&str> =
                subnets.map(|subnet| subnet.name.value.as_str()).collect();
            text(blocked, families, &subnets)
        });
        let texts: Vec<String> = texts.collect();
        for text in texts {
            self.remark(ns, text);
        }
    }
}

/// What the base chains of others drop of what goes between a gateway link and its way out.
fn blocked<'g>(
    place: &Place,
    (name, link): (&'g LinkName, &GatewayLink),
    family: Family,
    dev: &'g LinkName,
) -> Vec<Blocked<'g>> {
    let flow = flow(place, (name, link), family, dev);
    let (following, replies) = (flow.following(), flow.replies());
    let flows = [
        (Direction::Out, flow),
        (Direction::Out, following),
        (Direction::Back, replies),
    ];
    let mut by_base: BTreeMap<(TableFamily, &str, &str), Found<'_>> = BTreeMap::new();
    for (direction, flow) in &flows {
        for finding in firewall::judge(&place.firewall, flow, &|_, _| false) {
            let base = (
                finding.table.family,
                finding.table.name.as_str(),
                finding.base,
            );
            by_base.entry(base).or_default().push((*direction, finding));
        }
    }
    let found = by_base.into_values().filter_map(|findings| {
        let certain = findings.iter().any(|(_, finding)| finding.certain);
        let counts = findings
            .iter()
            .filter(|(_, finding)| finding.certain == certain);
        let directions: BTreeSet<Direction> =
            counts.clone().map(|(direction, _)| *direction).collect();
        let (_, first) = counts.clone().next()?;
        Some(Blocked {
            link: name,
            dev,
            place: said(first),
            certain,
            commands: commands(first, family, name, dev, &directions),
            directions,
        })
    });
    found.collect()
}

/// The packets that open connections from behind a gateway link.
pub(super) fn flow(
    place: &Place,
    (name, link): (&LinkName, &GatewayLink),
    family: Family,
    dev: &LinkName,
) -> Flow {
    let group = |name| place.links.get(name).map(|link| link.group);
    let of_link = match link.origin {
        Origin::Made => Some(GROUP),
        Origin::Existing => group(name),
    };
    let members = link.members.iter().copied();
    let routed = link.routed.iter().copied();
    let mut inside = Side::inside(name.clone(), of_link, family, members, routed);
    if inside.addresses.is_none() {
        inside.addresses = firewall::addresses(family, link.prefixes.iter().copied());
    }
    let outside = Side {
        group: group(dev),
        ..Side::outside(dev.clone())
    };
    Flow {
        family,
        from: inside,
        to: outside,
        stage: Stage::Opening,
    }
}

/// Where something is dropped.
fn said(finding: &Finding<'_>) -> String {
    let table = format!("table {} {}", finding.table.family, finding.table.name);
    match finding.place {
        firewall::Place::Policy => format!("the policy of chain {} in {table}", finding.base),
        firewall::Place::Rule { chain, rule } => {
            let comment = rule.comment.as_ref();
            let comment = comment.map_or_else(String::new, |text| format!(" \"{text}\""));
            let handle = rule.handle;
            format!("a rule{comment} of chain {chain} in {table} (handle {handle})")
        }
    }
}

/// What permits what is dropped, in the words of the program that manages the rules.
fn commands(
    finding: &Finding<'_>,
    family: Family,
    link: &LinkName,
    dev: &LinkName,
    directions: &BTreeSet<Direction>,
) -> Vec<String> {
    let ends = directions.iter().map(|direction| match direction {
        Direction::Out => (link, dev, ""),
        Direction::Back => (dev, link, "ct state established,related "),
    });
    let Finding { table, base, .. } = finding;
    match Manager::of(table) {
        Manager::Ufw => ends
            .map(|(from, to, _)| format!("ufw route allow in on {from} out on {to}"))
            .collect(),
        Manager::Firewalld => vec![
            "firewall-cmd --permanent --new-zone=netform".to_owned(),
            format!("firewall-cmd --permanent --zone=netform --add-interface={link}"),
            "firewall-cmd --permanent --new-policy=netform-out".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --add-ingress-zone=netform".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --add-egress-zone=ANY".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --set-target=ACCEPT".to_owned(),
            "firewall-cmd --reload".to_owned(),
        ],
        Manager::Iptables => {
            let program = match family {
                Family::Ipv4 => "iptables",
                Family::Ipv6 => "ip6tables",
            };
            let rule = |from, to| format!("{program} -I FORWARD -i {from} -o {to} -j ACCEPT");
            ends.map(|(from, to, _)| rule(from, to)).collect()
        }
        Manager::Nft => ends
            .map(|(from, to, state)| {
                format!(
                    "nft insert rule {} {} {base} iifname {from} oifname {to} {state}accept",
                    table.family, table.name
                )
            })
            .collect(),
    }
}

/// What a person is told.
fn text(blocked: &Blocked<'_>, families: &BTreeSet<Family>, subnets: &BTreeSet<&str>) -> String {
    let Blocked {
        link,
        dev,
        place,
        directions,
        certain,
        commands,
    } = blocked;
    let families: Vec<String> = families.iter().map(ToString::to_string).collect();
    let families = families.join(" and ");
    let subnets = subnets.iter().copied().collect::<Vec<_>>().join(", ");
    let what = match (directions.len(), directions.first()) {
        (1, Some(Direction::Out)) => format!("{families} from {subnets} ({link}) to {dev}"),
        (1, _) => format!("what comes back by {dev} to {subnets} ({link}) of {families}"),
        _ => format!("{families} from {subnets} ({link}) to {dev}, and what comes back,"),
    };
    let commands = commands.iter().map(|command| format!("\n       {command}"));
    let commands: String = commands.collect();
    if *certain {
        format!("{what} is dropped by {place}; this permits it:{commands}")
    } else {
        format!(
            "{what} may be dropped by {place}: not all of the rules there are understood; if it is, \
             this permits it:{commands}"
        )
    }
}
