//! Sysctls below `net`.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::Family;
use super::name::{BadName, LinkName};

/// The last part of the name of the sysctl that makes one link forward IPv6.
pub const FORCED: &str = "force_forwarding";

/// The last part of the name of the sysctl that makes a link take and lead on packets from and to 127.0.0.0/8.
pub const ROUTE_LOCALNET: &str = "route_localnet";

/// A sysctl's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SysctlKey {
    /// One of the whole namespace, as a path below `/proc/sys`: `net/ipv4/ip_forward`.
    Global(SmolStr),
    /// One of a link: `net/FAMILY/conf/LINK/NAME`. It lives and dies with the link.
    Conf {
        /// The address family.
        family: Family,
        /// The link.
        link: LinkName,
        /// The last part of the path.
        name: SmolStr,
    },
}

/// Why a text is not the name of a sysctl that a topology can set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSysctl {
    /// It is not of the network.
    #[error("`{0}` is no sysctl below `net`")]
    Elsewhere(String),
    /// It is no name of a sysctl at all.
    #[error("`{0}` is no sysctl's name")]
    Form(String),
    /// What stands in the place of a link's name is none.
    #[error("`{0}` is no sysctl's name: {1}")]
    Link(String, BadName),
    /// It is one of a link, and not below `conf`.
    #[error(
        "`{0}` is of one link, and this version of netform knows of those only what is below `conf`"
    )]
    OfLink(String),
}

impl BadSysctl {
    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            BadSysctl::Elsewhere(_) => {
                "only what is below `net` belongs to a network namespace: set others in sysctl.d(5)"
            }
            BadSysctl::Form(_) => {
                "write it as sysctl(8) does, a dot in a link's name as `/`: `net.ipv4.conf.eth0/5.rp_filter`"
            }
            BadSysctl::Link(..) => {
                "a dot in a link's name is written `/`, or all separators are: \
                 `net/ipv4/conf/eth0.5/rp_filter`"
            }
            BadSysctl::OfLink(_) => "set that of `default`, which links made later take over",
        }
    }
}

/// Those below `net/ipv6/conf/all` whose writing writes the value of `default` and of every link
/// (`net/ipv6/addrconf.c`).
const FOR_EVERY_LINK: [&str; 4] = [
    "addr_gen_mode",
    "disable_ipv6",
    "force_forwarding",
    "ignore_routes_with_linkdown",
];

