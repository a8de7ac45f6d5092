# SPDX-License-Identifier: Apache-2.0
"""When does what was seen of a function count? Evidence to judgement, flap damping, the health of a group. Pure.

Called by `chains.engine.health` with the database's clock. Hysteresis and hold-down of single probes are where the
probes run (`drivers.probe.judged`); here is what they mean together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.planning.types import Health

RECOVERING = "its links are back: one good sample of two, read at "
FLAPPING = "it went down too often"
# Every time it goes down costs so much; half of it is forgotten in HALF_S. Above SUPPRESS it stays down until the
# penalty has fallen below REUSE, at most for log2(CEILING / REUSE) half-lives: RFC 2439 section 4.2.
PENALTY, SUPPRESS, REUSE, CEILING, HALF_S = 1000.0, 2500.0, 750.0, 4000.0, 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """What one probe says. is_up None: it did not say yet. is_fresh: lately? by: who asked, "" for a worker."""

    name: str
    kind: str
    by: str
    is_up: bool | None
    is_fresh: bool
    evidence: str = ""

    def __str__(self) -> str:
        return f"{self.kind} by {self.by or 'a worker'}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """links: (where, has it a link; None if nobody can say). is_reachable None: never read."""

    links: tuple[tuple[str, bool | None], ...]
    is_reachable: bool | None
    read_at: datetime | None
    probes: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    health: str
    reason: str


@dataclass(frozen=True, slots=True)
class Flaps:
    """penalty: as it was at at_s. is_suppressed: held down because of it."""

    penalty: float = 0.0
    at_s: float = 0.0
    is_suppressed: bool = False

    def left(self, at_s: float) -> float:
        """What is left of the penalty."""
        return float(self.penalty * 0.5 ** (max(0.0, at_s - self.at_s) / HALF_S))


def judge(before: Judgement, seen: Evidence) -> Judgement:
    """The reason remembers the first good sample, so that one reading never counts twice.

    A lost link or a probe that failed is down, whoever says otherwise. Probes that are answered prove more than a
    management interface that does not answer; a probe that nobody runs proves nothing.
    """
    lost = [where for where, is_up in seen.links if is_up is False]
    if lost:
        return Judgement(Health.DOWN, f"no link at {', '.join(lost)}")
    failed = [said for said in seen.probes if said.is_fresh and said.is_up is False]
    if failed:
        return Judgement(Health.DOWN, "; ".join(f"{said}: {said.evidence}" for said in failed)[:255])
    if seen.probes:
        silent = [said for said in seen.probes if not said.is_fresh or said.is_up is None]
        if not silent:
            return Judgement(Health.UP, "")
        if before.health == Health.DOWN:
            return before
        return Judgement(Health.UNKNOWN, f"no answer yet from {', '.join(str(said) for said in silent)}"[:255])
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


def damped(flaps: Flaps, before: Judgement, after: Judgement, now_s: float) -> tuple[Flaps, Judgement]:
    """The same judgement, but for one who goes up and down: it stays down until it was quiet for long enough."""
    penalty = flaps.left(now_s)
    is_falling = after.health == Health.DOWN and before.health not in (Health.DOWN,)
    if is_falling:
        penalty = min(CEILING, penalty + PENALTY)
    is_suppressed = penalty > SUPPRESS if not flaps.is_suppressed else penalty > REUSE
    moved = flaps
    if is_falling or is_suppressed != flaps.is_suppressed:
        moved = Flaps(penalty, now_s, is_suppressed)
    if is_suppressed and after.health != Health.DOWN:
        return moved, Judgement(Health.DOWN, f"{FLAPPING}: held down until it has been quiet")
    return moved, after


def flaps_of(stored: Mapping[str, Any]) -> Flaps:
    """Inverse of `flaps_stored`."""
    return Flaps(**stored)


def flaps_stored(flaps: Flaps) -> dict[str, Any]:
    """{} for one that never went down."""
    if flaps == Flaps():
        return {}
    return {"penalty": flaps.penalty, "at_s": flaps.at_s, "is_suppressed": flaps.is_suppressed}


class Share:
    """How a group is as a whole."""

    OK, DEGRADED, DOWN = "ok", "degraded", "down"


def share(healthy: int, total: int, degraded_below: int, down_below: int) -> str:
    """Of `Share`. Thresholds in percent of `total`; nobody healthy is down, whatever they say."""
    if healthy <= 0 or healthy * 100 < down_below * total:
        return Share.DOWN
    return Share.DEGRADED if healthy * 100 < degraded_below * total else Share.OK
