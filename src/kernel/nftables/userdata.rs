//! What `nft` keeps beside objects for itself: comments, and how to print keys.
//!
//! The kernel stores these bytes and doesn't look at them. They are attributes of a type, a length of
//! one byte, and so many bytes (libnftnl's `udata.h`).

/// `NFTNL_UDATA_{TABLE,CHAIN,RULE}_COMMENT`.
pub(super) const COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_COMMENT`.
pub(super) const SET_COMMENT: u8 = 7;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`.
const SET_KEY_BYTE_ORDER: u8 = 0;
/// `NFTNL_UDATA_SET_DATABYTEORDER`.
const SET_DATA_BYTE_ORDER: u8 = 1;

/// Whether `nft` reads a key from its least or its most significant byte (`enum byteorder` of
/// nftables' `include/datatype.h`).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum ByteOrder {
    /// As this machine.
    Host = 1,
    /// As the network.
    Network = 2,
}

/// The userdata of a comment.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_comment(&mut bytes, COMMENT, text);
    bytes
}

/// The userdata of a set.
///
/// `data` is that of what the elements of a map lead to.
pub(super) fn set(key: ByteOrder, data: Option<ByteOrder>, text: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![SET_KEY_BYTE_ORDER, 4];
    bytes.extend((key as u32).to_ne_bytes());
    if let Some(data) = data {
        bytes.extend([SET_DATA_BYTE_ORDER, 4]);
        bytes.extend((data as u32).to_ne_bytes());
    }
    if let Some(text) = text {
        put_comment(&mut bytes, SET_COMMENT, text);
    }
    bytes
}

fn put_comment(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    // `nft` refuses a comment that is longer than this, with its NUL.
    let end = (0..=text.len().min(127))
        .rfind(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let text = &text.as_bytes()[..end];
    bytes.push(kind);
    bytes.push(u8::try_from(text.len() + 1).expect("a comment is cut"));
    bytes.extend(text);
    bytes.push(0);
}

/// The comment in some userdata.
pub(super) fn find_comment(bytes: &[u8], wanted: u8) -> Option<String> {
    let mut rest = bytes;
    while let [kind, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *kind == wanted {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_behind_other_things() {
        let bytes = set(ByteOrder::Network, Some(ByteOrder::Network), Some("hé"));
        assert_eq!(find_comment(&bytes, SET_COMMENT).as_deref(), Some("hé"));
        assert_eq!(
            find_comment(&set(ByteOrder::Host, None, None), SET_COMMENT),
            None
        );
        assert_eq!(find_comment(&comment("x"), COMMENT).as_deref(), Some("x"));
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let bytes = comment(&"é".repeat(100));
        assert_eq!(find_comment(&bytes, COMMENT), Some("é".repeat(63)));
    }

    #[test]
    fn broken_userdata_has_no_comment() {
        for bytes in [&[][..], &[0], &[0, 5, b'a'], &[7, 1, 0]] {
            assert_eq!(find_comment(bytes, COMMENT), None);
        }
    }
}
