# SPDX-License-Identifier: Apache-2.0
"""What must be true, judged from what the devices hold and held: the walk of packets, and the end of a schedule.

Asks the stored plans what was promised; the chains' own status is only ever the accused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chains import models, selectors
from chains.planning.classes import pairs
from chains.planning.routing import peers
from chains.planning.types import Allocation
from chains.planning.verify import Demand, demands
from drivers import fake
from drivers.codec import state_from_json
from drivers.forward import Network, Outcome, Trace, on_host, walk
from drivers.state import EMPTY, DeviceState, Filter, FunctionItem, Key, Redirect, slot

Hop = frozenset[tuple[str, Key]]
States = Mapping[str, DeviceState]
ARRIVED = (Outcome.ROUTED, Outcome.BASE)
# Of packets that the chain carries: a policy's no is no outage, these are.
CUT = (Outcome.GUARDED, Outcome.CLOSED, Outcome.LOOP, Outcome.LOST)


def held() -> dict[str, DeviceState]:
    """What every device holds now; empty ones are left out."""
    found = {}
    for name in models.Device.objects.exclude(driver="").values_list("name", flat=True):
        with fake.box(name) as box:
            if box.state:
                found[name] = box.state
    return found


def states_of(plan: models.Plan) -> dict[str, DeviceState]:
    """The plan's target by device."""
    return {name: state_from_json(items) for name, items in plan.target.items() if items}


@dataclass(frozen=True, slots=True)
class Promise:
    """What one plan promises: which packets, and by which items each hop is passed."""

    demands: tuple[Demand, ...]
    hops: tuple[Hop, ...]
    target: States


@dataclass
class Watcher:
    """Walks the packets of every chain in force through every state of the network.

    altered: items that somebody changed by hand and that were not put right yet, with what they were; their
    chains are not judged meanwhile: no plan ever promised anything for such a state.
    """

    states: dict[str, DeviceState] = field(default_factory=dict)
    altered: dict[tuple[str, Key], object] = field(default_factory=dict)
    bypasses: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    walked: int = 0
    _network: Network | None = None
    _promises: dict[int, Promise] = field(default_factory=dict)

    def by_hand(self, device: str, after: DeviceState) -> None:
        """Somebody else than the engine made it so."""
        before = self.states.get(device, EMPTY)
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self.altered.setdefault((device, key), before.get(key))
        self._set(device, after)

    def pushed(self, device: str, before: DeviceState, after: DeviceState) -> None:
        """The engine made it so."""
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self.altered.pop((device, key), None)
        self._set(device, after)
        self.judge()

    def _set(self, device: str, after: DeviceState) -> None:
        self.states[device] = after
        for (name, key), was in list(self.altered.items()):
            if name == device and after.get(key) == was:
                del self.altered[name, key]

    def judge(self) -> None:
        """Look at the network as it is at this moment."""
        spoilt = {key.chain for _, key in self.altered}
        for chain, plans in _in_force().items():
            if chain in spoilt or not plans:
                continue
            promises = [self._promise(plan) for plan in plans]
            self._walk(chain, promises)

    def _promise(self, plan_id: int) -> Promise:
        if plan_id not in self._promises:
            plan = models.Plan.objects.select_related("chain__tenant").get(pk=plan_id)
            assert plan.chain is not None
            intent = selectors.chain_snapshot(plan.chain)
            found = tuple(Allocation(**allocation) for allocation in plan.allocations)
            target = states_of(plan)
            self._promises[plan_id] = Promise(demands(intent, pairs(intent, found), {}), _hops(target), target)
            if self._network is None:
                fabric = selectors.fabric_snapshot(plan.chain)
                kinds = {device.name: device.kind for device in fabric.devices.values()}
                ends = {(a.device, a.port): (b.device, b.port) for a, b in peers(fabric).items()}
                self._network = Network(kinds, ends)
        return self._promises[plan_id]

    def _walk(self, chain: int, promises: list[Promise]) -> None:
        assert self._network is not None
        network = replace(self._network, states=self.states)
        ways = tuple(_ways(promises))
        for demand in promises[-1].demands:
            for trace in fates(network, demand):
                self.walked += 1
                passed = " ".join(f"{device}/{key}" for device, key in trace.functions) or "nothing"
                text = f"chain {chain}: {trace.origin.witness()} {demand.direction.value} passed {passed}"
                if trace.outcome in CUT:
                    self.cut.append(f"{text} and is {trace.outcome.value} on {trace.device}")
                elif trace.outcome in ARRIVED and not any(_passes(trace, hops, demand) for hops in ways):
                    self.bypasses.append(f"{text} on {trace.trail}")


