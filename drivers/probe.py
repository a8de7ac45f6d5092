# SPDX-License-Identifier: Apache-2.0
"""What a probe of a function is, what it finds, and when that counts: one vocabulary for all that send probes.

The engine makes probes and reads results; the host agent and the switch's prober run them beside the packets, without
the orchestrator. Pure: no clock, no socket. It must not decide what follows for a chain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

MIN_INTERVAL_MS, MAX_INTERVAL_MS = 100, 3_600_000
MAX_COUNT = 100
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62})")
# What may stand in a request line: nothing that ends it.
PATH = re.compile(r"/[!-~]{0,200}")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "bool | None": (bool, type(None)),
}
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class ProbeKind(StrEnum):
    """through: a packet into one arm of the function must come out of the other, and its answer come back."""

    ICMP = "icmp"
    TCP = "tcp"
    HTTP = "http"
    THROUGH = "through"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question that a device asks of a function again and again.

    name: unique on the device that asks, [a-z0-9._-]. destination: whom it asks; with `through`, the address in the
    packet, as `source` is. port: TCP (tcp, http), or UDP of the packet (through). path: http, where 200 to 399 is good.
    source: "" is whatever the device takes. inside, outside: ports of the device that asks, behind which the function's
    arms are (through; the same one for a one-armed function), with the MACs to write, "" for a function that bridges.
    fall: so many bad answers in a row are down; rise: so many good ones are up; hold_down_ms: at least so long it stays
    down. fails_over: while it is down, the device takes `inside` and `outside` for ports without a link.
    """

    name: str
    kind: ProbeKind
    destination: str
    port: int = 0
    path: str = "/"
    source: str = ""
    inside: str = ""
    outside: str = ""
    inside_mac: str = ""
    outside_mac: str = ""
    interval_ms: int = 1000
    timeout_ms: int = 500
    rise: int = 2
    fall: int = 3
    hold_down_ms: int = 0
    fails_over: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name[:80]!r} is no name of a probe")
        destination = ipaddress.ip_address(self.destination)
        if self.source and ipaddress.ip_address(self.source).version != destination.version:
            raise ValueError(f"{self.name}: {self.source} and {self.destination} are of different families")
        is_through = self.kind is ProbeKind.THROUGH
        if is_through and not (self.inside and self.outside and self.source):
            raise ValueError(f"{self.name}: a probe through a function needs inside, outside and source")
        if self.fails_over and not is_through:
            raise ValueError(f"{self.name}: only a probe through a function can fail its ports over")
        for low, value, high, what in (
            (0 if self.kind is ProbeKind.ICMP else 1, self.port, 65535, "port"),
            (MIN_INTERVAL_MS, self.interval_ms, MAX_INTERVAL_MS, "interval_ms"),
            (1, self.timeout_ms, MAX_INTERVAL_MS, "timeout_ms"),
            (1, self.rise, MAX_COUNT, "rise"),
            (1, self.fall, MAX_COUNT, "fall"),
            (0, self.hold_down_ms, MAX_INTERVAL_MS, "hold_down_ms"),
        ):
            if not low <= value <= high:
                raise ValueError(f"{self.name}: {what} is {value}; give {low} to {high}")
        if not PATH.fullmatch(self.path):
            raise ValueError(f"{self.name}: path is {self.path[:80]!r}; it starts with a slash and has no spaces")
        if any(mac and not MAC.fullmatch(mac) for mac in (self.inside_mac, self.outside_mac)):
            raise ValueError(f"{self.name}: a MAC is written like 02:00:00:00:00:0a")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What is known by a probe now.

    is_up: None until `rise` or `fall` was reached for the first time. since_s: since when, at_s: of the last answer or
    the last that failed to come; both Unix time by the clock of the device that asks. evidence: what was seen last, in
    plain words ("no packet came out of outside within 100 ms"). sent, lost: since the probe was set.
    streak: so many good answers in a row, or, below zero, bad ones.
    """

    name: str
    is_up: bool | None = None
    since_s: float = 0.0
    at_s: float = 0.0
    sent: int = 0
    lost: int = 0
    streak: int = 0
    evidence: str = ""


@runtime_checkable
class Probing(Protocol):
    """A session of a device that asks by itself. Optional. Errors of both: DriverError kinds."""

    def set_probes(self, probes: tuple[Probe, ...]) -> None:
        """Ask exactly these from now on. One that was asked before, word for word, keeps its result."""
        ...

    def probe_results(self) -> tuple[ProbeResult, ...]:
        """Of the probes that are set, by name. One that is missing is not being asked."""
        ...


def judged(before: ProbeResult, probe: Probe, *, is_good: bool, now_s: float, evidence: str) -> ProbeResult:
    """The result after one more answer, or its absence. Hysteresis: see `Probe`."""
    streak = max(before.streak, 0) + 1 if is_good else min(before.streak, 0) - 1
    after = replace(
        before, at_s=now_s, sent=before.sent + 1, lost=before.lost + (not is_good), streak=streak, evidence=evidence
    )
    is_held = before.is_up is False and now_s < before.since_s + probe.hold_down_ms / 1000
    is_enough = abs(streak) >= (probe.rise if is_good else probe.fall)
    if is_good is before.is_up or not is_enough or (is_good and is_held):
        return after
    return replace(after, is_up=is_good, since_s=now_s)


def probes_to_json(probes: Iterable[Probe]) -> list[dict[str, Any]]:
    return [asdict(probe) for probe in probes]


def probes_from_json(data: Any) -> tuple[Probe, ...]:
    """Inverse of `probes_to_json`; a field that has a default may be left out. Errors: ValueError."""
    found = tuple(Probe(**_fields(Probe, each)) for each in _list(data))
    if len({probe.name for probe in found}) != len(found):
        raise ValueError("two probes of one name")
    return found


def results_to_json(results: Iterable[ProbeResult]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]


def results_from_json(data: Any) -> tuple[ProbeResult, ...]:
    """Inverse of `results_to_json`. Errors: ValueError."""
    return tuple(ProbeResult(**_fields(ProbeResult, each)) for each in _list(data))


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError("not a list")
    return data


def _fields(kind: type[Probe] | type[ProbeResult], value: Any) -> dict[str, Any]:
    """Only fields that there are, all without a default, each of its type."""
    known = {field.name: field for field in fields(kind)}
    needed = {name for name, field in known.items() if field.default is MISSING}
    if not isinstance(value, Mapping) or not needed <= value.keys() <= known.keys():
        given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"{kind.__name__} has {', '.join(known)}; given is {given}")
    for name, held in value.items():
        if type(held) not in _TYPES.get(str(known[name].type), (str, ProbeKind)):
            raise ValueError(f"{kind.__name__}.{name} is of another type: {held!r:.80}")
    return {name: ProbeKind(held) if name == "kind" else held for name, held in value.items()}
