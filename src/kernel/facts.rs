//! What lowering must know of the host, and of external namespaces.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use hmac::{Hmac, Mac};
use ipnet::IpNet;
use sha2::Sha256;

use super::error::Error;
use super::observe::{Host, Seen};
use super::read::{self, Reading};
use super::record::Record;
use super::{config, external, observe, programs, sysctl, tag};
use crate::resource::address::Held;
use crate::resource::firewall::Firewall;
use crate::resource::link::bridge;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::route::{MAIN, RouteKey};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns};
use crate::state::{
    DefaultRoute, External, Facts, Loan, Machine, Place, PlaceLink, PlacePorts, PlaceRoute,
    PlaceRule,
};

/// `rtm_protocol` of routes from router advertisements (`RTPROT_RA`).
const ADVERTISED: u8 = 9;

/// What is to be known of a machine, and of the namespaces of others: the host's, and some.
pub(super) fn facts<H: Host>(host: &mut H, wanted: &External) -> Result<(Facts, Vec<Seen>), Error> {
    external::require(host, wanted)?;
    let seen = observe::see_found(host)?;
    external::distinct(&seen, wanted)?;
    let records = host.records()?.into_iter();
    let records: Vec<Record> = records
        .map(|record| record.seen_from(host.names()))
        .collect();
    let loans = observe::on_loan(&records);
    let mut facts = Facts::default();
    for Seen { ns, reading, .. } in &seen {
        let place = place(ns, reading, &records, &loans);
        match ns {
            Ns::Host => {
                facts.machine = host.machine(&reading.links);
                facts.host = place;
            }
            Ns::Named(name) => {
                facts.external.insert(name.clone(), place);
            }
        }
    }
    Ok((facts, seen))
}

/// What is to be known of a machine whose host has some links.
pub(super) fn machine(links: &[read::Link]) -> Machine {
    Machine {
        id: id(),
        force_forwarding: sysctl::exists("net/ipv6/conf/all/force_forwarding"),
        ipv6: sysctl::exists("net/ipv6/conf"),
        resolvers: resolvers(),
        nsswitch: config::text("/etc/nsswitch.conf").unwrap_or_default(),
        networkd: programs::networkd(links),
        network_manager: programs::network_manager(),
    }
}

/// What says how the sources of packets are checked.
pub(super) const OF_SOURCES: [&str; 2] = ["rp_filter", "src_valid_mark"];

/// A setting of all IPv4 links together.
pub(super) fn of_all(name: &str) -> SysctlKey {
    SysctlKey::of_links(Family::Ipv4, "all", name)
}

