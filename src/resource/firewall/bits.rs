//! Bytes of which some bits are known.

use super::{Op, Register};

/// Whether something is so for all packets of a class, for none, or for some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// For all.
    Yes,
    /// For none.
    No,
    /// For some, or nobody knows.
    Maybe,
}

impl Truth {
    /// Of what is known for certain.
    pub fn of(known: bool) -> Truth {
        if known { Truth::Yes } else { Truth::No }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::No, _) | (_, Truth::No) => Truth::No,
            (Truth::Yes, Truth::Yes) => Truth::Yes,
            _ => Truth::Maybe,
        }
    }

    /// The opposite, if `negated`.
    #[must_use]
    pub fn negated(self, negated: bool) -> Truth {
        match self {
            Truth::Yes if negated => Truth::No,
            Truth::No if negated => Truth::Yes,
            same => same,
        }
    }
}

/// Bytes of which some bits are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    /// Which bits are known.
    known: Vec<u8>,
    /// What they are; the others are zero here.
    value: Vec<u8>,
}

impl Bits {
    /// Some bytes, all of them known.
    pub fn known(value: &[u8]) -> Bits {
        Bits {
            known: vec![0xff; value.len()],
            value: value.to_vec(),
        }
    }

    /// So many bytes, none of them known.
    pub fn unknown(len: usize) -> Bits {
        Bits {
            known: vec![0; len],
            value: vec![0; len],
        }
    }

    /// Bytes of which the bits of `known` are those of `value`.
    pub fn partly(value: &[u8], known: &[u8]) -> Bits {
        let value = value.iter().zip(known).map(|(value, known)| value & known);
        Bits {
            value: value.collect(),
            known: known.to_vec(),
        }
    }

    /// What these and those have in common.
    #[must_use]
    pub fn or(&self, other: &Bits) -> Bits {
        let both = self.known.iter().zip(&other.known);
        let same = self.value.iter().zip(&other.value);
        let known: Vec<u8> = both
            .zip(same)
            .map(|((a, b), (x, y))| a & b & !(x ^ y))
            .collect();
        Bits::partly(&self.value, &known)
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Some of the bytes; those behind the end aren't known.
    #[must_use]
    pub fn slice(&self, at: Register, len: usize) -> Bits {
        let take = |bytes: &[u8]| {
            let rest = bytes.iter().skip(at).copied();
            rest.chain(std::iter::repeat(0)).take(len).collect()
        };
        Bits {
            known: take(&self.known),
            value: take(&self.value),
        }
    }

    /// Writes some bytes over those at a place, as far as there is room.
    pub fn put(&mut self, at: Register, bits: &Bits) {
        for (offset, (known, value)) in bits.known.iter().zip(&bits.value).enumerate() {
            if let (Some(to), Some(of)) = (
                self.known.get_mut(at + offset),
                self.value.get_mut(at + offset),
            ) {
                (*to, *of) = (*known, *value);
            }
        }
    }

    /// Keeps the bits of `mask`, and flips those of `xor`.
    #[must_use]
    pub fn masked(&self, mask: &[u8], xor: &[u8]) -> Bits {
        let known = self
            .known
            .iter()
            .zip(mask)
            .map(|(known, mask)| known | !mask);
        let known: Vec<u8> = known.collect();
        let value = self.value.iter().zip(mask).zip(xor);
        let value: Vec<u8> = value
            .map(|((value, mask), xor)| value & mask ^ xor)
            .collect();
        Bits::partly(&value, &known)
    }

    /// The bytes of each number of `size` bytes the other way round.
    #[must_use]
    pub fn swapped(&self, size: usize) -> Bits {
        let turn = |bytes: &[u8]| {
            let numbers = bytes.chunks(size.max(1));
            numbers
                .flat_map(|number| number.iter().rev().copied())
                .collect()
        };
        Bits {
            known: turn(&self.known),
            value: turn(&self.value),
        }
    }

    /// The smallest that they may be.
    fn least(&self) -> &[u8] {
        &self.value
    }

    /// The largest that they may be.
    fn most(&self) -> Vec<u8> {
        let bits = self.value.iter().zip(&self.known);
        bits.map(|(value, known)| value | !known).collect()
    }

    /// Whether they are the same as some bytes.
    pub fn equal(&self, data: &[u8]) -> Truth {
        let differs = self.value.iter().zip(&self.known).zip(data);
        let differs = differs
            .into_iter()
            .any(|((value, known), data)| (value ^ data) & known != 0);
        if differs {
            Truth::No
        } else if self.known.iter().all(|known| *known == 0xff) && self.len() == data.len() {
            Truth::Yes
        } else {
            Truth::Maybe
        }
    }

    /// Whether they are in an order with some bytes.
    pub fn compare(&self, op: Op, data: &[u8]) -> Truth {
        let ordered = |all: bool, some: bool| match (all, some) {
            (true, _) => Truth::Yes,
            (false, false) => Truth::No,
            (false, true) => Truth::Maybe,
        };
        let (least, most) = (self.least(), self.most());
        match op {
            Op::Equal => self.equal(data),
            Op::NotEqual => self.equal(data).negated(true),
            Op::Less => ordered(most.as_slice() < data, least < data),
            Op::LessOrEqual => ordered(most.as_slice() <= data, least <= data),
            Op::Greater => ordered(least > data, most.as_slice() > data),
            Op::GreaterOrEqual => ordered(least >= data, most.as_slice() >= data),
        }
    }

    /// Whether they are in a range, its ends included.
    pub fn within(&self, from: &[u8], to: &[u8]) -> Truth {
        if from == to {
            return self.equal(from);
        }
        self.compare(Op::GreaterOrEqual, from)
            .and(self.compare(Op::LessOrEqual, to))
    }
}
