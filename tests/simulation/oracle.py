# SPDX-License-Identifier: Apache-2.0
"""What must be true of the rows, judged by what devices were read back to hold, at every commit and in the end.

The chains' own status is only ever the accused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from chains import models
from chains.engine.document import change_from_json
from drivers import fake
from drivers.codec import state_from_json
from drivers.diff import Change, patch
from drivers.state import EMPTY, DeviceState, Key

KEPT_READINGS = 60
ENDS = "SELECT id, status, decided_at IS NOT NULL FROM chains_change WHERE id <> ALL(%s)"
PLAN = """
SELECT plan.chain_id, plan.goal, plan.base, plan.target FROM chains_plan AS plan
  JOIN chains_change AS change ON change.plan_id = plan.id WHERE change.id = %s
"""
CHAIN_OF = """
SELECT chain.id FROM chains_chain AS chain JOIN chains_plan AS plan ON plan.chain_id = chain.id
  JOIN chains_change AS change ON change.plan_id = plan.id WHERE change.id = %s
"""
STEPS = """
SELECT device.name, planned.phase, planned.changes, step.status FROM chains_planstep AS planned
  JOIN chains_device AS device ON device.id = planned.device_id
  JOIN chains_change AS change ON change.plan_id = planned.plan_id
  LEFT JOIN chains_step AS step ON step.plan_step_id = planned.id AND step.change_id = change.id
 WHERE change.id = %s ORDER BY planned.wave
"""
READY = """
SELECT chain.id, chain.status_at, chain.generation, chain.observed_generation FROM chains_chain AS chain
 WHERE chain.status = 'ready' ORDER BY chain.id
"""
WANTED = """
SELECT device.name, held.items FROM chains_contribution AS held
  JOIN chains_device AS device ON device.id = held.device_id
 WHERE held.chain_id = %s
"""
MOVING = """
SELECT 'chain', id, status, status_reason, generation, revision FROM chains_chain
UNION ALL SELECT 'change', id, status, '', 0, 0 FROM chains_change
UNION ALL SELECT 'instance', id, health, health_reason, 0, 0 FROM chains_instance
UNION ALL SELECT 'device', device_id, condition, reason, 0, 0 FROM chains_devicestatus ORDER BY 1, 2
"""
DUE = """
SELECT DISTINCT device.name FROM chains_device AS device
  JOIN chains_planstep AS planned ON planned.device_id = device.id
  JOIN chains_change AS change ON change.plan_id = planned.plan_id WHERE change.status = ANY(%s) ORDER BY 1
"""
EARLY = ("build", "switch")
UNDER_WAY = ("pending", "running", "reverting")


def ask(sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def states(document: Any) -> dict[str, DeviceState]:
    """A plan's base or target by device."""
    data = document if isinstance(document, dict) else _json(document)
    return {name: state_from_json(items) for name, items in data.items() if items}


