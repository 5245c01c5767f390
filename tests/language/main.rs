//! From any spec to any other, on the real kernel: random specs of the whole language, things that happen
//! to a host in between, and plans that are cut off in the middle.
//!
//! `NETFORM_TRANSITIONS` says how many are tried, and `NETFORM_SEED` from where on.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod sketch;
mod soak;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use case::{Case, FOREIGN, next, number};
use common::{assert_same_world, in_sandbox, sh, world};
use fastrand::Rng;
use netform::kernel::{Kernel, Snapshot};
use netform::plan::{Plan, plan};
use netform::resource::link::LinkKind;
use netform::resource::name::TopologyName;
use netform::resource::{Id, Key, Resource};
use netform::spec::{self, Spec};
use netform::state::{Entry, State};
use sketch::Sketch;

/// How many transitions each of the tests tries.
const TRANSITIONS: u64 = 100;

/// What the container has in it.
fn container() -> String {
    let script =
        "ip -o link; ip -4 -o address; ip route show table all; ip -6 route show table all; ip rule
        ip -6 rule; nft -s list ruleset; cd /proc/sys/net; cat ipv4/ip_default_ttl core/somaxconn
        grep -s . ipv4/conf/*/forwarding ipv6/conf/*/force_forwarding ipv4/conf/eth9/*";
    let text = sh(&format!("ip netns exec box sh -c '{script}'")).ok();
    let lines = text.lines().filter(|line| !line.contains(" table local "));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// One host with one topology on it.
struct Host {
    kernel: Kernel,
    topology: TopologyName,
}

impl Host {
    /// What a spec means here, and the plan to get there.
    fn plan(&mut self, spec: Option<&Spec>) -> (State, State, Plan) {
        let wanted = spec.map_or_else(State::new, |spec| {
            let facts = self.kernel.facts(&spec.external()).expect("facts");
            spec::lower(spec, &facts).expect("it fits this host").state
        });
        let observed = self.kernel.observe(&self.topology, &wanted);
        let observed = observed.expect("the host is read");
        let plan = plan(&self.topology, &wanted, &observed).expect("nothing is in the way");
        (wanted, observed, plan)
    }

    /// That a snapshot of this host leads to the same facts, the same State and so the same plan.
    fn as_in_a_snapshot(&mut self, spec: Option<&Spec>) {
        let text = self.kernel.snapshot().expect("a snapshot").to_text();
        let mut snapshot = Snapshot::parse(&text).expect("it is one");
        assert_eq!(snapshot.to_text(), text);
        let wanted = spec.map_or_else(State::new, |spec| {
            let external = spec.external();
            let facts = snapshot.facts(&external).expect("facts");
            assert_eq!(facts, self.kernel.facts(&external).expect("facts"));
            spec::lower(spec, &facts).expect("it fits this host").state
        });
        let kept = snapshot.observe(&self.topology, &wanted).expect("read");
        let observed = self.kernel.observe(&self.topology, &wanted);
        assert_eq!(kept, observed.expect("the host is read"));
    }

    fn execute(&mut self, plan: &Plan) {
        if let Err(failure) = self.kernel.execute(plan) {
            let place = failure.operation.expect("an operation failed");
            panic!("{:?}: {}", plan.operations[place], failure.error);
        }
    }

    /// Gets to a spec, and looks whether it is there.
    fn become_like(&mut self, spec: Option<&Spec>, random: &mut Rng) {
        if random.u8(..3) == 0 {
            // On the way, it is cut off.
            let (_, _, mut part) = self.plan(spec);
            part.operations
                .truncate(random.usize(..=part.operations.len()));
            self.execute(&part);
        }
        if random.u8(..3) == 0 {
            self.as_in_a_snapshot(spec);
        }
        let (_, _, plan) = self.plan(spec);
        self.execute(&plan);
        let (wanted, observed, left) = self.plan(spec);
        assert_eq!(left.operations, [], "something is left");
        let ours = |entry: &Entry| entry.owner.is(&self.topology);
        let (there, wanted) = (values(&observed, ours), values(&wanted, |_| true));
        let differs = |id: &&Id| there.get(*id) != wanted.get(*id);
        let ids: BTreeSet<&Id> = there.keys().chain(wanted.keys()).filter(differs).collect();
        if let Some(id) = ids.first() {
            panic!("{id:?}: {:?}, not {:?}", there.get(id), wanted.get(id));
        }
    }
}

/// The resources by value, but for settings, which are there whether somebody wants them or not.
fn values(state: &State, which: impl Fn(&Entry) -> bool) -> BTreeMap<Id, Resource> {
    let entries = state.entries.iter();
    entries
        .filter(|(id, entry)| {
            !matches!(id.key, Key::Sysctl(_)) && which(entry) && !is_lo(&entry.resource)
        })
        .map(|(id, entry)| {
            let mut resource = entry.resource.clone();
            if let Resource::Address(address) = &mut resource {
                address.place = 0;
                address.standing = netform::resource::address::Standing::Primary;
            }
            (id.clone(), resource)
        })
        .collect()
}

/// `lo` is the kernel's, and only ever set.
fn is_lo(resource: &Resource) -> bool {
    matches!(resource, Resource::Link(link) if link.kind == LinkKind::Loopback)
}

fn transitions(drifts: bool) {
    in_sandbox(|| {
        sh(FOREIGN).ok();
        sh(sketch::CONTAINER).ok();
        let before = (world(), container());
        let seed = number("NETFORM_SEED", fastrand::u64(..));
        let mut random = Rng::with_seed(seed);
        let mut case = Case {
            seed,
            transition: 0,
            text: String::new(),
        };
        let mut host = Host {
            kernel: Kernel::open().expect("open"),
            topology: TopologyName::try_from(sketch::NAME).expect("a name"),
        };
        let lock = host.kernel.lock().expect("lock");
        let mut sketch = Sketch::new(&mut random);
        for transition in 0..number("NETFORM_TRANSITIONS", TRANSITIONS) {
            let (text, spec) = next(&mut sketch, &mut random);
            (case.transition, case.text) = (transition, text);
            host.become_like(Some(&spec), &mut random);
            if drifts && random.bool() {
                let script = sketch.mishap(&mut random);
                write!(case.text, "\nthen\n{script}\n").expect("text");
                sh(&script);
                host.become_like(Some(&spec), &mut random);
            }
        }
        host.become_like(None, &mut random);
        drop(lock);
        assert_same_world(&before.0, &world());
        // What somebody did to the container by hand is theirs.
        if !drifts {
            assert_same_world(&before.1, &container());
        }
    });
}

#[test]
fn any_spec_becomes_any_other() {
    transitions(false);
}

#[test]
fn any_spec_is_mended() {
    transitions(true);
}
