# SPDX-License-Identifier: Apache-2.0
"""The description of the interface (OpenAPI), derived from what the views declare. Called by drf-spectacular.

Query parameters come from `listing` and `parameters`, error replies and list envelopes are the same everywhere.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from chains.api.manners.lists import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, MAX_TEXT, Filter, Listing
from chains.api.manners.trial import DRY_RUN, WRITES

ACCESS = {"view": "For every role.", "edit": "For editors and operators.", "operate": "For operators."}
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,128}$"},
    OpenApiParameter.HEADER,
    description="Names this write: sent again within 24 hours it is answered again and done once.",
)
PROBLEM = "application/problem+json"
TYPES = {"text": OpenApiTypes.STR, "integer": OpenApiTypes.INT, "flag": OpenApiTypes.BOOL}


class FieldErrorSerializer(serializers.Serializer):  # type: ignore[type-arg]
    field = serializers.CharField(help_text='Dotted path into the body, "" for the whole.')
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """RFC 9457. `type` is stable; `detail` names the cause and the fix."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = FieldErrorSerializer(many=True)


class ChoiceExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """An enumeration of the domain becomes one component of its own name, whatever the fields are called."""

    target_class = "chains.api.manners.fields.Choice"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        values = list(self.target.choices)
        schema = {"type": "integer" if isinstance(values[-1], int) else "string", "enum": values}
        if not self.target.component:
            return schema
        component = ResolvedComponent(
            name=self.target.component,
            type=ResolvedComponent.SCHEMA,
            schema=schema,
            object=self.target.component,
        )
        auto_schema.registry.register_on_missing(component)
        return component.ref


class ApiSchema(AutoSchema):
    """One reading of our views for every operation."""

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1/").split("/")[0]]

    def get_description(self) -> str:
        """Who may call it; operations with more to say bring their own text."""
        return ACCESS[str(self.view.access[self.method])]

    def get_override_parameters(self) -> list[Any]:
        parameters = [_parameter(each) for each in self.view.parameters.get(self.method, ())]
        if self.view.listing is not None and self.method == "GET":
            parameters += list_parameters(self.view.listing)
        if self.method in WRITES:
            parameters.append(KEY)
            if all(each.name != DRY_RUN.name for each in parameters):
                parameters.append(_parameter(DRY_RUN))
        return parameters

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # our lists have their envelope declared: see `listed`

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        found: dict[str, Any] = super()._get_response_bodies(direction)
        for status, text in self._failures():
            found.setdefault(status, self._problem(text))
        return found

    def _failures(self) -> list[tuple[str, str]]:
        failures = [("400", "Not valid"), ("401", "Not authenticated"), ("403", "Not allowed")]
        if "{" in self.path:
            failures.append(("404", "No such object, or another tenant's"))
        if self.method in WRITES:
            failures.append(("409", "Not in the state that this needs"))
            failures.append(("422", "The Idempotency-Key was used for another request"))
        if self.method in ("POST", "PUT", "PATCH"):
            failures += [("413", "Body too large"), ("415", "Unknown type of body")]
        return failures

    def _problem(self, text: str) -> dict[str, Any]:
        component = self.resolve_serializer(ProblemSerializer(), "response")
        return {"content": {PROBLEM: {"schema": component.ref}}, "description": text}


def list_parameters(listing: Listing) -> list[OpenApiParameter]:
    """limit, offset, and what the listing knows."""
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    offset = {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
    found = [OpenApiParameter("limit", limit), OpenApiParameter("offset", offset)]
    if listing.search:
        text = {"type": "string", "maxLength": MAX_TEXT, "pattern": "^[^\\u0000]*$"}
        found.append(OpenApiParameter("q", text, description="Text to look for."))
    if listing.ordering:
        names = "|".join(sorted(listing.ordering))
        pattern = {"type": "string", "pattern": f"^-?({names})(,-?({names})){{0,9}}$"}
        found.append(OpenApiParameter("ordering", pattern, description="Comma-separated, '-' reverses."))
    return found + [_parameter(each) for each in listing.filters]


def _parameter(parameter: Filter) -> OpenApiParameter:
    inner: Any = TYPES[parameter.kind]
    if parameter.choices:
        inner = {"type": "string", "enum": list(parameter.choices)}
    elif parameter.kind == "text":
        inner = {"type": "string", "maxLength": MAX_TEXT, "pattern": "^[^\\u0000]*$"}
    elif parameter.kind == "integer":
        inner = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
    if parameter.kind == "flag" or not parameter.path:
        return OpenApiParameter(parameter.name, inner, description=parameter.description)
    repeated = {"type": "array", "items": inner if isinstance(inner, dict) else {"type": "string"}}
    return OpenApiParameter(parameter.name, repeated, description=parameter.description, explode=True)


def listed(kind: type[serializers.Serializer[Any]]) -> Any:
    """The envelope of a list of `kind`, as a serializer class of its own name."""
    name = kind.__name__.removesuffix("Serializer")
    fields = {
        "count": serializers.IntegerField(min_value=0),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": kind(many=True),
        "__module__": kind.__module__,
        "__doc__": f"One page of {name} rows.",
    }
    return type(f"{name}ListSerializer", (serializers.Serializer,), fields)
