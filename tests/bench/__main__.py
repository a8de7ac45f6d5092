# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.bench [NAME] [--json] [--small]`, called by ./run bench.

Exit status: 1 if a goal is missed, 2 for bad use, 3 if this machine cannot carry the one that was named.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator

from orchestrator.services.places import ServiceError
from tests.bench import placement, posting
from tests.bench.report import Figure, Impossible, line, show


def compile_figures(is_small: bool) -> Iterator[Figure]:
    """Imported only when asked for: it sets up Django with a database of its own."""
    from tests.bench import database

    with database.private():
        from tests.bench import editing

        yield from editing.figures(editing.SMALL if is_small else editing.FULL)


def placement_figures(is_small: bool, is_large: bool = False) -> Iterator[Figure]:
    """One chain through the whole planner, then the solvers of many chains and of churn."""
    from tests.bench import online, placing

    yield from placement.figures(placement.SMALL if is_small else placement.FULL)
    for part in (online, placing):
        yield from part.small_figures() if is_small else part.figures(is_large)


def post_figures(is_small: bool) -> Iterator[Figure]:
    yield from posting.figures(posting.SMALL if is_small else posting.FULL)


def sweep_figures(is_small: bool) -> Iterator[Figure]:
    from tests.bench import database

    with database.private():
        from tests.bench import sweeping

        yield from sweeping.figures(sweeping.SMALL if is_small else sweeping.FULL)


def wall_figures(is_small: bool) -> Iterator[Figure]:
    from tests.bench import database

    with database.private():
        from tests.bench import wall

        yield from wall.figures(wall.SMALL if is_small else wall.FULL)


def vendor_figures(is_small: bool) -> Iterator[Figure]:
    from tests.bench import database

    with database.private():
        from tests.bench import vendors

        yield from vendors.figures(vendors.SMALL if is_small else vendors.FULL)


def lab_figures(is_small: bool) -> Iterator[Figure]:
    from tests.bench import throughput

    yield from throughput.figures(throughput.SMALL if is_small else throughput.FULL)


NO_GROUND = 3
BENCHES: dict[str, Callable[..., Iterator[Figure]]] = {
    "placement": placement_figures,
    "compile": compile_figures,
    "post": post_figures,
    "sweep": sweep_figures,
    "wall": wall_figures,
    "vendors": vendor_figures,
    "lab": lab_figures,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help=f"one of {', '.join(BENCHES)}; all if none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--small", action="store_true", help="small sizes, for the test suite; figures mean little")
    parser.add_argument("--large", action="store_true", help="placement: fat-tree-16 and the widest network too")
    given = parser.parse_args(arguments)
    if given.name and given.name not in BENCHES:
        print(f"run: there is no benchmark {given.name!a}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the private database is stopped
    found: list[Figure] = []
    try:
        for name in [given.name] if given.name else BENCHES:
            try:
                large = {"is_large": True} if given.large and name == "placement" else {}
                for figure in BENCHES[name](given.small, **large):
                    found.append(figure)
                    if given.json:
                        print(line(figure), flush=True)
            except Impossible as error:
                print(f"run: {name}: {error}", file=sys.stderr)
                if given.name:
                    return NO_GROUND
    except ServiceError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    if not given.json:
        show(found)
    return 0 if all(figure.ok for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
