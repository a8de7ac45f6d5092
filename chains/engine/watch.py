# SPDX-License-Identifier: Apache-2.0
"""Watch what was just written: through a second connection, for a while, before more is done.

Used by `stage` after the first device of a change and before its decision. Reads, writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chains import models
from chains.engine.carry import check_pending, difference, say
from chains.engine.moves import Move, by_device
from chains.engine.run import Failed, Run
from chains.engine.sessions import TICK_S
from drivers.base import Rejected, Session
from drivers.state import DeviceState


@dataclass(frozen=True, slots=True)
class Expected:
    """What one device has to show: the chain's items, a link at these ports, at most our own pending commits."""

    device: str
    chain: int
    state: DeviceState
    ports: frozenset[str]
    labels: tuple[str, ...]


def watch(run: Run, moves: tuple[Move, ...], seconds: float) -> None:
    """Every device of these moves proves, at once and until the time is over, that it is managed and as planned.

    The first look goes through new connections: a change that cut its own way in shows here. Errors: Failed,
    LeaseLost, Frozen.
    """
    ports = ports_of(run.plan)
    expected = {name: _expected(run, held, ports.get(name, frozenset())) for name, held in by_device(moves).items()}
    until = time.monotonic() + seconds
    is_first = True
    while True:
        _look(run, expected, is_anew=is_first)
        is_first = False
        left = until - time.monotonic()
        if left <= 0:
            return
        _wait(run, min(left, run.limits.probe_s))


def _wait(run: Run, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, TICK_S))
        run.leases.keep()
        run.gate.look()
        run.gate.must_be_open()


def _expected(run: Run, moves: tuple[Move, ...], ports: frozenset[str]) -> Expected:
    device = moves[0].device
    return Expected(
        device,
        run.chain_number,
        moves[-1].after,
        ports,
        tuple(move.step.label for move in moves if move.step.label),
    )


def ports_of(plan: models.Plan) -> Mapping[str, frozenset[str]]:
    """By device, the ports through which the plan leads packets."""
    found: dict[str, set[str]] = {}
    if plan.goal == models.Plan.Goal.CLOSE:
        return {}  # its path is the one that is closed
    for path in plan.path.get("paths", ()):
        for visit in (*path["forward"], *path["reverse"]):
            found.setdefault(visit["device"], set()).update((visit["ingress"], visit["egress"]))
    return {device: frozenset(ports - {""}) for device, ports in found.items()}


def _look(run: Run, expected: Mapping[str, Expected], *, is_anew: bool) -> None:
    answers = run.fleet.each({name: _prober(held) for name, held in expected.items()}, is_anew=is_anew)
    troubles = [say(error) for error in answers.errors.values()] + _dead(run.plan)
    if troubles:
        raise Failed("after the push: " + "; ".join(sorted(troubles))[:1900])


def _prober(expected: Expected) -> Callable[[Session], None]:
    def probe(session: Session) -> None:
        observation = session.read()
        held = observation.state.of_chain(expected.chain)
        if held != expected.state:
            raise Rejected(f"{expected.device}: {difference(held, expected.state)}")
        check_pending(expected.device, observation, expected.labels)
        down = sorted(port for port in expected.ports if observation.links_up.get(port) is False)
        if down:
            raise Rejected(f"{expected.device}: no link at {', '.join(down)}")

    return probe


def _dead(plan: models.Plan) -> list[str]:
    """Functions that the plan leads packets to and that died meanwhile."""
    if plan.goal == models.Plan.Goal.CLOSE:
        return []  # it leads packets to nobody
    names = {use["offer"] for use in plan.summary.get("offer_uses", ())}
    down = models.Instance.objects.filter(health=models.Instance.Health.DOWN).select_related(
        "offer__device", "offer__function"
    )
    return [f"{row.offer} is down ({row.health_reason})" for row in down if str(row.offer) in names]
