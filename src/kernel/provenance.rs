//! Whose something seems to be that stands in the way and carries no tag. Nothing depends on it: it is for
//! the person who has to resolve a conflict, and is looked up when there is one.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::read::{self, Address, Link, Route, Rule};
use super::space::inode_of;
use super::{Kernel, namespace, tag};
use crate::plan::Conflict;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};
use crate::resource::{Key, Ns};
use crate::state::Owner;

/// Whose something seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// A program's, and what tells.
    Program {
        /// The program.
        name: &'static str,
        /// What tells: a clause after "because".
        sign: String,
    },
    /// Nobody's that could be told: a person made it, or a script. With the alias that it carries.
    Unknown(Option<String>),
    /// A namespace like those of `ip netns add`.
    Named,
    /// The kernel's own.
    Kernel,
    /// It has the alias of a topology's links, and not their number: somebody copied it, or changed the number.
    Copied(TopologyName),
    /// It has netform's number, and no record says for which topology.
    Unclaimed,
    /// A namespace that a record names: the tag that it carries instead.
    Retagged(Option<TopologyName>),
}

/// What is looked at in one namespace.
struct Evidence {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
}

/// Whose the things seem to be that stand in the way, in the order of the conflicts. None: it says itself.
pub(super) fn provenances(
    kernel: &mut Kernel,
    conflicts: &[Conflict],
) -> Result<Vec<Option<Provenance>>, Error> {
    let mut known: HashMap<&Ns, Evidence> = HashMap::new();
    let mut all = Vec::with_capacity(conflicts.len());
    for conflict in conflicts {
        let ns = &conflict.id.ns;
        if matches!(conflict.owner, Owner::Topology(_)) {
            all.push(None);
            continue;
        }
        if let Key::File(_) = conflict.id.key {
            all.push(Some(Provenance::Unknown(None)));
            continue;
        }
        if !known.contains_key(ns) {
            known.insert(ns, gather(kernel, ns, conflicts)?);
        }
        let evidence = &known[ns];
        let lo = evidence.links.iter().find(|link| link.is_loopback());
        let provenance = match (&conflict.id.key, ns, &conflict.owner) {
            (Key::Namespace, _, Owner::Disputed(_)) => {
                Provenance::Retagged(lo.and_then(tag::of_link))
            }
            (Key::Namespace, Ns::Named(name), _) => {
                let tag = lo.and_then(tag::of_link).map(Provenance::Copied);
                tag.map_or_else(|| of_namespace(kernel, name), Ok)?
            }
            (key, ns, _) => of_thing(key, *ns == Ns::Host, evidence),
        };
        all.push(Some(provenance));
    }
    Ok(all)
}

fn gather(kernel: &mut Kernel, ns: &Ns, conflicts: &[Conflict]) -> Result<Evidence, Error> {
    let mut tables: Vec<u32> = Vec::new();
    for conflict in conflicts.iter().filter(|conflict| conflict.id.ns == *ns) {
        if let Key::Route(key) = &conflict.id.key {
            tables.push(key.table);
        }
    }
    tables.sort_unstable();
    tables.dedup();
    let socket = kernel.socket(ns)?;
    let mut routes = Vec::new();
    for table in tables {
        routes.extend(read::routes(socket, table)?);
    }
    Ok(Evidence {
        links: read::links(socket)?,
        addresses: read::addresses(socket)?,
        routes,
        rules: read::rules(socket)?.0,
    })
}

fn program(name: &'static str, sign: impl Into<String>) -> Provenance {
    let sign = sign.into();
    Provenance::Program { name, sign }
}

/// Where Docker keeps the namespaces of its containers, Podman and CRI runtimes having theirs in
/// [`namespace::DIRECTORY`].
const DOCKERS: [&str; 2] = ["/run/docker/netns", "/var/run/docker/netns"];

pub(super) fn of_namespace(kernel: &Kernel, name: &NamespaceName) -> Result<Provenance, Error> {
    let path = namespace::path(name);
    if let Ok(target) = fs::read_link(&path) {
        let target = target.display().to_string();
        let sign = format!("{} leads to {target}", path.display());
        return Ok(if target.contains("docker") {
            program("Docker", sign)
        } else {
            program("a container or a process", sign)
        });
    }
    let door = super::space::door_of(&kernel.doors, &Ns::Named(name.clone()))?;
    let inode = inode_of(door.as_fd())?;
    if let Some(path) = DOCKERS.iter().find_map(|place| same_file(place, inode)) {
        let sign = format!("{} is the same one", path.display());
        return Ok(program("Docker", sign));
    }
    let name = name.as_str();
    let is_uuid =
        |rest: &str| rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    Ok(if name.strip_prefix("cni-").is_some_and(is_uuid) {
        program("containerd or CRI-O", "a pod's has such a name")
    } else if name.strip_prefix("netns-").is_some_and(is_uuid) {
        program("Podman", "a container's has such a name")
    } else {
        Provenance::Named
    })
}

