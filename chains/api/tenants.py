# SPDX-License-Identifier: Apache-2.0
"""Tenants, for operators, and who the caller is."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Choice, Flag, Integer, Name
from chains.api.manners.lists import Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import ApiToken, Role, Tenant
from chains.services import tenancy


class TenantSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    url = Address("tenant")
    display = serializers.CharField(source="name")

    class Meta:
        model = Tenant
        fields = ("id", "url", "display", "name", "needs_approval", "changes_at_once", "created_at")


class TenantInputSerializer(Body):
    name = Name()


class BoundsInputSerializer(Body):
    """needs_approval: a second person has to agree to each change. changes_at_once: worked on side by side."""

    needs_approval = Flag(required=False)
    changes_at_once = Integer(required=False, min_value=1, max_value=tenancy.MAX_AT_ONCE)


class MeSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """tenant null: an operator. expires_at null: a session."""

    name = serializers.CharField()
    tenant = serializers.CharField(allow_null=True)
    role = Choice(Role)
    expires_at = serializers.DateTimeField(allow_null=True)


class TenantListApi(ApiView):
    access = {"GET": Access.OPERATE, "POST": Access.OPERATE}
    listing = Listing(
        search=("name",), ordering={"name": "name", "created_at": "created_at"}, default=("name",)
    )

    @extend_schema(operation_id="tenant_list", responses=listed(TenantSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.tenant_list(self.actor), self.shown(TenantSerializer))

    @extend_schema(
        operation_id="tenant_create", request=TenantInputSerializer, responses={201: TenantSerializer}
    )
    def post(self, request: Request) -> Response:
        tenant = tenancy.tenant_create(actor=self.actor, **self.body(TenantInputSerializer))
        return self.created(self.shown(TenantSerializer)(tenant))


class TenantApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="tenant_get", responses=TenantSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(TenantSerializer)(selectors.tenant_get(self.actor, id)))

    @extend_schema(operation_id="tenant_update", request=BoundsInputSerializer, responses=TenantSerializer)
    def patch(self, request: Request, id: int) -> Response:
        tenant = selectors.tenant_get(self.actor, id)
        tenant = tenancy.tenant_update(actor=self.actor, tenant=tenant, **self.body(BoundsInputSerializer))
        return Response(self.shown(TenantSerializer)(tenant))


class MeApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="me", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        actor, token = self.actor, request.auth
        reply = {
            "name": actor.name,
            "tenant": actor.tenant.name if actor.tenant else None,
            "role": actor.role,
            "expires_at": token.expires_at if isinstance(token, ApiToken) else None,
        }
        return Response(self.shown(MeSerializer)(reply))
