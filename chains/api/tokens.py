# SPDX-License-Identifier: Apache-2.0
"""API tokens, for operators. The secret is in the reply that creates it, and nowhere else ever."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Choice, Integer, Name, Text
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import ApiToken, Role
from chains.services import tokens

MAX_DAYS = 366


class TokenSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """tenant null: an operator's. owner: the person behind it, "" if nobody knows."""

    url = Address("token")
    display = serializers.CharField(source="name")
    tenant = serializers.SerializerMethodField()
    owner = serializers.SerializerMethodField()
    role = Choice(Role)

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id",
            "url",
            "display",
            "key_id",
            "name",
            "tenant",
            "owner",
            "role",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )

    def get_tenant(self, row: ApiToken) -> str | None:
        return row.tenant.name if row.tenant else None

    def get_owner(self, row: ApiToken) -> str:
        return row.owner.get_username() if row.owner else ""


class TokenCreatedSerializer(TokenSerializer):
    token = serializers.CharField(help_text="vdt_<key>.<secret>, shown this once.")

    class Meta:
        model = ApiToken
        fields = (*TokenSerializer.Meta.fields, "token")


class TokenInputSerializer(Body):
    """A tenant for viewers and editors, none for operators."""

    name = Text(min_length=1, max_length=63)
    tenant = Name(required=False, allow_null=True, default=None)
    role = Choice(Role)
    days = Integer(min_value=1, max_value=MAX_DAYS, default=90)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_operator = attrs["role"] == Role.OPERATOR
        if is_operator == (attrs["tenant"] is not None):
            text = (
                "An operator's token has no tenant."
                if is_operator
                else "A viewer's or editor's token needs one."
            )
            raise serializers.ValidationError({"tenant": [text]})
        return attrs


class TokenListApi(ApiView):
    access = {"GET": Access.OPERATE, "POST": Access.OPERATE}
    listing = Listing(
        filters=(Filter("tenant", "tenant__name"), Filter("role", "role", choices=tuple(Role.values))),
        search=("name", "key_id"),
        ordering={"name": "name", "created_at": "created_at", "expires_at": "expires_at"},
        default=("-created_at",),
    )

    @extend_schema(operation_id="token_list", responses=listed(TokenSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.token_list(self.actor), self.shown(TokenSerializer))

    @extend_schema(
        operation_id="token_create", request=TokenInputSerializer, responses={201: TokenCreatedSerializer}
    )
    def post(self, request: Request) -> Response:
        data = self.body(TokenInputSerializer)
        tenant = None if data["tenant"] is None else self.tenant_of(data)
        token, plaintext = tokens.token_create(
            actor=self.actor, name=data["name"], tenant=tenant, role=Role(data["role"]), days=data["days"]
        )
        return self.created({**self.shown(TokenSerializer)(token), "token": plaintext})


class TokenApi(ApiView):
    access = {"GET": Access.OPERATE, "DELETE": Access.OPERATE}

    @extend_schema(operation_id="token_get", responses=TokenSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(TokenSerializer)(selectors.token_get(self.actor, id)))

    @extend_schema(
        operation_id="token_revoke", responses={204: None}, description="Holds from the next request on."
    )
    def delete(self, request: Request, id: int) -> Response:
        self.no_body()
        tokens.token_revoke(actor=self.actor, token=selectors.token_get(self.actor, id))
        return Response(status=204)
