//! Random topologies on random hosts: a plan is always possible, does what it says, and only that.
//!
//! `NETFORM_CASES` says how many are tried, and `NETFORM_SEED` which.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a model that can't go on says where, and a case that failed which it was"
)]

mod model;

use fastrand::Rng;
use model::carry::{Stop, carry_out, carry_out_shuffled};
use model::check::{
    as_desired, others_served, others_untouched, planned, planned_alike, same_world, told,
};
use model::drift::drift;
use model::execute::observe;
use model::external::all_run;
use model::generate::{host, nothing};
use model::kernel::World;
use model::nexthop::is_hidden;
use model::sketch::Sketch;
use model::untag::{before, untag};
use netform::plan::{Action, Reason, Transfer, Warning, offer, plan};
use netform::resource::name::TopologyName;
use netform::resource::{Key, Resource};
use netform::state::State;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Says which case failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for plan in model::carry::CARRIED.take() {
                eprintln!("carried out:\n{}", model::carry::listing(&plan));
            }
            eprintln!("failed with NETFORM_SEED={} NETFORM_CASES=1", self.0);
        }
    }
}

fn each_case(run: impl Fn(&mut Rng)) {
    let first = number("NETFORM_SEED", 1);
    for seed in first..first + number("NETFORM_CASES", 2000) {
        let _case = Case(seed);
        model::carry::CARRIED.take();
        run(&mut Rng::with_seed(seed));
    }
}

/// Applies what a topology wants, and looks at everything. Nothing is done where something is in the way.
fn apply(
    world: &mut World,
    topology: &TopologyName,
    desired: &State,
    others: &[&State],
    rng: &mut Rng,
) -> bool {
    if !all_run(world, desired) || is_hidden(world, topology, desired) {
        return false;
    }
    let before = world.clone();
    let Ok(plan) = planned(world, topology, desired) else {
        return false;
    };
    planned_alike(&before, &plan, desired);
    told(&plan);
    carry_out(world, &plan, None);
    as_desired(world, topology, desired);
    others_untouched(&before, world, &plan);
    for other in others {
        others_served(&before, world, other);
    }
    let again = planned(world, topology, desired).expect("nothing is in the way afterwards");
    assert!(
        again.operations.is_empty(),
        "left: {}\nafter {}",
        model::carry::listing(&again),
        model::carry::listing(&plan)
    );
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);

    let mut shuffled = before.clone();
    carry_out_shuffled(&mut shuffled, &plan, rng);
    as_desired(&shuffled, topology, desired);

    let after = if plan.operations.is_empty() {
        0
    } else {
        rng.usize(..plan.operations.len())
    };
    let killed = rng.bool();
    let mut half = before.clone();
    carry_out(&mut half, &plan, Some(Stop { after, killed }));
    let rest = planned(&half, topology, desired)
        .unwrap_or_else(|c| panic!("conflicts after {after}: {c:?}"));
    let stopped = half.clone();
    carry_out(&mut half, &rest, None);
    as_desired(&half, topology, desired);
    others_untouched(&stopped, &half, &rest);
    let again = planned(&half, topology, desired).expect("nothing is in the way afterwards");
    assert!(
        again.operations.is_empty(),
        "{}",
        model::carry::listing(&again)
    );
    if rng.u8(..4) == 0 {
        *world = half;
    }
    true
}

/// How many topologies share a host.
const SHARERS: usize = 3;

fn sharers(rng: &mut Rng) -> (World, [Sketch; SHARERS]) {
    let (world, takes_ra) = host(rng);
    let mut sketches =
        [("a", 1), ("b", 2), ("c", 3)].map(|(name, net)| nothing(name, net, &takes_ra));
    for sketch in &mut sketches {
        for _ in 0..rng.u8(..4) {
            sketch.change(rng);
        }
    }
    (world, sketches)
}

/// What a topology has that was applied to a world: nothing in namespaces that others made again since.
fn still(desired: &State, then: &World, world: &World) -> State {
    let mut there = desired.clone();
    there
        .entries
        .retain(|id, _| then.made.get(&id.ns) == world.made.get(&id.ns));
    there
}

/// Applies and changes topologies in turn, with something else happening in between.
fn live(
    rng: &mut Rng,
    world: &mut World,
    sketches: &mut [Sketch; SHARERS],
    drifts: bool,
) -> [State; SHARERS] {
    let mut now: [State; SHARERS] = Default::default();
    let mut then = [(); SHARERS].map(|()| world.clone());
    for _ in 0..rng.u8(2..8) {
        let turn = rng.usize(..SHARERS);
        if drifts {
            for _ in 0..rng.u8(..3) {
                drift(world, rng);
            }
        }
        let mut sketch = sketches[turn].clone();
        sketch.change(rng);
        let desired = if rng.u8(..6) == 0 {
            State::new()
        } else {
            sketch.desired()
        };
        let others: Vec<State> = (0..SHARERS)
            .filter(|other| *other != turn)
            .map(|other| still(&now[other], &then[other], world))
            .collect();
        let others: Vec<&State> = others.iter().collect();
        if apply(world, &sketch.topology, &desired, &others, rng) {
            now[turn] = desired;
            then[turn] = world.clone();
            sketches[turn] = sketch;
        }
    }
    now
}

