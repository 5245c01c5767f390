//! What a plan leaves alone, as a text to read.

use std::fmt::Write;

use super::phrase;
use super::style::{Colour, Role};
use crate::resource::name::TopologyName;
use crate::resource::{Id, Ns, Resource};

/// What others have added to what is a topology's, grouped by namespace. Empty if they have added nothing.
pub fn left(left: &[(&Id, &Resource)], topology: &TopologyName, colour: Colour) -> String {
    let head = "\nLeft alone, because netform didn't make it:\n";
    listed(head, left, topology, colour)
}

/// What is as the spec says, grouped by namespace. Empty if there is no such thing.
pub fn kept(kept: &[(&Id, &Resource)], topology: &TopologyName, colour: Colour) -> String {
    listed("\nAs the spec says already:\n", kept, topology, colour)
}

fn listed(
    head: &str,
    things: &[(&Id, &Resource)],
    topology: &TopologyName,
    colour: Colour,
) -> String {
    let mut text = String::new();
    let mut last: Option<&Ns> = None;
    for (id, resource) in things {
        if last.is_none() {
            text.push_str(head);
        }
        if last != Some(&id.ns) {
            let title = colour.paint(Role::Title, &format!("namespace {}", id.ns));
            let _ = writeln!(text, "\n  {title}");
            last = Some(&id.ns);
        }
        let sign = colour.paint(Role::Faint, "·");
        let what = phrase::resource(id, resource, topology);
        let _ = writeln!(text, "  {sign}  {what}");
    }
    text
}
