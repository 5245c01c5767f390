//! The settings of a kind of link, as the kernel takes them and as people read them.

use std::collections::BTreeMap;

/// What the kernel tells of a link's kind (`IFLA_INFO_DATA`): the numbers of attributes, and their values.
pub type Attributes = BTreeMap<u16, Vec<u8>>;

/// A setting of a kind of link, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What the spec calls it.
    pub word: &'static str,
    /// Its value, for people.
    pub text: String,
    /// The number of its attribute within `IFLA_INFO_DATA` (`linux/if_link.h`).
    pub attribute: u16,
    /// Its value, as the kernel takes it.
    pub value: Vec<u8>,
    /// Whether a new link has the value by itself.
    pub usual: bool,
    /// The option that the kernel must be built with to have another value than the usual one.
    pub needs: Option<&'static str>,
}

impl Setting {
    /// A setting that is on or off, and off by itself: its attribute, and what `value` is as that.
    pub(super) fn switch(word: &'static str, on: bool, attribute: u16, value: Vec<u8>) -> Setting {
        Setting {
            word,
            text: if on { "on" } else { "off" }.to_owned(),
            attribute,
            value,
            usual: !on,
            needs: None,
        }
    }
}

/// Whether a number that the kernel tells is there and isn't 0, whatever its size.
pub(super) fn is_on(attributes: &Attributes, attribute: u16) -> bool {
    attributes
        .get(&attribute)
        .is_some_and(|value| value.iter().any(|byte| *byte != 0))
}
