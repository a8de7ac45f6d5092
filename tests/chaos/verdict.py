# SPDX-License-Identifier: Apache-2.0
"""What must be true after a run, judged from the devices, from their log of writes and from the clients' history.

The rows are the accused: asked what they claim, which is then compared. Uses no code of the product.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.client import Client, Wanted
from tests.chaos.plant import DRIVERS, Plant

LABEL = re.compile(r"si-\d+-\d+r?-(\d+)")
# Two programs of one machine ask the same clock, but not at the same moment.
CLOCK_S = 0.05
COUNTED = (
    "lost_intents", "duplicates", "mixed_end_states", "false_ready", "overlapping_writers", "vain_writes", "other"
)  # fmt: skip
CHAINS = """
SELECT chain.id, tenant.name AS tenant, chain.name, chain.status, chain.status_reason, chain.generation,
       chain.observed_generation, chain.is_wanted
  FROM chains_chain AS chain JOIN chains_tenant AS tenant ON tenant.id = chain.tenant_id ORDER BY chain.id
"""
CHANGES = """
SELECT change.id, change.status, change.error, plan.chain_id, plan.goal, plan.generation, plan.target
  FROM chains_change AS change JOIN chains_plan AS plan ON plan.id = change.plan_id ORDER BY change.id
"""
PARTS = """
SELECT device.name, part.items
  FROM chains_contribution AS part JOIN chains_device AS device ON device.id = part.device_id
"""
WRITES = """
SELECT device.name, write.epoch, write.digest, extract(epoch FROM write.began_at)::float8 AS began
  FROM chains_devicewrite AS write JOIN chains_device AS device ON device.id = write.device_id
 WHERE write.began_at >= to_timestamp(%s) ORDER BY write.id
"""
# What the clients did, by action; the machine's own is by "viaduct".
DONE = """
SELECT action, count(*) AS done FROM chains_auditrow WHERE actor = 'token:chaos' GROUP BY action
"""
ASKED = (("POST", "chains/", "chain.create"), ("POST", "apply/", "plan.apply"), ("DELETE", "", "chain.delete"))
ENDED = ("succeeded", "reverted", "failed", "cancelled")
Row = Mapping[str, Any]
States = Mapping[str, Mapping[str, Any]]


@dataclass
class Verdict:
    """problems by kind, one line each. settled_s: from the end of the faults until everything stood still."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)
    settled_s: float = 0.0
    writes: int = 0
    intents: int = 0
    changes: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, lines: Iterable[str]) -> None:
        found = list(lines)
        if found:
            self.problems.setdefault(kind, []).extend(found)


@dataclass(frozen=True)
class Seen:
    """Rows and devices at one moment; devices and `wanted` by name, items by key. done: audit rows by action."""

    chains: Sequence[Row]
    changes: Sequence[Row]
    wanted: States
    devices: States
    pending: Mapping[str, str]
    done: Mapping[str, int]

    def unsettled(self) -> list[str]:
        """Why it is not over yet, one line each."""
        found = [f"change {row['id']} is {row['status']}: {row['error']}" for row in self.changes if _is_open(row)]
        found += [
            f"chain {row['name']} is being deleted, {row['status']}: {row['status_reason']}"
            for row in self.chains
            if not row["is_wanted"]
        ]
        busy = ("applying", "unknown", "degraded")
        found += [
            f"chain {row['name']} is {row['status']}: {row['status_reason']}"
            for row in self.chains
            if row["status"] in busy
        ]
        found += [f"{name} does not hold what is wanted" for name in DRIVERS if self.odd(name)]
        return found + [f"{name} waits for a confirmation of {label}" for name, label in self.pending.items()]

    def odd(self, name: str) -> list[str]:
        """Keys of items that differ between device and rows."""
        have, want = self.devices.get(name, {}), self.wanted.get(name, {})
        return sorted(key for key in have.keys() | want.keys() if have.get(key) != want.get(key))


def look(plant: Plant, since: int) -> Seen:
    """since: changes with a greater id only. Errors: psycopg.Error while the database is away."""
    with plant.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        chains = cursor.execute(CHAINS).fetchall()
        changes = [row for row in cursor.execute(CHANGES).fetchall() if row["id"] > since]
        wanted: dict[str, dict[str, Any]] = {}
        for row in cursor.execute(PARTS).fetchall():
            wanted.setdefault(row["name"], {}).update(row["items"])
        done = {row["action"]: row["done"] for row in cursor.execute(DONE).fetchall()}
    devices, pending = {}, {}
    for name in DRIVERS:
        path = plant.store / f"{name}.json"
        held = json.loads(path.read_text()) if path.exists() else {"state": {}}
        devices[name] = held["state"]
        if held.get("pending"):
            pending[name] = held["pending"]["label"]
    return Seen(chains, changes, wanted, devices, pending, done)


