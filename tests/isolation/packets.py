"""Sends packets that the kernel would not, and tells where they arrive.

Arguments: a file with the links to watch, and one with the packets to send.

    watch NAMESPACE LINK              what comes in by a link is looked at
    mark NAMESPACE LINK               from here a mark can be sent to watchers
    listen NAMESPACE PORT             a UDP socket on all addresses of a namespace

    NUMBER NAMESPACE LINK TO-NAMESPACE TO-LINK KIND SOURCE DESTINATION PORT [INNER-SOURCE INNER-DESTINATION INNER-PORTS]

A packet leaves by LINK in a frame to the link-layer address of TO-LINK. For each that arrives a line is
printed: NUMBER NAMESPACE SOURCE, and `socket:NAMESPACE` for one that a socket got.

All of it happens on one processor, whose queue of packets is in order. So once a mark that is sent later has
arrived, everything that was sent earlier has taken one more step, or is gone.
"""
import ctypes, fcntl, ipaddress, os, select, socket, struct, sys, time

CLONE_NEWNET = 0x40000000
ETH_P_ALL, MARK = 3, 0x88B5
STEPS = 6
libc = ctypes.CDLL(None, use_errno=True)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
own = os.open("/proc/self/ns/net", os.O_RDONLY)


def inside(ns, work):
    """Does `work` in a namespace."""
    fd = own if ns == "host" else os.open("/run/netns/" + ns, os.O_RDONLY)
    assert libc.setns(fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    try:
        return work()
    finally:
        assert libc.setns(own, CLONE_NEWNET) == 0
        if fd != own:
            os.close(fd)


def tap(link):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.bind((link, ETH_P_ALL))
    s.setblocking(False)
    return s


def mac(link):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return fcntl.ioctl(s, 0x8927, struct.pack("256s", link.encode()))[18:24]  # SIOCGIFHWADDR


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, destination, proto, payload, more=0, offset=0):
    """A packet of either version; of IPv4, perhaps a fragment."""
    if source.version == 4:
        def header(check):
            return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 77, more << 13 | offset >> 3, 64,
                               proto, check, source.packed, destination.packed)
        return header(checksum(header(0))) + payload
    if more or offset:
        payload = struct.pack("!BBHI", proto, 0, offset | more, 77) + payload
        proto = 44
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), proto, 64, source.packed, destination.packed) + payload


def transport(source, destination, proto, segment, at):
    """A segment with its checksum put in at an offset."""
    pseudo = source.packed + destination.packed
    pseudo += struct.pack("!BBH", 0, proto, len(segment)) if source.version == 4 else struct.pack("!IHBB", len(segment), 0, 0, proto)
    if proto == 1:
        pseudo = b""
    check = checksum(pseudo + segment)
    return segment[:at] + struct.pack("!H", check) + segment[at + 2:]


def build(kind, source, destination, port, tag, inner):
    """The packets of a kind: a fragmented one is two."""
    v4 = source.version == 4
    icmp = 1 if v4 else 58
    if kind in ("udp", "tagged", "fragments"):
        payload = tag.ljust(40, b".")
        segment = transport(source, destination, 17, struct.pack("!HHHH", port, 9, 8 + len(payload), 0) + payload, 6)
        if kind != "fragments":
            return [ip(source, destination, 17, segment)]
        return [ip(source, destination, 17, segment[:32], more=1), ip(source, destination, 17, segment[32:], offset=32)]
    if kind in ("syn", "ack", "rst"):
        flags = {"syn": 2, "ack": 0x10, "rst": 4}[kind]
        segment = struct.pack("!HHIIBBHHH", port, 80, 1, 0 if kind == "syn" else 1, 0x50, flags, 1000, 0, 0) + tag
        return [ip(source, destination, 6, transport(source, destination, 6, segment, 16))]
    if kind == "echo":
        segment = struct.pack("!BBHHH", 8 if v4 else 128, 0, 0, port, 1) + tag
        return [ip(source, destination, icmp, transport(source, destination, icmp, segment, 2))]
    if kind == "solicit":  # a neighbour solicitation that is to be routed
        segment = struct.pack("!BBHI16s", 135, 0, 0, 0, destination.packed) + tag
        return [ip(source, destination, 58, transport(source, destination, 58, segment, 2))]
    if kind == "other":  # a protocol that connection tracking knows nothing of
        return [ip(source, destination, port, tag)]
    if kind == "error":  # about a UDP datagram
        inner_source, inner_destination, inner_from, inner_to = inner
        about = ip(inner_source, inner_destination, 17, struct.pack("!HHHH", inner_from, inner_to, 8 + 100, 0) + tag)
        segment = struct.pack("!BBHI", *((3, 1) if v4 else (1, 3)), 0, 0) + about
        return [ip(source, destination, icmp, transport(source, destination, icmp, segment, 2))]
    raise SystemExit("no kind " + kind)


