//! Queries and answers of the domain name system (RFC 1035, section 4). Who answers is not trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of records that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Aaaa => 28,
        }
    }
}

/// That a name is another's.
const CNAME: u16 = 5;

/// The internet.
const CLASS: u16 = 1;

/// The most bytes of a name, and its most words (RFC 1035, section 2.3.4).
const LONGEST: usize = 255;

/// The most names that are followed from one to the next.
const LONGEST_CHAIN: usize = 16;

/// A name as messages hold it, without compression and in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// A name of words with dots between them. None: it is too long, or has an empty word.
    pub(super) fn of(text: &str) -> Option<Name> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for word in text.strip_suffix('.').unwrap_or(text).split('.') {
            let length = u8::try_from(word.len())
                .ok()
                .filter(|l| (1..=63).contains(l))?;
            bytes.push(length);
            bytes.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= LONGEST).then_some(Name(bytes))
    }
}

/// A query.
pub(super) fn query(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    /// Recursion is desired.
    const FLAGS: u16 = 0x0100;
    let mut bytes = Vec::new();
    for field in [id, FLAGS, 1, 0, 0, 0] {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(&name.0);
    bytes.extend_from_slice(&kind.number().to_be_bytes());
    bytes.extend_from_slice(&CLASS.to_be_bytes());
    bytes
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The addresses, in the server's order. None: the name exists, and has no such address.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// It doesn't fit into a datagram: ask again over TCP.
    Truncated,
    /// The server can't tell, or doesn't want to: its number (RFC 1035, section 4.1.1).
    Failed(u8),
}

/// What a message answers to a query. None: it is no answer to it, or none that can be read.
pub(super) fn answer(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let mut reader = Reader { bytes, at: 0 };
    let (of, flags) = (reader.u16()?, reader.u16()?);
    let [questions, answers] = [reader.u16()?, reader.u16()?];
    reader.skip(4)?;
    let is_answer = flags & 0x8000 != 0 && flags & 0x7800 == 0;
    if of != id || !is_answer || questions != 1 {
        return None;
    }
    let asked = (reader.name()?, reader.u16()?, reader.u16()?);
    if asked.0 != *name || asked.1 != kind.number() || asked.2 != CLASS {
        return None;
    }
    match flags & 0x000f {
        _ if flags & 0x0200 != 0 => return Some(Answer::Truncated),
        0 => {}
        3 => return Some(Answer::NoName),
        code => return Some(Answer::Failed(u8::try_from(code).ok()?)),
    }
    let mut aliases: Vec<(Name, Name)> = Vec::new();
    let mut addresses: Vec<(Name, IpAddr)> = Vec::new();
    for _ in 0..answers {
        let owner = reader.name()?;
        let (of, class) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        let length = usize::from(reader.u16()?);
        let end = reader.at.checked_add(length)?;
        let data = bytes.get(reader.at..end)?;
        if class == CLASS && of == CNAME {
            // A name inside of data may point to what is before, so it is read where it stands.
            let target = reader.name()?;
            (reader.at == end).then_some(())?;
            aliases.push((owner, target));
        } else if class == CLASS && of == kind.number() {
            let ip = match kind {
                Kind::A => <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)?.into(),
                Kind::Aaaa => <[u8; 16]>::try_from(data).ok().map(Ipv6Addr::from)?.into(),
            };
            addresses.push((owner, ip));
        }
        reader.at = end;
    }
    // Only what the name leads to counts, whatever else stands there.
    let mut last = name;
    for _ in 0..LONGEST_CHAIN {
        let Some((_, next)) = aliases.iter().find(|(owner, _)| owner == last) else {
            break;
        };
        last = next;
    }
    let addresses = addresses.iter().filter(|(owner, _)| owner == last);
    Some(Answer::Addresses(addresses.map(|(_, ip)| *ip).collect()))
}

/// Reads a message from its beginning.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 2;
        Some(u16::from_be_bytes(*bytes))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// A name, which may end with a pointer to a place before it. Each pointer must lead further back than the one before, so
    /// there is an end.
    fn name(&mut self) -> Option<Name> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut earliest = self.at;
        let mut after = None;
        loop {
            let length = *self.bytes.get(at)?;
            match length >> 6 {
                0 if length == 0 => {
                    name.push(0);
                    self.at = after.unwrap_or(at + 1);
                    return (name.len() <= LONGEST).then_some(Name(name));
                }
                0 => {
                    let end = at + 1 + usize::from(length);
                    let word = self.bytes.get(at + 1..end)?;
                    name.push(length);
                    name.extend(word.iter().map(u8::to_ascii_lowercase));
                    if name.len() > LONGEST {
                        return None;
                    }
                    at = end;
                }
                3 => {
                    let low = *self.bytes.get(at + 1)?;
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if to >= earliest {
                        return None;
                    }
                    after = after.or(Some(at + 2));
                    earliest = to;
                    at = to;
                }
                // Reserved (RFC 6891, section 5).
                _ => return None,
            }
        }
    }
}

