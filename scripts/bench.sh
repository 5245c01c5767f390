#!/bin/sh
# Builds what the benchmark compares, and runs it on a private host: see benches/run.py and docs/performance.md.
#
#   scripts/bench.sh [N ...]
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --locked --release
cargo build --quiet --locked --release --manifest-path benches/floor/Cargo.toml --target-dir target/floor
# Who has no PyPI, or no venv, is told the rest.
ifstate=target/bench/ifstate
if [ ! -x "$ifstate/bin/ifstatecli" ]; then
    mkdir -p target/bench
    echo 'Installing ifstate 2.5.0 from PyPI into target/bench, to compare with'
    { python3 -m venv "$ifstate" && "$ifstate/bin/pip" install --quiet ifstate==2.5.0; } >target/bench/ifstate.log 2>&1 ||
        echo 'It cannot be installed (target/bench/ifstate.log), so it is left out.' >&2
fi
if [ -x "$ifstate/bin/ifstatecli" ]; then
    BENCH_IFSTATE=$PWD/$ifstate/bin/ifstatecli
    export BENCH_IFSTATE
fi
exec python3 benches/run.py "$@"
