#!/bin/sh
# What `netform apply` would do for topology tenant-red, by hand.
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
for program in awk ip nft od; do
    command -v "$program" >/dev/null || die "there is no $program here"
done

# Addresses get netform's number where `ip address` knows how to. Where it doesn't, that follows at the end.
case $(ip address help 2>&1) in
*' proto '*) proto='proto 110' ;;
*) proto= ;;
esac

# Gives the address of the bytes $3 and of the length $2 on link $1 netform's number, as `ip address change ... proto 110`
# would: it is saved, gets one more attribute (IFA_PROTO of linux/if_addr.h), and is restored.
own_address() (
    link=$1 length=$2 address=$3
    shift 3
    message=$("$@" address save dev "$link" | od -A n -v -t u1 | awk -v length_of="$length" -v address="$address" '
        { for (i = 1; i <= NF; i++) byte[n++] = $i }
        function half(at) { return little ? byte[at] + 256 * byte[at + 1] : 256 * byte[at] + byte[at + 1] }
        function put(value) { printf "\\%03o", value }
        function put_half(value) {
            if (little) { put(value % 256); put(int(value / 256)) } else { put(int(value / 256)); put(value % 256) }
        }
        function padded(size) { return int((size + 3) / 4) * 4 }
        END {
            little = byte[0] == 34
            for (at = 4; at < n; at += padded(size)) {
                size = little ? half(at) : half(at + 2)
                if (size < 24) exit
                near = far = ""
                for (part = at + 24; part < at + size; part += padded(half(part))) {
                    if (half(part) < 4) exit
                    text = ""
                    for (i = part + 4; i < part + half(part); i++) text = text (i > part + 4 ? " " : "") byte[i]
                    if (half(part + 2) == 2) near = text
                    if (half(part + 2) == 1) far = text
                }
                if ((near == "" ? far : near) != address || byte[at + 17] != length_of) continue
                for (i = 0; i < 4; i++) put(byte[i])
                if (!little) put_half(0)
                put_half(padded(size) + 8)
                if (little) put_half(0)
                put_half(half(at + 4))
                put_half(256)
                for (i = at + 8; i < at + padded(size); i++) put(byte[i])
                put_half(5); put_half(11); put(110); put(0); put(0); put(0)
                exit
            }
        }')
    [ -n "$message" ] || die "$link has no such address: $address"
    # shellcheck disable=SC2059 # It is made for that.
    printf "$message" | "$@" address restore
)

# Topology tenant-red.

# namespace host
#   ~  sysctl net.ipv4.conf.uplink.forwarding  1 → ?
printf '%s\n' '?' >/proc/sys/net/ipv4/conf/uplink/forwarding

# namespace red
#   +  address 192.168.101.3/24 on eth0
ip -n red address add 192.168.101.3/24 dev eth0 $proto

# namespace host
#   ~  table inet netform-tenant-red
#        ! ends the IPv4 connections from red to uplink
nft -f - <<'END'
add element inet netform-tenant-red masquerade4 { "red" . "ens33" }
add element inet netform-tenant-red pass4 { "red" . "ens33" }
add element inet netform-tenant-red sources4 { "red" . 192.168.101.3 }
delete element inet netform-tenant-red masquerade4 { "red" . "uplink" }
delete element inet netform-tenant-red pass4 { "red" . "uplink" }
END
# What `apply` ends besides, and no command does: the IPv4 connections from red to uplink.
#   ~  sysctl net.ipv4.conf.ens33.forwarding  ? → 1
# It is borrowed. By hand it is given back with: printf '%s\n' '?' >/proc/sys/net/ipv4/conf/ens33/forwarding
echo 1 >/proc/sys/net/ipv4/conf/ens33/forwarding

# The number by which netform knows its addresses, where this `ip` didn't write it.
if [ -z "$proto" ]; then
    own_address eth0 24 '192 168 101 3' ip -n red -4
fi
exit
} </dev/null
