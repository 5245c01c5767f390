//! A picture as Mermaid, which GitHub and GitLab draw in Markdown (<https://mermaid.js.org/syntax/flowchart.html>).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::picture::{Change, End, LineKind, Picture};
use super::{OUTSIDE, numbered};

/// What each kind of change looks like, in light and in dark.
const CLASSES: [(Change, &str); 3] = [
    (Change::Added, "#2da44e"),
    (Change::Changed, "#bf8700"),
    (Change::Removed, "#cf222e"),
];

/// The text of a picture.
pub fn mermaid(picture: &Picture) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let ids = numbered(picture);
    let mut marked: BTreeMap<Change, Vec<String>> = BTreeMap::new();
    for (number, (ns, place)) in picture.places.iter().enumerate() {
        let mut title = format!("{}{ns}", place.change.sign());
        if let Some(note) = &place.note {
            let _ = write!(title, "\n{note}");
        }
        let _ = writeln!(text, "  subgraph n{number}[\"{}\"]", escaped(&title));
        marked
            .entry(place.change)
            .or_default()
            .push(format!("n{number}"));
        for (name, link) in &place.links {
            let id = &ids[&End::Link(ns.clone(), name.clone())];
            let _ = writeln!(text, "    {id}[\"{}\"]", escaped(&link.text(name)));
            marked.entry(link.change).or_default().push(id.clone());
        }
        text.push_str("  end\n");
    }
    if ids.contains_key(&End::Outside) {
        let _ = writeln!(text, "  {OUTSIDE}([\"outside\"])");
    }
    let mut lines: BTreeMap<Change, Vec<String>> = BTreeMap::new();
    for (place, ((from, to, kind), line)) in picture.lines.iter().enumerate() {
        let label: Vec<&str> = line.labels.iter().map(String::as_str).collect();
        let label = match label.join("\n") {
            label if label.is_empty() => String::new(),
            label => format!("|\"{}\"|", escaped(&label)),
        };
        let arrow = match kind {
            LineKind::Pair | LineKind::Uplink => "---",
            LineKind::Port => "--o",
            LineKind::Egress => "-->",
            LineKind::Allow => "-.->",
            LineKind::Publish => "==>",
        };
        let _ = writeln!(text, "  {} {arrow}{label} {}", ids[from], ids[to]);
        lines
            .entry(line.change)
            .or_default()
            .push(place.to_string());
    }
    for (change, colour) in CLASSES {
        let Some(class) = change.class() else {
            continue;
        };
        if let Some(marked) = marked.get(&change) {
            let dashed = if change == Change::Removed {
                ",stroke-dasharray:5 3"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  classDef {class} stroke:{colour},stroke-width:2px{dashed}"
            );
            let _ = writeln!(text, "  class {} {class}", marked.join(","));
        }
        if let Some(lines) = lines.get(&change) {
            let _ = writeln!(text, "  linkStyle {} stroke:{colour}", lines.join(","));
        }
    }
    text
}

/// A text between quotes: entities are written with `#`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("<br>"),
            '"' | '#' | '&' | '<' | '>' | '`' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_name_ends_a_text_or_is_taken_for_markup() {
        assert_eq!(escaped("a\"]; <b>"), "a#34;]; #60;b#62;");
        assert_eq!(escaped("#35;"), "#35;35;");
        assert_eq!(escaped("eth0\n10.0.0.1/24"), "eth0<br>10.0.0.1/24");
    }
}
