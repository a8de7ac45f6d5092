# SPDX-License-Identifier: Apache-2.0
"""Plans: what would be done to which device, why, and what was shown. Read them, apply one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.changes import ChangeSerializer
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Choice, Empty
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import Plan, PlanStep
from chains.services import intent


class PlanStepSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """One push. native and reverse: the exact text that the device gets, and the text that undoes it."""

    device = serializers.SerializerMethodField()
    changes = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = PlanStep
        fields = ("wave", "phase", "device", "changes", "native", "reverse")

    def get_device(self, row: PlanStep) -> str:
        return row.device.name if row.device else ""


class PlanBriefSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    url = Address("plan")
    display = serializers.SerializerMethodField()
    chain = serializers.IntegerField(source="chain_id", allow_null=True)
    tenant = serializers.CharField(source="tenant.name")
    goal = Choice(Plan.Goal)
    status = Choice(Plan.Status)
    summary = serializers.DictField()

    class Meta:
        model = Plan
        fields: tuple[str, ...] = (
            "id",
            "url",
            "display",
            "chain",
            "chain_name",
            "tenant",
            "goal",
            "generation",
            "base_revision",
            "revision",
            "status",
            "summary",
            "created_by",
            "created_at",
        )

    def get_display(self, row: Plan) -> str:
        return f"{row.goal} {row.chain_name} revision {row.revision}"


class PlanSerializer(PlanBriefSerializer):
    """placement, path, proof: why and where, both ways, and what was shown; steps in waves; errors if refused."""

    placement = serializers.DictField()
    path = serializers.DictField()
    proof = serializers.DictField()
    allocations = serializers.ListField(child=serializers.DictField())
    errors = serializers.ListField(child=serializers.DictField())
    steps = PlanStepSerializer(many=True)
    change = serializers.SerializerMethodField()

    class Meta:
        model = Plan
        fields = (
            *PlanBriefSerializer.Meta.fields,
            "placement",
            "path",
            "proof",
            "allocations",
            "errors",
            "digest",
            "steps",
            "change",
        )

    def get_change(self, row: Plan) -> int | None:
        change: Any = getattr(row, "change", None)
        return None if change is None else int(change.pk)


class PlanListApi(ApiView):
    access = {"GET": Access.VIEW}
    listing = Listing(
        filters=(
            Filter("tenant", "tenant__name"),
            Filter("chain", "chain_id", kind="integer"),
            Filter("status", "status", choices=tuple(Plan.Status.values)),
            Filter("goal", "goal", choices=tuple(Plan.Goal.values)),
        ),
        search=("chain_name",),
        ordering={"id": "id", "created_at": "created_at"},
        default=("-id",),
    )

    @extend_schema(operation_id="plan_list", responses=listed(PlanBriefSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.plan_list(self.actor), self.shown(PlanBriefSerializer))


class PlanApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="plan_get", responses=PlanSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(PlanSerializer)(selectors.plan_get(self.actor, id)))


class PlanApplyApi(ApiView):
    access = {"POST": Access.EDIT}

    @extend_schema(
        operation_id="plan_apply",
        request=Empty,
        responses={202: ChangeSerializer},
        description="What is applied is exactly the plan. 409 if the chain moved on since it was made.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        actor = self.actor
        change = intent.change_create(
            actor=actor, plan=selectors.plan_get(actor, id), request_id=actor.request_id
        )
        return self.accepted(self.shown(ChangeSerializer)(selectors.change_get(actor, change.pk)))
