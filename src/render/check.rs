//! How checks ended: for a person, for programs, and for continuous integration.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::explain::Explanation;
use super::style::{Colour, Role};
use crate::checks::{Failure, Outcome};
use crate::resource::name::TopologyName;
use crate::spec::model::{Check, Expect, Peer, What};

/// The version of the JSON document.
const FORMAT: u32 = 1;

/// The widest column of what was tried: what is longer sticks out.
const WIDEST: usize = 60;

/// How the checks of a topology ended.
#[derive(Debug)]
pub struct Report<'s> {
    topology: &'s TopologyName,
    checks: Vec<(&'s Check, Outcome)>,
    /// By the places of the checks.
    explanations: BTreeMap<usize, Explanation>,
}

impl<'s> Report<'s> {
    /// Of checks and what came of each, in the same order.
    pub fn new(
        topology: &'s TopologyName,
        checks: &'s [Check],
        outcomes: Vec<Outcome>,
    ) -> Report<'s> {
        Report {
            topology,
            checks: checks.iter().zip(outcomes).collect(),
            explanations: BTreeMap::new(),
        }
    }

    /// The same with what there is to say of some of the checks, by their places.
    #[must_use]
    pub fn explained(self, explanations: BTreeMap<usize, Explanation>) -> Report<'s> {
        Report {
            explanations,
            ..self
        }
    }

    /// How many are not as they must be.
    pub fn unexpected(&self) -> usize {
        let checks = self.checks.iter();
        checks
            .filter(|(check, outcome)| !outcome.is_as_expected(check))
            .count()
    }

    /// Whether all are as they must be.
    pub fn is_as_expected(&self) -> bool {
        self.unexpected() == 0
    }
}