def _json(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


@dataclass
class Readings:
    """What devices were read to hold, and when they were last written; by count, not by time."""

    count: int = 0
    read: dict[str, list[tuple[int, DeviceState]]] = field(default_factory=lambda: defaultdict(list))
    written: dict[tuple[str, int], int] = field(default_factory=dict)

    def on_read(self, device: str, state: DeviceState) -> None:
        self.count += 1
        log = self.read[device]
        log.append((self.count, state))
        del log[:-KEPT_READINGS]

    def on_state(self, device: str, before: DeviceState, after: DeviceState) -> None:
        self.count += 1
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self.written[device, key.chain] = self.count

    def shows(self, device: str, chain: int, wanted: DeviceState) -> bool:
        """Was the device read back with exactly this of the chain, after its last write?"""
        since = self.written.get((device, chain), 0)
        return any(
            count > since and state.of_chain(chain) == wanted for count, state in reversed(self.read[device])
        )


@dataclass
class Judge:
    """Looks at what a commit said, at that moment."""

    readings: Readings = field(default_factory=Readings)
    false_ready: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    on_end: Callable[[int], None] = lambda chain: None
    _ready_at: dict[int, Any] = field(default_factory=dict)
    _ended: list[int] = field(default_factory=list)
    _decided: set[int] = field(default_factory=set)

    def on_commit(self, tables: set[str]) -> None:
        if "chains_change" in tables:
            self._changes()
        if "chains_chain" in tables:
            self._chains()

    def _chains(self) -> None:
        """Chains that became READY: each device they want something on was read back with exactly that."""
        for chain, at, generation, observed in ask(READY):
            if self._ready_at.get(chain) == at:
                continue
            self._ready_at[chain] = at
            if generation != observed:
                self.false_ready.append(f"chain {chain} is ready at another generation than the observed one")
            for device, items in ask(WANTED, chain):
                if not self.readings.shows(device, chain, state_from_json(_json(items))):
                    self.false_ready.append(
                        f"chain {chain} is ready, but {device} was not read back as it wants"
                    )

    def _changes(self) -> None:
        for number, status, is_decided in ask(ENDS, self._ended):
            if is_decided and number not in self._decided:
                self._decided.add(number)
                self._require(number, "decided", self.false_ready)
            if status in ("succeeded", "reverted"):
                self._require(number, status, self.mixed)
            if status in ("succeeded", "reverted", "cancelled"):
                self._ended.append(number)
                for (chain,) in ask(CHAIN_OF, number):
                    self.on_end(chain)

    def _require(self, number: int, what: str, problems: list[str]) -> None:
        """What the change says of itself must have been seen on every device that it wrote."""
        ((chain, goal, base, target),) = ask(PLAN, number)
        early: dict[str, list[Change]] = defaultdict(list)
        every: dict[str, list[Change]] = defaultdict(list)
        started = set()
        for device, phase, changes, status in ask(STEPS, number):
            parsed = [change_from_json(change) for change in _json(changes)]
            every[device] += parsed
            if phase in EARLY:
                early[device] += parsed
            if status not in (None, "pending"):
                started.add(device)
        before, after = states(base), states(target)
        for device in every:
            start = before.get(device, EMPTY)
            if what == "decided" and device in early:
                wanted = patch(start, tuple(early[device]))
            elif what == "succeeded" and (device in early or goal == models.Plan.Goal.REMOVE):
                wanted = after.get(device, EMPTY)
            elif what == "reverted" and device in started:
                wanted = start
            else:
                continue
            if not self.readings.shows(device, chain, wanted):
                problems.append(f"change {number} is {what}, but {device} was not read back so")


# --- the end of a schedule ------------------------------------------------------------------------


def lost(changes: list[int], chains: Mapping[str, bool | None]) -> list[str]:
    """Accepted intents that are neither in force nor explained. chains: by name, is it still wanted? None: unknown,
    as whoever asked was never told.
    """
    problems = []
    rows = {row.pk: row for row in models.Change.objects.filter(pk__in=changes)}
    rung = set(models.Outbox.objects.filter(topic="change").values_list("ref", flat=True))
    for number in changes:
        row = rows.get(number)
        if row is None:
            problems.append(f"change {number} is gone")
            continue
        if number not in rung:
            problems.append(f"change {number} has no bell")
        if row.status == "cancelled":
            if not row.events.exists():
                problems.append(f"change {number} was cancelled and does not say why")
        elif row.status not in ("succeeded", "reverted", "failed"):
            problems.append(
                f"change {number} never ended: {row.status} after {row.attempts} attempts: {row.error}"
            )
        elif row.status != "succeeded" and not row.error:
            problems.append(f"change {number} is {row.status} and does not say why")
    there = {f"{tenant}/{name}" for tenant, name in models.Chain.objects.values_list("tenant__name", "name")}
    problems += [
        f"chain {name} is gone" for name, is_wanted in chains.items() if is_wanted and name not in there
    ]
    unwanted = [name for name, is_wanted in chains.items() if is_wanted is False]
    problems += [f"chain {name} was not removed" for name in unwanted if name in there]
    return problems


def unaudited(accepted: Mapping[str, int]) -> list[str]:
    """accepted: by action, how often it was answered with success."""
    counts = dict(ask("SELECT action, count(*) FROM chains_auditrow GROUP BY action"))
    return [
        f"{count} times {action} was accepted, the audit knows of {counts.get(action, 0)}"
        for action, count in accepted.items()
        if counts.get(action, 0) < count
    ]


def held() -> dict[str, DeviceState]:
    """What every device holds now; empty ones are left out."""
    found = {}
    for (name,) in ask("SELECT name FROM chains_device WHERE driver <> ''"):
        with fake.box(name) as box:
            if box.state:
                found[name] = box.state
    return found


def mixed() -> list[str]:
    """Once all is quiet: of every chain the devices hold the whole of the last plan that was applied, or nothing."""
    wanted: dict[str, dict[Key, object]] = {}
    for chain in models.Chain.objects.order_by("pk"):
        applied = models.Change.objects.filter(plan__chain=chain, status="succeeded").select_related("plan")
        last = applied.order_by("-id").first()
        for name, state in (states(last.plan.target) if last is not None else {}).items():
            wanted.setdefault(name, {}).update(state)
    now = held()
    problems = []
    for name in sorted(now.keys() | wanted.keys()):
        have, want = now.get(name, EMPTY), DeviceState(wanted.get(name, {}))  # type: ignore[arg-type]
        if have != want:
            odd = sorted(str(key) for key in have.keys() | want.keys() if have.get(key) != want.get(key))
            problems.append(f"{name} differs in {', '.join(odd[:4])}")
    return problems


def rows() -> list[tuple[Any, ...]]:
    """What moves while anything is to be done."""
    return ask(MOVING)


def is_busy() -> bool:
    """Is a change under way?"""
    return bool(ask("SELECT 1 FROM chains_change WHERE status = ANY(%s)", list(UNDER_WAY)))


def stuck() -> list[str]:
    """Once all is quiet, and every device answers, no chain may say that it is busy or that it does not know."""
    rows = models.Chain.objects.filter(status__in=("applying", "unknown", "degraded"))
    return [f"chain {row.pk} is {row.status} for ever: {row.status_reason}" for row in rows]
