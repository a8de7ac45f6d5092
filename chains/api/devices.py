# SPDX-License-Identifier: Apache-2.0
"""Devices: what each should hold, what it was last read to hold, and what differs. Operators only."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Choice, Flag
from chains.api.manners.lists import Filter, Listing, values_of
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import Device, DeviceStatus, Port
from chains.services import inventory


class PortSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    addresses = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Port
        fields = ("name", "number", "mac", "addresses")


class DeviceBriefSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """condition is unknown until the device was read; foreign: objects of others on it, never touched.
    credential is a reference, never the secret. failures: in a row, a reading under way included.
    left_alone_until: no change opens a session to it before a reading has answered, which is made after that time."""

    url = Address("device")
    display = serializers.CharField(source="name")
    site = serializers.CharField(source="site.name")
    kind = Choice(Device.Kind)
    settings = serializers.DictField()
    condition = Choice(DeviceStatus.Condition, source="status.condition")
    reason = serializers.CharField(source="status.reason")
    desired_generation = serializers.IntegerField(source="status.desired_generation")
    observed_generation = serializers.IntegerField(source="status.observed_generation")
    failures = serializers.IntegerField(source="status.failures")
    left_alone_until = serializers.DateTimeField(source="status.closed_until", allow_null=True)
    foreign = serializers.IntegerField(source="status.foreign")
    observed_at = serializers.DateTimeField(source="status.observed_at", allow_null=True)

    def to_representation(self, row: Device) -> dict[str, Any]:
        if not hasattr(row, "status"):
            row.status = DeviceStatus(device=row)  # never looked at: everything unknown
        return dict(super().to_representation(row))

    class Meta:
        model = Device
        fields: tuple[str, ...] = (
            "id",
            "url",
            "display",
            "name",
            "site",
            "kind",
            "driver",
            "management",
            "credential",
            "settings",
            "is_enabled",
            "condition",
            "reason",
            "desired_generation",
            "observed_generation",
            "failures",
            "left_alone_until",
            "foreign",
            "observed_at",
        )


class DriftSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """action: what would put it right. before: what the device holds; after: what it should hold."""

    key = serializers.CharField()
    chain = serializers.IntegerField()
    action = Choice(("create", "update", "delete"))
    before = serializers.DictField(source="held", allow_null=True)
    after = serializers.DictField(source="wanted", allow_null=True)


class CounterSerializer(serializers.Serializer):  # type: ignore[type-arg]
    packets = serializers.IntegerField()
    octets = serializers.IntegerField()
    dropped = serializers.IntegerField()


class DeviceSerializer(DeviceBriefSerializer):
    """Items by key, in the form that plans use. observed null: never read, so nothing is known of drift."""

    ports = PortSerializer(many=True)
    links_up = serializers.DictField(source="status.links_up", child=serializers.BooleanField())
    desired = serializers.SerializerMethodField()
    observed = serializers.SerializerMethodField()
    drift = serializers.SerializerMethodField()
    counters = serializers.SerializerMethodField()

    class Meta:
        model = Device
        fields = (
            *DeviceBriefSerializer.Meta.fields,
            "ports",
            "links_up",
            "desired",
            "observed",
            "drift",
            "counters",
        )

    @property
    def view(self) -> selectors.DeviceView:
        found: selectors.DeviceView = self.context["view"]
        return found

    @extend_schema_field(serializers.DictField())
    def get_desired(self, row: Device) -> dict[str, Any]:
        return {item.key: item.wanted for item in self.view.items if item.wanted is not None}

    @extend_schema_field(serializers.DictField(allow_null=True))
    def get_observed(self, row: Device) -> dict[str, Any] | None:
        if not self.view.is_read:
            return None
        return {item.key: item.held for item in self.view.items if item.held is not None}

    @extend_schema_field(DriftSerializer(many=True))
    def get_drift(self, row: Device) -> Any:
        return DriftSerializer(self.view.drift, many=True).data

    @extend_schema_field(serializers.DictField(child=CounterSerializer()))
    def get_counters(self, row: Device) -> dict[str, Any]:
        return {item.key: CounterSerializer(item).data for item in self.view.items}


class DeviceInputSerializer(Body):
    """A disabled device is neither used by new plans nor written to."""

    is_enabled = Flag()


IS_LEFT_ALONE = Filter(
    "is_left_alone", kind="flag", description="Did it fail so often in a row that no change opens a session to it?"
)


class DeviceListApi(ApiView):
    access = {"GET": Access.OPERATE}
    parameters = {"GET": (IS_LEFT_ALONE,)}
    listing = Listing(
        filters=(
            Filter("name", "name"),
            Filter("site", "site__name"),
            Filter("kind", "kind", choices=tuple(Device.Kind.values)),
            Filter("driver", "driver"),
            Filter("condition", "status__condition", choices=tuple(DeviceStatus.Condition.values)),
            Filter("is_enabled", "is_enabled", kind="flag"),
        ),
        search=("name", "management"),
        ordering={"name": "name", "site": "site__name", "kind": "kind", "observed_at": "status__observed_at"},
        default=("name",),
    )

    @extend_schema(operation_id="device_list", responses=listed(DeviceBriefSerializer))
    def get(self, request: Request) -> Response:
        rows = selectors.device_list(self.actor)
        for value in values_of(request, IS_LEFT_ALONE):
            rows = rows.filter(status__closed_until__isnull=not value)
        return self.rows(rows, self.shown(DeviceBriefSerializer))


class DeviceApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="device_get", responses=DeviceSerializer)
    def get(self, request: Request, id: int) -> Response:
        return self._reply(id)

    @extend_schema(operation_id="device_update", request=DeviceInputSerializer, responses=DeviceSerializer)
    def patch(self, request: Request, id: int) -> Response:
        device = selectors.device_get(self.actor, id)
        inventory.device_update(actor=self.actor, device=device, **self.body(DeviceInputSerializer))
        return self._reply(id)

    def _reply(self, id: int) -> Response:
        view = selectors.device_view(self.actor, id)
        return Response(DeviceSerializer(view.device, context={"request": self.request, "view": view}).data)
