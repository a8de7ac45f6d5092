# SPDX-License-Identifier: Apache-2.0
"""A chain's conditions: questions with answer, reason and detail, computed from facts by one pure function.

`facts_of` reads, `judge` decides; the service `conditions` keeps what came out, for its times. The API and the pages
show what is judged at the moment of reading, so nothing good is said that nobody looked after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Value, When
from django.db.models.functions import Now

from chains.models import (
    Chain,
    Change,
    Condition,
    Contribution,
    DeviceStatus,
    Finding,
    Instance,
    LinkUse,
    PlanStep,
    Use,
)
from chains.selectors.ages import is_stale
from chains.selectors.usage import HALVES, OPEN

Kind, Answer = Condition.Kind, Condition.Answer
Status = Change.Status


@dataclass(frozen=True, slots=True)
class DeviceFact:
    """condition: of DeviceStatus. is_stale: read too long ago. is_unread: not since the chain's decision wrote it."""

    name: str
    condition: str
    is_stale: bool = False
    is_unread: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFact:
    """The newest change. generation: of its plan."""

    number: int
    status: str
    generation: int
    waits: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one chain. lost: offers in use that are down or off, and links that are down. doubtful: offers
    whose health nobody knows.
    """

    generation: int
    observed_generation: int
    revision: int
    is_wanted: bool = True
    change: ChangeFact | None = None
    devices: tuple[DeviceFact, ...] = ()
    lost: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer. generation: of the intent that it is about."""

    kind: str
    status: str
    reason: str
    detail: str
    generation: int


def judge(facts: Facts) -> tuple[Judged, ...]:
    """All conditions, in the order of `Condition.Kind`. Pure."""
    parts = {
        Kind.APPLIED: _applied(facts),
        Kind.IN_SYNC: _in_sync(facts),
        Kind.HEALTHY: _healthy(facts),
    }
    found = {Kind.READY: _ready(parts), **parts, Kind.PROGRESSING: _progressing(facts)}
    return tuple(
        Judged(kind, str(answer), reason, detail[:512], facts.generation)
        for kind, (answer, reason, detail) in found.items()
    )


Said = tuple[str, str, str]


def _ready(parts: dict[Kind, Said]) -> Said:
    """A clear no first, then a doubt, else yes."""
    for wanted in (Answer.FALSE, Answer.UNKNOWN):
        for answer, reason, detail in parts.values():
            if answer == wanted:
                return answer, reason, detail
    return Answer.TRUE, "in-force", ""


def _applied(facts: Facts) -> Said:
    if not facts.is_wanted:
        return Answer.FALSE, "deleting", "it is being taken off its devices"
    is_current = facts.observed_generation == facts.generation and facts.revision > 0
    if is_current:
        return Answer.TRUE, "applied", f"revision {facts.revision}"
    change = facts.change
    if change is not None and change.generation == facts.generation:
        if change.status in HALVES:
            return Answer.FALSE, "change-under-way", f"change {change.number} is {change.status}"
        if change.status in (Status.REVERTED, Status.FAILED):
            reason = "taken-back" if change.status == Status.REVERTED else "parked"
            return Answer.FALSE, reason, f"change {change.number}: {change.error}"
    if not facts.revision:
        return Answer.FALSE, "never-applied", "no plan of it was applied yet"
    held = f"devices hold generation {facts.observed_generation}, wanted is {facts.generation}"
    return Answer.FALSE, "edited", held


def _in_sync(facts: Facts) -> Said:
    if not facts.revision:
        return Answer.FALSE, "never-applied", "devices were given nothing yet"
    known = [row for row in facts.devices if not row.is_stale]
    drifted = [row.name for row in known if row.condition == DeviceStatus.Condition.DRIFTED]
    if drifted:
        return Answer.FALSE, "drift", f"on {', '.join(drifted)}"
    if facts.change is not None and facts.change.status in HALVES:
        return Answer.UNKNOWN, "change-under-way", f"change {facts.change.number} is {facts.change.status}"
    doubts = (
        ("unreachable", [row.name for row in facts.devices if row.condition == DeviceStatus.Condition.UNREACHABLE]),
        ("not-read", [row.name for row in facts.devices if row.condition == DeviceStatus.Condition.UNKNOWN]),
        ("stale", [row.name for row in facts.devices if row.is_stale]),
        ("not-read-since-written", [row.name for row in facts.devices if row.is_unread]),
    )
    for reason, names in doubts:
        if names:
            return Answer.UNKNOWN, reason, ", ".join(names)
    if facts.adopted:
        return Answer.TRUE, "adopted", f"as found on {', '.join(facts.adopted)}"
    return Answer.TRUE, "as-wanted", ""


def _healthy(facts: Facts) -> Said:
    if not facts.revision:
        return Answer.FALSE, "never-applied", "no function serves it yet"
    if facts.lost:
        return Answer.FALSE, "hop-lost", "; ".join(facts.lost)
    if facts.is_closed:
        return Answer.FALSE, "closed", "no packet is let in, and there was no way to open it again yet"
    old = [row.name for row in facts.devices if row.is_stale]
    if facts.doubtful:
        return Answer.UNKNOWN, "health-unknown", "; ".join(facts.doubtful)
    if old:
        return Answer.UNKNOWN, "stale", ", ".join(old)
    return Answer.TRUE, "functions-live", ""


def _progressing(facts: Facts) -> Said:
    change = facts.change
    if change is None or change.status not in OPEN:
        if change is not None and change.status == Status.FAILED:
            return Answer.FALSE, "parked", f"change {change.number}: {change.error}"
        return Answer.FALSE, "nothing-to-do", ""
    told = f"change {change.number}" + (f": {change.waits or change.error}" if change.waits or change.error else "")
    if change.status == Status.WAITING:
        return Answer.FALSE, "waits-for-approval", told
    if change.status == Status.REVERTING:
        return Answer.TRUE, "taking-back", told
    if change.waits:
        return Answer.FALSE, "waits", told
    return Answer.TRUE, "trying-again" if change.error else "change-under-way", told


