//! Netlink attributes of `nf_tables`, read and written by hand.
//!
//! Rules of others may hold what libnftnl doesn't know, and it refuses such a rule as a whole. Here what isn't known
//! is left aside, attribute by attribute. The kernel writes numbers in network order (`nla_put_be32`).

use super::number as attr;
use super::socket::SUBSYSTEM;

/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` of `linux/netlink.h`, which aren't part of a number.
const FLAGS: u16 = 0xc000;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// The header of a message and that of nfnetlink.
const HEADERS: usize = 20;

/// `NFTA_LIST_ELEM` of `linux/netfilter/nf_tables.h`.
pub(super) const ELEMENT: u16 = 1;

/// `NFTA_DATA_VALUE`.
const VALUE: u16 = 1;

/// The register that the instructions of [`Request`] load into, and look at.
pub(super) const REGISTER: u32 = 1;

/// Attributes, one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those of a message of the kernel.
    pub(super) fn of(message: &'a [u8]) -> Attributes<'a> {
        Attributes(message.get(HEADERS..).unwrap_or_default())
    }

    /// Each with its number.
    pub(super) fn each(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [a, b, c, d, ..] = *rest else { return None };
            let length = usize::from(u16::from_ne_bytes([a, b]));
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((u16::from_ne_bytes([c, d]) & !FLAGS, value))
        })
    }

    /// One of them.
    pub(super) fn bytes(self, number: u16) -> Option<&'a [u8]> {
        let mut each = self.each();
        each.find(|(found, _)| *found == number)
            .map(|(_, value)| value)
    }

    /// The attributes in one of them.
    pub(super) fn nested(self, number: u16) -> Option<Attributes<'a>> {
        self.bytes(number).map(Attributes)
    }

    /// The attributes in each element of a list in one of them.
    pub(super) fn list(self, number: u16) -> impl Iterator<Item = Attributes<'a>> {
        let all = self.nested(number).into_iter();
        let elements = all.flat_map(Attributes::each);
        let elements = elements.filter(|(number, _)| *number == ELEMENT);
        elements.map(|(_, value)| Attributes(value))
    }

    /// A number of 32 bits.
    pub(super) fn u32(self, number: u16) -> Option<u32> {
        let bytes = self.bytes(number)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    /// A number of 64 bits.
    pub(super) fn u64(self, number: u16) -> Option<u64> {
        let bytes = self.bytes(number)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// A text.
    pub(super) fn text(self, number: u16) -> Option<String> {
        let text = self.bytes(number)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// The family of the table that a message is about (`NFPROTO_*`).
pub(super) fn family(message: &[u8]) -> Option<u8> {
    message.get(16).copied()
}

/// A message to the kernel, which attributes are added to.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// One of a kind (`NFT_MSG_*`), with flags (`NLM_F_*`), about tables of a family.
    pub(super) fn new(kind: libc::c_int, flags: libc::c_int, family: u8) -> Request {
        let half =
            |number: libc::c_int| u16::try_from(number).expect("flags and kinds have 16 bits");
        let mut bytes = vec![0; 4];
        bytes.extend((SUBSYSTEM << 8 | half(kind)).to_ne_bytes());
        bytes.extend(half(flags | libc::NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        // nfnetlink's version is 0, and no resource is meant.
        bytes.extend([family, 0, 0, 0]);
        Request { bytes }
    }

    /// With a text.
    #[must_use]
    pub(super) fn text(mut self, number: u16, text: &str) -> Request {
        self.put_text(number, text);
        self
    }

    /// With bytes.
    #[must_use]
    pub(super) fn bytes(mut self, number: u16, value: &[u8]) -> Request {
        self.put(number, value);
        self
    }

    /// With an attribute that has others in it.
    #[must_use]
    pub(super) fn nest(mut self, number: u16, build: impl FnOnce(&mut Request)) -> Request {
        self.put_nested(number, build);
        self
    }

    /// Adds a text.
    pub(super) fn put_text(&mut self, number: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.put(number, &value);
    }

    /// Adds a number of 32 bits.
    pub(super) fn put_u32(&mut self, number: u16, value: u32) {
        self.put(number, &value.to_be_bytes());
    }

    /// Adds the bytes of a value (`NFTA_DATA_VALUE`).
    pub(super) fn put_value(&mut self, number: u16, value: &[u8]) {
        self.put_nested(number, |data| data.put(VALUE, value));
    }

    /// Adds an element to a list.
    pub(super) fn element(&mut self, build: impl FnOnce(&mut Request)) {
        self.put_nested(ELEMENT, build);
    }

    /// Adds an instruction to the list of a rule's.
    pub(super) fn expression(&mut self, name: &str, build: impl FnOnce(&mut Request)) {
        self.element(|element| {
            element.put_text(attr::EXPR_NAME, name);
            element.put_nested(attr::EXPR_DATA, build);
        });
    }

    /// Adds what loads something that is known of a packet (`enum nft_meta_keys`).
    pub(super) fn load_meta(&mut self, key: u32) {
        self.expression("meta", |data| {
            data.put_u32(attr::META_KEY, key);
            data.put_u32(attr::META_DREG, REGISTER);
        });
    }

    /// Adds what loads some bytes of a header (`enum nft_payload_bases`).
    pub(super) fn load_header(&mut self, base: u32, offset: usize, length: usize) {
        self.expression("payload", |data| {
            data.put_u32(attr::PAYLOAD_DREG, REGISTER);
            data.put_u32(attr::PAYLOAD_BASE, base);
            data.put_u32(attr::PAYLOAD_OFFSET, small(offset));
            data.put_u32(attr::PAYLOAD_LEN, small(length));
        });
    }

    /// Adds what keeps some bits of what was loaded, and flips others.
    pub(super) fn bitwise(&mut self, mask: &[u8], xor: &[u8]) {
        self.expression("bitwise", |data| {
            data.put_u32(attr::BITWISE_SREG, REGISTER);
            data.put_u32(attr::BITWISE_DREG, REGISTER);
            data.put_u32(attr::BITWISE_LEN, small(mask.len()));
            data.put_value(attr::BITWISE_MASK, mask);
            data.put_value(attr::BITWISE_XOR, xor);
        });
    }

    /// Adds what goes on only if what was loaded compares (`enum nft_cmp_ops`).
    pub(super) fn compare(&mut self, operator: u32, value: &[u8]) {
        self.expression("cmp", |data| {
            data.put_u32(attr::CMP_SREG, REGISTER);
            data.put_u32(attr::CMP_OP, operator);
            data.put_value(attr::CMP_DATA, value);
        });
    }

    /// Adds an attribute that has others in it.
    pub(super) fn put_nested(&mut self, number: u16, build: impl FnOnce(&mut Request)) {
        let start = self.bytes.len();
        self.put(number | NESTED, &[]);
        build(self);
        let length = u16::try_from(self.bytes.len() - start);
        let length = length.expect("an attribute holds less than 64 KB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds bytes.
    fn put(&mut self, number: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("an attribute holds less than 64 KB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(number.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a message is small");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("addresses and headers are short")
}