/// A line for each check, and how many there are.
pub fn text(report: &Report<'_>, colour: Colour) -> String {
    let title = colour.paint(Role::Title, report.topology.as_str());
    if report.checks.is_empty() {
        return format!("{title}\n\n  It has no checks.\n");
    }
    let rows: Vec<(String, &'static str, String)> = report
        .checks
        .iter()
        .map(|(check, outcome)| (way(check), check.what.verb(), span(outcome.time)))
        .collect();
    let widest = |of: &dyn Fn(&(String, &'static str, String)) -> usize| {
        rows.iter().map(of).max().unwrap_or_default()
    };
    let ways = widest(&|row| row.0.width()).min(WIDEST);
    let verbs = widest(&|row| row.1.len());
    let times = widest(&|row| row.2.len());
    let mut text = format!("{title}\n\n");
    let checks = report.checks.iter().zip(&rows).enumerate();
    for (place, ((check, outcome), (way, verb, time))) in checks {
        let (word, role) = if outcome.is_as_expected(check) {
            ("ok  ", Role::Added)
        } else {
            ("fail", Role::Removed)
        };
        let gap = " ".repeat(ways.saturating_sub(way.width()));
        let detail = detail(check, outcome);
        let line = format!(
            "  {}  {way}{gap}  {verb:verbs$}  {time:>times$}  {detail}",
            colour.paint(role, word),
        );
        let _ = writeln!(text, "{}", line.trim_end());
        let explanation = report.explanations.get(&place);
        for line in explanation.map(Explanation::lines).unwrap_or_default() {
            let _ = writeln!(text, "          {line}");
        }
    }
    let _ = writeln!(
        text,
        "\n{}",
        count(report.checks.len(), report.unexpected())
    );
    text
}

/// The last line.
fn count(all: usize, unexpected: usize) -> String {
    match (all, unexpected) {
        (1, 0) => "1 check, as expected.".to_owned(),
        (1, _) => "1 check, not as expected.".to_owned(),
        (all, 0) => format!("{all} checks, all as expected."),
        (all, unexpected) => format!("{all} checks, {unexpected} not as expected."),
    }
}

/// From where, and to where.
fn way(check: &Check) -> String {
    format!("{} → {}", check.from.value, check.what)
}

/// What there is to say beside that.
fn detail(check: &Check, outcome: &Outcome) -> String {
    let said = said(check, outcome);
    match &check.name {
        Some(name) if said.is_empty() => name.value.clone(),
        Some(name) => format!("{}: {said}", name.value),
        None => said,
    }
}

/// How it ended, in words. Empty: it succeeded, and nothing else is to be said.
fn said(check: &Check, outcome: &Outcome) -> String {
    match (&outcome.result, check.expect) {
        (Ok(found), Expect::Ok) => addresses(check, found),
        (Ok(found), Expect::Fail) => {
            let found = addresses(check, found);
            let what = match check.what {
                What::Ping(_) => "it answers, and must not",
                What::Tcp(..) => "it takes the connection, and must not",
                What::Resolve(_) => "it has an address, and must not",
            };
            if found.is_empty() {
                what.to_owned()
            } else {
                format!("{what}: {found}")
            }
        }
        (Err(failure), Expect::Fail) if failure.is_verdict() => {
            format!("fails as expected: {}", why(failure, outcome.time))
        }
        (Err(failure), _) => why(failure, outcome.time),
    }
}

/// Why it failed.
fn why(failure: &Failure, time: Duration) -> String {
    match failure {
        Failure::TimedOut => format!("timed out: no answer in {}", span(time)),
        other => other.text(),
    }
}

/// The addresses that a name led to; nothing, if the check itself names the address.
fn addresses(check: &Check, found: &[IpAddr]) -> String {
    if let What::Ping(Peer::Address(_)) | What::Tcp(Peer::Address(_), _) = check.what {
        return String::new();
    }
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// A time, short: `0.31 ms`, `12 ms`, `3.0 s`.
fn span(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 9.995 {
        format!("{milliseconds:.2} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// One document, with all topologies.
pub fn json(reports: &[Report<'_>]) -> String {
    let topologies: Vec<Value> = reports
        .iter()
        .map(|report| {
            let checks = report.checks.iter().enumerate();
            let checks = checks.map(|(place, (check, outcome))| {
                let mut told = one(check, outcome);
                if let Some(explanation) = report.explanations.get(&place) {
                    told["explanation"] = explanation.json();
                }
                told
            });
            let checks: Vec<Value> = checks.collect();
            json!({
                "name": report.topology.as_str(),
                "ok": report.is_as_expected(),
                "checks": checks,
            })
        })
        .collect();
    let document = json!({
        "format_version": FORMAT,
        "ok": reports.iter().all(Report::is_as_expected),
        "topologies": topologies,
    });
    format!("{document:#}\n")
}

fn one(check: &Check, outcome: &Outcome) -> Value {
    let found = outcome.result.as_deref().unwrap_or_default();
    let failure = outcome.result.as_ref().err();
    json!({
        "name": check.name.as_ref().map(|name| &name.value),
        "from": check.from.value.to_string(),
        "kind": check.what.verb(),
        "to": check.what.to_string(),
        "expect": check.expect.word(),
        "within": check.within.as_secs_f64(),
        "ok": outcome.is_as_expected(check),
        "result": if outcome.result.is_ok() { "ok" } else { "fail" },
        "addresses": found,
        "reason": failure.map(Failure::word),
        "message": failure.map(|failure| why(failure, outcome.time)),
        "seconds": outcome.time.as_secs_f64(),
    })
}

/// The XML that programs for continuous integration read: a suite for each topology. What couldn't be tried is an error, and no
/// failure.
pub fn junit(reports: &[Report<'_>]) -> String {
    let seconds = |time: Duration| format!("{:.6}", time.as_secs_f64());
    let count = |report: &Report<'_>, verdict: bool| {
        let checks = report.checks.iter();
        checks
            .filter(|(check, outcome)| !outcome.is_as_expected(check))
            .filter(|(_, outcome)| is_verdict(outcome) == verdict)
            .count()
    };
    let mut text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"netform check\">\n"
            .to_owned();
    for report in reports {
        let longest = report.checks.iter().map(|(_, outcome)| outcome.time).max();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{}\">",
            escaped(report.topology.as_str()),
            report.checks.len(),
            count(report, true),
            count(report, false),
            seconds(longest.unwrap_or_default()),
        );
        for (place, (check, outcome)) in report.checks.iter().enumerate() {
            let title = match &check.name {
                Some(name) => name.value.clone(),
                None => title(check),
            };
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
                escaped(&format!("{}.{}", report.topology, check.from.value)),
                escaped(&title),
                seconds(outcome.time),
            );
            if outcome.is_as_expected(check) {
                text.push_str("/>\n");
                continue;
            }
            let element = if is_verdict(outcome) {
                "failure"
            } else {
                "error"
            };
            let word = match &outcome.result {
                Ok(_) => "reached",
                Err(failure) => failure.word(),
            };
            let said = said(check, outcome);
            let mut whole = format!("{}: {said}", title_of_way(check));
            let explanation = report.explanations.get(&place);
            for line in explanation.map(Explanation::lines).unwrap_or_default() {
                let _ = write!(whole, "; {line}");
            }
            let _ = writeln!(
                text,
                ">\n      <{element} type=\"{word}\" message=\"{}\">{}</{element}>\n    </testcase>",
                escaped(&said),
                escaped(&whole),
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// What a check without a name is called.
fn title(check: &Check) -> String {
    match check.expect {
        Expect::Ok => title_of_way(check),
        Expect::Fail => format!("{} fails", title_of_way(check)),
    }
}

fn title_of_way(check: &Check) -> String {
    format!("{} {}", check.what.verb(), way(check))
}

fn is_verdict(outcome: &Outcome) -> bool {
    outcome
        .result
        .as_ref()
        .err()
        .is_none_or(Failure::is_verdict)
}

/// A text as XML 1.0 has it. Characters that it can't have are replaced.
fn escaped(text: &str) -> Cow<'_, str> {
    let special = |c: char| {
        matches!(c, '<' | '>' | '&' | '"' | '\'' | '\u{fffe}' | '\u{ffff}') || c.is_control()
    };
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c if special(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}
