#!/usr/bin/env python3
"""Records what the kernel of this host answers, one file an answer, as the corpus of the fuzzers begins with it.

    netform sandbox -- fuzz/record.py fuzz/corpus

Make on the host what is to be told of first. Answers that are there already are left alone.
"""

import ctypes
import hashlib
import pathlib
import socket
import struct
import sys

ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12
DUMP = 0x301
NFT = 10 << 8


def dump(protocol, kind, body, flags=DUMP):
    """The datagrams that answer a request, without those that only end it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.bind((0, 0))
        netlink.settimeout(2)
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        ended = False
        while not ended:
            datagram = netlink.recv(65536)
            kinds = [kind for _, kind in messages(datagram)]
            # The end of a dump may come with the last of its answers.
            ended = any(kind in (2, 3) for kind in kinds)
            if any(kind not in (2, 3) for kind in kinds):
                yield datagram


def messages(datagram):
    """Where each message of a datagram begins, and of what kind it is."""
    at = 0
    while at < len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, at)
        yield at, kind
        at += (length + 3) & ~3


def attribute(kind, text):
    value = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def netlink():
    for kind, length in (18, 16), (22, 8), (26, 12), (34, 12):
        yield from dump(ROUTE, kind, bytes(length))
    for family in socket.AF_INET, socket.AF_INET6:
        for protocol, states in (6, 1 << 10), (17, 1 << 7):
            yield from dump(SOCK_DIAG, 20, struct.pack("=BBBBI48x", family, protocol, 0, 0, states))
    yield from dump(NETFILTER, 0x101, bytes(4))


def nftables():
    """The rule set: tables, chains, sets, their elements, rules, and all of it as one input."""
    parts = []
    for kind in 1, 4, 10, 7:
        for datagram in dump(NETFILTER, NFT | kind, bytes(4)):
            parts.append(datagram)
            for at, of in messages(datagram):
                if of & 0xFF == 9:
                    found = dict(attributes(datagram[at + 20:at + struct.unpack_from("=I", datagram, at)[0]]))
                    names = [found[number].rstrip(b"\0").decode() for number in (1, 2)]
                    body = bytes([datagram[at + 16], 0, 0, 0]) + attribute(1, names[0]) + attribute(2, names[1])
                    parts.extend(dump(NETFILTER, NFT | 13, body))
    yield from parts
    if parts:
        yield b"".join(parts)


def attributes(rest):
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        yield kind & 0x3FFF, rest[4:length]
        rest = rest[(length + 3) & ~3:]


def xtables():
    for which, family, level in (0, socket.AF_INET, 0), (1, socket.AF_INET6, 41):
        with socket.socket(family, socket.SOCK_RAW, 255) as raw:
            try:
                info = get(raw, level, 64, b"filter".ljust(84, b"\0"))
            except OSError:
                continue
            size = info[80:84]
            asked = b"filter".ljust(32, b"\0") + size + bytes(4 + struct.unpack("=I", size)[0])
            yield bytes([which]) + info + get(raw, level, 65, asked)[40:]


def get(opened, level, option, value):
    """`getsockopt` with a buffer that says what is asked for, which Python's own can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(value, len(value))
    length = ctypes.c_uint32(len(value))
    if libc.getsockopt(opened.fileno(), level, option, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "getsockopt")
    return buffer.raw


def main():
    into = pathlib.Path(sys.argv[1])
    for target in netlink, nftables, xtables:
        for answer in target():
            name = hashlib.sha1(answer).hexdigest()[:12]
            (into / target.__name__ / name).write_bytes(answer)


main()
