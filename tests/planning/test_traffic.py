# SPDX-License-Identifier: Apache-2.0
"""Plant a drop anywhere on a random chain's way: the localiser names the place, and nothing where nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.planning.plan import make_plan, network_of
from chains.planning.traffic import Course, Delta, Fate, Loss, Meter, courses
from chains.planning.types import Chain, Fabric, Plan
from drivers.forward import Network, Outcome, Trace, walk
from drivers.packets import packets
from drivers.state import DeviceState, Direction, Filter, Guard, Key, Kind, Match
from tests.planning.fabrics import chain, demo

FUNCTIONS = ("ngfw", "ips", "filter")
CHAINS = st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=3, unique=True)
QUICK = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Traffic:
    """A planned chain and the way that packets of it really take, from the walker of the proof."""

    plan: Plan
    network: Network
    way: Mapping[Direction, Trace]

    def count(self, lengths: Mapping[Direction, int], packets_in: int) -> dict[str, dict[Key, Delta]]:
        """What devices count when packets get as far as the first `length` steering items."""
        found: dict[str, dict[Key, Delta]] = {name: {} for name in self.plan.target}
        for direction, trace in self.way.items():
            for device, key in trace.steering[: lengths[direction]]:
                found[device][key] = Delta(found[device].get(key, Delta()).packets + packets_in)
        return found


@lru_cache
def traffic(*functions: str) -> Traffic:
    fabric: Fabric = demo().fabric()
    row: Chain = chain(*functions)
    plan = make_plan(fabric, row, {}, {})
    network = network_of(fabric)
    full = Network(network.kinds, network.peers, plan.target)
    clients, servers = ("leaf1", "a1"), ("leaf2", "a2")
    there = Match("10.10.1.0/24", "10.10.2.0/24", "tcp", destination_ports=(80, 80))
    ways = {}
    for direction, start, match in (
        (Direction.FORWARD, clients, there),
        (Direction.REVERSE, servers, there.reversed()),
    ):
        traces = walk(full, start, packets(match), is_reply=direction is Direction.REVERSE)
        ways[direction] = next(trace for trace in traces if trace.outcome is Outcome.ROUTED)
    return Traffic(plan, network, ways)


def judged(
    sample: Traffic, deltas: Mapping[str, Mapping[Key, Delta]], window_s: float = 4.0
) -> dict[Direction, Course]:
    found = courses(sample.plan.target, sample.network, Meter(window_s, deltas))
    return {course.direction: course for course in found}


def boxes_after(sample: Traffic, direction: Direction, length: int) -> str:
    """The appliance that packets enter after `length` steering items, "" if it is a cable to a switch."""
    device, key = sample.way[direction].steering[length - 1]
    item = sample.plan.target[device][key]
    peer = sample.network.peers[device, item.next.port]  # type: ignore[union-attr]
    return peer[0] if sample.network.kinds[peer[0]] == "appliance" else ""


@QUICK
@given(functions=CHAINS, count=st.integers(10, 5000))
def test_what_flows_is_not_called_lost(functions: list[str], count: int) -> None:
    sample = traffic(*functions)
    full = {direction: len(trace.steering) for direction, trace in sample.way.items()}
    for course in judged(sample, sample.count(full, count)).values():
        assert (course.fate, course.losses) == (Fate.FLOWS, ())
        assert course.entered == course.left == count


@QUICK
@given(functions=CHAINS, count=st.integers(10, 5000), data=st.data())
def test_a_planted_drop_is_named(functions: list[str], count: int, data: st.DataObject) -> None:
    """On a cable between switches, on the way into a function, inside it, or by its own policy."""
    sample = traffic(*functions)
    direction = data.draw(st.sampled_from(list(Direction)))
    lengths = {way: len(trace.steering) for way, trace in sample.way.items()}
    places = list(range(1, lengths[direction]))
    if not places:
        return
    length = data.draw(st.sampled_from(places))
    lengths[direction] = length
    deltas = sample.count(lengths, count)
    box = boxes_after(sample, direction, length)
    after, before = (sample.way[direction].steering[index][0] for index in (length - 1, length))
    how = data.draw(st.sampled_from(("arm", "swallows", "denies"))) if box else "cable"
    for device, state in sample.plan.target.items():
        for key, _ in state.functions():
            met = count * (2 if device != box else 1)
            deltas[device][key] = Delta(met)
            if device == box and how == "denies":
                deltas[device][key] = Delta(0, count)
    if how == "arm":
        deltas[box] = {}
        deltas[box].update({key: Delta(0) for key, _ in sample.plan.target[box].functions()})
    course = judged(sample, deltas)[direction]
    assert len(course.losses) == 1, course
    loss: Loss = course.losses[0]
    wanted = {
        "cable": (Fate.LOST, after, before),
        "arm": (Fate.LOST, after, box),
        "swallows": (Fate.SWALLOWED, after, before),
        "denies": (Fate.DENIED, after, before),
    }[how]
    assert (loss.fate, loss.after, loss.before) == wanted
    assert loss.device == (box if how in ("swallows", "denies") else after)
    assert (loss.packets, loss.of, course.fate) == (count, count, loss.fate)
    assert str(count) in loss.evidence and after in loss.evidence
    other = judged(sample, deltas)[Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD]
    assert other.fate is Fate.FLOWS, "the other direction is not blamed"


def test_nothing_enters() -> None:
    sample = traffic("ngfw", "ips")
    for course in judged(sample, {name: {} for name in sample.plan.target}).values():
        assert (course.fate, course.entered, course.losses) == (Fate.IDLE, 0, ())


def test_a_filter_on_a_switch_denies() -> None:
    sample = traffic("filter")
    full = {direction: len(trace.steering) for direction, trace in sample.way.items()}
    deltas = sample.count(full, 100)
    device, key = next(
        (device, key)
        for device, state in sample.plan.target.items()
        for key, item in state.items()
        if isinstance(item, Filter) and key.direction is Direction.FORWARD and key in deltas[device]
    )
    # On a switch the packets include those that were dropped.
    deltas[device][key] = Delta(150, 50)
    course = judged(sample, deltas)[Direction.FORWARD]
    (loss,) = course.losses
    assert (loss.fate, loss.device, loss.hop, loss.packets) == (Fate.DENIED, device, 0, 50)
    assert course.fate is Fate.DENIED


def test_the_closed_door_is_named() -> None:
    sample = traffic("ngfw")
    door = next(
        key
        for key, item in sample.plan.target["leaf1"].items()
        if isinstance(item, Guard) and item.ingress == "a1" and key.direction is Direction.FORWARD
    )
    deltas: dict[str, dict[Key, Delta]] = {name: {} for name in sample.plan.target}
    deltas["leaf1"][door] = Delta(40, 40)
    course = judged(sample, deltas)[Direction.FORWARD]
    assert [(loss.fate, loss.device, loss.packets) for loss in course.losses] == [(Fate.SHUT, "leaf1", 40)]


def test_a_host_denies_before_packets_enter() -> None:
    """The function runs on the hosts: nothing is steered, and the host's own rules say how many they stopped."""
    key = Key(7, 1, Direction.FORWARD, 1, Kind.RULESET, 0)
    sample = traffic("ngfw")
    rule_set = next(item for state in sample.plan.target.values() for _, item in state.functions())
    states = {"a1": DeviceState({key: rule_set})}
    found = courses(states, sample.network, Meter(4.0, {"a1": {key: Delta(3, 30)}}))
    loss = found[0].losses[0]
    assert (found[0].fate, loss.device, loss.hop, loss.packets, loss.of) == (Fate.DENIED, "a1", 0, 30, 33)
    assert found[1].losses == ()


