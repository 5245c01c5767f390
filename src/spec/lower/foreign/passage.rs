//! What goes through a gateway, as the firewalls of others see it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::said::Direction;
use crate::resource::Family;
use crate::resource::firewall::{self, Destination, Flow, Side, Stage, TableFamily};
use crate::resource::link::GROUP;
use crate::resource::name::{LinkName, TopologyName};
use crate::resource::nftables::gateway::{
    Arrival, GatewayLink, Inbound, Origin, Publication, Shape,
};
use crate::resource::permit::PermitKey;
use crate::state::Place;

/// Connections of a family that may be opened from behind one link to behind another.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    family: Family,
    pub(super) from: End,
    pub(super) to: End,
    destination: Destination,
}

/// One end of a passage.
#[derive(Debug, Clone)]
pub(super) struct End {
    side: Side,
    /// The prefixes that a gateway link serves.
    pub(super) prefixes: BTreeSet<IpNet>,
    /// What an accept rule is for there: some prefixes only, where a link has others behind it too.
    nets: Vec<Option<IpNet>>,
}

impl End {
    pub(super) fn link(&self) -> &LinkName {
        &self.side.link
    }

    /// The same with one address behind it.
    fn narrowed(mut self, member: IpAddr) -> End {
        let net = IpNet::from(member);
        self.side.addresses = firewall::addresses(Family::of(member), [net]);
        self.nets = vec![Some(net)];
        self
    }

    /// A link that leads out.
    fn outside(place: &Place, link: &LinkName) -> End {
        End {
            side: Side {
                group: place.links.get(link).map(|link| link.group),
                ..Side::outside(link.clone())
            },
            prefixes: BTreeSet::new(),
            nets: vec![None],
        }
    }

    /// A gateway link.
    fn gateway(place: &Place, name: &LinkName, link: &GatewayLink, family: Family) -> End {
        let prefixes = link.prefixes.iter().copied();
        let prefixes = prefixes.filter(|net| Family::of(net.addr()) == family);
        let prefixes: BTreeSet<IpNet> = prefixes.collect();
        let (group, nets) = match link.origin {
            Origin::Made => (Some(GROUP), vec![None]),
            Origin::Existing => (
                place.links.get(name).map(|link| link.group),
                prefixes.iter().copied().map(Some).collect(),
            ),
        };
        let members = link.members.iter().copied();
        let routed = link.routed.iter().copied();
        let mut side = Side::inside(name.clone(), group, family, members, routed);
        if side.addresses.is_none() {
            side.addresses = firewall::addresses(family, prefixes.iter().copied());
        }
        End {
            side,
            prefixes,
            nets,
        }
    }
}

/// All that goes through the gateways of a namespace.
pub(super) fn passages(
    place: &Place,
    links: &BTreeMap<LinkName, GatewayLink>,
    published: &BTreeSet<Publication>,
) -> Vec<Passage> {
    let mut all = Vec::new();
    for (name, link) in links {
        for (family, egress) in &link.egress {
            let inside = End::gateway(place, name, link, *family);
            let outside = End::outside(place, &egress.dev);
            let out = Passage {
                family: *family,
                from: inside,
                to: outside,
                destination: Destination::Own,
            };
            if egress.inbound == Inbound::Allow {
                all.push(Passage {
                    family: *family,
                    from: out.to.clone(),
                    to: out.from.clone(),
                    destination: Destination::Own,
                });
            }
            all.push(out);
        }
        // From one port to another, where that goes through the rules.
        for family in &place.firewall.bridged {
            let end = End::gateway(place, name, link, *family);
            if link.shape == Shape::Bridge && !end.prefixes.is_empty() {
                all.push(Passage {
                    family: *family,
                    from: end.clone(),
                    to: end,
                    destination: Destination::Own,
                });
            }
        }
        let allowed: BTreeSet<(Family, &LinkName)> = link
            .allow
            .iter()
            .map(|allow| (allow.family, &allow.to))
            .collect();
        for (family, to) in allowed {
            let Some(other) = links.get(to) else { continue };
            all.push(Passage {
                family,
                from: End::gateway(place, name, link, family),
                to: End::gateway(place, to, other, family),
                destination: Destination::Own,
            });
        }
    }
    let arriving: BTreeSet<(&LinkName, &LinkName, IpAddr)> = published
        .iter()
        .filter_map(|publication| match &publication.arrival {
            Arrival::Outside(dev) => Some((dev, &publication.behind, publication.to)),
            Arrival::Here => None,
        })
        .collect();
    for (dev, behind, to) in arriving {
        let Some(link) = links.get(behind) else {
            continue;
        };
        let family = Family::of(to);
        let inside = End::gateway(place, behind, link, family);
        all.push(Passage {
            family,
            from: End::outside(place, dev),
            to: inside.narrowed(to),
            destination: Destination::Translated,
        });
    }
    all
}

impl Passage {
    /// What goes from port to port of a bridge: in by the bridge, and out by it.
    pub(super) fn within(
        bridge: LinkName,
        group: u32,
        family: Family,
        members: &BTreeSet<IpAddr>,
    ) -> Passage {
        let members = members.iter().copied();
        let end = End {
            side: Side::inside(bridge, Some(group), family, members, []),
            prefixes: BTreeSet::new(),
            nets: vec![None],
        };
        Passage {
            family,
            from: end.clone(),
            to: end,
            destination: Destination::Own,
        }
    }

    /// Whether it is what goes from port to port of a bridge.
    pub(super) fn is_within(&self) -> bool {
        self.from.link() == self.to.link()
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The packets of its connections.
    pub(super) fn flows(&self) -> [(Direction, Flow); 3] {
        let opening = Flow {
            family: self.family,
            from: self.from.side.clone(),
            to: self.to.side.clone(),
            stage: Stage::Opening,
            destination: self.destination,
        };
        let (following, replies) = (opening.following(), opening.replies());
        [
            (Direction::Out, opening),
            (Direction::Out, following),
            (Direction::Back, replies),
        ]
    }

    /// The accept rules for it, in a chain of iptables.
    pub(super) fn permits(
        &self,
        topology: &TopologyName,
        family: TableFamily,
        chain: &str,
    ) -> Vec<PermitKey> {
        let key = |from: (&End, Option<IpNet>), to: (&End, Option<IpNet>)| PermitKey {
            topology: topology.clone(),
            family,
            chain: chain.to_owned(),
            from: from.0.link().clone(),
            to: to.0.link().clone(),
            source: from.1,
            destination: to.1,
        };
        let pairs = self.from.nets.iter().flat_map(|from| {
            let to = self.to.nets.iter();
            to.map(|to| ((&self.from, *from), (&self.to, *to)))
        });
        pairs
            .flat_map(|(from, to)| [key(from, to), key(to, from)])
            .collect()
    }
}
