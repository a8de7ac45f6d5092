# SPDX-License-Identifier: Apache-2.0
"""The two notes by which the orchestrator and a prober beside an Open vSwitch know of each other. Pure.

Written by `openvswitch.BridgeSession` and `prober`, each its own; both may be away for as long as they like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from drivers.base import Rejected, Target
from drivers.probe import (
    Probe,
    ProbeKind,
    ProbeResult,
    probes_from_json,
    probes_to_json,
    results_from_json,
    results_to_json,
)

PROBES, RESULTS = "probes", "probe-results"
# Open vSwitch's numbers of ports end here (ovs-fields(7), in_port).
MAX_PORT = 0xFEFF


def written(probes: tuple[Probe, ...], target: Target) -> str:
    """What is to be asked, with the numbers of the ports; "" for nothing. Errors: Rejected."""
    numbers: dict[str, int] = {}
    for probe in probes:
        if probe.kind is not ProbeKind.THROUGH:
            raise Rejected(f"{target.name}: {probe.name}: a switch asks through functions only")
        for port in (probe.inside, probe.outside):
            if port not in target.ports or not target.ports[port].number:
                raise Rejected(f"{target.name}: {probe.name}: port {port!r} has no number in the fabric file")
            numbers[port] = target.ports[port].number
    return json.dumps({"probes": probes_to_json(probes), "ports": numbers}, sort_keys=True) if probes else ""


def wanted(note: str) -> tuple[tuple[Probe, ...], dict[str, int]]:
    """Inverse of `written`. Errors: ValueError."""
    if not note:
        return (), {}
    data = json.loads(note)
    if not isinstance(data, dict) or data.keys() != {"probes", "ports"} or not isinstance(data["ports"], dict):
        raise ValueError("it is no note of probes")
    probes = probes_from_json(data["probes"])
    numbers = data["ports"]
    for port in {port for probe in probes for port in (probe.inside, probe.outside)}:
        if type(numbers.get(port)) is not int or not 1 <= numbers[port] <= MAX_PORT:
            raise ValueError(f"port {port!r} has no number")
    return probes, numbers


def told(results: Iterable[ProbeResult]) -> str:
    """What was found, "" for nothing."""
    data = results_to_json(results)
    return json.dumps(data) if data else ""


def found(notes: Mapping[str, str], device: str) -> tuple[ProbeResult, ...]:
    """Results of the probes that are set. Errors: Rejected."""
    try:
        names = {probe.name for probe in wanted(notes.get(PROBES, ""))[0]}
        results = results_from_json(json.loads(notes.get(RESULTS) or "[]"))
    except ValueError as error:
        raise Rejected(f"{device}: a note of the prober on the bridge cannot be read ({error})") from error
    return tuple(result for result in results if result.name in names)
