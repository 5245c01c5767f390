//! Where a packet of a check gets, in words and as data.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::state::{Judged, Judgement, Passage, Step, Traced, Way, WayEnd};

/// What there is to tell of a check that didn't end as it must.
#[derive(Debug)]
pub struct Explanation {
    /// How it ended.
    pub ended: Ended,
    /// Whether the ways are those to name servers.
    pub of_servers: bool,
    /// The ways to the addresses that were tried.
    pub ways: Vec<(IpAddr, Way)>,
    /// Whether it ended as it must when it was tried again.
    pub mended: bool,
    /// What was seen in which namespaces when it was tried again, or why nothing could be.
    pub traced: BTreeMap<Ns, Result<Traced, String>>,
}

/// How a check ended that had to end otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It got through.
    Passed,
    /// Somebody answered that it gets no further.
    Refused,
    /// Nobody answered.
    Lost,
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
        let asks = |way: &Way| matches!(way.end, WayEnd::NoNeighbour { .. });
        let what = if self.ways.iter().all(|(_, way)| asks(way)) {
            "the question"
        } else {
            "it"
        };
        lines.extend(told.iter().map(|(ns, judged)| judgement(ns, judged, what)));
        let unknown = self.traced.iter().filter_map(|(ns, traced)| {
            let why = traced.as_ref().err()?;
            Some(format!("{ns}: what its rules do isn't known: {why}"))
        });
        lines.extend(unknown);
        if self.mended {
            lines.push("when it was tried again, it ended as it must".to_owned());
        } else if told.is_empty()
            && let [(_, way)] = self.ways.as_slice()
        {
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
        let matters =
            |one: &Judged| (self.ended == Ended::Passed) == (one.judgement == Judgement::Accept);
        all.filter(|(_, one)| matters(one)).collect()
    }

    /// Where it was lost, if routes lead on and no rule decided about it.
    fn lost(&self, way: &Way) -> Option<String> {
        let leaves = matches!(way.end, WayEnd::Outside { .. });
        if !leaves && !matches!(way.end, WayEnd::Arrived { .. }) {
            return None;
        }
        if self.ended == Ended::Refused {
            return None;
        }
        if self.ended == Ended::Passed {
            let nothing = "nothing on this way stops it, neither a route nor a rule";
            return Some(nothing.to_owned());
        }
        let places = way.places();
        let traced = places.iter().map(|ns| self.traced.get(ns)?.as_ref().ok());
        let traced: Vec<&Traced> = traced.collect::<Option<_>>()?;
        let nobody = "though no rule of nftables drops it";
        if let Some(at) = traced.iter().position(|traced| traced.back.came) {
            let here = places[at];
            let lost = match at.checked_sub(1).map(|before| places[before]) {
                None => format!("an answer comes to {here}, and isn't taken"),
                Some(before) if traced[at].back.left => {
                    format!("an answer leaves {here}, and doesn't come to {before}")
                }
                Some(_) => format!("an answer comes to {here}, and doesn't leave it"),
            };
            return Some(format!("{lost}, {nobody}: {OTHERS}"));
        }
        let Some(at) = traced.iter().rposition(|traced| traced.there.came) else {
            return Some("no packet of it was seen".to_owned());
        };
        let here = places[at];
        let next = places.get(at + 1);
        if next.is_none() && !leaves {
            return Some(format!(
                "{here}: it comes in, and no answer leaves, {nobody}: {OTHERS}"
            ));
        }
        if !traced[at].there.left {
            return Some(format!("{here}: it doesn't leave, {nobody}: {OTHERS}"));
        }
        Some(match next {
            Some(next) => format!("it leaves {here}, and doesn't come to {next}: {OTHERS}"),
            None => format!("{here}: it leaves, and no answer comes in"),
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
                "there": passage_json(traced.there),
                "back": passage_json(traced.back),
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
const OTHERS: &str = "see `iptables-legacy -L -v`, `tc filter`, BPF programs, rp_filter, net.ipv4.icmp_echo_ignore_all";

fn judgement(ns: &Ns, judged: &Judged, what: &str) -> String {
    let Judged {
        table,
        chain,
        rule,
        judgement,
        answer,
    } = judged;
    let what = if *answer { "the answer" } else { what };
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
    let why = why.cloned().unwrap_or_else(|| {
        let enter = match ns {
            Ns::Host => String::new(),
            Ns::Named(name) => format!("ip netns exec {name} "),
        };
        format!("`{enter}nft -a list chain {table} {chain}`")
    });
    format!("{ns}: table {table}, chain {chain}, {place} {does}: {why}")
}

fn passage_json(passage: Passage) -> Value {
    json!({ "in": passage.came, "out": passage.left })
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
        Step::Bridged {
            ns,
            came_by,
            bridge,
        } => format!("{ns}: comes in by {came_by}, goes through bridge {bridge}"),
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
        Step::Bridged {
            ns,
            came_by,
            bridge,
        } => json!({
            "namespace": ns.to_string(),
            "in": came_by.as_str(),
            "bridge": bridge.as_str(),
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
            format!("{ns}: what is beyond {by} isn't known here")
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
