# SPDX-License-Identifier: Apache-2.0
"""Unknown is unknown: a reading that is too old says nothing, whatever it said. Judged by the database's clock.

Used by every read that shows the state of a device or a chain, so that it holds with no worker alive.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from chains.models import Chain, Condition, Contribution, Device, DeviceStatus

# So many readings in a row may be missed.
PERIODS = 3
DEFAULT_OBSERVE_S = 30.0
BLIND = (DeviceStatus.Condition.UNKNOWN, DeviceStatus.Condition.UNREACHABLE)


def stale_after_s() -> float:
    return PERIODS * float(getattr(settings, "VIADUCT_OBSERVE_S", DEFAULT_OBSERVE_S))


def stale_before() -> Combinable:
    """What was read before this moment is too old."""
    return Now() - timedelta(seconds=stale_after_s())


def is_stale(path: str = "") -> Q:
    """path: from the row to its DeviceStatus, such as "status__"."""
    return Q(**{f"{path}observed_at__lt": stale_before()})


def is_blind(path: str = "") -> Q:
    """Nobody can say what the device holds."""
    known = Q(**{f"{path}condition__in": BLIND}) | Q(**{f"{path}observed_at": None})
    return known | is_stale(path)


def with_condition_now(rows: QuerySet[Device]) -> QuerySet[Device]:
    """Devices with `condition_now`, `reason_now`: what may be said of them at this moment."""
    good = (DeviceStatus.Condition.IN_SYNC, DeviceStatus.Condition.DRIFTED)
    old = Q(status__condition__in=good) & is_stale("status__")
    text = f"not read for longer than {stale_after_s():g} s: nobody knows what it holds now"
    unknown = Value(str(DeviceStatus.Condition.UNKNOWN))
    return rows.annotate(
        condition_now=Case(
            When(old, then=unknown), default=Coalesce(F("status__condition"), unknown), output_field=CharField()
        ),
        reason_now=Case(
            When(old, then=Value(text)), default=Coalesce(F("status__reason"), Value("")), output_field=CharField()
        ),
    )


def blind_contributions() -> QuerySet[Contribution]:
    """What chains have on devices of which nobody knows what they hold."""
    return Contribution.objects.filter(is_blind("device__status__"))


def with_status_now(rows: QuerySet[Chain]) -> QuerySet[Chain]:
    """Chains with `status_now`, `status_reason_now`, `ready_now`.

    Ready is not said while it is not known what one of the chain's devices holds.
    """
    is_blind_now = Exists(blind_contributions().filter(chain=OuterRef("pk")))
    kept = Condition.objects.filter(chain=OuterRef("pk"), kind=Condition.Kind.READY).values("status")[:1]
    text = "a device that it runs on was not read lately: nobody knows whether it is in force"
    unknown = Value(str(Chain.Status.UNKNOWN))
    is_ready = Q(status=Chain.Status.READY)
    return rows.annotate(
        status_now=Case(When(is_ready & is_blind_now, then=unknown), default=F("status"), output_field=CharField()),
        status_reason_now=Case(
            When(is_ready & is_blind_now, then=Value(text)), default=F("status_reason"), output_field=CharField()
        ),
        ready_kept=Coalesce(Subquery(kept), Value(str(Condition.Answer.FALSE))),
        ready_now=Case(
            When(Q(ready_kept=Condition.Answer.TRUE) & is_blind_now, then=unknown),
            default=F("ready_kept"),
            output_field=CharField(),
        ),
    )
