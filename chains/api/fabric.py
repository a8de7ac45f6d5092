# SPDX-License-Identifier: Apache-2.0
"""The fabric file over the wire: read the inventory as one, make the inventory what one says. Operators only.

Segments, sites, ports, links and everything else that the file states are written here and nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains.api.manners.access import Access
from chains.api.manners.lists import Filter, values_of
from chains.api.manners.parsers import YamlParser
from chains.api.manners.views import ApiView
from chains.fabric.export import export
from chains.fabric.holds import faults_of
from chains.fabric.load import FabricRefused, Summary, compare, load, read
from chains.fabric.text import write

YAML = "application/yaml"
DRY_RUN = Filter("dry_run", kind="flag", description="Check the file and show what would change.")


class DifferenceSerializer(serializers.Serializer):  # type: ignore[type-arg]
    section = serializers.CharField()
    created = serializers.ListField(child=serializers.CharField())
    changed = serializers.ListField(child=serializers.CharField())
    removed = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.IntegerField()


class FabricLoadedSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """By section, the names of what is new, changed and gone."""

    is_dry_run = serializers.BooleanField()
    differences = DifferenceSerializer(many=True)


class FabricApi(ApiView):
    access = {"GET": Access.OPERATE, "PUT": Access.OPERATE}
    parameters = {"PUT": (DRY_RUN,)}
    parser_classes = (YamlParser,)

    @extend_schema(
        operation_id="fabric_get",
        responses={(200, YAML): OpenApiResponse(OpenApiTypes.OBJECT, description="A fabric file.")},
    )
    def get(self, request: Request) -> HttpResponseBase:
        return HttpResponse(write(export()), content_type=f"{YAML}; charset=utf-8")

    @extend_schema(
        operation_id="fabric_load",
        request={YAML: OpenApiTypes.OBJECT},
        responses=FabricLoadedSerializer,
        description="All of it or nothing. What the file does not hold goes, unless something still needs it.",
    )
    def put(self, request: Request) -> Response:
        is_dry_run = True in values_of(request, DRY_RUN)
        text = request.data if isinstance(request.data, str) else ""
        summary = differences(text) if is_dry_run else load(text, actor=self.actor)
        rows = [{"section": section, **asdict(held)} for section, held in summary.items()]
        return Response({"is_dry_run": is_dry_run, "differences": rows})


def differences(text: str) -> Summary:
    """What loading would do. Errors: FabricRefused."""
    wanted, before = read(text), export()
    faults = faults_of(before, wanted)
    if faults:
        raise FabricRefused(faults)
    return compare(before, wanted)
