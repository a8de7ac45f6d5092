# SPDX-License-Identifier: Apache-2.0
"""A hop that is passed by: with the decision it is audited, and alarmed until a plan leads through it again.

So is one that fewer instances serve than are wanted, which is a warning.

Called by `progress` inside the decision's transaction.
"""

from __future__ import annotations

from chains.models import Chain, Change, Finding, Hop, Plan
from chains.planning.health import Share, share
from chains.services.actor import SYSTEM
from chains.services.observed import finding_close, finding_open
from chains.services.trail import audit

BYPASSED, SHORT = "hop-bypassed", "hop-short"


def bypass_note(chain: Chain, plan: Plan, change: Change) -> None:
    """Of the plan that is in force from now on."""
    _short_note(chain, plan)
    hops = list(plan.summary.get("bypassed", ()))
    if not hops:
        finding_close(code="hop-bypassed", chain=chain)
        return
    told = "; ".join(f"hop {one['hop']} ({one['function']}): {one['reason']}" for one in hops)
    finding_open(
        code="hop-bypassed",
        severity=Finding.Severity.CRITICAL,
        chain=chain,
        plan=plan,
        detail=f"packets pass by {told}",
        witness={"hops": hops, "change": change.pk},
    )
    audit(
        SYSTEM,
        "hop.bypass",
        f"chain {plan.tenant.name}/{chain.name}",
        tenant=plan.tenant,
        detail={"change": change.pk, "asked_by": change.created_by, "hops": hops},
    )


def _short_note(chain: Chain, plan: Plan) -> None:
    hops = list(plan.summary.get("short", ()))
    if not hops:
        finding_close(code="hop-short", chain=chain)
        return
    rows = Hop.objects.filter(chain=chain).select_related("function")
    held = {row.position: row for row in rows}
    is_degraded = any(_is_degraded(held[one["hop"]], one["missing"]) for one in hops if one["hop"] in held)
    told = "; ".join(f"hop {one['hop']} ({one['function']}) lacks {one['missing']}: {one['reason']}" for one in hops)
    finding_open(
        code="hop-short",
        severity=Finding.Severity.WARNING if is_degraded else Finding.Severity.INFO,
        chain=chain,
        plan=plan,
        detail=told,
        witness={"hops": hops},
    )


def _is_degraded(hop: Hop, missing: int) -> bool:
    wanted = hop.instances + hop.standby
    function = hop.function
    return share(wanted - missing, wanted, function.degraded_below, function.down_below) != Share.OK
