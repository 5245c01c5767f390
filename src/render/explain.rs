//! Where a packet of a check gets, in words and as data.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::state::{Judged, Judgement, Step, Traced, Way, WayEnd};

/// What there is to tell of a check that didn't end as it must.
#[derive(Debug)]
pub struct Explanation {
    /// Whether it got through, and must not.
    pub passes: bool,
    /// Whether the ways are those to name servers.
    pub of_servers: bool,
    /// The ways to the addresses that were tried.
    pub ways: Vec<(IpAddr, Way)>,
    /// Whether it ended as it must when it was tried again.
    pub mended: bool,
    /// What was seen in which namespaces when it was tried again, or why nothing could be.
    pub traced: BTreeMap<Ns, Result<Traced, String>>,
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
        let told = self.told();
        lines.extend(told.iter().map(|(ns, judged)| judgement(ns, judged)));
        let unknown = self.traced.iter().filter_map(|(ns, traced)| {
            let why = traced.as_ref().err()?;
            Some(format!("{ns}: what its rules do isn't known: {why}"))
        });
        lines.extend(unknown);
        if self.mended {
            lines.push("when it was tried again, it ended as it must".to_owned());
        } else if let [(_, way)] = self.ways.as_slice() {
            lines.extend(self.lost(way));
        }
        lines
    }

    /// What was decided that matters: by what it was stopped, or if it passes, let through.
    fn told(&self) -> Vec<(&Ns, &Judged)> {
        let mut places: Vec<&Ns> = Vec::new();
        let ways = self.ways.iter().flat_map(|(_, way)| way.places());
        for ns in ways {
            if !places.contains(&ns) {
                places.push(ns);
            }
        }
        let traced = places.into_iter().filter_map(|ns| {
            let traced = self.traced.get(ns)?.as_ref().ok()?;
            Some((ns, traced))
        });
        let all = traced.flat_map(|(ns, traced)| traced.judged.iter().map(move |one| (ns, one)));
        let matters = |one: &Judged| self.passes == (one.judgement == Judgement::Accept);
        all.filter(|(_, one)| matters(one)).collect()
    }

    /// Where it was lost, if routes lead on and no rule stops it.
    fn lost(&self, way: &Way) -> Option<String> {
        let leaves = matches!(way.end, WayEnd::Outside { .. });
        if !leaves && !matches!(way.end, WayEnd::Arrived { .. }) {
            return None;
        }
        if !self.told().is_empty() {
            return None;
        }
        if self.passes {
            let nothing = "nothing on this way stops it, neither a route nor a rule";
            return Some(nothing.to_owned());
        }
        let places = way.places();
        let traced = places.iter().map(|ns| self.traced.get(ns)?.as_ref().ok());
        let traced: Vec<&Traced> = traced.collect::<Option<_>>()?;
        let last = traced.iter().rposition(|traced| traced.there);
        let back = traced.iter().position(|traced| traced.back);
        Some(match (last, back) {
            (_, Some(at)) => format!(
                "an answer comes as far as {}, and isn't taken there, though no rule of nftables drops it: {OTHERS}",
                places[at]
            ),
            (None, None) => "no packet of it was seen".to_owned(),
            (Some(at), None) if at + 1 < places.len() => format!(
                "it is last seen in {}, and not in {}, though no rule of nftables drops it: {OTHERS}",
                places[at],
                places[at + 1]
            ),
            (Some(at), None) if leaves => format!(
                "{}: it leaves, no rule of nftables drops it, and no answer comes in",
                places[at]
            ),
            (Some(at), None) => format!(
                "{}: it comes in, no rule of nftables drops it, and no answer leaves: {OTHERS}",
                places[at]
            ),
        })
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let ways = self.ways.iter().map(|(to, way)| {
            let steps: Vec<Value> = way.steps.iter().map(step_json).collect();
            json!({ "to": to, "steps": steps, "end": end_word(&way.end), "message": end(&way.end) })
        });
        let traced = self.traced.iter().map(|(ns, traced)| match traced {
            Ok(traced) => json!({
                "namespace": ns.to_string(),
                "seen": { "there": traced.there, "back": traced.back },
                "verdicts": traced.judged.iter().map(judgement_json).collect::<Vec<_>>(),
            }),
            Err(why) => json!({ "namespace": ns.to_string(), "error": why }),
        });
        json!({
            "name_servers": self.of_servers,
            "ways": ways.collect::<Vec<_>>(),
            "again": { "ok": self.mended },
            "traced": traced.collect::<Vec<_>>(),
        })
    }
}

/// What drops packets besides rules of nftables, and where to look.
const OTHERS: &str = "rp_filter, `sysctl net.ipv4.icmp_echo_ignore_all`, `iptables-legacy -L -v`, `tc filter`, or a BPF program";

fn judgement(ns: &Ns, judged: &Judged) -> String {
    let Judged {
        table,
        chain,
        rule,
        judgement,
        answer,
    } = judged;
    let what = if *answer { "the answer" } else { "it" };
    let does = match judgement {
        Judgement::Accept => format!("lets {what} through"),
        Judgement::Drop => format!("drops {what}"),
        Judgement::Queue => format!("hands {what} to a program, which decides"),
    };
    let Some(rule) = rule else {
        return format!("{ns}: table {table}, the policy of chain {chain} {does}");
    };
    let place = match rule.number {
        Some(number) => format!("rule {number} (handle {})", rule.handle),
        None => format!("a rule that is gone (handle {})", rule.handle),
    };
    let why = rule.comment.as_ref().or(rule.text.as_ref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("{ns}: table {table}, chain {chain}, {place} {does}{why}")
}

fn judgement_json(judged: &Judged) -> Value {
    let rule = judged.rule.as_ref().map(|rule| {
        json!({
            "number": rule.number,
            "handle": rule.handle,
            "comment": rule.comment,
            "text": rule.text,
        })
    });
    json!({
        "table": judged.table,
        "chain": judged.chain,
        "rule": rule,
        "verdict": match judged.judgement {
            Judgement::Accept => "accept",
            Judgement::Drop => "drop",
            Judgement::Queue => "queue",
        },
        "answer": judged.answer,
    })
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
        Step::Led { ns, to, port } => {
            let to = match port {
                Some(port) => SocketAddr::new(*to, *port).to_string(),
                None => to.to_string(),
            };
            format!("{ns}: led to {to}, which is published here")
        }
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
        Step::Led { ns, to, port } => {
            json!({ "namespace": ns.to_string(), "led_to": to, "port": port })
        }
    }
}

/// Where it ends, and what to look at.
fn end(end: &WayEnd) -> String {
    match end {
        WayEnd::Arrived { ns } => {
            format!("{ns}: it has come to who has the address, as far as routes lead")
        }
        WayEnd::NobodyListens { ns, transport } => {
            format!(
                "{ns}: no program listens at {transport}; start it, or see what it is bound to: `ss -tuln`"
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