fn place(ns: &Ns, reading: &Reading, records: &[Record], loans: &BTreeMap<Id, Loan>) -> Place {
    let on = |value: Option<&String>| value.is_some_and(|value| value != "0");
    let forwards = |family| reading.sysctls.get(&SysctlKey::forwarding(family));
    let before = |family| {
        let switch = SysctlKey::forwarding(family);
        let loan = loans.get(&Id::new(ns.clone(), Key::Sysctl(switch)));
        let original = loan.and_then(|loan| loan.by.values().next());
        on(original.or(forwards(family)))
    };
    let for_all = |name| {
        let value = reading.sysctls.get(&of_all(name));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    Place {
        links: links(reading),
        default: default_routes(ns, reading, records),
        ipv4_forwarding: on(forwards(Family::Ipv4)),
        ipv4_router: before(Family::Ipv4),
        ipv6_forwarding: before(Family::Ipv6),
        firewall: Firewall::default(),
        routes: routes(ns, reading, records),
        rules: (!reading.other_rules).then(|| rules(ns, reading, records)),
        frames: Family::BOTH
            .into_iter()
            .filter(|family| on(reading.sysctls.get(&SysctlKey::frames(*family))))
            .collect(),
        rp_filter: for_all(OF_SOURCES[0]),
        src_valid_mark: for_all(OF_SOURCES[1]),
        routers: loans
            .get(&Id::new(
                ns.clone(),
                Key::Sysctl(SysctlKey::forwarding(Family::Ipv4)),
            ))
            .map(|loan| loan.by.keys().cloned().collect())
            .unwrap_or_default(),
        ports: PlacePorts::default(),
    }
}

/// The topology whose record claims something.
fn claimed(records: &[Record], id: &Id) -> Option<TopologyName> {
    let claim = records.iter().find(|record| record.claims.contains(id));
    claim.map(|record| record.topology.clone())
}

fn routes(ns: &Ns, reading: &Reading, records: &[Record]) -> Vec<PlaceRoute> {
    let by_index: HashMap<u32, &read::Link> = reading
        .links
        .iter()
        .map(|link| (link.index, link))
        .collect();
    let unicast = reading
        .routes
        .iter()
        .filter(|route| route.table == MAIN && route.kind == libc::RTN_UNICAST);
    unicast
        .map(|route| {
            let links = route.hops.iter().filter_map(|hop| hop.index);
            let links: Vec<&read::Link> = links
                .filter_map(|index| by_index.get(&index).copied())
                .collect();
            let key = RouteKey::new(route.table, route.to, route.metric);
            let claim = Some(Id::new(ns.clone(), Key::Route(key)))
                .filter(|_| route.protocol == tag::PROTOCOL)
                .and_then(|id| claimed(records, &id));
            let of_links = || links.iter().find_map(|link| tag::of_link(link));
            PlaceRoute {
                to: route.to,
                metric: route.metric,
                owner: claim.or_else(of_links),
                links: links
                    .iter()
                    .filter_map(|link| LinkName::try_from(link.name.as_str()).ok())
                    .collect(),
            }
        })
        .collect()
}

fn rules(ns: &Ns, reading: &Reading, records: &[Record]) -> Vec<PlaceRule> {
    let rules = reading.rules.iter();
    rules
        .filter(|rule| rule.key.family == Family::Ipv4)
        .map(|rule| PlaceRule {
            key: rule.key.clone(),
            action: rule.action,
            owner: claimed(
                records,
                &Id::new(ns.clone(), Key::Rule(Box::new(rule.key.clone()))),
            ),
        })
        .collect()
}

/// The name servers that systemd-resolved asks (`man 8 systemd-resolved.service`), but for such that are on
/// a loopback themselves.
fn resolvers() -> Vec<IpAddr> {
    let text = config::text("/run/systemd/resolve/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let server = words.next().filter(|word| *word == "nameserver");
        server.and_then(|_| words.next()?.parse().ok())
    });
    servers.filter(|ip: &IpAddr| !ip.is_loopback()).collect()
}

/// What the identity of this machine is to netform: the machine's own is confidential (`man 5 machine-id`), and can't be
/// told from this. A machine without one gets the addresses that any such machine would get.
fn id() -> String {
    let text = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    of_this_program(text.trim()).unwrap_or_default()
}

