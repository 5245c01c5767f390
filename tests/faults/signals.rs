//! Being told to stop: SIGINT, SIGTERM and SIGHUP before calls that change something, and outputs that nobody reads.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::cases::{Case, Move, Spec, Whole};
use crate::common::{in_sandbox, netform, sh};
use crate::sample::{Sample, note};
use crate::tracer::{Ended, Fate, trace};

const TIERS: Case = Case {
    spec: Spec::Of("tiers"),
    given: "true",
    edit: &[
        ("app: {}, db: {} }\n", "app: {}, store: {} }\n"),
        ("{ namespace: db, ", "{ namespace: store, "),
    ],
};

/// Whether a change is a part of taking the lock.
fn is_of_lock(what: &str) -> bool {
    what.ends_with("/lock") || matches!(what, "ftruncate" | "mkdir /run/netform")
}

/// The first call that changes the network or its record: until then, nothing is lost if netform ends at once.
const BEGIN: &str = "open /run/netform/tiers.json.new";

/// How many calls change something from the beginning of the execution on.
fn changes(of: Move) -> usize {
    let mut count = 0;
    with_signal(of, 0, usize::MAX, &mut count);
    of.go_back().ok();
    count
}

/// Makes a move, and sends a signal before the change of that number, counted from the beginning of the execution, and
/// again and again from then on.
fn with_signal(of: Move, signal: i32, at: usize, count: &mut usize) -> Ended {
    let mut begun = false;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    trace(command.args(of.arguments()), |call| {
        let Some(change) = &call.change else {
            return Fate::Done;
        };
        // A destroy needs no record beforehand.
        begun |= match of {
            Move::Destroy => !is_of_lock(&change.what),
            Move::Apply | Move::Change => change.what == BEGIN,
        };
        if !begun {
            return Fate::Done;
        }
        *count += 1;
        if *count > at {
            Fate::Signal(signal)
        } else {
            Fate::Done
        }
    })
}

#[test]
fn who_is_told_to_stop_finishes_what_it_is_at_and_undoes_the_rest() {
    in_sandbox(|| {
        TIERS.prepare();
        let mut sample = Sample::new("NETFORM_SIGNALS", 4);
        for of in Move::ALL {
            if of == Move::Change {
                Move::Apply.finish();
            }
            let before = Whole::now(of);
            let mut stopped = 0;
            let all = (0..changes(of)).collect();
            // What is drawn may all be of the last round, where it is too late to stop.
            let places: BTreeSet<usize> = sample.of(all).into_iter().chain([0]).collect();
            for at in places {
                for (signal, name) in [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM")] {
                    note(&format!("{of:?}, {name} at {at}, {sample}\n"));
                    let ended = with_signal(of, signal, at, &mut 0);
                    match ended.status {
                        1 | 3 => {
                            let told = ended.said.contains(&format!("stopped by {name}, when "));
                            assert!(told, "{}", ended.said);
                            let nothing = ended.said.contains(", when 0 of ");
                            assert_eq!(ended.status == 1, nothing, "{}", ended.said);
                            stopped += 1;
                        }
                        // It was at the last one, and all is done.
                        0 => {
                            of.finish();
                            of.go_back().ok();
                        }
                        status => panic!("{status}: {}", ended.said),
                    }
                    before.assert_same(&Whole::now(of));
                }
            }
            assert!(stopped > 0, "{of:?}");
        }
        sample.report();
    });
}

#[test]
fn who_hangs_up_or_reads_nothing_stops_nothing() {
    in_sandbox(|| {
        TIERS.prepare();
        let before = Whole::now(Move::Apply);
        for of in Move::ALL {
            let ended = with_signal(of, libc::SIGHUP, 0, &mut 0);
            assert_eq!(ended.status, 0, "{}", ended.said);
            of.finish();
        }
        before.assert_same(&Whole::now(Move::Apply));

        let binary = env!("CARGO_BIN_EXE_netform");
        for outputs in [">&- 2>&-", "2>&1 | true", ">/dev/full 2>&1"] {
            for of in [Move::Apply, Move::Destroy] {
                let arguments = of.arguments().join(" ");
                let script = format!("({binary} {arguments}; echo $? >/run/status) {outputs}");
                sh(&script);
                assert_eq!(
                    sh("cat /run/status; rm /run/status").ok(),
                    "0\n",
                    "{script}"
                );
                if of == Move::Apply {
                    of.finish();
                }
            }
            before.assert_same(&Whole::now(Move::Apply));
        }
    });
}

#[test]
fn who_waits_for_a_yes_ends_at_once() {
    in_sandbox(|| {
        TIERS.prepare();
        Move::Apply.finish();
        let before = Whole::now(Move::Destroy);
        let question = format!("{} destroy tiers", env!("CARGO_BIN_EXE_netform"));
        let mut terminal = Command::new("script")
            .args(["-qec", &question, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is a part of Debian's bsdutils");
        let mut stdout = terminal.stdout.take().expect("a pipe");
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("will do: ") {
            let mut part = [0; 4096];
            let read = stdout.read(&mut part).expect("read");
            assert!(read > 0, "{}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&part[..read]);
        }
        // What a terminal makes SIGINT of.
        let mut stdin = terminal.stdin.take().expect("a pipe");
        stdin.write_all(b"\x03").expect("write");
        let status = terminal.wait().expect("it ends");
        assert_eq!(status.code(), Some(128 + libc::SIGINT), "{status:?}");
        before.assert_same(&Whole::now(Move::Destroy));
        // It was not waiting for the lock of one that is gone.
        netform(&["destroy", "tiers", "--yes", "--lock-timeout", "0"]).ok();
    });
}
