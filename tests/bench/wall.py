# SPDX-License-Identifier: Apache-2.0
"""How long does a change take on very many slow devices at once? Imported once Django is set up.

A chain is enforced on all hosts of a segment, so its plan is one wave of pushes to n devices and nothing else. Every
device takes d seconds for a write and no time for a reading. The first one is written alone, then the others side by
side, so two times d is the least; what is more is the engine's own.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.db import connection
from django.test.utils import override_settings

from chains import models
from chains.engine import planner
from chains.engine.reconcile import run_change
from chains.fabric.load import load
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake
from tests.bench.database import Counter
from tests.bench.report import Figure

# Times d: the first device, the others, and one more for the engine.
MOST = 3.0
MOST_QUERIES = 1.25
SLOTS = 100
FIRST_PORT = 1000
TENANT = "tenant-a"


@dataclass(frozen=True, slots=True)
class Size:
    """delay_s: d. counts: of devices, the last one is judged. line: switches of the other chain."""

    delay_s: float
    counts: tuple[int, ...]
    line: int
    repeats: int


FULL = Size(delay_s=0.5, counts=(1, 10, 100), line=20, repeats=3)
SMALL = Size(delay_s=0.2, counts=(1, 4, 20), line=4, repeats=1)


@dataclass(frozen=True, slots=True)
class Run:
    """cpu_s: of this process, all threads. The database's is not in it."""

    took_s: float
    cpu_s: float
    queries: int
    devices: int
    pushes: int
    waves: int


def figures(size: Size) -> Iterator[Figure]:
    """Medians. Errors: AssertionError if a change does not succeed or a device does not hold what it should."""
    fake.reset()
    load(fabric_text(size))
    runs: dict[int, list[Run]] = {count: [] for count in size.counts}
    lines: list[Run] = []
    # Nobody is to look at devices for a while: soaking is waiting by design, and not the engine's own time.
    with override_settings(VIADUCT_DEVICE_THREADS=SLOTS, VIADUCT_SOAK_S=0.0, VIADUCT_DRAIN_IDLE_S=0.0):
        _measure(size, FIRST_PORT, size.counts[0])  # imports, the first connection, sessions
        for number in range(1, size.repeats + 1):
            for count in size.counts:
                runs[count].append(_measure(size, FIRST_PORT + number, count))
            lines.append(_apply("line", "clients-line", "appliance", FIRST_PORT + number))
    for count in size.counts:
        told = f"{count} devices of {size.delay_s:g} s each, one wave, {SLOTS} slots, no soak"
        wall_s, is_judged = median(run.took_s for run in runs[count]), count == size.counts[-1]
        name = "wall" if is_judged else f"wall.{count}"
        goal = f"at most {MOST:g} times one device" if is_judged else ""
        yield Figure(name, wall_s, "s", size.delay_s, told, goal, not goal or wall_s <= MOST * size.delay_s)
    line = lines[0]
    told = f"{line.pushes} pushes in {line.waves} waves to {line.devices} devices: a chain across {size.line} switches"
    yield Figure("wall.chain", median(run.took_s for run in lines), "s", size.delay_s, told)
    yield from _own(runs[size.counts[-1]], runs[size.counts[-2]])


def _own(many: list[Run], few: list[Run]) -> Iterator[Figure]:
    """What of it is the engine's, however busy the machine is."""
    told = f"{many[0].devices} devices against {few[0].devices}"
    value, against = median(run.queries for run in many), median(run.queries for run in few)
    goal = f"at most {MOST_QUERIES:g} times"  # leases are renewed by the clock
    yield Figure("wall.queries", value, "queries", against, told, goal, value <= MOST_QUERIES * against)
    yield Figure("wall.cpu", median(run.cpu_s for run in many), "s", median(run.cpu_s for run in few), told)


def _measure(size: Size, port: int, count: int) -> Run:
    run = _apply(f"hosts-{count}", f"clients-{count}", "host", port)
    assert (run.devices, run.pushes, run.waves) == (count, count, 1), f"not one wave to {count} devices: {run}"
    return run


def _apply(name: str, source: str, realm: str, port: int) -> Run:
    """Planned as ever; only the change is timed."""
    chain = intent.chain_create(
        actor=SYSTEM,
        tenant=models.Tenant.objects.get(name=TENANT),
        data=chain_data(f"{name}-{port}", source, realm, port),
    )
    plan = planner.plan_chain(chain, "bench")
    assert plan.status == models.Plan.Status.READY, plan.errors
    change = intent.change_create(actor=SYSTEM, plan=plan)
    seen = Counter()
    gc.collect()
    gc.disable()
    try:
        with connection.execute_wrapper(seen):
            began, cpu_began = time.perf_counter(), time.process_time()
            run_change(change.pk)
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    finally:
        gc.enable()
    change.refresh_from_db()
    assert change.status == models.Change.Status.SUCCEEDED, change.error
    for row in models.Contribution.objects.filter(chain=chain).select_related("device"):
        with fake.box(row.device.name) as box:
            held = {str(key) for key in box.state.of_chain(chain.pk)}
        assert held == set(row.items), f"{row.device.name} holds {held} of {set(row.items)}"
    steps = list(plan.steps.exclude(device=None))
    devices, waves = {step.device_id for step in steps}, {step.wave for step in steps}
    return Run(took_s, cpu_s, seen.count, len(devices), len(steps), len(waves))