/// The file of a directory that is one namespace.
fn same_file(directory: &str, inode: u64) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    let found = entries
        .find(|entry| fs::metadata(entry.path()).is_ok_and(|metadata| metadata.ino() == inode));
    found.map(|entry| entry.path())
}

fn of_thing(key: &Key, on_host: bool, evidence: &Evidence) -> Provenance {
    let by_name = |name: &LinkName| {
        let mut links = evidence.links.iter();
        links.find(|link| link.name == name.as_str())
    };
    let by_index = |index: u32| evidence.links.iter().find(|link| link.index == index);
    let of_its_link = |link: Option<&Link>| match link {
        // What is on a link that a program manages is that program's, too.
        Some(link) => match of_link(link, on_host, &evidence.links) {
            program @ Provenance::Program { .. } => program,
            _ => Provenance::Unknown(None),
        },
        None => Provenance::Unknown(None),
    };
    match key {
        Key::Link(name) | Key::Port(name) => by_name(name)
            .map_or(Provenance::Unknown(None), |link| {
                of_link(link, on_host, &evidence.links)
            }),
        Key::Address(key) => {
            let link = by_name(&key.link);
            let mut addresses = evidence.addresses.iter();
            let found = addresses.find(|address| {
                address.ip == key.ip && link.is_some_and(|link| link.index == address.index)
            });
            match found.map(|address| (address.protocol, address.permanent)) {
                Some((tag::PROTOCOL, _)) => Provenance::Unclaimed,
                Some((1..=3, _)) => Provenance::Kernel,
                Some((_, false)) => match of_its_link(link) {
                    found @ Provenance::Program { .. } => found,
                    _ => program("a DHCP client", "the address has a lifetime"),
                },
                _ => of_its_link(link),
            }
        }
        Key::Route(key) => {
            let mut routes = evidence.routes.iter();
            let found = routes.find(|route| {
                route.table == key.table && route.to == key.to && route.metric == key.metric
            });
            let Some(route) = found else {
                return Provenance::Unknown(None);
            };
            let link = route.hops.first().and_then(|hop| by_index(hop.index?));
            match of_protocol(route.protocol) {
                Some(provenance) => provenance,
                None => of_its_link(link),
            }
        }
        Key::Rule(key) => {
            let found = evidence.rules.iter().find(|rule| rule.key == **key);
            let protocol = found.map_or(0, |rule| rule.protocol);
            of_protocol(protocol).unwrap_or(Provenance::Unknown(None))
        }
        _ => Provenance::Unknown(None),
    }
}

/// Whose a route or a rule is, by its protocol number (`linux/rtnetlink.h` of Linux 6.18). None: it doesn't
/// tell, as those of `ip` and of managers of networks.
pub(super) fn of_protocol(number: u8) -> Option<Provenance> {
    let name = match number {
        1 | 2 => return Some(Provenance::Kernel),
        tag::PROTOCOL => return Some(Provenance::Unclaimed),
        8 => "gated",
        9 => "a router's advertisement",
        11 => "zebra",
        12 => "BIRD",
        16 => "a DHCP client",
        18 => "keepalived",
        42 => "babeld",
        99 => "Open/R",
        186 | 187 | 188 | 189 | 192 => "FRRouting",
        _ => return None,
    };
    Some(program(name, format!("its protocol number is {number}")))
}

/// Where `NetworkManager` and networkd keep what they know of a link, by its number.
const NETWORK_MANAGER: &str = "/run/NetworkManager/devices";
const NETWORKD: &str = "/run/systemd/netif/links";

