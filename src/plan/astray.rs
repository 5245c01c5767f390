//! IPv6 routes that lead the kernel astray while they are changed.
//!
//! The kernel looks a next hop up when it is given one, also one that is said to be on the link (`ip6_route_check_nh_onlink`
//! of `net/ipv6/route.c`), and refuses it where another link leads there. So a route to where a next hop is can't be changed
//! in place: it goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::decide::Decision;
use crate::resource::{Family, Id, Key, Ns, Resource};

/// Has routes be made again that next hops of what is made would be looked for behind.
pub(super) fn consider(decisions: &mut BTreeMap<&Id, Decision<'_>>) {
    let mut sought: BTreeMap<&Ns, BTreeSet<IpAddr>> = BTreeMap::new();
    for (id, decision) in decisions.iter() {
        if let (
            Key::Route(key),
            Decision::Create(Resource::Route(route))
            | Decision::Update(_, Resource::Route(route))
            | Decision::Replace(_, Resource::Route(route), _),
        ) = (&id.key, decision)
            && key.family() == Family::Ipv6
        {
            let vias = route.hops().iter().filter_map(|hop| hop.via);
            sought.entry(&id.ns).or_default().extend(vias);
        }
    }
    for (id, decision) in decisions.iter_mut() {
        let (Key::Route(key), Decision::Update(found, wanted)) = (&id.key, &*decision) else {
            continue;
        };
        // The default route is no hindrance.
        if key.family() != Family::Ipv6 || key.to.prefix_len() == 0 {
            continue;
        }
        let mut behind = sought.get(&id.ns).into_iter().flatten();
        if let Some(via) = behind.find(|via| key.to.contains(*via)) {
            let why = format!("the next hop {via} would be looked for behind it");
            *decision = Decision::Replace(found, wanted, why);
        }
    }
}
