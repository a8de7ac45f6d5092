# SPDX-License-Identifier: Apache-2.0
"""What the fabric offers: the function catalogue for everyone; sites, links, offers and instances for operators."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Body, Choice, Flag, Integer, Number, Text
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.api.tenants import BoundsInputSerializer
from chains.models import Function, Instance, Link, Mode, Offer, Realm, Site
from chains.services import inventory

MAX_INTEGER_32 = (1 << 31) - 1


class FunctionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    capability = Choice(Function.Capability)

    class Meta:
        model = Function
        fields = ("id", "name", "capability", "description", "degraded_below", "down_below")


class SiteSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    url = Address("site")
    display = serializers.CharField(source="name")

    class Meta:
        model = Site
        fields = ("id", "url", "display", "name", "needs_approval", "changes_at_once")


class LinkSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """a, b: "device:port"."""

    a = serializers.CharField()
    b = serializers.CharField()

    class Meta:
        model = Link
        fields = ("id", "a", "b", "capacity_mbps", "latency_us", "mtu_bytes")


class OfferSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """This device can realise this function. capacity_mbps and entries: 0 is unlimited; measured_mbps: 0 if unknown."""

    url = Address("offer")
    display = serializers.CharField(source="__str__")
    device = serializers.CharField(source="device.name")
    function = serializers.CharField(source="function.name")
    realm = Choice(Realm)
    mode = Choice(Mode)
    settings = serializers.DictField()
    probes = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = Offer
        fields = (
            "id",
            "url",
            "display",
            "device",
            "function",
            "realm",
            "inside",
            "outside",
            "mode",
            "capacity_mbps",
            "measured_mbps",
            "entries",
            "latency_us",
            "cost_per_gbps",
            "cost_fixed",
            "licence_per_gbps",
            "cores_per_gbps",
            "watts_per_gbps",
            "measured_cores_per_gbps",
            "measured_latency_us",
            "is_shared",
            "is_enabled",
            "settings",
            "probes",
            "is_last_resort",
        )


class InstanceSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """An offer in use. A draining instance keeps what it has and gets nothing new. results: of its probes, by name."""

    url = Address("instance")
    display = serializers.CharField(source="offer.__str__")
    offer = serializers.IntegerField(source="offer_id")
    device = serializers.CharField(source="offer.device.name")
    function = serializers.CharField(source="offer.function.name")
    health = Choice(Instance.Health)
    results = serializers.DictField()

    class Meta:
        model = Instance
        fields = (
            "id",
            "url",
            "display",
            "offer",
            "device",
            "function",
            "health",
            "health_reason",
            "health_at",
            "is_draining",
            "results",
        )


class ProbeInputSerializer(Body):
    """How the offer's function is asked whether it lives. by: the device that asks, "" for whoever fits: the switch at
    both arms (through), else a worker. destination "": the device's management address."""

    kind = Choice(inventory.PROBE_KINDS)
    by = Text(max_length=63, default="", allow_blank=True)
    destination = Text(max_length=45, default="", allow_blank=True)
    source = Text(max_length=45, default="", allow_blank=True)
    port = Integer(min_value=0, max_value=65535, default=0)
    path = Text(max_length=201, default="/")
    interval_ms = Integer(min_value=100, max_value=3_600_000, default=1000)
    timeout_ms = Integer(min_value=1, max_value=3_600_000, default=500)
    rise = Integer(min_value=1, max_value=100, default=2)
    fall = Integer(min_value=1, max_value=100, default=3)
    hold_down_ms = Integer(min_value=0, max_value=3_600_000, default=0)
    fails_over = Flag(default=False)


class OfferInputSerializer(Body):
    is_enabled = Flag(required=False)
    is_last_resort = Flag(required=False)
    probes = ProbeInputSerializer(many=True, required=False, max_length=8)
    is_shared = Flag(required=False)
    latency_us = Integer(required=False, min_value=0, max_value=MAX_INTEGER_32)
    entries = Integer(required=False, min_value=0, max_value=MAX_INTEGER_32)
    capacity_mbps = Integer(required=False, min_value=0, max_value=MAX_INTEGER_32)
    measured_mbps = Integer(required=False, min_value=0, max_value=MAX_INTEGER_32)
    cost_per_gbps = Number(required=False, min_value=0, max_value=1e9)
    cost_fixed = Number(required=False, min_value=0, max_value=1e9)
    licence_per_gbps = Number(required=False, min_value=0, max_value=1e9)
    cores_per_gbps = Number(required=False, min_value=0, max_value=1e9)
    watts_per_gbps = Number(required=False, min_value=0, max_value=1e9)
    measured_cores_per_gbps = Number(required=False, min_value=0, max_value=1e9)
    measured_latency_us = Integer(required=False, min_value=0, max_value=MAX_INTEGER_32)


