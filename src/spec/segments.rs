//! Layer-2 networks: which links hear each other.

use std::collections::HashMap;

use super::model::{End, Link, Veth};
use crate::resource::Ns;
use crate::resource::name::LinkName;

/// The links of a spec by layer-2 network: the two ends of a pair are in one, and a port is in that of its
/// bridge.
pub(super) struct Segments<'s> {
    of: HashMap<(&'s Ns, &'s LinkName), usize>,
    ends: Vec<Vec<&'s End>>,
}

impl<'s> Segments<'s> {
    /// Those of pairs and of links with one end.
    pub(super) fn of(veths: &'s [Veth], links: &'s [Link]) -> Segments<'s> {
        let mut places = Places::default();
        for veth in veths {
            let [first, second] = veth.ends.each_ref().map(|end| places.of(end));
            places.join(first, second);
        }
        let all = || {
            let of_pairs = veths.iter().flat_map(|veth| &veth.ends);
            of_pairs.chain(links.iter().map(|link| &link.end))
        };
        for end in all() {
            let place = places.of(end);
            if let Some(bridge) = &end.bridge {
                let bridge = places.at(&end.ns.value, &bridge.value);
                places.join(place, bridge);
            }
        }
        let mut segments = Segments {
            of: HashMap::new(),
            ends: Vec::new(),
        };
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        for end in all() {
            let place = places.of(end);
            let root = places.root(place);
            let number = *numbers.entry(root).or_insert(segments.ends.len());
            if number == segments.ends.len() {
                segments.ends.push(Vec::new());
            }
            segments.ends[number].push(end);
            segments.of.insert((&end.ns.value, &end.name.value), number);
        }
        segments
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Vec<&'s End>] {
        &self.ends
    }

    /// The other links of the network that a link is in.
    pub(super) fn around(&self, end: &'s End) -> impl Iterator<Item = &'s End> {
        let number = self.of.get(&(&end.ns.value, &end.name.value));
        let ends = number.map_or(&[][..], |number| &self.ends[*number]);
        let same =
            move |other: &End| other.ns.value == end.ns.value && other.name.value == end.name.value;
        ends.iter().copied().filter(move |other| !same(other))
    }
}

/// Links that are joined to each other: each leads to another one that it is joined to, or to itself.
#[derive(Default)]
struct Places<'s> {
    numbers: HashMap<(&'s Ns, &'s LinkName), usize>,
    to: Vec<usize>,
}

impl<'s> Places<'s> {
    fn of(&mut self, end: &'s End) -> usize {
        self.at(&end.ns.value, &end.name.value)
    }

    fn at(&mut self, ns: &'s Ns, name: &'s LinkName) -> usize {
        let next = self.to.len();
        let place = *self.numbers.entry((ns, name)).or_insert(next);
        if place == next {
            self.to.push(next);
        }
        place
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.to[place] != place {
            self.to[place] = self.to[self.to[place]];
            place = self.to[place];
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.to[one.max(other)] = one.min(other);
    }
}