/// What `man 3 sd_id128_get_machine_app_specific` makes of a machine's identity for this program:
/// `systemd-id128 machine-id --app-specific=1f7c62f41df14f3fa3a77f0c3ee0e4f9`.
fn of_this_program(machine: &str) -> Option<String> {
    const PROGRAM: u128 = 0x1f7c_62f4_1df1_4f3f_a3a7_7f0c_3ee0_e4f9;
    let is_one = machine.len() == 32 && machine.bytes().all(|byte| byte.is_ascii_hexdigit());
    let machine = u128::from_str_radix(machine, 16).ok().filter(|_| is_one)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&machine.to_be_bytes()).ok()?;
    mac.update(&PROGRAM.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let mut bytes: [u8; 16] = hash[..16].try_into().ok()?;
    // It says of itself that it is random (RFC 9562, version 4).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn links(reading: &Reading) -> BTreeMap<LinkName, PlaceLink> {
    let mut addresses: HashMap<u32, Vec<Held>> = HashMap::new();
    for address in &reading.addresses {
        let near = IpNet::new(address.peer.unwrap_or(address.ip), address.prefix);
        if let Ok(near) = near {
            let of_link = addresses.entry(address.index).or_default();
            of_link.push(Held::point_to_point(address.ip, near));
        }
    }
    let mut beside: HashMap<u32, Vec<IpNet>> = HashMap::new();
    for route in &reading.routes {
        if let [hop] = route.hops.as_slice()
            && let (Some(index), None) = (hop.index, hop.via)
            && route.table == MAIN
            && route.protocol != tag::PROTOCOL
            && route.to.prefix_len() > 0
        {
            beside.entry(index).or_default().push(route.to);
        }
    }
    let advertised: HashSet<u32> = reading
        .routes
        .iter()
        .filter(|route| route.protocol == ADVERTISED)
        .flat_map(|route| route.hops.iter().filter_map(|hop| hop.index))
        .collect();
    let join = |index| {
        let mut links = reading.links.iter();
        let master = links.find(|link| link.index == index)?;
        let joins = [bridge::NAME, "bond", "team"].contains(&master.kind.as_str());
        LinkName::try_from(master.name.as_str())
            .ok()
            .filter(|_| joins)
    };
    let one = |link: &read::Link| {
        let name = LinkName::try_from(link.name.as_str()).ok()?;
        let addresses = addresses.get(&link.index).cloned().unwrap_or_default();
        let accept_ra = link
            .conf(Family::Ipv6, "accept_ra")
            .and_then(|value| u8::try_from(value).ok());
        let forwards = link.conf(Family::Ipv6, "forwarding") != Some(0);
        let owner = tag::of_link(link);
        let listens = match accept_ra {
            Some(1) => !forwards,
            Some(value) => value > 1,
            None => false,
        };
        let of_sources = |name| {
            let value = link.conf(Family::Ipv4, name);
            value
                .and_then(|value| u8::try_from(value).ok())
                .unwrap_or_default()
        };
        let place_link = PlaceLink {
            kind: link.kind.clone(),
            group: link.group,
            ethernet: link.ethernet,
            mtu: link.mtu,
            altnames: link.altnames.clone(),
            up: link.is_up(),
            port_of: link.master.and_then(join),
            addresses,
            beside: beside.get(&link.index).cloned().unwrap_or_default(),
            rp_filter: of_sources(OF_SOURCES[0]),
            src_valid_mark: of_sources(OF_SOURCES[1]),
            accept_ra,
            takes_ra: advertised.contains(&link.index)
                || listens && link.is_up() && !link.is_loopback() && owner.is_none(),
            owner,
        };
        Some((name, place_link))
    };
    reading.links.iter().filter_map(one).collect()
}

fn default_routes(
    ns: &Ns,
    reading: &Reading,
    records: &[Record],
) -> BTreeMap<Family, Vec<DefaultRoute>> {
    let mut found: BTreeMap<Family, Vec<DefaultRoute>> = BTreeMap::new();
    let unicast = reading.routes.iter().filter(|route| {
        route.table == MAIN && route.to.prefix_len() == 0 && route.kind == libc::RTN_UNICAST
    });
    for route in unicast {
        let hops = route.hops.iter().filter_map(|hop| hop.index);
        let mut links = hops.filter_map(|index| {
            let link = reading.links.iter().find(|link| link.index == index)?;
            Some((link, LinkName::try_from(link.name.as_str()).ok()?))
        });
        let Some((link, name)) = links.next() else {
            continue;
        };
        let more = links.map(|(_, name)| name).filter(|other| *other != name);
        let more = more.collect();
        let ours = route.protocol == tag::PROTOCOL;
        let key = RouteKey::new(route.table, route.to, route.metric);
        let id = Id::new(ns.clone(), Key::Route(key));
        let claimed = records.iter().find(|record| record.claims.contains(&id));
        let owner = claimed.map(|record| record.topology.clone());
        let route_found = DefaultRoute {
            link: name,
            more,
            metric: route.metric,
            owner: owner.or_else(|| tag::of_link(link)).filter(|_| ours),
        };
        let of_family = found.entry(Family::of(route.to.addr())).or_default();
        of_family.push(route_found);
    }
    for routes in found.values_mut() {
        routes.sort_by_key(|route| route.metric);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::of_this_program;

    #[test]
    fn a_machines_identity_is_made_this_programs_as_systemd_does() {
        // What `systemd-id128 --app-specific=1f7c62f41df14f3fa3a77f0c3ee0e4f9 machine-id` says of such a machine.
        let made = of_this_program("00112233445566778899aabbccddeeff");
        assert_eq!(made.as_deref(), Some("ac445ea6315f4463a6943b69b682aa13"));
        for none in [
            "",
            "uninitialized",
            "0011",
            "00112233445566778899aabbccddeefg",
        ] {
            assert_eq!(of_this_program(none), None, "{none}");
        }
    }
}
