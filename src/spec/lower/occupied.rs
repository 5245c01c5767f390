//! What is published and spoken for: by another topology, or by a process that listens.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Lowering, called};
use crate::resource::nftables::gateway::withdrawn::{Lead, Whence};
use crate::resource::nftables::gateway::{Arrival, Publication, Service};
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model::{self, Published};
use crate::state::Listener;

impl Lowering<'_> {
    /// Says so where another topology publishes the same, and where a process listens at it. `lowered` is what the
    /// publication is, a place each that it is served from.
    pub(super) fn check_occupied(
        &mut self,
        ns: &Ns,
        publication: &model::Publication,
        lowered: &[Publication],
    ) {
        let ports = &self.place(ns).ports;
        // One that is being renamed has a table of each name for a while.
        let others = ports
            .published
            .iter()
            .filter(|(other, _)| *other != self.topology);
        for (topology, leads) in others {
            let same = |lead: &&Lead| lowered.iter().any(|own| is_about_the_same(own, lead));
            if let Some(lead) = leads.iter().find(same) {
                let what = what(publication);
                let message = format!(
                    "{what} of {} is published by topology `{topology}` too, to {}",
                    called(ns),
                    lead.to
                );
                let help = "choose another port or an `address` of its own, or take it away there";
                let diagnostic = Diagnostic::new(message, publication.place(), help);
                self.errors.push(diagnostic);
            }
        }
        let asked = ports.listeners.iter();
        let unheard: BTreeSet<&Listener> = asked
            .filter(|listener| lowered.iter().any(|own| takes_from(own, listener)))
            .collect();
        for listener in unheard {
            let who = match &listener.process {
                Some((pid, command)) => format!("{command} (pid {pid})"),
                None => "a process".to_owned(),
            };
            let protocol = match publication.what {
                Published::Ports { protocol, .. } => protocol.name(),
                Published::Everything => continue,
            };
            let by = match &publication.dev {
                Some(dev) if publication.address.is_none() => format!(" by {}", dev.value),
                _ => String::new(),
            };
            let text = format!(
                "{who} listens at {protocol} {} of {}: what comes there{by} goes to {} and is not heard by it any more",
                listener.port,
                called(ns),
                publication.to.value
            );
            self.remark(ns, text);
        }
    }
}

/// What a publication is about, for a message.
fn what(publication: &model::Publication) -> String {
    match (publication.what, publication.address) {
        (
            Published::Ports {
                protocol, ports, ..
            },
            Some(address),
        ) => {
            format!("{} {} of {}", protocol.name(), ports.value, address.value)
        }
        (
            Published::Ports {
                protocol, ports, ..
            },
            None,
        ) => {
            format!("{} {}", protocol.name(), ports.value)
        }
        (Published::Everything, address) => {
            address.map_or_else(String::new, |address| address.value.to_string())
        }
    }
}

/// Whether what another topology leads to its members may be what is published.
fn is_about_the_same(own: &Publication, lead: &Lead) -> bool {
    let whence = match (&own.arrival, &lead.whence) {
        (Arrival::Here, Whence::Here) | (_, Whence::Anywhere) => true,
        (Arrival::Outside(one), Whence::Outside(other)) => one == other,
        _ => false,
    };
    // Loopback addresses are published by themselves only.
    let at = match (own.address, lead.at) {
        (Some(one), Some(other)) => one == other,
        (Some(one), None) | (None, Some(one)) => !one.is_loopback(),
        (None, None) => true,
    };
    let services = match (own.service, lead.service) {
        (Service::All, _) | (_, Service::All) => true,
        (
            Service::Ports { protocol, from, to },
            Service::Ports {
                protocol: other,
                from: first,
                to: last,
            },
        ) => protocol == other && from <= last && first <= to,
    };
    whence && at && services && own.family() == Family::of(lead.to)
}

/// Whether a publication takes from a process what it listens at.
fn takes_from(own: &Publication, listener: &Listener) -> bool {
    let Service::Ports { protocol, from, to } = own.service else {
        return false;
    };
    let of_family = listener.both || Family::of(listener.address) == own.family();
    let at = match own.address {
        _ if listener.address.is_unspecified() => true,
        Some(address) => IpAddr::eq(&address, &listener.address),
        None => !listener.address.is_loopback(),
    };
    protocol == listener.protocol && (from..=to).contains(&listener.port) && of_family && at
}
