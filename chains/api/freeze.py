# SPDX-License-Identifier: Apache-2.0
"""The freeze switch: stop every write to every device, and let them go on. Everybody may see it, operators set it."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Body, Text
from chains.api.manners.views import ApiView
from chains.models import Freeze
from chains.services import freeze


class FreezeInputSerializer(Body):
    reason = Text(min_length=1, max_length=255, help_text="One line; everybody reads it.")


class FreezeSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """is_frozen: nothing is written to any device. The rest is empty when it is not."""

    is_frozen = serializers.BooleanField()
    reason = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField(allow_null=True)


def shape(row: Freeze | None) -> dict[str, Any]:
    if row is None:
        return {"is_frozen": False, "reason": "", "created_by": "", "created_at": None}
    return {
        "is_frozen": True,
        "reason": row.reason,
        "created_by": row.created_by,
        "created_at": row.created_at,
    }


class FreezeApi(ApiView):
    access = {"GET": Access.VIEW, "POST": Access.OPERATE, "DELETE": Access.OPERATE}

    @extend_schema(operation_id="freeze_get", responses=FreezeSerializer)
    def get(self, request: Request) -> Response:
        return Response(self.shown(FreezeSerializer)(shape(selectors.freeze_now())))

    @extend_schema(
        operation_id="freeze_set",
        request=FreezeInputSerializer,
        responses={200: FreezeSerializer, 201: FreezeSerializer},
        description="From now on nothing is written to any device. 200 if it was so already: that freeze stays.",
    )
    def post(self, request: Request) -> Response:
        row, is_new = freeze.freeze_set(actor=self.actor, **self.body(FreezeInputSerializer))
        address = request.build_absolute_uri(reverse("api:freeze"))
        data = self.shown(FreezeSerializer)(shape(row))
        return Response(data, status=201 if is_new else 200, headers={"Location": address})

    @extend_schema(
        operation_id="freeze_lift", responses={204: None}, description="What waited goes on. Twice is harmless."
    )
    def delete(self, request: Request) -> Response:
        self.no_body()
        freeze.freeze_lift(actor=self.actor)
        return Response(status=204)
