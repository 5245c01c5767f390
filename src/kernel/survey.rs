//! Reading everything that has to do with networks, whoever made it.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Error;
use super::nftables::NfSocket;
use super::provenance::{self, Provenance};
use super::socket::Socket;
use super::space::door;
use super::{Kernel, namespace, read, settings, tables};
use crate::resource::name::TopologyName;
use crate::resource::namespace::{INHERITED, Namespace};
use crate::resource::route::{Route, RouteKey, Target};
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};
use crate::state::{Owner, State, Survey, Surveyed};

/// The last parts of the names of settings that nobody need be told of: what says whether a namespace forwards, which
/// a spec has a word of its own for; what the kernel writes by itself; and whether addresses are tried for being
/// another's, which netform switches off in what it makes.
const UNTOLD: [&str; 7] = [
    "forwarding",
    "ip_forward",
    "force_forwarding",
    "mc_forwarding",
    "accept_dad",
    "mtu",
    "temp_prefered_lft",
];

/// What one namespace was found to have.
struct Scan {
    surveyed: Surveyed,
    routes: BTreeSet<RouteKey>,
}

pub(super) fn survey(kernel: &mut Kernel, topology: &TopologyName) -> Result<Survey, Error> {
    let named = namespace::names()?.into_iter().map(Ns::Named);
    let all: Vec<Ns> = named.chain([Ns::Host]).collect();
    let usual = settings::usual(is_told)?;
    let scans = namespace::spread(all, |ns| {
        let scan = scan(kernel, &ns, &usual)?;
        Ok::<_, Error>(scan.map(|scan| (ns, scan)))
    });
    let mut concerned = State::new();
    let mut places = BTreeMap::new();
    let owner = || Owner::Topology(topology.clone());
    for scanned in scans {
        let Some((
            ns,
            Scan {
                mut surveyed,
                routes,
            },
        )) = scanned?
        else {
            continue;
        };
        if let Ns::Named(name) = &ns {
            let id = Id::namespace(ns.clone());
            concerned.insert(id, Resource::Namespace(Namespace::default()), owner());
            if let Provenance::Program { name, .. } = provenance::of_namespace(kernel, name)? {
                surveyed.program = Some(name);
            }
        }
        for key in routes {
            // Which table to look into is all that is told with this.
            let route = Route {
                target: Target::Blackhole,
                src: None,
                mtu: None,
            };
            let id = Id::new(ns.clone(), Key::Route(key));
            concerned.insert(id, Resource::Route(route), owner());
        }
        for family in Family::BOTH {
            let switch = Key::Sysctl(SysctlKey::forwarding(family));
            let id = Id::new(ns.clone(), switch);
            concerned.insert(id, Resource::Sysctl(Sysctl::on()), owner());
        }
        places.insert(ns, surveyed);
    }
    let state = kernel.observe_as(topology, &concerned)?;
    Ok(Survey {
        concerned,
        state,
        places,
    })
}

/// Observes what was surveyed as another topology sees it. What else there is to tell is the same for all.
pub(super) fn see_as(
    kernel: &mut Kernel,
    survey: &mut Survey,
    topology: &TopologyName,
) -> Result<(), Error> {
    survey.state = kernel.observe_as(topology, &survey.concerned)?;
    Ok(())
}

/// Looks at a namespace, on a thread that ends afterwards. None: it doesn't exist.
fn scan(kernel: &Kernel, ns: &Ns, usual: &BTreeMap<String, String>) -> Result<Option<Scan>, Error> {
    let Some(door) = door(&kernel.doors, ns)? else {
        return Ok(None);
    };
    namespace::enter(&door)?;
    let mut socket = Socket::open()?;
    let links = read::links(&mut socket)?;
    let mut surveyed = Surveyed::default();
    let mut routes = BTreeSet::new();
    for route in read::every_route(&mut socket)? {
        let key = RouteKey {
            table: route.table,
            to: route.to,
            metric: route.metric,
        };
        if let Some(Provenance::Program { name, .. }) = provenance::of_protocol(route.protocol) {
            surveyed.kept.insert(key.clone(), name);
        }
        routes.insert(key);
    }
    (_, surveyed.other_rules) = read::rules(&mut socket)?;
    surveyed.programs = provenance::programs(&links, *ns == Ns::Host);
    let names = links
        .iter()
        .map(|link| (link.index, link.name.clone()))
        .collect();
    match NfSocket::open().and_then(|mut socket| socket.others(&names)) {
        Ok(others) => {
            surveyed.tables = others.tables;
            surveyed.translations = others.translations;
            surveyed.judges = others.judges;
        }
        Err(error) if tables::lacks_nftables(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let here = settings::here(is_told)?;
    let told = here
        .iter()
        .filter(|(path, value)| usual.get(*path) != Some(value) && !is_made_so(path, value));
    for (path, value) in told {
        let Ok(key) = SysctlKey::parse(path) else {
            continue;
        };
        let matters = match &key {
            SysctlKey::Global(_) => *ns != Ns::Host,
            // A link begins with what `default` says.
            SysctlKey::Conf { family, link, name } => {
                let default = SysctlKey::of_links(*family, "default", name).path();
                let is_lo = link.as_str() == "lo";
                is_lo && *ns != Ns::Host
                    || !is_lo
                        && here.get(&default) != Some(value)
                        && usual.get(&default) != Some(value)
            }
        };
        if matters {
            surveyed.settings.insert(key, value.clone());
        }
    }
    Ok(Some(Scan { surveyed, routes }))
}

/// Whether a setting has the value that it has in every namespace of netform's.
fn is_made_so(path: &str, value: &str) -> bool {
    let rest = path.strip_prefix("net/ipv4/conf/");
    let Some((link, name)) = rest.and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let place = match link {
        "all" => 0,
        "default" => 1,
        "lo" => 2,
        _ => return false,
    };
    let mut values = INHERITED.iter();
    values.any(|(known, values)| *known == name && values[place] == value)
}

/// Whether somebody need be told of a setting, or of what is below it.
fn is_told(path: &str) -> bool {
    let name = settings::last(path);
    // What is known of neighbours by link is not for a spec to say.
    let of_neighbours = path
        .strip_suffix(name)
        .is_some_and(|above| above.ends_with("/neigh/"));
    !UNTOLD.contains(&name)
        && !settings::SECRET.contains(&name)
        && (name == "default" || !of_neighbours)
}
