# SPDX-License-Identifier: Apache-2.0
"""What does it cost that Viaduct wrote the flows? Real packets through 1, 2 and 3 firewalls, against flows by hand.

    a1 -- leaf1 -- spine1 -- leaf2 -- a2
          fw1 fw2 fw3

Two labs of this shape stand side by side: one that Viaduct has programmed, and one whose flows and firewall rules were
written by hand for this one purpose. One TCP connection at a time, in turns, so that what else the machine does
meets both; the ratio is the median of the ratios of turns. Needs root.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab.command import inside, run
from lab.ground import support
from lab.network import Lab
from lab.scenarios.plot import Plot
from lab.scenarios.stage import Stage, built
from lab.watch import FOLDER, PYTHON, Program
from tests.bench.report import Figure, Impossible

PORT, SERVER = 5201, "10.10.2.10"
FIREWALLS = ("fw1", "fw2", "fw3")
LEAST = 0.95
TAG = 101
HOPS = {
    name: {
        "function": "ngfw",
        "device": name,
        "policy": {
            "default": "deny",
            "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": str(PORT)}],
        },
    }
    for name in FIREWALLS
}
# A plain stateful firewall, as one writes it.
BY_HAND = f"""
add table inet boot
delete table inet boot
table inet hand {{
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established accept
    iifname "in" tcp dport {PORT} accept
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Size:
    turns: int
    seconds: float


FULL, SMALL = Size(turns=15, seconds=1.0), Size(turns=1, seconds=0.3)


def figures(size: Size) -> Iterator[Figure]:
    """Mbit/s. Errors: Impossible if this machine cannot carry the lab."""
    ground = support()
    if not ground.ok:
        raise Impossible(f"no real packets here: {ground.reason}")
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        folder, name = Path(text), f"tp{os.getpid() % 100000}"
        stage = stack.enter_context(built(folder / "viaduct", write, f"{name}v"))
        by_hand = stack.enter_context(Lab.up(write(folder / "hand.yaml"), f"{name}h"))
        for firewall in FIREWALLS:
            by_hand.exec(firewall, ["nft", "-f", "-"], text=BY_HAND)
        chain = 0
        for count in range(1, len(FIREWALLS) + 1):
            chain = programmed(stage, chain, count)
            written(by_hand, count)
            ours: list[float] = []
            theirs: list[float] = []
            for turn in range(size.turns):  # now one first, now the other: a machine that gets busier meets both
                pairs = [(ours, stage.lab), (theirs, by_hand)]
                for found, lab in pairs if turn % 2 else reversed(pairs):
                    found.append(mbps(lab, size.seconds))
            ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
            goal = f"at least {LEAST:g} of flows by hand"
            told = f"{count} firewalls, median ratio of {size.turns} turns {ratio:.2f}"
            value, against = median(theirs) * ratio, median(theirs)
            yield Figure(f"lab.{count}", value, "Mbit/s", against, told, goal, ratio >= LEAST)


def programmed(stage: Stage, chain: int, count: int) -> int:
    hops = [HOPS[name] for name in FIREWALLS[:count]]
    if chain:
        stage.edit(chain, hops=hops)
        return chain
    classifiers = [{"protocol": "tcp", "destination_ports": str(PORT), "family": 4}]
    return stage.chain("bench", hops, classifiers=classifiers)


def written(lab: Lab, count: int) -> None:
    """Hand-written flows on leaf1: through the firewalls in order and back, then the operator's routing."""
    leaf, there, back = lab.device("leaf1"), f"tcp,nw_dst={SERVER},tp_dst={PORT}", f"tcp,nw_src={SERVER},tp_src={PORT}"
    number = {port.name: port.number for port in leaf.ports.values()}
    chosen = FIREWALLS[:count]
    routed = f"load:{TAG}->NXM_NX_REG0[],resubmit(,10)"

    def into(name: str, arm: str) -> str:
        return f"set_field:{lab.device(name).ports[arm].mac}->eth_dst,output:{number[f'{name}-{arm}']}"

    lines = [f"in_port={number['a1']},{there},actions={into(chosen[0], 'in')}"]
    lines.append(f"in_port={number['spine1']},dl_vlan={TAG},{back},actions=pop_vlan,{into(chosen[-1], 'out')}")
    for index, name in enumerate(chosen):
        onward = into(chosen[index + 1], "in") if index + 1 < count else routed
        homeward = into(chosen[index - 1], "out") if index else routed
        lines.append(f"in_port={number[f'{name}-out']},{there},actions={onward}")
        lines.append(f"in_port={number[f'{name}-in']},{back},actions={homeward}")
    ofctl = ["ovs-ofctl", "-O", "OpenFlow14"]
    lab.exec("leaf1", [*ofctl, "del-flows", "leaf1", "cookie=0x77/-1"])
    text = "".join(f"cookie=0x77,table=0,priority=20000,{line}\n" for line in lines)
    lab.exec("leaf1", [*ofctl, "--bundle", "add-flows", "leaf1", "-"], text=text)


def mbps(lab: Lab, seconds: float) -> float:
    """Octets at the receiver over one TCP connection. Errors: CommandError, TrafficError."""
    with sink(lab) as program:
        words = ["send", "--to", SERVER, "--port", str(PORT), "--seconds", str(seconds)]
        run(inside(lab.namespace("a1"), [*PYTHON, str(FOLDER / "flood.py"), *words]), timeout_s=seconds + 30)
        told = program.wait_for("flooded")
    return float(told["octets"]) * 8 / 1e6 / float(told["seconds"])


@contextmanager
def sink(lab: Lab) -> Iterator[Program]:
    argv = [*PYTHON, str(FOLDER / "flood.py"), "serve", "--port", str(PORT)]
    with Program(inside(lab.namespace("a2"), argv)) as program:
        program.wait_for("ready")
        yield program


def write(path: Path) -> Path:
    plot = Plot("throughput")
    for switch in ("leaf1", "spine1", "leaf2"):
        plot.switch(switch)
    plot.trunk("leaf1", "spine1")
    plot.trunk("spine1", "leaf2")
    for name in FIREWALLS:
        plot.box(name, "leaf1")
        plot.offer(name, "ngfw")
    plot.segment("clients", plot.host("a1", "leaf1", ["10.10.1.10/24"], 1), ["10.10.1.0/24"])
    plot.segment("servers", plot.host("a2", "leaf2", [f"{SERVER}/24"], 1), ["10.10.2.0/24"])
    path.write_text(plot.text(), encoding="utf-8")
    return path
