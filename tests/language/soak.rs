//! Very many specs over each other, next to somebody who breaks what is being made. By hand, with
//! `NETFORM_SOAK=5000 cargo test --release --test language soak -- --ignored`; how far it is stands in `target/tmp/soak.log`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use fastrand::Rng;
use netform::kernel::Kernel;
use netform::resource::name::TopologyName;

use super::Host;
use super::case::{Case, FOREIGN, next, number};
use super::common::{assert_same_world, in_sandbox, netform, sh, world};
use super::sketch::{self, Sketch};

/// How many specs are applied.
const SPECS: u64 = 25;
/// After how many all is destroyed, and what is left is counted.
const STRETCH: u64 = 25;

const FILE: &str = "/tmp/soak.yaml";

/// Where it is written how far it is.
const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/soak.log");

/// What must not become more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    namespaces: usize,
    mounts: usize,
    /// In KiB. It settles after a while.
    memory: u64,
}

impl Held {
    fn now() -> Held {
        let status = fs::read_to_string("/proc/self/status").expect("read");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.trim().strip_suffix(" kB"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
        let namespaces = sh("lsns -n -t net -o NS | sort -u | wc -l").ok();
        Held {
            descriptors: fs::read_dir("/proc/self/fd").expect("read").count(),
            namespaces: namespaces.trim().parse().expect("a number"),
            mounts: mounts.lines().count(),
            memory: memory.and_then(|text| text.parse().ok()).expect("a number"),
        }
    }
}

/// What is held once the kernel has done away with namespaces, which takes it a while.
fn settle(first: Option<&Held>) -> Held {
    let began = Instant::now();
    loop {
        let held = Held::now();
        let Some(first) = first else { return held };
        let now = (held.descriptors, held.namespaces, held.mounts);
        if now == (first.descriptors, first.namespaces, first.mounts) {
            return held;
        }
        assert!(
            began.elapsed().as_secs() < 30,
            "{held:?}, and {first:?} at first"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Breaks things until it is told to stop. Gives how often.
fn break_things(sketch: &Sketch, seed: u64, stop: &AtomicBool) -> u32 {
    let mut random = Rng::with_seed(seed);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(random.u64(0..30)));
        sh(&sketch.mishap(&mut random));
        count += 1;
    }
    count
}

#[test]
#[ignore = "it soaks"]
fn soak() {
    in_sandbox(|| {
        sh("mount -t tmpfs none /tmp").ok();
        sh(FOREIGN).ok();
        sh(sketch::CONTAINER).ok();
        let before = world();
        let seed = number("NETFORM_SEED", fastrand::u64(..));
        let specs = number("NETFORM_SOAK", SPECS);
        let mut random = Rng::with_seed(seed);
        let mut case = Case {
            seed,
            transition: 0,
            text: String::new(),
        };
        let topology = TopologyName::try_from(sketch::NAME).expect("a name");
        let mut sketch = Sketch::new(&mut random);
        let (mut first, mut settled) = (None, None);
        let mut ended = [0; 5];
        let mut broken = 0;
        let began = Instant::now();
        let log = File::options().create(true).append(true).open(LOG);
        let mut log = log.expect("a log");
        writeln!(log, "NETFORM_SEED={seed} NETFORM_SOAK={specs}").expect("written");
        for transition in 0..specs {
            let (text, spec) = next(&mut sketch, &mut random);
            fs::write(FILE, &text).expect("write");
            (case.transition, case.text) = (transition, text);
            let stop = AtomicBool::new(false);
            let breaker = random.u64(..);
            let status = thread::scope(|scope| {
                let breaking = scope.spawn(|| break_things(&sketch, breaker, &stop));
                let output = netform(&["apply", "-f", FILE, "--yes"]);
                stop.store(true, Ordering::Relaxed);
                broken += breaking.join().expect("it goes on");
                write!(case.text, "\nsaid {}:\n{}", output.status, output.stderr).expect("text");
                output.status
            });
            // It may fail, and must say so: anything else is a crash.
            let place = usize::try_from(status).ok().filter(|place| *place != 2);
            *place
                .and_then(|place| ended.get_mut(place))
                .unwrap_or_else(|| panic!("status {status}")) += 1;
            let mut host = Host {
                kernel: Kernel::open().expect("open"),
                topology: topology.clone(),
            };
            let lock = host.kernel.lock().expect("lock");
            host.become_like(Some(&spec), &mut random);
            if (transition + 1) % STRETCH == 0 || transition + 1 == specs {
                host.become_like(None, &mut random);
                drop((lock, host));
                sh("ip netns del box 2>/dev/null; true").ok();
                sh("for link in $(ls /sys/class/net); do case $link in eth9*) ip link del $link;; esac; done").ok();
                sh(sketch::CONTAINER).ok();
                assert_same_world(&before, &world());
                let held = settle(first.as_ref());
                first.get_or_insert_with(|| held.clone());
                if transition >= 200 {
                    let settled = *settled.get_or_insert(held.memory);
                    assert!(
                        held.memory < settled + 8192,
                        "{held:?}, and {settled} KiB before"
                    );
                }
                let line = format!(
                    "{} specs in {} s, {broken} times broken; done {}, refused {}, undone {}, left {}; {held:?}\n",
                    transition + 1,
                    began.elapsed().as_secs(),
                    ended[0],
                    ended[1],
                    ended[3],
                    ended[4]
                );
                log.write_all(line.as_bytes()).expect("written");
            }
        }
    });
}
