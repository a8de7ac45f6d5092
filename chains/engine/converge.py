# SPDX-License-Identifier: Apache-2.0
"""What a chain needs from the machine: take it off when it is not wanted, move it when a function died, say how it is.

Called for a chain's bell and by the sweep. Plans and creates changes as the actor "viaduct"; touches no device.
Never applies an edit that nobody applied: a chain is moved by itself only at the generation that is in force.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db.models import Exists, OuterRef, Q, QuerySet

from chains import models
from chains.engine import planner
from chains.engine.closing import closing
from chains.engine.document import plain
from chains.engine.limits import limits
from chains.errors import Conflict, NotFound
from chains.selectors.ages import blind_contributions, is_blind
from chains.selectors.attempts import parked_half_way
from chains.selectors.usage import OPEN, UNDER_WAY
from chains.services import approval, intent, record
from chains.services.actor import MACHINE, Actor
from chains.services.bypass import BYPASSED, SHORT
from chains.services.drift import ADOPTED

log = logging.getLogger(__name__)
Status = models.Chain.Status
ACTOR = Actor("viaduct", None, models.Role.OPERATOR, person=MACHINE)
# Findings that say something of a chain, and that no look at it can settle.
SAID = (ADOPTED, "traffic-lost")
# Of fewer functions than that a half says nothing.
MANY = 4
UNSETTLED = (Status.DEGRADED, Status.UNKNOWN, Status.READY, Status.ERROR)


def look_safely(chain_id: int) -> None:
    """The same for one of many: a chain that breaks its look does not keep the others from theirs, and says so."""
    if not record.look_begins(chain_id):
        return
    try:
        look_at_chain(chain_id)
    except DatabaseError:
        raise
    except Exception as error:  # noqa: BLE001  whatever is wrong with one chain
        log.exception("chain %s: its look broke", chain_id)
        record.look_ends(chain_id, f"{type(error).__name__}: {error}"[:2000])
    else:
        record.look_ends(chain_id)


def look_at_chain(chain_id: int) -> None:
    """One idempotent look. A change that it starts is rung for by its own bell."""
    with suppress(NotFound):  # whoever worked beside us has removed it
        _look(chain_id)
    record.conditions_write([chain_id])


def _look(chain_id: int) -> None:
    chain = models.Chain.objects.select_related("tenant").filter(pk=chain_id).first()
    if chain is None or _is_busy(chain):
        return
    if parked_half_way(chain.pk) is not None:
        return  # until a person retries it
    if not chain.is_wanted:
        if not _is_held(chain) and not _is_resting(chain):
            _start(chain, planner.compute(chain))
        return
    if not chain.revision:
        return
    lost = lost_hops(chain)
    if lost:
        _move(chain, lost)
        return
    record.finding_close(code="hop-lost", chain=chain)
    if _opens(chain):
        return
    if _may_return(chain):
        draft = planner.compute(chain)
        before = sum(hop.get("missing", 1) for hop in _lacking(chain))
        if draft.plan is not None and planner.lacking(draft.plan) < before:
            _start(chain, draft)
            return
    settle(chain)


def _lacking(chain: models.Chain) -> list[dict[str, Any]]:
    """Hops of the plan in force that packets pass by, or that fewer serve than are wanted."""
    found = models.Finding.objects.filter(code__in=(BYPASSED, SHORT), chain=chain, closed_at=None)
    return [hop for finding in found for hop in finding.witness["hops"]]


def _may_return(chain: models.Chain) -> bool:
    """A hop lacks somebody, and since the last plan something came up that could serve it."""
    hops = _lacking(chain)
    if not hops or chain.generation != chain.observed_generation or _is_resting(chain):
        return False
    last = models.Plan.objects.filter(chain=chain).order_by("-id").first()
    names = {hop["function"] for hop in hops}
    up = models.Instance.objects.filter(offer__function__name__in=names, offer__is_enabled=True)
    since = up.filter(health=models.Instance.Health.UP, health_at__gt=last.created_at if last else chain.created_at)
    return since.exists()


def _is_busy(chain: models.Chain) -> bool:
    """By a change under way. One that waits and was not begun does not keep a chain cut that could move now."""
    busy = models.Change.objects.filter(plan__chain=chain, status__in=UNDER_WAY)
    return busy.exists() and not (chain.is_wanted and _is_cut(chain) and not busy.exclude(_gives_way()).exists())


def _gives_way() -> Q:
    return Q(status=models.Change.Status.PENDING, is_urgent=False) & ~Q(waits="")


def chains_to_look_at(limit: int) -> list[int]:
    """Not wanted, or served by an offer that is down or off, or with a status or conditions that may be out of date.

    Each reason is asked for by itself, through an index: one condition over all chains would read them all. Those
    first that were not looked at for longest: sixteen that cannot be helped do not hide the next one.
    """
    held = models.Change.objects.filter(plan__chain=OuterRef("pk"), status__in=OPEN)
    unwanted = models.Chain.objects.filter(~Exists(held), is_wanted=False)
    unsettled = models.Chain.objects.filter(status__in=(Status.DEGRADED, Status.UNKNOWN))
    lost = models.Use.objects.filter(_lost())
    troubled = models.Finding.objects.filter(closed_at=None, chain__isnull=False).exclude(code__in=SAID)
    found = unwanted.order_by().values("pk").union(
        unsettled.order_by().values("pk"),
        lost.values("chain"),
        models.LinkUse.objects.filter(link__is_up=False).order_by().values("chain"),
        troubled.order_by().values("chain"),
        *(rows.values("chain") for rows in _doubtful()),
    )
    under_way = models.Change.objects.filter(plan__chain=OuterRef("pk"), status__in=UNDER_WAY)
    under_way = under_way.exclude(_gives_way())
    rows = models.Chain.objects.filter(Q(is_wanted=False) | Q(revision__gt=0), pk__in=found)
    return list(rows.exclude(Exists(under_way)).order_by("updated_at").values_list("pk", flat=True)[:limit])


def _doubtful() -> tuple[QuerySet[Any], ...]:
    """Rows of chains said to be ready while something that they need is not known to be; or the other way round."""
    answers = models.Condition.objects.filter(kind=models.Condition.Kind.READY).order_by()
    is_said = Exists(answers.filter(chain=OuterRef("chain"), status=models.Condition.Answer.TRUE))
    unknown = models.Use.objects.filter(offer__instance__health=models.Instance.Health.UNKNOWN)
    blind = blind_contributions()
    denied = answers.exclude(status=models.Condition.Answer.TRUE).filter(chain__status=Status.READY)
    is_dim = Exists(unknown.filter(chain=OuterRef("chain"))) | Exists(blind.filter(chain=OuterRef("chain")))
    return (
        unknown.filter(is_said, chain__status=Status.READY),
        blind.filter(is_said, chain__status=Status.READY),
        denied.exclude(is_dim),
    )


def _lost() -> Q:
    return (
        Q(offer__instance__health=models.Instance.Health.DOWN)
        | Q(offer__is_enabled=False)
        | Q(offer__device__is_enabled=False)
    )


def lost_hops(chain: models.Chain) -> list[str]:
    """One line for each hop whose function cannot serve any more, and for each cable without a link on the way."""
    uses = models.Use.objects.filter(_lost(), chain=chain).select_related(
        "offer__device", "offer__function", "offer__instance"
    )
    hops = [f"hop {use.hop_position}: {use.offer} {_why(use.offer)}" for use in uses.order_by("hop_position")]
    cables = models.LinkUse.objects.filter(chain=chain, link__is_up=False).order_by("link")
    ends = cables.select_related("link__a__device", "link__b__device")
    return hops + [f"the link {use.link.a} - {use.link.b} is down" for use in ends]


def _why(offer: models.Offer) -> str:
    if not offer.is_enabled or not offer.device.is_enabled:
        return "is switched off"
    instance: models.Instance = offer.instance
    return f"is down ({instance.health_reason})"


def _move(chain: models.Chain, lost: list[str]) -> None:
    """Plan around the loss. Without a way the hop stays blocked by construction, and the chain says why."""
    reason = "; ".join(lost)
    if chain.generation != chain.observed_generation:
        record.chain_status_set(chain, Status.DEGRADED, f"{reason}; edited since: apply a plan")
        return
    critical = models.Finding.Severity.CRITICAL
    record.finding_open(code="hop-lost", severity=critical, chain=chain, detail=reason, witness={"hops": lost})
    if _is_resting(chain):
        return
    if many_down():
        why = "more than half of all functions are said to be down: that is doubted, and nothing is moved by itself"
        record.chain_status_set(chain, Status.DEGRADED, f"{reason}; {why}"[:512])
        return
    draft = planner.compute(chain)
    if draft.refused is None and any(rendered.step.changes for rendered in draft.steps):
        is_cut = _is_cut(chain)
        approval.change_give_way(ACTOR, chain, reason, is_urgent=is_cut)
        _start(chain, draft, is_urgent=is_cut)
        return
    if draft.refused is not None and chain.shares_fate and _close(chain, reason):
        return
    why = str(draft.refused or "the plan changes nothing")
    if draft.refused is not None and not _was_refused_alike(chain, draft):
        planner.store(draft, ACTOR.name)
    record.chain_status_set(chain, Status.DEGRADED, f"{reason}; no other way: {why}"[:512])


def _close(chain: models.Chain, reason: str) -> bool:
    """Let no packet in any more. True if a change that does so was started."""
    plan = closing(chain, ACTOR.name)
    if not isinstance(plan, models.Plan):
        return False  # it is closed already, or cannot be: then the hop itself stays closed
    try:
        intent.change_create(actor=ACTOR, plan=plan, is_urgent=True)
    except Conflict as conflict:
        record.chain_status_set(chain, chain.status, conflict.detail[:512])
        return False
    critical = models.Finding.Severity.CRITICAL
    detail = f"no packet is let in: {reason}"
    record.finding_open(code="chain-closed", severity=critical, chain=chain, plan=plan, detail=detail)
    return True


def _opens(chain: models.Chain) -> bool:
    """It was closed with a hop that nobody served, and somebody does now. True if a change was started."""
    if not models.Finding.objects.filter(code="chain-closed", chain=chain, closed_at=None).exists():
        return False
    if chain.generation != chain.observed_generation or _is_resting(chain):
        return True
    draft = planner.compute(chain)
    if draft.refused is not None:
        record.chain_status_set(chain, Status.DEGRADED, f"still closed: {draft.refused}"[:512])
        return True
    if any(rendered.step.changes for rendered in draft.steps):
        _start(chain, draft, is_urgent=True)
        return True
    record.finding_close(code="chain-closed", chain=chain)
    return False


def many_down() -> bool:
    """More than half of the functions whose health is known are down at once: suspect who says so, not them."""
    health = models.Instance.Health
    known = models.Instance.objects.filter(health__in=(health.UP, health.DOWN), offer__is_enabled=True)
    total = known.count()
    return total >= MANY and known.filter(health=health.DOWN).count() * 2 > total


def _was_refused_alike(chain: models.Chain, draft: planner.Draft) -> bool:
    """The same refusal is stored once, not at every sweep."""
    last = models.Plan.objects.filter(chain=chain).order_by("-id").first()
    return (
        last is not None
        and last.status == models.Plan.Status.REFUSED
        and draft.refused is not None
        and last.errors == plain(draft.refused.reasons)
    )


def _is_held(chain: models.Chain) -> bool:
    """By a change that waits for a second person."""
    return models.Change.objects.filter(plan__chain=chain, status__in=OPEN).exists()


def _is_cut(chain: models.Chain) -> bool:
    """A dead function or link stops traffic; one that is only switched off still serves until the chain has moved."""
    down = models.Instance.Health.DOWN
    uses = models.Use.objects.filter(chain=chain, offer__instance__health=down).order_by().values("pk")
    links = models.LinkUse.objects.filter(chain=chain, link__is_up=False).order_by().values("pk")
    return uses.union(links).exists()


def _start(chain: models.Chain, draft: planner.Draft, *, is_urgent: bool = False) -> None:
    if draft.refused is not None and _was_refused_alike(chain, draft):
        return
    plan = planner.store(draft, ACTOR.name)
    if plan.status != models.Plan.Status.READY:
        record.chain_status_set(chain, Status.ERROR, str(draft.refused)[:512])
        return
    try:
        intent.change_create(actor=ACTOR, plan=plan, is_urgent=is_urgent)
    except Conflict as conflict:
        record.chain_status_set(chain, chain.status, conflict.detail[:512])


def _is_resting(chain: models.Chain) -> bool:
    """Our own changes of this chain failed lately: wait longer after every failure."""
    given = limits()
    last = list(
        models.Change.objects.filter(plan__chain=chain, plan__generation=chain.generation).order_by("-id")[:10]
    )
    failed = 0
    for change in last:
        if change.status == models.Change.Status.SUCCEEDED:
            break
        failed += 1
    if not failed or last[0].finished_at is None:
        return False
    wait = timedelta(seconds=given.retry_after_s(failed - 1))
    return record.now() < last[0].finished_at + wait


def settle(chain: models.Chain) -> None:
    """Say how a chain in force is, from what is known of its devices."""
    if chain.status not in UNSETTLED:
        return
    if chain.generation != chain.observed_generation:
        if chain.status == Status.DEGRADED:  # by a loss that is over: its reason is no longer true
            record.chain_status_set(chain, Status.PENDING, "edited: ask for a plan and apply it")
        return
    status, reason = _condition(chain)
    if (chain.status, chain.status_reason) != (status, reason):
        record.chain_status_set(chain, status, reason)


def _condition(chain: models.Chain) -> tuple[str, str]:
    held = models.DeviceStatus.objects.filter(device__contributions__chain=chain).order_by("device__name")
    drifted = list(
        held.filter(condition=models.DeviceStatus.Condition.DRIFTED).values_list("device__name", flat=True)
    )
    silent = list(held.filter(is_blind()).values_list("device__name", flat=True))
    if drifted:
        return Status.DEGRADED, f"drift on {', '.join(drifted)}"
    if silent:
        return Status.UNKNOWN, f"{', '.join(silent)} cannot be read"
    return Status.READY, ""
