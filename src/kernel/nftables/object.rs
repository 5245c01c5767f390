//! libnftnl's objects, each owned, with the few ways to set and read their attributes.
//!
//! This file and [`memory`](super::memory) are all that calls libnftnl. Its objects are plain heap structures without threads or
//! globals. It aborts the process when an attribute is read with the wrong width; so numbers are read
//! only with the getter of the width that `libnftnl` documents for the attribute, and only after the
//! question whether it is set.

#![expect(unsafe_code, reason = "libnftnl is a C library")]

use std::ffi::c_void;
use std::ptr::NonNull;

use nftnl_sys as sys;

use super::memory::{Header, aligned, bytes, c_string, length_of, narrow, text, write};

/// Declares an owner of one of libnftnl's objects.
macro_rules! owner {
    (
        $(#[$doc:meta])* $name:ident, $raw:ty, $alloc:ident, $free:ident, $is_set:ident,
        $set_str:ident, $get_str:ident, $build:ident, $parse:ident
    ) => {
        $(#[$doc])*
        pub(super) struct $name(NonNull<$raw>);

        impl $name {
            /// A new one, with no attribute set.
            pub(super) fn new() -> $name {
                // SAFETY: allocating has no preconditions; the pointer is checked.
                let raw = unsafe { sys::$alloc() };
                $name(NonNull::new(raw).expect("libnftnl fails to allocate only without memory"))
            }

            fn raw(&self) -> *mut $raw {
                self.0.as_ptr()
            }

            /// Appends a message about it to `out`.
            pub(super) fn build(&self, out: &mut Vec<u8>, header: Header) {
                // SAFETY: `write` gives a message in a buffer with room for every attribute that an object
                // of ours has; libnftnl reads the object and writes behind the header.
                write(out, header, |message| unsafe { sys::$build(message, self.raw()) });
            }

            /// Reads it from a message of the kernel.
            pub(super) fn parse(message: &[u8]) -> Option<$name> {
                let object = $name::new();
                let message = aligned(message)?;
                // SAFETY: the message is aligned and as long as its header says (`aligned`), and libnftnl
                // copies what it keeps.
                let result = unsafe { sys::$parse(message.as_ptr().cast(), object.raw()) };
                (result >= 0).then_some(object)
            }

            /// Whether an attribute is set.
            pub(super) fn is_set(&self, attribute: u32) -> bool {
                // SAFETY: the object is alive; asking changes nothing.
                unsafe { sys::$is_set(self.raw(), narrow(attribute)) }
            }

            /// Sets an attribute that is a text.
            pub(super) fn set_str(&mut self, attribute: u32, text: &str) {
                let text = c_string(text);
                // SAFETY: the object is alive and ours, the text ends with NUL and is copied.
                unsafe { sys::$set_str(self.raw(), narrow(attribute), text.as_ptr()) };
            }

            /// An attribute that is a text.
            pub(super) fn str(&self, attribute: u32) -> Option<String> {
                self.is_set(attribute).then(|| {
                    // SAFETY: the attribute is set, so this is a text with NUL that lives as long as the
                    // object; it is copied here.
                    unsafe { text(sys::$get_str(self.raw(), narrow(attribute))) }
                })
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is ours and freed once; libnftnl frees what it owns with it.
                unsafe { sys::$free(self.raw()) };
            }
        }
    };
}

owner!(
    /// A table.
    TableObject, sys::nftnl_table, nftnl_table_alloc, nftnl_table_free, nftnl_table_is_set,
    nftnl_table_set_str, nftnl_table_get_str, nftnl_table_nlmsg_build_payload,
    nftnl_table_nlmsg_parse
);
owner!(
    /// A chain.
    ChainObject, sys::nftnl_chain, nftnl_chain_alloc, nftnl_chain_free, nftnl_chain_is_set,
    nftnl_chain_set_str, nftnl_chain_get_str, nftnl_chain_nlmsg_build_payload,
    nftnl_chain_nlmsg_parse
);
owner!(
    /// A set.
    SetObject, sys::nftnl_set, nftnl_set_alloc, nftnl_set_free, nftnl_set_is_set,
    nftnl_set_set_str, nftnl_set_get_str, nftnl_set_nlmsg_build_payload, nftnl_set_nlmsg_parse
);
owner!(
    /// A rule.
    RuleObject, sys::nftnl_rule, nftnl_rule_alloc, nftnl_rule_free, nftnl_rule_is_set,
    nftnl_rule_set_str, nftnl_rule_get_str, nftnl_rule_nlmsg_build_payload, nftnl_rule_nlmsg_parse
);

/// Gives an owner the reading of attributes that are numbers of 32 bits.
macro_rules! read_numbers {
    ($name:ident, $get_u32:ident) => {
        impl $name {
            /// An attribute that is a number of 32 bits.
            pub(super) fn u32(&self, attribute: u32) -> Option<u32> {
                // SAFETY: the object is alive and the attribute set; the number is copied.
                self.is_set(attribute)
                    .then(|| unsafe { sys::$get_u32(self.raw(), narrow(attribute)) })
            }
        }
    };
}

read_numbers!(TableObject, nftnl_table_get_u32);
read_numbers!(ChainObject, nftnl_chain_get_u32);
read_numbers!(SetObject, nftnl_set_get_u32);

/// Gives an owner the writing of attributes that are numbers of 32 bits.
macro_rules! write_numbers {
    ($name:ident, $set_u32:ident) => {
        impl $name {
            /// Sets an attribute that is a number of 32 bits.
            pub(super) fn set_u32(&mut self, attribute: u32, number: u32) {
                // SAFETY: the object is alive and ours; the number is copied.
                unsafe { sys::$set_u32(self.raw(), narrow(attribute), number) };
            }
        }
    };
}

write_numbers!(ChainObject, nftnl_chain_set_u32);
write_numbers!(SetObject, nftnl_set_set_u32);

/// Gives an owner attributes that are bytes.
macro_rules! bytes {
    ($name:ident, $set_data:ident, $get_data:ident) => {
        impl $name {
            /// Sets an attribute that is bytes.
            pub(super) fn set_data(&mut self, attribute: u32, bytes: &[u8]) {
                let (data, length) = (bytes.as_ptr().cast::<c_void>(), length_of(bytes));
                // SAFETY: the object is alive and ours; so many bytes are readable and are copied.
                unsafe { sys::$set_data(self.raw(), narrow(attribute), data, length) };
            }

            /// An attribute that is bytes.
            pub(super) fn data(&self, attribute: u32) -> Option<Vec<u8>> {
                self.is_set(attribute).then(|| {
                    let mut length = 0;
                    // SAFETY: the attribute is set, so this points to `length` bytes that live as long as
                    // the object; they are copied here.
                    unsafe {
                        let data = sys::$get_data(self.raw(), narrow(attribute), &raw mut length);
                        bytes(data, length)
                    }
                })
            }
        }
    };
}

bytes!(TableObject, nftnl_table_set_data, nftnl_table_get_data);
bytes!(SetObject, nftnl_set_set_data, nftnl_set_get_data);
bytes!(RuleObject, nftnl_rule_set_data, nftnl_rule_get_data);

impl RuleObject {
    /// Appends an expression.
    pub(super) fn push(&mut self, expression: ExpressionObject) {
        // SAFETY: both are alive; the rule owns the expression from here on, so it is forgotten.
        unsafe { sys::nftnl_rule_add_expr(self.raw(), expression.0.as_ptr()) };
        std::mem::forget(expression);
    }

    /// Calls `visit` with each expression.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&ExpressionRef)) {
        // SAFETY: the rule outlives the iterator, which is destroyed once and not used afterwards. The
        // expressions live as long as the rule.
        unsafe {
            let iterator = sys::nftnl_expr_iter_create(self.raw());
            while let Some(raw) = NonNull::new(sys::nftnl_expr_iter_next(iterator)) {
                visit(&ExpressionRef(raw));
            }
            sys::nftnl_expr_iter_destroy(iterator);
        }
    }
}

/// An expression that is made for a rule.
pub(super) struct ExpressionObject(NonNull<sys::nftnl_expr>);

impl ExpressionObject {
    /// A new one of a kind, with no attribute set.
    pub(super) fn new(kind: &str) -> ExpressionObject {
        let kind = c_string(kind);
        // SAFETY: the name is a text with NUL; the pointer is checked.
        let raw = unsafe { sys::nftnl_expr_alloc(kind.as_ptr()) };
        ExpressionObject(NonNull::new(raw).expect("libnftnl knows the kinds that are written"))
    }

    /// Sets an attribute that is a number of 32 bits.
    #[must_use]
    pub(super) fn u32(self, attribute: u32, number: u32) -> ExpressionObject {
        // SAFETY: the expression is alive and ours.
        unsafe { sys::nftnl_expr_set_u32(self.0.as_ptr(), narrow(attribute), number) };
        self
    }

    /// Sets an attribute that is a number of 8 bits.
    #[must_use]
    pub(super) fn u8(self, attribute: u32, number: u8) -> ExpressionObject {
        // SAFETY: the expression is alive and ours.
        unsafe { sys::nftnl_expr_set_u8(self.0.as_ptr(), narrow(attribute), number) };
        self
    }

    /// Sets an attribute that is a text.
    #[must_use]
    pub(super) fn str(self, attribute: u32, text: &str) -> ExpressionObject {
        let text = c_string(text);
        // SAFETY: the expression is alive and ours; the text ends with NUL and is copied.
        unsafe { sys::nftnl_expr_set_str(self.0.as_ptr(), narrow(attribute), text.as_ptr()) };
        self
    }

    /// Sets an attribute that is bytes.
    #[must_use]
    pub(super) fn data(self, attribute: u32, bytes: &[u8]) -> ExpressionObject {
        let (data, length) = (bytes.as_ptr().cast::<c_void>(), length_of(bytes));
        // SAFETY: the expression is alive and ours; so many bytes are readable and are copied.
        unsafe { sys::nftnl_expr_set(self.0.as_ptr(), narrow(attribute), data, length) };
        self
    }
}

impl Drop for ExpressionObject {
    fn drop(&mut self) {
        // SAFETY: the expression is ours and freed once; one that a rule took over is forgotten.
        unsafe { sys::nftnl_expr_free(self.0.as_ptr()) };
    }
}

/// An expression of a rule.
pub(super) struct ExpressionRef(NonNull<sys::nftnl_expr>);

impl ExpressionRef {
    /// Its kind.
    pub(super) fn kind(&self) -> String {
        self.text(sys::NFTNL_EXPR_NAME).unwrap_or_default()
    }

    /// Whether an attribute is set.
    pub(super) fn is_set(&self, attribute: u32) -> bool {
        // SAFETY: the expression is alive; asking changes nothing.
        unsafe { sys::nftnl_expr_is_set(self.0.as_ptr(), narrow(attribute)) }
    }

    /// The bytes of an attribute.
    pub(super) fn data(&self, attribute: u32) -> Option<Vec<u8>> {
        self.is_set(attribute).then(|| {
            let mut length = 0;
            // SAFETY: the attribute is set, so this points to `length` bytes that live as long as the
            // expression; they are copied here. This getter works for each width.
            unsafe {
                let data = sys::nftnl_expr_get(self.0.as_ptr(), narrow(attribute), &raw mut length);
                bytes(data, length)
            }
        })
    }

    /// An attribute that is a text.
    pub(super) fn text(&self, attribute: u32) -> Option<String> {
        self.is_set(attribute).then(|| {
            // SAFETY: the attribute is set, so this is a text with NUL that lives as long as the
            // expression; it is copied here.
            unsafe { text(sys::nftnl_expr_get_str(self.0.as_ptr(), narrow(attribute))) }
        })
    }

    /// An attribute that is a number of at most 32 bits.
    pub(super) fn number(&self, attribute: u32) -> Option<u32> {
        let bytes = self.data(attribute)?;
        match bytes.as_slice() {
            [byte] => Some(u32::from(*byte)),
            [a, b] => Some(u32::from(u16::from_ne_bytes([*a, *b]))),
            [a, b, c, d] => Some(u32::from_ne_bytes([*a, *b, *c, *d])),
            _ => None,
        }
    }

    /// An attribute that is a number of 64 bits.
    pub(super) fn long(&self, attribute: u32) -> Option<u64> {
        let bytes = self.data(attribute)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    }

    /// As libnftnl writes it.
    pub(super) fn describe(&self) -> String {
        let mut buffer = vec![0_u8; 1024];
        let raw = self.0.as_ptr();
        // SAFETY: libnftnl writes at most as many bytes as it is told, and a NUL among them.
        unsafe { sys::nftnl_expr_snprintf(buffer.as_mut_ptr().cast(), buffer.len(), raw, 0, 0) };
        let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(0);
        let inside = String::from_utf8_lossy(&buffer[..end]);
        format!("[ {} {}]", self.kind(), inside.replace('\n', " "))
    }
}

/// An element that is made for a set.
pub(super) struct ElementObject(NonNull<sys::nftnl_set_elem>);

impl ElementObject {
    /// A new one, with no attribute set.
    pub(super) fn new() -> ElementObject {
        // SAFETY: allocating has no preconditions; the pointer is checked.
        let raw = unsafe { sys::nftnl_set_elem_alloc() };
        ElementObject(NonNull::new(raw).expect("libnftnl fails to allocate only without memory"))
    }

    /// Sets an attribute that is bytes.
    pub(super) fn set_data(&mut self, attribute: u32, bytes: &[u8]) {
        let (data, length) = (bytes.as_ptr().cast::<c_void>(), length_of(bytes));
        // SAFETY: the element is alive and ours; so many bytes are readable and are copied.
        unsafe { sys::nftnl_set_elem_set(self.0.as_ptr(), narrow(attribute), data, length) };
    }

    /// Sets an attribute that is a number of 32 bits.
    pub(super) fn set_u32(&mut self, attribute: u32, number: u32) {
        // SAFETY: the element is alive and ours.
        unsafe { sys::nftnl_set_elem_set_u32(self.0.as_ptr(), narrow(attribute), number) };
    }

    /// Sets an attribute that is a text.
    pub(super) fn set_str(&mut self, attribute: u32, text: &str) {
        let text = c_string(text);
        // SAFETY: the element is alive and ours; the text ends with NUL and is copied.
        unsafe { sys::nftnl_set_elem_set_str(self.0.as_ptr(), narrow(attribute), text.as_ptr()) };
    }
}

impl Drop for ElementObject {
    fn drop(&mut self) {
        // SAFETY: the element is ours and freed once; one that a set took over is forgotten.
        unsafe { sys::nftnl_set_elem_free(self.0.as_ptr()) };
    }
}

/// An element of a set.
pub(super) struct ElementRef(NonNull<sys::nftnl_set_elem>);

impl ElementRef {
    /// Whether an attribute is set.
    pub(super) fn is_set(&self, attribute: u32) -> bool {
        // SAFETY: the element is alive; asking changes nothing.
        unsafe { sys::nftnl_set_elem_is_set(self.0.as_ptr(), narrow(attribute)) }
    }

    /// The bytes of an attribute.
    pub(super) fn data(&self, attribute: u32) -> Option<Vec<u8>> {
        self.is_set(attribute).then(|| {
            let mut length = 0;
            // SAFETY: the attribute is set, so this points to `length` bytes that live as long as the
            // element; they are copied here.
            unsafe {
                let data =
                    sys::nftnl_set_elem_get(self.0.as_ptr(), narrow(attribute), &raw mut length);
                bytes(data, length)
            }
        })
    }

    /// An attribute that is a text.
    pub(super) fn text(&self, attribute: u32) -> Option<String> {
        self.is_set(attribute).then(|| {
            // SAFETY: the attribute is set, so this is a text with NUL that lives as long as the
            // element; it is copied here.
            unsafe {
                text(sys::nftnl_set_elem_get_str(
                    self.0.as_ptr(),
                    narrow(attribute),
                ))
            }
        })
    }

    /// An attribute that is a number of 32 bits.
    pub(super) fn u32(&self, attribute: u32) -> Option<u32> {
        let bytes = self.data(attribute)?;
        bytes.as_slice().try_into().ok().map(u32::from_ne_bytes)
    }
}

impl SetObject {
    /// Appends an element.
    pub(super) fn push(&mut self, element: ElementObject) {
        // SAFETY: both are alive; the set owns the element from here on, so it is forgotten.
        unsafe { sys::nftnl_set_elem_add(self.raw(), element.0.as_ptr()) };
        std::mem::forget(element);
    }

    /// Appends a message about its elements to `out`.
    pub(super) fn build_elements(&self, out: &mut Vec<u8>, header: Header) {
        // SAFETY: as in `build`; the caller gives a set no more elements than the buffer has room for.
        write(out, header, |message| unsafe {
            sys::nftnl_set_elems_nlmsg_build_payload(message, self.raw());
        });
    }

    /// Reads elements from a message of the kernel and calls `visit` with each.
    pub(super) fn parse_elements(message: &[u8], mut visit: impl FnMut(&ElementRef)) -> Option<()> {
        let set = SetObject::new();
        let message = aligned(message)?;
        // SAFETY: the message is aligned and as long as its header says, and libnftnl copies what it
        // keeps.
        if unsafe { sys::nftnl_set_elems_nlmsg_parse(message.as_ptr().cast(), set.raw()) } < 0 {
            return None;
        }
        // SAFETY: the set outlives the iterator, which is destroyed once and not used afterwards. The
        // elements live as long as the set.
        unsafe {
            let iterator = sys::nftnl_set_elems_iter_create(set.raw());
            while let Some(raw) = NonNull::new(sys::nftnl_set_elems_iter_next(iterator)) {
                visit(&ElementRef(raw));
            }
            sys::nftnl_set_elems_iter_destroy(iterator);
        }
        Some(())
    }
}
