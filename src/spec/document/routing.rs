//! Routes and rules.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::resource::Family;
use crate::resource::route::{DEFAULT, MAIN};
use crate::resource::rule::{Action, Mark};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::nearest;
use crate::spec::keys;
use crate::spec::model::{NextHop, Route, Rule, Target};
use crate::spec::reader::{Fields, Reader, short};
use crate::spec::source::{Span, Spanned};
use crate::spec::tree::{Node, Value};

/// Where a route leads, as it is written.
enum Destination {
    Prefix(IpNet),
    /// All addresses of the next hop's family.
    Default,
}

/// The largest MTU of a route, in bytes: it has room for a header (`ip_metrics_convert` of
/// `net/ipv4/metrics.c`).
const LARGEST_MTU: u32 = 65535 - 15;

impl Reader<'_> {
    pub(super) fn route(&mut self, node: &Node) -> Option<Route> {
        let fields = self.fields(node, &keys::ROUTE, node.span)?;
        let to = fields.get("to").and_then(|node| self.destination(node));
        let kind = fields.get("type");
        let kind = kind.map_or(Some("unicast"), |node| {
            self.one_of(node, "type", keys::ROUTE_TYPES)
        });
        let target = match kind? {
            "unicast" => Target::Unicast(self.hops(&fields, node.span)?),
            kind => {
                for key in ["via", "dev", "nexthops", "onlink", "src", "mtu"] {
                    if let Some(node) = fields.get(key) {
                        let message = format!("a route of type `{kind}` has no `{key}`");
                        let help = "remove it: the packets end here";
                        self.found.error(message, node.span, help);
                    }
                }
                match kind {
                    "blackhole" => Target::Blackhole,
                    "unreachable" => Target::Unreachable,
                    _ => Target::Prohibit,
                }
            }
        };
        let metric = fields.get("metric");
        let metric = metric.and_then(|node| self.number(node, "metric", &(0..=u32::MAX)));
        let table = fields.get("table").map(|node| self.table(node));
        let mut route = Route {
            span: node.span,
            to: self.resolve(&to?, &target)?,
            target,
            metric: metric.map_or(0, |metric| metric.value),
            table: table.unwrap_or(Some(MAIN))?,
            src: fields.get("src").and_then(|node| self.ip(node, "src")),
            mtu: fields
                .get("mtu")
                .and_then(|node| self.mtu(node))
                .map(|mtu| mtu.value),
        };
        self.check_families(&mut route);
        Some(route)
    }

    /// The next hops of a unicast route.
    fn hops(&mut self, fields: &Fields, at: Span) -> Option<Vec<NextHop>> {
        let onlink = fields.get("onlink");
        let is_onlink = onlink
            .and_then(|node| self.bool(node, "onlink"))
            .unwrap_or(false);
        let hops = match fields.get("nexthops") {
            None => vec![self.hop(fields, is_onlink, 1)],
            Some(list) => {
                for key in ["via", "dev"] {
                    if let Some(node) = fields.get(key) {
                        let message = format!("a route has `{key}` or `nexthops`, not both");
                        let help = format!("write `{key}` in an item of `nexthops`");
                        self.found.push(
                            Diagnostic::new(message, node.span, help)
                                .also(list.span, "the next hops"),
                        );
                    }
                }
                let items = self.items(list, "nexthops");
                if items.is_empty() || items.len() > 256 {
                    if matches!(*list.value, Value::List(_) | Value::Null) {
                        let message = format!("a route can't have {} next hops", items.len());
                        self.found.error(message, list.span, "write 1 to 256 items");
                    }
                    return None;
                }
                let mut hops = Vec::new();
                for item in items {
                    let fields = self.fields(item, &keys::NEXTHOP, item.span)?;
                    let weight = fields
                        .get("weight")
                        .and_then(|node| self.number(node, "weight", &(1..=256)));
                    let weight = weight.and_then(|weight| u16::try_from(weight.value).ok());
                    let hop = self.hop(&fields, is_onlink, weight.unwrap_or(1));
                    if hop.via.is_none() && hop.dev.is_none() {
                        let message = "a next hop needs `via` or `dev`";
                        self.found
                            .error(message, item.span, "add `via: IP`, the next router");
                    }
                    hops.push(hop);
                }
                return Some(hops);
            }
        };
        let said = |key| fields.get(key).is_some();
        if !said("via") && !said("dev") {
            let message = "a route needs a next hop";
            let help =
                "add `via: IP`, the next router, or `dev: LINK` for what is on the link itself";
            self.found.error(message, at, help);
        }
        if is_onlink && let (Some(onlink), false) = (onlink, said("via") && said("dev")) {
            let message = "`onlink` says that `via` is behind `dev`, so it needs both";
            let help = "add the missing one, or remove `onlink`";
            self.found.error(message, onlink.span, help);
        }
        Some(hops)
    }

    fn hop(&mut self, fields: &Fields, onlink: bool, weight: u16) -> NextHop {
        NextHop {
            via: fields.get("via").and_then(|node| self.ip(node, "via")),
            dev: fields
                .get("dev")
                .and_then(|node| self.reference(node, "dev")),
            onlink,
            weight,
        }
    }

    fn destination(&mut self, node: &Node) -> Option<Spanned<Destination>> {
        let text = self.scalar(node, "to", "a prefix, an address or `default`")?;
        let to = match text.value {
            "default" => Destination::Default,
            "default4" => Destination::Prefix(Ipv4Net::default().into()),
            "default6" => Destination::Prefix(Ipv6Net::default().into()),
            _ => Destination::Prefix(self.prefix_or_ip(node, "to", ", or `default`")?.value),
        };
        Some(Spanned::new(to, node.span))
    }

    /// A prefix without host bits, or an address.
    fn prefix_or_ip(&mut self, node: &Node, key: &str, or: &str) -> Option<Spanned<IpNet>> {
        let text = self.scalar(node, key, "a prefix or an address")?;
        if let Ok(ip) = text.value.parse::<IpAddr>() {
            return Some(Spanned::new(IpNet::from(ip), node.span));
        }
        let Ok(net) = text.value.parse::<IpNet>() else {
            self.bad_address(node.span, text.value, &format!("`IP/LEN` or `IP`{or}"));
            return None;
        };
        if net.trunc() != net {
            let message = format!("{net} has host bits, so it is no prefix");
            let help = format!(
                "write `{}`, or `{}` for the one address",
                net.trunc(),
                net.addr()
            );
            self.found.error(message, node.span, help);
            return None;
        }
        Some(Spanned::new(net, node.span))
    }

    /// The prefix that a destination means.
    fn resolve(&mut self, to: &Spanned<Destination>, target: &Target) -> Option<Spanned<IpNet>> {
        let at = to.span;
        let net = match to.value {
            Destination::Prefix(net) => net,
            Destination::Default => {
                let first = match target {
                    Target::Unicast(hops) => hops.first().and_then(|hop| hop.via),
                    _ => None,
                };
                match first.map(|via| Family::of(via.value)) {
                    Some(Family::Ipv4) => Ipv4Net::default().into(),
                    Some(Family::Ipv6) => Ipv6Net::default().into(),
                    None => {
                        let message = "`default` is of the next router's family, and there is none";
                        let help = "write `default4` or `default6`";
                        self.found.error(message, at, help);
                        return None;
                    }
                }
            }
        };
        Some(Spanned::new(net, at))
    }

    /// An IPv4 route may have an IPv6 router, and otherwise families don't mix.
    fn check_families(&mut self, route: &mut Route) {
        let family = Family::of(route.to.value.addr());
        let at = route.to.span;
        if let Some(src) = route.src.filter(|src| Family::of(src.value) != family) {
            let message = format!("the source of an {family} route can't be {}", src.value);
            let help = format!("name an {family} address of the namespace");
            self.found
                .push(Diagnostic::new(message, src.span, help).also(at, "the destination"));
            route.src = None;
        }
        let several = route.hops().len() > 1;
        for hop in route.hops() {
            match hop.via {
                Some(via) if family == Family::Ipv6 && via.value.is_ipv4() => {
                    let message = format!("an IPv6 route can't lead through {}", via.value);
                    let help = "name an IPv6 router";
                    self.found
                        .push(Diagnostic::new(message, via.span, help).also(at, "the destination"));
                }
                None if several && family == Family::Ipv6 => {
                    let message = "each of several IPv6 next hops needs `via`";
                    let place = hop.dev.as_ref().map_or(route.span, |dev| dev.span);
                    self.found
                        .error(message, place, "add `via: IP`, the next router");
                }
                _ => {}
            }
        }
        if let Some(mtu) = route.mtu.filter(|mtu| *mtu > LARGEST_MTU) {
            let message = format!("an MTU of {mtu} is more than the kernel keeps for a route");
            let help = format!("{LARGEST_MTU} is the largest");
            self.found.error(message, route.span, help);
        }
        if let Some(mtu) = route.mtu
            && family == Family::Ipv6
            && mtu < crate::resource::link::IPV6_MIN_MTU
        {
            let message = format!("an MTU of {mtu} is too small for an IPv6 route");
            let help = format!(
                "IPv6 needs at least {}",
                crate::resource::link::IPV6_MIN_MTU
            );
            self.found.error(message, route.span, help);
        }
    }

    /// The number of a routing table.
    fn table(&mut self, node: &Node) -> Option<u32> {
        match &*node.value {
            Value::Scalar { text, .. } if text == "main" => Some(MAIN),
            Value::Scalar { text, .. } if text == "default" => Some(DEFAULT),
            Value::Scalar { text, .. } if text == "local" => {
                let message = "the table `local` is the kernel's own";
                self.found
                    .error(message, node.span, "choose another number, 100 for example");
                None
            }
            Value::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => {
                let number = self.number(node, "table", &(1..=u32::MAX))?.value;
                if number == crate::resource::route::LOCAL {
                    let message = "table 255, `local`, is the kernel's own";
                    let help = "choose another number, 100 for example";
                    self.found.error(message, node.span, help);
                    return None;
                }
                Some(number)
            }
            _ => {
                let help =
                    "names of /etc/iproute2/rt_tables are another program's: write the number";
                self.wrong(node, "table", "a number, `main` or `default`", help);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn one_of(
        &mut self,
        node: &Node,
        key: &str,
        words: &'static [&'static str],
    ) -> Option<&'static str> {
        let text = self.text(node, key, "a word")?;
        let known = words.iter().copied().find(|word| *word == text.value);
        if known.is_none() {
            let message = format!("`{key}` can't be `{}`", short(text.value));
            let help = match nearest(text.value, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {}", words.join(", ")),
            };
            self.found.error(message, node.span, help);
        }
        known
    }

    pub(super) fn rule(&mut self, node: &Node) -> Option<Rule> {
        let fields = self.fields(node, &keys::RULE, node.span)?;
        let priority = fields
            .get("priority")
            .and_then(|node| self.number(node, "priority", &(1..=32765)));
        let action = fields.get("action");
        let word = action.map_or(Some("lookup"), |node| {
            self.one_of(node, "action", keys::RULE_ACTIONS)
        });
        let table = fields.get("table");
        let action = match (word?, table) {
            ("lookup", Some(table)) => Action::Lookup(self.table(table)?),
            ("lookup", None) => {
                let message = "a rule needs `table` or `action`";
                let help = "add `table: NUMBER`, where the route is to be looked up";
                self.found.error(message, node.span, help);
                return None;
            }
            (word, Some(table)) => {
                let message = format!("a rule with the action `{word}` has no `table`");
                self.found
                    .error(message, table.span, "remove it, or the action");
                return None;
            }
            ("blackhole", None) => Action::Blackhole,
            ("unreachable", None) => Action::Unreachable,
            _ => Action::Prohibit,
        };
        let mut net = |key| {
            let node = fields.get(key)?;
            self.prefix_or_ip(node, key, "")
        };
        let (from, to) = (net("from"), net("to"));
        if let (Some(from), Some(to)) = (from, to)
            && Family::of(from.value.addr()) != Family::of(to.value.addr())
        {
            let message = "`from` and `to` of a rule are of one family";
            let help = "make two rules of it";
            self.found
                .push(Diagnostic::new(message, to.span, help).also(from.span, "the other family"));
        }
        let mut link = |key| {
            let node = fields.get(key)?;
            self.reference(node, key)
        };
        Some(Rule {
            span: node.span,
            iif: link("iif"),
            oif: link("oif"),
            priority: priority?,
            from,
            to,
            mark: fields.get("fwmark").and_then(|node| self.mark(node)),
            action,
        })
    }

    fn mark(&mut self, node: &Node) -> Option<Mark> {
        let text = self.scalar(node, "fwmark", "a number, or `MARK/MASK`")?;
        let (value, mask) = text
            .value
            .split_once('/')
            .unwrap_or((text.value, "0xffffffff"));
        let (Some(value), Some(mask)) = (number(value), number(mask)) else {
            let message = format!("`{}` is no mark", short(text.value));
            let help = "it is written `1`, `0x1` or `0x1/0xff`, and has 32 bits";
            self.found.error(message, node.span, help);
            return None;
        };
        if value & !mask != 0 {
            let message =
                format!("the mark {value:#x} has bits that its mask {mask:#x} leaves out");
            let help = "no packet would match: widen the mask";
            self.found.error(message, node.span, help);
            return None;
        }
        // Without bits that count it is every mark, and the kernel keeps none.
        (mask != 0).then_some(Mark { value, mask })
    }
}

/// A number of 32 bits, decimal or hexadecimal.
fn number(text: &str) -> Option<u32> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok().filter(|_| digits(hex)),
        None => text.parse().ok().filter(|_| digits(text)),
    }
}