def chain_data(name: str, source: str, realm: str, port: int) -> dict[str, Any]:
    rule = {"verdict": "permit", "protocol": "tcp", "destination_ports": str(port)}
    return {
        "name": name,
        "source": source,
        "destination": "servers",
        "bandwidth_mbps": 1,
        "classifiers": [{"protocol": "tcp", "family": 4, "destination_ports": str(port)}],
        "hops": [{"function": "ngfw", "realm": realm, "policy": {"default": "deny", "rules": [rule]}}],
    }


def fabric_text(size: Size) -> str:
    """A line of switches: the servers behind the last, the firewall in the middle, all clients behind the first."""
    fabric = _Fabric(f"delay_s={size.delay_s}")
    switches = [f"s{number:02d}" for number in range(size.line)]
    for name in switches:
        fabric.device(name, "switch", "fake-switch-confirming")
    for left, right in zip(switches, switches[1:], strict=False):
        fabric.link(left, right, right, left)
    middle, first, last = switches[size.line // 2], switches[0], switches[-1]
    fabric.device("fw", "appliance", "fake-appliance-confirming")
    for arm in ("in", "out"):
        fabric.link(middle, f"fw-{arm}", "fw", arm)
    fabric.offers.append(
        {"device": "fw", "function": "ngfw", "realm": "appliance", "inside": "in", "outside": "out"}
    )
    fabric.segment("servers", last, 0, 1)
    fabric.segment("clients-line", first, 1, 1)
    for number, count in enumerate(size.counts, start=2):
        fabric.segment(f"clients-{count}", first, number, count, has_offers=True)
    sections = {name: getattr(fabric, name) for name in ("devices", "links", "offers", "segments")}
    document = {
        "fabric": "wall", "sites": [{"name": "lab"}], "vrfs": [{"name": TENANT, "tag": 100}],
        "tenants": [{"name": TENANT}], "functions": [{"name": "ngfw", "capability": "stateful_filter"}],
    }  # fmt: skip
    return json.dumps(document | sections)  # JSON is YAML


class _Fabric:
    """Collects the sections."""

    def __init__(self, quirks: str) -> None:
        self.quirks = quirks
        self.devices: list[dict[str, Any]] = []
        self.links: list[dict[str, Any]] = []
        self.offers: list[dict[str, Any]] = []
        self.segments: list[dict[str, Any]] = []
        self._ports: dict[str, list[dict[str, Any]]] = {}

    def device(self, name: str, kind: str, driver: str) -> None:
        self._ports[name] = []
        self.devices.append(
            {
                "name": name, "site": "lab", "kind": kind, "driver": driver, "ports": self._ports[name],
                "settings": {"quirks": self.quirks},
            }
        )  # fmt: skip

    def link(self, a: str, a_port: str, b: str, b_port: str) -> None:
        count = len(self.links)
        for side, (device, port) in enumerate(((a, a_port), (b, b_port))):
            mac = f"02:00:00:{side:02x}:{count // 256:02x}:{count % 256:02x}"
            self._ports[device].append({"name": port, "number": len(self._ports[device]) + 1, "mac": mac})
        self.links.append(
            {"a": f"{a}:{a_port}", "b": f"{b}:{b_port}", "capacity_mbps": 100_000, "latency_us": 10}
        )

    def segment(self, name: str, switch: str, network: int, count: int, *, has_offers: bool = False) -> None:
        """One host for each of `count` prefixes, all behind one switch."""
        prefixes = [f"10.{network}.{number}.0/24" for number in range(count)]
        attachments = []
        for number, prefix in enumerate(prefixes):
            host = f"{name}-{number:03d}"
            self.device(host, "host", "fake-appliance-confirming")
            self.link(switch, host, host, "eth0")
            attachments.append({"port": f"{switch}:{host}", "prefixes": [prefix]})
            if has_offers:
                self.offers.append({"device": host, "function": "ngfw", "realm": "host"})
        self.segments.append(
            {"tenant": TENANT, "name": name, "vrf": TENANT, "prefixes": prefixes, "attachments": attachments}
        )
