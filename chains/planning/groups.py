# SPDX-License-Identifier: Apache-2.0
"""Who serves each hop besides the first: the members that share its traffic, and those kept ready. Pure.

Called by placement with the cheapest chain through one member for each hop. The others are the next cheapest that
can carry their part.
"""

from __future__ import annotations

from collections.abc import Sequence

from chains.planning.candidates import Context, Spot
from chains.planning.health import Share, share
from chains.planning.routing import INFINITE
from chains.planning.shares import Group, parts
from chains.planning.types import Health, Hop, Offer, Reason, Refused

# Candidates of a layer, each with what the whole chain costs through it.
Priced = tuple[tuple[Spot, float], ...]


def grouped(
    context: Context, layers: Sequence[Hop], chosen: Sequence[Spot], priced: Sequence[Priced]
) -> tuple[Group, ...]:
    """priced: of each layer, () if no hop has more than one instance. Errors: Refused if a group cannot be made."""
    if not priced:
        return tuple(Group(hop, (spot,)) for hop, spot in zip(layers, chosen, strict=True))
    taken = {spot.device for spot in chosen}
    found = []
    for hop, first, prices in zip(layers, chosen, priced, strict=True):
        group = Group(hop, (first,))
        if hop.instances + hop.standby > 1:
            rest = [(price, spot.device, spot) for spot, price in prices if price < INFINITE]
            rest = sorted((entry for entry in rest if entry[1] not in taken), key=lambda entry: entry[:2])
            group = _group(context, hop, first, [spot for _, _, spot in rest])
        taken |= {spot.device for spot in (*group.members, *group.backups)}
        found.append(group)
    return tuple(found)


def _group(context: Context, hop: Hop, first: Spot, others: Sequence[Spot]) -> Group:
    able: list[Spot] = [first, *others]
    weak: list[str] = []
    while able:
        group = Group(hop, tuple(able[: hop.instances]))
        over = _overloaded(context, group)
        if over is None:
            _refuse_few(context, group, weak)
            return Group(hop, group.members, tuple(able[hop.instances : hop.instances + hop.standby]))
        able.remove(over)
        weak.append(f"{over.offers[0].name} cannot carry its part of the group")
    raise Refused((Reason("no-candidate", _few(hop, 0, weak), hop.position),))


def _overloaded(context: Context, group: Group) -> Spot | None:
    """A member whose part is more than it has left."""
    needed = parts(group, context.chain.bandwidth_mbps)
    for spot in group.members:
        offer = spot.offers[0]
        if offer.capacity_mbps and offer.used_mbps + needed[offer.name] > offer.capacity_mbps:
            return spot
    return None


def _refuse_few(context: Context, group: Group, weak: Sequence[str]) -> None:
    """A group may be short of members that are lost or resting, not of members that there never were."""
    hop = group.hop
    if share(len(group.members), hop.instances, 100, hop.down_below) == Share.DOWN:
        told = f"{_few(hop, len(group.members), weak)}; with less than {hop.down_below} % the hop counts as down"
        raise Refused((Reason("no-candidate", told, hop.position),))
    missing = group.hop.instances - len(group.members)
    resting = [o for o in context.fabric.offers if o.function == group.hop.function and _is_resting(context, o)]
    if missing > len(resting):
        raise Refused((Reason("no-candidate", _few(group.hop, len(group.members), weak), group.hop.position),))


def _is_resting(context: Context, offer: Offer) -> bool:
    is_off = not offer.is_enabled or not context.fabric.devices[offer.device].is_enabled
    return offer.health is Health.DOWN or offer.is_draining or is_off


def _few(hop: Hop, able: int, weak: Sequence[str]) -> str:
    why = f" ({'; '.join(weak)})" if weak else ""
    return (
        f"hop {hop.position + 1} ({hop.function}) wants {hop.instances} instances, {able} can serve{why}: "
        "add offers, or ask for fewer instances"
    )
