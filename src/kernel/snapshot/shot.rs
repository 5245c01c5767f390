//! One namespace in a snapshot.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kernel::external::Identity;
use crate::kernel::read::{Address, Link, Route, Rule, is_at_hand};
use crate::resource::firewall::Firewall;
use crate::resource::name::NamespaceName;
use crate::resource::nftables::Table;
use crate::resource::permit::{Permit, PermitKey};
use crate::resource::sysctl::SysctlKey;
use crate::state::Listener;

/// A namespace.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shot {
    /// Its names in `/run/netns`.
    pub(super) names: BTreeSet<NamespaceName>,
    /// Where records say that it is found besides.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) paths: BTreeSet<PathBuf>,
    pub(super) identity: Identity,
    pub(super) inode: u64,
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    /// Those of all tables.
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<Rule>,
    pub(super) other_rules: bool,
    /// Whether it forwards, by family.
    pub(super) switches: [Option<i32>; 2],
    /// The settings that differ from the usual ones. None: there is no such.
    pub(super) settings: BTreeMap<String, Option<String>>,
    /// netform's own tables.
    pub(super) tables: Vec<Table>,
    /// netform's accept rules in the chains of others.
    pub(super) permits: Vec<(PermitKey, Permit)>,
    pub(super) firewall: Firewall,
    pub(super) listeners: BTreeSet<Listener>,
    /// What it calls other namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) numbers: BTreeMap<Identity, i32>,
    /// The processes inside, by number, if a topology made it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) inmates: BTreeMap<u32, String>,
}

impl Shot {
    /// The value of a setting.
    pub(super) fn setting<'s>(
        &'s self,
        usual: &'s BTreeMap<String, String>,
        path: &str,
    ) -> Option<&'s str> {
        if let Some(own) = self.settings.get(path) {
            return own.as_deref();
        }
        let begun = begun_with(path, |name| self.links.iter().any(|link| link.name == name));
        match begun {
            Begun::With(default) => self.setting(usual, &default),
            Begun::Usual(path) => usual.get(path.as_ref()).map(String::as_str),
            Begun::Nowhere => None,
        }
    }
}

/// Which other setting one begins with.
enum Begun<'p> {
    /// Another one of the same namespace.
    With(String),
    /// One of a new namespace.
    Usual(Cow<'p, str>),
    /// It is of a link that doesn't exist.
    Nowhere,
}

/// What one begins with: a link's own with what `default` says, that of its neighbours with that of `lo` of a new
/// namespace, in which there is nothing else.
fn begun_with(path: &str, has_link: impl Fn(&str) -> bool) -> Begun<'_> {
    match parts(path) {
        Some((_, link, _)) if !has_link(link) && link != "default" && link != "all" => {
            Begun::Nowhere
        }
        Some((Of::Itself(kind), link, name)) if has_link(link) => {
            Begun::With(format!("{kind}/default/{name}"))
        }
        Some((Of::Neighbours(kind), link, name)) if has_link(link) => {
            Begun::Usual(Cow::Owned(format!("{kind}/lo/{name}")))
        }
        _ => Begun::Usual(Cow::Borrowed(path)),
    }
}

