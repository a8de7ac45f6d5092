# SPDX-License-Identifier: Apache-2.0
"""The `host` driver: rule sets in place on a host, through the agent that runs there (`daemon.py`).

Settings: `interface_PORT: NAME` where a port's Linux interface has another name. Credential: the JSON that
`python -m drivers.host.daemon enroll` printed. Native text: one nft script for the table `inet viaduct`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drivers.base import (
    LINES,
    Capabilities,
    Counter,
    Driver,
    Identity,
    Limit,
    Observation,
    Rejected,
    Target,
    Transient,
    Unsupported,
)
from drivers.codec import state_from_json
from drivers.diff import Change
from drivers.nftables import render as render_nftables
from drivers.nftables_objects import Realm
from drivers.nftables_parse import DAMAGED_ITEMS
from drivers.probe import Probe, ProbeResult, probes_to_json, results_from_json
from drivers.state import DeviceState, Key, Kind
from drivers.transport.https import Agent, connect

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET}), is_atomic=True, has_confirmed_commit=False,
    limits=(Limit(LINES, None, "rules of nftables: the machine's memory"),),
)


def interfaces_of(target: Target) -> dict[str, str]:
    """Port name -> Linux interface name, for every port of the device."""
    return {port: target.settings.get(f"interface_{port}", port) for port in target.ports}


def render(changes: tuple[Change, ...], target: Target) -> str:
    """One nft script. Errors: Unsupported."""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a host cannot hold a {change.key.kind}")
    return render_nftables(changes, Realm.HOST, interfaces_of(target))


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`: rules. Errors: Unsupported."""
    whole = {key: item for key, item in state.items() if item != DAMAGED_ITEMS.get(key.kind)}
    text = render(tuple(Change(key, None, item) for key, item in whole.items()), target)
    return {LINES: sum(line.startswith("add rule ") for line in text.splitlines())}


class HostSession:
    """A conversation with one agent. A push is made for the state that was read last in this session."""

    def __init__(self, agent: Agent, target: Target) -> None:
        self._agent = agent
        self._target = target
        self._moment: tuple[int, str] | None = None

    def read(self) -> Observation:
        return self._observation(self._read())

    def validate(self, native: str) -> None:
        if native:
            self._agent.ask("POST", "/v1/validate", {"native": native})

    def push(self, native: str) -> None:
        if not native:
            return
        if self._moment is None:
            self._read()
        generation, digest = self._moment or (0, "")
        self._moment = None
        body = {"native": native, "generation": generation, "base": digest}
        answer = self._agent.ask("POST", "/v1/apply", body)
        self._moment = (int(answer["generation"]), str(answer["digest"]))

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective. An agent of an older version does not say what it runs on."""
        health = self._agent.ask("GET", "/v1/health")
        platform, version = (str(health.get(name, "")) for name in ("platform", "version"))
        verified = "its certificate is the one of its enrolment"
        return Identity(platform or "agent", version, verified=verified)

    def set_probes(self, probes: tuple[Probe, ...]) -> None:
        """drivers.probe.Probing: icmp, tcp and http, from the host. Errors: DriverError kinds."""
        self._agent.ask("POST", "/v1/probes", {"probes": probes_to_json(probes)})

    def probe_results(self) -> tuple[ProbeResult, ...]:
        """drivers.probe.Probing."""
        try:
            return results_from_json(self._agent.ask("GET", "/v1/probes")["results"])
        except (KeyError, ValueError) as error:
            raise Rejected(f"{self._target.name}: the agent's results are not understood: {error!r}") from error

    def _read(self) -> dict[str, Any]:
        answer = self._agent.ask("GET", "/v1/state")
        try:
            if answer["name"] != self._target.name:
                raise Rejected(f"{self._target.name}: the agent says that it is {answer['name']!r}")
            self._moment = (int(answer["generation"]), str(answer["digest"]))
        except (KeyError, ValueError, TypeError) as error:
            raise Rejected(f"{self._target.name}: the agent's state is not understood: {error!r}") from error
        return answer

    def _observation(self, answer: dict[str, Any]) -> Observation:
        try:
            return Observation(
                state_from_json(answer["items"]),
                {Key.parse(key): Counter(**counts) for key, counts in answer["counters"].items()},
                {
                    port: bool(answer["links"].get(interface, False))
                    for port, interface in interfaces_of(self._target).items()
                },
                int(answer["foreign"]),
                # An agent of an older version does not say.
                tuple(str(line) for line in answer.get("attached", ())),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Rejected(f"{self._target.name}: the agent's state is not understood: {error!r}") from error


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[HostSession]:
    """Errors: Transient, Rejected."""
    with connect(target, timeout_s) as agent:
        health = agent.ask("GET", "/v1/health")
        if not isinstance(health.get("generation"), int):
            raise Transient(f"{target.name}: the agent is not ready; try again")
        yield HostSession(agent, target)


DRIVER = Driver(name="host", caps=CAPS, render=render, open=open_session, entries=entries)
