#!/bin/sh
# What a gateway costs a packet, with one member and with a thousand, beside the same by hand.
#
#   netform sandbox -- scripts/throughput.sh [ROUNDS]
#
# Needs iperf3. Each figure is of two seconds; compare those of one run.
set -eu
netform=${NETFORM:-netform}
spec=$(mktemp)
trap 'rm -f "$spec"' EXIT

# A neighbour beyond an uplink of its own, which knows no way back to any member.
ip netns add far
ip link add up0 type veth peer name eth0 netns far
ip address add 203.0.113.1/24 dev up0
ip link set up0 up
ip -n far address add 203.0.113.9/24 dev eth0
ip -n far link set eth0 up
ip netns exec far iperf3 --server --daemon --bind 203.0.113.9 >/dev/null

topology() {
    awk -v members="$1" 'BEGIN {
        print "version: 1\nname: throughput\nnamespaces:\n  host: {}"
        for (i = 0; i < members; i++) print "  n" i ": {}"
        print "subnets:\n  lab: { cidr: 10.64.0.0/16, gateway: 10.64.0.1, egress: { dev: up0 } }\nveths:"
        for (i = 0; i < members; i++) {
            print "  - ends:"
            print "      - { namespace: n" i ", name: eth0, addresses: [10.64." int((i + 2) / 256) "." (i + 2) % 256 "] }"
            print "      - { namespace: host, name: v" i ", addresses: [10.64.0.1] }"
        }
    }' >"$spec"
}

measure() {
    tcp=$(ip netns exec n0 iperf3 --client 203.0.113.9 --time 2 --format m | awk '/receiver/ { print $(NF - 2) }')
    udp=$(ip netns exec n0 iperf3 --client 203.0.113.9 --udp --bitrate 0 --length 64 --time 2 --format k |
        awk '/receiver/ { split($(NF - 2), count, "/"); printf "%d", count[2] / 2000 }')
    echo "$1: TCP $tcp Mbit/s, UDP of 64 bytes $udp thousand packets/s"
}

for round in $(seq "${1:-3}"); do
    for members in 1 1000; do
        topology $members
        "$netform" apply -f "$spec" >/dev/null
        measure "round $round, $members members"
        "$netform" destroy -f "$spec" --yes >/dev/null
    done
    ip netns add n0
    ip link add v0 type veth peer name eth0 netns n0
    ip address add 10.64.0.1/16 dev v0
    ip link set v0 up
    ip -n n0 address add 10.64.0.2/16 dev eth0
    ip -n n0 link set eth0 up
    ip -n n0 route add default via 10.64.0.1
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft 'table ip by_hand { chain nat { type nat hook postrouting priority srcnat; ip saddr 10.64.0.0/16 oifname up0 masquerade; }; }'
    measure "round $round, by hand"
    nft delete table ip by_hand
    ip netns delete n0
    echo 0 >/proc/sys/net/ipv4/ip_forward
done
