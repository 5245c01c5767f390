//! A plan in a file: what somebody read and said yes to, to be done later just so.
//!
//! Such a file holds the spec that the plan was made from, and the plan. To carry it out the host is read and planned for
//! again, and the two plans must be the same: then what the plan was made from is as it was, as far as the plan depends
//! on it.

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::plan::{Plan, Warning};
use crate::render;
use crate::render::plan::View;
use crate::render::style::Colour;
use crate::resource::name::TopologyName;
use crate::sealed::{self, Kind, harmless};
use crate::spec::source::Source;

/// A plan, and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Of which topology.
    pub topology: TopologyName,
    /// Whether it takes over what others made.
    pub adopt: bool,
    /// The name that the topology has until it is renamed.
    pub adopt_from: Option<TopologyName>,
    /// The spec.
    spec: Vec<Text>,
    /// The plan, for comparing.
    plan: serde_json::Value,
    /// The plan, for people.
    text: String,
}

/// A file of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    text: String,
}

impl Saved {
    /// What is to be saved of a plan.
    pub fn of(
        sources: &[Source],
        (adopt, adopt_from): (bool, Option<&TopologyName>),
        plan: &Plan,
    ) -> Saved {
        Saved {
            topology: plan.topology.clone(),
            adopt,
            adopt_from: adopt_from.cloned(),
            spec: texts(sources),
            plan: comparable(plan),
            text: render::plan::plan(plan, &View::full(Colour::Off)),
        }
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        sealed::seal(
            Kind::Plan,
            serde_json::to_value(self).expect("it is plain data"),
        )
    }

    /// What the text of a file says.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    pub fn parse(text: &str) -> Result<Saved, String> {
        sealed::open(Kind::Plan, text)
    }

    /// The spec.
    pub fn sources(&self) -> Vec<Source> {
        let sources = self.spec.iter();
        sources
            .map(|text| Source::new(text.name.clone(), text.text.clone()))
            .collect()
    }

    /// How another spec differs from the one that the plan was made from: names of files don't matter. None: it doesn't.
    pub fn differs_from_spec(&self, sources: &[Source]) -> Option<String> {
        let then = self.spec.iter().map(|file| &file.text);
        if then.eq(sources.iter().map(|source| &source.text)) {
            return None;
        }
        Some(difference(
            &together(&self.spec),
            &together(&texts(sources)),
        ))
    }

    /// How another plan differs from the one that was saved. None: it doesn't.
    pub fn differs_from(&self, plan: &Plan) -> Option<String> {
        if self.plan == comparable(plan) {
            return None;
        }
        let now = render::plan::plan(plan, &View::full(Colour::Off));
        Some(difference(&self.text, &now))
    }
}

fn texts(sources: &[Source]) -> Vec<Text> {
    let text = |source: &Source| Text {
        name: source.name.clone(),
        text: source.text.clone(),
    };
    sources.iter().map(text).collect()
}

/// The texts of some files, one behind the other.
fn together(files: &[Text]) -> String {
    let mut all = String::new();
    for Text { name, text } in files {
        if files.len() > 1 {
            all.extend(["# ", name.as_str(), "\n"]);
        }
        all.push_str(text);
    }
    all
}

/// All of a plan that matters: the numbers of processes don't.
fn comparable(plan: &Plan) -> serde_json::Value {
    let mut plan = plan.clone();
    for warning in &mut plan.warnings {
        if let Warning::Inmate { pid, .. } = warning {
            *pid = 0;
        }
    }
    serde_json::to_value(&plan).expect("a plan is plain data")
}

/// The lines in which two texts differ, with those around them.
fn difference(then: &str, now: &str) -> String {
    let diff = TextDiff::from_lines(then, now);
    harmless(&diff.unified_diff().context_radius(2).to_string())
}
