# SPDX-License-Identifier: Apache-2.0
r"""Where is it dropped? Traffic of a chain stops, and Viaduct names the hop and the device within 10 s.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1                         ips1

Once ips1 hangs with its links up, once the firewall's policy denies, once nobody sends. Expected: the API names ips1
and its hop, the firewall and its hop, and that nothing enters. That it is so is seen by what arrives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lab.client import Api
from lab.scenarios import arena
from lab.scenarios.judge import judge
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

Holds = Callable[[dict[str, Any]], bool]
RATE = 300
LIMIT_S, FAST_LIMIT_S = 10.0, 20.0


def begin(play: Play) -> str:
    """1. A chain through a firewall and an IPS; datagrams flow, and Viaduct says so."""
    stage = play.stage
    play.kept["chain"] = stage.chain("dropped", [ngfw("fw1"), ips("ips1")], classifiers=CLASSIFIERS)
    play.kept["traffic"] = stage.flowing_now(rate=RATE)
    play.kept["traffic"].flow_on(200)
    told = _until(play, lambda forward: forward["fate"] == "flows", 30.0)
    return f"{told['fate']}: {told}"[:200]


def hangs(play: Play) -> str:
    """2. ips1 hangs, its links stay up: it is named, with the counters."""
    play.stage.swallow("ips1")
    took_s, told = _timed(play, lambda forward: _names(forward, "ips1", 1))
    before = play.kept["traffic"].arrived()
    time.sleep(0.3)
    check(play.kept["traffic"].arrived() == before, "datagrams still arrive: it does not hang")
    play.stage.mend("ips1")
    play.kept["traffic"].flow_on(100)
    return f"named after {took_s:.1f} s: {told['fate']}, {told['losses'][:1]}"[:300]


def denies(play: Play) -> str:
    """3. The firewall's policy is changed to deny: fw1 and its policy are named."""
    denied = {**ngfw("fw1"), "policy": {"default": "deny", "rules": []}}
    play.stage.edit(play.kept["chain"], hops=[denied, ips("ips1")])
    took_s, told = _timed(play, lambda forward: forward["fate"] == "denied" and _names(forward, "fw1", 0))
    play.stage.edit(play.kept["chain"], hops=[ngfw("fw1"), ips("ips1")])
    play.kept["traffic"].flow_on(100)
    return f"named after {took_s:.1f} s: {told['losses'][:1]}"[:300]


def silent(play: Play) -> str:
    """4. The sender falls silent: nothing is lost, nothing enters."""
    seen = play.kept["traffic"].stop()
    took_s, told = _timed(play, lambda forward: forward["fate"] == "idle" and not forward["losses"])
    verdict = judge(seen, play.stage.eras)
    play.outcome.add(verdict)
    check(verdict.bypassed == 0, f"{verdict.bypassed} arrived unfiltered: {'; '.join(verdict.notes)}")
    return f"said after {took_s:.1f} s: {told['fate']}"


def _names(forward: dict[str, Any], device: str, hop: int) -> bool:
    return any(loss.get("device") == device and loss.get("hop") == hop for loss in forward["losses"])


def _timed(play: Play, holds: Holds) -> tuple[float, dict[str, Any]]:
    began, limit_s = time.monotonic(), LIMIT_S if not play.is_fast else FAST_LIMIT_S
    told = _until(play, holds, limit_s)
    return time.monotonic() - began, told


def _until(play: Play, holds: Holds, timeout_s: float) -> dict[str, Any]:
    path = f"chains/{play.kept['chain']}/traffic/"

    def asked() -> Any:
        courses = play.stage.tenant.get(path)["courses"]
        forward = next((one for one in courses if one["direction"] == "forward"), None)
        return forward if forward and holds(forward) else None

    return dict(Api.wait_until(asked, "the right answer about the traffic", timeout_s))


SCENARIO = Scenario(
    name="dropped",
    title="Where is it dropped?",
    expects="the hop and the device are named within 10 s, with the counters",
    fabric=arena.write,
    steps=(begin, hangs, denies, silent),
)
