# SPDX-License-Identifier: Apache-2.0
"""Who had a public port at a moment. Every question is in the audit; tenants learn of their own subscribers only."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains.api.manners.access import Access
from chains.api.manners.lists import Filter, refuse
from chains.api.manners.views import ApiView
from chains.services.subscribers import PROTOCOLS, subscriber_ask

QUESTION = (
    Filter("address", description="The public IPv4 address. Required."),
    Filter("port", description="The public port, for icmp the identifier. Required."),
    Filter("protocol", choices=PROTOCOLS, description="Required."),
    Filter("at", description="When: a time with its offset from UTC. Now, if it is left out."),
    Filter("reason", description="Why you ask, for the audit."),
)


class SubscriberSerializer(serializers.Serializer[object]):
    """address: inside, in `vrf` of the tenant. first_port, last_port: the public block. until null: still so."""

    tenant = serializers.CharField()
    vrf = serializers.CharField()
    address = serializers.CharField()
    chain = serializers.IntegerField()
    offer = serializers.CharField()
    first_port = serializers.IntegerField()
    last_port = serializers.IntegerField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(allow_null=True)


class AnswerSerializer(serializers.Serializer[object]):
    """subscriber null: at that moment the port was nobody's."""

    address = serializers.CharField()
    port = serializers.IntegerField()
    protocol = serializers.CharField()
    at = serializers.DateTimeField()
    subscriber = SubscriberSerializer(allow_null=True)


class SubscriberApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": QUESTION}

    @extend_schema(operation_id="subscriber_ask", responses=AnswerSerializer)
    def get(self, request: Request) -> Response:
        given = {name: values for name, values in request.query_params.lists()}
        for name, values in given.items():
            if len(values) > 1:
                raise refuse(name, "Given more than once.")
        answer = subscriber_ask(actor=self.actor, data={name: values[0] for name, values in given.items()})
        return Response(self.shown(AnswerSerializer)(answer))
