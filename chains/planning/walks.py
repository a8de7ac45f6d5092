# SPDX-License-Identifier: Apache-2.0
"""One demand's packets from host to host through a network as it is. Called by selectors that trace; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chains.planning.demands import Demand
from drivers.forward import Network, Outcome, Trace, on_host, walk

ARRIVED = (Outcome.ROUTED, Outcome.BASE)


def fates(network: Network, demand: Demand) -> Iterator[Trace]:
    """The host's own rule sets first, then the network, then those of the host where they end."""
    start = (demand.start.device, demand.start.port)
    blank = Trace(Outcome.ROUTED, demand.box, demand.box, demand.start_host)
    for left in on_host(network, demand.start_host, blank, is_reply=demand.is_reply):
        if left.outcome is Outcome.DENIED:
            yield left
            continue
        for trace in walk(network, start, left.packets, is_reply=demand.is_reply):
            whole = replace(trace, functions=(*left.functions, *trace.functions))
            if trace.outcome in ARRIVED and demand.end_host:
                yield from on_host(network, demand.end_host, whole, is_reply=demand.is_reply)
            else:
                yield whole
