//! Memory that libnftnl writes to and reads from: messages, texts, bytes.

#![expect(unsafe_code, reason = "libnftnl is a C library")]

use std::ffi::{CStr, CString, c_char, c_void};

use nftnl_sys as sys;

/// The head of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The kind of request (`enum nf_tables_msg_types`).
    pub(super) kind: u16,
    /// Flags (`NLM_F_*`) besides that it is a request.
    pub(super) flags: u16,
    /// The family of the table (`NFPROTO_*`).
    pub(super) family: u8,
}

/// The family of netform's own tables.
pub(super) const INET: u8 = 1;

/// Bytes of the buffer that a message is made in: more than twice the 64 KB that an attribute can hold. A
/// message has one large attribute at most: the elements of a set, or the expressions of a rule.
const ROOM: usize = 160 * 1024;

/// Appends a message to `out` that has nothing but what `fill` writes behind its header. Its sequence
/// number is put in when it is sent.
pub(super) fn write(
    out: &mut Vec<u8>,
    header: Header,
    fill: impl FnOnce(*mut sys::libc::nlmsghdr),
) {
    thread_local! {
        /// The buffer, aligned for the header of a message.
        static BUFFER: std::cell::RefCell<Vec<u64>> = std::cell::RefCell::new(vec![0; ROOM / 8]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let start = buffer.as_mut_ptr().cast::<c_char>();
        // SAFETY: the buffer is aligned, and `ROOM` bytes long, which is more than any message here; its
        // first four bytes hold the length of what was written.
        let message = unsafe {
            let message = sys::nftnl_nlmsg_build_hdr(
                start,
                header.kind,
                u16::from(header.family),
                header.flags,
                0,
            );
            fill(message);
            let length = (*message).nlmsg_len as usize;
            assert!(
                length <= ROOM,
                "a message of {length} bytes has overrun its buffer"
            );
            std::slice::from_raw_parts(start.cast::<u8>(), length)
        };
        out.extend_from_slice(message);
        out.resize(out.len().next_multiple_of(4), 0);
    });
}

/// A message in memory that is aligned for its header; none if it is not as long as it says.
pub(super) fn aligned(message: &[u8]) -> Option<Vec<u32>> {
    let length = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    // A header of 16 bytes, and one of nfnetlink of 4.
    if message.len() < 20 || usize::try_from(length).ok()? > message.len() {
        return None;
    }
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_ne_bytes(word)
    };
    Some(message.chunks(4).map(word).collect())
}

/// The number of an attribute, in the width that libnftnl's functions take.
pub(super) fn narrow(attribute: u32) -> u16 {
    u16::try_from(attribute).expect("libnftnl has few attributes")
}

pub(super) fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("an attribute holds less than 64 KB")
}

/// A text for libnftnl. Names are checked before, so a NUL can't be in it; it would end it.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// Copies a text of libnftnl's.
///
/// # Safety
///
/// `raw` is null or points to a text with NUL that stays as it is meanwhile.
pub(super) unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(raw) }
        .to_string_lossy()
        .into_owned()
}

/// Copies bytes of libnftnl's.
///
/// # Safety
///
/// `raw` is null or points to `length` bytes that stay as they are meanwhile.
pub(super) unsafe fn bytes(raw: *const c_void, length: u32) -> Vec<u8> {
    if raw.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(raw.cast::<u8>(), length as usize) }.to_vec()
}
