//! What stands in the way of a plan, as a person is told: what it is, whose it seems to be, and the ways out.

use crate::kernel::Provenance;
use crate::plan::Conflict;
use crate::render::phrase;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Key, Ns, Resource};
use crate::state::Owner;

/// A conflict, in a line of what and whose, one of what stands there, and one for each way out.
///
/// `place` is where the spec names it, if that is known. Without a provenance nobody looked whose it seems to be.
pub(super) fn text(
    conflict: &Conflict,
    provenance: Option<&Provenance>,
    topology: &TopologyName,
    place: Option<&str>,
) -> String {
    if let (Key::Port(link), Resource::Port(port)) = (&conflict.id.key, &conflict.resource) {
        return port_of_others(conflict, link, &port.master);
    }
    let what = phrase::located(&conflict.id, topology);
    let mut lines = match &conflict.owner {
        Owner::Topology(owner) => of_topology(conflict, &what, owner, topology, place),
        Owner::Disputed(by) => disputed(conflict, &what, by, provenance, topology),
        Owner::Kernel | Owner::Foreign | Owner::Offered => {
            untagged(conflict, &what, provenance, place)
        }
    };
    let stands = phrase::resource(&conflict.id, &conflict.resource, topology);
    if !matches!(conflict.id.key, Key::Namespace | Key::File(_) | Key::Table) {
        lines.insert(1, format!("it stands there as: {stands}"));
    }
    lines.join("\n  ")
}

/// What to write in the spec instead.
fn another_name(conflict: &Conflict, place: Option<&str>) -> Option<String> {
    let place = place.map_or_else(|| "in the spec".to_owned(), |place| format!("at {place}"));
    match conflict.id.key {
        Key::Namespace | Key::Link(_) => Some(format!("give it another name {place}")),
        Key::Address(_) | Key::Route(_) | Key::Rule(_) => {
            Some(format!("write another one {place}, or none"))
        }
        Key::File(_) | Key::Port(_) | Key::Sysctl(_) | Key::Table | Key::Permit(_) => None,
    }
}

/// Ways out, the first begins with "either" if there are several.
fn ways(ways: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    let ways: Vec<String> = ways.into_iter().flatten().collect();
    let several = ways.len() > 1;
    let mut lines = Vec::new();
    for (place, way) in ways.into_iter().enumerate() {
        lines.push(match (several, place) {
            (false, _) => way,
            (true, 0) => format!("either {way},"),
            (true, _) => format!("or {way}"),
        });
    }
    lines
}

fn of_topology(
    conflict: &Conflict,
    what: &str,
    owner: &TopologyName,
    topology: &TopologyName,
    place: Option<&str>,
) -> Vec<String> {
    let ns = &conflict.id.ns;
    let destroy = format!("`netform destroy {owner}` first");
    let (first, out) = match &conflict.id.key {
        Key::Namespace if owner == topology => (
            "was made by this topology, and its spec calls it external now".to_owned(),
            vec![
                Some("remove `external` there".to_owned()),
                Some(format!(
                    "`netform destroy {topology}` and let somebody else make it (`ip netns add {ns}`) first"
                )),
            ],
        ),
        Key::Sysctl(SysctlKey::Global(_)) if *ns != Ns::Host => (
            format!("has another value by the wish of topology {owner}"),
            vec![
                Some("write the same in both specs (`forwarding` of the namespace)".to_owned()),
                Some(destroy),
            ],
        ),
        Key::Sysctl(_) => (
            format!("is on loan to topology {owner}, with another value"),
            vec![
                Some("write the same value in both specs".to_owned()),
                Some(destroy),
            ],
        ),
        _ => (
            format!("belongs to topology {owner}"),
            vec![
                another_name(conflict, place),
                Some(destroy),
                Some(format!(
                    "rename all of {owner} with `--adopt-from {owner}`, if this topology is to take its place"
                )),
            ],
        ),
    };
    let mut lines = vec![format!("{what} {first}")];
    lines.extend(ways(out));
    lines
}

fn disputed(
    conflict: &Conflict,
    what: &str,
    by: &TopologyName,
    provenance: Option<&Provenance>,
    topology: &TopologyName,
) -> Vec<String> {
    let ns = &conflict.id.ns;
    let tag = match provenance {
        Some(Provenance::Retagged(Some(tag))) => format!("carries the tag of topology {tag}"),
        None => "carries another tag or none".to_owned(),
        _ => "carries no tag".to_owned(),
    };
    let whose = if by == topology {
        "this topology's record says that it made it".to_owned()
    } else {
        format!("the record of topology {by} says that it made it")
    };
    let mut lines = vec![
        format!("{what} {tag}, but {whose}"),
        "somebody inside rewrote the alias of `lo`, or somebody else made a namespace of that name"
            .to_owned(),
    ];
    lines.extend(ways([
        Some(format!(
            "give it its tag back if it is {by}'s (`ip -n {ns} link set lo alias netform:{by}`)"
        )),
        (by == topology).then(|| "let `apply --adopt` do that".to_owned()),
        Some(format!(
            "strike \"{ns}\" out of `namespaces` in /run/netform/{by}.json if it is somebody else's"
        )),
    ]));
    lines
}