def fates(network: Network, demand: Demand) -> Iterator[Trace]:
    """From host to host, as the proof of a plan walks."""
    blank = Trace(Outcome.ROUTED, demand.box, demand.box, demand.start_host)
    for left in on_host(network, demand.start_host, blank, is_reply=demand.is_reply):
        if left.outcome is Outcome.DENIED:
            yield left
            continue
        start = (demand.start.device, demand.start.port)
        for trace in walk(network, start, left.packets, is_reply=demand.is_reply):
            whole = replace(trace, functions=(*left.functions, *trace.functions))
            if trace.outcome in ARRIVED and demand.end_host:
                yield from on_host(network, demand.end_host, whole, is_reply=demand.is_reply)
            else:
                yield whole


def _in_force() -> dict[int, list[int]]:
    """By chain: the plans that may decide about a packet now, oldest first; none once a removal began.

    The one in force, and beside it, until its change has ended, the one that is being applied or taken back.
    """
    found: dict[int, list[int]] = {}
    rows = models.Change.objects.exclude(plan__chain=None).order_by("id")
    for chain, plan, goal, status, decided in rows.values_list(
        "plan__chain_id", "plan_id", "plan__goal", "status", "decided_at"
    ):
        plans = found.setdefault(chain, [])
        is_under_way = status in ("running", "reverting")
        if goal == models.Plan.Goal.REMOVE and (is_under_way or status == "succeeded"):
            plans.clear()
        elif status == "succeeded":
            plans[:] = [plan]
        elif is_under_way and (plans or decided):
            plans.append(plan)
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


# --- the rows against the devices -------------------------------------------------------------


def false_ready(known: dict[int, Any], reads: States) -> list[str]:
    """Chains that became READY since `known`: each device they want something on was read back with exactly that."""
    problems = []
    rows = models.Chain.objects.filter(status=models.Chain.Status.READY).order_by("pk")
    for chain in rows:
        if known.get(chain.pk) == chain.status_at:
            continue
        known[chain.pk] = chain.status_at
        if chain.generation != chain.observed_generation:
            problems.append(f"chain {chain.pk} is ready at another generation than the observed one")
        for name, state in selectors.chain_contributions(chain).items():
            if reads.get(name, EMPTY).of_chain(chain.pk) != state:
                problems.append(f"chain {chain.pk} is ready, but {name} was not read back with what it wants")
    return problems


def lost(changes: list[int], chains: dict[str, bool]) -> list[str]:
    """Accepted intents that are neither in force nor explained. chains: by name, is it still wanted?"""
    problems = []
    rows = {row.pk: row for row in models.Change.objects.filter(pk__in=changes)}
    for number in changes:
        row = rows.get(number)
        if row is None:
            problems.append(f"change {number} is gone")
        elif row.status not in ("succeeded", "reverted", "failed"):
            problems.append(f"change {number} never ended: {row.status} after {row.attempts} attempts: {row.error}")
        elif row.status != "succeeded" and not row.error:
            problems.append(f"change {number} is {row.status} and does not say why")
    there = {f"{tenant}/{name}" for tenant, name in models.Chain.objects.values_list("tenant__name", "name")}
    problems += [f"chain {name} is gone" for name, is_wanted in chains.items() if is_wanted and name not in there]
    unwanted = [name for name, is_wanted in chains.items() if not is_wanted]
    problems += [f"chain {name} was not removed" for name in unwanted if name in there]
    return problems


def mixed() -> list[str]:
    """Once all is quiet: of every chain the devices hold the whole of the last plan that was applied, or nothing."""
    wanted: dict[str, dict[Key, object]] = {}
    for chain in models.Chain.objects.order_by("pk"):
        applied = models.Change.objects.filter(plan__chain=chain, status="succeeded").select_related("plan")
        last = applied.order_by("-id").first()
        for name, state in (states_of(last.plan) if last is not None else {}).items():
            wanted.setdefault(name, {}).update(state)
    now = held()
    problems = []
    for name in sorted(now.keys() | wanted.keys()):
        have, want = now.get(name, EMPTY), DeviceState(wanted.get(name, {}))  # type: ignore[arg-type]
        if have != want:
            odd = sorted(str(key) for key in have.keys() | want.keys() if have.get(key) != want.get(key))
            problems.append(f"{name} differs in {', '.join(odd[:4])}")
    return problems


def stuck() -> list[str]:
    """Once all is quiet, and every device answers, no chain may say that it is busy or that it does not know."""
    rows = models.Chain.objects.filter(status__in=("applying", "unknown", "degraded"))
    return [f"chain {row.pk} is {row.status} for ever: {row.status_reason}" for row in rows]
