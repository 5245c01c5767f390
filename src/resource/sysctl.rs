//! Sysctls below `net`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Family;
use super::name::LinkName;

/// The last part of the name of the sysctl that makes one link forward IPv6.
pub const FORCED: &str = "force_forwarding";

/// A sysctl's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SysctlKey {
    /// One of the whole namespace, as a path below `/proc/sys`: `net/ipv4/ip_forward`.
    Global(String),
    /// One of a link: `net/FAMILY/conf/LINK/NAME`. It lives and dies with the link.
    Conf {
        /// The address family.
        family: Family,
        /// The link.
        link: LinkName,
        /// The last part of the path.
        name: String,
    },
}

impl SysctlKey {
    /// The namespace's forwarding switch of a family. Writing it writes the value of every link.
    pub fn forwarding(family: Family) -> SysctlKey {
        SysctlKey::Global(
            match family {
                Family::Ipv4 => "net/ipv4/ip_forward",
                Family::Ipv6 => "net/ipv6/conf/all/forwarding",
            }
            .to_owned(),
        )
    }

    /// A link's sysctl.
    pub fn conf(family: Family, link: LinkName, name: &str) -> SysctlKey {
        SysctlKey::Conf {
            family,
            link,
            name: name.to_owned(),
        }
    }

    /// The family whose forwarding this switches for the whole namespace, if it does.
    pub fn switch(&self) -> Option<Family> {
        Family::BOTH
            .into_iter()
            .find(|family| *self == SysctlKey::forwarding(*family))
    }

    /// The value that it has while it is on loan: that of a switch that is on, or of `accept_ra` even
    /// where packets are forwarded (`ip-sysctl.rst` of the kernel).
    pub fn lent(&self) -> &'static str {
        match self {
            SysctlKey::Conf { name, .. } if name == "accept_ra" => "2",
            _ => "1",
        }
    }

    /// The family whose forwarding this switches for one link, if it does.
    pub fn forwarding_of_link(&self) -> Option<Family> {
        match self {
            SysctlKey::Conf { family, name, .. } if name == "forwarding" => Some(*family),
            _ => None,
        }
    }

    /// Whether this makes one link forward IPv6 in spite of the switch (`force_forwarding`, Linux 6.17).
    /// The switch doesn't set it, but when it goes off, the kernel clears it on every link.
    pub fn is_forced(&self) -> bool {
        matches!(self, SysctlKey::Conf { family: Family::Ipv6, name, .. } if name == FORCED)
    }

    /// The path below `/proc/sys`.
    pub fn path(&self) -> String {
        match self {
            SysctlKey::Global(path) => path.clone(),
            SysctlKey::Conf { family, link, name } => {
                let family = match family {
                    Family::Ipv4 => "ipv4",
                    Family::Ipv6 => "ipv6",
                };
                format!("net/{family}/conf/{link}/{name}")
            }
        }
    }
}

impl fmt::Display for SysctlKey {
    /// The name as `man 8 sysctl` takes it: with dots, and a dot in a link's name as a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.path().chars().try_for_each(|c| {
            f.write_char(match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
        })
    }
}

/// A sysctl's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// The text, without the newline at its end, with single spaces for tabs.
    pub value: String,
}

impl Sysctl {
    /// The value of a switch that is on.
    pub fn on() -> Sysctl {
        Sysctl {
            value: "1".to_owned(),
        }
    }

    /// The value of a switch that is off.
    pub fn off() -> Sysctl {
        Sysctl {
            value: "0".to_owned(),
        }
    }
}
