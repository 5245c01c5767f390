#!/bin/sh
# What `netform apply` would do for topology policy-routing, by hand.
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
for program in ip sed; do
    command -v "$program" >/dev/null || die "there is no $program here"
done

# netform's rules of priority $1 that do what the words $2 say at their end, in the kernel's order.
rules() (
    priority=$1 words=$2
    shift 2
    case $words in
    *' lookup '*) action=" lookup ${words##* }" ;;
    *) action=" ${words##* }" ;;
    esac
    "$@" -N rule show priority "$priority" protocol 110 | sed -e '/ proto 110 *$/!d' \
        -e 's/^[0-9]*:[[:space:]]*//' -e 's/ \[detached\]//g' -e 's/ proto 110 *$//' -e '/ lookup [0-9]*$/b' \
        -e 's/ 6$/ blackhole/' -e 's/ 7$/ unreachable/' -e 's/ 8$/ prohibit/' |
        while IFS= read -r line; do
            case $line in
            *"$action") printf '%s\n' "$line" ;;
            esac
        done
)

# Adds the rule of priority $1 and of the words $2. `ip` doesn't where there is one for some of the same packets, so such
# step aside. They do the same, so no packet takes another way when they are back behind it.
add_rule() (
    priority=$1 words=$2
    shift 2
    set -f
    # shellcheck disable=SC2086 # They are words.
    if "$@" rule add priority "$priority" $words protocol 110 2>/dev/null; then
        exit
    fi
    aside=$(rules "$priority" "$words" "$@")
    printf '%s\n' "$aside" | while IFS= read -r line; do
        [ -z "$line" ] || "$@" rule del priority "$priority" $line protocol 110
    done
    # shellcheck disable=SC2086 # They are words.
    "$@" rule add priority "$priority" $words protocol 110
    printf '%s\n' "$aside" | while IFS= read -r line; do
        [ -z "$line" ] || add_rule "$priority" "$line" "$@"
    done
)

# Removes the rule of priority $1 and of the words $2. The kernel takes the first that has all that it is told, and that may
# be another, so those before it step aside.
remove_rule() (
    priority=$1 words=$2
    shift 2
    set -f
    aside= found=
    all=$(rules "$priority" "$words" "$@")
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        # shellcheck disable=SC2086 # They are words.
        "$@" rule del priority "$priority" $line protocol 110
        if [ "$line" = "$words" ]; then
            found=yes
            break
        fi
        aside="$aside$line
"
    done <<END
$all
END
    printf '%s' "$aside" | while IFS= read -r line; do
        add_rule "$priority" "$line" "$@"
    done
    [ -n "$found" ] || die "there is no rule $priority $words any more"
)

# Topology policy-routing.

# namespace site
#   -  rule 300 from 0.0.0.0/0 fwmark 0x1/0xf prohibit
remove_rule 300 'from all fwmark 0x1/0xf prohibit' ip -n site
#   -  rule 300 from ::/0 fwmark 0x1/0xf prohibit
remove_rule 300 'from all fwmark 0x1/0xf prohibit' ip -n site -6
#   -  route default table 100 via 203.0.113.1 dev wan1
ip -n site route del 0.0.0.0/0 table 100 metric 0 protocol 110 via 203.0.113.1 dev wan1
#   ~  route default  nexthop via 203.0.113.1 dev wan1 weight 2 nexthop via 198.18.0.1 dev wan2 weight 1 → via 198.18.0.1 dev wan2
ip -n site route replace 0.0.0.0/0 protocol 110 via 198.18.0.1 dev wan2
#   +  route default table 4000000000 via 203.0.113.1 dev wan1
ip -n site route add 0.0.0.0/0 table 4000000000 protocol 110 via 203.0.113.1 dev wan1
#   ~  rule 100 from 203.0.113.2  lookup 100 → lookup 4000000000
add_rule 100 'from 203.0.113.2 lookup 4000000000' ip -n site
remove_rule 100 'from 203.0.113.2 lookup 100' ip -n site
exit
} </dev/null