class InstanceInputSerializer(Body):
    is_draining = Flag()


class FunctionListApi(ApiView):
    access = {"GET": Access.VIEW}
    listing = Listing(
        filters=(
            Filter("name", "name"),
            Filter("capability", "capability", choices=tuple(Function.Capability.values)),
        ),
        search=("name", "description"),
        ordering={"name": "name", "capability": "capability"},
        default=("name",),
    )

    @extend_schema(operation_id="function_list", responses=listed(FunctionSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.function_list(self.actor), self.shown(FunctionSerializer))


class SiteListApi(ApiView):
    access = {"GET": Access.OPERATE}
    listing = Listing(
        filters=(Filter("name", "name"),), search=("name",), ordering={"name": "name"}, default=("name",)
    )

    @extend_schema(operation_id="site_list", responses=listed(SiteSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.site_list(self.actor), self.shown(SiteSerializer))


class SiteApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="site_get", responses=SiteSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(SiteSerializer)(selectors.site_get(self.actor, id)))

    @extend_schema(operation_id="site_update", request=BoundsInputSerializer, responses=SiteSerializer)
    def patch(self, request: Request, id: int) -> Response:
        site = selectors.site_get(self.actor, id)
        site = inventory.site_update(actor=self.actor, site=site, **self.body(BoundsInputSerializer))
        return Response(self.shown(SiteSerializer)(site))


class LinkListApi(ApiView):
    access = {"GET": Access.OPERATE}
    listing = Listing(
        filters=(Filter("a_device", "a__device__name"), Filter("b_device", "b__device__name")),
        search=("a__device__name", "b__device__name"),
        ordering={"id": "id", "capacity_mbps": "capacity_mbps", "latency_us": "latency_us"},
    )

    @extend_schema(operation_id="link_list", responses=listed(LinkSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.link_list(self.actor), self.shown(LinkSerializer))


class OfferListApi(ApiView):
    access = {"GET": Access.OPERATE}
    listing = Listing(
        filters=(
            Filter("device", "device__name"),
            Filter("function", "function__name"),
            Filter("realm", "realm", choices=tuple(Realm.values)),
            Filter("is_enabled", "is_enabled", kind="flag"),
        ),
        search=("device__name", "function__name"),
        ordering={"device": "device__name", "function": "function__name", "cost_per_gbps": "cost_per_gbps"},
        default=("device__name", "function__name"),
    )

    @extend_schema(operation_id="offer_list", responses=listed(OfferSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.offer_list(self.actor), self.shown(OfferSerializer))


class OfferApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="offer_get", responses=OfferSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(OfferSerializer)(selectors.offer_get(self.actor, id)))

    @extend_schema(operation_id="offer_update", request=OfferInputSerializer, responses=OfferSerializer)
    def patch(self, request: Request, id: int) -> Response:
        offer = selectors.offer_get(self.actor, id)
        inventory.offer_update(actor=self.actor, offer=offer, **self.body(OfferInputSerializer))
        return Response(self.shown(OfferSerializer)(selectors.offer_get(self.actor, id)))


class InstanceListApi(ApiView):
    access = {"GET": Access.OPERATE}
    listing = Listing(
        filters=(
            Filter("device", "offer__device__name"),
            Filter("function", "offer__function__name"),
            Filter("health", "health", choices=tuple(Instance.Health.values)),
            Filter("is_draining", "is_draining", kind="flag"),
        ),
        search=("offer__device__name", "offer__function__name"),
        ordering={"device": "offer__device__name", "health": "health"},
        default=("offer__device__name", "offer__function__name"),
    )

    @extend_schema(operation_id="instance_list", responses=listed(InstanceSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.instance_list(self.actor), self.shown(InstanceSerializer))


class InstanceApi(ApiView):
    access = {"GET": Access.OPERATE, "PATCH": Access.OPERATE}

    @extend_schema(operation_id="instance_get", responses=InstanceSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(InstanceSerializer)(selectors.instance_get(self.actor, id)))

    @extend_schema(
        operation_id="instance_update", request=InstanceInputSerializer, responses=InstanceSerializer
    )
    def patch(self, request: Request, id: int) -> Response:
        instance = selectors.instance_get(self.actor, id)
        inventory.instance_drain(actor=self.actor, instance=instance, **self.body(InstanceInputSerializer))
        return Response(self.shown(InstanceSerializer)(selectors.instance_get(self.actor, id)))
