# SPDX-License-Identifier: Apache-2.0
"""What a text changes on an FRR/Linux router, object by object, and what the router says that it would. Pure.

Called by `drivers.switch.frr`. The router's difference names links, lines of FRR's own reload tool, and those of our
nftables table; compared are the objects, as their insides are read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.difference import differs as differ
from drivers.switch.frr_parse import Shown
from drivers.transport.frr_box.grammar import ALIAS, KEEP, sections

_SAID = (
    (re.compile(r"link \S+"), "{0}"),
    (re.compile(r"(?:no )?(pbr-map \S+ seq \d+).*"), "{1}"),
    (re.compile(r"nft\s+((?:counter|chain) \S+) \{"), "{1}"),
    (re.compile(r"nft .*| ?match (?:src-ip|mark) \S+| ?set nexthop \S+ \S+|exit|"), ""),
)
_INTERFACE = re.compile(r"interface (\S+)(?: pbr-policy (\S+))?")
_POLICY = re.compile(r" ?(?:no )?pbr-policy (\S+)")


def differs(shown: Shown, native: str, said: str) -> str:
    """See `drivers.box.Syntax`."""
    before, after = set(_held(shown)), set(_kept(native))
    planned = {f"-{one}" for one in before - after} | {f"+{one}" for one in after - before}
    # What stays and is written anew is named too. So are chains and counters that go: they are swept away later, and
    # a difference of two listings may show one of them as if it moved.
    later = {one for one in before - after if one.startswith(("chain ", "counter "))}
    may = {f"{sign}{one}" for one in before & after | later for sign in "+-"}
    return differ(planned, _named(said), may)


def adds(shown: Shown, native: str) -> bool:
    return bool(set(_kept(native)) - set(_held(shown)))


def _held(shown: Shown) -> Iterator[str]:
    for link in shown.document["links"]:
        if link.get("ifalias") == ALIAS:
            yield f"link {link['ifname']}"
    for one in shown.sequences:
        yield f"pbr-map {one.table} seq {one.number}"
    for interface, name in shown.policies.items():
        if name.startswith("SI-t-"):
            yield f"policy {interface} {name}"
    for entry in shown.document["nft"]:
        kind, value = next(iter(entry.items()))
        if kind in ("chain", "counter"):
            yield f"{kind} {value['name']}"


def _kept(native: str) -> Iterator[str]:
    for line in sections(native)[KEEP]:
        words = line.split()
        if words[0] == "map":
            yield from (f"pbr-map {words[1]} seq {number}" for number in words[2:])
        else:
            yield line


def _named(said: str) -> Iterator[str]:
    """Signed objects; a line that is none of ours stands as it is."""
    interface = ""
    for line in said.splitlines():
        sign, text = line[:1], line[1:]
        at, policy = _INTERFACE.fullmatch(text), _POLICY.fullmatch(text)
        if at:
            interface = at[1]
            policy_name = at[2]
        else:
            policy_name = policy[1] if policy else None
        if at or policy:
            if policy_name:
                yield f"{sign}policy {interface} {policy_name}"
            continue
        found = next(((p.fullmatch(text), form) for p, form in _SAID if p.fullmatch(text)), None)
        if found is None:
            yield line
        elif found[1] and found[0]:
            yield sign + (found[0][0] if found[1] == "{0}" else found[0][1])
