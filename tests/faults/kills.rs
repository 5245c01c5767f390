//! A kill before any system call: what is left is taken up by the next one.

use std::process::Command;

use crate::cases::{Case, Move, Whole};
use crate::common::in_sandbox;
use crate::operations::{DUAL, STORY};
use crate::sample::{Sample, note};
use crate::tracer::{Ended, Fate, trace};

/// Makes a move, and kills it before the call of a number. `each` hears of each call whether it changes something.
fn killed(of: Move, at: usize, mut each: impl FnMut(bool)) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    trace(command.args(of.arguments()), |call| {
        each(call.change.is_some());
        if call.place == at {
            Fate::Signal(libc::SIGKILL)
        } else {
            Fate::Done
        }
    })
}

/// Kills each move of a case at calls that change something, and at some of the others.
fn each(case: &Case) {
    in_sandbox(|| {
        case.prepare();
        let mut sample = Sample::new("NETFORM_KILLS", 4);
        for of in Move::ALL {
            if of == Move::Change {
                Move::Apply.finish();
            }
            let mut calls = Vec::new();
            let ended = killed(of, usize::MAX, |changes| calls.push(changes));
            assert_eq!(ended.status, 0, "{}", ended.said);
            of.go_back().ok();
            let before = Whole::now(of);
            for changes in [true, false] {
                let places = (0..calls.len()).filter(|place| calls[*place] == changes);
                for place in sample.of(places.collect()) {
                    note(&format!("{of:?}, killed before call {place}, {sample}\n"));
                    let ended = killed(of, place, |_| {});
                    // Another order of threads may make fewer calls.
                    let killed = ended.status == 128 + libc::SIGKILL;
                    assert!(killed || ended.status == 0, "{ended:?}");
                    of.finish();
                    of.go_back().ok();
                    before.assert_same(&Whole::now(of));
                }
            }
        }
        sample.report();
    });
}

#[test]
fn the_story_goes_on_after_a_kill() {
    each(&STORY);
}

#[test]
fn both_families_go_on_after_a_kill() {
    each(&DUAL);
}
