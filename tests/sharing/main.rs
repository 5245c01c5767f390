//! Three topologies share a host with each other and with what others have there. They are applied, changed,
//! cut off and destroyed in any order: what is foreign is the same all along, and the end is the beginning.
//!
//! `NETFORM_INTERLEAVINGS` says how many are tried, and `NETFORM_SEED` which is the first.

#[path = "../common/mod.rs"]
mod common;
mod foreign;
mod sketch;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use common::{assert_same_world, in_sandbox, netform, run, sh, world};
use fastrand::Rng;
use foreign::Foreign;
use sketch::{NAMES, Sketch};

/// How many are tried unless somebody says so.
const INTERLEAVINGS: u64 = 4;

/// How many steps each has, before all is destroyed.
const STEPS: usize = 9;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// What a topology is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is nothing of it.
    Absent,
    /// It was applied.
    Applied,
    /// Something was killed on the way.
    CutOff,
}

/// One host, and what was done to it.
struct Host {
    random: Rng,
    sketches: [Sketch; 3],
    stages: [Stage; 3],
    foreign: Foreign,
    /// How long an apply took the last time.
    takes: Duration,
}

/// A command that was started.
fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("netform starts")
}

impl Host {
    fn new(mut random: Rng) -> Host {
        let foreign = Foreign::new(&mut random);
        let sketches = [0, 1, 2].map(|number| Sketch::new(number, &mut random));
        Host {
            foreign,
            random,
            sketches,
            stages: [Stage::Absent; 3],
            takes: Duration::from_millis(200),
        }
    }

    /// Writes a spec, and says to where.
    fn write(&self, which: usize) -> String {
        let file = format!("/run/{}.yaml", NAMES[which]);
        fs::write(&file, self.sketches[which].spec()).expect("write");
        file
    }

    fn apply(&mut self, which: usize) {
        let file = self.write(which);
        let began = Instant::now();
        netform(&["apply", "-f", &file, "--yes"]).ok();
        self.takes = began.elapsed();
        self.stages[which] = Stage::Applied;
    }

    fn destroy(&mut self, which: usize) {
        netform(&["destroy", NAMES[which], "--yes"]).ok();
        self.stages[which] = Stage::Absent;
    }

    /// Starts something and kills it, wherever it is.
    fn cut_off(&mut self, which: usize, arguments: &[&str]) {
        let mut child = start(arguments);
        let most = u64::try_from(self.takes.as_micros()).expect("not for ever");
        thread::sleep(Duration::from_micros(self.random.u64(..most.max(1))));
        // It may have come to its end.
        let _ = child.kill();
        child.wait().expect("it ended");
        self.stages[which] = Stage::CutOff;
    }

    /// Does something, and says what.
    fn step(&mut self) -> String {
        let which = self.random.usize(..3);
        let name = NAMES[which];
        match self.random.u8(..20) {
            0..9 => {
                self.sketches[which].change(&mut self.random);
                self.apply(which);
                format!("applied {}", self.sketches[which].spec())
            }
            9..12 => {
                self.destroy(which);
                format!("destroyed {name}")
            }
            12..16 => {
                self.sketches[which].change(&mut self.random);
                let file = self.write(which);
                self.cut_off(which, &["apply", "-f", &file, "--yes"]);
                format!("began to apply {}", self.sketches[which].spec())
            }
            16 | 17 => {
                self.cut_off(which, &["destroy", name, "--yes"]);
                format!("began to destroy {name}")
            }
            _ => {
                let both = [which, (which + 1) % 3];
                for one in both {
                    self.sketches[one].change(&mut self.random);
                }
                let files = both.map(|one| self.write(one));
                let children = files.map(|file| start(&["apply", "-f", &file, "--yes"]));
                for (one, mut child) in both.into_iter().zip(children) {
                    let status = child.wait().expect("it ended");
                    assert!(status.success(), "{} of two at once: {status}", NAMES[one]);
                    self.stages[one] = Stage::Applied;
                }
                let specs = both.map(|one| self.sketches[one].spec());
                format!("applied at once {}\nand {}", specs[0], specs[1])
            }
        }
    }

    /// What is foreign is as it was, and what was applied is as it was applied.
    fn look(&self) {
        self.foreign.assert_same();
        for (which, name) in NAMES.iter().enumerate() {
            if self.stages[which] == Stage::Applied {
                let file = format!("/run/{name}.yaml");
                let plan = netform(&["plan", "-f", &file, "--detailed-exitcode"]);
                if self.stages.contains(&Stage::CutOff) && is_cleared(&plan.stdout) {
                    continue;
                }
                assert_eq!(plan.status, 0, "of {name}:\n{}{}", plan.stdout, plan.stderr);
                for (member, target) in self.sketches[which].travellers() {
                    let ping = ["netns", "exec", &member, "ping", "-c1", "-W10", target];
                    let said = run(Command::new("ip").args(ping));
                    assert_eq!(
                        said.status, 0,
                        "{name}: {member} → {target}\n{}",
                        said.stdout
                    );
                }
            }
        }
    }
}

/// Whether all that a plan does is to set `force_forwarding` again: the kernel clears it on every link with the
/// switch of IPv6 forwarding. Who is killed just between giving that back and setting the others' again leaves it
/// so, until it goes on.
fn is_cleared(plan: &str) -> bool {
    let mut lines = plan.lines().filter(|line| line.starts_with("  ~"));
    lines.all(|line| line.ends_with(".force_forwarding  0 → 1")) && plan.contains("  ~")
}

fn interleaving(seed: u64) {
    in_sandbox(|| {
        let mut random = Rng::with_seed(seed);
        let mut host = Host::new(random.fork());
        let before = world();
        let mut done = vec![format!("NETFORM_SEED={seed} NETFORM_INTERLEAVINGS=1")];
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                done.push("a step that failed".to_owned());
                let step = host.step();
                *done.last_mut().expect("pushed") = step;
                host.look();
            }
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            for which in order {
                done.push(format!("destroyed {} at last", NAMES[which]));
                host.destroy(which);
                host.look();
            }
            sh("rm -f /run/one.yaml /run/two.yaml /run/tri.yaml").ok();
            assert_same_world(&before, &world());
        }));
        if let Err(panic) = tried {
            let said = format!("{}\n", done.join("\nthen "));
            let _ = rustix::io::write(rustix::stdio::stderr(), said.as_bytes());
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn topologies_come_and_go_beside_what_others_have() {
    let first = number("NETFORM_SEED", 500);
    for seed in first..first + number("NETFORM_INTERLEAVINGS", INTERLEAVINGS) {
        interleaving(seed);
    }
}