def facts_of(chain_ids: Iterable[int]) -> dict[int, Facts]:
    """By chain; seven queries for any number of chains. A chain that is gone is left out."""
    ids = list(chain_ids)
    chains = list(Chain.objects.filter(pk__in=ids))
    decided, newest = _changes(ids)
    devices = _devices(ids, decided)
    lost, doubtful = _offers(ids)
    adopted: dict[int, list[str]] = defaultdict(list)
    closed = set()
    said = Finding.objects.filter(code__in=("drift-adopted", "chain-closed"), chain__in=ids, closed_at=None)
    for code, chain_id, name in said.order_by("device__name").values_list("code", "chain_id", "device__name"):
        if code == "chain-closed":
            closed.add(chain_id)
        else:
            adopted[chain_id].append(name)
    return {
        row.pk: Facts(
            generation=row.generation,
            observed_generation=row.observed_generation,
            revision=row.revision,
            is_wanted=row.is_wanted,
            change=newest.get(row.pk),
            devices=tuple(devices.get(row.pk, ())),
            lost=tuple(lost.get(row.pk, ())),
            doubtful=tuple(doubtful.get(row.pk, ())),
            adopted=tuple(adopted.get(row.pk, ())),
            is_closed=row.pk in closed,
        )
        for row in chains
    }


def _changes(ids: Sequence[int]) -> tuple[dict[int, tuple[int, datetime]], dict[int, ChangeFact]]:
    """By chain: (plan, when) of the last decision; the newest change."""
    rows = Change.objects.filter(plan__chain__in=ids)
    last = rows.exclude(decided_at=None).order_by("plan__chain_id", "-decided_at").distinct("plan__chain_id")
    decided = {
        chain: (plan, at) for chain, plan, at in last.values_list("plan__chain_id", "plan_id", "decided_at")
    }
    newest = {}
    for row in rows.order_by("plan__chain_id", "-pk").distinct("plan__chain_id").select_related("plan"):
        fact = ChangeFact(row.pk, row.status, row.plan.generation, row.waits, row.error)
        newest[row.plan.chain_id or 0] = fact
    return decided, newest


def _devices(ids: Sequence[int], decided: dict[int, tuple[int, datetime]]) -> dict[int, list[DeviceFact]]:
    plans = [plan for plan, _ in decided.values()]
    written = set(PlanStep.objects.filter(plan__in=plans).exclude(device=None).values_list("plan_id", "device_id"))
    rows = Contribution.objects.filter(chain__in=ids).order_by("device__name")
    old = Case(When(is_stale("device__status__"), then=Value(True)), default=Value(False))
    found: dict[int, list[DeviceFact]] = defaultdict(list)
    values = ("chain_id", "device_id", "device__name", "device__status__condition", "device__status__observed_at")
    for chain, device, name, condition, at, is_old in rows.annotate(old=old).values_list(*values, "old"):
        plan, when = decided.get(chain, (0, None))
        is_unread = when is not None and (plan, device) in written and (at is None or at <= when)
        found[chain].append(DeviceFact(name, condition or DeviceStatus.Condition.UNKNOWN, is_old, is_unread))
    return found


def _offers(ids: Sequence[int]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    lost: dict[int, list[str]] = defaultdict(list)
    doubtful: dict[int, list[str]] = defaultdict(list)
    names = ("offer__function__name", "offer__device__name")
    states = ("offer__is_enabled", "offer__device__is_enabled", "offer__instance__health")
    uses = Use.objects.filter(chain__in=ids).order_by("hop_position", "offer_id")
    rows = uses.values_list("chain_id", "hop_position", *names, *states, "offer__instance__health_reason")
    for chain, hop, function, device, is_enabled, is_device_enabled, health, why in rows:
        text = f"hop {hop}: {function}@{device}"
        if not is_enabled or not is_device_enabled:
            lost[chain].append(f"{text} is switched off")
        elif health == Instance.Health.DOWN:
            lost[chain].append(f"{text} is down ({why})")
        elif health in (None, Instance.Health.UNKNOWN):
            doubtful[chain].append(f"{text}: {why or 'never read'}")
    ends = ("link__a__device__name", "link__a__name", "link__b__device__name", "link__b__name")
    cables = LinkUse.objects.filter(chain__in=ids, link__is_up=False).order_by("link")
    for chain, a, a_port, b, b_port in cables.values_list("chain_id", *ends):
        lost[chain].append(f"the link {a}:{a_port} - {b}:{b_port} is down")
    return lost, doubtful


def condition_list(chain: Chain) -> tuple[Condition, ...]:
    """The chain's conditions as of now, not saved. `since` is the kept one while the answer is still the same.

    The chain is one that the actor got from `chain_get`.
    """
    facts = facts_of([chain.pk]).get(chain.pk)
    kept = {row.kind: row for row in chain.conditions.annotate(now=Now())}
    return tuple(_shown(chain, one, kept.get(one.kind)) for one in judge(facts)) if facts is not None else ()


def _shown(chain: Chain, one: Judged, kept: Condition | None) -> Condition:
    row = Condition(chain=chain, kind=one.kind, status=one.status, reason=one.reason, detail=one.detail)
    row.generation = one.generation
    if kept is not None:
        row.since = kept.since if kept.status == one.status else kept.now  # type: ignore[attr-defined]
    else:
        row.since = chain.status_at
    return row
