//! Where the parts of a picture lie: namespaces in columns, the farther from outside the farther to the left.

use std::collections::{BTreeMap, VecDeque};

use super::picture::{Change, End, LineKind, Picture};
use crate::resource::Ns;

/// Lengths, in pixels. Of a letter: the widest that monospaced fonts have at 12 and at 13 pixels.
pub(super) const LINE: u32 = 17;
const LETTER: u32 = 8;
const TITLE: u32 = 30;
const PADDING: u32 = 12;
const GAP: u32 = 10;
const BETWEEN_BOXES: u32 = 26;
const BETWEEN_COLUMNS: u32 = 130;
const MARGIN: u32 = 16;
const SMALLEST: u32 = 120;
const OUTSIDE: [u32; 2] = [110, 56];

/// What lies where.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) boxes: Vec<PlaceBox>,
    pub(super) outside: Option<Rectangle>,
    pub(super) wires: Vec<Wire>,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct PlaceBox {
    pub(super) at: Rectangle,
    pub(super) is_host: bool,
    pub(super) title: String,
    pub(super) note: Option<String>,
    pub(super) change: Change,
    pub(super) blocks: Vec<Block>,
}

/// A link.
#[derive(Debug)]
pub(super) struct Block {
    end: End,
    pub(super) at: Rectangle,
    pub(super) title: String,
    pub(super) change: Change,
    pub(super) rows: Vec<Row>,
}

/// A line of text.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) text: String,
    pub(super) change: Change,
    /// Whether it says what passes, and not what is there.
    pub(super) passes: bool,
}

/// A curve from one point to another.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) from: [u32; 2],
    pub(super) to: [u32; 2],
    /// Where the curve leaves and arrives: to the left or to the right.
    pub(super) leaves: Side,
    pub(super) arrives: Side,
    pub(super) change: Change,
}

/// A side of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lays out a picture.
pub(super) fn layout(picture: &Picture) -> Layout {
    let distances = distances(picture);
    let farthest = distances.values().copied().max().unwrap_or(0);
    let leads_out = picture.lines.keys().any(|(_, to, _)| *to == End::Outside);
    let mut columns: Vec<Vec<PlaceBox>> = (0..=farthest).map(|_| Vec::new()).collect();
    for ns in picture.places.keys() {
        columns[distances[ns]].push(sized(picture, ns));
    }
    let mut layout = Layout::default();
    let widths = columns.iter().map(|column| {
        let widths = column.iter().map(|one| one.at.width);
        widths.max().unwrap_or(0)
    });
    let widths: Vec<u32> = widths.collect();
    // The first column, of distance 0, is the rightmost.
    let mut x = MARGIN;
    let mut lefts = vec![0; columns.len()];
    for (place, width) in widths.iter().enumerate().rev() {
        lefts[place] = x;
        x += width + BETWEEN_COLUMNS;
    }
    let mut middles: BTreeMap<End, u32> = BTreeMap::new();
    let mut done: Vec<Vec<PlaceBox>> = Vec::new();
    for (place, mut column) in columns.into_iter().enumerate() {
        // Beside what they lead to, so that wires don't cross.
        column.sort_by_key(|one| beside(one, picture, &middles));
        let mut y = MARGIN;
        for one in &mut column {
            let align = widths[place] - one.at.width;
            one.move_to(lefts[place] + align / 2, y);
            y += one.at.height + BETWEEN_BOXES;
        }
        for block in column.iter().flat_map(|one| &one.blocks) {
            middles.insert(block.end.clone(), block.middle());
        }
        layout.height = layout.height.max(y - BETWEEN_BOXES + MARGIN);
        done.push(column);
    }
    layout.height = layout.height.max(OUTSIDE[1] + 2 * MARGIN);
    for column in &mut done {
        let bottom = column.last().map_or(0, |one| one.at.y + one.at.height);
        let lower = layout.height.saturating_sub(bottom + MARGIN) / 2;
        for one in column {
            one.move_to(one.at.x, one.at.y + lower);
        }
    }
    layout.boxes = done.into_iter().flatten().collect();
    if leads_out {
        // Beside the uplinks, as far as there is room.
        let uplinks = picture
            .lines
            .keys()
            .filter(|(_, to, _)| *to == End::Outside);
        let uplinks: Vec<&End> = uplinks.map(|(from, ..)| from).collect();
        let blocks = layout.boxes.iter().flat_map(|one| &one.blocks);
        let beside = blocks.filter(|block| uplinks.contains(&&block.end));
        let middle = mean(&beside.map(Block::middle).collect::<Vec<_>>());
        let middle = middle.unwrap_or(layout.height / 2);
        let lowest = layout.height - MARGIN - OUTSIDE[1];
        layout.outside = Some(Rectangle {
            x,
            y: middle.saturating_sub(OUTSIDE[1] / 2).clamp(MARGIN, lowest),
            width: OUTSIDE[0],
            height: OUTSIDE[1],
        });
        x += OUTSIDE[0] + MARGIN;
    } else {
        x = x.saturating_sub(BETWEEN_COLUMNS) + MARGIN;
    }
    layout.width = x;
    layout.wires = wires(picture, &layout);
    layout
}

