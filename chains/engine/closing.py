# SPDX-License-Identifier: Apache-2.0
"""A chain that shares its fate: while a hop that blocks has nobody, no packet is let in, so none is half processed.

Called by `converge`. A plan like any other: shown, proved, applied as a change. What the chain has taken it keeps, so
that it is opened again as soon as there is a way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chains import models, selectors
from chains.engine.document import digest, plain
from chains.engine.planner import (
    Draft,
    beside_of,
    consistent_read,
    devices_of,
    inventory_digest,
    rendered,
    store,
)
from chains.planning import types
from chains.planning.plan import Force, draft_closed, proven_closed
from chains.services.taking import plan_in_force
from drivers.base import Unsupported

FINDING = "chain-closed"


def closing(chain: models.Chain, actor_name: str) -> models.Plan | types.Refused:
    """A stored plan that closes it, or why there is none (it is closed already, or cannot be)."""
    with consistent_read():
        row = models.Chain.objects.select_related("tenant").get(pk=chain.pk)
        force = plan_in_force(row)
        if force is None:
            return types.Refused((types.Reason("not-in-force", "no plan of it is in force"),))
        intent = selectors.chain_snapshot(row)
        fabric = selectors.fabric_snapshot(row)
        base = selectors.chain_contributions(row)
        wanted = selectors.chain_intent(row)
        draft = Draft(row, models.Plan.Goal.CLOSE, digest(plain(intent)), "", wanted)
        try:
            compiled = draft_closed(fabric, intent, base)
        except types.Refused as refused:
            return refused
        others = selectors.others_on(compiled.devices, row)
        beside = beside_of(compiled, row)
        targets = selectors.targets_of(compiled.devices)
    try:
        plan = proven_closed(compiled, others, _force(force))
        steps = rendered(plan, targets, beside)
    except types.Refused as refused:
        return refused
    except Unsupported as error:
        return types.Refused((types.Reason("unsupported", str(error)),))
    inventory = inventory_digest(fabric, devices_of(plan))
    draft = replace(draft, inventory=inventory, others=others, beside=beside, plan=plan, steps=steps)
    return store(draft, actor_name, kept={"placement": force.placement, "path": force.path}, told=_told(force))


def _force(plan: models.Plan) -> Force:
    """What the plan in force has taken, from its document."""
    return Force(
        tuple(types.OfferUse(**use) for use in plan.summary.get("offer_uses", ())),
        tuple(_link_use(use) for use in plan.summary.get("link_uses", ())),
        tuple(types.Allocation(**given) for given in plan.allocations),
    )


def _link_use(use: dict[str, Any]) -> types.LinkUse:
    ends = {name: types.Endpoint(*use[name].split(":", 1)) for name in ("a", "b")}
    return types.LinkUse(**{**use, **ends, "tags": tuple(use["tags"])})


def _told(plan: models.Plan) -> dict[str, Any]:
    """Of the summary, what stays true of the chain while it is closed."""
    return {name: plan.summary[name] for name in ("buckets", "latency_us", "cost") if name in plan.summary}
