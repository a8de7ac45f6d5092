# SPDX-License-Identifier: Apache-2.0
"""From what an operator says of an offer's probes to the probes that devices run. Pure.

Called by the fabric file's check, by the service that edits offers, and by the selector that the engine asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from drivers.probe import Probe, ProbeKind

MOST = 8
# Who asks when nobody is named: a worker, from where it is.
WORKER = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One probe in the operator's words. by: the device that asks, "" for whoever fits: the switch at both arms
    (through), else a worker. destination "": the device's management address. The rest: `drivers.probe.Probe`.
    """

    kind: str
    by: str = ""
    destination: str = ""
    source: str = ""
    port: int = 0
    path: str = "/"
    interval_ms: int = 1000
    timeout_ms: int = 500
    rise: int = 2
    fall: int = 3
    hold_down_ms: int = 0
    fails_over: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where the offer's function is. inside, outside: (switch, port) that its arms are plugged into, ("", "") for
    none; macs of the arms themselves, "" if it bridges.
    """

    management: str = ""
    inside: tuple[str, str] = ("", "")
    outside: tuple[str, str] = ("", "")
    inside_mac: str = ""
    outside_mac: str = ""


def asked(data: Any) -> Asked:
    """Errors: ValueError naming the field."""
    if not isinstance(data, Mapping):
        raise ValueError("a probe is an object")
    known = {field.name: field for field in fields(Asked)}
    for name, value in data.items():
        if name not in known:
            raise ValueError(f"a probe has no {str(name)[:40]}; it has {', '.join(known)}")
        default = "" if known[name].default is MISSING else known[name].default
        if type(value) is not type(default):
            raise ValueError(f"{name} is not {'text' if default == '' else type(default).__name__}")
    if data.get("kind") not in tuple(ProbeKind):
        raise ValueError(f"kind is one of {', '.join(ProbeKind)}")
    return Asked(**data)


def as_stored(one: Asked) -> dict[str, Any]:
    """What is not as by default."""
    plain = Asked(one.kind)
    return {"kind": one.kind} | {
        name: value for name, value in asdict(one).items() if value != getattr(plain, name)
    }


def probe_of(one: Asked, name: str, place: Place) -> tuple[str, Probe]:
    """(who asks, what). Errors: ValueError, with the cause."""
    kind = ProbeKind(one.kind)
    shared: dict[str, Any] = {
        "port": one.port,
        "path": one.path,
        "interval_ms": one.interval_ms,
        "timeout_ms": one.timeout_ms,
        "rise": one.rise,
        "fall": one.fall,
        "hold_down_ms": one.hold_down_ms,
    }
    if kind is not ProbeKind.THROUGH:
        if one.fails_over:
            raise ValueError("fails_over: only a probe through a function can fail its ports over")
        if one.by == WORKER and one.interval_ms < 1000:
            raise ValueError("interval_ms: a worker asks once a second at most; name a device that asks (by)")
        destination = one.destination or place.management
        if not destination:
            raise ValueError("destination: needed, its device has no management address")
        return one.by, Probe(name, kind, _address(destination), source=one.source, **shared)
    switch, inside = place.inside
    if not switch or switch != place.outside[0]:
        raise ValueError("through: both arms have to be at one switch, which sends into one and catches at the other")
    if one.by not in ("", switch):
        raise ValueError(f"by: {switch}, where its arms are, is who can ask through it")
    if not one.destination or not one.source:
        raise ValueError("through: needs source and destination, which the function lets through in both directions")
    return switch, Probe(
        name,
        kind,
        _address(one.destination),
        source=_address(one.source),
        inside=inside,
        outside=place.outside[1],
        inside_mac=place.inside_mac,
        outside_mac=place.outside_mac,
        fails_over=one.fails_over,
        **shared,
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no address") from None
