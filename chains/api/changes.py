# SPDX-License-Identifier: Apache-2.0
"""Changes: how far the transaction that applies a plan got, step by step, and its log. Retry one now, undo one."""

from __future__ import annotations

from datetime import datetime

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Choice, Empty
from chains.api.manners.lists import MAX_LIMIT, Filter, Listing, single, values_of
from chains.api.manners.parsers import MAX_INTEGER
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import Change, ChangeEvent, Plan, Step
from chains.services import again


class StepSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """device "": a step that waits for old flows and pushes nothing."""

    wave = serializers.IntegerField(source="plan_step.wave")
    phase = serializers.CharField(source="plan_step.phase")
    device = serializers.SerializerMethodField()
    status = Choice(Step.Status)

    class Meta:
        model = Step
        fields = ("wave", "phase", "device", "status", "error", "updated_at")

    def get_device(self, row: Step) -> str:
        return row.plan_step.device.name if row.plan_step.device else ""


class ChangeBriefSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """decided_at: from here on it only goes forward; before it, trouble means revert.
    next_try_at: when it is looked at again, while it has not ended; error: why the last attempt ended.
    waits: why nothing happens now. attempts: of this phase; broken: those of them that ended by what nobody foresaw.
    status failed: parked, after too many of those; nothing happens until somebody retries it."""

    url = Address("change")
    display = serializers.SerializerMethodField()
    plan = serializers.IntegerField(source="plan_id")
    chain = serializers.IntegerField(source="plan.chain_id", allow_null=True)
    chain_name = serializers.CharField(source="plan.chain_name")
    tenant = serializers.CharField(source="plan.tenant.name")
    goal = Choice(Plan.Goal, source="plan.goal")
    status = Choice(Change.Status)
    next_try_at = serializers.SerializerMethodField()

    class Meta:
        model = Change
        fields: tuple[str, ...] = (
            "id",
            "url",
            "display",
            "plan",
            "chain",
            "chain_name",
            "tenant",
            "goal",
            "status",
            "decided_at",
            "attempts",
            "broken",
            "is_urgent",
            "waits",
            "next_try_at",
            "created_at",
            "started_at",
            "finished_at",
            "error",
            "request_id",
            "created_by",
        )

    def get_next_try_at(self, row: Change) -> datetime | None:
        return None if row.finished_at else row.due_at

    def get_display(self, row: Change) -> str:
        return f"{row.plan.goal} {row.plan.chain_name}"


class ChangeSerializer(ChangeBriefSerializer):
    steps = StepSerializer(many=True)

    class Meta:
        model = Change
        fields = (*ChangeBriefSerializer.Meta.fields, "steps")


class ChangeEventSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    level = Choice(ChangeEvent.Level)

    class Meta:
        model = ChangeEvent
        fields = ("id", "at", "level", "device", "text")


class ChangeEventsSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """status: of the change when it was read; no more events come once it has ended and results are empty."""

    status = Choice(Change.Status)
    results = ChangeEventSerializer(many=True)


IS_WAITING = Filter("is_waiting", kind="flag", description="Does it say why nothing happens now?")


class ChangeListApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": (IS_WAITING,)}
    listing = Listing(
        filters=(
            Filter("tenant", "plan__tenant__name"),
            Filter("chain", "plan__chain_id", kind="integer"),
            Filter("status", "status", choices=tuple(Change.Status.values)),
        ),
        search=("plan__chain_name",),
        ordering={"id": "id", "created_at": "created_at", "finished_at": "finished_at"},
        default=("-id",),
    )

    @extend_schema(operation_id="change_list", responses=listed(ChangeBriefSerializer))
    def get(self, request: Request) -> Response:
        rows = selectors.change_list(self.actor)
        for value in values_of(request, IS_WAITING):
            rows = rows.exclude(waits="") if value else rows.filter(waits="")
        return self.rows(rows, self.shown(ChangeBriefSerializer))


class ChangeApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="change_get", responses=ChangeSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(ChangeSerializer)(selectors.change_get(self.actor, id)))


class ChangeRetryApi(ApiView):
    access = {"POST": Access.EDIT}

    @extend_schema(
        operation_id="change_retry",
        request=Empty,
        responses={202: ChangeSerializer},
        description="Tried at once instead of at `next_try_at`. One that is parked (`failed`) goes on where it was, "
        "with its counters at 0. 409 if it has ended, or if a later change of its chain exists.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        again.change_retry(actor=self.actor, change=selectors.change_get(self.actor, id))
        return self.accepted(self.shown(ChangeSerializer)(selectors.change_get(self.actor, id)))


AFTER = Filter("after", kind="integer", description="Only events with a larger id.")


class ChangeEventsApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": (AFTER,)}

    @extend_schema(operation_id="change_events", responses=ChangeEventsSerializer)
    def get(self, request: Request, id: int) -> Response:
        after = single(request, "after", default=0, low=0, high=MAX_INTEGER)
        # The status is read first: what was logged before the end is then always in the answer that says so.
        change = selectors.change_get(self.actor, id)
        events = selectors.events_after(change, after)[:MAX_LIMIT]
        return Response(
            {"status": change.status, "results": [self.shown(ChangeEventSerializer)(e) for e in events]}
        )
