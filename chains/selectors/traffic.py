# SPDX-License-Identifier: Apache-2.0
"""A chain's traffic as it was measured a moment ago: does it flow, and if not, at which hop and device does it end?

Called by the API, the chain's page and the engine. Judged by `planning.traffic`; constant number of queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Q

from chains.models import Chain, Contribution, Hop, Link, Traffic
from chains.planning.traffic import Course, Delta, Fate, Loss, Meter, courses
from drivers.codec import state_from_json
from drivers.forward import Network
from drivers.state import DeviceState, Key

FATES = tuple(Fate)
WORDS = {
    Fate.IDLE: "no packet enters",
    Fate.FLOWS: "packets flow",
    Fate.UNKNOWN: "not every device on the way answers",
}
# What was counted longer ago says nothing about now. Two samples that are further apart do not belong together.
FRESH_S, APART_S = 10.0, 60.0
# Two samples that are nearer show little but how late counters are.
NEAR_S = 1.0


@dataclass(frozen=True, slots=True)
class TrafficView:
    """measured_at None: not measured lately, so courses is empty. functions: by hop position."""

    chain: int
    measured_at: datetime | None
    window_s: float
    courses: tuple[Course, ...]
    functions: Mapping[int, str]

    @property
    def faults(self) -> tuple[Loss, ...]:
        """What is lost and no policy asked for, worst first."""
        found = [loss for course in self.courses for loss in course.losses if loss.fate is not Fate.DENIED]
        return tuple(sorted(found, key=lambda loss: -loss.packets))

    @property
    def summary(self) -> str:
        """One line for each direction; "" while nothing is known."""
        return "; ".join(f"{course.direction.name.lower()}: {self.course_said(course)}" for course in self.courses)

    def course_said(self, course: Course) -> str:
        """The first place where packets end, or what else there is to say."""
        first = next((loss for loss in course.losses if loss.fate is course.fate), None)
        return self.said(first) if first is not None else WORDS[course.fate]

    def said(self, loss: Loss) -> str:
        """One line for people."""
        hop = f"hop {loss.hop + 1} ({self.functions.get(loss.hop, '')})" if loss.hop >= 0 else ""
        share = f"{loss.packets} of {loss.of} packets"
        if loss.fate is Fate.DENIED:
            return f"{hop} on {loss.device} denied {share} by its policy"
        if loss.fate is Fate.SWALLOWED:
            return f"{hop} on {loss.device} took {share} and gave nothing back"
        if loss.fate is Fate.SHUT:
            return f"{share} met the closed door on {loss.device}: nothing leads them on"
        return f"{share} were lost between {loss.after} and {loss.before or 'nowhere'}"


def chain_traffic(chain: Chain) -> TrafficView:
    """The chain is one that the actor got from `chain_get`."""
    return traffic_of([chain.pk])[chain.pk]


def traffic_of(chain_ids: Iterable[int]) -> dict[int, TrafficView]:
    """Of many chains; five queries for any number."""
    ids = list(chain_ids)
    now_s = _clock_s()
    samples = dict(Traffic.objects.filter(chain__in=ids).values_list("chain_id", "samples"))
    states: dict[int, dict[str, DeviceState]] = {pk: {} for pk in ids}
    for chain_id, name, items in Contribution.objects.filter(chain__in=ids).values_list(
        "chain_id", "device__name", "items"
    ):
        if items:
            states[chain_id][name] = state_from_json(items)
    functions: dict[int, dict[int, str]] = {pk: {} for pk in ids}
    for chain_id, position, name in Hop.objects.filter(chain__in=ids).values_list(
        "chain_id", "position", "function__name"
    ):
        functions[chain_id][position] = name
    network = _network({name for held in states.values() for name in held})
    return {pk: _view(pk, samples.get(pk, []), states[pk], functions[pk], network, now_s) for pk in ids}


def _view(
    chain_id: int,
    samples: list[dict[str, Any]],
    states: Mapping[str, DeviceState],
    functions: Mapping[int, str],
    network: Network,
    now_s: float,
) -> TrafficView:
    last = samples[-1] if samples else None
    fit = [one for one in samples[:-1] if last and NEAR_S <= last["at"] - one["at"] <= APART_S]
    if last is None or not fit or now_s - last["at"] > FRESH_S:
        return TrafficView(chain_id, None, 0.0, (), functions)
    window_s = last["at"] - fit[0]["at"]
    found = courses(states, network, Meter(window_s, _deltas(fit[0]["devices"], last["devices"])))
    return TrafficView(chain_id, datetime.fromtimestamp(last["at"], UTC), window_s, found, functions)


def _deltas(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[Key, Delta]]:
    """A device whose counters went back began anew in between: it is no witness."""
    found: dict[str, dict[Key, Delta]] = {}
    for device in before.keys() & after.keys():
        counts: dict[Key, Delta] = {}
        for text, (packets, dropped) in after[device].items():
            was_packets, was_dropped = before[device].get(text, (0, 0))
            if packets < was_packets or dropped < was_dropped:
                break
            counts[Key.parse(text)] = Delta(packets - was_packets, dropped - was_dropped)
        else:
            found[device] = counts
    return found


def _network(names: set[str]) -> Network:
    """The cables at these devices."""
    ends = ("a__device__name", "a__name", "a__device__kind", "b__device__name", "b__name", "b__device__kind")
    rows = Link.objects.filter(Q(a__device__name__in=names) | Q(b__device__name__in=names)).order_by()
    kinds: dict[str, str] = {}
    peers: dict[tuple[str, str], tuple[str, str]] = {}
    for a, a_port, a_kind, b, b_port, b_kind in rows.values_list(*ends):
        kinds |= {a: a_kind, b: b_kind}
        peers[a, a_port], peers[b, b_port] = (b, b_port), (a, a_port)
    return Network(kinds, peers)


def _clock_s() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])
