# SPDX-License-Identifier: Apache-2.0
"""`./run soak --edits [--cases N] [--first K] [--json]`: random edits of random chains, judged packet by packet.

One number replays exactly. Exit status: 1 if any showed a problem, 2 for bad use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.planning.test_properties import check

SHOWN_EVERY_S = 30.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --edits", description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, help="how many (default 50000)")
    parser.add_argument("--first", type=int, default=0, help="the first number (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    if given.cases < 1:
        print("run: --cases must be 1 or more", file=sys.stderr)
        return 2
    began = shown = time.monotonic()
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for seed in range(given.first, given.first + given.cases):
        try:
            counts[check(seed)] += 1
        except AssertionError as error:
            problems.append(f"case {seed}: {error}")
        if time.monotonic() - shown > SHOWN_EVERY_S:
            shown = time.monotonic()
            print(f"{seed - given.first + 1} of {given.cases}, {len(problems)} problems", file=sys.stderr)
    took_s = round(time.monotonic() - began, 1)
    if given.json:
        print(json.dumps({"cases": given.cases, **counts, "problems": problems, "took_s": took_s}))
    else:
        for problem in problems[:20]:
            print(problem)
        told = f"{counts['planned']} planned, {counts['refused']} refused, {len(problems)} with a problem"
        print(f"{given.cases} cases in {took_s} s: {told}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
