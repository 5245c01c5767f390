//! A topology as a picture: namespaces as boxes with their links and addresses, what connects these, and the way out.
//!
//! A [`Picture`] is what there is to draw, as data; each format draws it.

mod dot;
mod fold;
mod layout;
mod mermaid;
mod page;
mod picture;
mod svg;

pub use self::dot::dot;
pub use self::fold::fold;
pub use self::mermaid::mermaid;
pub use self::page::page;
pub use self::picture::{Change, End, Line, LineKind, Link, Picture, Place};
pub use self::svg::svg;

use std::collections::BTreeMap;

/// What outside is called in a format.
const OUTSIDE: &str = "outside";

/// What each end is called in a format: names of links may have any characters.
fn numbered(picture: &Picture) -> BTreeMap<End, String> {
    let mut ids = BTreeMap::new();
    for (number, (ns, place)) in picture.places.iter().enumerate() {
        for (nth, name) in place.links.keys().enumerate() {
            let end = End::Link(ns.clone(), name.clone());
            ids.insert(end, format!("n{number}_{nth}"));
        }
    }
    let mut ends = picture.lines.keys().flat_map(|(from, to, _)| [from, to]);
    if ends.any(|end| *end == End::Outside) {
        ids.insert(End::Outside, OUTSIDE.to_owned());
    }
    ids
}
