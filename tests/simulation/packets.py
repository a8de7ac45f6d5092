# SPDX-License-Identifier: Apache-2.0
"""Walks the packets of every chain that a push touched through the network as it is at that moment.

What is right is asked of the stored plans that may decide about a packet then, and of nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from django.db import connection

from chains import models, selectors
from chains.planning.classes import pairs
from chains.planning.demands import Demand, demands
from chains.planning.routing import peers
from chains.planning.types import Allocation, Chain
from chains.planning.walks import ARRIVED, fates
from drivers.codec import state_from_json
from drivers.forward import Network, Outcome, Trace
from drivers.state import EMPTY, DeviceState, Filter, FunctionItem, Key, Redirect, slot

Hop = frozenset[tuple[str, Key]]
States = Mapping[str, DeviceState]
# Of packets that the chain carries: a policy's no is no outage, these are.
CUT = (Outcome.GUARDED, Outcome.CLOSED, Outcome.LOOP, Outcome.LOST)
CHANGES = """
SELECT plan.chain_id, plan.id, plan.goal, change.status
  FROM chains_change AS change JOIN chains_plan AS plan ON plan.id = change.plan_id
 WHERE plan.chain_id = ANY(%s) ORDER BY change.id
"""
HALF = ("running", "reverting", "failed")


@dataclass(frozen=True, slots=True)
class Promise:
    """What one plan promises: which packets, and by which items each hop is passed.

    holds: it says beforehand that doors at the edges are closed while it is carried out.
    """

    demands: tuple[Demand, ...]
    hops: tuple[Hop, ...]
    target: States
    holds: bool


@dataclass
class Watcher:
    """altered: items that somebody changed by hand and that were not put right yet, with what they were; their
    chains are not judged meanwhile: no plan ever promised anything for such a state. astray: the same, of items that
    a device took back by itself; until the change has ended.
    """

    states: dict[str, DeviceState] = field(default_factory=dict)
    altered: dict[tuple[str, Key], object] = field(default_factory=dict)
    astray: dict[tuple[str, Key], object] = field(default_factory=dict)
    bypasses: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    walked: int = 0
    _network: Network | None = None
    _intents: dict[int, Chain] = field(default_factory=dict)
    _promises: dict[int, Promise] = field(default_factory=dict)

    def others(self, device: str, before: DeviceState, after: DeviceState, is_hand: bool) -> None:
        """Somebody else than the engine made it so: a hand, or the device by itself."""
        into = self.altered if is_hand else self.astray
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                into.setdefault((device, key), before.get(key))
        self._set(device, after)

    def ended(self, chain: int) -> None:
        """A change of the chain ended: what devices did by themselves meanwhile is no excuse any more."""
        self.astray = {place: was for place, was in self.astray.items() if place[1].chain != chain}
        self.judge([chain])

    def pushed(self, device: str, before: DeviceState, after: DeviceState) -> None:
        """The engine made it so."""
        touched = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        for key in touched:
            self.altered.pop((device, key), None)
            self.astray.pop((device, key), None)
        self._set(device, after)
        self.judge({key.chain for key in touched})

    def _set(self, device: str, after: DeviceState) -> None:
        self.states[device] = after
        for excuses in (self.altered, self.astray):
            for (name, key), was in list(excuses.items()):
                if name == device and after.get(key) == was:
                    del excuses[name, key]

    def judge(self, chains: Iterable[int]) -> None:
        """Look at these chains' packets as the network is at this moment."""
        wanted = sorted(set(chains) - {key.chain for _, key in (*self.altered, *self.astray)})
        for chain, plans in _deciding(wanted).items():
            if any(plan is not None for plan in plans):
                promises = [self._promise(chain, plan) for plan in plans if plan is not None]
                self._walk(chain, promises, plans[0] is None, None in plans)

    def _promise(self, chain: int, plan_id: int) -> Promise:
        if plan_id not in self._promises:
            plan = models.Plan.objects.get(pk=plan_id)
            found = tuple(Allocation(**allocation) for allocation in plan.allocations)
            target = {name: state_from_json(items) for name, items in plan.target.items() if items}
            intent = self._intent(chain)
            wanted = demands(intent, pairs(intent, found), {})
            holds = any(reason["code"] == "held" for reason in plan.summary.get("breaks", ()))
            self._promises[plan_id] = Promise(wanted, _hops(target), target, holds)
        return self._promises[plan_id]

    def _intent(self, number: int) -> Chain:
        """Which packets the chain means: no edit of a simulation changes that."""
        if number not in self._intents:
            row = models.Chain.objects.get(pk=number)
            self._intents[number] = selectors.chain_snapshot(row)
            if self._network is None:
                fabric = selectors.fabric_snapshot(row)
                kinds = {device.name: device.kind for device in fabric.devices.values()}
                ends = {(a.device, a.port): (b.device, b.port) for a, b in peers(fabric).items()}
                self._network = Network(kinds, ends)
        return self._intents[number]

    def _walk(self, chain: int, promises: list[Promise], was_bare: bool, may_be_bare: bool) -> None:
        """was_bare: the chain is only being put in force. may_be_bare: that, or it is being taken out of force."""
        assert self._network is not None
        network = replace(self._network, states=self.states)
        ways = tuple(_ways(promises))
        found = [(demand, trace) for demand in promises[-1].demands for trace in fates(network, demand)]
        new = _only_new(promises, found)
        is_held = any(promise.holds for promise in (promises if was_bare else promises[1:]))
        for demand, trace in found:
            self.walked += 1
            passed = " ".join(f"{device}/{key}" for device, key in trace.functions) or "nothing"
            text = f"chain {chain}: {trace.origin.witness()} {demand.direction.value} passed {passed}"
            is_lost = trace.outcome in CUT or (trace.outcome is Outcome.BASE and self._is_led(trace))
            at_door = trace.outcome is Outcome.GUARDED and trace.device == demand.start.device
            if is_lost and not (was_bare and trace.outcome is Outcome.GUARDED) and not (is_held and at_door):
                self.cut.append(f"{text} and is {trace.outcome.value} on {trace.device}")
            elif (
                trace.outcome in ARRIVED
                and not any(_passes(trace, hops, demand) for hops in ways)
                and not (trace.outcome is Outcome.BASE and (may_be_bare or demand in new))
            ):
                self.bypasses.append(f"{text} on {trace.trail}")

    def _is_led(self, trace: Trace) -> bool:
        """Did a redirect take the packets up before nothing of ours matched them? Base forwarding drops them then:
        they come with a tag that it does not know, or out of a function.
        """
        return any(isinstance(self.states[device].get(key), Redirect) for device, key in trace.steering)


