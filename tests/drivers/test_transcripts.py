# SPDX-License-Identifier: Apache-2.0
"""The exact commands of every operation, as the emulated device (or FRR's router) heard them: golden files.

Reviewed like code; `VIADUCT_GOLDEN=write` writes them anew. Other families have theirs in their own files (eos, iosxr,
junos). What is new each time (names of files, identifiers) stands as `*`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import Rejected
from drivers.diff import diff
from drivers.state import EMPTY, Match, NextHop, Redirect, Rule, RuleSet, Verdict
from lab.devices.process import Emulated
from tests.drivers.contract import TIMEOUT_S, Rig
from tests.drivers.frr_rig import Lab
from tests.drivers.samples import state
from tests.drivers.verify_only import VerifyRig

GOLDEN = Path(__file__).with_name("golden")
FRESH = (
    (re.compile(r"viaduct-[0-9a-f]{16}"), "viaduct-*"),
    (re.compile(r"(?<=key=)[^&\s]+"), "*"),
    (re.compile(r"(?<=message-id=\")[^\"]+"), "*"),
)
CLOSE = "close"
WEB = Match("10.1.1.0/24", "10.2.0.0/16", "tcp", destination_ports=(443, 443))
DNS = Match("10.1.1.0/24", "10.2.0.0/16", "udp", destination_ports=(53, 53))


def told(family: str, steps: dict[str, Callable[[], object]], heard: Callable[[], list[str]]) -> None:
    """Does the steps and compares what was heard in each with the golden file."""
    said: list[str] = []
    seen = 0
    for name, step in steps.items():
        step()
        if name == CLOSE:
            continue  # a device may hear of that a moment later
        now = heard()
        said += ["", f"# {name}", *(_plain(line) for line in now[seen:])]
        seen = len(now)
    text = "\n".join(said).lstrip() + "\n"
    file = GOLDEN / f"{family}-transcript.txt"
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        file.write_text(text)
    assert file.read_text() == text


def _plain(line: str) -> str:
    """A text of many lines by its first and its last ones: the whole of it has a golden file of its own."""
    for pattern, instead in FRESH:
        line = pattern.sub(instead, line)
    first, *rest = line.split("\n")
    return f"{first} ... {' '.join(rest[-2:]).rpartition(' since ')[0]}".rstrip() if len(rest) > 3 else line


def abroad() -> tuple[Match, Match]:
    """For a firewall: to where its routes lead from inside to outside."""
    web, dns = (replace(one, destination="192.0.2.0/24") for one in (WEB, DNS))
    return web, dns


def operations(rig: Rig) -> Iterator[tuple[str, Callable[[], object]]]:
    """One redirect (or rule set) is made, changed and taken away, in one session."""
    if rig.site.inside:
        web, dns = abroad()
        made, changed = (
            state([RuleSet(web, (Rule(Verdict.DENY, one),), Verdict.PERMIT, rig.site.inside, rig.site.outside)])
            for one in (dns, web)
        )
    else:
        first, second = rig.site.ports[:2]
        vrf = rig.site.vrfs[0]
        made, changed = (
            state([Redirect(first, 0, one, NextHop(second, 0, rig.site.peers[second], vrf))]) for one in (WEB, DNS)
        )
    context = rig.driver.open(rig.target, TIMEOUT_S)
    session = context.__enter__()
    yield "open and read", session.read
    yield "validate", lambda: session.validate(rig.render(EMPTY, made))
    yield "push: add", lambda: session.push(rig.render(EMPTY, made))
    yield "read again", session.read
    yield "push: change", lambda: session.push(rig.render(made, changed))
    yield "read what was changed", session.read
    yield "push: remove", lambda: session.push(rig.render(changed, EMPTY))
    yield "read that it is gone", session.read
    yield "log in", session.login  # type: ignore[attr-defined]
    yield CLOSE, lambda: context.__exit__(None, None, None)


@pytest.mark.parametrize("family", ["ios", "nxos", "srx"])
def test_the_exact_commands_of_each_operation(request: pytest.FixtureRequest, family: str) -> None:
    rig: Rig = request.getfixturevalue(f"open_{family}")
    device: Emulated = request.getfixturevalue("srx_box" if family == "srx" else f"{family}_device")
    start = len(device.transcript())
    told(family, dict(operations(rig)), lambda: device.transcript()[start:])


def test_the_exact_verbs_of_frr(open_frr: Rig, frr: Lab) -> None:
    """Its text comes on the standard input; its account takes these words and no others."""
    start = len(frr.router.transcript())
    told("frr", dict(operations(open_frr)), lambda: frr.router.transcript()[start:])


@pytest.mark.parametrize("family", ["panos", "fortios"])
def test_the_exact_requests_to_those_that_are_only_read(request: pytest.FixtureRequest, family: str) -> None:
    rig: VerifyRig = request.getfixturevalue(f"open_{family}")
    web, dns = abroad()
    wanted = state([RuleSet(web, (Rule(Verdict.DENY, dns),), Verdict.PERMIT, "in", "out")])
    native = rig.driver.render(diff(EMPTY, wanted), rig.target)

    def refused() -> None:
        with pytest.raises(Rejected, match="Paste this"):
            session.push(native)

    context = rig.driver.open(rig.target, TIMEOUT_S)
    start = len(rig.transcript())
    session = context.__enter__()
    steps: dict[str, Callable[[], object]] = {
        "open and read": session.read,
        "push, which says what to paste": refused,
        "read what somebody pasted": lambda: (rig.paste(native), session.read()),
        "validate it": lambda: session.validate(native),
        "push, which verifies it": lambda: session.push(native),
        CLOSE: lambda: context.__exit__(None, None, None),
    }
    told(family, steps, lambda: rig.transcript()[start:])