/// Reads a message as an answer to a query of its own number and question, for the fuzzer.
pub(super) fn fuzz(bytes: &[u8]) {
    let mut reader = Reader { bytes, at: 12 };
    let asked = reader.name().unwrap_or(Name(vec![0]));
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for kind in [Kind::A, Kind::Aaaa] {
        if let Some(Answer::Addresses(all)) = answer(bytes, id, &asked, kind) {
            assert!(all.len() <= bytes.len() / 4, "more than there is");
            assert!(all.iter().all(|ip| ip.is_ipv4() == (kind == Kind::A)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;
    const POINTER: [u8; 2] = [0xc0, 12];

    fn name(text: &str) -> Name {
        Name::of(text).expect("a name")
    }

    /// An answer to the question for the address of `www.test`, with so many records.
    fn message(flags: u16, count: u16, records: &[u8]) -> Vec<u8> {
        let mut bytes = query(ID, &name("www.test"), Kind::A);
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(records);
        bytes
    }

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).expect("short");
        [
            owner,
            &kind.to_be_bytes(),
            &CLASS.to_be_bytes(),
            &[0, 0, 0, 60],
            &length.to_be_bytes(),
            data,
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Option<Answer> {
        answer(bytes, ID, &name("www.test"), Kind::A)
    }

    fn addresses(all: &[[u8; 4]]) -> Answer {
        let all = all.iter().map(|ip| Ipv4Addr::from(*ip).into());
        Answer::Addresses(all.collect())
    }

    #[test]
    fn addresses_are_read_in_their_order_and_through_aliases() {
        let two = [
            record(&POINTER, 1, &[10, 0, 0, 2]),
            record(&POINTER, 1, &[10, 0, 0, 1]),
        ]
        .concat();
        assert_eq!(
            read(&message(0x8180, 2, &two)),
            Some(addresses(&[[10, 0, 0, 2], [10, 0, 0, 1]]))
        );
        // `www.test` is `w.test`, which ends in the `test` of the question.
        let target = [1, b'W', 0xc0, 16];
        let chain = [
            record(b"\x01w\x04test\0", 1, &[10, 0, 0, 3]),
            record(&POINTER, CNAME, &target),
            record(b"\x05other\x04test\0", 1, &[6, 6, 6, 6]),
        ]
        .concat();
        assert_eq!(
            read(&message(0x8180, 3, &chain)),
            Some(addresses(&[[10, 0, 0, 3]]))
        );
        assert_eq!(read(&message(0x8180, 0, &[])), Some(addresses(&[])));
    }

    #[test]
    fn aliases_that_lead_in_a_circle_lead_to_nothing() {
        let circle = [
            record(&POINTER, CNAME, b"\x01a\0"),
            record(b"\x01a\0", CNAME, b"\x01b\0"),
            record(b"\x01b\0", CNAME, b"\x01a\0"),
        ]
        .concat();
        assert_eq!(read(&message(0x8180, 3, &circle)), Some(addresses(&[])));
    }

    #[test]
    fn what_a_server_can_say_besides_is_told_apart() {
        assert_eq!(read(&message(0x8183, 0, &[])), Some(Answer::NoName));
        assert_eq!(read(&message(0x8182, 0, &[])), Some(Answer::Failed(2)));
        assert_eq!(read(&message(0x8185, 0, &[])), Some(Answer::Failed(5)));
        assert_eq!(read(&message(0x8380, 0, &[])), Some(Answer::Truncated));
    }

    #[test]
    fn what_answers_another_query_is_no_answer() {
        let good = message(0x8180, 1, &record(&POINTER, 1, &[10, 0, 0, 2]));
        assert!(read(&good).is_some());
        assert_eq!(answer(&good, ID + 1, &name("www.test"), Kind::A), None);
        assert_eq!(answer(&good, ID, &name("www.text"), Kind::A), None);
        assert_eq!(answer(&good, ID, &name("www.test"), Kind::Aaaa), None);
        // A query is none, nor is one without a question, or of another class or operation.
        assert_eq!(read(&message(0x0100, 0, &[])), None);
        assert_eq!(read(&message(0x9180, 0, &[])), None);
        let mut none = good.clone();
        none[5] = 0;
        assert_eq!(read(&none), None);
        let mut chaos = good;
        chaos[25] = 3;
        assert_eq!(read(&chaos), None);
    }

    #[test]
    fn a_name_that_points_to_itself_or_onwards_is_none() {
        for pointer in [[0xc0, 26], [0xc0, 27], [0xc0, 200], [0xff, 0xff]] {
            let records = record(&pointer, 1, &[10, 0, 0, 2]);
            assert_eq!(read(&message(0x8180, 1, &records)), None, "{pointer:?}");
        }
        // Back to a word in front of itself, for ever.
        let records = record(&[1, b'a', 0xc0, 26], 1, &[10, 0, 0, 2]);
        assert_eq!(read(&message(0x8180, 1, &records)), None);
        // Words of a reserved kind.
        assert_eq!(
            read(&message(0x8180, 1, &record(&[0x41, 0], 1, &[10, 0, 0, 2]))),
            None
        );
    }

    #[test]
    fn a_name_is_at_most_as_long_as_names_are() {
        let label = "x".repeat(63);
        assert!(Name::of(&[label.as_str(); 3].join(".")).is_some());
        assert_eq!(Name::of(&[label.as_str(); 4].join(".")), None);
        assert_eq!(Name::of(&"x".repeat(64)), None);
        assert_eq!(Name::of("a..b"), None);
        assert_eq!(Name::of("A.b."), Name::of("a.B"));
        let long: Vec<u8> = [&[63; 64][..]; 4].concat();
        let records = record(&[&long[..], &[0]].concat(), 1, &[10, 0, 0, 2]);
        assert_eq!(read(&message(0x8180, 1, &records)), None);
    }

    #[test]
    fn whatever_comes_is_read_to_an_end() {
        let records = [
            record(&POINTER, CNAME, b"\x01w\xc0\x10"),
            record(b"\x01w\xc0\x10", 1, &[10, 0, 0, 3]),
            record(&POINTER, 1, &[10, 0, 0, 1]),
        ]
        .concat();
        let whole = message(0x8180, 3, &records);
        assert!(read(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(12..bytes.len());
                bytes[at] = if random.bool() { 0xc0 } else { random.u8(..) };
            }
            bytes.truncate(random.usize(..=bytes.len()));
            fuzz(&bytes);
            let _ = read(&bytes);
        }
    }
}
