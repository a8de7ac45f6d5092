# SPDX-License-Identifier: Apache-2.0
"""Walks that were made are not made again where nothing that they met is different. Called by judge.

A proof asks for the same packets in every state of a plan, and most states differ at places where these packets never
come. What a walk asked of the network is noted; where another state answers all of it alike, the walk is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.forward import Network, Place, Trace
from drivers.lookup import Row
from drivers.packets import Packets
from drivers.state import EMPTY, FunctionItem, Key

# Device, port and tag where packets came; or a device alone, whose functions were asked for.
Asked = tuple[str, str, int] | tuple[str]
# What our own items there are. What other chains have is the same in all states of one proof.
Answer = tuple[Any, ...]
Answers = tuple[tuple[Asked, Answer], ...]


@dataclass(frozen=True, slots=True)
class Noting(Network):
    """A network that notes what it was asked for."""

    asked: dict[Asked, Answer] = field(default_factory=dict)

    def steering(self, device: str, ingress: str, tag: int, box: Packets) -> Sequence[Row]:
        self.asked[device, ingress, tag] = answer(self, (device, ingress, tag))
        return Network.steering(self, device, ingress, tag, box)

    def functions(self, device: str) -> tuple[tuple[Key, FunctionItem], ...]:
        self.asked[(device,)] = answer(self, (device,))
        return Network.functions(self, device)


def answer(network: Network, asked: Asked) -> Answer:
    """What the chain's own items say there, now."""
    state = network.states.get(asked[0], EMPTY)
    return state.functions() if len(asked) == 1 else state.steering(asked[1], asked[2])


@dataclass(slots=True)
class Walks:
    """Of one proof: all networks that are asked about differ in `states` and `dead` alone."""

    _made: dict[tuple[object, frozenset[Place]], list[tuple[Answers, tuple[Trace, ...]]]] = field(default_factory=dict)
    # By identity, as the same few answers are compared very often; kept with what they are of, so none is reused.
    _alike: dict[tuple[int, int], tuple[bool, Answer, Answer]] = field(default_factory=dict)

    def of(self, question: object, network: Network, walk: Callable[[Network], tuple[Trace, ...]]) -> tuple[Trace, ...]:
        """What `walk` finds in the network. question: hashable, all that the walk hangs on but the network."""
        made = self._made.setdefault((question, network.dead), [])
        for answers, traces in reversed(made):
            if all(self._is_alike(before, answer(network, asked)) for asked, before in answers):
                return traces
        noting = Noting(network.kinds, network.peers, network.states, network.others, network.dead, network.marks)
        traces = walk(noting)
        made.append((tuple(noting.asked.items()), traces))
        return traces

    def _is_alike(self, one: Answer, other: Answer) -> bool:
        if one is other:
            return True
        found = self._alike.get((id(one), id(other)))
        if found is None:
            found = self._alike[id(one), id(other)] = (one == other, one, other)
        return found[0]
