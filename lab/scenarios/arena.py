# SPDX-License-Identifier: Apache-2.0
r"""The fabric on which most scenarios play. Pure: a path in, a fabric file out.

              spine1     spine2
              /    \     /    \
             /   ___\___/      \
            /   /    \__________\
           leaf1                leaf2
   a1 --   fw1 ips2 fw3         fw2 ips1 cgn1 cgn2   -- a2 inet

Two of each kind of function stand at different leaves, so every move crosses the spines. a1 has many addresses of
10.10.1.0/24, one of every eighth part of it and more.
"""

from __future__ import annotations

from pathlib import Path

from lab.scenarios.plot import Plot

CLIENT, SERVER, OUTSIDE = "10.10.1.10", "10.10.2.10", "203.0.113.10"
# Spread over the whole prefix: groups share it out by its parts.
CLIENTS = (CLIENT, *(f"10.10.1.{last}" for last in range(12, 252, 8)))
POOLS = {"cgn1": "198.51.100.0/28", "cgn2": "198.51.100.16/28"}
KINDS = {
    "ngfw": ("fw1", "fw2", "fw3"),
    "ips": ("ips1", "ips2"),
    "cgn": ("cgn1", "cgn2"),
}


def draw() -> Plot:
    plot = Plot("arena")
    for leaf in ("leaf1", "leaf2"):
        plot.switch(leaf, filters=True)
    for spine, latency_us in (("spine1", 10), ("spine2", 20)):
        plot.switch(spine)
        plot.trunk("leaf1", spine, latency_us=latency_us)
        plot.trunk(spine, "leaf2", latency_us=latency_us)
    for name, leaf in (("fw1", "leaf1"), ("fw2", "leaf2"), ("fw3", "leaf1"), ("ips1", "leaf2"), ("ips2", "leaf1")):
        plot.box(name, leaf)
    for name in ("cgn1", "cgn2"):
        plot.box(name, "leaf2")
    for kind, boxes in KINDS.items():
        for rank, name in enumerate(boxes):
            settings = {"settings": {"pool": POOLS[name], "block_size": "256"}} if kind == "cgn" else {}
            plot.offer(name, kind, cost=10 + 2 * rank, **settings)
    clients = plot.host("a1", "leaf1", [f"{address}/24" for address in CLIENTS], 1)
    servers = plot.host("a2", "leaf2", [f"{SERVER}/24"], 1)
    outside = plot.host("inet", "leaf2", [f"{OUTSIDE}/24"], 2)
    plot.segment("clients", clients, ["10.10.1.0/24"])
    plot.segment("servers", servers, ["10.10.2.0/24"])
    plot.segment("outside", outside, ["0.0.0.0/0"], vrf="internet", is_shared=True)
    return plot


def write(path: Path) -> Path:
    path.write_text(draw().text(), encoding="utf-8")
    return path
