# SPDX-License-Identifier: Apache-2.0
"""Chains: what tenants want. Create, read, replace, edit, delete; counters, placement, and a plan on request."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.chain_bodies import (
    BLANK,
    ChainDetailSerializer,
    ChainInputSerializer,
    ChainSerializer,
    ChainUpdateSerializer,
)
from chains.api.manners.access import Access
from chains.api.manners.fields import Choice, Empty
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.api.plans import PlanSerializer
from chains.engine.planner import plan_chain
from chains.errors import Conflict, Problem
from chains.models import Chain, Condition, Realm
from chains.services import intent


class PreconditionFailed(Problem):
    """RFC 9110 section 15.5.13."""

    status = 412
    code = "precondition-failed"


class CountSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """What one hop saw on one device since its items were written; hop -1 is steering, stage its place on the path.

    A function judges both directions in one item, counted as forward.
    """

    hop = serializers.IntegerField()
    function = serializers.CharField()
    direction = Choice(("forward", "reverse"))
    device = serializers.CharField()
    realm = Choice(Realm, blank=True)
    stage = serializers.IntegerField()
    packets = serializers.IntegerField()
    octets = serializers.IntegerField()
    dropped = serializers.IntegerField()
    observed_at = serializers.DateTimeField(allow_null=True)


class ChainCountersSerializer(serializers.Serializer):  # type: ignore[type-arg]
    chain = serializers.IntegerField()
    counters = CountSerializer(many=True)


class ChainExplainSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """Where each function runs and why, with the candidates turned down; of the plan in force, else the latest."""

    chain = serializers.IntegerField()
    plan = serializers.IntegerField(allow_null=True)
    status = serializers.CharField()
    placement = serializers.DictField()
    path = serializers.DictField()
    errors = serializers.ListField(child=serializers.DictField())


def tag_of(chain: Chain) -> str:
    """The entity tag names the intent: its generation. Status may move on without a new tag."""
    return f'"{chain.pk}-{chain.generation}"'


IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="Refuse if edited meanwhile."
)


def generation_of(request: Request, chain: Chain) -> int | None:
    """What If-Match asks for. Errors: PreconditionFailed if it names nothing that is there now."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return None
    if tag_of(chain) not in [tag.strip() for tag in wanted.split(",")]:
        raise PreconditionFailed(f"The chain was edited meanwhile: it is at generation {chain.generation}.")
    return chain.generation


class ChainListApi(ApiView):
    access = {"GET": Access.VIEW, "POST": Access.EDIT}
    listing = Listing(
        filters=(
            Filter("tenant", "tenant__name", description="Operators: of these tenants only."),
            Filter("name", "name"),
            Filter("status", "status_now", choices=tuple(Chain.Status.values)),
            Filter("ready", "ready_now", choices=tuple(Condition.Answer.values)),
            Filter("function", "hops__function__name"),
        ),
        search=("name", "description"),
        ordering={"name": "name", "created_at": "created_at", "priority": "priority", "status": "status_now"},
        default=("tenant__name", "name"),
    )

    @extend_schema(operation_id="chain_list", responses=listed(ChainSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.chain_list(self.actor), self.shown(ChainSerializer))

    @extend_schema(
        operation_id="chain_create", request=ChainInputSerializer, responses={201: ChainDetailSerializer}
    )
    def post(self, request: Request) -> Response:
        data = self.object()
        chain = intent.chain_create(actor=self.actor, tenant=self.tenant_of(data), data=data)
        return self.created(
            self.shown(ChainDetailSerializer)(selectors.chain_get(self.actor, chain.pk)), tag_of(chain)
        )


class ChainApi(ApiView):
    access = {"GET": Access.VIEW, "PUT": Access.EDIT, "PATCH": Access.EDIT, "DELETE": Access.EDIT}

    @extend_schema(operation_id="chain_get", responses=ChainDetailSerializer)
    def get(self, request: Request, id: int) -> Response:
        return self._reply(selectors.chain_get(self.actor, id))

    @extend_schema(
        operation_id="chain_replace",
        request=ChainUpdateSerializer,
        responses=ChainDetailSerializer,
        parameters=[IF_MATCH],
    )
    def put(self, request: Request, id: int) -> Response:
        return self._update(id, {**BLANK, **self.object()})

    @extend_schema(
        operation_id="chain_update",
        request=ChainUpdateSerializer,
        responses=ChainDetailSerializer,
        parameters=[IF_MATCH],
    )
    def patch(self, request: Request, id: int) -> Response:
        return self._update(id, self.object())

    @extend_schema(
        operation_id="chain_delete",
        responses={202: ChainDetailSerializer, 204: None},
        parameters=[IF_MATCH],
        description="204 if no device ever held it. Else 202: it is there until every device was read back without.",
    )
    def delete(self, request: Request, id: int) -> Response:
        self.no_body()
        chain = selectors.chain_get(self.actor, id)
        generation_of(request, chain)
        intent.chain_delete(actor=self.actor, chain=chain)
        left = selectors.chain_list(self.actor).filter(pk=id).first()
        return Response(status=204) if left is None else self.accepted(self.shown(ChainDetailSerializer)(left))

    def _update(self, id: int, data: dict[str, Any]) -> Response:
        chain = selectors.chain_get(self.actor, id)
        generation = generation_of(self.request, chain)
        try:
            intent.chain_update(actor=self.actor, chain=chain, data=data, generation=generation)
        except Conflict as conflict:
            if conflict.code == "edited":  # between our reading and the service's lock
                raise PreconditionFailed(conflict.detail) from None
            raise
        return self._reply(selectors.chain_get(self.actor, id))

    def _reply(self, chain: Chain) -> Response:
        return Response(self.shown(ChainDetailSerializer)(chain), headers={"ETag": tag_of(chain)})


class ChainPlanApi(ApiView):
    access = {"POST": Access.EDIT}
    reads_one_moment = True

    @extend_schema(
        operation_id="chain_plan",
        request=Empty,
        responses={201: PlanSerializer},
        description="Nothing is touched. A plan that cannot be is stored too: its status is refused, errors say why.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        plan = plan_chain(selectors.chain_get(self.actor, id), self.actor.name)
        return self.created(self.shown(PlanSerializer)(selectors.plan_get(self.actor, plan.pk)))


class ChainCountersApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="chain_counters", responses=ChainCountersSerializer)
    def get(self, request: Request, id: int) -> Response:
        chain = selectors.chain_get(self.actor, id)
        return Response({"chain": chain.pk, "counters": selectors.chain_counters(chain)})


class ChainExplainApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="chain_explain", responses=ChainExplainSerializer)
    def get(self, request: Request, id: int) -> Response:
        chain = selectors.chain_get(self.actor, id)
        plan = selectors.chain_plan(chain)
        reply: dict[str, Any] = {"chain": chain.pk, "plan": None, "status": "none"}
        reply |= {"placement": {}, "path": {}, "errors": []}
        if plan is not None:
            reply |= {"plan": plan.pk, "status": plan.status, "placement": plan.placement}
            reply |= {"path": plan.path, "errors": plan.errors}
        return Response(reply)
