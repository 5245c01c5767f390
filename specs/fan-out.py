#!/usr/bin/env python3
"""Prints a topology of as many tenants as the argument says, 50 without one:

    specs/fan-out.py 50 | netform apply -f -
"""
import ipaddress
import sys

count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pairs = ipaddress.ip_network("10.64.0.0/16").subnets(new_prefix=31)
tenants = [(f"t{number:02}", pair) for number, pair in zip(range(1, count + 1), pairs)]

print(f"""\
# yaml-language-server: $schema=../schema/netform.schema.json
#
# {count} tenants of a host, each in a namespace of its own, with a way out and nothing in common. Printed by
# fan-out.py {count}: change that, not this.
#
#   t01  eth0 10.64.0.1 ── .0 t01 ┐
#   t02  eth0 10.64.0.3 ── .2 t02 ┤ host ┄┄ the uplink ── the world
#   …                             ┘
#
version: 1
name: fan-out
""")

print("namespaces:")
for name, _ in tenants:
    print(f"  {name}: {{}}")

print("\nsubnets:")
for name, pair in tenants:
    print(f"  {name}: {{ cidr: {pair}, gateway: {pair[0]}, egress: {{}} }}")

print("\nveths:")
for name, pair in tenants:
    print("  - ends:")
    print(f"      - {{ namespace: {name}, name: eth0, addresses: [{pair[1]}] }}")
    print(f"      - {{ namespace: host, name: {name}, addresses: [{pair[0]}] }}")
