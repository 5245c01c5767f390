//! What systemd-networkd takes away (`link_drop_foreign_config` of its `networkd-link.c`).
//!
//! When it configures a link, at its start for example, it removes the routes over that link that it didn't
//! make, those over no link, all rules, and the link's addresses.

use std::collections::BTreeSet;

use super::super::{Lowering, listed};
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Ns, Resource};
use crate::state::{Keeps, Networkd};

/// The drop-in that has it leave routes and rules alone.
const DROP_IN: &str = "/etc/systemd/networkd.conf.d/50-netform.conf";

impl Lowering<'_> {
    /// What of the topology's on the host it will remove.
    pub(super) fn networkd(&mut self) {
        let Some(networkd) = &self.facts.machine.networkd else {
            return;
        };
        let mut texts = Vec::new();
        texts.extend(self.links_of(networkd));
        texts.extend(self.routing_of(networkd));
        texts.extend(self.addresses_of(networkd));
        for text in texts {
            self.remark(&Ns::Host, text);
        }
    }

    /// What is wanted on the host.
    fn on_host(&self) -> impl Iterator<Item = (&Key, &Resource)> {
        let entries = self.state.entries.iter();
        let here = entries.filter(|(id, _)| id.ns == Ns::Host);
        here.map(|(id, entry)| (&id.key, &entry.resource))
    }

    /// Links that netform makes, and that it manages.
    fn links_of(&self, networkd: &Networkd) -> Vec<String> {
        let managed = networkd.links.iter();
        let made = managed.filter(|(name, _)| {
            let id = Id::link(Ns::Host, (*name).clone());
            self.state.get(&id).is_some()
        });
        made.map(|(name, managed)| {
            format!(
                "systemd-networkd manages {name}, by {}, and takes from it what it didn't give: have it leave netform's \
                 links alone, as `netform show --hints` says",
                managed.file
            )
        })
        .collect()
    }

    /// Routes and rules.
    fn routing_of(&self, networkd: &Networkd) -> Option<String> {
        let takes = |link: &LinkName| {
            let managed = networkd.links.get(link);
            managed.is_some_and(|managed| managed.keeps != Keeps::All)
        };
        if !networkd.links.keys().any(takes) {
            return None;
        }
        let mut routes = self.on_host().filter(|(_, resource)| match resource {
            Resource::Route(route) => {
                let mut links = route.hops().iter().filter_map(|hop| hop.dev.as_ref());
                route.hops().is_empty() || links.any(takes)
            }
            _ => false,
        });
        let routes = networkd.routes && routes.next().is_some();
        let mut rules = self.on_host();
        let rules = networkd.rules && rules.any(|(key, _)| matches!(key, Key::Rule(_)));
        let (what, settings) = match (routes, rules) {
            (true, true) => (
                "routes and rules",
                "ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no",
            ),
            (true, false) => ("routes", "ManageForeignRoutes=no"),
            (false, true) => ("rules", "ManageForeignRoutingPolicyRules=no"),
            (false, false) => return None,
        };
        Some(format!(
            "systemd-networkd removes {what} of this topology when it starts again: write {settings} below [Network] \
             in {DROP_IN} (`netform show --hints` prints it)"
        ))
    }

    /// Addresses on its links.
    fn addresses_of(&self, networkd: &Networkd) -> Option<String> {
        let links = self.on_host().filter_map(|(key, _)| match key {
            Key::Address(key) => {
                let managed = networkd.links.get(&key.link)?;
                let id = Id::link(Ns::Host, key.link.clone());
                let takes = managed.keeps == Keeps::Nothing && self.state.get(&id).is_none();
                takes.then_some((&key.link, &managed.file))
            }
            _ => None,
        });
        let links: BTreeSet<(&LinkName, &String)> = links.collect();
        if links.is_empty() {
            return None;
        }
        let files: BTreeSet<&str> = links
            .iter()
            .filter_map(|(_, file)| file.rsplit('/').next())
            .collect();
        let files = files
            .into_iter()
            .map(|file| format!("/etc/systemd/network/{file}.d/50-netform.conf"));
        Some(format!(
            "systemd-networkd removes the addresses of this topology on {} when it starts again: write \
             KeepConfiguration=static below [Network] in {}",
            listed(links.iter().map(|(link, _)| link)),
            listed(files)
        ))
    }
}
