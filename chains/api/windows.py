# SPDX-License-Identifier: Apache-2.0
"""Change windows, for operators: when changes may begin."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Integer, Name, Text
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import ChangeWindow
from chains.selectors.windows import opening_of
from chains.services import windows


class WindowSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """tenant, site null: all of them. weekdays: 0 is Monday. opens_at: "HH:MM".
    next_opening null: it is open now, or never."""

    url = Address("window")
    display = serializers.CharField(source="name")
    tenant = serializers.SerializerMethodField()
    site = serializers.SerializerMethodField()
    weekdays = serializers.ListField(child=serializers.IntegerField(min_value=0, max_value=6))
    opens_at = serializers.SerializerMethodField()
    next_opening = serializers.SerializerMethodField()

    class Meta:
        model = ChangeWindow
        fields = (
            "id",
            "url",
            "display",
            "name",
            "tenant",
            "site",
            "weekdays",
            "opens_at",
            "minutes",
            "timezone",
            "next_opening",
        )

    def get_tenant(self, row: ChangeWindow) -> str | None:
        return row.tenant.name if row.tenant else None

    def get_site(self, row: ChangeWindow) -> str | None:
        return row.site.name if row.site else None

    def get_opens_at(self, row: ChangeWindow) -> str:
        return row.opens_at.strftime("%H:%M")

    def get_next_opening(self, row: ChangeWindow) -> datetime | None:
        return opening_of([row], timezone.now()).at


class WindowInputSerializer(Body):
    """minutes: how long it is open; it may reach into the next days."""

    name = Name()
    tenant = Name(required=False, allow_null=True)
    site = Name(required=False, allow_null=True)
    weekdays = serializers.ListField(child=Integer(min_value=0, max_value=6), min_length=1, max_length=7)
    opens_at = Text(min_length=5, max_length=5, help_text='"HH:MM" in its time zone.')
    minutes = Integer(min_value=1, max_value=windows.MAX_MINUTES)
    timezone = Text(required=False, min_length=1, max_length=63, help_text='As "Europe/Berlin"; UTC if not given.')


class WindowListApi(ApiView):
    access = {"GET": Access.OPERATE, "POST": Access.OPERATE}
    listing = Listing(
        filters=(Filter("tenant", "tenant__name"), Filter("site", "site__name")),
        search=("name",),
        ordering={"name": "name"},
        default=("name",),
    )

    @extend_schema(operation_id="window_list", responses=listed(WindowSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.window_list(self.actor), self.shown(WindowSerializer))

    @extend_schema(
        operation_id="window_create", request=WindowInputSerializer, responses={201: WindowSerializer}
    )
    def post(self, request: Request) -> Response:
        row = windows.window_create(actor=self.actor, data=self.body(WindowInputSerializer))
        return self.created(self.shown(WindowSerializer)(row))


class WindowApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE, "DELETE": Access.OPERATE}

    @extend_schema(operation_id="window_get", responses=WindowSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(WindowSerializer)(selectors.window_get(self.actor, id)))

    @extend_schema(operation_id="window_update", request=WindowInputSerializer, responses=WindowSerializer)
    def patch(self, request: Request, id: int) -> Response:
        window = selectors.window_get(self.actor, id)
        data = self.body(WindowInputSerializer, partial=True)
        row = windows.window_update(actor=self.actor, window=window, data=data)
        return Response(self.shown(WindowSerializer)(row))

    @extend_schema(
        operation_id="window_delete", responses={204: None}, description="What waited for it is due now."
    )
    def delete(self, request: Request, id: int) -> Response:
        self.no_body()
        windows.window_delete(actor=self.actor, window=selectors.window_get(self.actor, id))
        return Response(status=204)