fn untagged(
    conflict: &Conflict,
    what: &str,
    provenance: Option<&Provenance>,
    place: Option<&str>,
) -> Vec<String> {
    let exists = format!("{what} exists, and netform didn't make it");
    let unknown = Provenance::Unknown(None);
    let is_looked_up = provenance.is_some();
    let provenance = provenance.unwrap_or(&unknown);
    let (first, why) = match provenance {
        Provenance::Program { name, sign } => {
            (format!("{exists}: it seems to be {name}'s ({sign})"), None)
        }
        Provenance::Unknown(Some(alias)) => (
            format!("{exists}: it was made by hand or by a program, and its alias is {alias:?}"),
            None,
        ),
        _ if !is_looked_up => (
            format!("{exists}: `netform plan` on the host itself tells whose it seems to be"),
            None,
        ),
        Provenance::Unknown(None) | Provenance::Retagged(_) => (
            format!("{exists}: it was made by hand, or by a program that doesn't say so"),
            None,
        ),
        Provenance::Named => (
            format!("{exists}: `ip netns add` seems to have made it"),
            None,
        ),
        Provenance::Kernel => (format!("{exists}: it is the kernel's own"), None),
        Provenance::Copied(tag) if conflict.id.key == Key::Namespace => (
            format!("{what} says that it belongs to topology {tag}, and nothing else does"),
            Some(
                "neither a record nor a link of that topology knows of it, so the tag may be copied",
            ),
        ),
        Provenance::Copied(tag) => (
            format!("{what} has the alias of topology {tag}'s links, but not their group number"),
            Some("somebody copied the alias, or changed the number, so it is left alone"),
        ),
        Provenance::Unclaimed => (
            format!("{what} was made by netform, and no record says for which topology"),
            Some("the record in /run/netform that said so is lost"),
        ),
    };
    let mut lines = vec![first];
    lines.extend(why.map(str::to_owned));
    let by_hand = removal(conflict)
        .filter(|_| *provenance != Provenance::Kernel)
        .map(|command| format!("remove it by hand if nothing needs it (`{command}`)"));
    lines.extend(ways([
        another_name(conflict, place),
        by_hand,
        takeover(conflict, provenance),
    ]));
    lines.extend(refusal(conflict));
    lines
}

/// The way out by which it becomes the topology's. Of programs that manage what they made it isn't offered:
/// they would go on.
fn takeover(conflict: &Conflict, provenance: &Provenance) -> Option<String> {
    let of_program = matches!(provenance, Provenance::Program { .. } | Provenance::Kernel);
    let fits = conflict.unfit.is_none() && !of_program;
    fits.then(|| "take it over with `--adopt`, which changes only what differs".to_owned())
}

/// Why it can't become the topology's.
fn refusal(conflict: &Conflict) -> Option<String> {
    let why = conflict.unfit.as_ref()?;
    Some(format!("`--adopt` can't take it over: {why}"))
}

/// The command that removes what stands in the way.
fn removal(conflict: &Conflict) -> Option<String> {
    let ip = match &conflict.id.ns {
        Ns::Host => "ip".to_owned(),
        Ns::Named(ns) => format!("ip -n {ns}"),
    };
    Some(match (&conflict.id.key, &conflict.resource) {
        (Key::Namespace, _) => format!("ip netns delete {}", conflict.id.ns),
        (Key::Link(name), _) => format!("{ip} link delete {name}"),
        (Key::Address(key), Resource::Address(address)) => {
            format!(
                "{ip} address delete {}/{} dev {}",
                key.ip, address.prefix, key.link
            )
        }
        (Key::Route(key), _) => {
            let family = if key.to.addr().is_ipv6() { " -6" } else { "" };
            format!(
                "{ip}{family} route delete {} table {} metric {}",
                key.to, key.table, key.metric
            )
        }
        (Key::Rule(key), _) => {
            let family = match key.family {
                crate::resource::Family::Ipv6 => " -6",
                crate::resource::Family::Ipv4 => "",
            };
            format!("{ip}{family} rule delete priority {}", key.priority)
        }
        (Key::File(kind), _) => format!("rm {}", phrase::path(&conflict.id.ns, *kind)),
        (Key::Table, Resource::Table(table)) => match conflict.id.ns {
            Ns::Host => format!("nft delete table inet {}", table.name),
            Ns::Named(ref ns) => format!("ip netns exec {ns} nft delete table inet {}", table.name),
        },
        _ => return None,
    })
}

/// What a link is a port of that is to be one by this topology, whose doing it is, and the ways out.
fn port_of_others(conflict: &Conflict, link: &LinkName, master: &LinkName) -> String {
    let (place, inside) = match &conflict.id.ns {
        Ns::Host => ("on the host".to_owned(), String::new()),
        Ns::Named(ns) => (format!("in namespace {ns}"), format!("ip netns exec {ns} ")),
    };
    let what = format!("link {link} {place} is a port of {master} already");
    match &conflict.owner {
        Owner::Topology(owner) => format!(
            "{what}, by the wish of topology {owner}\n  \
             remove its `bridge` in one of the two specs, or `netform destroy {owner}` first"
        ),
        _ => format!(
            "{what}, and netform didn't make it one\n  \
             release it if nothing needs that (`{inside}ip link set {link} nomaster`), or remove its `bridge` in \
             the spec,\n  or take it over with `--adopt`, which moves it if it is a port of another"
        ),
    }
}