/// What of a link a setting is about, and where such are.
enum Of<'p> {
    Itself(&'p str),
    Neighbours(&'p str),
}

/// The parts of the path of a link's setting: what it is about, of which link, and what it is called.
fn parts(path: &str) -> Option<(Of<'_>, &str, &str)> {
    let mut parts = path.rsplitn(3, '/');
    let (name, link, kind) = (parts.next()?, parts.next()?, parts.next()?);
    match kind.rsplit('/').next() {
        Some("conf") => Some((Of::Itself(kind), link, name)),
        Some("neigh") => Some((Of::Neighbours(kind), link, name)),
        _ => None,
    }
}

/// Those of a namespace's settings that differ from the usual ones, and don't come with its links.
pub(super) fn unusual(
    here: &BTreeMap<String, String>,
    usual: &BTreeMap<String, String>,
    links: &[Link],
) -> BTreeMap<String, Option<String>> {
    let names: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let expected = |path: &str| match begun_with(path, |name| names.contains(name)) {
        Begun::With(default) => here.get(&default),
        Begun::Usual(path) => usual.get(path.as_ref()),
        Begun::Nowhere => None,
    };
    // A link may lack some that it would begin with.
    let begin = here
        .keys()
        .chain(usual.keys())
        .filter_map(|path| match parts(path)? {
            (Of::Itself(kind), "default", name) | (Of::Neighbours(kind), "lo", name) => {
                Some((kind, name))
            }
            _ => None,
        });
    let of_links = begin.flat_map(|(kind, name)| {
        let links = names.iter();
        links.map(move |link| format!("{kind}/{link}/{name}"))
    });
    let of_links: BTreeSet<String> = of_links.collect();
    let all: BTreeSet<&String> = here.keys().chain(usual.keys()).chain(&of_links).collect();
    let differing = all.into_iter().filter(|path| {
        let is_at_hand = SysctlKey::parse(path).is_ok_and(|key| is_at_hand(&key));
        !is_at_hand && expected(path) != here.get(*path)
    });
    differing
        .map(|path| (path.clone(), here.get(path).cloned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::external::Identity;

    fn all<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
        let own = |(path, value): (&str, &str)| (path.to_owned(), value.to_owned());
        values.into_iter().map(own).collect()
    }

    #[test]
    fn each_setting_is_what_it_was_and_few_are_told() {
        let usual = all([
            ("net/ipv4/conf/all/arp_notify", "0"),
            ("net/ipv4/conf/default/arp_notify", "0"),
            ("net/ipv4/conf/lo/arp_notify", "0"),
            ("net/ipv4/conf/default/medium_id", "0"),
            ("net/ipv4/conf/lo/medium_id", "0"),
            ("net/ipv4/neigh/lo/locktime", "100"),
            ("net/ipv4/tcp_fin_timeout", "60"),
            ("net/ipv4/gone", "1"),
        ]);
        let here = all([
            ("net/core/somaxconn", "4096"),
            ("net/ipv4/conf/all/arp_notify", "0"),
            // As all new ones, `lo` and v0 are; v1 is as the usual, and so differs.
            ("net/ipv4/conf/default/arp_notify", "1"),
            ("net/ipv4/conf/lo/arp_notify", "1"),
            ("net/ipv4/conf/v0/arp_notify", "1"),
            ("net/ipv4/conf/v1/arp_notify", "0"),
            ("net/ipv4/conf/default/medium_id", "0"),
            ("net/ipv4/conf/lo/medium_id", "0"),
            ("net/ipv4/conf/v0/medium_id", "0"),
            ("net/ipv4/neigh/lo/locktime", "100"),
            ("net/ipv4/neigh/v0/locktime", "100"),
            ("net/ipv4/neigh/v1/locktime", "7"),
            ("net/ipv4/tcp_fin_timeout", "60"),
        ]);
        let links = ["lo", "v0", "v1"].map(|name| Link {
            name: name.to_owned(),
            ..Link::default()
        });
        let shot = Shot::with(unusual(&here, &usual, &links), links.to_vec());
        let told: Vec<&str> = shot.settings.keys().map(String::as_str).collect();
        let differing = [
            "net/core/somaxconn",
            "net/ipv4/conf/default/arp_notify",
            "net/ipv4/conf/v1/arp_notify",
            "net/ipv4/conf/v1/medium_id",
            "net/ipv4/gone",
            "net/ipv4/neigh/v1/locktime",
        ];
        assert_eq!(told, differing);
        for path in usual.keys().chain(here.keys()) {
            let value = here.get(path).map(String::as_str);
            assert_eq!(shot.setting(&usual, path), value, "{path}");
        }
        for path in [
            "net/ipv4/conf/v1/medium_id",
            "net/ipv4/conf/v2/arp_notify",
            "net/ipv4/neigh/v2/locktime",
            "net/ipv4/conf/v0/novelty",
        ] {
            assert_eq!(shot.setting(&usual, path), None, "{path}");
        }
    }

    impl Shot {
        fn with(settings: BTreeMap<String, Option<String>>, links: Vec<Link>) -> Shot {
            Shot {
                names: BTreeSet::new(),
                paths: BTreeSet::new(),
                identity: serde_json::from_str::<Identity>("1").expect("a number"),
                inode: 1,
                links,
                addresses: Vec::new(),
                routes: Vec::new(),
                rules: Vec::new(),
                other_rules: false,
                switches: [None; 2],
                settings,
                tables: Vec::new(),
                permits: Vec::new(),
                firewall: Firewall::default(),
                listeners: BTreeSet::new(),
                numbers: BTreeMap::new(),
                inmates: BTreeMap::new(),
            }
        }
    }
}
