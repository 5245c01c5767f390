//! Whether the values of a topology fit to each other.
//!
//! First the values are resolved. What concerns a value by itself or beside its neighbours is checked
//! even if others are wrong; how namespaces, gateways and ways out hang together only when nothing
//! is wrong so far, because what is missing would look like a further error.

mod allow;
mod checks;
pub(super) mod egress;
mod ends;
mod gateways;
mod links;
mod publish;
mod resolve;
mod routing;
mod settings;
mod subnets;

use super::document::Document;
use super::findings::Findings;
use super::model::Spec;

/// The topology that a document describes; `None` if something is wrong with it, which `found` says.
pub(super) fn check(document: Document, found: &mut Findings) -> Option<Spec> {
    let name = document.name.clone();
    let resolved = resolve::resolve(document, found);
    ends::check(&resolved.veths, &resolved.links, found);
    let others = resolved.others();
    links::check(&resolved.veths, &resolved.links, &others, found);
    subnets::check(&resolved.subnets, found);
    checks::check(&resolved.checks, found);
    let spec = Spec {
        name: name?,
        namespaces: resolved.namespaces,
        veths: resolved.veths,
        links: resolved.links,
        subnets: resolved.subnets,
        publish: resolved.publish,
        checks: resolved.checks,
        host: resolved.host,
    };
    if found.is_empty() {
        gateways::check(&spec, found);
        links::gateways(&spec, found);
        allow::check(&spec, found);
        egress::check(&spec, found);
        publish::check(&spec, found);
        routing::check(&spec, found);
        settings::check(&spec, found);
    }
    Some(spec)
}
