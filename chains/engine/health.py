# SPDX-License-Identifier: Apache-2.0
"""Is the function behind an offer alive? Judged from evidence: the link at the attached port, and its own readings.

Called after observations. One lost link is enough for down; up again takes two good samples. A management
interface that does not answer proves nothing about the data plane: that is unknown, never down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from chains import models
from chains.services import record

Health = models.Instance.Health
Condition = models.DeviceStatus.Condition
RECOVERING = "its links are back: one good sample of two, read at "


@dataclass(frozen=True, slots=True)
class Evidence:
    """links: (where, has it a link; None if nobody can say). is_reachable None: never read."""

    links: tuple[tuple[str, bool | None], ...]
    is_reachable: bool | None
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class Judgement:
    health: str
    reason: str


def judge(before: Judgement, seen: Evidence) -> Judgement:
    """Pure. The reason remembers the first good sample, so that one reading never counts twice."""
    lost = [where for where, is_up in seen.links if is_up is False]
    if lost:
        return Judgement(Health.DOWN, f"no link at {', '.join(lost)}")
    is_sure = all(is_up for _, is_up in seen.links)
    if not seen.is_reachable or not is_sure or seen.read_at is None:
        if before.health == Health.DOWN:
            return before
        return Judgement(Health.UNKNOWN, _doubt(seen))
    sample = f"{RECOVERING}{seen.read_at:%H:%M:%S.%f}"
    if before.health != Health.DOWN or (before.reason.startswith(RECOVERING) and before.reason != sample):
        return Judgement(Health.UP, "")
    return Judgement(Health.DOWN, sample)


def _doubt(seen: Evidence) -> str:
    blind = [where for where, is_up in seen.links if is_up is None]
    if seen.is_reachable is None:
        return "never read"
    if not seen.is_reachable:
        return "its management does not answer" + ("" if blind else "; its links are up" if seen.links else "")
    return f"nobody can say whether {', '.join(blind)} has a link"


def refresh_health() -> Changed:
    """Judge every offer anew and write what changed. Constant number of queries when nothing did."""
    statuses = {row.device_id: row for row in models.DeviceStatus.objects.all()}
    peers = _peers()
    went_bad, came_up = set(), set()
    for offer in models.Offer.objects.select_related("device", "instance"):
        instance = getattr(offer, "instance", None)
        if instance is None:
            continue  # the fabric import makes one for each offer
        before = Judgement(instance.health, instance.health_reason)
        after = judge(before, _evidence(offer, statuses, peers))
        if after == before:
            continue
        record.instance_health_set(instance, after.health, after.reason)
        if after.health == Health.DOWN and before.health != Health.DOWN:
            went_bad.add(offer.pk)
        if after.health == Health.UP and before.health == Health.DOWN:
            came_up.add(offer.pk)
    return Changed(frozenset(went_bad), frozenset(came_up))


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


def _evidence(offer: models.Offer, statuses: Mapping[int, models.DeviceStatus], peers: Peers) -> Evidence:
    own = statuses.get(offer.device_id)
    links = tuple(
        (str(other), _link(statuses.get(other.device_id), other.name))
        for name, other in _of_offer(offer, peers.get(offer.device_id, ()))
    )
    if own is None or own.condition == Condition.UNKNOWN:
        return Evidence(links, None, None)
    return Evidence(links, own.condition != Condition.UNREACHABLE, own.observed_at)


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
