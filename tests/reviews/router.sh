#!/bin/sh
# What `netform apply` would do for topology router, by hand.
# Made by `netform plan -o shell`, version 0.0.0.
#
# It needs root, iproute2 (5.2 or later; tried with 6.1), and what else it looks for at its beginning, nft 1.0 or later for
# tables. It takes the host to be as it was when the plan was made, and netform not to run meanwhile. Nothing happens if it comes
# in parts: the shell reads all of it first.
#
# It stops at the first failure, and leaves what it has done by then: it doesn't roll back, as `netform apply` does. Nor does
# it write the record in /run/netform. So what it borrows is to be given back by hand, with the commands that are said below; and
# of what only the record tells whose it is (addresses, routes and rules on what others made, ports of others, namespaces that no
# link leads into from the host) netform asks for `--adopt` afterwards. Directories in /etc/netns that get empty stay.
{
set -eu
umask 022
export LC_ALL=C

die() {
    printf '%s\n' "$1" >&2
    exit 1
}

# This can't be done by a script, so nothing is.
die 'this was planned from one spec to another, and not for this host'

[ "$(id -u)" = 0 ] || die 'this takes root'
for program in ip; do
    command -v "$program" >/dev/null || die "there is no $program here"
done

# Topology router.

# namespace router
#   ~  sysctl net.ipv4.ip_forward  1 → 0
echo 0 | ip netns exec router tee /proc/sys/net/ipv4/ip_forward >/dev/null
exit
} </dev/null
