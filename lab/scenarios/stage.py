# SPDX-License-Identifier: Apache-2.0
"""A whole Viaduct beside a lab, and hands for the scenarios: chains, edits, traffic, breaking and mending.

Called by the runner and the scenarios. One stage serves all scenarios of one fabric; `clear` gives it back as it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import wiring
from lab.client import ENDED, Api
from lab.fabric import End
from lab.network import Lab
from lab.scenarios.judge import RECEIVER, SENDER, Era, Hops, Sightings
from lab.scenarios.load import UDP_PORT, Connections, Echo, Line, Sample, Witness
from lab.watch import Count, Server, Stream
from orchestrator.services.serve import Instance, bring_up, free_port, manage

# Quick sweeps, so that waiting is short; what is promised in seconds is measured with these.
PACE = {"VIADUCT_SWEEP_S": "1", "VIADUCT_OBSERVE_S": "1", "VIADUCT_SOAK_S": "0.2", "VIADUCT_BREAKER_S": "2"}
# Nobody is there to agree to the removal of a large chain.
PACE["VIADUCT_APPROVAL_REMOVALS"] = "0"
RATE = 1000.0
DELETED_S = 120.0


@dataclass(slots=True)
class Stage:
    """lab and the people's access. eras: the ways that were right, since the last `clear`."""

    lab: Lab
    instance: Instance
    tenant: Api
    operator: Api
    folder: Path
    eras: list[Era] = field(default_factory=list)
    flowing: list[Traffic] = field(default_factory=list)
    _broken: dict[str, Callable[[], None]] = field(default_factory=dict)
    _offers: dict[str, int] = field(default_factory=dict)

    # --- chains ----------------------------------------------------------------------------------------

    def chain(self, name: str, hops: Sequence[Mapping[str, Any]], **more: Any) -> int:
        """Create and apply. more: other fields of a chain. The chain's id."""
        body = {
            "name": name, "source": "clients", "destination": "servers", "bandwidth_mbps": 10,
            "classifiers": [{"protocol": protocol, "family": 4} for protocol in ("udp", "tcp")],
            "hops": list(hops), **more,
        }  # fmt: skip
        chain = int(self.tenant.post("chains/", body)["id"])
        self.apply(chain)
        return chain

    def edit(self, chain: int, **fields: Any) -> dict[str, Any]:
        """Change fields of a chain, plan and apply. The plan."""
        self.tenant.patch(f"chains/{chain}/", fields)
        return self.apply(chain)

    def apply(self, chain: int) -> dict[str, Any]:
        """Plan what is wanted and apply it; from the request on the new way is right, until its end also the old."""
        plan: dict[str, Any] = self.tenant.plan(chain)
        self.enter(self.hops_of(plan), lambda: self.tenant.apply(plan["id"]))
        return plan

    def enter(self, hops: Hops, doing: Callable[[], Any]) -> None:
        """A new era begins with doing, the one before ends with it."""
        since_ns = time.monotonic_ns()
        doing()
        self.close()
        self.eras.append(Era(hops, since_ns))

    def close(self) -> None:
        """No way is right any more but those to come."""
        if self.eras and not self.eras[-1].until_ns:
            last = self.eras[-1]
            self.eras[-1] = Era(last.hops, last.since_ns, time.monotonic_ns())

    def hops_of(self, plan: Mapping[str, Any]) -> Hops:
        """The appliances that may serve each hop, in order; what is done in place is nothing to cross."""
        found = []
        for hop in plan["placement"]["hops"]:
            boxes = frozenset(offer.partition("@")[2] for offer in hop["chosen"]["offers"])
            if boxes <= self.boxes():
                found.append(boxes)
        return tuple(found)

    def boxes(self) -> frozenset[str]:
        return frozenset(name for name, device in self.lab.fabric.devices.items() if device.kind == "appliance")

    def status(self, chain: int) -> str:
        found = self.operator.get(f"chains/{chain}/")["status"]
        return str(found["value"] if isinstance(found, dict) else found)

    def serving(self, chain: int, hop: int) -> str:
        """The box that serves a hop now, as Viaduct says, "" if none: to know which one to break."""
        chosen = self.tenant.get(f"chains/{chain}/explain/")["placement"]["hops"][hop]["chosen"]
        return str(chosen["offers"][0]).partition("@")[2] if chosen else ""

    def allow(self, *hops: frozenset[str], only: bool = True) -> None:
        """From now on this way is right. only: whatever was right before is not."""
        if only:
            self.close()
        self.eras.append(Era(hops, time.monotonic_ns()))

    def forbid(self, *hops: frozenset[str]) -> None:
        """From now on this way is wrong."""
        now = time.monotonic_ns()
        self.eras = [Era(e.hops, e.since_ns, now) if e.hops == hops and not e.until_ns else e for e in self.eras]

    def offer(self, device: str, **fields: Any) -> None:
        """Edit the one offer of a device."""
        if not self._offers:
            rows = self.operator.results("offers/?limit=200")
            self._offers.update({row["device"]: row["id"] for row in rows})
        self.operator.patch(f"offers/{self._offers[device]}/", fields)

    # --- breaking and mending ------------------------------------------------------------------------------

    def kill(self, device: str) -> int:
        """The box loses power. When (CLOCK_MONOTONIC, ns): from then on nothing gets through it."""
        self._broken[device] = lambda: self.lab.restart_device(device)
        self.lab.kill_device(device)
        return time.monotonic_ns()

    def cut(self, a: str, b: str) -> int:
        """A cable goes dead."""
        self._broken[f"{a}-{b}"] = lambda: self.lab.mend_link(a, b)
        self.lab.cut_link(a, b)
        return time.monotonic_ns()

    def swallow(self, device: str) -> int:
        """The box hangs: its links are up, and it gives nothing back."""
        rules = "table inet hung {\nchain shut {\ntype filter hook forward priority -400; policy drop;\n}\n}\n"
        undo = ["nft", "delete", "table", "inet", "hung"]

        def wake() -> None:
            self.lab.exec(device, undo)

        self._broken[device] = wake
        self.lab.exec(device, ["nft", "-f", "-"], text=rules)
        return time.monotonic_ns()

    def kill_switch(self, name: str) -> int:
        """The switch loses power; mended it is back, with the operator's configuration and nothing of Viaduct's."""
        self._broken[name] = lambda: self.lab.restart_switch(name)
        self.lab.kill_switch(name)
        return time.monotonic_ns()

    def mend(self, name: str = "") -> None:
        """Undo what was broken: one thing by its name ("ips1", "leaf1-spine1"), or everything."""
        for key in [name] if name else list(self._broken):
            self._broken.pop(key)()

    def clear(self) -> None:
        """Traffic ended, everything mended, no chains. Errors: ApiError if chains do not go."""
        while self.flowing:
            self.flowing[0].stop()
        self.mend()
        for row in self.operator.results("chains/?limit=200"):
            self.operator.delete(f"chains/{row['id']}/")
        Api.wait_until(lambda: not self.operator.results("chains/?limit=1"), "all chains to be gone", DELETED_S)
        self.wait_sound()
        self.eras.clear()

    def wait_sound(self, timeout_s: float = DELETED_S) -> None:
        """Until Viaduct takes every function for up. Errors: ApiError."""

        def is_sound() -> bool:
            return all(row["health"] == "up" for row in self.operator.results("instances/?limit=200"))

        Api.wait_until(is_sound, "all functions to be up", timeout_s)

    def wait_ready(self, chain: int, timeout_s: float = DELETED_S) -> None:
        """Until the chain is ready and no change is under way. Errors: ApiError."""

        def is_settled() -> bool:
            changes = self.operator.results("changes/?limit=20")
            return self.status(chain) == "ready" and all(change["status"] in ENDED for change in changes)

        Api.wait_until(is_settled, "the chain to be ready", timeout_s)

    # --- traffic -------------------------------------------------------------------------------------------

    def flowing_now(
        self, source: str = "a1", sink: str = "a2", *, rate: float = RATE, connections: int = 0
    ) -> Traffic:
        """Datagrams at a steady rate, long TCP connections, and a witness at every box; until `stop` or `clear`."""
        made = Traffic(self, source, sink)
        try:
            made.start(rate, connections)
        except BaseException:
            made.stack.close()
            raise
        self.flowing.append(made)
        return made

    def address(self, device: str) -> str:
        port = next(iter(self.lab.device(device).ports.values()))
        return port.addresses[0].partition("/")[0]

    def places(self, source: str, sink: str) -> dict[str, tuple[str, str, str]]:
        """Where witnesses stand: what leaves each port of each box, and both ends."""
        found = {SENDER: (self.lab.namespace(source), "eth0", "both")}
        found[RECEIVER] = (self.lab.namespace(sink), "eth0", "both")
        for name in sorted(self.boxes()):
            for port in self.lab.device(name).ports:
                at = wiring.interface(self.lab.fabric, End(name, port))
                found[f"{name}:{port}"] = (self.lab.namespace(name), at, "out")
        return found


