#!/bin/sh
# Runs all tests: with cargo-nextest where it is installed, else with cargo test.
#
#   scripts/test.sh [ARGUMENT ...]    what follows goes to the test runner
set -eu
cd "$(dirname "$0")/.."
# Where ip and nft are, which the search path of ordinary users on Debian lacks.
export PATH="$PATH:/usr/sbin:/sbin"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked "$@"
    # nextest runs no examples in documentation.
    cargo test --locked --quiet --doc
else
    cargo test --locked "$@"
fi
