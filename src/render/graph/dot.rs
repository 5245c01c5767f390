//! A picture as DOT, for Graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::fmt::Write;

use super::picture::{Change, End, LineKind, Picture};
use super::{OUTSIDE, numbered};

/// The text of a picture.
pub fn dot(picture: &Picture) -> String {
    let mut text = "\
digraph netform {
  rankdir=LR;
  fontname=\"sans-serif\";
  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\", fontsize=11];
  edge [fontname=\"sans-serif\", fontsize=10];
"
    .to_owned();
    let ids = numbered(picture);
    for (number, (ns, place)) in picture.places.iter().enumerate() {
        let mut title = format!("{}{ns}", place.change.sign());
        if let Some(note) = &place.note {
            let _ = write!(title, "\n{note}");
        }
        let _ = writeln!(text, "  subgraph cluster_{number} {{");
        let _ = writeln!(
            text,
            "    label={}; style=\"rounded,filled\"; fillcolor=\"#f6f8fa\"; color={};",
            quoted(&title),
            quoted(colour(place.change))
        );
        for (name, link) in &place.links {
            let _ = writeln!(
                text,
                "    {} [label={}, color={}];",
                ids[&End::Link(ns.clone(), name.clone())],
                quoted(&link.text(name)),
                quoted(colour(link.change))
            );
        }
        if place.links.is_empty() {
            // Without a node there would be no box.
            let _ = writeln!(text, "    n{number} [style=invis, label=\"\"];");
        }
        text.push_str("  }\n");
    }
    if ids.contains_key(&End::Outside) {
        let _ = writeln!(text, "  {OUTSIDE} [label=\"outside\", shape=ellipse];");
    }
    for ((from, to, kind), line) in &picture.lines {
        let label: Vec<&str> = line.labels.iter().map(String::as_str).collect();
        let looks = match kind {
            LineKind::Pair | LineKind::Uplink => "dir=none",
            LineKind::Port => "arrowhead=odot",
            LineKind::Egress => "arrowhead=normal",
            LineKind::Allow => "style=dashed",
            LineKind::Publish => "style=bold",
        };
        let _ = writeln!(
            text,
            "  {} -> {} [{looks}, label={}, color={}];",
            ids[from],
            ids[to],
            quoted(&label.join("\n")),
            quoted(colour(line.change))
        );
    }
    text.push_str("}\n");
    text
}

fn colour(change: Change) -> &'static str {
    match change {
        Change::None => "#57606a",
        Change::Added => "#2da44e",
        Change::Changed => "#bf8700",
        Change::Removed => "#cf222e",
    }
}

/// A text as DOT has it. A newline is written `\n`, and centres what is before it.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn no_name_ends_a_text() {
        assert_eq!(quoted("a\\\"b\nc"), "\"a\\\\\\\"b\\nc\"");
    }
}
