# SPDX-License-Identifier: Apache-2.0
"""Lists and single rows for the API and the pages, cut to what the actor may see.

Lists are query sets, so that the caller filters and pages; what a row shows is fetched with it, so the
number of queries does not grow with the page. Single rows raise NotFound.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet

from chains.models import (
    AuditRow,
    Chain,
    Change,
    ChangeEvent,
    Device,
    Finding,
    Freeze,
    Function,
    Hop,
    Instance,
    Link,
    Offer,
    Plan,
    PlanStep,
    Segment,
    Site,
    Step,
)
from chains.selectors.ages import with_condition_now, with_status_now
from chains.selectors.tenancy import Asker, one, operators_only, owned


def chain_list(actor: Asker) -> QuerySet[Chain]:
    """With all that `chain_intent` shows, and what may be said of its status now."""
    rows = Chain.objects.select_related("tenant", "source", "destination").prefetch_related(
        "classifiers", Prefetch("hops", Hop.objects.select_related("function", "device"))
    )
    return with_status_now(owned(rows, actor))


def chain_get(actor: Asker, key: Any) -> Chain:
    """Errors: NotFound."""
    return one(chain_list(actor), key)


def chain_find(actor: Asker, name: str) -> Chain:
    """By name, for a member of a tenant (an operator's may be ambiguous: the first). Errors: NotFound."""
    found = chain_list(actor).filter(name=name).first() if "\0" not in name else None
    return one(chain_list(actor), found.pk if found else None)


def plan_list(actor: Asker) -> QuerySet[Plan]:
    """Newest first. What is heavy (states of devices) is not fetched: `plan_get` has it."""
    return owned(Plan.objects.select_related("tenant", "change").defer("base", "target"), actor)


def plan_get(actor: Asker, key: Any) -> Plan:
    """With its steps and their devices. Errors: NotFound."""
    steps = Prefetch("steps", PlanStep.objects.select_related("device"))
    return one(
        owned(Plan.objects.select_related("tenant", "change", "chain").prefetch_related(steps), actor), key
    )


def chain_plan(chain: Chain) -> Plan | None:
    """The plan in force, else the latest one, else None. The chain is one that the actor got from `chain_get`."""
    plans = Plan.objects.filter(chain=chain).select_related("change", "tenant")
    in_force = plans.filter(change__decided_at__isnull=False).exclude(goal=Plan.Goal.REMOVE)
    return in_force.order_by("-change__decided_at").first() or plans.order_by("-id").first()


def change_list(actor: Asker) -> QuerySet[Change]:
    """Newest first."""
    return owned(Change.objects.select_related("plan__tenant", "plan__chain"), actor, "plan__tenant")


def change_get(actor: Asker, key: Any) -> Change:
    """With its steps, their plan steps and devices. Errors: NotFound."""
    steps = Prefetch("steps", Step.objects.select_related("plan_step__device"))
    return one(change_list(actor).prefetch_related(steps), key)


def events_after(change: Change, after: int = 0) -> QuerySet[ChangeEvent]:
    """The log of a change that the actor got from `change_get`, oldest first. The caller cuts it to a page."""
    return ChangeEvent.objects.filter(change=change, id__gt=after).order_by("id")


def segment_list(actor: Asker) -> QuerySet[Segment]:
    """The tenant's own and the operator's."""
    rows = Segment.objects.select_related("tenant", "vrf").prefetch_related("attachments__port__device")
    return owned(rows, actor, shared=True).order_by("tenant__name", "name")


def segment_get(actor: Asker, key: Any) -> Segment:
    """Errors: NotFound."""
    return one(segment_list(actor), key)


def function_list(actor: Asker) -> QuerySet[Function]:
    """The catalogue is everyone's."""
    return Function.objects.all()


def finding_list(actor: Asker) -> QuerySet[Finding]:
    """Newest first. A tenant sees those of its chains; devices' are the operators'."""
    return owned(Finding.objects.select_related("device", "chain__tenant", "plan"), actor, "chain__tenant")


def audit_list(actor: Asker) -> QuerySet[AuditRow]:
    """Newest first. A tenant sees what was done to its own."""
    return owned(AuditRow.objects.select_related("tenant"), actor)


def site_list(actor: Asker) -> QuerySet[Site]:
    """Errors: Forbidden, as all that follow: the inventory is the operators'."""
    operators_only(actor)
    return Site.objects.all()


def site_get(actor: Asker, key: Any) -> Site:
    """Errors: Forbidden, NotFound."""
    return one(site_list(actor), key)


def device_list(actor: Asker) -> QuerySet[Device]:
    """With site and status, without what was read (it can be large)."""
    operators_only(actor)
    rows = Device.objects.select_related("site", "status")
    return with_condition_now(rows.defer("status__observed", "status__counters"))


def device_get(actor: Asker, key: Any) -> Device:
    """With site, ports and the whole status. Errors: Forbidden, NotFound."""
    operators_only(actor)
    rows = Device.objects.select_related("site", "status", "login_test").prefetch_related("ports")
    return one(with_condition_now(rows), key)


def link_list(actor: Asker) -> QuerySet[Link]:
    operators_only(actor)
    return Link.objects.select_related("a__device", "b__device")


def offer_list(actor: Asker) -> QuerySet[Offer]:
    operators_only(actor)
    return Offer.objects.select_related("device", "function", "instance")


def offer_get(actor: Asker, key: Any) -> Offer:
    """Errors: Forbidden, NotFound."""
    return one(offer_list(actor), key)


def instance_list(actor: Asker) -> QuerySet[Instance]:
    operators_only(actor)
    return Instance.objects.select_related("offer__device", "offer__function").order_by(
        "offer__device__name", "id"
    )


def instance_get(actor: Asker, key: Any) -> Instance:
    """Errors: Forbidden, NotFound."""
    return one(instance_list(actor), key)


def freeze_now() -> Freeze | None:
    """The freeze in force. Everybody may know: nothing moves while there is one."""
    return Freeze.objects.filter(lifted_at=None).first()
