//! What lowering must know of the host, and of external namespaces.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::error::Error;
use super::observe::Seen;
use super::read::{self, Reading};
use super::{Kernel, external, observe, record, sysctl, tag};
use crate::resource::address::Held;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns};
use crate::state::{External, Facts, Loan, Place, PlaceLink};

/// `rtm_protocol` of routes from router advertisements (`RTPROT_RA`).
const ADVERTISED: u8 = 9;

pub(super) fn facts(kernel: &mut Kernel, wanted: &External) -> Result<Facts, Error> {
    external::require(kernel, wanted)?;
    let seen = observe::see_found(kernel)?;
    let loans = observe::on_loan(&record::all_seen_from(&kernel.doors)?);
    let mut facts = Facts {
        machine: machine(),
        force_forwarding: sysctl::exists("net/ipv6/conf/all/force_forwarding"),
        ipv6: sysctl::exists("net/ipv6"),
        ..Facts::default()
    };
    for Seen { ns, reading, .. } in seen {
        let place = place(&ns, &reading, &loans);
        match ns {
            Ns::Host => facts.host = place,
            Ns::Named(name) => {
                facts.external.insert(name, place);
            }
        }
    }
    Ok(facts)
}

fn place(ns: &Ns, reading: &Reading, loans: &BTreeMap<Id, Loan>) -> Place {
    let on = |value: Option<&String>| value.is_some_and(|value| value != "0");
    let forwards = |family| reading.sysctls.get(&SysctlKey::forwarding(family));
    let before = |family| {
        let switch = SysctlKey::forwarding(family);
        let loan = loans.get(&Id::new(ns.clone(), Key::Sysctl(switch)));
        let original = loan.and_then(|loan| loan.by.values().next());
        on(original.or(forwards(family)))
    };
    Place {
        links: links(reading),
        default: default_links(reading),
        ipv4_forwarding: on(forwards(Family::Ipv4)),
        ipv4_router: before(Family::Ipv4),
        ipv6_forwarding: before(Family::Ipv6),
    }
}

/// The identity of this machine (`man 5 machine-id`). A machine without one gets the addresses that any
/// such machine would get.
fn machine() -> String {
    std::fs::read_to_string("/etc/machine-id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn links(reading: &Reading) -> BTreeMap<LinkName, PlaceLink> {
    let one = |link: &read::Link| {
        let name = LinkName::try_from(link.name.as_str()).ok()?;
        let addresses = reading
            .addresses
            .iter()
            .filter(|address| address.index == link.index)
            .filter_map(|address| {
                let near = IpNet::new(address.peer.unwrap_or(address.ip), address.prefix);
                Some(Held::point_to_point(address.ip, near.ok()?))
            })
            .collect();
        let accept_ra = link
            .conf(Family::Ipv6, "accept_ra")
            .and_then(|value| u8::try_from(value).ok());
        let forwards = link.conf(Family::Ipv6, "forwarding") != Some(0);
        let owner = tag::owner(&link.alias);
        let listens = match accept_ra {
            Some(1) => !forwards,
            Some(value) => value > 1,
            None => false,
        };
        let advertised = reading.routes.iter().any(|route| {
            route.protocol == ADVERTISED
                && route.hops.iter().any(|hop| hop.index == Some(link.index))
        });
        let place_link = PlaceLink {
            kind: link.kind.clone(),
            ethernet: link.ethernet,
            mtu: link.mtu,
            altnames: link.altnames.clone(),
            addresses,
            accept_ra,
            takes_ra: advertised
                || listens && link.is_up() && !link.is_loopback() && owner.is_none(),
            owner,
        };
        Some((name, place_link))
    };
    reading.links.iter().filter_map(one).collect()
}

/// The link of the default route of each family that wins: that of the lowest metric.
fn default_links(reading: &Reading) -> BTreeMap<Family, LinkName> {
    let mut best: BTreeMap<Family, (u32, LinkName)> = BTreeMap::new();
    for route in &reading.routes {
        if route.to.prefix_len() != 0 || route.kind != libc::RTN_UNICAST {
            continue;
        }
        let link = route
            .hops
            .iter()
            .filter_map(|hop| hop.index)
            .find_map(|index| reading.links.iter().find(|link| link.index == index))
            .and_then(|link| LinkName::try_from(link.name.as_str()).ok());
        let family = Family::of(route.to.addr());
        let Some(link) = link else { continue };
        if best
            .get(&family)
            .is_none_or(|(metric, _)| route.metric < *metric)
        {
            best.insert(family, (route.metric, link));
        }
    }
    best.into_iter()
        .map(|(family, (_, link))| (family, link))
        .collect()
}
