# SPDX-License-Identifier: Apache-2.0
r"""A chain is edited again and again under load: no packet lost, doubled or past a function, every connection alive.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 ips2 fw3                fw2 ips1

1,000 datagrams a second and 50 long TCP connections from a1 to a2 and back, while the chain's classifier changes, hops
are inserted, removed, reordered, moved to the other leaf and back, an instance is replaced, policies change, and a hop
becomes a group that grows and shrinks.
Expected: 0 lost, 0 doubled, 0 that crossed other functions than the old or the new chain names, in another order, and
every connection alive, unless the plan said beforehand what would break.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.scenarios import arena
from lab.scenarios.judge import judge
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, MORE_CLASSIFIERS, ips, ngfw

EDITS, FAST_EDITS = 100, 5
RATE, FAST_RATE = 1000, 300
CONNECTIONS, FAST_CONNECTIONS = 50, 20


def rounds() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is edited, for ever: fourteen edits that end where they began."""
    while True:
        yield "insert a hop", {"hops": [ngfw("fw1"), ips("ips1")]}
        yield "change the classifier", {"classifiers": MORE_CLASSIFIERS}
        yield "move a hop to the other leaf", {"hops": [ngfw("fw2"), ips("ips1")]}
        yield "change a policy", {"hops": [ngfw("fw2", rules=3), ips("ips1")]}
        yield "reorder", {"hops": [ips("ips2"), ngfw("fw3")]}
        yield "replace an instance", {"hops": [ips("ips2"), ngfw("fw2")]}
        yield "change the classifier back", {"classifiers": CLASSIFIERS}
        yield "reorder back and move both", {"hops": [ngfw("fw3"), ips("ips1")]}
        yield "remove a hop", {"hops": [ngfw("fw3")]}
        yield "make it a group", {"hops": [ngfw(instances=2)]}
        yield "grow the group", {"hops": [ngfw(instances=3)]}
        yield "change the group's policy", {"hops": [ngfw(instances=3, rules=2)]}
        yield "shrink the group", {"hops": [ngfw(instances=2)]}
        yield "move back", {"hops": [ngfw("fw1")]}


def begin(play: Play) -> str:
    """1. A chain through one firewall; the stream and 50 connections run through it."""
    stage = play.stage
    play.kept["chain"] = stage.chain("edited", [ngfw("fw1")], classifiers=CLASSIFIERS)
    rate, connections = play.times(RATE, FAST_RATE), play.times(CONNECTIONS, FAST_CONNECTIONS)
    traffic = play.kept["traffic"] = stage.flowing_now(rate=rate, connections=connections)
    traffic.flow_on(200)
    return f"{rate} datagrams a second flow, {connections} connections are open"


def edit(play: Play) -> str:
    """2. The chain is edited, one edit after the other, each planned, proved and applied as by its owner."""
    count, foretold = play.times(EDITS, FAST_EDITS), []
    for number, (what, fields) in zip(range(count), rounds(), strict=False):
        plan = play.stage.edit(play.kept["chain"], **fields)
        foretold += [f"{what}: {reason}" for reason in plan["summary"].get("breaks", ())]
        play.kept["traffic"].flow_on(50)
        play.say(f"edit {number + 1} of {count}: {what}")
    play.kept["foretold"] = foretold
    return f"{count} edits" + (f"; said beforehand: {foretold[:3]}" if foretold else "")


def settle(play: Play) -> str:
    """3. The traffic ends; every packet is accounted for by what was captured at the functions and at both ends."""
    traffic = play.kept["traffic"]
    verdict = judge(traffic.stop(), play.stage.eras)
    play.outcome.add(verdict)
    dead = [line for line in traffic.lines if not line.is_alive]
    play.outcome.connections, play.outcome.broken = len(traffic.lines), len(dead)
    seen = "; ".join(verdict.notes)
    check(verdict.sent > 0 and verdict.answered > 0, "nothing flowed")
    check(verdict.lost == 0, f"{verdict.lost} of {verdict.sent} lost: {seen}")
    check(verdict.duplicated == 0, f"{verdict.duplicated} doubled")
    check(verdict.bypassed == 0, f"{verdict.bypassed} skipped a function: {seen}")
    check(verdict.misordered == 0, f"{verdict.misordered} in another order: {seen}")
    check(not dead or bool(play.kept["foretold"]), f"{len(dead)} connections broke: {dead[:3]}")
    gap = max(line.longest_gap_s for line in traffic.lines)
    return f"{play.outcome.line()}; longest gap {verdict.gap_ms:.0f} ms of datagrams, {gap:.1f} s of a connection"


SCENARIO = Scenario(
    name="edits",
    title="A chain is edited under load",
    expects="0 lost, 0 doubled, 0 past a function, every connection alive, or the plan said what would break",
    fabric=arena.write,
    steps=(begin, edit, settle),
    is_fast=True,
)
