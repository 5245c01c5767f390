//! Publications.

use std::net::IpAddr;

use super::ns_of;
use crate::resource::{Family, Ns};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::keys;
use crate::spec::model::{Ports, Publication, Published, Transport};
use crate::spec::reader::{Fields, Reader, short};
use crate::spec::source::Spanned;
use crate::spec::tree::{Node, Value};

/// What `to` says: an address, and a port where it has one.
#[derive(Clone, Copy)]
struct Target {
    ip: Spanned<IpAddr>,
    port: Option<u16>,
}

impl Reader<'_> {
    pub(super) fn publication(&mut self, node: &Node) -> Option<Publication> {
        let fields = self.fields(node, &keys::PUBLICATION, node.span)?;
        let ns = match fields.get("namespace") {
            Some(node) => self.name(node, "namespace", "a namespace's name", ns_of),
            None => Some(Spanned::new(Ns::Host, node.span)),
        };
        let dev = fields.get("dev");
        let read_dev = dev.and_then(|node| self.reference(node, "dev"));
        let address = fields.get("address");
        let read_address = address.and_then(|node| self.ip(node, "address"));
        let to = fields.get("to").and_then(|node| self.target(node));
        let localhost = fields.get("localhost").and_then(|node| {
            let said = self.bool(node, "localhost")?;
            said.then_some(node.span)
        });
        let what = self.published(node, &fields, to);
        // What was said and can't be read would make another publication of it.
        if dev.is_some() != read_dev.is_some() || address.is_some() != read_address.is_some() {
            return None;
        }
        let publication = Publication {
            span: node.span,
            ns: ns?,
            dev: read_dev,
            address: read_address,
            what: what?,
            to: to?.ip,
            localhost,
        };
        self.fits(&publication).then_some(publication)
    }

    /// Which connections are published.
    fn published(
        &mut self,
        node: &Node,
        fields: &Fields<'_, '_>,
        to: Option<Target>,
    ) -> Option<Published> {
        let protocol = match fields.get("proto") {
            Some(node) => self.one_of(node, "proto", keys::PROTOCOLS)?,
            None => "tcp",
        };
        let protocol = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return self.everything(node, fields, to),
        };
        let Some(port) = fields.get("port") else {
            let message = "a publication needs `port`";
            let help = "add `port: …`, or map a whole address: `{address: IP, proto: any, to: IP}`";
            self.found.error(message, node.span, help);
            return None;
        };
        let ports = Spanned::new(self.ports(port, "port")?, port.span);
        let Ports { from, to: last } = ports.value;
        let to = to?;
        if from < last && to.port.is_some_and(|port| port != from) {
            let ip = to.ip.value;
            let message = "ports of a range stay what they are";
            let help = format!("write `to: \"{ip}\"`, or publish each port by itself");
            let diagnostic = Diagnostic::new(message, to.ip.span, help);
            self.found.push(diagnostic.also(port.span, "the range"));
            return None;
        }
        let to = to.port.filter(|port| from == last && *port != from);
        Some(Published::Ports {
            protocol,
            ports,
            to,
        })
    }

    /// A whole address.
    fn everything(
        &mut self,
        node: &Node,
        fields: &Fields<'_, '_>,
        to: Option<Target>,
    ) -> Option<Published> {
        if let Some(port) = fields.get("port") {
            let message = "`proto: any` maps a whole address, which has no `port`";
            let help = "remove it, or write `proto: tcp` or `proto: udp`";
            self.found.error(message, port.span, help);
            return None;
        }
        if let Some((to, port)) = to.and_then(|to| Some((to.ip, to.port?))) {
            let message =
                format!("`proto: any` maps a whole address, and `to` has the port {port}");
            self.found
                .error(message, to.span, format!("write `to: \"{}\"`", to.value));
            return None;
        }
        if fields.get("address").is_none() {
            let message = "`proto: any` maps a whole address, and none is named";
            let help = "add `address: IP`, an address that comes here";
            self.found.error(message, node.span, help);
            return None;
        }
        Some(Published::Everything)
    }

    /// Whether what a publication says by itself fits together.
    fn fits(&mut self, publication: &Publication) -> bool {
        let family = publication.family();
        let to = publication.to;
        if let Some(address) = publication.address
            && Family::of(address.value) != family
        {
            let message = format!("{} can't lead to {}", address.value, to.value);
            let help = format!("name an {family} address");
            let diagnostic = Diagnostic::new(message, address.span, help);
            self.found.push(diagnostic.also(to.span, "the target"));
            return false;
        }
        let Some(localhost) = publication.localhost else {
            return true;
        };
        let wrong = if family == Family::Ipv6 {
            Some("the kernel can't lead ::1 to another namespace")
        } else if publication.what == Published::Everything {
            Some("`proto: any` can't take all of 127.0.0.1")
        } else {
            None
        };
        if let Some(message) = wrong {
            let help = "remove `localhost`; processes reach it at the namespace's other addresses";
            self.found.error(message, localhost, help);
        }
        wrong.is_none()
    }

    /// An address with a port or without.
    fn target(&mut self, node: &Node) -> Option<Target> {
        if let Value::List(_) = &*node.value {
            let help = "put an IPv6 address with a port between quotes: \"[fd00::2]:80\"";
            self.wrong(node, "to", "an address, and a port after a `:`", help);
            return None;
        }
        let text = self
            .scalar(node, "to", "an address, and a port after a `:`")?
            .value;
        let with = |ip: IpAddr, port| Target {
            ip: Spanned::new(ip, node.span),
            port,
        };
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(with(ip, None));
        }
        let (ip, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((ip, "")) => (ip, None),
            Some((ip, port)) => (ip, port.strip_prefix(':')),
            None => match text.rsplit_once(':') {
                Some((ip, port)) => (ip, Some(port)),
                None => (text, None),
            },
        };
        let Ok(ip) = ip.parse::<IpAddr>() else {
            let message = format!("`{}` is no address with a port", short(text));
            let help = "write it like `192.0.2.1:80`, or \"[2001:db8::1]:80\"";
            self.found.error(message, node.span, help);
            return None;
        };
        let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port
            .filter(digits)
            .and_then(|port| port.parse::<u16>().ok());
        match number.filter(|port| *port > 0) {
            Some(number) => Some(with(ip, Some(number))),
            None if port.is_none() && text.ends_with(']') => Some(with(ip, None)),
            None => {
                let message = format!("`{}` ends in no port", short(text));
                let help = "a port is from 1 to 65535; without one it is that of `port`";
                self.found.error(message, node.span, help);
                None
            }
        }
    }
}