@dataclass(slots=True)
class Traffic:
    """What flows between two ends, and what was seen of it."""

    stage: Stage
    source: str
    sink: str
    stack: ExitStack = field(default_factory=ExitStack)
    server: Server | None = None
    stream: Stream | None = None
    connections: Connections | None = None
    count: Count | None = None
    lines: tuple[Line, ...] = ()
    seen: Sightings = ()
    _witness: Witness | None = None
    _is_over: bool = False

    def start(self, rate: float, connections: int) -> None:
        lab, to = self.stage.lab, self.stage.address(self.sink)
        self.server = self.stack.enter_context(lab.serve(self.sink, udp=(UDP_PORT,)))
        if connections:
            self.stack.enter_context(Echo(lab.namespace(self.sink)))
        file = self.stage.folder / f"witness-{time.monotonic_ns()}"
        self._witness = self.stack.enter_context(Witness(file, self.stage.places(self.source, self.sink)))
        if connections:
            namespace = lab.namespace(self.source)
            self.connections = Connections(namespace, to, connections, every_s=0.25)
            self.stack.enter_context(self.connections)
        if rate:
            self.stream = self.stack.enter_context(lab.stream(self.source, to, UDP_PORT, rate=rate))

    def sample(self, count: int, sources: Sequence[str]) -> Sample:
        """Many flows beside the rest; `round` sends one datagram of each."""
        namespace, to = self.stage.lab.namespace(self.source), self.stage.address(self.sink)
        return self.stack.enter_context(Sample(namespace, to, sources, count))

    def arrived(self) -> int:
        """Datagrams of the stream at the receiver so far."""
        assert self.server is not None and self.stream is not None, "asked of traffic that was started"
        return sum(tally.received for tally in self.server.tallies() if tally.stream == self.stream.number)

    def flow_on(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more have arrived. Errors: ApiError if they do not."""
        before = self.arrived()
        Api.wait_until(lambda: self.arrived() >= before + count, "the stream to go on", timeout_s)

    def stop(self) -> Sightings:
        """Stop sending, wait for the last answers, collect what was seen. May be called twice."""
        if self._is_over:
            return self.seen
        self._is_over = True
        self.stage.flowing.remove(self)
        if self.connections is not None:
            self.lines = self.connections.finish()
        if self.stream is not None:
            self.count = self.stream.finish()
        assert self._witness is not None, "started with the rest"
        self.seen = self._witness.finish()
        self.stack.close()
        return self.seen


@contextmanager
def built(folder: Path, fabric: Callable[[Path], Path], name: str) -> Iterator[Stage]:
    """Viaduct and the lab side by side; both are gone afterwards. Errors: LabError, ServiceError."""
    folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.update(PACE, VIADUCT_STATE=str(folder))
    try:
        yield from _built(folder, fabric(folder / "wanted.yaml"), name)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _built(folder: Path, path: Path, name: str) -> Iterator[Stage]:
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(Lab.up, path, name)
        try:
            instance = bring_up(folder, port=free_port(0), is_fast=True)  # another may want the preferred one
        except BaseException:
            building.result().down()
            raise
    try:
        with building.result() as lab:
            manage(instance.environ, "load_fabric", str(lab.fabric_file))
            tokens = (("tenant", "--tenant", "tenant-a"), ("operator", "--role", "operator"))
            with ThreadPoolExecutor(len(tokens)) as pool:
                made = list(pool.map(lambda words: manage(instance.environ, "create_token", *words).strip(), tokens))
            people = [Api(instance.url, token) for token in made]
            stage = Stage(lab, instance, people[0], people[1], folder)
            stage.wait_sound()
            yield stage
    finally:
        instance.stop()
