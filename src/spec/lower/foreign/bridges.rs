//! What goes from port to port of a bridge, where frames are shown to the rules for what is forwarded
//! (`bridge-nf-call-iptables` of the kernel's `ip-sysctl.rst`, as every host with Docker has it).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Lowering;
use super::passage::Passage;
use crate::resource::link::GROUP;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Ns};
use crate::spec::model::End;

impl Lowering<'_> {
    /// All that goes from port to port of the topology's bridges in a namespace of others, and is shown.
    pub(super) fn bridged(&self, ns: &Ns) -> Vec<Passage> {
        let mut shown = Family::BOTH.to_vec();
        shown.retain(|family| self.is_shown(ns, *family));
        let mut all = Vec::new();
        if shown.is_empty() {
            return all;
        }
        let mut ports: BTreeMap<&LinkName, usize> = BTreeMap::new();
        for end in self.spec.ends().filter(|end| end.ns.value == *ns) {
            if let Some(bridge) = &end.bridge {
                *ports.entry(&bridge.value).or_default() += 1;
            }
        }
        let here = self.made().filter(|end| end.ns.value == *ns);
        let with_ports = |end: &&End| ports.get(&end.name.value).is_some_and(|count| *count >= 2);
        for bridge in here.filter(with_ports) {
            let of = |end: &End| -> Vec<IpAddr> {
                let addresses = end.addresses.iter();
                addresses.map(|address| address.value.addr()).collect()
            };
            let members: BTreeSet<IpAddr> = self.segments.around(bridge).flat_map(of).collect();
            for family in &shown {
                let of_family = members.iter().filter(|ip| Family::of(**ip) == *family);
                if of_family.count() >= 2 {
                    let name = bridge.name.value.clone();
                    all.push(Passage::within(name, GROUP, *family, &members));
                }
            }
        }
        all
    }

    /// Whether frames of a family are shown to the rules for what is forwarded.
    fn is_shown(&self, ns: &Ns, family: Family) -> bool {
        let key = SysctlKey::frames(family);
        let said = self
            .spec
            .entry(ns)
            .into_iter()
            .flat_map(|entry| &entry.sysctls);
        let mut said = said.filter(|setting| setting.key.value == key);
        match said.next() {
            Some(setting) => setting.value.value != "0",
            None => self.place(ns).frames.contains(&family),
        }
    }
}
