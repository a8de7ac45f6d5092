# SPDX-License-Identifier: Apache-2.0
"""One run on a plant: tenants' programs write while the nemesis strikes, then faults stop, then the verdict.

Chains stay from one run to the next, as in production: a seed draws what is asked and what goes wrong, the
processes' own timing is not drawn.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import psycopg

from tests.chaos.client import PORTS, Client, Wanted
from tests.chaos.nemesis import Nemesis
from tests.chaos.plant import TENANTS, Plant
from tests.chaos.verdict import Seen, Verdict, accepted_by, judge, lines, look, overlapping

CHAOS_S = 2.0
# A fault that waits for its moment may wait so long.
AMBUSH_S = 3.0
# Once faults stop: the start of a process, a lease, two sweeps, an attempt, the devices' confirm timer.
BOUND_S = 60.0
# Two sweeps and a reading of every device.
QUIET_S = 1.6
MOST_CHAINS = 3


@dataclass
class Series:
    """What is known from the runs before. last_change: the number of the last change that was judged.

    accepted: writes by action.
    """

    chains: dict[str, list[Wanted]] = field(default_factory=lambda: {name: [] for name in TENANTS})
    last_change: int = 0
    runs: int = 0
    accepted: Counter[str] = field(default_factory=Counter)


def run(plant: Plant, seed: int, series: Series, kinds: Collection[str] = ()) -> Verdict:
    """Leaves the plant at rest, if there is no problem. kinds: of faults; none for all."""
    chance = random.Random(seed)
    verdict, nemesis = Verdict(seed), Nemesis(plant, chance)
    offset = plant.log.stat().st_size
    series.runs += 1
    clients = [
        Client(plant.instance.url, name, plant.tokens[name], random.Random(chance.random()), f"s{series.runs}x{seed}")
        for name in TENANTS
    ]
    threads = [
        threading.Thread(target=_tenant, args=(client, series.chains[name], chance.random(), chance.randint(2, 3)))
        for name, client in zip(TENANTS, clients, strict=True)
    ]
    for thread in threads:
        thread.start()
    _strike(nemesis, chance, kinds or nemesis.kinds)
    nemesis.calm()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    seen, why = _settle(plant, series.last_change)
    verdict.settled_s = time.monotonic() - began
    verdict.faults, verdict.intents = nemesis.hit, sum(len(client.history) for client in clients)
    end = plant.log.stat().st_size
    written = lines(plant.log, offset)
    verdict.writes = len(written)
    if why:
        verdict.add("lost_intents", (f"no rest after {BOUND_S:g} s: {text}" for text in why))
    else:
        time.sleep(QUIET_S)  # a second pass over everything: it may not find anything to do
        late = [line for line in lines(plant.log, end) if line["what"] in ("push", "commit")]
        verdict.add("vain_writes", (f"{line['device']}: a {line['what']} though nothing differed" for line in late))
    if seen is not None:
        series.accepted += accepted_by(clients)
        known = [chain for chains in series.chains.values() for chain in chains]
        judge(verdict, seen, clients, known, series.accepted)
        verdict.add("overlapping_writers", overlapping(written, plant))
        series.last_change = max((row["id"] for row in seen.changes), default=series.last_change)
    verdict.add("other", plant.troubles)
    plant.troubles.clear()
    for client in clients:
        client.close()
    for name in TENANTS:
        series.chains[name] = [chain for chain in series.chains[name] if not chain.is_deleted]
    for chains in series.chains.values():
        for chain in chains:
            chain.changes.clear()
    return verdict


def _strike(nemesis: Nemesis, chance: random.Random, kinds: Collection[str]) -> None:
    """A few faults at random moments; who sleeps wakes when the lease is over."""
    drawn = chance.sample(sorted(kinds), min(len(kinds), chance.choice((1, 2, 2, 3))))
    moments = sorted(chance.uniform(0.0, CHAOS_S * 0.7) for _ in drawn)
    began = time.monotonic()
    for kind, moment in zip(drawn, moments, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        nemesis.strike(kind)
    while time.monotonic() < began + CHAOS_S + (AMBUSH_S if nemesis.is_waiting() else 0.0) or nemesis.left_s() > 0:
        time.sleep(0.1)
        nemesis.wake()


def _tenant(client: Client, chains: list[Wanted], seed: float, acts: int) -> None:
    """What one tenant's program does, one write after the other."""
    chance = random.Random(seed)
    for _ in range(acts):
        alive = [chain for chain in chains if not chain.is_deleted]
        may_create = len(alive) < MOST_CHAINS
        if not alive or (may_create and chance.random() < 0.4):
            _create(client, chains, chance)
            continue
        chain = chance.choice(alive)
        act: Callable[[Wanted], None] = chance.choice((client.edit, client.edit_and_apply, client.delete))
        act(chain)


def _create(client: Client, chains: list[Wanted], chance: random.Random) -> None:
    made = client.create(chance.randint(*PORTS))
    if made is not None:
        chains.append(made)
        client.apply(made)


def _settle(plant: Plant, since: int) -> tuple[Seen | None, list[str]]:
    """Wait until nothing moves any more. What was seen last, and what is still not as it should be."""
    until = time.monotonic() + BOUND_S
    seen, why = None, ["never looked"]
    while why and time.monotonic() < until:
        time.sleep(0.1)
        try:
            seen = look(plant, since)
        except psycopg.Error as error:
            why = [f"the database does not answer: {error}"]
            continue
        why = seen.unsettled()
        if not plant.is_whole():
            why.append("a process does not run")
    return seen, why
