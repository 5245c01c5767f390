//! The addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Given;
use crate::resource::Family;
use crate::resource::address::Held;
use crate::spec::keys;
use crate::spec::reader::Reader;
use crate::spec::source::Spanned;
use crate::spec::tree::{Node, Value};

impl Reader<'_> {
    pub(super) fn address(&mut self, node: &Node) -> Option<Spanned<Given>> {
        if let Value::Map(entries) = &*node.value
            && !matches!(entries.as_slice(), [one] if one.key.value.contains(':'))
        {
            let held = self.point_to_point(node)?;
            return Some(Spanned::new(Given::Whole(held), node.span));
        }
        let form = "a list of `IP/LEN`, `IP` or `{address: IP, peer: IP/LEN}`";
        let text = self.scalar(node, "addresses", form)?;
        let whole = |net: IpNet| Given::Whole(net.into());
        let given = if text.value.contains('/') {
            text.value.parse().map(whole).ok()
        } else {
            text.value.parse().map(Given::Bare).ok()
        };
        if given.is_none() {
            self.bad_address(node.span, text.value, "`IP/LEN` or `IP`");
        }
        given.map(|given| Spanned::new(given, node.span))
    }

    /// An address with that of the other end.
    fn point_to_point(&mut self, node: &Node) -> Option<Held> {
        let fields = self.fields(node, &keys::POINT_TO_POINT, node.span)?;
        let ip = fields
            .get("address")
            .and_then(|node| self.ip(node, "address"));
        let peer = fields.get("peer").and_then(|node| self.peer(node));
        let (ip, peer) = (ip?.value, peer?);
        let (family, of_peer) = (Family::of(ip), Family::of(peer.value.addr()));
        if family != of_peer {
            let message = format!("the peer of an {family} address can't be {}", peer.value);
            let help = format!("write the {family} address of the other end");
            self.found.error(message, peer.span, help);
            return None;
        }
        if ip == peer.value.addr() {
            let message = format!("{ip} can't be its own peer");
            let help = "write the address of the other end, or `IP/LEN` instead of both";
            self.found.error(message, peer.span, help);
            return None;
        }
        Some(Held::point_to_point(ip, peer.value))
    }

    /// The other end, with a length.
    fn peer(&mut self, node: &Node) -> Option<Spanned<IpNet>> {
        let text = self.scalar(node, "peer", "an address with a length, `IP/LEN`")?;
        if let Ok(ip) = text.value.parse::<IpAddr>() {
            let alone = IpNet::from(ip);
            let help = format!("write `{alone}` for the other end alone");
            self.found.error("`peer` needs a length", node.span, help);
            return None;
        }
        self.prefix(node, "peer")
    }
}
