#!/usr/bin/env python3
"""Times netform against the least that the kernel asks for, and against what people use. `make bench` builds what it takes.

    benches/run.py [N ...]          1 10 100 1000 if nothing is said

Every figure of a row comes from one run on a private host, the contenders taking turns; medians of BENCH_ROUNDS rounds (5), with the
least and the greatest. Prints tables, and writes them to target/bench/table.md and all figures to target/bench/results.json. With
BENCH_IFSTATE=COMMAND, as /opt/ifstate/bin/ifstatecli, ifstate is timed too, for up to 100 namespaces.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import topology

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETFORM = os.environ.get("BENCH_NETFORM", str(ROOT / "target/release/netform"))
FLOOR = str(ROOT / "target/floor/release/floor")
OUT = ROOT / "target/bench"
RUN = "/run/bench"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
# A plain script takes seconds for each hundred namespaces, and ifstate longer.
SCRIPT_MOST, IFSTATE_MOST = 1000, 100


class Failed(Exception):
    """A contender didn't do its work."""


def timed(command):
    """How long a command takes: wall, user and system time in seconds, and the most memory in KiB."""
    command = [FLOOR, "time", f"{RUN}/took", *command]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.decode()[-2000:]}")
    took = pathlib.Path(f"{RUN}/took").read_text(encoding="utf-8").split()
    return dict(zip(["wall", "user", "system", "memory"], map(float, took)))