/// How far each namespace is from outside; where nothing leads there, from the host, or from the first one.
fn distances(picture: &Picture) -> BTreeMap<Ns, usize> {
    let mut neighbours: BTreeMap<&Ns, Vec<&Ns>> = BTreeMap::new();
    let mut near: Vec<&Ns> = Vec::new();
    for (from, to, kind) in picture.lines.keys() {
        match (from, to) {
            (End::Link(from, _), End::Link(to, _)) if *kind == LineKind::Pair => {
                neighbours.entry(from).or_default().push(to);
                neighbours.entry(to).or_default().push(from);
            }
            (End::Link(from, _), End::Outside) => near.push(from),
            _ => {}
        }
    }
    let host = picture.places.keys().filter(|ns| **ns == Ns::Host);
    let mut distances: BTreeMap<Ns, usize> = BTreeMap::new();
    let begin = near.into_iter().chain(host).chain(picture.places.keys());
    for start in begin {
        if distances.contains_key(start) {
            continue;
        }
        distances.insert(start.clone(), 0);
        let mut waiting = VecDeque::from([start]);
        while let Some(ns) = waiting.pop_front() {
            let next = distances[ns] + 1;
            for other in neighbours.get(ns).into_iter().flatten() {
                if distances.get(*other).is_none_or(|known| *known > next) {
                    distances.insert((*other).clone(), next);
                    waiting.push_back(other);
                }
            }
        }
    }
    distances
}

/// A namespace with all of its lengths, not yet in its place.
fn sized(picture: &Picture, ns: &Ns) -> PlaceBox {
    let place = &picture.places[ns];
    let mut blocks: Vec<Block> = Vec::new();
    let mut y = TITLE;
    if place.note.is_some() {
        y += LINE;
    }
    let width = |text: &str| u32::try_from(text.chars().count()).unwrap_or(0) * LETTER;
    let title = format!("{}{ns}", place.change.sign());
    let titles = [Some(&title), place.note.as_ref()];
    let titles = titles.into_iter().flatten();
    let mut widest = titles.map(|text| width(text)).max().unwrap_or(0);
    for (name, link) in &place.links {
        let end = End::Link(ns.clone(), name.clone());
        let mut rows: Vec<Row> = link
            .rows()
            .into_iter()
            .map(|(change, text)| Row {
                text,
                change,
                passes: false,
            })
            .collect();
        rows.extend(passing(picture, &end));
        let title = link.title(name);
        let texts = rows.iter().map(|row| row.text.as_str());
        let texts = texts.chain([title.as_str()]).map(width);
        widest = widest.max(texts.max().unwrap_or(0) + PADDING);
        let lines = u32::try_from(rows.len() + 1).unwrap_or(1);
        let height = lines * LINE + PADDING;
        blocks.push(Block {
            end,
            at: Rectangle {
                x: PADDING,
                y,
                width: 0,
                height,
            },
            title,
            change: link.change,
            rows,
        });
        y += height + GAP;
    }
    let width = (widest + 2 * PADDING).max(SMALLEST);
    for block in &mut blocks {
        block.at.width = width - 2 * PADDING;
    }
    PlaceBox {
        at: Rectangle {
            x: 0,
            y: 0,
            width,
            height: y + PADDING - if blocks.is_empty() { 0 } else { GAP },
        },
        is_host: *ns == Ns::Host,
        title,
        note: place.note.clone(),
        change: place.change,
        blocks,
    }
}

