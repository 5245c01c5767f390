//! The names that a topology gives and refers to, each valid by construction.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a text is not a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// It is empty.
    #[error("a {kind} can't be empty")]
    Empty {
        /// What it was to be the name of.
        kind: &'static str,
    },
    /// It is longer than allowed.
    #[error("a {kind} has at most {limit} bytes, and this one {length}")]
    Long {
        /// What it was to be the name of.
        kind: &'static str,
        /// The most bytes allowed.
        limit: usize,
        /// The bytes that it has.
        length: usize,
    },
    /// It has a character that isn't allowed.
    #[error("a {kind} can't have {found:?}: {rule}")]
    Character {
        /// What it was to be the name of.
        kind: &'static str,
        /// The character.
        found: char,
        /// What is allowed.
        rule: &'static str,
    },
    /// It is a word that means something else.
    #[error("`{word}` can't be a {kind}: {why}")]
    Reserved {
        /// What it was to be the name of.
        kind: &'static str,
        /// The word.
        word: String,
        /// What it means.
        why: &'static str,
    },
}

/// Declares a name: a text with a rule. Most names are short, and there are many of them, so that those up to 23 bytes stand where
/// they are used, and longer ones are shared.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = BadName;

            fn try_from(text: &str) -> Result<$name, BadName> {
                let check: fn(&str) -> Result<(), BadName> = $check;
                check(text).map(|()| $name(SmolStr::new(text)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<$name, BadName> {
                $name::try_from(text.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<$name, BadName> {
                $name::try_from(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A topology's name: `[a-z][a-z0-9-]{0,31}`.
    TopologyName,
    |text| {
        let kind = "topology's name";
        length(kind, text, 32)?;
        let rule = "lower-case letters, digits and `-`, beginning with a letter";
        characters(kind, text, rule, |first, c| {
            c.is_ascii_lowercase() || !first && (c.is_ascii_digit() || c == '-')
        })
    }
);

name!(
    /// A namespace's name: a file name of `/run/netns`.
    NamespaceName,
    |text| {
        let kind = "namespace's name";
        length(kind, text, 255)?;
        let rule = "no `/`, white space or control characters";
        characters(kind, text, rule, |_, c| c != '/' && !c.is_whitespace() && !c.is_control())?;
        match text {
            "." | ".." => Err(reserved(kind, text, "it is a directory")),
            "host" => Err(reserved(kind, text, "it means the namespace that netform runs in")),
            _ => Ok(()),
        }
    }
);

name!(
    /// A link's name, as the kernel takes it (`dev_valid_name` of `net/core/dev.c`), and safe in the
    /// paths of sysctls and in nftables.
    LinkName,
    |text| link(text, LINK_BYTES)
);

/// The most bytes of a link's name: `IFNAMSIZ` of `linux/if.h`, without the NUL.
const LINK_BYTES: usize = 15;

/// The most bytes of another name that a link goes by: `ALTIFNAMSIZ` of `linux/if.h`, without the NUL.
const ALTNAME_BYTES: usize = 127;

impl LinkName {
    /// A link as a topology refers to it: by its name, or by another that it goes by, which may be longer.
    /// Lowering puts the link's own name in its place.
    ///
    /// # Errors
    ///
    /// Why it is neither.
    pub fn reference(text: &str) -> Result<LinkName, BadName> {
        link(text, ALTNAME_BYTES).map(|()| LinkName(SmolStr::new(text)))
    }

    /// Whether it is too long for a link's own name.
    pub fn is_altname(&self) -> bool {
        self.0.len() > LINK_BYTES
    }
}

fn link(text: &str, limit: usize) -> Result<(), BadName> {
    let kind = "link's name";
    length(kind, text, limit)?;
    let rule = "no `/`, `:`, `%`, `\"`, white space or control characters";
    characters(kind, text, rule, |_, c| {
        !matches!(c, '/' | ':' | '%' | '"') && !c.is_whitespace() && !c.is_control()
    })?;
    match text {
        "." | ".." => Err(reserved(kind, text, "it is a directory")),
        "all" | "default" => Err(reserved(kind, text, "sysctls use it for every link")),
        _ => Ok(()),
    }
}

name!(
    /// A subnet's name: `[A-Za-z][A-Za-z0-9_-]{0,31}`.
    SubnetName,
    |text| {
        let kind = "subnet's name";
        length(kind, text, 32)?;
        let rule = "letters, digits, `_` and `-`, beginning with a letter";
        characters(kind, text, rule, |first, c| {
            c.is_ascii_alphabetic() || !first && (c.is_ascii_digit() || c == '-' || c == '_')
        })?;
        if text == "none" { Err(reserved(kind, text, "it means no gateway")) } else { Ok(()) }
    }
);

fn length(kind: &'static str, text: &str, limit: usize) -> Result<(), BadName> {
    match text.len() {
        0 => Err(BadName::Empty { kind }),
        length if length > limit => Err(BadName::Long {
            kind,
            limit,
            length,
        }),
        _ => Ok(()),
    }
}

fn characters(
    kind: &'static str,
    text: &str,
    rule: &'static str,
    allowed: impl Fn(bool, char) -> bool,
) -> Result<(), BadName> {
    match text.char_indices().find(|(at, c)| !allowed(*at == 0, *c)) {
        Some((_, found)) => Err(BadName::Character { kind, found, rule }),
        None => Ok(()),
    }
}

fn reserved(kind: &'static str, word: &str, why: &'static str) -> BadName {
    BadName::Reserved {
        kind,
        word: word.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_is_what_the_kernel_and_the_sysctls_take() {
        for good in [
            "a",
            "eth0",
            "ens33.7",
            "veth-1_p",
            "a@b",
            "fifteen-bytes-x",
            "é",
        ] {
            assert_eq!(
                LinkName::try_from(good).map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "", "a b", "a/b", "a:b", "a%d", "a\"b", ".", "..", "all", "default", "a\u{7}",
        ] {
            assert!(LinkName::try_from(bad).is_err(), "{bad:?}");
        }
        let long = LinkName::try_from("breezyfrost-veth1");
        assert_eq!(
            long,
            Err(BadName::Long {
                kind: "link's name",
                limit: 15,
                length: 17
            })
        );
    }

    #[test]
    fn a_reference_may_be_longer_than_a_name() {
        let reference = LinkName::reference(&"x".repeat(127)).expect("an altname");
        assert!(reference.is_altname());
        assert!(LinkName::try_from(reference.as_str()).is_err());
        assert!(LinkName::reference(&"x".repeat(128)).is_err());
        assert!(LinkName::reference("a:b").is_err());
        assert!(
            !LinkName::reference("fifteen-bytes-x")
                .expect("a name")
                .is_altname()
        );
    }

    #[test]
    fn a_topology_begins_with_a_letter() {
        assert!(TopologyName::try_from("a-9").is_ok());
        for bad in ["9a", "-a", "A", "a_b", "é", &"a".repeat(33)] {
            assert!(TopologyName::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_and_none_mean_something_else() {
        assert!(NamespaceName::try_from("host").is_err());
        assert!(NamespaceName::try_from("a.b:c").is_ok());
        assert!(SubnetName::try_from("none").is_err());
    }
}
