#!/bin/sh
# Fuzzes each target for a while, one after the other, from the corpus of fuzz/corpus. Ends at the first failure, and says
# which input it was.
#
#   FUZZ_SECONDS=20 scripts/fuzz.sh [TARGET ...]
#
# FUZZ_OPTIONS goes to libFuzzer. What is found to cover more stays in target/fuzz/corpus, and is begun with the next time.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- spec saved snapshot netlink nftables xtables dns
host=$(rustc -vV | sed -n 's/^host: //p')
# Coverage by LLVM's own pass, which stable Rust has; overflows and failed assertions count as crashes. With a target
# given, the flags are for it alone, and not for the build scripts.
export RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cdebug-assertions -Coverflow-checks'
RUSTFLAGS=$(echo $RUSTFLAGS)
# Not --locked: its lock file follows that of the project.
cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target "$host"
for target in "$@"; do
    found=target/fuzz/corpus/$target
    # Specs that there are, good and bad, need no copy.
    [ "$target" = spec ] && more='specs tests/errors' || more=
    mkdir -p "$found" target/fuzz/failures
    echo "== fuzzing $target for ${FUZZ_SECONDS:-20} s"
    # An input that takes longer than 2 s, or more than 512 MB, is a failure too.
    log=target/fuzz/$target.log
    "target/fuzz/$host/release/$target" -max_total_time="${FUZZ_SECONDS:-20}" -timeout=2 -rss_limit_mb=512 \
        -max_len=32768 -print_final_stats=1 -artifact_prefix="target/fuzz/failures/$target-" ${FUZZ_OPTIONS-} \
        "$found" "fuzz/corpus/$target" $more >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
    sed -n 's/^stat::number_of_executed_units: */   inputs: /p' "$log"
done