/// What is said at a link of what passes: wires within a box would only cross.
fn passing(picture: &Picture, end: &End) -> Vec<Row> {
    let mut rows = Vec::new();
    let name = |end: &End| match end {
        End::Link(_, name) => name.to_string(),
        End::Outside => "outside".to_owned(),
    };
    let full = |end: &End| match end {
        End::Link(ns, name) => format!("{ns}:{name}"),
        End::Outside => "outside".to_owned(),
    };
    for ((from, to, kind), line) in &picture.lines {
        let labels: Vec<&str> = line.labels.iter().map(String::as_str).collect();
        let labels = labels.join(", ");
        let text = match kind {
            LineKind::Port if from == end => format!("port of {}", name(to)),
            LineKind::Egress if from == end => format!("out by {}: {labels}", name(to)),
            LineKind::Allow if from == end => format!("opens to {}: {labels}", name(to)),
            LineKind::Publish if from == end => format!("{labels} leads to {}", full(to)),
            LineKind::Publish if to == end && *from == End::Outside => {
                format!("published: {labels}")
            }
            _ => continue,
        };
        rows.push(Row {
            text,
            change: line.change,
            passes: true,
        });
    }
    rows
}

/// Where a box is best: the mean of where its wires lead, then by name.
fn beside(one: &PlaceBox, picture: &Picture, middles: &BTreeMap<End, u32>) -> (u32, String) {
    let ends: Vec<&End> = one.blocks.iter().map(|block| &block.end).collect();
    let others = picture.lines.keys().filter_map(|(from, to, kind)| {
        let other = match (ends.contains(&from), ends.contains(&to)) {
            (true, false) => to,
            (false, true) => from,
            _ => return None,
        };
        (*kind == LineKind::Pair).then(|| middles.get(other).copied())?
    });
    let mean = mean(&others.collect::<Vec<_>>());
    (mean.unwrap_or(0), one.title.clone())
}

fn mean(all: &[u32]) -> Option<u32> {
    let sum: u64 = all.iter().copied().map(u64::from).sum();
    let mean = sum.checked_div(all.len() as u64)?;
    u32::try_from(mean).ok()
}

fn wires(picture: &Picture, layout: &Layout) -> Vec<Wire> {
    let mut places: BTreeMap<&End, Rectangle> = BTreeMap::new();
    for block in layout.boxes.iter().flat_map(|one| &one.blocks) {
        places.insert(&block.end, block.at);
    }
    let outside = End::Outside;
    places.extend(layout.outside.map(|at| (&outside, at)));
    let mut wires = Vec::new();
    for ((from, to, kind), line) in &picture.lines {
        if !matches!(kind, LineKind::Pair | LineKind::Uplink) {
            continue;
        }
        let (Some(a), Some(b)) = (places.get(from), places.get(to)) else {
            continue;
        };
        let (leaves, arrives) = if a.x + a.width <= b.x {
            (Side::Right, Side::Left)
        } else if b.x + b.width <= a.x {
            (Side::Left, Side::Right)
        } else {
            (Side::Right, Side::Right)
        };
        wires.push(Wire {
            from: a.side(leaves),
            to: b.side(arrives),
            leaves,
            arrives,
            change: line.change,
        });
    }
    wires
}

impl Rectangle {
    /// The middle of a side.
    fn side(&self, side: Side) -> [u32; 2] {
        let x = match side {
            Side::Left => self.x,
            Side::Right => self.x + self.width,
        };
        [x, self.y + self.height / 2]
    }
}

impl Block {
    fn middle(&self) -> u32 {
        self.at.y + self.at.height / 2
    }
}

