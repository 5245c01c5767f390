//! What a person is told of packets that the firewalls of others drop.

use std::collections::BTreeSet;

use super::passage::Passage;
use super::{Found, Manager};
use crate::resource::Family;
use crate::resource::firewall::{self, Finding, Table, TableFamily};
use crate::resource::name::LinkName;
use crate::resource::permit;

/// A direction of a passage's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// From where connections are opened.
    Out,
    /// Of what comes back.
    Back,
}

/// What is dropped, or may be, by one base chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blocked {
    from: LinkName,
    to: LinkName,
    /// Where.
    place: String,
    directions: BTreeSet<Direction>,
    certain: bool,
    /// What permits it.
    commands: Vec<String>,
}

/// Of what it is told: the families, and the subnets on either side.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) families: BTreeSet<Family>,
    pub(super) from: BTreeSet<String>,
    pub(super) to: BTreeSet<String>,
}

impl Blocked {
    /// What one base chain drops of a passage. None: nothing.
    pub(super) fn of(passage: &Passage, findings: &Found<'_>) -> Option<Blocked> {
        let certain = findings.iter().any(|(_, finding)| finding.certain);
        let counts = findings.iter();
        let counts = counts.filter(|(_, finding)| finding.certain == certain);
        let directions = counts.clone().map(|(direction, _)| *direction);
        let directions: BTreeSet<Direction> = directions.collect();
        let (_, first) = counts.clone().next()?;
        Some(Blocked {
            from: passage.from.link().clone(),
            to: passage.to.link().clone(),
            place: said(first),
            certain,
            commands: commands(first, passage, &directions),
            directions,
        })
    }

    /// One sentence of what is, and what to do.
    pub(super) fn text(&self, told: &Told) -> String {
        let families: Vec<String> = told.families.iter().map(ToString::to_string).collect();
        let families = families.join(" and ");
        let (from, to) = (side(&self.from, &told.from), side(&self.to, &told.to));
        let both = self.directions.len() > 1;
        let what = match self.directions.first() {
            _ if self.from == self.to => {
                let bridge = &self.from;
                format!(
                    "{families} between members behind {bridge}, whose frames bridge-nf-call has judged,"
                )
            }
            _ if both => format!("{families} from {from} to {to}, and what comes back,"),
            Some(Direction::Back) => format!("{families} that comes back from {to} to {from}"),
            _ => format!("{families} from {from} to {to}"),
        };
        let commands = self.commands.iter();
        let commands: Vec<String> = commands
            .map(|command| format!("\n       {command}"))
            .collect();
        let commands = commands.concat();
        let place = &self.place;
        let is = if both || told.families.len() > 1 {
            "are"
        } else {
            "is"
        };
        if self.certain {
            format!("{what} {is} dropped by {place}; this permits it:{commands}")
        } else {
            format!(
                "{what} may be dropped by {place}: not all of the rules there are understood; if it is, \
                 this permits it:{commands}"
            )
        }
    }
}

/// A link, and the subnets behind it.
fn side(link: &LinkName, subnets: &BTreeSet<String>) -> String {
    if subnets.is_empty() {
        return link.to_string();
    }
    let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
    format!("{} ({link})", subnets.join(", "))
}

/// Where something is dropped.
fn said(finding: &Finding<'_>) -> String {
    let Table {
        family,
        name,
        legacy,
        ..
    } = finding.table;
    let table = if *legacy {
        format!("table {name} of {}-legacy", program(*family))
    } else {
        format!("table {family} {name}")
    };
    match finding.place {
        firewall::Place::Policy => format!("the policy of chain {} in {table}", finding.base),
        firewall::Place::Rule { chain, rule } => {
            let comment = rule.comment.as_ref();
            let comment = comment.map_or_else(String::new, |text| format!(" \"{text}\""));
            let handle = rule.handle;
            if *legacy {
                format!("rule {handle}{comment} of chain {chain} in {table}")
            } else {
                format!("a rule{comment} of chain {chain} in {table} (handle {handle})")
            }
        }
    }
}

/// The program that has the tables of a family.
fn program(family: TableFamily) -> &'static str {
    match family {
        TableFamily::Ip6 => "ip6tables",
        TableFamily::Ip | TableFamily::Inet => "iptables",
    }
}

/// What permits what is dropped, in the words of the program that manages the rules.
fn commands(
    finding: &Finding<'_>,
    passage: &Passage,
    directions: &BTreeSet<Direction>,
) -> Vec<String> {
    let (from, to) = (passage.from.link(), passage.to.link());
    let ends = directions.iter().map(|direction| match direction {
        Direction::Out => (from, to, ""),
        Direction::Back => (to, from, "ct state established,related "),
    });
    // One rule is for both directions from port to port.
    let ends = ends.take(if passage.is_within() { 1 } else { 2 });
    let Finding { table, base, .. } = finding;
    match Manager::of(table) {
        Manager::Ufw => ends
            .map(|(from, to, _)| format!("ufw route allow in on {from} out on {to}"))
            .collect(),
        Manager::Firewalld => vec![
            "firewall-cmd --permanent --new-zone=netform".to_owned(),
            format!("firewall-cmd --permanent --zone=netform --add-interface={from}"),
            "firewall-cmd --permanent --new-policy=netform-out".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --add-ingress-zone=netform".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --add-egress-zone=ANY".to_owned(),
            "firewall-cmd --permanent --policy=netform-out --set-target=ACCEPT".to_owned(),
            "firewall-cmd --reload".to_owned(),
        ],
        Manager::Iptables | Manager::Legacy => {
            let program = program(table.family);
            let legacy = if table.legacy { "-legacy" } else { "" };
            let option = match table.name.as_str() {
                permit::TABLE => String::new(),
                name => format!(" -t {name}"),
            };
            let rule = |from, to| {
                format!("{program}{legacy}{option} -I FORWARD -i {from} -o {to} -j ACCEPT")
            };
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
