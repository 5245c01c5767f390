#!/bin/sh
# What `netform apply` would do for topology management, by hand.
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
for program in ip nft; do
    command -v "$program" >/dev/null || die "there is no $program here"
done

# Topology management.

# namespace db
#   -  route 10.60.0.0/24 via 10.60.2.1 dev eth0
ip -n db route del 10.60.0.0/24 metric 0 protocol 110 via 10.60.2.1 dev eth0
#   +  route default via 10.60.2.1 dev eth0
ip -n db route add 0.0.0.0/0 protocol 110 via 10.60.2.1 dev eth0

# namespace host
#   ~  table inet netform-management
nft -f - <<'END'
add table inet netform-management
delete table inet netform-management
table inet netform-management {
	comment "netform:management"
	set links {
		type ifname
		comment "gateway links that this topology made"
		elements = { "router" }
	}

	set masquerade4 {
		type ifname . ifname
		comment "from which link to which link sources are rewritten"
		elements = { "router" . "uplink" }
	}

	set pass4 {
		type ifname . ifname
		comment "from which link to which link a connection may be opened"
		elements = { "router" . "uplink" }
	}

	set routed4 {
		type ifname . ipv4_addr
		flags interval
		comment "prefixes that are routed to a member"
		elements = { "router" . 10.60.0.0/24,
			     "router" . 10.60.2.0/24 }
	}

	set sources4 {
		type ifname . ipv4_addr
		comment "which address may come from which link"
		elements = { "router" . 10.60.0.2 }
	}

	chain forwarding {
		type filter hook forward priority filter; policy accept;
		iifname @links goto judge
		oifname @links goto judge
	}

	chain judge {
		tcp flags syn / syn,rst tcp option maxseg size set rt mtu
		ct state vmap { invalid : drop, established : accept }
		meta nfproto ipv4 iifname . oifname @masquerade4 ct state vmap { untracked : drop }
		meta nfproto ipv4 iifname . oifname @pass4 accept
		meta nfproto ipv4 oifname . iifname @pass4 ct state vmap { related : accept }
		iifname @links counter reject with icmpx admin-prohibited comment "a member learns at once that it may not"
		counter drop comment "nobody outside reaches a member"
	}

	chain outbound {
		type nat hook postrouting priority srcnat; policy accept;
		meta nfproto ipv4 iifname . oifname @masquerade4 masquerade
	}

	chain source {
		icmpv6 type { nd-router-advert, nd-redirect } counter drop comment "members are no routers for their gateway"
		iifname . ip saddr @sources4 accept
		ip6 saddr fe80::/10 accept
		ip6 saddr :: icmpv6 type { mld-listener-report, nd-router-solicit, nd-neighbor-solicit, mld2-listener-report } accept
		iifname . ip saddr @routed4 accept
		counter drop comment "no member's address"
	}

	chain sources {
		type filter hook prerouting priority raw; policy accept;
		iifname @links goto source
	}
}
END
#   +  route 10.60.2.0/24 via 10.60.0.2 dev router
ip route add 10.60.2.0/24 protocol 110 via 10.60.0.2 dev router
exit
} </dev/null
