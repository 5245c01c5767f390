//! Links. A kind of link with one end is one file here and one line in the registry.

pub mod bridge;
pub mod dummy;
mod setting;
pub mod veth;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::bridge::Bridge;
use self::dummy::Dummy;
pub use self::setting::{Attributes, Setting};
use self::veth::Veth;
use super::Change;
use super::name::LinkName;

/// A link.
///
/// What is `None` in a desired State is not netform's business there; in an observed one all is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Whether it is up (`IFF_UP`).
    pub up: bool,
    /// The largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The link-layer address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The link that it is a port of, a bridge for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<LinkName>,
    /// Whether it carries the tag that says whose it is; a half-made one doesn't, nor one whose alias
    /// somebody cleared. Of links that netform doesn't make it means nothing, and is true.
    #[serde(skip)]
    pub tagged: bool,
}

/// The group number of the links that netform makes (`IFLA_GROUP`), the letters "nf" and "m". It is
/// honoured at creation, when an alias isn't yet, and is rare enough to know a half-made link by.
pub const GROUP: u32 = 0x6e66_6d01;

/// The smallest MTU with which a link has IPv6 (`IPV6_MIN_MTU` of `linux/ipv6.h`, RFC 8200 section 5).
pub const IPV6_MIN_MTU: u32 = 1280;

impl Link {
    /// What it takes to get from `found` to this.
    pub(super) fn change_from(&self, found: &Link) -> Change {
        if let Some(why) = self.kind.differs_from(&found.kind) {
            return Change::Replace(why);
        }
        let alike = self.up == found.up
            && self.tagged == found.tagged
            && self.kind.settings() == found.kind.settings()
            && same(self.mtu.as_ref(), found.mtu.as_ref())
            && same(self.mac.as_ref(), found.mac.as_ref())
            // A link that netform made is no port unless the spec says so.
            && self.master == found.master;
        if alike { Change::None } else { Change::Update }
    }

    /// The MTU to make a link with one end with: another than it is to have, so that the change to that counts as a
    /// person's choice. A bridge whose MTU nobody chose follows its ports (`br_mtu_auto_adjust` of `net/bridge/br_if.c`), and a
    /// change to what is there already is none (`netif_set_mtu_ext` of `net/core/dev.c`).
    pub fn mtu_at_birth(&self) -> Option<u32> {
        self.mtu.map(beside)
    }

    /// The other end, of a veth whose other end is known.
    pub fn peer(&self) -> Option<&veth::Peer> {
        match &self.kind {
            LinkKind::Veth(veth) => veth.peer.as_ref(),
            _ => None,
        }
    }
}

/// An MTU next to another, with which a link has IPv6 or not as with the other.
fn beside(mtu: u32) -> u32 {
    if mtu < 65535 && (mtu >= IPV6_MIN_MTU || mtu <= 68) {
        mtu + 1
    } else {
        mtu - 1
    }
}

/// Whether what is found will do: also where nothing is wanted.
fn same<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

/// Makes [`LinkKind`] of the kinds with one end. Each is a type with a name (`IFLA_INFO_KIND`), with
/// whether it joins its ports to one layer-2 network, and with its settings both ways.
macro_rules! registry {
    ($($(#[$about:meta])* $kind:ident,)*) => {
        /// What a link is.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum LinkKind {
            /// `lo`, which every namespace has from the start.
            Loopback,
            /// One end of a pair.
            Veth(Veth),
            $($(#[$about])* $kind($kind),)*
            /// One that netform doesn't make: the kernel's name of its kind, or an empty text for a device.
            Other(String),
        }

        impl LinkKind {
            /// The kind of a link with one end, as the kernel tells of it. None: netform doesn't make such.
            pub fn read(name: &str, attributes: &Attributes) -> Option<LinkKind> {
                match name {
                    $($kind::NAME => Some(LinkKind::$kind($kind::read(attributes))),)*
                    _ => None,
                }
            }

            /// What the kernel calls it (`IFLA_INFO_KIND`), or how people call it where the kernel has no
            /// word.
            pub fn name(&self) -> &str {
                match self {
                    LinkKind::Loopback => "loopback",
                    LinkKind::Veth(_) => veth::KIND,
                    $(LinkKind::$kind(_) => $kind::NAME,)*
                    LinkKind::Other(kind) if kind.is_empty() => "device",
                    LinkKind::Other(kind) => kind,
                }
            }

            /// Its settings, all of them.
            pub fn settings(&self) -> Vec<Setting> {
                match self {
                    $(LinkKind::$kind(kind) => kind.settings(),)*
                    _ => Vec::new(),
                }
            }

            /// Whether netform makes it by itself: it has one end.
            pub fn is_single(&self) -> bool {
                matches!(self, $(LinkKind::$kind(_))|*)
            }

            /// Whether it joins its ports to one layer-2 network.
            pub fn joins(&self) -> bool {
                match self {
                    $(LinkKind::$kind(_) => $kind::JOINS,)*
                    _ => false,
                }
            }
        }
    };
}

registry! {
    /// A bridge between its ports.
    Bridge,
    /// One that leads nowhere.
    Dummy,
}

impl LinkKind {
    /// Why this can't be made of `found` by changing it.
    fn differs_from(&self, found: &LinkKind) -> Option<String> {
        match (self, found) {
            (LinkKind::Veth(wanted), LinkKind::Veth(found)) => wanted.differs_from(found),
            (wanted, found) if wanted.name() == found.name() => None,
            (wanted, found) => Some(format!("it is a {}, not a {}", found.name(), wanted.name())),
        }
    }

    /// The settings to be written to get from `found` to this.
    pub fn changes_from(&self, found: &LinkKind) -> Vec<Setting> {
        let there = found.settings();
        let mut settings = self.settings();
        settings.retain(|setting| !there.contains(setting));
        settings
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = &self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<MacAddress, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for MacAddress {
    type Err = NotAMacAddress;

    fn from_str(text: &str) -> Result<MacAddress, NotAMacAddress> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|p| p.len() == 2)
                .ok_or(NotAMacAddress)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMacAddress)?;
        }
        if parts.next().is_some() {
            Err(NotAMacAddress)
        } else {
            Ok(MacAddress(bytes))
        }
    }
}

/// A text isn't an Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error(
    "an Ethernet address is six pairs of hexadecimal digits between colons, `02:00:00:00:00:01`"
)]
pub struct NotAMacAddress;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_that_a_link_is_born_with_is_another_of_the_same_sort() {
        for mtu in 68..=65535 {
            let first = beside(mtu);
            assert!(first != mtu && (68..=65535).contains(&first), "{mtu}");
            assert_eq!(first < IPV6_MIN_MTU, mtu < IPV6_MIN_MTU, "{mtu}");
        }
    }
}