fn of_link(link: &Link, on_host: bool, all: &[Link]) -> Provenance {
    if let (None, Some(tag)) = (tag::of_link(link), tag::owner(&link.alias)) {
        return Provenance::Copied(tag);
    }
    if link.is_loopback() {
        return Provenance::Kernel;
    }
    if on_host {
        let said = |directory: &str| {
            fs::read_to_string(Path::new(directory).join(link.index.to_string()))
                .unwrap_or_default()
        };
        if let Some(found) = of_manager(&said(NETWORK_MANAGER), &said(NETWORKD), link.index) {
            return found;
        }
    }
    let master = link.master.and_then(|index| {
        let mut links = all.iter();
        links.find(|link| link.index == index)
    });
    if let Some(name) = of_name(&link.name, &link.kind) {
        return program(name, "its links have such names");
    }
    if let Some(name) = master.and_then(|master| of_name(&master.name, &master.kind)) {
        let master = &master.unwrap_or(link).name;
        return program(name, format!("it is a port of {master}"));
    }
    if link.kind.is_empty() {
        return program("this machine", "it is a device");
    }
    Provenance::Unknown(Some(link.alias.clone()).filter(|alias| !alias.is_empty()))
}

/// The links that programs seem to have made, and which; devices are nobody's.
pub(super) fn programs(links: &[Link], on_host: bool) -> BTreeMap<LinkName, &'static str> {
    let mut programs = BTreeMap::new();
    for link in links.iter().filter(|link| !link.kind.is_empty()) {
        if let (Ok(found), Provenance::Program { name, .. }) = (
            LinkName::try_from(link.name.as_str()),
            of_link(link, on_host, links),
        ) {
            programs.insert(found, name);
        }
    }
    programs
}

/// Which manager of networks a link is in the hands of, by what these say of it.
fn of_manager(network_manager: &str, networkd: &str, index: u32) -> Option<Provenance> {
    let says = |text: &str, line: &str| text.lines().any(|found| found.trim() == line);
    if says(network_manager, "managed=true") || says(network_manager, "nm-owned=true") {
        let sign = format!("{NETWORK_MANAGER}/{index} says so");
        return Some(program("NetworkManager", sign));
    }
    let managed = networkd.lines().any(|line| {
        let file = line.strip_prefix("NETWORK_FILE=");
        file.is_some_and(|file| !file.is_empty())
    });
    let sign = format!("{NETWORKD}/{index} says so");
    managed.then(|| program("systemd-networkd", sign))
}

/// Whose links have such names.
fn of_name(name: &str, kind: &str) -> Option<&'static str> {
    let is_hex = |rest: &str, length: usize| {
        rest.len() == length && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let bridge = kind == "bridge";
    let found = match name {
        "docker0" | "docker_gwbridge" => "Docker",
        _ if bridge
            && name
                .strip_prefix("br-")
                .is_some_and(|rest| is_hex(rest, 12)) =>
        {
            "Docker"
        }
        "cni0" | "kube-bridge" | "kube-ipvs0" | "cilium_host" | "cilium_net" => "Kubernetes",
        _ if name.starts_with("flannel.") || kind == "veth" && is_cali(name) => "Kubernetes",
        _ if bridge && (name == "cni-podman0" || numbered("podman")) => "Podman",
        _ if bridge && numbered("virbr") || kind == "tun" && numbered("vnet") => "libvirt",
        "lxcbr0" | "lxdbr0" => "LXC",
        "incusbr0" => "Incus",
        _ => return None,
    };
    Some(found)
}

/// Whether a name is one that Calico gives: `cali` and eleven digits in base 16.
fn is_cali(name: &str) -> bool {
    let rest = name.strip_prefix("cali");
    rest.is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_tells_whose_it_is_only_with_its_kind() {
        for (name, kind, whose) in [
            ("docker0", "bridge", Some("Docker")),
            ("br-0123456789ab", "bridge", Some("Docker")),
            ("br-0123456789ab", "veth", None),
            ("br-lan", "bridge", None),
            ("virbr0", "bridge", Some("libvirt")),
            ("virbr", "bridge", None),
            ("podman1", "bridge", Some("Podman")),
            ("cali0123456789a", "veth", Some("Kubernetes")),
            ("calibration", "veth", None),
            ("veth0", "veth", None),
        ] {
            assert_eq!(of_name(name, kind), whose, "{name}");
        }
    }

    #[test]
    fn what_the_managers_of_networks_say_is_believed() {
        let name = |found: Option<Provenance>| match found {
            Some(Provenance::Program { name, .. }) => Some(name),
            _ => None,
        };
        let managed = "[device]\nmanaged=true\n";
        let configured = "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-x.network\n";
        assert_eq!(name(of_manager(managed, "", 7)), Some("NetworkManager"));
        assert_eq!(
            name(of_manager("", configured, 7)),
            Some("systemd-networkd")
        );
        assert_eq!(
            of_manager("managed=false\n", "ADMIN_STATE=unmanaged\n", 7),
            None
        );
        assert_eq!(of_manager("", "", 7), None);
    }
}
