//! Sets of others.

use super::super::attribute::{Attributes, Request};
use super::super::error::{Error, Object};
use super::super::number as attr;
use super::super::socket::Channel;
use super::rule::{size, value, verdict};
use crate::resource::firewall::{Element, Set};
use crate::resource::nftables::Verdict;

/// The most elements that are read of one set.
const ELEMENTS: usize = 20_000;

/// Reads a set of a table, whose family is given by the kernel's number. None: the answer isn't of one piece.
pub(in crate::kernel::nftables) fn set(
    channel: &mut Channel,
    family: u8,
    table: &str,
    name: &str,
) -> Result<Option<Set>, Error> {
    let request = Request::new(libc::NFT_MSG_GETSET, libc::NLM_F_ACK, family)
        .text(attr::SET_TABLE, table)
        .text(attr::SET_NAME, name)
        .finish();
    let about = Object::Set(table.to_owned(), name.to_owned());
    let mut found = None;
    channel.dump(request, &about, |message| {
        let set = Attributes::of(message);
        found = found.take().or_else(|| shape(set));
        Some(())
    })?;
    let Some(shape) = found else {
        return Ok(Some(Set::default()));
    };
    let request = Request::new(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP, family)
        .text(attr::ELEMENTS_TABLE, table)
        .text(attr::ELEMENTS_SET, name)
        .finish();
    let mut gathered = Gathered::default();
    let whole = channel.dump(request, &about, |message| {
        gathered.take(message);
        Some(())
    })?;
    Ok(whole.then(|| gathered.into_set(shape)))
}

/// The elements of a set, message by message.
pub(in crate::kernel::nftables) struct Gathered {
    /// None: there are too many, or some that aren't understood.
    elements: Option<Vec<Raw>>,
    otherwise: Option<Verdict>,
}

impl Default for Gathered {
    fn default() -> Gathered {
        Gathered {
            elements: Some(Vec::new()),
            otherwise: None,
        }
    }
}

impl Gathered {
    /// Takes in the elements of a message.
    pub(in crate::kernel::nftables) fn take(&mut self, message: &[u8]) {
        for element in Attributes::of(message).list(attr::ELEMENTS_LIST) {
            if self
                .elements
                .as_ref()
                .is_some_and(|all| all.len() >= ELEMENTS)
            {
                self.elements = None;
            }
            let flags = element.u32(attr::ELEMENT_FLAGS).unwrap_or(0);
            if flags & attr::CATCHALL != 0 {
                let data = element.nested(attr::ELEMENT_DATA);
                let data = data.and_then(|data| data.nested(attr::DATA_VERDICT));
                self.otherwise = data.and_then(verdict);
                if self.otherwise.is_none() {
                    // Of a set, all is in it; but sets with it are rare.
                    self.elements = None;
                }
                continue;
            }
            let Some(all) = &mut self.elements else {
                continue;
            };
            match self::element(element) {
                Some(element) => all.push(element),
                None => self.elements = None,
            }
        }
    }

    /// The set that has them.
    pub(in crate::kernel::nftables) fn into_set(self, shape: Shape) -> Set {
        let Shape { fields, interval } = shape;
        let elements = self.elements;
        let elements = elements.map(|all| if interval { ranges(all) } else { all });
        let elements = elements.map(|all| all.into_iter().map(|raw| raw.element).collect());
        Set {
            fields,
            elements,
            otherwise: self.otherwise,
        }
    }
}

/// What a set is like.
pub(in crate::kernel::nftables) struct Shape {
    fields: Vec<usize>,
    /// Whether its elements are the ends of ranges, one after the other.
    interval: bool,
}

/// None: it is one whose elements come and go, or that maps to something that isn't a verdict.
pub(in crate::kernel::nftables) fn shape(set: Attributes<'_>) -> Option<Shape> {
    let flags = set.u32(attr::SET_FLAGS).unwrap_or(0);
    let known = attr::SET_ANONYMOUS | attr::SET_CONSTANT | attr::SET_INTERVAL | attr::SET_MAP;
    let known = known | attr::SET_CONCAT;
    let data = set.u32(attr::SET_DATA_TYPE);
    if flags & !known != 0 || data.is_some_and(|data| data != attr::VERDICTS) {
        return None;
    }
    let length = size(set.u32(attr::SET_KEY_LEN)?)?;
    let described = set.nested(attr::SET_DESC).into_iter();
    let described = described.flat_map(|desc| desc.list(attr::DESC_CONCAT));
    let fields = described.map(|field| size(field.u32(attr::FIELD_LEN)?));
    let fields: Vec<usize> = fields.collect::<Option<_>>()?;
    let concatenated = fields.len() > 1;
    Some(Shape {
        fields: if concatenated { fields } else { vec![length] },
        interval: flags & attr::SET_INTERVAL != 0 && !concatenated,
    })
}

/// An element as the kernel has it: of a set of ranges, one of the ends.
struct Raw {
    element: Element,
    is_end: bool,
}

/// None: there is more to it than a key and a verdict.
fn element(element: Attributes<'_>) -> Option<Raw> {
    let flags = element.u32(attr::ELEMENT_FLAGS).unwrap_or(0);
    let simple = [
        attr::ELEMENT_TIMEOUT,
        attr::ELEMENT_EXPR,
        attr::ELEMENT_OBJREF,
        attr::ELEMENT_EXPRESSIONS,
    ];
    if simple.iter().any(|number| element.bytes(*number).is_some()) {
        return None;
    }
    let from = value(element, attr::ELEMENT_KEY)?;
    let to = value(element, attr::ELEMENT_KEY_END).unwrap_or_else(|| from.clone());
    let data = element.nested(attr::ELEMENT_DATA);
    let found = data.and_then(|data| data.nested(attr::DATA_VERDICT));
    let verdict = match found {
        Some(found) => Some(verdict(found)?),
        None => None,
    };
    Some(Raw {
        element: Element { from, to, verdict },
        is_end: flags & attr::INTERVAL_END != 0,
    })
}

/// Ranges from their ends, of which each begins one or comes right behind one (`net/netfilter/nft_set_rbtree.c`).
fn ranges(mut ends: Vec<Raw>) -> Vec<Raw> {
    ends.sort_by(|a, b| (&a.element.from, !a.is_end).cmp(&(&b.element.from, !b.is_end)));
    let nexts: Vec<Option<Vec<u8>>> = (1..=ends.len())
        .map(|next| ends.get(next).map(|raw| raw.element.from.clone()))
        .collect();
    let mut ranges = Vec::new();
    for (mut raw, next) in ends.into_iter().zip(nexts) {
        if raw.is_end {
            continue;
        }
        raw.element.to = match next {
            Some(next) => before(next),
            None => vec![0xff; raw.element.from.len()],
        };
        ranges.push(raw);
    }
    ranges
}

/// The number before one, the first byte being the largest.
fn before(mut number: Vec<u8>) -> Vec<u8> {
    for byte in number.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    number
}
