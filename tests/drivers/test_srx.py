# SPDX-License-Identifier: Apache-2.0
"""The `srx` driver on an emulated box: zones that are not as they must be, other people's policies, drift.

Commits, locks and log-in are the Junos transport's, which test_junos.py puts on trial.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drivers.appliance.srx import DAMAGED, DRIVER, render
from drivers.base import SHADOWS, Rejected, Target
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState
from lab.devices.process import Emulated
from tests.drivers.samples import sample
from tests.drivers.srx_rig import SITE, srx_target

FIRST, SECOND = sample(SITE, revision=1), sample(SITE, revision=2)
OURS = "groups SI-viaduct"
PAIR = f"{OURS} security policies from-zone trust to-zone untrust policy"
OPERATORS = (
    "set security policies from-zone trust to-zone untrust policy all match source-address any",
    "set security policies from-zone trust to-zone untrust policy all match destination-address any",
    "set security policies from-zone trust to-zone untrust policy all match application any",
    "set security policies from-zone trust to-zone untrust policy all then permit",
)


@pytest.fixture
def target(srx_box: Emulated, tmp_path: Path) -> Target:
    return srx_target(srx_box, tmp_path)


def native(target: Target, before: DeviceState, after: DeviceState) -> str:
    return render(diff(before, after), replace(target, held=before))


def push(target: Target, before: DeviceState, after: DeviceState) -> None:
    with DRIVER.open(target, 10) as session:
        session.push(native(target, before, after))


def state(target: Target) -> DeviceState:
    with DRIVER.open(target, 10) as session:
        return session.read().state


CLAIMS = {
    "an operator's policy between the zones": (OPERATORS, "policy all"),
    "an operator's policy against the direction": (
        tuple(line.replace("trust to-zone untrust", "untrust to-zone trust") for line in OPERATORS), "policy all"),
    "a zone that holds more": (
        ("set security zones security-zone trust interfaces ge-0/0/7.0",), "give port in a zone of its own"),
    "an interface outside its zone": (
        ("delete security zones security-zone untrust interfaces ge-0/0/2.0",),
        "set security zones security-zone untrust interfaces ge-0/0/2.0"),
    "everything is permitted": (
        ("set security policies default-policy permit-all",), "delete security policies default-policy permit-all"),
    "a name of ours": (
        ("set security address-book global address SI-4-10.1.1.0_24 0.0.0.0/0",), "SI-4-10.1.1.0_24"),
    "a group of our name": (("set groups SI-viaduct system host-name x",), "is not ours"),
    "a group kept out": (("set security apply-groups-except SI-viaduct",), "apply-groups-except"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_what_stands_in_the_way_is_refused_with_the_way_out(name: str, srx_box: Emulated, target: Target) -> None:
    lines, said = CLAIMS[name]
    srx_box.operator(*lines, "commit")
    before = srx_box.config()
    with DRIVER.open(target, 10) as session:
        for call in (session.validate, session.push):
            with pytest.raises(Rejected, match=said):
                call(native(target, EMPTY, FIRST))
    assert srx_box.config() == before


def test_what_came_into_the_way_later_is_told(srx_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    srx_box.operator(*OPERATORS, "commit")
    with DRIVER.open(target, 10) as session:
        seen = session.read()
    assert seen.state == FIRST
    assert len(seen.attached) == len(OPERATORS)
    assert all(line.startswith(f"{SHADOWS}security policies from-zone trust") for line in seen.attached)


DAMAGES = {
    "permit for deny": (f"delete {PAIR} SI-c7r1f1s0-end then deny", f"set {PAIR} SI-c7r1f1s0-end then permit"),
    "a policy is gone": (f"delete {PAIR} SI-c7r1f1s0-1",),
    "a policy too many": (f"set {PAIR} SI-c7r1f1s0-9 match source-address any",
                          f"set {PAIR} SI-c7r1f1s0-9 match destination-address any",
                          f"set {PAIR} SI-c7r1f1s0-9 match application any",
                          f"set {PAIR} SI-c7r1f1s0-9 then permit"),
    "two in another order": (f"delete {PAIR} SI-c7r1f1s0-0",
                             f"set {PAIR} SI-c7r1f1s0-0 match source-address SI-4-10.1.1.0_24",
                             f"set {PAIR} SI-c7r1f1s0-0 match destination-address any-ipv4",
                             f"set {PAIR} SI-c7r1f1s0-0 match application SI-tcp-0-65535-80-81",
                             f"set {PAIR} SI-c7r1f1s0-0 then permit"),
    "an address means more": (f"delete {OURS} security address-book global address SI-4-10.1.1.0_24",
                              f"set {OURS} security address-book global address SI-4-10.1.1.0_24 10.0.0.0/8"),
    "an application means more": (f"delete {OURS} applications application SI-tcp-0-65535-80-81 destination-port",),
    "flows against the direction": (f"delete {OURS} security policies from-zone untrust to-zone trust",),
    "what it was is forgotten": (f"delete {OURS} apply-macro SI-c7r1f1s0",),
    "what it was is a lie": (f"delete {OURS} apply-macro SI-c7r1f1s0 default",
                             f"set {OURS} apply-macro SI-c7r1f1s0 default permit"),
    "not applied": ("delete apply-groups SI-viaduct",),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_damaged_is_seen_and_repaired(name: str, srx_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    srx_box.operator(*DAMAGES[name], "commit")
    seen = state(target)
    assert seen.keys() == FIRST.keys()
    assert DAMAGED in seen.values()
    push(target, seen, FIRST)
    assert state(target) == FIRST


def test_unknown_text_in_our_group_is_refused_by_name(srx_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    srx_box.operator(f"set {OURS} security policies default-policy permit-all", "commit")
    with pytest.raises(Rejected, match="default-policy permit-all"):
        state(target)


def test_nothing_of_the_operators_is_touched(srx_box: Emulated, target: Target) -> None:
    """Not one line of the address book, the policies or the applications that were there."""
    theirs = tuple(line.replace("untrust", "dmz") for line in OPERATORS)
    srx_box.operator(
        "set security zones security-zone dmz", "set applications application web protocol tcp",
        "set security address-book global address theirs 10.0.0.0/8", *theirs, "commit",
    )  # fmt: skip
    before = srx_box.config()["running"]
    push(target, EMPTY, FIRST)
    push(target, FIRST, SECOND)
    push(target, SECOND, EMPTY)
    assert srx_box.config()["running"] == before
