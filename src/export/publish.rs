//! What leads from ports of a gateway to services behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Exporter;
use super::subnets::{Subnet, WITH_PORTS, written};
use super::tree::Entry;
use crate::resource::name::LinkName;
use crate::resource::nftables::gateway::Service;
use crate::resource::nftables::gateway::raise::Published;
use crate::resource::{Family, Ns};
use crate::state::{Meaning, Translation};

impl Exporter<'_> {
    /// The items of `publish`.
    pub(super) fn publications(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for ns in self.places() {
            let published = match self.raised(ns) {
                Some(raised) => raised.published,
                None => self.led(ns),
            };
            let to_localhost = |one: &Published| one.address.is_some_and(|ip| ip.is_loopback());
            let (local, others): (Vec<Published>, Vec<Published>) =
                published.into_iter().partition(to_localhost);
            for one in others {
                let also = local.iter().any(|local| {
                    local.service == one.service && local.to == one.to && local.port == one.port
                });
                if let Some(subnet) = self.subnets.around(ns, one.to) {
                    entries.push(publication(ns, subnet, &one, also));
                }
            }
        }
        entries
    }

    /// What rules of others lead to members.
    fn led(&mut self, ns: &Ns) -> BTreeSet<Published> {
        let place = self.place(ns);
        let translations = place.into_iter().flat_map(|place| &place.translations);
        let mut all = BTreeSet::new();
        for translation in translations {
            let leads = match translation.meaning {
                Meaning::Destination(to, port) => self.leads(ns, translation, to, port),
                Meaning::Other => None,
                Meaning::Masquerade | Meaning::Source(_) => continue,
            };
            match leads {
                Some(published) => {
                    let text = format!(
                        "{} does what `publish` says, and stays: remove it once this is applied",
                        translation.place
                    );
                    self.remark(ns, text);
                    all.insert(published);
                }
                None if self.is_concerned(ns, translation) => {
                    let text = format!(
                        "{} is left out: it translates destinations in a way that a spec has no words for",
                        translation.place
                    );
                    self.remark(ns, text);
                }
                None => {}
            }
        }
        all
    }

    fn leads(
        &self,
        ns: &Ns,
        translation: &Translation,
        to: IpAddr,
        port: Option<u16>,
    ) -> Option<Published> {
        let matches = &translation.matches;
        let subnet = self.subnets.around(ns, to)?;
        let egress = subnet.egress.as_ref()?;
        (matches.from.is_none() && matches.oif.is_none() && !matches.more).then_some(())?;
        let address = match &matches.to {
            None => None,
            Some(to) if !to.negated && to.value.prefix_len() == to.value.max_prefix_len() => {
                Some(to.value.addr())
            }
            Some(_) => return None,
        };
        let dev = match &matches.iif {
            None => None,
            Some(iif) if iif.negated => (iif.value == subnet.holder.1).then_some(None)?,
            Some(iif) => Some(iif.value.clone()).filter(|dev| *dev != egress.dev),
        };
        let service = match (matches.protocol, matches.ports) {
            (Some(protocol), Some((from, last))) => Service::Ports {
                protocol,
                from,
                to: last,
            },
            (None, None) if address.is_some() && port.is_none() => Service::All,
            _ => return None,
        };
        let known = match service {
            Service::All => true,
            Service::Ports { protocol, from, to } => {
                let has_ports = WITH_PORTS.iter().any(|(number, _)| *number == protocol);
                has_ports && (from == to || port.is_none_or(|port| port == from))
            }
        };
        let reached = self.ends().any(|(at, link)| {
            let held = self.held(at, link);
            at != ns && held.iter().any(|held| held.addr() == to)
        });
        (known && reached).then_some(Published {
            dev,
            address,
            service,
            to,
            port,
        })
    }
}

fn publication(ns: &Ns, subnet: &Subnet, published: &Published, localhost: bool) -> Entry {
    let mut fields = Vec::new();
    if *ns != Ns::Host {
        fields.push(Entry::text("namespace", ns));
    }
    let usual = subnet.egress.as_ref().map(|egress| &egress.dev);
    let dev: Option<&LinkName> = published.dev.as_ref().filter(|dev| usual != Some(dev));
    fields.extend(dev.map(|dev| Entry::text("dev", dev)));
    fields.extend(published.address.map(|ip| Entry::text("address", ip)));
    let mut to = published.to.to_string();
    match published.service {
        Service::All => fields.push(Entry::text("proto", "any")),
        Service::Ports {
            protocol,
            from,
            to: last,
        } => {
            let known = WITH_PORTS.iter().find(|(number, _)| *number == protocol);
            let word = known.map(|(_, word)| *word).filter(|word| *word != "tcp");
            fields.extend(word.map(|word| Entry::text("proto", word)));
            fields.push(Entry::word("port", written((from, last))));
            if from == last {
                let port = published.port.unwrap_or(from);
                to = match Family::of(published.to) {
                    Family::Ipv4 => format!("{to}:{port}"),
                    Family::Ipv6 => format!("[{to}]:{port}"),
                };
            }
        }
    }
    fields.push(Entry::text("to", to));
    if localhost {
        fields.push(Entry::word("localhost", true));
    }
    Entry::flow_item(fields).optional()
}