#[test]
fn every_plan_can_be_carried_out_and_does_what_it_says() {
    each_case(|rng| {
        let (mut world, mut sketches) = sharers(rng);
        live(rng, &mut world, &mut sketches, true);
    });
}

#[test]
fn destroying_gives_the_world_back() {
    each_case(|rng| {
        let (mut world, mut sketches) = sharers(rng);
        let before = world.clone();
        let mut now = live(rng, &mut world, &mut sketches, false);
        let mut order: Vec<usize> = (0..SHARERS).collect();
        rng.shuffle(&mut order);
        for turn in order {
            now[turn] = State::new();
            let topology = &sketches[turn].topology;
            let others: Vec<&State> = (0..SHARERS)
                .filter(|other| *other != turn)
                .map(|other| &now[other])
                .collect();
            assert!(apply(&mut world, topology, &now[turn], &others, rng));
        }
        same_world(&world, &before);
        let nothing = observe(&world, &sketches[0].topology, &State::new());
        assert!(nothing.loans.is_empty());
    });
}

/// Some of what a topology has loses its tags, and is taken over again by a spec that may want it
/// otherwise: nothing is made anew of it, and if that is cut off, everything can be given back.
#[test]
fn what_others_made_is_taken_over_in_place_or_not_at_all() {
    each_case(|rng| {
        let (mut world, takes_ra) = host(rng);
        let mut sketch = nothing("a", 1, &takes_ra);
        for _ in 0..rng.u8(1..5) {
            sketch.change(rng);
        }
        let topology = sketch.topology.clone();
        if !apply(&mut world, &topology, &sketch.desired(), &[], rng) {
            return;
        }
        let untagged = untag(&mut world, &topology, rng);
        if rng.bool() {
            sketch.change(rng);
        }
        let desired = sketch.desired();
        if !all_run(&world, &desired) || is_hidden(&world, &topology, &desired) {
            return;
        }
        let mut observed = observe(&world, &topology, &desired);
        offer(&topology, &desired, &mut observed);
        let Ok(plan) = plan(&topology, &desired, &observed) else {
            return;
        };
        for operation in &plan.operations {
            let theirs =
                untagged.contains(&operation.id) && world.entries.contains_key(&operation.id);
            let fell = matches!(operation.reason, Some(Reason::Fell(_)));
            if theirs && !matches!(operation.id.key, Key::Sysctl(_)) {
                assert!(
                    operation.transfer == Some(Transfer::Adopt)
                        && (fell || matches!(operation.action, Action::Update { .. })),
                    "{operation:?}"
                );
            }
        }
        let mut whole = world.clone();
        carry_out(&mut whole, &plan, None);
        as_desired(&whole, &topology, &desired);
        let again = planned(&whole, &topology, &desired).expect("nothing is in the way");
        assert!(
            again.operations.is_empty(),
            "{}",
            model::carry::listing(&again)
        );

        // What goes with a link or a namespace, and isn't the topology's, doesn't come back.
        let loses = |warning: &Warning| matches!(warning, Warning::Collateral { .. });
        if plan.operations.is_empty() || plan.warnings.iter().any(loses) {
            return;
        }
        let after = rng.usize(..plan.operations.len());
        let mut half = world.clone();
        carry_out(
            &mut half,
            &plan,
            Some(Stop {
                after,
                killed: false,
            }),
        );
        let before = before(&topology, &plan, &observed);
        let back = observe(&half, &topology, &before);
        let back = netform::plan::plan(&topology, &before, &back).expect("a way back");
        carry_out(&mut half, &back, None);
        let adopted = plan.operations.iter();
        let adopted = adopted.filter(|operation| operation.transfer == Some(Transfer::Adopt));
        for id in adopted.map(|operation| &operation.id) {
            // How an address stands to others is another matter.
            let entry = |world: &World| {
                let mut entry = world.entries.get(id).cloned();
                if let Some(Resource::Address(address)) =
                    entry.as_mut().map(|entry| &mut entry.resource)
                {
                    (address.place, address.standing) = Default::default();
                }
                entry
            };
            let (found, was) = (entry(&half), entry(&world));
            assert!(
                found == was,
                "{id:?} was {was:?} and is {found:?}\nafter {after} of {}\nand {}",
                model::carry::listing(&plan),
                model::carry::listing(&back)
            );
        }
    });
}