def shell(text):
    subprocess.run(["sh", "-c", text], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def settle():
    """Waits until the kernel has cleared away all namespaces that were deleted: it does so in their order."""
    shell(
        "ip netns add last; ip link add last0 type veth peer name last1 netns last; ip netns del last\n"
        "while ip link show dev last0 >/dev/null 2>&1; do sleep 0.05; done"
    )


def wipe(count):
    """Removes what was made by hand."""
    shell(
        f"at=0; while [ $at -lt {count} ]; do ip netns del n$at; at=$((at + 1)); done\n"
        "nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    settle()


def transaction(spec):
    """The bytes of the nftables transaction that netform sends, for the floor to send them too."""
    log = f"{RUN}/strace"
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", "trace=sendto,sendmsg", "-e", "write=all", NETFORM, "apply", "-y", "-f", spec],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    datagrams, now = [], bytearray()
    for line in open(log, encoding="utf-8", errors="replace"):
        found = re.match(r"(?:\d+\s+)? ?\| ([0-9a-f]+)  ((?:[0-9a-f]{2} {1,2}){1,16})", line)
        if found:
            if int(found[1], 16) == 0:
                datagrams.append(bytes(now))
                now = bytearray()
            now += bytes.fromhex(found[2])
    datagrams.append(bytes(now))
    # NFNL_MSG_BATCH_BEGIN
    tables = [one for one in datagrams if one[4:6] == b"\x10\x00"]
    with open(f"{RUN}/table", "wb") as file:
        file.write(max(tables, key=len))
    timed([NETFORM, "destroy", "-y", "bench"])
    settle()


def rounds(count):
    """All that is measured for one size: what is done, and the figures of each round."""
    spec, changed = f"{RUN}/spec.yaml", f"{RUN}/changed.yaml"
    topology.write(spec, topology.spec(count))
    topology.write(changed, topology.spec(count, gateway=3))
    topology.write(f"{RUN}/batch.sh", topology.batch(count, RUN))
    topology.write(f"{RUN}/script.sh", topology.script(count))
    transaction(spec)
    found = {}

    def measure(what, command):
        found.setdefault(what, []).append(timed(command))

    number = str(count)
    for _ in range(ROUNDS):
        measure("floor: make", [FLOOR, "apply", number, f"{RUN}/table"])
        measure("floor: remove", [FLOOR, "destroy", number])
        settle()
        measure("apply", [NETFORM, "apply", "-y", "-f", spec])
        measure("floor: read", [FLOOR, "read", number])
        measure("apply, nothing to do", [NETFORM, "apply", "-y", "-f", spec])
        measure("plan", [NETFORM, "plan", "-f", spec])
        measure("apply, one namespace changed", [NETFORM, "apply", "-y", "-f", changed])
        measure("validate", [NETFORM, "validate", "-f", spec])
        measure("destroy", [NETFORM, "destroy", "-y", "-f", spec])
        settle()
        measure("ip -batch, nft -f", ["sh", f"{RUN}/batch.sh"])
        wipe(count)
        if count <= SCRIPT_MOST and len(found.get("script", [])) < 3:
            measure("script", ["sh", f"{RUN}/script.sh"])
            wipe(count)
    return found


def rounds_of_ifstate(count):
    """The same of ifstate. It takes the host for its own, so it has one to itself."""
    spec = f"{RUN}/ifstate.yaml"
    topology.write(spec, topology.ifstate(count))
    command = [os.environ["BENCH_IFSTATE"], "-q", "-c", spec, "apply"]
    found = {"ifstate": [], "ifstate, nothing to do": []}
    for _ in range(ROUNDS):
        for figures in found.values():
            figures.append(timed(command))
        # It has no way back.
        wipe(count)
    return found


def median(figures, what="wall"):
    return statistics.median(one[what] for one in figures)


def span(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def times_table(results):
    """What takes how long, by size."""
    sizes = list(results)
    lines = ["| | " + " | ".join(f"N = {size}" for size in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    rows = dict.fromkeys(row for size in sizes for row in results[size])
    for row in rows:
        cells = []
        for size in sizes:
            figures = results[size].get(row)
            if figures:
                walls = sorted(one["wall"] for one in figures)
                cells.append(f"{span(median(figures))} ({span(walls[0])} – {span(walls[-1])})")
            else:
                cells.append("–")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


RATIOS = [
    ("apply", "floor: make", 1.25),
    ("apply", "ip -batch, nft -f", 0.30),
    ("apply", "script", None),
    ("apply, nothing to do", "floor: read", 1.5),
    ("plan", "floor: read", 1.5),
    ("apply, one namespace changed", "apply, nothing to do", 1.2),
    ("destroy", "floor: remove", 1.25),
    ("apply, nothing to do", "ifstate, nothing to do", 0.02),
]


def ratios_table(results):
    """Each against the other: the medians of one run."""
    sizes = list(results)
    lines = [
        "| | against | aim at N = 1,000 | " + " | ".join(f"N = {size}" for size in sizes) + " |",
        "|---" * (len(sizes) + 3) + "|",
    ]
    for what, other, aim in RATIOS:
        cells = []
        for size in sizes:
            one, two = results[size].get(what), results[size].get(other)
            cells.append(f"{median(one) / median(two):.2f}" if one and two else "–")
        lines.append(f"| {what} | {other} | {aim if aim else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs_table(results):
    """What netform itself takes: the processor's time outside of the kernel, and memory."""
    sizes = list(results)
    lines = ["| | " + " | ".join(f"N = {size}" for size in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for what in ["apply", "apply, nothing to do", "destroy", "validate"]:
        cells = [
            f"{span(median(results[size][what], 'user'))}, {median(results[size][what], 'memory') / 1024:.0f} MiB"
            for size in sizes
        ]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def inside(what, sizes):
    """On a private host: measures, and writes down the figures."""
    os.makedirs(RUN, exist_ok=True)
    os.makedirs("/run/netns", exist_ok=True)
    settle()
    results = {}
    for size in map(int, sizes):
        print(f"measuring {what} with {size} namespaces", file=sys.stderr)
        results[size] = rounds(size) if what == "netform" else rounds_of_ifstate(size)
    topology.write(OUT / f"{what}.json", json.dumps(results))


def outside(sizes):
    """Has private hosts made, and prints what was measured there."""
    OUT.mkdir(parents=True, exist_ok=True)
    results = {size: {} for size in sizes}
    parts = {"netform": sizes}
    if os.environ.get("BENCH_IFSTATE"):
        parts["ifstate"] = [size for size in sizes if int(size) <= IFSTATE_MOST]
    for what, some in parts.items():
        subprocess.run(
            [NETFORM, "sandbox", "--", sys.executable, __file__, *some], env={**os.environ, "BENCH_INSIDE": what}, check=True
        )
        for size, found in json.loads((OUT / f"{what}.json").read_text()).items():
            results[size].update(found)
    text = "\n\n".join(
        [
            "Medians, and the least and the greatest of each:",
            times_table(results),
            "As ratios of the medians:",
            ratios_table(results),
            "Of netform itself, user time and the most memory:",
            costs_table(results),
        ]
    )
    print(text)
    topology.write(OUT / "table.md", text + "\n")
    topology.write(OUT / "results.json", json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    asked = sys.argv[1:] or ["1", "10", "100", "1000"]
    place = os.environ.get("BENCH_INSIDE")
    try:
        inside(place, asked) if place else outside(asked)
    except Failed as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}")
