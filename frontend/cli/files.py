# SPDX-License-Identifier: Apache-2.0
"""Chains as text: read a file, write one, and say in which fields two forms of a chain differ. Pure but for reading.

The form is that of `POST /api/v1/chains/`, in a list under `chains`; what is left out is the server's default.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from frontend.cli.printing import Failure

FIELDS = (
    "name", "description", "source", "destination", "priority", "bandwidth_mbps", "latency_budget_us", "shares_fate",
    "classifiers", "hops",
)  # fmt: skip
# Said by the server of a hop, and by nobody else.
TOLD = ("position", "capability")
Json = dict[str, Any]


def read(path: str) -> list[Json]:
    """path: "-" is standard input. Errors: Failure naming the place in the file."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise Failure(f"{path}: not YAML: {error}") from None
    chains = data.get("chains") if isinstance(data, dict) else None
    if not isinstance(chains, list) or set(data) != {"chains"}:
        raise Failure(f"{path}: must be a list of chains under `chains:`. Fix: viaduct export shows the form")
    for number, chain in enumerate(chains):
        if not isinstance(chain, dict) or not isinstance(chain.get("name"), str):
            raise Failure(f"{path}: chains.{number} has no name")
    names = [label(chain) for chain in chains]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Failure(f"{path}: twice in the file: {', '.join(twice)}")
    return chains


def label(chain: Mapping[str, Any]) -> str:
    return f"{chain['tenant']}/{chain['name']}" if chain.get("tenant") else str(chain["name"])


def declared(row: Mapping[str, Any], *, with_tenant: bool) -> Json:
    """A chain as the server tells it, in the form of the file."""
    found = {"tenant": row["tenant"]} if with_tenant else {}
    found |= {name: row[name] for name in FIELDS}
    return found | {"hops": [_hop(hop) for hop in row["hops"]]}


def _hop(hop: Mapping[str, Any]) -> Json:
    found = {name: value for name, value in hop.items() if name not in TOLD}
    if found.get("branch"):
        found["branch"] = {**found["branch"], "hops": [_hop(tail) for tail in found["branch"]["hops"]]}
    return found


def write(chains: list[Json]) -> str:
    return str(yaml.safe_dump({"chains": chains}, sort_keys=False, allow_unicode=True))


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted paths of what is not equal, with both values; None where there is none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            yield from differences(before.get(name), after.get(name), f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(after, list) and (before or after):
        for number in range(max(len(before), len(after))):
            one = before[number] if number < len(before) else None
            two = after[number] if number < len(after) else None
            yield from differences(one, two, f"{path}.{number}")
    elif before != after:
        yield path, before, after
