# SPDX-License-Identifier: Apache-2.0
"""Devices: what each should hold, what it was last read to hold, and what differs. Operators only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.logins import LoginTestSerializer, login_of
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Choice, Empty, Flag
from chains.api.manners.lists import Filter, Listing, values_of
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.engine import orders
from chains.models import Device, DeviceStatus, Port
from chains.services import inventory, saving


class PortSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    addresses = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Port
        fields = ("name", "number", "mac", "addresses")


class DeviceBriefSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """condition is unknown until the device was read, and again when its last reading is too old. foreign: objects
    of others on it, never touched; attached: those inside ours or in their way. drift_policy: what becomes of our
    items that somebody changed, "" for the machine's setting. pending: a commit that the device will take back.
    credential is a reference, never the secret. is_verified: false if its settings say that it need not prove who it
    is: anybody between it and us can then read and change everything. failures: in a row, a reading under way included.
    left_alone_until: no change opens a session to it before a reading has answered, which is made after that time."""

    url = Address("device")
    display = serializers.CharField(source="name")
    site = serializers.CharField(source="site.name")
    kind = Choice(Device.Kind)
    settings = serializers.DictField()
    is_verified = serializers.SerializerMethodField()
    drift_policy = Choice(Device.Drift, source="drift", blank=True)
    condition = Choice(DeviceStatus.Condition, source="condition_now")
    reason = serializers.CharField(source="reason_now")
    desired_generation = serializers.IntegerField(source="status.desired_generation")
    observed_generation = serializers.IntegerField(source="status.observed_generation")
    failures = serializers.IntegerField(source="status.failures")
    left_alone_until = serializers.DateTimeField(source="status.closed_until", allow_null=True)
    foreign = serializers.IntegerField(source="status.foreign")
    attached = serializers.ListField(child=serializers.CharField(), source="status.attached")
    pending = serializers.CharField(source="status.pending")
    observed_at = serializers.DateTimeField(source="status.observed_at", allow_null=True)

    @extend_schema_field(serializers.BooleanField())
    def get_is_verified(self, row: Device) -> bool:
        return selectors.is_verified(row)

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
            "is_verified",
            "is_enabled",
            "drift_policy",
            "condition",
            "reason",
            "desired_generation",
            "observed_generation",
            "failures",
            "left_alone_until",
            "foreign",
            "attached",
            "pending",
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


class CapsSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """tier A: takes back by itself what is not confirmed; B: a stored way back; read only: verified, never written."""

    tier = serializers.CharField()
    kinds = serializers.ListField(child=serializers.CharField(), help_text="Of items that it can hold.")
    is_atomic = serializers.BooleanField()
    has_confirmed_commit = serializers.BooleanField()
    has_lock = serializers.BooleanField()
    has_ipv6 = serializers.BooleanField()
    has_vrf = serializers.BooleanField()
    is_routed = serializers.BooleanField(help_text="Next hops are addresses, not ports.")
    tracks = serializers.BooleanField(help_text="It watches next hops by itself.")
    takes_deny = serializers.BooleanField()
    tags = serializers.ListField(child=serializers.CharField())
    buckets = serializers.ListField(child=serializers.CharField())


class DeviceSerializer(DeviceBriefSerializer):
    """Items by key, in the form that plans use. observed null: never read, so nothing is known of drift.

    caps: what its family can do; null if it is not managed. login: the last test log-in.
    """

    caps = serializers.SerializerMethodField()
    login = serializers.SerializerMethodField()

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
            "caps",
            "login",
        )

    @property
    def view(self) -> selectors.DeviceView:
        found: selectors.DeviceView = self.context["view"]
        return found

    @extend_schema_field(CapsSerializer(allow_null=True))
    def get_caps(self, row: Device) -> Any:
        return selectors.caps_of(row)

    @extend_schema_field(LoginTestSerializer())
    def get_login(self, row: Device) -> Any:
        return LoginTestSerializer(login_of(row)).data

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
    """A disabled device is not used by new plans nor read; removals still write to it.

    drift_policy "": the machine's setting.
    """

    is_enabled = Flag(required=False)
    drift_policy = Choice(Device.Drift, blank=True, required=False, source="drift")


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
            Filter("condition", "condition_now", choices=tuple(DeviceStatus.Condition.values)),
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
        return Response(shape(self, id))


def shape(view: ApiView, id: int) -> Mapping[str, Any]:
    """One device in full."""
    found = selectors.device_view(view.actor, id)
    return DeviceSerializer(found.device, context={"request": view.request, "view": found}).data


class DeviceAdoptApi(ApiView):
    access = {"POST": Access.OPERATE}

    @extend_schema(
        operation_id="device_adopt",
        request=Empty,
        responses={202: DeviceSerializer},
        description="The device is right: what it holds otherwise than wanted becomes what the chains want of it. Done "
        "by a worker from a new reading. 409 with every reason if a chain's packets would not pass all of its "
        "functions any more, if nothing differs, or if nothing may be touched now.",
    )
    def post(self, request: Request, id: int) -> Response:
        return _ordered(self, id, "adopt")


class DeviceEnforceApi(ApiView):
    access = {"POST": Access.OPERATE}

    @extend_schema(
        operation_id="device_enforce",
        request=Empty,
        responses={202: DeviceSerializer},
        description="The chains are right: the device is made as wanted once, whatever its drift policy is. Done by a "
        "worker from a new reading. 409 if nothing differs, or if nothing may be touched now.",
    )
    def post(self, request: Request, id: int) -> Response:
        return _ordered(self, id, "enforce")


class DeviceSaveApi(ApiView):
    access = {"POST": Access.OPERATE}

    @extend_schema(
        operation_id="device_save",
        request=Empty,
        responses={202: DeviceSerializer},
        description="Ours is in force on the device and not in what it starts with: it is saved once, whatever its "
        "drift policy is. Done by a worker from a new reading, and not if lines of others would be saved with ours: "
        "the finding `not-saved` then says which. 409 if nothing is unsaved, or if nothing may be touched now.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        saving.save_order(actor=self.actor, device=selectors.device_get(self.actor, id))
        return self.accepted(shape(self, id))


def _ordered(view: ApiView, id: int, what: str) -> Response:
    view.no_body()
    orders.order(actor=view.actor, device=selectors.device_get(view.actor, id), what=what)
    return view.accepted(shape(view, id))
