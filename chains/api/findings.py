# SPDX-License-Identifier: Apache-2.0
"""What was found wrong, and who did what. Tenants see the findings of their chains; the audit is the operators'."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Choice
from chains.api.manners.lists import Filter, Listing, values_of
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import AuditRow, Finding


class FindingSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """Open while closed_at is null. witness: what shows it."""

    device = serializers.SerializerMethodField()
    chain = serializers.IntegerField(source="chain_id", allow_null=True)
    chain_name = serializers.SerializerMethodField()
    plan = serializers.IntegerField(source="plan_id", allow_null=True)
    severity = Choice(Finding.Severity)
    witness = serializers.DictField()

    class Meta:
        model = Finding
        fields = (
            "id",
            "code",
            "severity",
            "device",
            "chain",
            "chain_name",
            "plan",
            "detail",
            "witness",
            "opened_at",
            "closed_at",
        )

    def get_device(self, row: Finding) -> str:
        return row.device.name if row.device else ""

    def get_chain_name(self, row: Finding) -> str:
        return row.chain.name if row.chain else ""


class AuditSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    tenant = serializers.SerializerMethodField()
    detail = serializers.DictField()

    class Meta:
        model = AuditRow
        fields = ("id", "at", "actor", "tenant", "action", "subject", "detail", "request_id")

    def get_tenant(self, row: AuditRow) -> str:
        return row.tenant.name if row.tenant else ""


IS_OPEN = Filter("is_open", kind="flag", description="Only open ones, or only closed ones.")


class FindingListApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": (IS_OPEN,)}
    listing = Listing(
        filters=(
            Filter("code", "code"),
            Filter("severity", "severity", choices=tuple(Finding.Severity.values)),
            Filter("chain", "chain_id", kind="integer"),
            Filter("device", "device__name"),
        ),
        search=("code", "detail"),
        ordering={"id": "id", "opened_at": "opened_at", "severity": "severity"},
        default=("-id",),
    )

    @extend_schema(operation_id="finding_list", responses=listed(FindingSerializer))
    def get(self, request: Request) -> Response:
        rows = selectors.finding_list(self.actor)
        for is_open in values_of(request, IS_OPEN):
            rows = rows.filter(closed_at__isnull=is_open)
        return self.rows(rows, self.shown(FindingSerializer))


class AuditListApi(ApiView):
    access = {"GET": Access.OPERATE}
    listing = Listing(
        filters=(
            Filter("tenant", "tenant__name"),
            Filter("actor", "actor"),
            Filter("action", "action"),
            Filter("request_id", "request_id"),
        ),
        search=("subject", "actor", "action"),
        ordering={"id": "id", "at": "at"},
        default=("-id",),
    )

    @extend_schema(operation_id="audit_list", responses=listed(AuditSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.audit_list(self.actor), self.shown(AuditSerializer))
