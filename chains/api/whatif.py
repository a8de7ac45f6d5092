# SPDX-License-Identifier: Apache-2.0
"""What if a device were drained, a link lost, appliances added? The answer is a summary; nothing is touched."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains.api.manners.access import Access
from chains.api.manners.fields import Body, Choice, Integer, Number, Text
from chains.api.manners.views import ApiView
from chains.engine.whatif import MAX_ADDED, MAX_FACTOR, reserve_ask, what_if_ask
from chains.models import Realm

MOST = 100


class QuestionSerializer(Body):
    """All at once."""

    drained = serializers.ListField(
        child=Text(max_length=63), required=False, max_length=MOST, help_text="Devices out of service."
    )
    lost = serializers.ListField(
        child=Text(max_length=127), required=False, max_length=MOST, help_text='An end of each link: "leaf1:spine1".'
    )
    off = serializers.ListField(
        child=Choice(Realm), required=False, max_length=3, help_text="Realms that nobody may use."
    )
    factors = serializers.DictField(
        child=Number(min_value=0, max_value=MAX_FACTOR), required=False, help_text="Tenant: so many times its traffic."
    )
    added = serializers.DictField(
        child=Integer(min_value=1, max_value=MAX_ADDED), required=False,
        help_text="Offer of an appliance: so many more of it, cabled alike.",
    )  # fmt: skip


class FateSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """before, after: offers by hop. Costs null: not to be had. remedy: what would be enough."""

    chain = serializers.IntegerField()
    tenant = serializers.CharField()
    name = serializers.CharField()
    blocks = serializers.BooleanField()
    before = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    after = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    cost_before = serializers.FloatField(allow_null=True)
    cost_after = serializers.FloatField(allow_null=True)
    reasons = serializers.ListField(child=serializers.CharField())
    remedy = serializers.CharField(allow_blank=True)
    is_placed = serializers.BooleanField()


class OutcomeSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """Costs are of the chains in `fates` that have a place before and after."""

    fates = FateSerializer(many=True)
    cost_before = serializers.FloatField()
    cost_after = serializers.FloatField()
    difference = serializers.FloatField()
    moved = serializers.IntegerField()
    homeless = serializers.IntegerField()
    untouched = serializers.IntegerField()


class FailureSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """After this failure these chains, which block, have no place. remedy: what would be enough for the first."""

    failure = serializers.CharField()
    chains = serializers.ListField(child=serializers.CharField())
    remedy = serializers.CharField(allow_blank=True)


class ReserveSerializer(serializers.Serializer):  # type: ignore[type-arg]
    failures = FailureSerializer(many=True)


class WhatIfApi(ApiView):
    access = {"POST": Access.OPERATE}
    reads_one_moment = True

    @extend_schema(operation_id="what_if", request=QuestionSerializer, responses=OutcomeSerializer)
    def post(self, request: Request) -> Response:
        return Response(what_if_ask(actor=self.actor, data=self.body(QuestionSerializer)))


class ReserveApi(ApiView):
    access = {"GET": Access.OPERATE}

    @extend_schema(operation_id="reserve", responses=ReserveSerializer)
    def get(self, request: Request) -> Response:
        return Response({"failures": reserve_ask(actor=self.actor)})