impl SysctlKey {
    /// The sysctl of a name as `man 8 sysctl` takes it: the first separator is a dot or a slash, and
    /// says what the others are; the other character stands for a dot in a link's name.
    pub fn parse(text: &str) -> Result<SysctlKey, BadSysctl> {
        let own = || text.to_owned();
        let path: String = match text.chars().find(|c| matches!(c, '.' | '/')) {
            Some('/') => own(),
            _ => text.chars().map(swapped).collect(),
        };
        let parts: Vec<&str> = path.split('/').collect();
        if parts[0] != "net" {
            return Err(BadSysctl::Elsewhere(own()));
        }
        let bad = |part: &&str| {
            matches!(*part, "" | "." | "..")
                || part.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if parts.len() < 3 || parts.iter().any(bad) {
            return Err(BadSysctl::Form(own()));
        }
        match parts[1..] {
            ["ipv4", "conf", "all", "forwarding"] => Ok(SysctlKey::forwarding(Family::Ipv4)),
            [.., "conf", "all" | "default", _] | [.., "neigh", "default", _] => {
                Ok(SysctlKey::Global(path.into()))
            }
            [family @ ("ipv4" | "ipv6"), "conf", link, name] => {
                let link = LinkName::reference(link).map_err(|bad| BadSysctl::Link(own(), bad))?;
                let family = if family == "ipv4" {
                    Family::Ipv4
                } else {
                    Family::Ipv6
                };
                Ok(SysctlKey::conf(family, link, name))
            }
            ["ipv4" | "ipv6", "conf", ..] => Err(BadSysctl::Form(own())),
            [_, "conf" | "neigh", _, _] => Err(BadSysctl::OfLink(own())),
            _ => Ok(SysctlKey::Global(path.into())),
        }
    }

    /// The family and the name, of the value that links made later begin with.
    pub fn of_default(&self) -> Option<(Family, &str)> {
        self.of_all_links("default")
    }

    /// The family and the name, of the value for all links together.
    pub fn of_all(&self) -> Option<(Family, &str)> {
        self.of_all_links("all")
    }

    fn of_all_links(&self, which: &str) -> Option<(Family, &str)> {
        let SysctlKey::Global(path) = self else {
            return None;
        };
        let mut parts = path.split('/').skip(1);
        let family = match parts.next()? {
            "ipv4" => Family::Ipv4,
            "ipv6" => Family::Ipv6,
            _ => return None,
        };
        (parts.next()? == "conf" && parts.next()? == which).then_some(())?;
        Some((family, parts.next()?))
    }

    /// The value for all links together, or that which new links begin with.
    pub fn of_links(family: Family, which: &str, name: &str) -> SysctlKey {
        let family = match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        SysctlKey::Global(format_smolstr!("net/{family}/conf/{which}/{name}"))
    }

    /// Whether writing it writes the value of every link.
    pub fn is_for_every_link(&self) -> bool {
        self.switch().is_some()
            || matches!(self.of_all(), Some((Family::Ipv6, name)) if FOR_EVERY_LINK.contains(&name))
    }

    /// What another has once `value` is written to this one, if the kernel writes that too, but for
    /// forwarding, where that depends on more: `all` of IPv6 writes `default` and the links, `default` of
    /// IPv4 the links that have none of their own, and the switch of IPv4 whether redirects are
    /// accepted (`inet_forward_change` of `net/ipv4/devinet.c`).
    pub fn writes(&self, value: &str, other: &SysctlKey) -> Option<String> {
        if let Some(family) = self.switch() {
            let off = if value == "0" { "1" } else { "0" };
            let redirects = other.of_all() == Some((Family::Ipv4, "accept_redirects"));
            return (family == Family::Ipv4 && redirects).then(|| off.to_owned());
        }
        let of_all = self.of_all().filter(|_| self.is_for_every_link());
        let of_default = self.of_default();
        let mine = of_all.or(of_default.filter(|(family, _)| *family == Family::Ipv4))?;
        let theirs = match other {
            SysctlKey::Conf { family, name, .. } => Some((*family, name.as_str())),
            SysctlKey::Global(_) => other.of_default(),
        };
        (self != other && theirs == Some(mine)).then(|| value.to_owned())
    }

    /// The namespace's forwarding switch of a family. Writing it writes the value of every link.
    pub fn forwarding(family: Family) -> SysctlKey {
        SysctlKey::Global(SmolStr::new_static(switch(family)))
    }

    /// A link's sysctl.
    pub fn conf(family: Family, link: LinkName, name: &str) -> SysctlKey {
        SysctlKey::Conf {
            family,
            link,
            name: name.into(),
        }
    }

    /// Whether frames of a family that go from port to port of a bridge are shown to the rules for what is
    /// forwarded. It is there only where `br_netfilter` is loaded.
    pub fn frames(family: Family) -> SysctlKey {
        SysctlKey::Global(SmolStr::new_static(match family {
            Family::Ipv4 => "net/bridge/bridge-nf-call-iptables",
            Family::Ipv6 => "net/bridge/bridge-nf-call-ip6tables",
        }))
    }

    /// Whether redirects are accepted, which the switch of IPv4 forwarding writes.
    pub fn redirects() -> SysctlKey {
        SysctlKey::of_links(Family::Ipv4, "all", "accept_redirects")
    }

    /// The family whose forwarding this switches for the whole namespace, if it does.
    pub fn switch(&self) -> Option<Family> {
        let SysctlKey::Global(path) = self else {
            return None;
        };
        Family::BOTH
            .into_iter()
            .find(|family| path == switch(*family))
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
            SysctlKey::Global(path) => path.to_string(),
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
        self.path()
            .chars()
            .try_for_each(|c| f.write_char(swapped(c)))
    }
}

/// The path of a namespace's forwarding switch.
fn switch(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "net/ipv4/ip_forward",
        Family::Ipv6 => "net/ipv6/conf/all/forwarding",
    }
}

