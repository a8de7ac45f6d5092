# SPDX-License-Identifier: Apache-2.0
"""Rounds of probes through functions: when a packet goes out, what an arriving one means, and which ports are dead.

Called by `drivers.switch.prober` with the time and the packets; no clock, no socket. A round is one question into the
inside arm that must come out of the outside arm, and its answer the other way, both within the probe's time-out. The
next one does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from drivers.probe import Probe, ProbeResult, judged
from drivers.switch.openflow_text import COOKIE_MAGIC_SHIFT, PROBER_MAGIC
from drivers.switch.probe_packets import answer, datagram, question

# Above all that Viaduct writes, so that a probe's own packets are always caught.
CATCH_PRIORITY = 60000
MOST_OPEN = 64
Sending = tuple[int, bytes]


@dataclass(slots=True)
class Round:
    """is_through: the question came out of the far arm."""

    sent_s: float
    is_through: bool = False


@dataclass(slots=True)
class Asked:
    """A probe that is being asked. Times are monotonic, in seconds; the result's are Unix time.

    inside, outside: port numbers. token: says that a packet is ours. open: rounds without an end, oldest first.
    """

    probe: Probe
    inside: int
    outside: int
    token: bytes
    result: ProbeResult
    next_s: float
    number: int = 0
    open: dict[int, Round] = field(default_factory=dict)

    def ends_s(self) -> float:
        """When the oldest round is lost."""
        return next((one.sent_s + self.probe.timeout_ms / 1000 for one in self.open.values()), float("inf"))


@dataclass(slots=True)
class Rounds:
    """All probes of one bridge. skew_s: Unix time less monotonic time."""

    asked: dict[str, Asked] = field(default_factory=dict)
    skew_s: float = 0.0

    def set(
        self, probes: tuple[Probe, ...], numbers: Mapping[str, int], token: Callable[[], bytes], now_s: float
    ) -> None:
        """Exactly these from now on; one that is asked already, word for word, keeps its result."""
        before, self.asked = self.asked, {}
        for probe in probes:
            inside, outside = numbers[probe.inside], numbers[probe.outside]
            old = before.get(probe.name)
            if old is not None and (old.probe, old.inside, old.outside) == (probe, inside, outside):
                self.asked[probe.name] = old
            else:
                self.asked[probe.name] = Asked(
                    probe, inside, outside, token(), ProbeResult(probe.name), next_s=now_s
                )

    def catches(self) -> list[str]:
        """Lines of a bundle: the flows that bring a probe's packets here and nowhere else."""
        lines = [f"flow delete cookie={PROBER_MAGIC << COOKIE_MAGIC_SHIFT:#x}/0xff00000000000000"]
        for number, one in enumerate(self.asked.values(), 1):
            cookie = f"cookie={PROBER_MAGIC << COOKIE_MAGIC_SHIFT | number:#018x},table=0,priority={CATCH_PRIORITY}"
            probe, is_v6 = one.probe, ":" in one.probe.destination
            udp, address = ("udp6", "ipv6") if is_v6 else ("udp", "nw")
            forth = f"{address}_dst={probe.destination},tp_dst={probe.port}"
            back = f"{address}_src={probe.destination},{address}_dst={probe.source},tp_src={probe.port}"
            for port, match in ((one.outside, forth), (one.inside, back)):
                match = f"in_port={port},vlan_tci=0x0000/0x1fff,{udp},{match}"
                lines.append(f"flow add {cookie},{match},actions=CONTROLLER:512")
        return lines

    def due(self, now_s: float) -> Iterator[Sending]:
        """(port, frame) to send now. Rounds whose time is over are lost first."""
        for one in self.asked.values():
            while now_s >= one.ends_s():
                self._end(one, next(iter(one.open)), now_s, is_good=False)
            if now_s >= one.next_s:
                # A machine that was busy does not make up for what it missed.
                interval_s = one.probe.interval_ms / 1000
                one.next_s = one.next_s + interval_s if one.next_s + interval_s > now_s else now_s + interval_s
                if len(one.open) < MOST_OPEN:
                    one.number = (one.number + 1) & 0xFFFFFFFF
                    one.open[one.number] = Round(now_s)
                    yield one.inside, question(one.probe, one.token, one.number)

    def next_s(self) -> float:
        """When something will be due."""
        return min((min(one.next_s, one.ends_s()) for one in self.asked.values()), default=float("inf"))

    def arrived(self, port: int, frame: bytes, now_s: float) -> Iterator[Sending]:
        """What to send for a packet that came in by this port."""
        seen = datagram(frame)
        one = None if seen is None else next((one for one in self.asked.values() if one.token == seen.token), None)
        found = None if seen is None or one is None else one.open.get(seen.round)
        # What waited here while we were busy is not late: `due` says when a round is over, and is asked afterwards.
        if seen is None or one is None or found is None:
            return
        if not found.is_through and port == one.outside and seen.destination_port == one.probe.port:
            found.is_through = True
            yield one.outside, answer(one.probe, seen)
        elif found.is_through and port == one.inside and seen.source == one.probe.destination:
            self._end(one, seen.round, now_s, is_good=True)

    def dead(self) -> frozenset[int]:
        """Numbers of the ports that are to be taken for ports without a link."""
        down = [one for one in self.asked.values() if one.probe.fails_over and one.result.is_up is False]
        return frozenset(number for one in down for number in (one.inside, one.outside))

    def unknown(self) -> frozenset[int]:
        """Numbers of ports of which nothing is known yet: whoever marked them may have been right."""
        young = [one for one in self.asked.values() if one.probe.fails_over and one.result.is_up is None]
        return frozenset(number for one in young for number in (one.inside, one.outside))

    def results(self) -> tuple[ProbeResult, ...]:
        return tuple(self.asked[name].result for name in sorted(self.asked))

    def _end(self, one: Asked, number: int, now_s: float, *, is_good: bool) -> None:
        ended, probe = one.open.pop(number), one.probe
        if is_good:
            evidence = f"in by {probe.inside}, out of {probe.outside}, back in {(now_s - ended.sent_s) * 1000:.1f} ms"
        elif ended.is_through:
            evidence = f"the answer did not come back from {probe.outside} to {probe.inside} in {probe.timeout_ms} ms"
        else:
            evidence = f"nothing sent into {probe.inside} came out of {probe.outside} in {probe.timeout_ms} ms"
        at_s = now_s + self.skew_s
        one.result = judged(one.result, probe, is_good=is_good, now_s=at_s, evidence=evidence)
