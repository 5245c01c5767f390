//! Many namespaces that are alike, of which the first few stand for all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::picture::{End, Picture};
use crate::render::fold;
use crate::resource::Ns;
use crate::resource::name::LinkName;

/// Leaves out most of those that are alike, and says how many they are.
pub fn fold(picture: &mut Picture) {
    let named: Vec<Ns> = picture
        .places
        .keys()
        .filter(|ns| **ns != Ns::Host)
        .cloned()
        .collect();
    let shapes: Vec<String> = named.iter().map(|ns| shape(picture, ns)).collect();
    let folded = fold::fold(shapes.iter().map(String::as_str));
    let mut gone: BTreeSet<Ns> = BTreeSet::new();
    for (ns, folded) in named.iter().zip(folded) {
        match folded {
            None => drop(gone.insert(ns.clone())),
            Some(others) if !others.is_empty() => {
                if let Some(place) = picture.places.get_mut(ns) {
                    place.note = Some(format!("and {} more alike", others.len()));
                }
            }
            Some(_) => {}
        }
    }
    if gone.is_empty() {
        return;
    }
    picture.places.retain(|ns, _| !gone.contains(ns));
    let is_gone = |end: &End| matches!(end, End::Link(ns, _) if gone.contains(ns));
    // Links of others that only lead to what is left out go with it.
    let mut cut: BTreeSet<(Ns, LinkName)> = BTreeSet::new();
    for (from, to, _) in picture.lines.keys() {
        for (end, other) in [(from, to), (to, from)] {
            if let End::Link(ns, name) = end
                && is_gone(other)
                && !is_gone(end)
            {
                cut.insert((ns.clone(), name.clone()));
            }
        }
    }
    picture
        .lines
        .retain(|(from, to, _), _| !is_gone(from) && !is_gone(to));
    let still: BTreeSet<(Ns, LinkName)> = picture
        .lines
        .iter()
        .filter(|((.., kind), _)| kind.joins())
        .flat_map(|((from, to, _), _)| [from, to])
        .filter_map(|end| match end {
            End::Link(ns, name) => Some((ns.clone(), name.clone())),
            End::Outside => None,
        })
        .collect();
    cut.retain(|end| !still.contains(end));
    let mut counts: BTreeMap<&Ns, usize> = BTreeMap::new();
    for (ns, name) in &cut {
        if let Some(place) = picture.places.get_mut(ns) {
            place.links.remove(name);
            *counts.entry(ns).or_default() += 1;
        }
    }
    for (ns, count) in counts {
        if let Some(place) = picture.places.get_mut(ns) {
            place.note = Some(format!("and {count} more links"));
        }
    }
    picture.lines.retain(|(from, to, _), _| {
        let is_cut = |end: &End| {
            matches!(end, End::Link(ns, name) if cut.contains(&(ns.clone(), name.clone())))
        };
        !is_cut(from) && !is_cut(to)
    });
}

/// What a namespace looks like, without what may differ between those that are alike.
fn shape(picture: &Picture, ns: &Ns) -> String {
    let mut text = String::new();
    let Some(place) = picture.places.get(ns) else {
        return text;
    };
    let _ = writeln!(text, "{:?}", place.change);
    for (name, link) in &place.links {
        let _ = writeln!(text, "{:?} {}", link.change, link.text(name));
    }
    for ((from, to, kind), line) in &picture.lines {
        let is_here = |end: &End| matches!(end, End::Link(of, _) if of == ns);
        if is_here(from) || is_here(to) {
            let said = |end: &End| match end {
                End::Link(of, name) => format!("{of} {name}"),
                End::Outside => "outside".to_owned(),
            };
            let _ = write!(
                text,
                "{} {kind:?} {} {:?}",
                said(from),
                said(to),
                line.change
            );
            let _ = writeln!(text, "{:?}", line.labels);
        }
    }
    fold::shape(&text, ns)
}
