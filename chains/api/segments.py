# SPDX-License-Identifier: Apache-2.0
"""Segments: where a tenant's traffic can start and end. The tenant's own, and the operator's that all may use."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address
from chains.api.manners.lists import Filter, Listing
from chains.api.manners.schema import listed
from chains.api.manners.views import ApiView
from chains.models import Attachment, Segment


class AttachmentSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """port: "device:port". prefixes []: all of the segment's."""

    port = serializers.CharField()
    prefixes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Attachment
        fields = ("port", "prefixes")


class SegmentSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """tenant null: the operator's, usable by all."""

    url = Address("segment")
    display = serializers.CharField(source="name")
    tenant = serializers.SerializerMethodField()
    vrf = serializers.CharField(source="vrf.name")
    prefixes = serializers.ListField(child=serializers.CharField())
    attachments = AttachmentSerializer(many=True)

    class Meta:
        model = Segment
        fields = ("id", "url", "display", "name", "tenant", "vrf", "prefixes", "attachments", "mtu_bytes")

    def get_tenant(self, row: Segment) -> str | None:
        return row.tenant.name if row.tenant else None


class SegmentListApi(ApiView):
    access = {"GET": Access.VIEW}
    listing = Listing(
        filters=(Filter("tenant", "tenant__name"), Filter("name", "name"), Filter("vrf", "vrf__name")),
        search=("name",),
        ordering={"name": "name", "vrf": "vrf__name"},
        default=("name",),
    )

    @extend_schema(operation_id="segment_list", responses=listed(SegmentSerializer))
    def get(self, request: Request) -> Response:
        return self.rows(selectors.segment_list(self.actor), self.shown(SegmentSerializer))


class SegmentApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="segment_get", responses=SegmentSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self.shown(SegmentSerializer)(selectors.segment_get(self.actor, id)))