impl PlaceBox {
    /// Moves it, and all in it.
    fn move_to(&mut self, x: u32, y: u32) {
        for block in &mut self.blocks {
            block.at.x = block.at.x + x - self.at.x;
            block.at.y = block.at.y + y - self.at.y;
        }
        (self.at.x, self.at.y) = (x, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::graph::picture::{Line, Link, Place};
    use crate::resource::name::LinkName;

    /// A random picture.
    fn random(rng: &mut fastrand::Rng) -> Picture {
        let mut picture = Picture::default();
        let mut ends = Vec::new();
        for number in 0..rng.usize(1..9) {
            let ns = if number == 0 {
                Ns::Host
            } else {
                Ns::Named(format!("n{number}").parse().expect("a name"))
            };
            let mut place = Place {
                note: rng
                    .bool()
                    .then(|| "and 7 more alike".repeat(rng.usize(1..3))),
                ..Place::default()
            };
            for link in 0..rng.usize(..5) {
                let name: LinkName = format!("l{link}").parse().expect("a name");
                let addresses = (0..rng.u8(..4)).map(|last| {
                    let text = format!("2001:db8:{number}::{last}/64");
                    text.parse().expect("an address")
                });
                let drawn = Link {
                    addresses: addresses.collect(),
                    ..Link::default()
                };
                place.links.insert(name.clone(), drawn);
                ends.push(End::Link(ns.clone(), name));
            }
            picture.places.insert(ns, place);
        }
        for _ in 0..rng.usize(..12) {
            if let (Some(from), Some(to)) = (rng.choice(&ends), rng.choice(&ends)) {
                let kind = *rng
                    .choice(&[LineKind::Pair, LineKind::Egress, LineKind::Uplink])
                    .expect("one");
                let to = if kind == LineKind::Uplink {
                    &End::Outside
                } else {
                    to
                };
                let labels = ["IPv4, masquerade".to_owned()].into();
                let line = Line {
                    labels,
                    ..Line::default()
                };
                picture.lines.insert((from.clone(), to.clone(), kind), line);
            }
        }
        picture
    }

    #[test]
    fn nothing_lies_on_anything_else() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let picture = random(&mut rng);
            let layout = layout(&picture);
            let within = |inner: &Rectangle, outer: &Rectangle| {
                inner.x >= outer.x
                    && inner.y >= outer.y
                    && inner.x + inner.width <= outer.x + outer.width
                    && inner.y + inner.height <= outer.y + outer.height
            };
            let apart = |one: &Rectangle, other: &Rectangle| {
                one.x + one.width <= other.x
                    || other.x + other.width <= one.x
                    || one.y + one.height <= other.y
                    || other.y + other.height <= one.y
            };
            let all_apart = |all: &[Rectangle]| {
                let mut pairs = all
                    .iter()
                    .enumerate()
                    .flat_map(|(place, one)| all[..place].iter().map(move |other| (one, other)));
                pairs.all(|(one, other)| apart(one, other))
            };
            let whole = Rectangle {
                x: 0,
                y: 0,
                width: layout.width,
                height: layout.height,
            };
            let mut places: Vec<Rectangle> = layout.boxes.iter().map(|one| one.at).collect();
            places.extend(layout.outside);
            assert_eq!(layout.boxes.len(), picture.places.len());
            assert!(places.iter().all(|at| within(at, &whole)), "{picture:?}");
            assert!(all_apart(&places), "{picture:?}");
            for one in &layout.boxes {
                let blocks: Vec<Rectangle> = one.blocks.iter().map(|block| block.at).collect();
                assert!(blocks.iter().all(|at| within(at, &one.at)), "{picture:?}");
                assert!(all_apart(&blocks), "{picture:?}");
                for block in &one.blocks {
                    // The text has room.
                    let lines = u32::try_from(block.rows.len() + 1).expect("few");
                    assert!(block.at.height >= lines * LINE);
                    for row in &block.rows {
                        let letters = u32::try_from(row.text.chars().count()).expect("few");
                        assert!(block.at.width > letters * LETTER, "{row:?}");
                    }
                }
            }
            let joins = picture.lines.keys();
            let joins = joins.filter(|(.., kind)| *kind != LineKind::Egress);
            assert_eq!(layout.wires.len(), joins.count());
        }
    }
}
