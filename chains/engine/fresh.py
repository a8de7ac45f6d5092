# SPDX-License-Identifier: Apache-2.0
"""Does a stored plan still fit what is there? Asked under the leases, before the first push. Reads only.

A plan that does not fit is stale: it is refused, never adjusted.
"""

from __future__ import annotations

from chains import models, selectors
from chains.engine.document import digest, plain
from chains.engine.planner import consistent_read, devices_of_document, inventory_digest


def why_stale(plan: models.Plan) -> str:
    """"" if the plan fits, else what moved."""
    with consistent_read():
        chain = models.Chain.objects.select_related("tenant").filter(pk=plan.chain_id).first()
        if chain is None:
            return "the chain is gone"
        if chain.generation != plan.generation:
            return f"the chain was edited: generation {chain.generation}, planned {plan.generation}"
        if chain.revision != plan.base_revision:
            return f"another change was applied: revision {chain.revision}, planned from {plan.base_revision}"
        wanted = {name: items for name, items in plan.base.items() if items}
        if plain(selectors.chain_contributions(chain)) != wanted:
            return "what the chain wants on its devices is no longer what the plan starts from"
        # A removal starts from what is there, whatever became of the intent and the inventory.
        if plan.goal == models.Plan.Goal.REMOVE:
            return ""
        if digest(plain(selectors.chain_snapshot(chain))) != plan.summary["intent"]:
            return "the chain's segments changed"
        fabric = selectors.fabric_snapshot(chain)
    if inventory_digest(fabric, devices_of_document(plan)) != plan.summary["inventory"]:
        return "ports, links or VRFs on its path changed"
    offers = {offer.name: offer for offer in fabric.offers}
    for use in plan.summary["offer_uses"]:
        offer = offers.get(use["offer"])
        if offer is None or not offer.is_enabled or offer.is_draining:
            return f"{use['offer']} is no longer offered"
        if offer.health == "down":
            return f"{use['offer']} is down"
    return ""
