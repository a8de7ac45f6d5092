# SPDX-License-Identifier: Apache-2.0
"""Is the function behind an offer alive? Gathers the evidence: links at the attached ports, readings, probes.

Called after observations and after probes were heard; judged by `chains.planning.health`. What went down is a finding
with its evidence until it is up again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chains import models, selectors
from chains.planning.health import Evidence, Judgement, Said, damped, flaps_of, flaps_stored, judge
from chains.selectors.probes import Wanted
from chains.services import record
from drivers.probe import Probe

Health = models.Instance.Health
Condition = models.DeviceStatus.Condition
# A probe is asked at least so often before its silence counts; see `_said`.
FRESH_S, PERIODS = 10.0, 4


def refresh_health(of: Collection[int] | None = None) -> Changed:
    """Judge every offer (of: those, by id) anew and write what changed. Constant number of queries when nothing did."""
    statuses = {row.device_id: row for row in models.DeviceStatus.objects.defer("observed", "counters")}
    wanted = selectors.probes_wanted()
    peers = _peers()
    now_s = record.now().timestamp()
    went_bad, came_up, touched = set(), set(), set()
    rows = models.Offer.objects.select_related("device", "function", "instance")
    for offer in rows if of is None else rows.filter(pk__in=list(of)):
        instance = getattr(offer, "instance", None)
        if instance is None:
            continue  # the fabric import makes one for each offer
        before = Judgement(instance.health, instance.health_reason)
        flaps = flaps_of(instance.flaps)
        seen = _evidence(offer, statuses, peers, _said(offer.pk, instance.results, wanted, now_s))
        moved, after = damped(flaps, before, judge(before, seen), now_s)
        if after == before and moved == flaps:
            continue
        record.instance_health_set(instance, after.health, after.reason, flaps_stored(moved))
        if Health.DOWN in (before.health, after.health):
            touched.add(offer.device_id)
        if after.health == Health.DOWN and before.health != Health.DOWN:
            went_bad.add(offer.pk)
        if after.health == Health.UP and before.health == Health.DOWN:
            came_up.add(offer.pk)
    if touched:
        _tell(touched)
    if of is None:
        refresh_links(statuses)
    return Changed(frozenset(went_bad), frozenset(came_up))


def refresh_links(statuses: Mapping[int, models.DeviceStatus]) -> None:
    """A cable has no link when a switch at an end says so; nobody's word is no word."""
    rows = models.Link.objects.select_related("a__device", "b__device").order_by("pk")
    changed = []
    for row in rows:
        said = [
            _link(statuses.get(end.device_id), end.name)
            for end in (row.a, row.b)
            if end.device.kind == models.Device.Kind.SWITCH
        ]
        is_up = row.is_up if not [one for one in said if one is not None] else False not in said
        if is_up != row.is_up:
            row.is_up = is_up
            changed.append(row)
    for row in changed:
        record.link_set(row)


def _tell(device_ids: Collection[int]) -> None:
    """One finding for each device that has a function which is down."""
    rows = models.Instance.objects.filter(offer__device__in=device_ids)
    rows = rows.select_related("offer__device", "offer__function")
    down: dict[models.Device, list[models.Instance]] = {}
    for row in rows.order_by("pk"):
        held = down.setdefault(row.offer.device, [])
        if row.health == Health.DOWN:
            held.append(row)
    for device, held in down.items():
        if not held:
            record.finding_close(code="instance-down", device=device)
            continue
        detail = "; ".join(f"{row.offer} is down: {row.health_reason}" for row in held)
        witness = {str(row.offer): _witness(row) for row in held}
        record.finding_open(code="instance-down", device=device, detail=detail, witness=witness)


def _witness(row: models.Instance) -> dict[str, Any]:
    at = row.health_at.isoformat() if row.health_at else ""
    return {"since": at, "reason": row.health_reason, "probes": list(row.results.values()), "flaps": row.flaps}


@dataclass(frozen=True, slots=True)
class Changed:
    """Offers by id."""

    went_down: frozenset[int]
    came_up: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.went_down or self.came_up)


Peers = Mapping[int, tuple[tuple[str, models.Port], ...]]


def _peers() -> Peers:
    """By device: (own port, the port at the other end of its cable)."""
    found: dict[int, list[tuple[str, models.Port]]] = {}
    for link in models.Link.objects.select_related("a__device", "b__device"):
        for own, other in ((link.a, link.b), (link.b, link.a)):
            found.setdefault(own.device_id, []).append((own.name, other))
    return {device: tuple(ports) for device, ports in found.items()}


def _said(offer: int, results: Mapping[str, Any], wanted: Wanted, now_s: float) -> tuple[Said, ...]:
    """What each probe of the offer says. One that was not heard of for some of its periods says nothing."""
    asked = [(by, one) for by, held in wanted.probes.items() for one in held.get(offer, ())]
    found = []
    for by, one in sorted(asked, key=lambda pair: pair[1].name):
        held = results.get(one.name)
        is_fresh = held is not None and now_s - held["heard_s"] <= _patience_s(one)
        is_up, evidence = (held["is_up"], held["evidence"]) if held else (None, "")
        found.append(Said(one.name, str(one.kind), by, is_up, is_fresh, evidence))
    return tuple(found)


def _patience_s(one: Probe) -> float:
    return max(FRESH_S, PERIODS * (one.interval_ms + one.timeout_ms) / 1000)


def _evidence(
    offer: models.Offer, statuses: Mapping[int, models.DeviceStatus], peers: Peers, said: tuple[Said, ...]
) -> Evidence:
    own = statuses.get(offer.device_id)
    links = tuple(
        (str(other), _link(statuses.get(other.device_id), other.name))
        for name, other in _of_offer(offer, peers.get(offer.device_id, ()))
    )
    if own is None or own.condition == Condition.UNKNOWN:
        return Evidence(links, None, None, said)
    return Evidence(links, own.condition != Condition.UNREACHABLE, own.observed_at, said)


def _of_offer(
    offer: models.Offer, ports: Iterable[tuple[str, models.Port]]
) -> Iterator[tuple[str, models.Port]]:
    """An appliance depends on its two arms, a host on all of its cables, a switch on itself."""
    for name, other in ports:
        if offer.realm == models.Realm.HOST or name in (offer.inside, offer.outside):
            yield name, other


def _link(status: models.DeviceStatus | None, port: str) -> bool | None:
    """What the neighbour says of its port; a port that it does not know any more has no link."""
    if status is None or status.condition in (Condition.UNREACHABLE, Condition.UNKNOWN) or not status.links_up:
        return None
    return bool(status.links_up.get(port, False))
