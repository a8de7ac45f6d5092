# SPDX-License-Identifier: Apache-2.0
"""What became of every numbered packet: arrived once, through which functions, in which order, both ways.

Pure, called by the scenarios with what `lab.witness` saw. Nothing that Viaduct says of itself is asked here. A function
that a packet must cross is a set of boxes any of which will do; during an edit the old and the new way are both right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SENDER, RECEIVER = "sender", "receiver"
SHOWN = 5


class Sighting(NamedTuple):
    """One numbered packet at one place ("fw1:out", sender, receiver). time_ns: CLOCK_MONOTONIC."""

    time_ns: int
    stream: int
    number: int
    place: str
    is_tcp: bool
    is_outgoing: bool
    is_answer: bool


Sightings = Sequence[Sighting]
Route = tuple[str, ...]
# The boxes of each hop in order, any of a hop's.
Hops = tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Era:
    """A way that is right from since_ns until until_ns (CLOCK_MONOTONIC); 0: it has not ended."""

    hops: Hops
    since_ns: int
    until_ns: int = 0

    def covers(self, first_ns: int, last_ns: int) -> bool:
        return self.since_ns <= last_ns and (not self.until_ns or first_ns <= self.until_ns)


@dataclass(slots=True)
class Verdict:
    """Counts of datagrams; lost has both directions, and bypassed those that arrived without one of their functions.

    gap_ms: the longest time between two arrivals at the receiver.
    """

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    bypassed: int = 0
    misordered: int = 0
    answered: int = 0
    gap_ms: float = 0.0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str, *, is_first: bool = False) -> None:
        """is_first: worse than others."""
        if is_first:
            self.notes.insert(0, text)
        else:
            self.notes.append(text)
        del self.notes[SHOWN:]


@dataclass(slots=True)
class Journey:
    """One numbered packet and its answer. visits: boxes that sent it on, in order of time."""

    is_tcp: bool = False
    sent_ns: int = 0
    arrived_ns: list[int] = field(default_factory=list)
    visits: list[str] = field(default_factory=list)
    returned_ns: list[int] = field(default_factory=list)
    answer_left_ns: int = 0
    answer_visits: list[str] = field(default_factory=list)


def journeys(sightings: Iterable[Sighting]) -> dict[tuple[int, int], Journey]:
    """(stream, number) -> what was seen of it, in order of time."""
    found: dict[tuple[int, int], Journey] = defaultdict(Journey)
    for seen in sightings:
        trip = found[seen.stream, seen.number]
        trip.is_tcp = seen.is_tcp
        if seen.place == SENDER:
            if seen.is_answer and not seen.is_outgoing:
                trip.returned_ns.append(seen.time_ns)
            elif seen.is_outgoing and not seen.is_answer:
                trip.sent_ns = trip.sent_ns or seen.time_ns
        elif seen.place == RECEIVER:
            if seen.is_answer and seen.is_outgoing:
                trip.answer_left_ns = trip.answer_left_ns or seen.time_ns
            elif not seen.is_answer and not seen.is_outgoing:
                trip.arrived_ns.append(seen.time_ns)
        elif seen.is_outgoing:
            (trip.answer_visits if seen.is_answer else trip.visits).append(seen.place.partition(":")[0])
    return found


def judge(sightings: Iterable[Sighting], eras: Sequence[Era], *, is_tap: frozenset[str] = frozenset()) -> Verdict:
    """eras: in order of time. is_tap: boxes whose copies are no part of the way."""
    verdict = Verdict()
    trips = journeys(sightings)
    for (stream, number), trip in trips.items():
        name = f"{stream:x}/{number}"
        if not trip.is_tcp:
            _count(verdict, trip, name)
        if trip.arrived_ns:
            _look(verdict, trip, eras, trip.visits, (trip.sent_ns, trip.arrived_ns[-1]), f"{name} there", False, is_tap)
        if trip.returned_ns:
            times = (trip.answer_left_ns, trip.returned_ns[-1])
            _look(verdict, trip, eras, trip.answer_visits, times, f"{name} back", True, is_tap)
    _arrivals(verdict, trips)
    return verdict


def _count(verdict: Verdict, trip: Journey, name: str) -> None:
    verdict.sent += 1
    verdict.duplicated += max(0, len(trip.arrived_ns) - 1) + max(0, len(trip.returned_ns) - 1)
    verdict.answered += bool(trip.returned_ns)
    if not trip.arrived_ns:
        verdict.lost += 1
        verdict.note(f"{name} did not arrive; crossed {' > '.join(trip.visits) or 'nothing'}")
    elif not trip.returned_ns:
        verdict.lost += 1
        verdict.note(f"answer {name} did not arrive; crossed {' > '.join(trip.answer_visits) or 'nothing'}")


def _look(
    verdict: Verdict, trip: Journey, eras: Sequence[Era], visits: Sequence[str], times: tuple[int, int], name: str,
    is_back: bool, is_tap: frozenset[str],
) -> None:  # fmt: skip
    route = tuple(visit for visit in visits if visit not in is_tap)
    ways = [era.hops for era in eras if era.covers(*times)]
    ways += [mixed for one, two in zip(ways, ways[1:], strict=False) if (mixed := _mixed(one, two))]
    if is_back:
        ways = [way[::-1] for way in ways]
    if trip.is_tcp:  # what was sent again is seen again: only what it crossed counts
        if not any(all(hop & set(route) for hop in way) for way in ways):
            verdict.bypassed += 1
            verdict.note(f"{name} crossed {' > '.join(route) or 'nothing'}", is_first=True)
        return
    if len(trip.returned_ns if is_back else trip.arrived_ns) > 1:
        return  # counted as a duplicate already: whose visits these are cannot be told
    if any(follows(route, way) for way in ways):
        return
    verdict.note(f"{name} crossed {' > '.join(route) or 'nothing'}", is_first=True)
    if any(all(hop & set(route) for hop in way) for way in ways):
        verdict.misordered += 1
    else:
        verdict.bypassed += 1


def _mixed(one: Hops, two: Hops) -> Hops:
    """Hop by hop either way, where both have as many hops."""
    return tuple(a | b for a, b in zip(one, two, strict=True)) if len(one) == len(two) else ()


def follows(route: Route, way: Hops) -> bool:
    """Each hop once and in order, and nothing else."""
    return len(route) == len(way) and all(box in hop for box, hop in zip(route, way, strict=True))


def _arrivals(verdict: Verdict, trips: Mapping[tuple[int, int], Journey]) -> None:
    """Order and gaps at the receiver, stream by stream."""
    streams: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (stream, number), trip in trips.items():
        if trip.arrived_ns and not trip.is_tcp:
            streams[stream].append((trip.arrived_ns[0], number))
    for arrivals in streams.values():
        arrivals.sort()
        highest = -1
        for index, (time_ns, number) in enumerate(arrivals):
            verdict.reordered += number < highest
            highest = max(highest, number)
            if index:
                verdict.gap_ms = max(verdict.gap_ms, (time_ns - arrivals[index - 1][0]) / 1e6)


def recovery_ms(
    trips: Mapping[tuple[int, int], Journey], since_ns: int, through: frozenset[str] = frozenset()
) -> float | None:
    """From since_ns to the first arrival of a datagram that was sent later and crossed one of `through` (any if empty).

    None if there is none.
    """
    best = None
    for trip in trips.values():
        if trip.is_tcp or not trip.arrived_ns or trip.sent_ns < since_ns:
            continue
        if through and not through & set(trip.visits):
            continue
        best = trip.arrived_ns[0] if best is None else min(best, trip.arrived_ns[0])
    return None if best is None else (best - since_ns) / 1e6
