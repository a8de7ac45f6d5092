# SPDX-License-Identifier: Apache-2.0
"""What one unit of each resource costs: the operator's side of the cost model. Read all, change some."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Body, Number
from chains.api.manners.views import ApiView
from chains.services import inventory


def _cost(what: str) -> Number:
    return Number(required=False, min_value=0, max_value=1e9, help_text=f"Cost units for {what}.")


class PricesInputSerializer(Body):
    link_per_gbps = _cost("1 Gb/s over one link")
    latency_per_us = _cost("a microsecond one way")
    core = _cost("a CPU core")
    watt = _cost("a watt")
    entry = _cost("a table entry of a switch")
    entry_scarcity = Number(
        required=False, min_value=0, max_value=1e9, help_text="How much dearer the last entry is: 2 is three times."
    )
    move = _cost("moving a hop that is in force")


class PricesSerializer(serializers.Serializer):  # type: ignore[type-arg]
    link_per_gbps = serializers.FloatField()
    latency_per_us = serializers.FloatField()
    core = serializers.FloatField()
    watt = serializers.FloatField()
    entry = serializers.FloatField()
    entry_scarcity = serializers.FloatField()
    move = serializers.FloatField()


class PriceApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="prices_get", responses=PricesSerializer)
    def get(self, request: Request) -> Response:
        return Response(asdict(selectors.prices_now()))

    @extend_schema(
        operation_id="prices_update",
        request=PricesInputSerializer,
        responses=PricesSerializer,
        description="What runs stays where it is; plans made from now on reckon with the new prices.",
    )
    def patch(self, request: Request) -> Response:
        inventory.prices_update(actor=self.actor, **self.body(PricesInputSerializer))
        return Response(asdict(selectors.prices_now()))
