//! A private network namespace, and the `nft` tool in it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs `test` in a network namespace of its own.
pub(crate) fn in_sandbox(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        leave_network();
        test();
    });
    thread.join().expect("the test passes");
}

/// Moves this thread, and no other, into a new network namespace.
#[expect(unsafe_code, reason = "a system call without a safe form")]
pub(crate) fn leave_network() {
    // SAFETY: only this thread, which ends with the test, gets another network namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `nft` with some arguments and returns what it prints.
pub(crate) fn nft(arguments: &str) -> String {
    let output = run(arguments, "");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments}: {error}");
    String::from_utf8(output.stdout).expect("nft prints text")
}

/// Has `nft -f` read a ruleset.
pub(crate) fn load(ruleset: &str) {
    let output = run("-f -", ruleset);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft -f: {error}\n{ruleset}");
}

fn run(arguments: &str, input: &str) -> Output {
    let mut child = Command::new("nft")
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft runs");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin
        .write_all(input.as_bytes())
        .expect("it reads its input");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}