@pytest.mark.parametrize("missing", ["leaf1", "leaf2"])
def test_a_device_that_was_not_read_is_no_witness(missing: str) -> None:
    sample = traffic("ngfw", "ips")
    full = {direction: len(trace.steering) for direction, trace in sample.way.items()}
    deltas = sample.count(full, 100)
    del deltas[missing]
    for course in judged(sample, deltas).values():
        assert course.losses == () and course.unread == (missing,)
        assert course.fate is Fate.UNKNOWN


@pytest.mark.parametrize(("window_s", "share", "is_named"), [(4.0, 0.2, False), (4.0, 0.4, True), (20.0, 0.12, True)])
def test_a_part_is_called_lost_when_it_is_more_than_late_counters_explain(
    window_s: float, share: float, is_named: bool
) -> None:
    sample = traffic("ngfw")
    full = {direction: len(trace.steering) for direction, trace in sample.way.items()}
    deltas = sample.count(full, 1000)
    last, key = sample.way[Direction.FORWARD].steering[-1]
    deltas[last][key] = Delta(round(1000 * (1 - share)))
    for state in (sample.plan.target[name] for name in deltas):
        for function, _ in state.functions():
            deltas[next(n for n, s in sample.plan.target.items() if s is state)][function] = Delta(2000)
    course = judged(sample, deltas, window_s)[Direction.FORWARD]
    assert bool(course.losses) is is_named
