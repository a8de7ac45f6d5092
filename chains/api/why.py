# SPDX-License-Identifier: Apache-2.0
"""Why a chain runs where it does as things are now, and what would change that. Reads, places again, writes nothing."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.views import ApiView
from chains.engine.why import chain_why


class FlipSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """A figure of an offer: from `now` past `at` (in `unit`) the hop would run at `then`."""

    offer = serializers.CharField()
    figure = serializers.CharField()
    now = serializers.FloatField()
    at = serializers.FloatField()
    unit = serializers.CharField()
    then = serializers.ListField(child=serializers.CharField())
    words = serializers.CharField()


class HopWhySerializer(serializers.Serializer):  # type: ignore[type-arg]
    position = serializers.IntegerField()
    function = serializers.CharField()
    chosen = serializers.DictField(allow_null=True)
    rejected = serializers.ListField(child=serializers.DictField())
    reason = serializers.CharField(allow_blank=True)
    flips = FlipSerializer(many=True)


class BindingSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """A limit that makes the chain dearer: `saves` cost units if all that is missing were there, `each` for a unit."""

    limit = serializers.CharField()
    where = serializers.CharField()
    left = serializers.IntegerField()
    needed = serializers.IntegerField()
    unit = serializers.CharField(allow_blank=True)
    saves = serializers.FloatField()
    each = serializers.FloatField()
    words = serializers.CharField()


class ChainWhySerializer(serializers.Serializer):  # type: ignore[type-arg]
    """placement null: it has no place; `reasons` say why, `remedies` what would be enough, the cheapest first."""

    chain = serializers.IntegerField()
    placement = serializers.DictField(allow_null=True)
    hops = HopWhySerializer(many=True)
    bindings = BindingSerializer(many=True)
    remedies = serializers.ListField(child=serializers.CharField())
    reasons = serializers.ListField(child=serializers.DictField())


class ChainWhyApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(
        operation_id="chain_why",
        responses=ChainWhySerializer,
        description="Placed again as the network is now; nothing is stored. Each limit and figure told was tried.",
    )
    def get(self, request: Request, id: int) -> Response:
        chain = selectors.chain_get(self.actor, id)
        return Response({"chain": chain.pk, **chain_why(chain)})