def _only_new(promises: list[Promise], found: list[tuple[Demand, Trace]]) -> set[Demand]:
    """Replies to addresses that only the newest plan gives out, and that no packet has been translated to yet."""
    if len(promises) == 1:
        return set()
    known = [demand.box for promise in promises[:-1] for demand in promise.demands if demand.is_reply]
    asked = [
        trace.packets.reversed()
        for demand, trace in found
        if not demand.is_reply and trace.outcome in ARRIVED
    ]
    replies = {demand for demand in promises[-1].demands if demand.is_reply}
    return {demand for demand in replies if not any(demand.box.intersect(box) for box in (*known, *asked))}


def _deciding(chains: list[int]) -> dict[int, list[int | None]]:
    """By chain: the plans that may decide about a packet now, oldest first. None: base forwarding may as well.

    The one in force, and beside it, until its change has ended, the one that is being applied or taken back.
    """
    found: dict[int, list[int | None]] = {chain: [None] for chain in chains}
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, [chains])
        for chain, plan, goal, status in cursor.fetchall():
            effect = None if goal == models.Plan.Goal.REMOVE else plan
            if status == "succeeded":
                found[chain][:] = [effect]
            elif status in HALF:
                found[chain].append(effect)
    return found


def _hops(target: States) -> tuple[Hop, ...]:
    """Function items by stage."""
    found: dict[int, set[tuple[str, Key]]] = {}
    for device, state in target.items():
        for key, item in state.items():
            if isinstance(item, FunctionItem | Filter):
                found.setdefault(key.stage, set()).add((device, key))
    return tuple(frozenset(found[stage]) for stage in sorted(found))


def _ways(promises: list[Promise]) -> Iterator[tuple[Hop, ...]]:
    """The hops of each plan; on the way from one to the other also a mix hop by hop, and items that swap places."""
    for promise in promises:
        yield promise.hops
    for old, new in zip(promises, promises[1:], strict=False):
        twins = _twins(old.target, new.target)
        wide_old, wide_new = _widened(old.hops, twins), _widened(new.hops, twins)
        yield wide_old
        yield wide_new
        if len(wide_old) == len(wide_new):
            yield tuple(one | two for one, two in zip(wide_old, wide_new, strict=True))


def _twins(old: States, new: States) -> dict[tuple[str, Key], tuple[str, Key]]:
    found = {}
    for device, state in new.items():
        places = {slot(item): key for key, item in old.get(device, EMPTY).items()}
        for key, item in state.items():
            other = places.get(slot(item), key)
            if other != key and isinstance(item, FunctionItem | Filter | Redirect):
                found[device, key], found[device, other] = (device, other), (device, key)
    return found


def _widened(hops: tuple[Hop, ...], twins: Mapping[tuple[str, Key], tuple[str, Key]]) -> tuple[Hop, ...]:
    return tuple(hop | {twins[place] for place in hop if place in twins} for hop in hops)


def _passes(trace: Trace, hops: tuple[Hop, ...], demand: Demand) -> bool:
    """One item of every hop, in order (replies: in reverse)."""
    wanted = list(reversed(hops)) if demand.is_reply else list(hops)
    for passed in trace.functions:
        if wanted and passed in wanted[0]:
            wanted.pop(0)
    return not wanted
