# SPDX-License-Identifier: Apache-2.0
"""Does a stored plan still fit what is there? Asked under the leases, before the first push. Reads only.

A plan that does not fit is stale: it is refused, never adjusted.
"""

from __future__ import annotations

from chains import models, selectors
from chains.engine.document import digest, plain
from chains.engine.planner import (
    compute,
    consistent_read,
    devices_of_document,
    effect_as_stored,
    effect_of,
    inventory_digest,
    others_digest,
)
from chains.planning import types
from drivers.codec import state_from_json


def why_stale(plan: models.Plan) -> str:
    """"" if the plan fits, else what moved."""
    if digest(effect_as_stored(plan)) != plan.digest:
        return "its rows are not what was planned: somebody changed them in the database"
    with consistent_read():
        chain = models.Chain.objects.select_related("tenant").filter(pk=plan.chain_id).first()
        if chain is None:
            return "the chain is gone"
        reason = _chain_moved(plan, chain)
        # A removal, or a closing, starts from what is there, whatever became of the intent and the inventory.
        are_same = _is_beside_same(plan, chain)
        if reason or plan.goal in (models.Plan.Goal.REMOVE, models.Plan.Goal.CLOSE):
            return reason if reason or are_same else _proven_anew(plan, chain)
        intent = selectors.chain_snapshot(chain)
        if digest(plain(intent)) != plan.summary["intent"]:
            return "the chain's segments changed"
        reason = _fabric_moved(plan, _inventory(plan), intent)
        others = selectors.others_stored(plan.summary["others"]["devices"], chain)
    if reason or (are_same and others_digest(others) == plan.summary["others"]["digest"]):
        return reason
    return _proven_anew(plan, chain)


def _is_beside_same(plan: models.Plan, chain: models.Chain) -> bool:
    """Where items share objects: do all other chains want there what the plan's text was made with?"""
    shared = plan.summary.get("beside", {"devices": []})  # plans of before had none
    if not shared["devices"]:
        return True
    return others_digest(selectors.others_stored(shared["devices"], chain, of_all=True)) == str(shared["digest"])


def _chain_moved(plan: models.Plan, chain: models.Chain) -> str:
    if chain.generation != plan.generation:
        return f"the chain was edited: generation {chain.generation}, planned {plan.generation}"
    if chain.revision != plan.base_revision:
        return f"another change was applied: revision {chain.revision}, planned from {plan.base_revision}"
    wanted = {name: state_from_json(items) for name, items in plan.base.items() if items}
    if selectors.chain_contributions(chain) != wanted:
        return "what the chain wants on its devices is no longer what the plan starts from"
    return ""


def _proven_anew(plan: models.Plan, chain: models.Chain) -> str:
    """Other chains moved where this one goes: the plan holds if it would be made, and proved, again."""
    draft = compute(chain)
    if draft.plan is not None and digest(effect_of(draft, draft.plan)) == plan.digest:
        return ""
    return "other chains changed on its path"


def _inventory(plan: models.Plan) -> types.Fabric:
    """What the plan goes through and uses, and no more: how large the rest of the fabric is does not count."""
    offers = {use["offer"].partition("@")[2] for use in plan.summary["offer_uses"]}
    return selectors.inventory_snapshot({*devices_of_document(plan), *offers})


def _fabric_moved(plan: models.Plan, fabric: types.Fabric, intent: types.Chain) -> str:
    if inventory_digest(fabric, devices_of_document(plan)) != plan.summary["inventory"]:
        return "ports, links or VRFs on its path changed"
    offers = {offer.name: offer for offer in fabric.offers}
    for use in plan.summary["offer_uses"]:
        offer = offers.get(use["offer"])
        is_new = use["offer"] not in intent.current.get(use["hop"], ())
        if offer is None or not offer.is_enabled or (offer.is_draining and is_new):
            return f"{use['offer']} is no longer offered"
        if offer.health is types.Health.DOWN:
            return f"{use['offer']} is down"
    return ""
