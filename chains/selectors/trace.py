# SPDX-License-Identifier: Apache-2.0
"""The way of one packet of a chain, hop by hop, as devices are wanted to send it or as they were read to.

Read by the API. Walks the devices that the chain is on; what another tenant's item decides is said, not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from chains.models import Chain, DeviceStatus, Hop
from chains.planning.classes import pairs
from chains.planning.demands import Demand, demands
from chains.planning.plan import network_of
from chains.planning.walks import fates
from chains.selectors.addresses import allocations_in_force
from chains.selectors.fabric import inventory_snapshot
from chains.selectors.intent import chain_snapshot
from chains.selectors.states import chain_contributions, others_on
from drivers.codec import state_from_json
from drivers.forward import Network, Outcome, Trace
from drivers.packets import Packets, packets
from drivers.state import (
    ANY_PORT,
    EMPTY,
    DeviceState,
    Direction,
    Filter,
    FunctionItem,
    Guard,
    Item,
    Key,
    Match,
    Pass,
)  # fmt: skip

WANTED, HELD = "wanted", "held"
# Parts of what was asked that fare differently; a packet that is told exactly has one.
MAX_COURSES = 16
ENDS = {
    Outcome.ROUTED: "handed to base forwarding in VRF {vrf}",
    Outcome.BASE: "nothing of the chain's matches: base forwarding decides",
    Outcome.DENIED: "denied by the policy of {function}",
    Outcome.GUARDED: "dropped at the closed door behind a redirect",
    Outcome.CLOSED: "dropped by an appliance that does not know it",
    Outcome.LOOP: "goes round in a circle",
    Outcome.LOST: "sent to a port without a link",
    Outcome.COPIED: "a copy that came to its tap",
}


@dataclass(frozen=True, slots=True)
class Packet:
    """Addresses in normal form, of one family. A port that is None: any."""

    source: str
    destination: str
    protocol: str
    source_port: int | None
    destination_port: int | None

    @property
    def match(self) -> Match:
        bits = 128 if ":" in self.source else 32
        ends = [
            ANY_PORT if port is None else (port, port) for port in (self.source_port, self.destination_port)
        ]
        return Match(f"{self.source}/{bits}", f"{self.destination}/{bits}", self.protocol, *ends)


@dataclass(frozen=True, slots=True)
class Step:
    """What one device does with the packet. port: where it came in, "" where it starts. hop: of the chain, -1 for none.

    item: the key of what decided, "" if nothing of the chain's did.
    """

    device: str
    port: str
    item: str
    hop: int
    function: str
    action: str


@dataclass(frozen=True, slots=True)
class Course:
    """One fate of the packet, or of a part of what was asked for."""

    direction: Direction
    packet: str
    leaves_as: str
    outcome: Outcome
    device: str
    detail: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class TraceView:
    """detail: why there is no course, "" if there is one."""

    chain: int
    states: str
    detail: str
    courses: tuple[Course, ...]


def chain_trace(chain: Chain, asked: Packet, states: str = WANTED) -> TraceView:
    """Where the packet goes, and its reply back. The chain is one that the actor got from `chain_get`.

    states: WANTED or HELD. A constant number of queries, whatever else the network carries.
    """
    wanted = chain_contributions(chain)
    if not wanted:
        return TraceView(
            chain.pk, states, "the chain is not in force: no device is to hold anything of it", ()
        )
    if states == HELD:
        every, unread = _held(wanted)
        if unread:
            detail = f"{', '.join(unread)} was never read: observe it first, or ask for what is wanted"
            return TraceView(chain.pk, states, detail, ())
    else:
        others = others_on(wanted, chain, of_all=True)
        every = {name: DeviceState({**state, **others[name]}) for name, state in wanted.items()}
    walker = _walker(chain, every)
    courses = tuple(walker.courses(packets(asked.match)))
    detail = (
        ""
        if courses
        else "the chain does not mean this packet: none of its classifiers matches from its source"
    )
    return TraceView(chain.pk, states, detail, courses)


def _held(wanted: Mapping[str, DeviceState]) -> tuple[dict[str, DeviceState], list[str]]:
    rows = DeviceStatus.objects.filter(device__name__in=list(wanted))
    read = dict(rows.values_list("device__name", "observed"))
    found = {name: EMPTY if read.get(name) is None else state_from_json(read[name]) for name in wanted}
    return found, sorted(name for name in wanted if read.get(name) is None)


def _walker(chain: Chain, states: Mapping[str, DeviceState]) -> _Walker:
    network = replace(network_of(inventory_snapshot(states)), states=states)
    intent = chain_snapshot(chain)
    every = demands(intent, pairs(intent, allocations_in_force(chain.pk)), {})
    hops = dict(Hop.objects.filter(chain=chain).values_list("position", "function__name"))
    return _Walker(chain.pk, network, every, hops)


@dataclass(frozen=True, slots=True)
class _Walker:
    chain: int
    network: Network
    demands: tuple[Demand, ...]
    functions: Mapping[int, str]

    def courses(self, box: Packets) -> Iterator[Course]:
        """Forward, and the replies to what arrives."""
        arrived = []
        for trace in self._fates(box, Direction.FORWARD):
            yield self._course(trace, Direction.FORWARD)
            if trace.outcome in (Outcome.ROUTED, Outcome.BASE):
                arrived.append(trace.packets.reversed())
        for reply in arrived:
            for trace in self._fates(reply, Direction.REVERSE):
                yield self._course(trace, Direction.REVERSE)

    def _fates(self, box: Packets, direction: Direction) -> list[Trace]:
        found: list[Trace] = []
        for demand in self.demands:
            part = box.intersect(demand.box) if demand.direction is direction else None
            if part is not None:
                found.extend(fates(self.network, replace(demand, box=part)))
        return found[:MAX_COURSES]

    def _course(self, trace: Trace, direction: Direction) -> Course:
        steps = tuple(self._steps(trace))
        function = next((step.function for step in reversed(steps) if step.function), "a function")
        detail = ENDS[trace.outcome].format(vrf=trace.vrf, function=function)
        return Course(
            direction,
            trace.origin.witness(),
            trace.packets.witness(),
            trace.outcome,
            trace.device,
            detail,
            steps,
        )

    def _steps(self, trace: Trace) -> Iterator[Step]:
        """Places in order; each takes what was used there from the front."""
        steering, passed = list(trace.steering), list(trace.functions)
        places = [tuple(place.split(":", 1)) for place in trace.trail]
        visited = {device for device, _ in places}
        while passed and passed[0][0] not in visited:  # rule sets of the host that it starts on
            yield self._step(passed.pop(0), "")
        for device, port in places:
            if self.network.kinds.get(device) == "switch":
                used = steering.pop(0) if steering and steering[0][0] == device else None
                if used is not None and passed and passed[0] == used:
                    passed.pop(0)  # a filter: it steers and judges
                yield self._step(used, port) if used else Step(device, port, "", -1, "", "base forwarding")
            else:
                here = []
                while passed and passed[0][0] == device:
                    here.append(passed.pop(0))
                yield from (self._step(used, port) for used in here)
                if not here:
                    yield Step(device, port, "", -1, "", "no function claims it")
        yield from (self._step(used, "") for used in passed)

    def _step(self, used: tuple[str, Key], port: str) -> Step:
        device, key = used
        item = self.network.states[device][key]
        if key.chain != self.chain:
            return Step(device, port, "", -1, "", "an item of another chain decides")
        is_function = isinstance(item, Filter | FunctionItem)
        hop = key.stage - 1 if is_function else -1
        return Step(device, port, str(key), hop, self.functions.get(hop, ""), _action(item))


def _action(item: Item) -> str:
    if isinstance(item, Guard):
        return "drops: closed door"
    if isinstance(item, Pass):
        return "leaves it to base forwarding: not the chain's"
    if isinstance(item, FunctionItem):
        return "serves it"
    to = item.next
    where = (
        f"VRF {to.vrf}"
        if to.vrf and not to.port
        else f"port {to.port}" + (f" tag {to.tag}" if to.tag else "")
    )
    copies = f", copies to {', '.join(copy.port for copy in item.copies)}" if item.copies else ""
    return f"{'filters, then ' if isinstance(item, Filter) else ''}sends to {where}{copies}"
