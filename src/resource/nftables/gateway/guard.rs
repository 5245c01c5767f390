//! The guard: which connections may go through gateway links.
//!
//! Only what comes from or goes to a gateway link is judged, so two topologies never see each other's
//! traffic.

use std::collections::BTreeMap;

use super::super::set::{Element, Field, Set, Value};
use super::super::statement::{CtState, Statement, Verdict};
use super::super::{ChainKind, Hook, Rule, Table};
use super::egress::Towards;
use super::words::{FILTER, accept, base, count_and_drop, goto, name, put_chain, put_set};
use super::{Gateway, Guard, Shape, allow, egress, errors, links, publish};
use crate::resource::Family;

/// From which link to which link a connection may be opened.
pub(super) const PASS: &str = "pass";
/// Which member of a link that others made may open a connection to which link.
pub(super) const PASS_FROM: &str = "pass_from";
/// The chain that decides.
pub(super) const JUDGE: &str = "judge";

/// Puts in the sets `pass` and `pass_from`, and the chains `forwarding` and `judge`.
pub(super) fn put(gateway: &Gateway, table: &mut Table) {
    let leads_through =
        gateway.links.values().any(|link| !link.egress.is_empty()) || !gateway.published.is_empty();
    if gateway.guard == Guard::Nothing && !leads_through {
        return;
    }
    let concerned = links::from_links(table)
        .into_iter()
        .chain(links::to_links(table));
    let enter: Vec<Rule> = concerned
        .map(|what| Rule::new([what, goto(JUDGE)]))
        .collect();
    if enter.is_empty() {
        return;
    }
    let mut rules = vec![Rule::new([Statement::TcpSyn, Statement::ClampMss])];
    if gateway.guard == Guard::Links {
        rules.extend(judgement(gateway, table));
    }
    let forwarding = base(ChainKind::Filter, Hook::Forward, FILTER);
    put_chain(table, "forwarding", Some(forwarding), enter);
    put_chain(table, JUDGE, None, rules);
}

fn judgement(gateway: &Gateway, table: &mut Table) -> Vec<Rule> {
    // Invalid ones first: they would leave untranslated. Nothing is said yet of untracked ones, as which
    // neighbour discovery between the ports of a bridge comes here, and of related ones: whoever guesses a
    // connection can send an error about it, so that must come from where the connection leads.
    let mut rules = vec![Rule::new([states([
        (CtState::Invalid, Verdict::Drop),
        (CtState::Established, Verdict::Accept),
    ])])];
    for family in Family::BOTH {
        let bridges = gateway
            .links
            .iter()
            .filter(|(_, link)| link.shape == Shape::Bridge);
        let bridges = bridges.map(|(name, _)| [name, name].map(|name| Value::Link(name.clone())));
        let pairs = egress::pairs(gateway, family, |_| true)
            .chain(bridges)
            .map(Element::of)
            .chain(allow::pairs(gateway, family));
        let comment = "from which link to which link a connection may be opened";
        let set = Set::of([Field::Ifname, Field::Ifname]);
        put_set(table, &name(PASS, family), comment, set, pairs);

        let triples = egress::triples(gateway, family, |_| true).map(Element::of);
        let comment = "which member of an existing link may open a connection to which link";
        let set = Set::of([Field::Ifname, Field::address(family), Field::Ifname]);
        put_set(table, &name(PASS_FROM, family), comment, set, triples);

        let untranslated = [states([(CtState::Untracked, Verdict::Drop)])];
        rules.extend(
            egress::translated(table, family)
                .map(|found| Rule::new(found.into_iter().chain(untranslated.clone()))),
        );
        let passing = egress::lookups(table, family, PASS, PASS_FROM, Towards::There);
        rules.extend(passing.map(|found| Rule::new(found.into_iter().chain([accept()]))));
        let returning = egress::lookups(table, family, PASS, PASS_FROM, Towards::Back);
        rules.extend(returning.map(|found| Rule::new(found.into_iter().chain([accept_errors()]))));
        rules.extend(allow::put(gateway, table, family));
        rules.extend(publish::accepted(gateway, table, family));
        rules.extend(errors::put(gateway, table, family));
    }
    for from in links::from_links(table) {
        let refused = [from, Statement::Counter, Statement::RejectAdminProhibited];
        rules.push(Rule::new(refused).because("a member learns at once that it may not"));
    }
    rules.push(Rule::new(count_and_drop()).because("nobody outside reaches a member"));
    rules
}

/// Accepts errors about a connection that connection tracking knows.
pub(super) fn accept_errors() -> Statement {
    states([(CtState::Related, Verdict::Accept)])
}

/// Decides on some states of connections.
fn states<const N: usize>(verdicts: [(CtState, Verdict); N]) -> Statement {
    Statement::CtState(BTreeMap::from(verdicts))
}
