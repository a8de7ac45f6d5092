# SPDX-License-Identifier: Apache-2.0
"""Encrypted credentials, for operators: a secret goes in and never comes out, by no address and no method."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Name, Text
from chains.api.manners.lists import Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import Credential
from chains.services import credentials

SECRET = "What the driver takes, such as JSON with user and password. It is sealed at once and never shown."


class CredentialSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """reference: what a device's `credential` says. key_id: of the workers' key. rotated_at: when it was last set."""

    url = Address("credential")
    display = serializers.CharField(source="name")
    reference = serializers.SerializerMethodField()
    devices = serializers.SerializerMethodField()

    class Meta:
        model = Credential
        fields = ("id", "url", "display", "name", "reference", "key_id", "created_at", "rotated_at", "devices")

    def get_reference(self, row: Credential) -> str:
        return f"vault:{row.name}"

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_devices(self, row: Credential) -> Any:
        return selectors.credential_users([row.name])[row.name]


class SecretSerializer(Body):
    secret = Text(min_length=1, max_length=credentials.MAX_SECRET, write_only=True, help_text=SECRET)


class CredentialInputSerializer(SecretSerializer):
    name = Name()


class CredentialListApi(ApiView):
    access = {"GET": Access.OPERATE, "POST": Access.OPERATE}
    listing = Listing(search=("name",), ordering={"name": "name", "rotated_at": "rotated_at"}, default=("name",))

    @extend_schema(operation_id="credential_list", responses=listed(CredentialSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.credential_list(self.actor), self.shown(CredentialSerializer))

    @extend_schema(
        operation_id="credential_create",
        request=CredentialInputSerializer,
        responses={201: CredentialSerializer},
        description="Sealed to the workers' key: this process cannot open it. 409 if the name is taken.",
    )
    def post(self, request: Request) -> Response:
        row = credentials.credential_create(actor=self.actor, **self.body(CredentialInputSerializer))
        return self.created(self.shown(CredentialSerializer)(row))


class CredentialApi(ApiView):
    access = {"GET": Access.OPERATE, "PUT": Access.OPERATE, "DELETE": Access.OPERATE}

    @extend_schema(operation_id="credential_get", responses=CredentialSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(CredentialSerializer)(selectors.credential_get(self.actor, id)))

    @extend_schema(
        operation_id="credential_replace",
        request=SecretSerializer,
        responses=CredentialSerializer,
        description="A new secret under the same name; devices that name it are read with it at once.",
    )
    def put(self, request: Request, id: int) -> Response:
        row = selectors.credential_get(self.actor, id)
        row = credentials.credential_replace(actor=self.actor, credential=row, **self.body(SecretSerializer))
        return Response(self.shown(CredentialSerializer)(row))

    @extend_schema(
        operation_id="credential_delete", responses={204: None}, description="409 while a device names it."
    )
    def delete(self, request: Request, id: int) -> Response:
        self.no_body()
        row = selectors.credential_get(self.actor, id)
        credentials.credential_delete(actor=self.actor, credential=row)
        return Response(status=204)
