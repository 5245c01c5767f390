//! A page around a picture: its legend, and a table of all links. It needs nothing from elsewhere, and has no script.

use std::fmt::Write;

use super::picture::{Change, End, LineKind, Picture};
use super::svg::{escaped, svg};

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: #1f2328; background: #ffffff; }
figure { margin: 1.5rem 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #d0d7de; }
td { font-family: ui-monospace, monospace; font-size: 13px; }
.added { color: #1a7f37; } .changed { color: #9a6700; } .removed { color: #cf222e; text-decoration: line-through; }
p span { margin-right: 1.25rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; }
  th, td { border-color: #30363d; }
  .added { color: #3fb950; } .changed { color: #d29922; } .removed { color: #f85149; }
}
";

/// The page of a picture as it is drawn, and of all that there is.
pub fn page(drawn: &Picture, whole: &Picture) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Network namespaces</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Network namespaces</h1>\n"
    );
    if whole.has_changes() {
        text.push_str(
            "<p><span class=\"added\">+ comes</span><span class=\"changed\">~ becomes another</span>\
             <span class=\"removed\">− goes</span></p>\n",
        );
    }
    let _ = write!(text, "<figure>\n{}</figure>\n", svg(drawn));
    text.push_str(
        "<table>\n<thead><tr><th>Namespace</th><th>Link</th><th>Joined to</th><th>Addresses</th></tr></thead>\n<tbody>\n",
    );
    for (ns, place) in &whole.places {
        if place.links.is_empty() {
            put_row(&mut text, place.change, &[&ns.to_string(), "", "", ""]);
        }
        for (name, link) in &place.links {
            let end = End::Link(ns.clone(), name.clone());
            let joined = joined(whole, &end);
            let all = link.text(name);
            let (title, rows) = all.split_once('\n').unwrap_or((&all, ""));
            let change = link.change.max(place.change);
            let cells = [&ns.to_string(), title, &joined, rows];
            put_row(&mut text, change, &cells);
        }
    }
    text.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    text
}

fn put_row(text: &mut String, change: Change, cells: &[&str]) {
    match change.class() {
        Some(class) => {
            let _ = write!(text, "<tr class=\"{class}\">");
        }
        None => text.push_str("<tr>"),
    }
    for cell in cells {
        let lines: Vec<String> = cell.lines().map(escaped).collect();
        let _ = write!(text, "<td>{}</td>", lines.join("<br>"));
    }
    text.push_str("</tr>\n");
}

/// What a link is joined to, a line each.
fn joined(picture: &Picture, end: &End) -> String {
    let said = |end: &End| match end {
        End::Link(ns, name) => format!("{ns}:{name}"),
        End::Outside => "outside".to_owned(),
    };
    let others = picture.lines.keys().filter_map(|(from, to, kind)| {
        let way = match kind {
            LineKind::Port if from == end => "port of ",
            kind if !kind.joins() || *kind == LineKind::Port => return None,
            _ => "",
        };
        match (from == end, to == end) {
            (true, _) => Some(format!("{way}{}", said(to))),
            (_, true) => Some(format!("{way}{}", said(from))),
            _ => None,
        }
    });
    others.collect::<Vec<_>>().join("\n")
}