def judge(
    verdict: Verdict, seen: Seen, clients: Iterable[Client], model: Iterable[Wanted], accepted: Mapping[str, int]
) -> None:
    """Everything stands still. accepted: by action, how many writes were, in all runs of the plant."""
    chains, changes = {row["id"]: row for row in seen.chains}, {row["id"]: row for row in seen.changes}
    known = list(model)
    for wanted in known:
        verdict.add("lost_intents", _lost(wanted, chains.get(wanted.number), changes))
    names = Counter((row["tenant"], row["name"]) for row in seen.chains)
    expected = {(wanted.tenant, wanted.name) for wanted in known if not wanted.is_deleted}
    verdict.add("duplicates", (f"{name} is there {count} times" for name, count in names.items() if count > 1))
    verdict.add("duplicates", (f"chain {name} that nobody wants" for name in names.keys() - expected))
    for client in clients:
        verdict.add("other", client.problems)
    for action, count in accepted.items():
        if seen.done.get(action, 0) != count:
            verdict.add("duplicates", [f"{action}: accepted {count} times, done {seen.done.get(action, 0)} times"])
    for name in DRIVERS:
        odd = seen.odd(name)
        verdict.add("mixed_end_states", [f"{name} differs in {', '.join(odd[:4])}"] if odd else [])
    verdict.add("mixed_end_states", (text for row in seen.chains for text in _mixed(row, seen)))
    verdict.add("false_ready", (text for row in seen.chains for text in _false_ready(row)))
    verdict.changes = Counter(row["status"] for row in seen.changes)


def accepted_by(clients: Iterable[Client]) -> Counter[str]:
    """By action, the writes that were answered with 2xx."""
    found: Counter[str] = Counter()
    for client in clients:
        for asked in client.history:
            for method, end, action in ASKED:
                found[action] += asked.is_accepted and asked.method == method and asked.path.endswith(end)
    return found


def _is_open(row: Row) -> bool:
    return row["status"] not in ENDED


def _lost(wanted: Wanted, row: Row | None, changes: Mapping[int, Row]) -> list[str]:
    """What was accepted is there, or superseded by what was accepted later, or explained."""
    if wanted.is_deleted:
        return [] if row is None else [f"chain {wanted.name} was deleted and is still there"]
    if row is None:
        return [f"chain {wanted.name} is gone"]
    found = []
    if row["generation"] != wanted.generation:
        found.append(f"chain {wanted.name} is at generation {row['generation']}, accepted was {wanted.generation}")
    for number in wanted.changes:
        change = changes.get(number)
        if change is None:
            found.append(f"change {number} is gone")
        elif change["status"] != "succeeded" and not change["error"]:
            found.append(f"change {number} is {change['status']} and does not say why")
    last = changes.get(wanted.changes[-1]) if wanted.changes else None
    if last is not None and last["status"] == "succeeded" and last["generation"] == row["generation"] and (
        row["status"] != "ready"
    ):
        found.append(f"chain {wanted.name} was applied and is {row['status']}: {row['status_reason']}")
    return found


def _mixed(chain: Row, seen: Seen) -> list[str]:
    """The devices hold the whole of the chain's last applied plan."""
    applied = [row for row in seen.changes if row["chain_id"] == chain["id"] and row["status"] == "succeeded"]
    if not applied:
        return []
    target = {name: items for name, items in applied[-1]["target"].items() if items}
    prefix = f"c{chain['id']}."
    held = {
        name: {key: item for key, item in state.items() if key.startswith(prefix)}
        for name, state in seen.devices.items()
    }
    if {name: items for name, items in held.items() if items} == target:
        return []
    return [f"the devices do not hold plan {applied[-1]['id']} of chain {chain['name']} as a whole"]


def _false_ready(row: Row) -> list[str]:
    if row["status"] != "ready" or row["generation"] == row["observed_generation"]:
        return []
    return [f"chain {row['name']} is ready at generation {row['observed_generation']} of {row['generation']}"]


# --- the devices' log -------------------------------------------------------------------------


def lines(log: Path, offset: int) -> list[dict[str, Any]]:
    """What was written after the first `offset` octets."""
    with log.open("rb") as file:
        file.seek(offset)
        return [json.loads(line) for line in file.read().splitlines()]


def overlapping(written: Sequence[Mapping[str, Any]], plant: Plant) -> list[str]:
    """Two writers of one device at once, or one whose lease another had taken over and written with."""
    by_device: dict[str, list[Mapping[str, Any]]] = {}
    for line in sorted(written, key=lambda line: line["began"]):
        by_device.setdefault(line["device"], []).append(line)
    if not written:
        return []
    with plant.connect() as connection:
        rows = connection.execute(WRITES, [min(line["began"] for line in written) - 60.0]).fetchall()
    problems = []
    for device, held in by_device.items():
        for before, after in zip(held, held[1:], strict=False):
            if after["began"] < before["ended"]:
                problems.append(f"{device}: a {after['what']} while a {before['what']} was under way")
        known = [row[1:] for row in rows if row[0] == device]
        problems += [f"{device}: {text}" for text in _stale(held, known)]
    return problems


def _stale(held: Sequence[Mapping[str, Any]], rows: Sequence[tuple[int, str, float]]) -> list[str]:
    """rows: epoch, digest and begin of what was written down before it was sent."""
    problems, highest = [], 0
    for line in held:
        if line["what"] not in ("push", "commit"):
            continue
        found = LABEL.fullmatch(line["label"])
        until = line["ended"] + CLOCK_S
        epochs = [epoch for epoch, digest, began in rows if digest == line["digest"] and began <= until]
        epoch = int(found[1]) if found else max(epochs, default=highest)
        if epoch < highest:
            problems.append(f"a {line['what']} of epoch {epoch} after one of epoch {highest}")
        if line["is_vain"] and not line["error"]:
            problems.append(f"a {line['what']} that changed nothing: whoever made it had read something older")
        newer = [began for other, _, began in rows if other > epoch and began < line["began"] - CLOCK_S]
        if newer:
            problems.append(f"a {line['what']} of epoch {epoch} after a later holder had begun to write")
        highest = max(highest, epoch)
        if not any(began <= line["began"] + CLOCK_S for _, _, began in rows):
            problems.append(f"a {line['what']} that was not written down before it was made")
    return problems
