#!/bin/sh
# What `netform apply` would do for topology breezyfrost, by hand.
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
for program in ip ln; do
    command -v "$program" >/dev/null || die "there is no $program here"
done

# Changes the file $2 of namespace $1 in place, for those who have it mounted.
change_file() {
    [ -f "/etc/netns/$1/$2" ] && [ ! -L "/etc/netns/$1/$2" ] && [ ! -L "/etc/netns/$1" ] ||
        die "/etc/netns/$1/$2 isn't a file"
    cat >"/etc/netns/$1/$2"
}

# Topology breezyfrost.

# namespace breezyfrost
#   ~  link veth1  mtu 1500 → 1400
ip -n breezyfrost link set dev veth1 mtu 1400
#   ~  file /etc/netns/breezyfrost/resolv.conf
change_file breezyfrost resolv.conf <<'END'
# netform:breezyfrost
# Written by netform: changes are lost when it runs again.
nameserver 198.51.100.53
search example.test
END

# namespace host
#   ~  link veth1_p  mtu 1500 → 1400
ip link set dev veth1_p mtu 1400
exit
} </dev/null
