# SPDX-License-Identifier: Apache-2.0
"""What if? A question about the network as it is, answered with the fate of every chain it touches. Writes nothing.

Called by the API, the page and a command. The reserve is the same question asked once for every device and link.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chains import selectors
from chains.engine.document import plain
from chains.engine.planner import consistent_read
from chains.errors import FieldError
from chains.models import Realm
from chains.planning.types import Fabric
from chains.planning.whatif import Held, Outcome, Question, what_if
from chains.services.actor import Actor, require_operator
from chains.services.reading import invalid

MAX_ADDED, MAX_FACTOR = 16, 1000.0


def what_if_ask(*, actor: Actor, data: Mapping[str, Any]) -> dict[str, Any]:
    """data: drained, lost, off (lists of names), factors, added (name -> number). Errors: Forbidden, Invalid."""
    require_operator(actor)
    with consistent_read():
        fabric, held = selectors.all_in_force()
    question = _question(fabric, held, data)
    return shape(what_if(fabric, held, question))


def shape(outcome: Outcome) -> dict[str, Any]:
    """As JSON, with what a person wants to know first."""
    found = dict(plain(outcome))
    found["difference"] = round(outcome.cost_after - outcome.cost_before, 6)
    found["fates"] = [{**plain(fate), "is_placed": fate.is_placed} for fate in outcome.fates]
    return found


def reserve_ask(*, actor: Actor) -> list[dict[str, Any]]:
    """After which single failure of a device or link could a chain that blocks not be placed any more? One entry for
    each such failure, with the chains; none: any one thing may fail. Errors: Forbidden."""
    require_operator(actor)
    with consistent_read():
        fabric, held = selectors.all_in_force()
    found = []
    for name, question in _failures(fabric):
        fates = [fate for fate in what_if(fabric, held, question).fates if fate.blocks and not fate.is_placed]
        if fates:
            chains = [f"{fate.tenant}/{fate.name}" for fate in fates]
            found.append({"failure": name, "chains": chains, "remedy": fates[0].remedy})
    return found


def _failures(fabric: Fabric) -> Iterator[tuple[str, Question]]:
    """A device where chains begin or end takes them with it: no reserve helps, so it is left out."""
    for name, device in sorted(fabric.devices.items()):
        if device.is_enabled and device.kind == "appliance":
            yield f"device {name}", Question(drained=frozenset({name}))
    switches = {name for name, device in fabric.devices.items() if device.kind == "switch"}
    for link in fabric.links:
        if link.is_up and {link.a.device, link.b.device} <= switches:
            end = f"{link.a.device}:{link.a.port}"
            yield f"link {end} - {link.b.device}:{link.b.port}", Question(lost=frozenset({end}))


def _question(fabric: Fabric, held: tuple[Held, ...], data: Mapping[str, Any]) -> Question:
    ends = {f"{end.device}:{end.port}" for link in fabric.links for end in (link.a, link.b)}
    tenants = {one.chain.tenant for one in held}
    known: Mapping[str, Any] = {
        "drained": set(fabric.devices),
        "lost": ends,
        "off": set(Realm.values),
        "factors": tenants,
        "added": {offer.name for offer in fabric.offers if offer.realm == Realm.APPLIANCE},
    }
    errors = [FieldError(name, "unknown-field", "there is no such question") for name in data if name not in known]
    for name, names in known.items():
        for given in data.get(name) or ():
            if given not in names:
                errors.append(FieldError(name, "unknown", f"{str(given)[:63]!a} is not known, or no chain has it"))
    for name, low, high in (("factors", 0.0, MAX_FACTOR), ("added", 1, MAX_ADDED)):
        for value in (data.get(name) or {}).values():
            if not low <= value <= high:
                errors.append(FieldError(name, "invalid", f"must be {low:g} to {high:g}"))
    if not any(data.get(name) for name in known):
        errors.append(FieldError("", "invalid", f"ask something: {', '.join(known)}"))
    if errors:
        raise invalid(errors)
    sets = {name: frozenset(data.get(name) or ()) for name in ("drained", "lost", "off")}
    return Question(**sets, factors=dict(data.get("factors") or {}), added=dict(data.get("added") or {}))
