# SPDX-License-Identifier: Apache-2.0
r"""Twelve hops of every kind of insertion in one chain: routed by two arms and by one, bumps in the wire, filters on
the way, and a tap whose death harms nobody.

              spine1
              /    \
   a1 -- leaf1      leaf2 -- a2
   fw1 fw3            fw2 fw4       two arms
   arm1               arm2          one arm
   wire1              wire2         a bump in the wire
   tap1

The chain: filter, fw1, wire1, arm1, tap1, fw2, wire2, arm2, fw3, ips1, fw4, filter. Expected: every datagram crosses
the nine boxes in this order and its answer backwards; tap1 gets one copy of each, both ways; when tap1 dies none is
lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.client import Api
from lab.scenarios.judge import judge
from lab.scenarios.plot import Plot
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

RATE, FAST_RATE = 300, 150
WAY = ("fw1", "wire1", "arm1", "fw2", "wire2", "arm2", "fw3", "ips1", "fw4")
FILTER: dict[str, Any] = {"function": "filter", "policy": {"default": "permit", "rules": []}}


def write(path: Path) -> Path:
    plot = Plot("mixed")
    plot.functions["tap"] = "tap"
    for name in ("leaf1", "spine1", "leaf2"):
        plot.switch(name, filters=name != "spine1")
    plot.trunk("leaf1", "spine1")
    plot.trunk("spine1", "leaf2")
    for number, leaf in ((1, "leaf1"), (2, "leaf2"), (3, "leaf1"), (4, "leaf2")):
        plot.box(f"fw{number}", leaf)
        plot.offer(f"fw{number}", "ngfw")
    for number, leaf in ((1, "leaf1"), (2, "leaf2")):
        plot.box(f"wire{number}", leaf, bridges="wire0:in:out")
        plot.offer(f"wire{number}", "ips", mode="transparent")
        plot.box(f"arm{number}", leaf, arms=("arm",))
        plot.offer(f"arm{number}", "ngfw", inside="arm", outside="arm", mode="one_arm")
    plot.box("ips1", "leaf2")
    plot.offer("ips1", "ips")
    plot.box("tap1", "leaf1", arms=("tap",))
    plot.offer("tap1", "tap", inside="tap", outside="tap", mode="one_arm")
    plot.segment("clients", plot.host("a1", "leaf1", ["10.10.1.10/24"], 1), ["10.10.1.0/24"])
    plot.segment("servers", plot.host("a2", "leaf2", ["10.10.2.10/24"], 1), ["10.10.2.0/24"])
    path.write_text(plot.text(), encoding="utf-8")
    return path


def begin(play: Play) -> str:
    """1. The chain of twelve hops; datagrams flow."""
    stage = play.stage
    hops = [
        {**FILTER, "device": "leaf1"}, ngfw("fw1"), ips("wire1"), ngfw("arm1"), {"function": "tap", "policy": {}},
        ngfw("fw2"), ips("wire2"), ngfw("arm2"), ngfw("fw3"), ips("ips1"), ngfw("fw4"), {**FILTER, "device": "leaf2"},
    ]  # fmt: skip
    play.kept["chain"] = stage.chain("mixed", hops, classifiers=CLASSIFIERS)
    stage.allow(*(frozenset({box}) for box in WAY))
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE), connections=10)
    play.kept["traffic"].flow_on(200)
    return " > ".join(WAY)


def copied(play: Play) -> str:
    """2. tap1 gets one copy of each datagram and of each answer."""
    with play.stage.lab.capture("tap1", "tap", ("a1", "eth0")) as capture:
        play.kept["traffic"].flow_on(200)
        packets = [packet for packet in capture.finish() if packet.protocol == "udp"]
    sent = {packet.payload for packet in packets if packet.at == "a1:eth0" and packet.direction == "tx"}
    at_tap = [packet for packet in packets if packet.at == "tap1:tap"]
    there = [packet.payload for packet in at_tap if packet.destination_port == 5000]
    back = [packet.payload for packet in at_tap if packet.source_port == 5000]
    check(len(there) == len(set(there)) and len(back) == len(set(back)), "the tap got something twice")
    # What was under way when the capture began or ended is in one place only.
    check(len(sent - set(there)) < 20 and len(back) > 150, f"{len(sent)} sent, copies of {len(there)} and {len(back)}")
    return f"{len(there)} copies of {len(sent)} datagrams, {len(back)} of answers"


def dies(play: Play) -> str:
    """3. tap1 dies: nothing happens to the flow."""
    play.stage.kill("tap1")
    play.kept["traffic"].flow_on(500)
    return "datagrams flow"


def settle(play: Play) -> str:
    """4. Every datagram crossed all nine boxes in order, every answer backwards, and none was lost."""
    traffic = play.kept["traffic"]
    verdict = judge(traffic.stop(), play.stage.eras)
    play.outcome.add(verdict)
    dead = [line for line in traffic.lines if not line.is_alive]
    play.outcome.connections, play.outcome.broken = len(traffic.lines), len(dead)
    seen = "; ".join(verdict.notes)
    check(verdict.sent > 0 and verdict.lost == 0 and verdict.duplicated == 0, f"{play.outcome.line()}: {seen}")
    check(verdict.bypassed == 0 and verdict.misordered == 0, seen)
    check(not dead, f"{len(dead)} connections broke: {dead[:3]}")
    play.stage.mend("tap1")
    Api.wait_until(lambda: play.stage.status(play.kept["chain"]) == "ready", "the chain to be ready", 60.0)
    return play.outcome.line()


SCENARIO = Scenario(
    name="mixed",
    title="Twelve hops of every kind of insertion, and a tap that dies",
    expects="all boxes in order, both ways; one copy of each for the tap; 0 lost when the tap dies",
    fabric=write,
    steps=(begin, copied, dies, settle),
)