def seen(frame):
    """The source of a packet, its content, and whether it is an error, if it is one of ours."""
    ethertype = struct.unpack_from("!H", frame, 12)[0]
    if ethertype == 0x0800:
        source, proto, payload = ipaddress.ip_address(frame[26:30]), frame[23], frame[14 + (frame[14] & 15) * 4:]
    elif ethertype == 0x86DD:
        source, proto, payload = ipaddress.ip_address(frame[22:38]), frame[20], frame[54:]
        if proto == 44:
            proto, payload = payload[0], payload[8:]
    else:
        return None
    inner = 20 if source.version == 4 else 40
    at, is_error = {17: 8, 6: 20, 1: 8, 58: 8}.get(proto, 0), False
    if proto in (1, 58):
        if payload[:1] in (b"\x03", b"\x01"):
            at, is_error = 8 + inner + 8, True
        elif payload[:1] == b"\x87":
            at = 24
        elif payload[:1] not in (b"\x08", b"\x80"):
            return None
    content = payload[at:at + 14]
    return (source, content, is_error) if content.startswith(b"<") and content.endswith(b">") else None


watched, marks, sockets = [], [], []
for line in open(sys.argv[1]):
    what, ns, which = line.split()
    if what == "watch":
        watched.append((ns, inside(ns, lambda: tap(which))))
    elif what == "mark":
        marks.append(inside(ns, lambda: tap(which)))
    else:
        def listen():
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            s.bind(("::", int(which)))
            s.setblocking(False)
            return s
        sockets.append((ns, inside(ns, listen)))

shots, senders, errors = [], {}, {}
for line in open(sys.argv[2]):
    number, ns, link, to, to_link, kind, source, destination, port, *inner = line.split()
    if (ns, link) not in senders:
        senders[ns, link] = inside(ns, lambda: tap(link)), inside(ns, lambda: mac(link))
    target = inside(to, lambda: mac(to_link))
    if inner:
        inner = [*map(ipaddress.ip_address, inner[:2]), *map(int, inner[2:])]
    tag = b"<%012d>" % int(number)
    packets = build(kind, ipaddress.ip_address(source), ipaddress.ip_address(destination), int(port), tag, inner)
    errors[int(number)] = kind == "error"
    own_socket, own_mac = senders[ns, link]
    # A priority without a VLAN (IEEE 802.1Q), which the receiver takes off.
    header = target + own_mac + (b"\x81\0\xe0\0" if kind == "tagged" else b"")
    shots.append((own_socket, header, packets))

arrived = set()


def look(ns, s):
    """Takes in what has come; says whether a mark was among it."""
    marked = set()
    while True:
        try:
            frame, (_, ethertype, direction, *_) = s.recvfrom(4096)
        except BlockingIOError:
            return marked
        if direction == 4:  # PACKET_OUTGOING
            continue
        if ethertype == MARK:
            marked.add(frame[14])
            continue
        found = seen(frame)
        if found:
            source, content, is_error = found
            number = int(content[1:-1])
            # What is refused comes back in an error.
            if is_error == errors.get(number):
                arrived.add((number, ns, str(source)))


def take(ns, s):
    """Takes in what a socket got."""
    while True:
        try:
            content, (source, *_) = s.recvfrom(100)
        except BlockingIOError:
            return
        source = ipaddress.ip_address(source.split("%")[0])
        arrived.add((int(content[1:13]), "socket:" + ns, str(source.ipv4_mapped or source)))


for own_socket, header, packets in shots:
    for packet in packets:
        ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        own_socket.send(header + struct.pack("!H", ethertype) + packet)
    for ns, s in watched:
        look(ns, s)
    for ns, s in sockets:
        take(ns, s)

for step in range(STEPS):
    for s in marks:
        s.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!HB", MARK, step) + bytes(45))
    waiting, end = dict((s, ns) for ns, s in watched), time.monotonic() + 60
    while waiting:
        assert time.monotonic() < end, "no mark in " + " ".join(waiting.values())
        for s in select.select(list(waiting), [], [], 1)[0]:
            if step in look(waiting[s], s):
                del waiting[s]

for ns, s in sockets:
    take(ns, s)
for number, where, source in sorted(arrived):
    print(number, where, source)
