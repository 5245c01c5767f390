//! What reads bytes that others write, each as one function, for the fuzzers of `fuzz/` and the replay of their
//! corpus (`tests/fuzz.rs`). Nothing else is to use it.

use std::sync::LazyLock;

use crate::kernel::{self, Snapshot};
use crate::plan;
use crate::render::plan::View;
use crate::render::{self, style::Colour};
use crate::resource::firewall::{Firewall, Table};
use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::saved::Saved;
use crate::sealed::{self, Kind};
use crate::spec::{self, Spec, source::Source};
use crate::state::{DefaultRoute, Facts, Machine, Place, PlaceLink, State};

/// A topology whose packets come by the rules of others.
const GATEWAY: &str = "\
version: 1
name: lab
subnets:
  lan: { cidr: 10.9.0.0/24, gateway: 10.9.0.1, egress: {} }
namespaces: { a: }
veths:
  - ends:
      - { namespace: host, name: lab0, addresses: [10.9.0.1] }
      - { namespace: a, name: eth0, addresses: [10.9.0.2] }
";

static WITH_GATEWAY: LazyLock<Spec> = LazyLock::new(|| {
    let source = Source::new("gateway.yaml", GATEWAY.to_owned());
    spec::parse(&[source]).unwrap_or_else(|found| panic!("{found:?}"))
});

/// A host with an uplink that has default routes of both families.
static FACTS: LazyLock<Facts> = LazyLock::new(|| {
    let link = LinkName::try_from("ens33").expect("a name");
    let route = || DefaultRoute {
        link: link.clone(),
        more: std::collections::BTreeSet::new(),
        metric: 0,
        owner: None,
    };
    let uplink = PlaceLink {
        ethernet: true,
        mtu: 1500,
        up: true,
        ..PlaceLink::default()
    };
    Facts {
        machine: Machine {
            id: "0123456789abcdef".to_owned(),
            ipv6: true,
            ..Machine::default()
        },
        host: Place {
            links: [(link.clone(), uplink)].into(),
            default: Family::BOTH.map(|family| (family, vec![route()])).into(),
            ..Place::default()
        },
        ..Facts::default()
    }
});

/// Reads a saved plan as it is, and as one whose checksum is right.
pub fn saved(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let sealed = serde_json::from_str(text).map(|held| sealed::seal(Kind::Plan, held));
    for text in [Ok(text.to_owned()), sealed].into_iter().flatten() {
        match Saved::parse(&text) {
            Err(why) => assert!(is_harmless(&why), "{why:?}"),
            Ok(saved) => {
                assert_eq!(Saved::parse(&saved.to_text()).as_ref(), Ok(&saved));
                let nothing = plan::Plan {
                    topology: saved.topology.clone(),
                    operations: Vec::new(),
                    warnings: Vec::new(),
                };
                let other = [Source::new("other", String::new())];
                let told = [
                    saved.differs_from(&nothing),
                    saved.differs_from_spec(&other),
                ];
                for text in told.iter().flatten() {
                    assert!(is_harmless(&text.replace('\t', " ")), "{text:?}");
                }
                let _ = spec::parse(&saved.sources());
            }
        }
    }
}

/// Reads a snapshot as it is, and as one whose checksum is right, and plans against it.
pub fn snapshot(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let sealed = serde_json::from_str(text).map(|held| sealed::seal(Kind::Snapshot, held));
    for text in [Ok(text.to_owned()), sealed].into_iter().flatten() {
        match Snapshot::parse(&text) {
            Err(why) => assert!(is_harmless(&why), "{why:?}"),
            Ok(snapshot) => planned_from(snapshot),
        }
    }
}

/// Plans for a topology with a gateway, and for none, on a host of which there is a snapshot.
fn planned_from(mut snapshot: Snapshot) {
    let external = crate::state::External::new();
    let topologies = snapshot.topologies();
    let mut plans = Vec::new();
    if let Ok(mut facts) = snapshot.facts(&external) {
        snapshot.look_at_firewalls(&mut facts);
        let name = &WITH_GATEWAY.name.value;
        snapshot.ports(name, &WITH_GATEWAY.publishes_in(), &mut facts);
        if let Ok(lowered) = spec::lower(&WITH_GATEWAY, &facts) {
            plans.push((name.clone(), lowered.state, lowered.warnings));
        }
    }
    let none = topologies
        .into_iter()
        .map(|name| (name, State::new(), Vec::new()));
    for (topology, desired, warnings) in plans.into_iter().chain(none) {
        let Ok(observed) = snapshot.observe(&topology, &desired) else {
            continue;
        };
        if let Ok(mut plan) = plan::plan(&topology, &desired, &observed) {
            plan.warnings.extend(snapshot.inmates(&plan));
            plan.warnings.extend(warnings);
            let text = render::plan::plan(&plan, &View::full(Colour::Off));
            assert!(is_harmless(&text), "{text:?}");
            let parts = [(&plan, &observed.external)];
            let _ = render::shell::script(&parts, false);
        }
    }
}

/// Reads a spec as `netform plan` does on a host that has nothing of it, and writes what is wrong with it, or the plan.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let sources = [Source::new("fuzz.yaml", text.to_owned())];
    let lowered = spec::parse(&sources).and_then(|spec| {
        let mut facts = FACTS.clone();
        for name in spec.external().keys() {
            facts.external.insert(name.clone(), Place::default());
        }
        let lowered = spec::lower(&spec, &facts)?;
        Ok((spec.name.value, lowered.state))
    });
    match lowered {
        Ok((topology, state)) => {
            let plan = plan::plan(&topology, &state, &State::new());
            let plan = plan.unwrap_or_else(|found| panic!("conflicts with nothing: {found:?}"));
            let text = render::plan::plan(&plan, &View::full(Colour::Off));
            assert!(is_harmless(&text), "{text:?}");
        }
        Err(found) => {
            assert!(!found.is_empty(), "an error without an error");
            for diagnostic in found {
                let text = diagnostic.render(&sources, Colour::Off);
                assert!(is_harmless(&text), "{text:?}");
            }
        }
    }
}

/// Decodes an answer of a name server.
pub fn dns(bytes: &[u8]) {
    crate::checks::dns::fuzz(bytes);
}

/// Whether a terminal shows a text, and does nothing else with it.
fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control())
}

/// Decodes datagrams of the kernel's.
pub fn netlink(bytes: &[u8]) {
    kernel::fuzz::netlink(bytes);
}

/// Decodes a rule set of nftables, and judges what it does to packets.
pub fn nftables(bytes: &[u8]) {
    judge(kernel::fuzz::nftables(bytes));
}

/// Decodes a table of iptables-legacy, and judges what it does to packets.
pub fn xtables(bytes: &[u8]) {
    if let Some(table) = kernel::fuzz::xtables(bytes) {
        judge(table);
    }
}

/// Lowers a spec with a gateway on a host that has a table of others.
fn judge(table: Table) {
    let mut facts = FACTS.clone();
    let host = facts.place_mut(&Ns::Host).expect("it is always there");
    host.firewall = Firewall {
        tables: vec![table],
        ..Firewall::default()
    };
    // An older table may stand in the way of all of it.
    let _ = spec::lower(&WITH_GATEWAY, &facts);
}
