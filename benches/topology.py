"""The benchmark's topology, as each of the contenders is told of it: N namespaces, each joined to the host by a veth pair, with
IPv4 and IPv6 addresses at both ends, default routes of both families, and masquerade."""


def v4(at, last):
    net = (10 << 24) + 4 * at + last
    return ".".join(str(net >> shift & 255) for shift in (24, 16, 8, 0))


def v6(at, last):
    return f"fd00:{at:x}::{last}"


def spec(count, gateway=1):
    """netform's. `gateway` is the last part of the first namespace's IPv6 gateway."""
    lines = ["version: 1", "name: bench", "namespaces:"]
    lines += [f"  n{at}: {{}}" for at in range(count)]
    lines.append("subnets:")
    for at in range(count):
        last = gateway if at == 0 else 1
        lines.append(f"  a{at}: {{ cidr: {v4(at, 0)}/30, gateway: {v4(at, 1)}, egress: {{}} }}")
        lines.append(f"  b{at}: {{ cidr: '{v6(at, '')}/64', gateway: '{v6(at, last)}', egress: {{}} }}")
    lines.append("veths:")
    for at in range(count):
        last = gateway if at == 0 else 1
        lines.append("  - ends:")
        lines.append(f"      - {{ namespace: n{at}, name: eth0, addresses: [{v4(at, 2)}, '{v6(at, 2)}'] }}")
        lines.append(f"      - {{ namespace: host, name: v{at}, addresses: [{v4(at, 1)}, '{v6(at, last)}'] }}")
    return "\n".join(lines) + "\n"


def inside(at):
    """`ip` commands of a namespace."""
    return [
        "link set lo up",
        f"address add {v4(at, 2)}/30 dev eth0",
        f"address add {v6(at, 2)}/64 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {v4(at, 1)}",
        f"route add ::/0 via {v6(at, 1)}",
    ]


def outside(at):
    """`ip` commands of the host."""
    return [
        f"address add {v4(at, 1)}/30 dev v{at}",
        f"address add {v6(at, 1)}/64 dev v{at} nodad",
        f"link set v{at} up",
    ]


def pair(at):
    return f"link add v{at} type veth peer name eth0 netns n{at}"


def batch(count, directory):
    """A script of `ip -batch`, one for the host and one a namespace, and of `nft -f`, with the files that it reads."""
    host = [f"netns add n{at}" for at in range(count)] + [pair(at) for at in range(count)]
    host += [line for at in range(count) for line in outside(at)]
    write(f"{directory}/host.ip", "\n".join(host) + "\n")
    for at in range(count):
        write(f"{directory}/n{at}.ip", "\n".join(inside(at)) + "\n")
    write(f"{directory}/rules.nft", rules(count))
    return f"""set -e
ip -batch {directory}/host.ip
at=0
while [ $at -lt {count} ]; do ip -n n$at -batch {directory}/n$at.ip; at=$((at + 1)); done
nft -f {directory}/rules.nft
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
"""


def rules(count):
    links = ", ".join(f'"v{at}"' for at in range(count))
    return f"""table inet bench {{
    set links {{ type ifname; elements = {{ {links} }} }}
    chain out {{ type nat hook postrouting priority srcnat; iifname @links oifname "ens33" masquerade; }}
}}
"""


def script(count):
    """A script as people write it: a command after the other."""
    lines = ["set -e"]
    for at in range(count):
        lines.append(f"ip netns add n{at}")
        lines.append(f"ip {pair(at)}")
        lines += [f"ip {line}" for line in outside(at)]
        lines += [f"ip -n n{at} {line}" for line in inside(at)]
        lines.append(f"iptables -t nat -A POSTROUTING -s {v4(at, 0)}/30 -o ens33 -j MASQUERADE")
        lines.append(f"ip6tables -t nat -A POSTROUTING -s {v6(at, '')}/64 -o ens33 -j MASQUERADE")
    lines += ["sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1"]
    return "\n".join(lines) + "\n"


def ifstate(count):
    """ifstate's: it has no words for forwarding and masquerade."""
    lines = ["namespaces:"]
    for at in range(count):
        lines += [
            f"  n{at}:",
            "    interfaces:",
            "      eth0:",
            f"        addresses: [{v4(at, 2)}/30, '{v6(at, 2)}/64']",
            f"        link: {{ state: up, kind: veth, peer: v{at}, peer_netns: null }}",
            "    routing:",
            "      routes:",
            f"        - {{ to: 0.0.0.0/0, via: {v4(at, 1)} }}",
            f"        - {{ to: '::/0', via: '{v6(at, 1)}' }}",
        ]
    lines.append("interfaces:")
    for at in range(count):
        lines += [
            f"  v{at}:",
            f"    addresses: [{v4(at, 1)}/30, '{v6(at, 1)}/64']",
            f"    link: {{ state: up, kind: veth, peer: eth0, peer_netns: n{at} }}",
        ]
    return "\n".join(lines) + "\n"


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
