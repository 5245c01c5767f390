//! Waiting for another netform.

use std::time::{Duration, Instant};

use netform::kernel::Kernel;

use crate::common::{in_sandbox, netform};

#[test]
fn who_waits_in_vain_hears_for_whom_and_looking_goes_on_meanwhile() {
    in_sandbox(|| {
        let kernel = Kernel::open().expect("open");
        let held = kernel.lock().expect("nobody has it");
        let me = std::process::id();
        let command = std::env::args().next().expect("a command");
        let command: String = command.chars().take(40).collect();
        for arguments in [
            &["apply", "-f", "specs/pair.yaml", "--lock-timeout", "300ms"][..],
            &["destroy", "-y", "pair", "--lock-timeout", "300ms"],
        ] {
            let began = Instant::now();
            let refused = netform(arguments);
            let waited = began.elapsed();
            assert_eq!(refused.status, 1, "{}", refused.stderr);
            let holder = format!("(pid {me}: {command}");
            assert!(refused.stderr.contains(&holder), "{}", refused.stderr);
            assert!(
                waited >= Duration::from_millis(300) && waited < Duration::from_secs(5),
                "{waited:?}"
            );
        }
        let plan = ["plan", "-f", "specs/pair.yaml", "--detailed-exitcode"];
        assert_eq!(netform(&plan).status, 2);
        netform(&["show"]).ok();

        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(500));
                drop(held);
            });
            netform(&["apply", "-f", "specs/pair.yaml", "--lock-timeout", "1m"]).ok();
        });
    });
}

#[test]
fn a_span_of_time_that_is_none_is_wrong_usage() {
    let refused = netform(&["apply", "-f", "specs/pair.yaml", "--lock-timeout", "soon"]);
    assert_eq!(refused.status, 64, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("no number before `soon`"),
        "{}",
        refused.stderr
    );
}
