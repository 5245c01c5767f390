//! Where a packet of a check gets, in words and as data.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::state::{Step, Way, WayEnd};

/// What there is to tell of a check that didn't end as it must.
#[derive(Debug)]
pub struct Explanation {
    /// Whether it got through, and must not.
    pub passes: bool,
    /// Whether the ways are those to name servers.
    pub of_servers: bool,
    /// The ways to the addresses that were tried.
    pub ways: Vec<(IpAddr, Way)>,
    /// The rules of netform's that counted packets while it was tried again.
    pub stopped: Vec<Stopped>,
}

/// A rule that stopped packets.
#[derive(Debug)]
pub struct Stopped {
    /// The namespace of its table.
    pub ns: Ns,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Its comment: why.
    pub rule: Option<String>,
    /// How many packets.
    pub packets: u64,
}

impl Explanation {
    /// A line for each thing that there is to say.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (to, way) in &self.ways {
            if self.of_servers {
                lines.push(format!("to the name server {to}"));
            } else if self.ways.len() > 1 {
                lines.push(format!("to {to}"));
            }
            lines.extend(way.steps.iter().map(step));
            lines.push(end(&way.end));
        }
        lines.extend(self.stopped.iter().map(stopped));
        let leads = |way: &Way| matches!(way.end, WayEnd::Arrived { .. } | WayEnd::Outside { .. });
        if self.stopped.is_empty()
            && !self.ways.is_empty()
            && self.ways.iter().all(|(_, way)| leads(way))
        {
            let nothing =
                "nothing on this way stops it, neither a route nor a rule of netform's".to_owned();
            lines.push(if self.passes { nothing } else {
                "no rule of netform's stops it: what is lost on such a way, a firewall drops; `nft monitor trace` in those \
                 namespaces shows which (man 8 nft)"
                    .to_owned()
            });
        }
        lines
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let ways = self.ways.iter().map(|(to, way)| {
            let steps: Vec<Value> = way.steps.iter().map(step_json).collect();
            json!({ "to": to, "steps": steps, "end": end_word(&way.end), "message": end(&way.end) })
        });
        let stopped = self.stopped.iter().map(|one| {
            json!({
                "namespace": one.ns.to_string(),
                "table": one.table,
                "chain": one.chain,
                "rule": one.rule,
                "packets": one.packets,
            })
        });
        json!({
            "name_servers": self.of_servers,
            "ways": ways.collect::<Vec<_>>(),
            "stopped": stopped.collect::<Vec<_>>(),
        })
    }
}

fn stopped(one: &Stopped) -> String {
    let Stopped {
        ns,
        table,
        chain,
        rule,
        packets,
    } = one;
    let packets = match packets {
        1 => "1 packet".to_owned(),
        packets => format!("{packets} packets"),
    };
    let rule = rule.as_deref().unwrap_or("a rule without a comment");
    format!(
        "{ns}: table inet {table}, chain {chain} stopped {packets} when it was tried again: {rule}"
    )
}

fn step(step: &Step) -> String {
    match step {
        Step::Leaves {
            ns,
            came_by,
            source,
            by,
            via,
        } => {
            let came = came_by.as_ref().map(|link| format!("comes in by {link}, "));
            let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
            let source = source.map(|ip| format!(", from {ip}")).unwrap_or_default();
            format!(
                "{ns}: {}leaves by {by}{via}{source}",
                came.unwrap_or_default()
            )
        }
        Step::Led { ns, to } => format!("{ns}: led to {to}, which is published here"),
    }
}

fn step_json(step: &Step) -> Value {
    match step {
        Step::Leaves {
            ns,
            came_by,
            source,
            by,
            via,
        } => json!({
            "namespace": ns.to_string(),
            "in": came_by.as_ref().map(LinkName::as_str),
            "source": source,
            "out": by.as_str(),
            "via": via,
        }),
        Step::Led { ns, to } => json!({ "namespace": ns.to_string(), "led_to": to }),
    }
}

/// Where it ends, and what to look at.
fn end(end: &WayEnd) -> String {
    match end {
        WayEnd::Arrived { ns } => {
            format!("{ns}: it has come to who has the address, as far as routes lead")
        }
        WayEnd::NobodyListens { ns, port } => {
            format!(
                "{ns}: no program listens at TCP port {port}; start it, or see what it is bound to: `ss -tln`"
            )
        }
        WayEnd::NoReturn { ns, to } => {
            format!("{ns}: it has come, and an answer to {to} has no route back")
        }
        WayEnd::Outside { ns, by } => {
            format!("{ns}: by {by} it is outside of what is known here")
        }
        WayEnd::NoRoute { ns, to } => format!("{ns}: there is no route to {to}"),
        WayEnd::Barred { ns, to, kind } => {
            format!("{ns}: the route to {to} is of type {kind}, and lets nothing through")
        }
        WayEnd::LinkDown { ns, link } => format!("{ns}: link {link} is down"),
        WayEnd::NoCarrier { ns, link, peer } => {
            let peer = peer.as_ref().map(|(ns, name)| format!(", {ns}:{name},"));
            let peer = peer.unwrap_or_default();
            format!("{ns}: link {link} has no carrier: its other end{peer} is down")
        }
        WayEnd::NoNeighbour {
            ns,
            link,
            ip,
            holder,
        } => {
            let asks = if ip.is_ipv4() {
                "ARP"
            } else {
                "neighbour discovery"
            };
            let holder = match holder {
                Some((ns, link)) => format!("{ns}:{link} has that address, and isn't reached"),
                None => "no namespace here has that address".to_owned(),
            };
            format!("{ns}: nobody on {link} answers for {ip} ({asks}); {holder}")
        }
        WayEnd::NotForwarding { ns, link, family } => {
            let setting = match family {
                Family::Ipv4 => format!("net.ipv4.conf.{link}.forwarding"),
                Family::Ipv6 => "net.ipv6.conf.all.forwarding".to_owned(),
            };
            format!("{ns}: {family} that comes in by {link} isn't forwarded ({setting} = 0)")
        }
        WayEnd::ReversePath { ns, link, source } => format!(
            "{ns}: what comes from {source} by {link} is dropped by rp_filter, because answers would leave by another link \
             (net.ipv4.conf.{link}.rp_filter, or of all)"
        ),
        WayEnd::Circle => "it goes in a circle, until its hop limit is used up".to_owned(),
    }
}

fn end_word(end: &WayEnd) -> &'static str {
    match end {
        WayEnd::Arrived { .. } => "arrived",
        WayEnd::NobodyListens { .. } => "nobody_listens",
        WayEnd::NoReturn { .. } => "no_return",
        WayEnd::Outside { .. } => "outside",
        WayEnd::NoRoute { .. } => "no_route",
        WayEnd::Barred { .. } => "barred",
        WayEnd::LinkDown { .. } => "link_down",
        WayEnd::NoCarrier { .. } => "no_carrier",
        WayEnd::NoNeighbour { .. } => "no_neighbour",
        WayEnd::NotForwarding { .. } => "not_forwarding",
        WayEnd::ReversePath { .. } => "reverse_path",
        WayEnd::Circle => "circle",
    }
}
