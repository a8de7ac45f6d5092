# SPDX-License-Identifier: Apache-2.0
"""Rounds of probes through functions: when a packet goes out, what an arriving one means, and which ports are dead.

Called by `drivers.switch.prober` with the time and the packets; no clock, no socket. A round is one question into the
inside arm that must come out of the outside arm, and its answer the other way, both within the probe's time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from drivers.probe import Probe, ProbeResult, judged
from drivers.switch.openflow_text import COOKIE_MAGIC_SHIFT, PROBER_MAGIC
from drivers.switch.probe_packets import Datagram, answer, datagram, question

# Above all that Viaduct writes, so that a probe's own packets are always caught.
CATCH_PRIORITY = 60000
Sending = tuple[int, bytes]


@dataclass(slots=True)
class Asked:
    """A probe that is being asked. Times are monotonic, in seconds; the result's are Unix time.

    inside, outside: port numbers. token: says that a packet is ours. is_through: the question came out of the far arm.
    """

    probe: Probe
    inside: int
    outside: int
    token: bytes
    result: ProbeResult
    next_s: float
    round: int = 0
    sent_s: float | None = None
    is_through: bool = False


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
            if one.sent_s is not None and now_s >= one.sent_s + one.probe.timeout_ms / 1000:
                self._end(one, now_s, is_good=False)
            if one.sent_s is None and now_s >= one.next_s:
                one.round = (one.round + 1) & 0xFFFFFFFF
                one.sent_s, one.is_through = now_s, False
                # A machine that was busy does not make up for what it missed.
                interval_s = one.probe.interval_ms / 1000
                one.next_s = one.next_s + interval_s if one.next_s + interval_s > now_s else now_s + interval_s
                yield one.inside, question(one.probe, one.token, one.round)

    def next_s(self) -> float:
        """When something will be due."""
        ends = (
            one.next_s if one.sent_s is None else one.sent_s + one.probe.timeout_ms / 1000
            for one in self.asked.values()
        )
        return min(ends, default=float("inf"))

    def arrived(self, port: int, frame: bytes, now_s: float) -> Iterator[Sending]:
        """What to send for a packet that came in by this port."""
        seen = datagram(frame)
        one = None if seen is None else next((one for one in self.asked.values() if _is_of(one, seen)), None)
        if seen is None or one is None or one.sent_s is None:
            return
        if not one.is_through and port == one.outside and seen.destination_port == one.probe.port:
            one.is_through = True
            yield one.outside, answer(one.probe, seen)
        elif one.is_through and port == one.inside and seen.source == one.probe.destination:
            self._end(one, now_s, is_good=True)

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

    def _end(self, one: Asked, now_s: float, *, is_good: bool) -> None:
        began_s, probe = one.sent_s or now_s, one.probe
        if is_good:
            evidence = f"in by {probe.inside}, out of {probe.outside} and back in {(now_s - began_s) * 1000:.1f} ms"
        elif one.is_through:
            evidence = f"the answer did not come back from {probe.outside} to {probe.inside} in {probe.timeout_ms} ms"
        else:
            evidence = f"nothing sent into {probe.inside} came out of {probe.outside} in {probe.timeout_ms} ms"
        at_s = now_s + self.skew_s
        one.result = judged(one.result, probe, is_good=is_good, now_s=at_s, evidence=evidence)
        one.sent_s = None


def _is_of(one: Asked, seen: Datagram) -> bool:
    return (seen.token, seen.round) == (one.token, one.round)

