#!/bin/sh
# Installs what netform needs on Debian 12 or Ubuntu 24.04, and does nothing where all of it is there.
#
#   scripts/install-deps.sh build    what it takes to build netform
#   scripts/install-deps.sh fuzz     that, and what the fuzzers are built with
#   scripts/install-deps.sh bench    what it takes to build netform, and what the benchmark compares it with
#   scripts/install-deps.sh test     what it takes to build netform, and what the tests and the demo use besides
set -eu

case ${1-} in
build) wanted='gcc pkg-config libnftnl-dev libmnl-dev' ;;
bench) wanted='gcc pkg-config libnftnl-dev libmnl-dev iproute2 nftables iptables strace python3 python3-venv' ;;
fuzz) wanted='gcc g++ pkg-config libnftnl-dev libmnl-dev' ;;
test) wanted='gcc pkg-config libnftnl-dev libmnl-dev iproute2 nftables iptables iputils-ping' ;;
*)
    echo "usage: $0 build|bench|fuzz|test" >&2
    exit 64
    ;;
esac

# Where it comes from doesn't matter.
if [ "$1" = test ] && ! command -v git >/dev/null 2>&1; then
    wanted="$wanted git"
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "This is not Debian or Ubuntu, so nothing is installed. netform needs, by their names there:" >&2
    echo "  $wanted" >&2
    exit 0
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = 'install ok installed' ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These packages are missing:$missing" >&2
        echo "Install them as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "Installing by apt-get:$missing"
$as_root apt-get -q -o DPkg::Lock::Timeout=300 update
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends \
    -o DPkg::Lock::Timeout=300 install $missing
