//! A picture as SVG, and as a page around it.

use std::fmt::Write;

use super::layout::{LINE, Layout, PlaceBox, Side, Wire, layout};
use super::picture::{Change, Picture};

/// What it looks like in light and in dark surroundings. Fonts are those of the reader's system.
const STYLE: &str = "\
svg { color-scheme: light dark; font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; }
.box { fill: #f6f8fa; stroke: #d0d7de; }
.host { fill: #eef4fb; stroke: #b6cbe4; }
.block { fill: #ffffff; stroke: #d0d7de; }
.outside { fill: #ffffff; stroke: #8c959f; stroke-dasharray: 4 3; }
.wire { fill: none; stroke: #8c959f; stroke-width: 1.6; }
text { fill: #1f2328; }
.title { font-size: 13px; font-weight: 700; }
.name { font-weight: 600; }
.note, .row { fill: #57606a; }
.passes { fill: #0550ae; }
.added { stroke: #1a7f37; } text.added { fill: #1a7f37; stroke: none; }
.changed { stroke: #9a6700; } text.changed { fill: #9a6700; stroke: none; }
.removed { stroke: #cf222e; stroke-dasharray: 5 3; } text.removed { fill: #cf222e; stroke: none; text-decoration: line-through; }
@media (prefers-color-scheme: dark) {
  .box { fill: #161b22; stroke: #30363d; }
  .host { fill: #131d2b; stroke: #2d4a6e; }
  .block, .outside { fill: #0d1117; stroke: #30363d; }
  .wire { stroke: #6e7681; }
  text { fill: #e6edf3; }
  .note, .row { fill: #8b949e; }
  .passes { fill: #79c0ff; }
  .added { stroke: #3fb950; } text.added { fill: #3fb950; }
  .changed { stroke: #d29922; } text.changed { fill: #d29922; }
  .removed { stroke: #f85149; } text.removed { fill: #f85149; }
}
";

/// The text of a picture.
pub fn svg(picture: &Picture) -> String {
    let layout = layout(picture);
    let Layout { width, height, .. } = layout;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"network namespaces and what joins them\">\n\
         <style>\n{STYLE}</style>\n"
    );
    for one in &layout.boxes {
        put_box(&mut text, one);
    }
    // Over the edges of boxes, up to the links.
    for wire in &layout.wires {
        put_wire(&mut text, wire);
    }
    if let Some(at) = layout.outside {
        let (x, y) = (at.x + at.width / 2, at.y + at.height / 2);
        let _ = writeln!(
            text,
            "<ellipse class=\"outside\" cx=\"{x}\" cy=\"{y}\" rx=\"{}\" ry=\"{}\"/>\n\
             <text class=\"title\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">outside</text>",
            at.width / 2,
            at.height / 2,
            y + 4
        );
    }
    text.push_str("</svg>\n");
    text
}

fn put_wire(text: &mut String, wire: &Wire) {
    let [[x, y], [to_x, to_y]] = [wire.from, wire.to].map(|point| point.map(i64::from));
    let reach = if wire.leaves == wire.arrives {
        60
    } else {
        ((x - to_x).abs() / 2).max(30)
    };
    let away = |x: i64, side: Side| match side {
        Side::Left => x - reach,
        Side::Right => x + reach,
    };
    let _ = writeln!(
        text,
        "<path class=\"{}\" d=\"M{x} {y} C{} {y} {} {to_y} {to_x} {to_y}\"/>",
        classes("wire", wire.change),
        away(x, wire.leaves),
        away(to_x, wire.arrives),
    );
}

fn put_box(text: &mut String, one: &PlaceBox) {
    let at = one.at;
    let kind = if one.is_host { "box host" } else { "box" };
    let _ = writeln!(
        text,
        "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
        classes(kind, one.change),
        at.x,
        at.y,
        at.width,
        at.height
    );
    let mut line = |class: &str, x: u32, y: u32, said: &str| {
        let _ = writeln!(
            text,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escaped(said)
        );
    };
    line(
        &classes("title", one.change),
        at.x + 12,
        at.y + 20,
        &one.title,
    );
    if let Some(note) = &one.note {
        line("note", at.x + 12, at.y + 20 + LINE, note);
    }
    for block in &one.blocks {
        let at = block.at;
        let _ = writeln!(
            text,
            "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\"/>",
            classes("block", block.change),
            at.x,
            at.y,
            at.width,
            at.height
        );
        let mut y = at.y + LINE;
        let mut line = |class: &str, said: &str| {
            let _ = writeln!(
                text,
                "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>",
                at.x + 8,
                escaped(said)
            );
            y += LINE;
        };
        line(&classes("name", block.change), &block.title);
        for row in &block.rows {
            let class = if row.passes { "passes" } else { "row" };
            line(&classes(class, row.change), &row.text);
        }
    }
}

fn classes(class: &str, change: Change) -> String {
    match change.class() {
        Some(of_change) => format!("{class} {of_change}"),
        None => class.to_owned(),
    }
}

/// A text between elements, or in an attribute. What XML has no place for becomes a space (XML 1.0, 2.2).
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