/// A separator as the other one.
fn swapped(c: char) -> char {
    match c {
        '/' => '.',
        '.' => '/',
        c => c,
    }
}

/// A sysctl's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// The text, without the newline at its end, with single spaces for tabs.
    pub value: SmolStr,
}

impl Sysctl {
    /// The value of a switch that is on.
    pub fn on() -> Sysctl {
        Sysctl {
            value: SmolStr::new_static("1"),
        }
    }

    /// The value of a switch that is off.
    pub fn off() -> Sysctl {
        Sysctl {
            value: SmolStr::new_static("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SysctlKey {
        SysctlKey::parse(text).unwrap_or_else(|bad| panic!("{bad}"))
    }

    #[test]
    fn dots_and_slashes_name_the_same_sysctl() {
        for (text, path) in [
            (
                "net.ipv4.conf.eth0/5.rp_filter",
                "net/ipv4/conf/eth0.5/rp_filter",
            ),
            (
                "net/ipv4/conf/eth0.5/rp_filter",
                "net/ipv4/conf/eth0.5/rp_filter",
            ),
            (
                "net.ipv6.conf.default.accept_ra",
                "net/ipv6/conf/default/accept_ra",
            ),
            ("net.core.somaxconn", "net/core/somaxconn"),
            (
                "net.ipv4.neigh.default.gc_thresh3",
                "net/ipv4/neigh/default/gc_thresh3",
            ),
        ] {
            assert_eq!(parse(text).path(), path);
            assert_eq!(parse(&parse(text).to_string()), parse(text));
        }
        assert!(parse("net.ipv4.conf.all.forwarding").switch().is_some());
    }

    #[test]
    fn what_is_elsewhere_is_none() {
        for bad in [
            "kernel.hostname",
            "/proc/sys/net/ipv4/ip_forward",
            "net",
            "net.ipv4",
            "net..x.y",
            "net/../kernel/hostname",
            "net.ipv4.conf.eth0.5.rp_filter",
            "net.ipv4.neigh.eth0.gc_stale_time",
            "net.ipv4.conf.a b.rp_filter",
            "net.ipv4.conf.a:b.rp_filter",
        ] {
            assert!(SysctlKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_for_all_writes_those_of_links() {
        let all = parse("net.ipv6.conf.all.disable_ipv6");
        let of_link = parse("net.ipv6.conf.v1.disable_ipv6");
        assert_eq!(all.writes("1", &of_link), Some("1".to_owned()));
        assert_eq!(all.writes("1", &all), None);
        assert_eq!(of_link.writes("1", &all), None);
        let default = parse("net.ipv4.conf.default.rp_filter");
        assert!(
            default
                .writes("1", &parse("net.ipv4.conf.v1.rp_filter"))
                .is_some()
        );
        assert!(
            default
                .writes("1", &parse("net.ipv6.conf.v1.rp_filter"))
                .is_none()
        );
        let switch = SysctlKey::forwarding(Family::Ipv6);
        let of_link = parse("net.ipv6.conf.v1.forwarding");
        assert_eq!(switch.writes("1", &of_link), None);
        let redirects = parse("net.ipv4.conf.all.accept_redirects");
        let switch = SysctlKey::forwarding(Family::Ipv4);
        assert_eq!(switch.writes("1", &redirects), Some("0".to_owned()));
    }
}
