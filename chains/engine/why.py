# SPDX-License-Identifier: Apache-2.0
"""Why a chain runs where it does, of the network as it is now: one consistent read, placed again, nothing written.

Called by the API, the pages and a command on request. A GET may ask: it takes no lock and stores nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chains import models, selectors
from chains.engine.document import plain
from chains.engine.planner import consistent_read, placed
from chains.errors import NotFound
from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.routing import peers
from chains.planning.types import Refused
from chains.planning.why import why


def chain_why(chain: models.Chain) -> dict[str, Any]:
    """`planning.why.Why` as JSON. Errors: NotFound if the chain was deleted meanwhile."""
    return dict(plain(why(context_of(chain))))


def context_of(chain: models.Chain) -> Context:
    """What placement of the chain knows, with the offers that a plan would leave out as others' rules clash there."""
    with consistent_read():
        row = models.Chain.objects.select_related("tenant").filter(pk=chain.pk).first()
        if row is None:
            raise NotFound(f"The chain {chain.name} was deleted.")
        intent, fabric = selectors.chain_snapshot(row), selectors.fabric_snapshot(row)
        context = Context(fabric, intent, peers(fabric), count_matches(intent))
        try:
            compiled, _ = placed(row, fabric, intent, selectors.chain_contributions(row))
        except Refused:
            return context
    return context if compiled.context is None else replace(context, avoid=compiled.context.avoid)
