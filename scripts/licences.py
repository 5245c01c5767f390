#!/usr/bin/env python3
"""Checks that every crate netform is built with has a licence that its own allows.

The C libraries it links with, libnftnl (GPL-2.0-or-later) and libmnl (LGPL-2.1-or-later), are no crates:
README.md says what they mean for a binary.
"""

import json
import re
import subprocess
import sys

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}


def allowed(expression):
    """Whether an SPDX expression can be met: one of each `OR`, all of each `AND`."""
    expression = expression.replace("/", " OR ").strip()
    while "(" in expression:
        inner = re.search(r"\(([^()]*)\)", expression)
        verdict = "MIT" if allowed(inner.group(1)) else "NONE"
        expression = expression.replace(inner.group(0), verdict)
    ways = re.split(r"\s+OR\s+", expression)
    return any(all(part.strip() in ALLOWED for part in re.split(r"\s+AND\s+", way)) for way in ways)


def main():
    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"],
        check=True, stdout=subprocess.PIPE,
    ).stdout
    bad = [
        f"{package['name']} {package['version']}: {package['license'] or 'no licence'}"
        for package in json.loads(metadata)["packages"]
        if not allowed(package["license"] or "")
    ]
    for line in bad:
        print(f"error: licence not allowed: {line}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
