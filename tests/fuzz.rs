//! What the fuzzers begin with, and what they found: each input is read without a crash. See `docs/fuzzing.md`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that one input may take: the fuzzers allow 2 s, without the checks of a build for tests.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads all inputs in a folder of the repository.
fn replay(folder: &str, read: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("there is a corpus") {
        let path = entry.expect("it can be listed").path();
        let bytes = fs::read(&path).expect("it can be read");
        let start = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        assert!(read.is_ok(), "{} makes it panic", path.display());
        assert!(start.elapsed() < LIMIT, "{} takes too long", path.display());
        count += 1;
    }
    assert!(count > 3, "{} is nearly empty", folder.display());
}

#[test]
fn specs_are_read() {
    for folder in ["fuzz/corpus/spec", "specs", "tests/errors"] {
        replay(folder, netform::fuzz::spec);
    }
}

#[test]
fn saved_plans_are_read() {
    replay("fuzz/corpus/saved", netform::fuzz::saved);
}

#[test]
fn snapshots_are_read() {
    replay("fuzz/corpus/snapshot", netform::fuzz::snapshot);
}

#[test]
fn answers_of_the_kernel_are_read() {
    replay("fuzz/corpus/netlink", netform::fuzz::netlink);
}

#[test]
fn rule_sets_of_nftables_are_read() {
    replay("fuzz/corpus/nftables", netform::fuzz::nftables);
}

#[test]
fn answers_of_name_servers_are_read() {
    replay("fuzz/corpus/dns", netform::fuzz::dns);
}

#[test]
fn tables_of_iptables_legacy_are_read() {
    replay("fuzz/corpus/xtables", netform::fuzz::xtables);
}
