//! Subnets, their ways out, and what they allow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::resource::name::SubnetName;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::keys;
use crate::spec::model::{Allow, Egress, Inbound, Nat, Ports, Services};
use crate::spec::reader::{Fields, Reader};
use crate::spec::source::Spanned;
use crate::spec::tree::{Entry, Node, Value};

/// An entry of `subnets`.
#[derive(Debug)]
pub(in crate::spec) struct SubnetEntry {
    pub(in crate::spec) key: Spanned<String>,
    pub(in crate::spec) name: Option<SubnetName>,
    pub(in crate::spec) cidr: Option<Spanned<IpNet>>,
    pub(in crate::spec) gateway: Option<Spanned<IpAddr>>,
    pub(in crate::spec) egress: Option<Egress>,
    pub(in crate::spec) allow: Vec<Allow>,
}

impl Reader<'_> {
    pub(super) fn subnet(&mut self, entry: &Entry) -> SubnetEntry {
        let key = Spanned::new(entry.key.value.to_string(), entry.key.span);
        let name = self.valid(key.span, &key.value, |name| SubnetName::try_from(name));
        let mut read = SubnetEntry {
            key,
            name,
            cidr: None,
            gateway: None,
            egress: None,
            allow: Vec::new(),
        };
        if let Some(fields) = self.fields(&entry.value, &keys::SUBNET_ENTRY, entry.key.span) {
            read.cidr = fields
                .get("cidr")
                .and_then(|node| self.prefix(node, "cidr"));
            read.gateway = fields
                .get("gateway")
                .and_then(|node| self.ip(node, "gateway"));
            read.egress = fields.get("egress").and_then(|node| self.egress(node));
            if let Some(node) = fields.get("allow") {
                let items = self.items(node, "allow");
                read.allow
                    .extend(items.iter().filter_map(|item| self.allow(item)));
            }
        }
        read
    }

    fn egress(&mut self, node: &Node) -> Option<Egress> {
        if let Value::Null | Value::Scalar { .. } = &*node.value {
            let help = "write `egress: {}` for the link of the default route, or remove it";
            self.wrong(node, "egress", "a mapping", help);
            return None;
        }
        let fields = self.fields(node, &keys::EGRESS, node.span)?;
        let inbound = fields
            .get("inbound")
            .and_then(|node| self.one_of(node, "inbound", keys::INBOUND));
        Some(Egress {
            span: node.span,
            dev: fields
                .get("dev")
                .and_then(|node| self.reference(node, "dev")),
            nat: self.nat(&fields),
            inbound: match inbound {
                Some("allow") => Inbound::Allow,
                _ => Inbound::Deny,
            },
        })
    }

    /// Which source what leaves is seen with.
    fn nat(&mut self, fields: &Fields) -> Nat {
        let masquerade = fields.get("masquerade");
        let masqueraded = masquerade.and_then(|node| self.bool(node, "masquerade"));
        let snat = fields.get("snat").and_then(|node| self.ip(node, "snat"));
        match (masqueraded, snat) {
            (Some(_), Some(snat)) => {
                let message = "a way out has `masquerade` or `snat`, not both";
                let help = "`snat: ADDRESS` rewrites sources to that address; remove `masquerade`";
                let mut diagnostic = Diagnostic::new(message, snat.span, help);
                if let Some(node) = masquerade {
                    diagnostic = diagnostic.also(node.span, "the other");
                }
                self.found.push(diagnostic);
                Nat::Source(snat)
            }
            (_, Some(snat)) => Nat::Source(snat),
            (Some(false), None) => Nat::None,
            _ => Nat::Masquerade,
        }
    }

    fn allow(&mut self, node: &Node) -> Option<Allow> {
        if !matches!(&*node.value, Value::Map(_)) {
            let subnet = self.name(node, "allow", "a subnet's name or a mapping", |name| {
                SubnetName::try_from(name)
            })?;
            return Some(Allow {
                subnet,
                services: Services::All,
            });
        }
        let fields = self.fields(node, &keys::ALLOW, node.span)?;
        let subnet = fields.get("subnet").and_then(|node| {
            self.name(node, "subnet", "a subnet's name", |name| {
                SubnetName::try_from(name)
            })
        });
        let mut items_said = 0;
        let mut ports = |key| -> Option<Vec<Ports>> {
            let list = fields.get(key)?;
            let items = self.items(list, key);
            items_said += items.len();
            Some(
                items
                    .iter()
                    .filter_map(|item| self.ports(item, key))
                    .collect(),
            )
        };
        let (tcp, udp) = (ports("tcp"), ports("udp"));
        let icmp = fields.get("icmp").and_then(|node| self.bool(node, "icmp"));
        let services = if tcp.is_none() && udp.is_none() && icmp.is_none() {
            Services::All
        } else {
            let (tcp, udp) = (tcp.unwrap_or_default(), udp.unwrap_or_default());
            let icmp = icmp.unwrap_or(false);
            if items_said == 0 && !icmp {
                let message = "this allows nothing";
                let help = "name ports of `tcp` or `udp`, write `icmp: true`, or write the subnet's name alone for \
                            everything";
                self.found.error(message, node.span, help);
            }
            Services::Some { tcp, udp, icmp }
        };
        Some(Allow {
            subnet: subnet?,
            services,
        })
    }

    /// A port, or several in a row.
    pub(super) fn ports(&mut self, node: &Node, key: &str) -> Option<Ports> {
        let range = match &*node.value {
            Value::Scalar { text, .. } => text.split_once('-'),
            _ => None,
        };
        let word = matches!(&*node.value, Value::Scalar { text, .. }
            if !text.starts_with(|first: char| first.is_ascii_digit()));
        let Some((from, to)) = range.or(word.then_some(("", ""))) else {
            let port = self.number(node, key, &(1..=65535))?;
            let port = u16::try_from(port.value).ok()?;
            return Some(Ports {
                from: port,
                to: port,
            });
        };
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|port| digits && *port > 0)
        };
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => Some(Ports { from, to }),
            (Some(from), Some(to)) => {
                let message = format!("the range {from}-{to} has no ports");
                self.found
                    .error(message, node.span, format!("write `{to}-{from}`"));
                None
            }
            _ => {
                let help =
                    "write a number, or a range such as `8000-8010`; ports are from 1 to 65535";
                self.wrong(node, key, "a port or a range of ports", help);
                None
            }
        }
    }
}
